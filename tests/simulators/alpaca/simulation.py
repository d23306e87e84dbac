"""The broker behind the face: the paper exchange, its market and clock, the account, and what was asked.

One thread does everything in it, one thing after another: `run` is the lock.
"""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from brokers.faults import Fault, Faults, Operation
from brokers.paper_exchange import PaperExchange
from shared.clock import Clock, ManualClock, RunningClock
from tests.simulators.alpaca.market import START, SimulatedMarket, a_morning
from tests.simulators.alpaca.shapes import Book
from tests.simulators.alpaca.wire import Answer, Json, Request, Wire, WireFault

KEY, SECRET = "PKSIMULATOR", "simulated-secret"
ACCOUNT_ID = "5a1f0e0a-7c3c-4d1e-9c55-3f1f2f9b6a11"
STARTING_CASH = Decimal(100000)
VOLUME_SHARE_PCT = Decimal(10)
_INSTANT = timedelta(microseconds=1)

_Result = TypeVar("_Result")


class SimulatorClock:
    """Stands still until it is moved, or runs from where it was let go."""

    def __init__(self) -> None:
        self._clock: ManualClock | RunningClock = ManualClock(START)

    def now(self) -> datetime:
        """Return where it stands."""
        return self._clock.now()

    def move_to(self, moment: datetime) -> None:
        """Move forward; a running clock runs on from there."""
        if isinstance(self._clock, ManualClock):
            self._clock.move_to(moment)
        else:
            self._clock = RunningClock(moment)

    def let_run(self) -> None:
        """Go at the wall's pace from now on."""
        self._clock = RunningClock(self.now())

    async def sleep(self, seconds: float) -> None:
        """Wait as a clock of this kind does."""
        await self._clock.sleep(seconds)


@dataclass(slots=True)
class Injected:
    """A wire fault, and how many requests it has seen."""

    fault: WireFault
    seen: int = 0

    def take(self, request: Request) -> bool:
        """Count the request, and say whether this fault hits it."""
        if not self.fault.matches(request):
            return False
        self.seen += 1
        return self.fault.hits(self.seen)


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


class Simulation:
    """One account at Alpaca, in memory but for the exchange's own file."""

    def __init__(self, folder: Path) -> None:
        self.market: SimulatedMarket = a_morning()
        self.clock: SimulatorClock = SimulatorClock()
        self.keys: tuple[str, str] = (KEY, SECRET)
        self.account_id: str = ACCOUNT_ID
        self.account_flags: Json = {}
        self.dropped: set[str] = set()
        """Orders that the broker has lost."""
        self.free_plan: bool = True
        self.rate_limit: RateLimit = RateLimit()
        self.faults: Faults = Faults()
        self.wire_faults: list[Injected] = []
        self.log: list[Mapping[str, object]] = []
        self.answers: dict[tuple[str, ...], Answer] = {}
        self._refunded: Decimal = Decimal(0)
        self._worker: ThreadPoolExecutor = ThreadPoolExecutor(max_workers=1)
        self.exchange: PaperExchange = self.run(lambda: self._open(folder))

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Do something in the one thread that may."""
        return self._worker.submit(work).result()

    def close(self) -> None:
        """Close the exchange, once what is under way is done."""
        self.run(self.exchange.close)
        self._worker.shutdown()

    def wire_fault(self, request: Request) -> WireFault | None:
        """Return what goes wrong with the answer; of two faults the first injected counts."""
        hits = [injected.fault for injected in self.wire_faults if injected.take(request)]
        if hits and hits[0].begins_outage:
            self.wire_faults.insert(0, Injected(WireFault(wire=Wire.RESET, times=None)))
        return hits[0] if hits else None

    def exchange_fault(self, operation: Operation | None) -> Fault | None:
        """Return what goes wrong at the exchange."""
        return None if operation is None else self.faults.take(operation)

    def advance(self) -> None:
        """Let the exchange come up to the clock, and give back its fees: a paper account pays none."""
        self.exchange.orders(only_open=True)
        paid = self.exchange._store._money().fees_paid
        if paid > self._refunded:
            self.exchange.receive(paid - self._refunded)
            self._refunded = paid

    @contextmanager
    def writing(self) -> Generator[None]:
        """Change orders: a moment goes by before, so that no two orders have the same time."""
        self.clock.move_to(self.clock.now() + _INSTANT)
        self.advance()
        yield
        self.advance()

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

    def _open(self, folder: Path) -> PaperExchange:
        clock: Clock = self.clock
        return PaperExchange(
            folder / "alpaca.sqlite",
            self.market,
            clock,
            account_id="alpaca-simulator",
            currency="USD",
            starting_cash=STARTING_CASH,
            volume_share_pct=VOLUME_SHARE_PCT,
        )
