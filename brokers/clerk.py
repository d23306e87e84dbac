"""Writes down what a cycle learns about orders, and tells a person what a person has to know.

Sends nothing. Everything that trades for one cycle shares one clerk, whose counts are the cycle's.
"""

from collections.abc import Sequence

from brokers.submissions import DeskContext
from shared import log
from shared.clock import Clock
from shared.database import orders
from shared.database.connection import Connection
from shared.database.orders import OrderRecord
from shared.database.records import Severity
from shared.errors import InvalidTransition
from shared.journal import stops
from shared.journal.books import Books
from shared.journal.entries import (
    AlertQueued,
    IntentWritten,
    OrderMoved,
    OrderReported,
    RequestRefused,
)
from shared.models import Fill, Order, OrderRequest, Refusal, Snapshot
from shared.order_life import OrderState

logger = log.get(__name__)


class Clerk:
    """The rows of one cycle about orders."""

    def __init__(self, *, books: Books, clock: Clock, context: DeskContext) -> None:
        """Bind to a cycle."""
        self.connection: Connection = books.connection
        self._books: Books = books
        self.context: DeskContext = context
        self._clock: Clock = clock
        self.orders_placed: int = 0
        self.cancels: int = 0
        self.fills: int = 0
        self.refusal_codes: list[str] = []
        self.alerts: list[str] = []

    async def alert(
        self, subject: str, body: str, *, key: str, severity: Severity = "critical"
    ) -> None:
        """Tell a person: a row in the outbox, a line in the log, a word in the run's outcome."""
        logger.error("alert", subject=subject, body=body)
        self.alerts.append(subject)
        if self.context.dry_run:
            return
        await self._books.keep(
            AlertQueued(
                agent_id=self.context.agent_id,
                cycle_id=self.context.cycle_row,
                severity=severity,
                subject=subject,
                body=body,
                dedupe_key=key,
                at=self._clock.now(),
            )
        )

    async def record(self, order: Order) -> Sequence[Fill]:
        """Take in a report; one that makes no sense is for a person, and holds up no other order."""
        if self.context.reports.is_known(order):
            return ()
        try:
            fills = await self._books.keep(
                OrderReported(
                    agent_id=self.context.agent_id,
                    order=order,
                    source=self.context.cycle_id,
                    at=self._clock.now(),
                )
            )
        except InvalidTransition as error:
            await self.alert(
                f"the report on order {order.client_order_id} contradicts what is known",
                f"{order.side} {order.quantity} {order.symbol}: {error}",
                key=f"contradiction-{order.broker_order_id}",
            )
            return ()
        self.context.reports.note(order)
        self.fills += len(fills)
        for fill in fills:
            logger.info(
                "filled",
                symbol=fill.symbol,
                side=fill.side,
                quantity=fill.quantity,
                price=fill.price,
                at=fill.at,
            )
        return fills

    async def move(
        self, record: OrderRecord, to: OrderState, detail: str | None = None
    ) -> OrderRecord:
        """Put an order of ours into a new state."""
        said = {} if detail is None else {"detail": detail}
        logger.info("order_moved", order=record.client_order_id, to=to, **said)
        if record.client_order_id is None:
            msg = f"order {record.broker_order_id} is a leg, which only its broker moves"
            raise ValueError(msg)
        return await self._books.keep(
            OrderMoved(
                client_order_id=record.client_order_id,
                to=to,
                detail=detail,
                at=self._clock.now(),
            )
        )

    async def refuse(self, request: OrderRequest, refusal: Refusal) -> None:
        """Keep what safety refused."""
        self.refusal_codes += refusal.codes
        logger.info("order_refused", symbol=request.symbol, side=request.side, why=str(refusal))
        await self._books.keep(
            RequestRefused(
                agent_id=self.context.agent_id,
                cycle_id=self.context.cycle_row,
                tool=request.purpose,
                request={name: getattr(request, name) for name in request.__slots__},
                reasons=refusal.reasons,
                at=self._clock.now(),
            )
        )

    def note_intent(self, request: OrderRequest, why: str) -> None:
        """Keep a sale or a protection in the local journal before anybody else hears of it.

        Where that fails the database alone remembers it: a full disk keeps nobody in a position.
        """
        problem = self._books.note(
            IntentWritten(
                agent_id=self.context.agent_id,
                cycle_id=self.context.cycle_row,
                request=request,
                reason=why,
                currency=self.context.currency,
                sender=self.context.sender,
                at=self._clock.now(),
            )
        )
        if problem is not None:
            logger.error("intent_not_in_the_journal", order=request.client_order_id, why=problem)

    async def remember_stops(self) -> None:
        """Keep the stops of our positions in a file beside the database; a disk that is full is logged."""
        open_ = await orders.open_positions(self.connection, self.context.agent_id)
        if self.context.dry_run:
            return
        try:
            stops.remember_stops(
                self._books.journal.home,
                self.context.agent_id,
                open_,
                self._clock.now(),
                database=self.context.database,
            )
        except OSError as error:
            logger.exception("stops_not_remembered")
            await self.alert(
                "the stops cannot be kept outside the database",
                f"The file of stops cannot be written: {error.strerror}.",
                key="stops-not-remembered",
            )

    async def own(self, client_order_id: str | None) -> OrderRecord | None:
        """Find the row of an order; None for orders that were placed by somebody else."""
        if client_order_id is None:
            return None
        return await orders.order_by_client_id(self.connection, client_order_id)

    async def current(self, record: OrderRecord) -> OrderRecord:
        """Return the row as it is by now."""
        return await self.own(record.client_order_id) or record

    async def ours(self, symbol: str, snapshot: Snapshot) -> int:
        """Shares that our own fills left us and the broker has; what was bought by hand is not ours."""
        held = snapshot.position(symbol)
        open_ = await orders.open_positions(self.connection, self.context.agent_id)
        ours = sum(record.quantity for record in open_ if record.symbol == symbol)
        return 0 if held is None else min(int(held.quantity), ours)
