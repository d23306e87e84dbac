"""The conformance suite's harness for the paper exchange, and the bench for its own tests."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from brokers.faults import Fault, FaultKind, Faults, Operation
from brokers.paper import PaperBroker
from brokers.paper_exchange import PaperExchange
from shared.clock import ManualClock
from tests.brokers.contract_venue import Breakage
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
    many: int = 15

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

    async def next_session(self) -> None:
        """Go to ten minutes after the next open."""
        day = self.clock.now().date() + timedelta(days=1)
        self.move_to(self.replay.sessions[day].opens_at + 10 * MINUTE)

    @property
    def call_seconds(self) -> float:
        """Calls do not leave the event loop."""
        return 1.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """There is none."""
        return ()

    def breaks(self, operation: Operation, how: Breakage, *, carried_out: bool) -> bool:
        """Lose the answer, or refuse; there is no wire on which it could look otherwise."""
        is_refusal = how.is_status and not how.value.startswith("5")
        if carried_out:
            kind = FaultKind.DROP_REPLY
        elif is_refusal:
            kind = FaultKind.REJECT if operation.writes else FaultKind.REFUSE
        else:
            kind = FaultKind.TIME_OUT
        if how is Breakage.HTTP_429:
            kind = FaultKind.REFUSE
        self.faults.add(Fault(operation=operation, kind=kind))
        return True

    def refuses_connections(self, *, refuses: bool) -> bool:
        """Refuse every call, or none."""
        self.faults._script.clear()
        for operation in Operation if refuses else ():
            self.faults.add(Fault(operation=operation, kind=FaultKind.REFUSE, times=None))
        return True

    def trade(self, *prices: Decimal | int | str, volume: int = 1000) -> None:
        start = self.clock.now()
        self.replay.trade(self.symbol, start, prices=prices, volume=volume)
        self.clock.move_to(start + MINUTE)

    def move_to(self, moment: datetime) -> None:
        self.clock.move_to(moment)
