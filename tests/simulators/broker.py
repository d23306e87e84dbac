"""The broker behind a simulator's face: the paper exchange, its market and clock, the faults, and what was asked.

One thread does everything in it, one thing after another: `run` is the lock.
"""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar

from brokers.faults import Fault, Faults, Operation
from brokers.paper_exchange import PaperExchange
from tests.simulators.clock import SimulatorClock
from tests.simulators.market import SimulatedMarket

VOLUME_SHARE_PCT = Decimal(10)
_INSTANT = timedelta(microseconds=1)

Market = TypeVar("Market", bound=SimulatedMarket)
_Result = TypeVar("_Result")


class SimulatedBroker(Generic[Market]):
    """One account, in memory but for the exchange's own file."""

    def __init__(
        self, store: Path, market: Market, start: datetime, *, currency: str, cash: Decimal
    ) -> None:
        self.market: Market = market
        self.clock: SimulatorClock = SimulatorClock(start)
        self.faults: Faults = Faults()
        self.log: list[Mapping[str, object]] = []
        self._worker: ThreadPoolExecutor = ThreadPoolExecutor(max_workers=1)

        def opened() -> PaperExchange:
            return PaperExchange(
                store,
                market,
                self.clock,
                account_id=f"{store.stem}-simulator",
                currency=currency,
                starting_cash=cash,
                volume_share_pct=VOLUME_SHARE_PCT,
            )

        self.exchange: PaperExchange = self.run(opened)

    def submit(self, work: Callable[[], _Result]) -> "Future[_Result]":
        """Let something be done in the one thread that may."""
        return self._worker.submit(work)

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Do something in that thread, and wait for it."""
        return self.submit(work).result()

    def close(self) -> None:
        """Close the exchange, once what is under way is done."""
        self.run(self.exchange.close)
        self._worker.shutdown()

    def exchange_fault(self, operation: Operation | None) -> Fault | None:
        """Return what goes wrong at the exchange."""
        return None if operation is None else self.faults.take(operation)

    def advance(self) -> None:
        """Let the exchange come up to the clock."""
        self.exchange.orders(only_open=True)

    @contextmanager
    def writing(self) -> Generator[None]:
        """Change orders: a moment goes by before, so that no two orders have the same time."""
        self.clock.move_to(self.clock.now() + _INSTANT)
        self.advance()
        yield
        self.advance()
