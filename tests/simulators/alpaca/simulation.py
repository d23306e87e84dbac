"""The account at Alpaca behind the face: its keys, its plan, its rate limit, and what the broker shows."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tests.simulators.alpaca.market import START, SimulatedMarket, a_morning
from tests.simulators.alpaca.shapes import Book
from tests.simulators.alpaca.wire import Answer, Json, Request, Wire, WireFault
from tests.simulators.broker import SimulatedBroker
from tests.simulators.scripted import Script

KEY, SECRET = "PKSIMULATOR", "simulated-secret"
ACCOUNT_ID = "5a1f0e0a-7c3c-4d1e-9c55-3f1f2f9b6a11"
STARTING_CASH = Decimal(100000)


@dataclass(slots=True)
class RateLimit:
    """How many requests a minute of the simulator's clock may have; trading and data count apart."""

    per_minute: int | None = 200
    _counts: Counter[tuple[str, datetime]] = field(default_factory=Counter[tuple[str, datetime]])

    def take(self, family: str, now: datetime) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it may pass, and the headers that say so."""
        if self.per_minute is None:
            return True, {}
        minute = now.replace(second=0, microsecond=0)
        self._counts[family, minute] += 1
        left = self.per_minute - self._counts[family, minute]
        return left >= 0, {
            "X-RateLimit-Limit": str(self.per_minute),
            "X-RateLimit-Remaining": str(max(left, 0)),
            "X-RateLimit-Reset": str(int((minute + timedelta(minutes=1)).timestamp())),
        }


class _Faults(Script[Request, WireFault]):
    """Of which some begin an outage."""

    def take(self, request: Request) -> WireFault | None:
        fault = super().take(request)
        if fault is not None and fault.begins_outage:
            self.clear()
            self.add(WireFault(wire=Wire.RESET, times=None))
        return fault


class Simulation(SimulatedBroker[SimulatedMarket]):
    """One account at Alpaca."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / "alpaca.sqlite", a_morning(), START, currency="USD", cash=STARTING_CASH
        )
        self.keys: tuple[str, str] = (KEY, SECRET)
        self.account_id: str = ACCOUNT_ID
        self.account_flags: Json = {}
        self.dropped: set[str] = set()
        """Orders that the broker has lost."""
        self.free_plan: bool = True
        self.rate_limit: RateLimit = RateLimit()
        self.wire_faults: Script[Request, WireFault] = _Faults()
        self.answers: dict[tuple[str, ...], Answer] = {}
        self._refunded: Decimal = Decimal(0)

    def advance(self) -> None:
        """Let the exchange come up to the clock, and give back its fees: a paper account pays none."""
        super().advance()
        paid = self.exchange._store._money().fees_paid
        if paid > self._refunded:
            self.exchange.receive(paid - self._refunded)
            self._refunded = paid

    def book(self) -> Book:
        """Return every order that the broker knows of."""
        store = self.exchange._store
        orders = [o for o in store.orders(None) if o.broker_order_id not in self.dropped]
        fills = {o.broker_order_id: store.fills(o.broker_order_id) for o in orders}
        return Book(
            orders=tuple(orders),
            fills=fills,
            market=self.market,
            now=self.clock.now(),
            is_open=self.exchange.market_clock().is_open,
        )
