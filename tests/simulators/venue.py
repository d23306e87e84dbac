"""A test's side of a simulator: starts it, and speaks with it through the control channel."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from brokers.faults import Fault, Faults, Operation
from shared.models import Account, Fill, Order, Position, Side
from tests.simulators.scripted import Scripted

PROJECT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 30.0
_ORDERS = TypeAdapter(tuple[Order, ...])
_POSITIONS = TypeAdapter(tuple[Position, ...])
_ACCOUNT = TypeAdapter(Account)
_MOMENT = TypeAdapter(datetime)

Price = Decimal | int | str


class VenueClock:
    """A clock that agrees with the exchange's: whoever waits lets the market trade on."""

    def __init__(self, venue: "SimulatedVenue") -> None:
        self._venue: SimulatedVenue = venue

    def now(self) -> datetime:
        """Return the exchange's time."""
        return self._venue.now()

    async def sleep(self, seconds: float) -> None:
        """Let that time go by."""
        self._venue.move_to(self._venue.now() + timedelta(seconds=seconds))


class SimulatedVenue:
    """`tests.brokers.contract.Venue` but for the broker, which is made from the addresses here."""

    symbol: str
    lot_size: int
    currency: str

    def __init__(self, simulator: str, folder: Path, *arguments: str) -> None:
        """Start a simulator, by the name of its package, that keeps its account in `folder`."""
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", simulator, "--folder", str(folder), *arguments],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port: int = said["port"]
        self._control: HTTPConnection = HTTPConnection(
            "127.0.0.1", said["control_port"], timeout=_PATIENCE_SECONDS
        )
        self.faults: Faults = _RemoteFaults(self)

    @property
    def pid(self) -> int:
        """The simulator's process."""
        return self._process.pid

    def close(self) -> None:
        """End the simulator, and wait for it."""
        self._control.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    async def minute(self, *prices: int, lots: int = 1000) -> None:
        """Let the next whole minute go by with trades in the symbol."""
        self.trade(*prices, volume=lots * self.lot_size)

    def trade(self, *prices: Price, symbol: str | None = None, volume: int = 1000) -> datetime:
        """Let the next whole minute go by with trades in one symbol; return where the clock stands then."""
        return self.trade_many({symbol or self.symbol: prices}, volume=volume)

    def trade_many(self, prices: Mapping[str, Sequence[Price]], *, volume: int = 1000) -> datetime:
        """Let the next whole minute go by with trades in several symbols."""
        bars = {
            symbol: {"prices": [str(price) for price in four], "volume": volume}
            for symbol, four in prices.items()
        }
        return _MOMENT.validate_python(self.ask("trade", bars=bars))

    def now(self) -> datetime:
        """Return where the simulator's clock stands."""
        return _MOMENT.validate_python(self.ask("move_clock"))

    def move_to(self, moment: datetime) -> None:
        """Move the clock forward."""
        self.ask("move_clock", to=moment.isoformat())

    def let_clock_run(self) -> None:
        """Let the clock go at the wall's pace from now on."""
        self.ask("move_clock", runs=True)

    def halt(self, *, minutes: int, symbol: str | None = None) -> None:
        """Halt a symbol from now on."""
        self.ask("halt", symbol=symbol or self.symbol, minutes=minutes)

    def close_exchange(self, *, minutes: int) -> None:
        """Close the exchange unplanned, from now on."""
        self.ask("halt", minutes=minutes)

    def add_stock(self, symbol: str, price: Price) -> None:
        """Let one more stock have been there."""
        self.ask("add_stock", symbol=symbol, price=str(price))

    def inject(self, fault: Scripted[Any]) -> None:
        """Let answers go wrong on the wire."""
        self.ask("inject_wire", **asdict(fault))

    def heal(self) -> None:
        """Take every fault of the wire away."""
        self.ask("heal")

    def cancel(self, order_id: str) -> None:
        """Cancel an order behind the agent's back."""
        self.ask("cancel", order_id=order_id)

    def trade_by_somebody_else(
        self, side: Side, quantity: int, price: Price, *, symbol: str | None = None
    ) -> None:
        """Let a person trade in the broker's own app."""
        words = {"symbol": symbol or self.symbol, "side": side, "quantity": quantity}
        self.ask("trade_by_somebody_else", price=str(price), **words)

    def receive(self, amount: Price) -> None:
        """Let money come, or below 0 go."""
        self.ask("receive", amount=str(amount))

    def split(self, *, new: int, old: int, symbol: str | None = None) -> None:
        """Split a holding."""
        self.ask("split", symbol=symbol or self.symbol, new=new, old=old)

    def listen(self, *, listens: bool) -> None:
        """Close the broker's port, so that connections are refused, or open it again."""
        self.ask("listen", listens=listens)

    def orders(self) -> tuple[Order, ...]:
        """Every order as the exchange has it, whatever the broker shows of it."""
        return _ORDERS.validate_python(self.ask("orders"))

    def fills(self) -> tuple[Fill, ...]:
        """Every execution."""
        return tuple(fill for order in self.orders() for fill in order.fills)

    def positions(self) -> tuple[Position, ...]:
        """The holdings."""
        return _POSITIONS.validate_python(self.ask("positions"))

    def account(self) -> Account:
        """The money."""
        return _ACCOUNT.validate_python(self.ask("account"))

    def requests(self, *, forget: bool = False) -> list[dict[str, Any]]:
        """What was asked of the broker so far, secrets apart, oldest first."""
        return self.ask("requests", forget=forget)

    def ask(self, name: str, **said: object) -> Any:
        """Say something through the control channel; raise ValueError where it cannot be done."""
        self._control.request("POST", f"/_control/{name}", body=json.dumps(said))
        answer = self._control.getresponse()
        body = json.loads(answer.read())
        if "error" in body:
            raise ValueError(body["error"])
        return body["said"]


class _RemoteFaults(Faults):
    """The script that the simulator obeys, kept there."""

    def __init__(self, venue: SimulatedVenue) -> None:
        super().__init__()
        self._venue: SimulatedVenue = venue

    def add(self, fault: Fault) -> None:
        """Add a line whose `nth` counts from the next call on."""
        self._venue.ask("inject", **asdict(fault))

    def calls(self, operation: Operation) -> int:
        """Return how often an operation was called."""
        return self._venue.ask("calls", operation=operation)

    def take(self, operation: Operation) -> Fault | None:
        """Refuse: the simulator counts its own calls."""
        msg = f"the simulator takes {operation} itself"
        raise NotImplementedError(msg)
