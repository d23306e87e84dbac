"""The conformance suite's harness for the paper exchange, and the bench for its own tests."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from brokers.faults import Faults
from brokers.paper import PaperBroker
from brokers.paper_exchange import PaperExchange
from shared.clock import ManualClock
from tests.brokers.replay import MINUTE, MONDAY, MemoryReplay, at, new_york, stock

START = at(14)


def week_of_new_york() -> MemoryReplay:
    """Five sessions, and one stock that traded at 100 in the minute before START."""
    days = [MONDAY + timedelta(days=n) for n in range(5)]
    replay = MemoryReplay(
        instruments={"ACME": stock()}, sessions={day: new_york(day) for day in days}
    )
    replay.trade("ACME", START - MINUTE, prices=[100], volume=1000)
    return replay


@dataclass
class PaperVenue:
    """A paper broker, its market and its clock."""

    store: Path
    replay: MemoryReplay = field(default_factory=week_of_new_york)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    faults: Faults = field(default_factory=Faults)
    symbol: str = "ACME"
    lot_size: int = 1
    currency: str = "USD"

    def __post_init__(self) -> None:
        self.broker: PaperBroker = PaperBroker(
            self.store,
            self.replay,
            self.clock,
            account_id="paper-1",
            currency=self.currency,
            starting_cash=Decimal(100000),
            volume_share_pct=Decimal(10),
            faults=self.faults,
        )

    @property
    def exchange(self) -> PaperExchange:
        return self.broker._exchange

    async def minute(self, *prices: int, lots: int = 1000) -> None:
        """One minute of trading from where the clock stands."""
        self.trade(*prices, volume=lots * self.lot_size)

    def trade(self, *prices: Decimal | int | str, volume: int = 1000) -> None:
        start = self.clock.now()
        self.replay.trade(self.symbol, start, prices=prices, volume=volume)
        self.clock.move_to(start + MINUTE)

    def move_to(self, moment: datetime) -> None:
        self.clock.move_to(moment)
