"""The one path on which orders reach a broker, for one cycle: what enters, leaves and protects.

Knows nothing of Claude or of where quotes come from; it is given a way to look at the world.
"""

from collections.abc import Sequence

import safety
from brokers.base import Broker
from brokers.clerk import Clerk
from brokers.drafts import exit_requests
from brokers.exits import Exits, Look, require_bid
from brokers.lots import dust_of
from brokers.protection import Protection
from brokers.resolution import Resolution
from brokers.sending import Sending
from brokers.submissions import DeskContext, NotPlaced, Placed, Refused, Submission
from shared.clock import Clock
from shared.config import LimitSettings, OrderSettings
from shared.database import positions
from shared.database.records import Severity
from shared.journal.books import Books
from shared.models import Fill, Order, OrderRequest, Refusal, Snapshot

__all__ = ["DeskContext", "Look", "NotPlaced", "OrderDesk", "Placed", "Refused", "Submission"]


class OrderDesk:
    """Places, replaces and cancels orders for one cycle, and keeps the database level with the broker."""

    def __init__(
        self,
        *,
        broker: Broker,
        books: Books,
        clock: Clock,
        limits: LimitSettings,
        settings: OrderSettings,
        context: DeskContext,
        look: Look,
    ) -> None:
        """Bring together what a cycle trades with."""
        self._clock: Clock = clock
        self._limits: LimitSettings = limits
        self._look: Look = look
        self._clerk: Clerk = Clerk(books=books, clock=clock, context=context)
        self._sending: Sending = Sending(
            broker=broker, clerk=self._clerk, clock=clock, limits=limits, settings=settings
        )
        self._exits: Exits = Exits(
            sending=self._sending, clerk=self._clerk, look=look, capabilities=broker.capabilities
        )
        self._resolution: Resolution = Resolution(broker=broker, clerk=self._clerk, clock=clock)
        self._protection: Protection = Protection(
            broker=broker,
            sending=self._sending,
            exits=self._exits,
            clerk=self._clerk,
            clock=clock,
            settings=settings,
            look=look,
        )

    @property
    def orders_placed(self) -> int:
        """Orders that were sent, whatever became of them."""
        return self._clerk.orders_placed

    @property
    def cancels(self) -> int:
        """Cancels that the broker answered."""
        return self._clerk.cancels

    @property
    def fills(self) -> int:
        """Fills that were new."""
        return self._clerk.fills

    @property
    def refusal_codes(self) -> Sequence[str]:
        """Codes of every reason that safety gave, in order."""
        return self._clerk.refusal_codes

    @property
    def alerts(self) -> list[str]:
        """Subjects of what a person is told."""
        return self._clerk.alerts

    @property
    def has_acted(self) -> bool:
        """Whether anything changed at the broker or in what is known of it."""
        return bool(self.orders_placed or self.cancels or self.fills)

    async def synchronise(self) -> tuple[Fill, ...]:
        """Write what the broker knows about our orders into the database; return the new fills."""
        return await self._resolution.synchronise()

    async def enter(self, draft: OrderRequest, *, why: str) -> Submission:
        """Ask for an entry whose prices are put on the tick first."""
        snapshot = await self._look((draft.symbol,))
        instrument = snapshot.instruments.get(draft.symbol)
        request = draft if instrument is None else safety.on_tick(draft, instrument)
        return await self._sending.submit(request, snapshot, why=why)

    async def exit(
        self, symbol: str, *, why: str, quantity: int | None = None
    ) -> tuple[Submission, ...]:
        """Sell a whole position, as `Exits.leave` has it. Raises ToolError."""
        return await self._exits.leave(symbol, why=why, quantity=quantity)

    async def cancel_entries(
        self, snapshot: Snapshot, *, why: str, symbol: str | None = None
    ) -> tuple[Order, ...]:
        """Cancel entries of ours that still rest; what they filled so far stays and wants protection."""
        return await self._exits.cancel_entries(snapshot, why=why, symbol=symbol)

    async def tidy(self, *, why: str, all_entries: bool = False) -> None:
        """Cancel entries whose life is over or that filled in part, or all, and protect what they filled."""
        snapshot = await self._look(())
        wanted = None if all_entries else self._protection.is_due
        if await self._exits.cancel_entries(snapshot, why=why, wanted=wanted):
            await self.synchronise()
            snapshot = await self._look(())
        await self._protection.protect(snapshot)

    async def protect(self, snapshot: Snapshot) -> tuple[Submission, ...]:
        """Rest a stop and a target for every share of ours that has none."""
        return await self._protection.protect(snapshot)

    async def tell_of_dust(self, snapshot: Snapshot) -> frozenset[str]:
        """Return the symbols of ours of which less than a lot is left, and tell a person of each once."""
        held = await positions.open_positions(self._clerk.connection, self._clerk.context.agent_id)
        dust = dust_of(held, snapshot)
        for record in dust:
            await self._clerk.alert(
                f"{record.symbol}: {record.quantity} shares are less than a lot",
                f"No order can sell {record.quantity} shares of {record.symbol}, whose lot is"
                f" {snapshot.instruments[record.symbol].lot_size}: a person has to sell the odd lot."
                " They count as a position; nothing asks for their sale again.",
                key=f"dust-{record.position_id}",
                severity="warning",
            )
        return frozenset(record.symbol for record in dust)

    async def advise_entry(self, draft: OrderRequest) -> tuple[Refusal, ...]:
        """Say what safety would answer to an entry now; empty when it would agree."""
        snapshot = await self._look((draft.symbol,))
        instrument = snapshot.instruments.get(draft.symbol)
        request = draft if instrument is None else safety.on_tick(draft, instrument)
        return self._refusals([request], snapshot)

    async def advise_exit(self, symbol: str, quantity: int) -> tuple[Refusal, ...]:
        """Say what safety would answer to leaving a position now; empty when it would agree."""
        snapshot = await self._look((symbol,))
        wanted = self._exits.sellable(symbol, quantity, snapshot) or quantity
        requests = require_bid(exit_requests(symbol, wanted, snapshot), symbol)
        return self._refusals(requests, snapshot)

    async def alert(
        self, subject: str, body: str, *, key: str, severity: Severity = "critical"
    ) -> None:
        """Tell a person: a row in the outbox, a line in the log, a word in the run's outcome."""
        await self._clerk.alert(subject, body, key=key, severity=severity)

    def _refusals(
        self, requests: Sequence[OrderRequest], snapshot: Snapshot
    ) -> tuple[Refusal, ...]:
        now = self._clock.now()
        verdicts = [safety.review(one, snapshot, self._limits, now) for one in requests]
        return tuple(verdict for verdict in verdicts if isinstance(verdict, Refusal))
