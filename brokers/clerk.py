"""Writes down what a cycle learns about orders, and tells a person what a person has to know.

Sends nothing. Everything that trades for one cycle shares one clerk, whose counts are the cycle's.
"""

from collections.abc import Sequence

from brokers.submissions import DeskContext
from shared import log
from shared.clock import Clock
from shared.database import broker_reports, orders, records
from shared.database.connection import Connection
from shared.database.orders import OrderRecord
from shared.database.records import Severity
from shared.errors import InvalidTransition
from shared.models import Fill, Order, OrderRequest, Refusal, Snapshot
from shared.order_life import OrderState

logger = log.get(__name__)


class Clerk:
    """The rows of one cycle about orders."""

    def __init__(self, *, connection: Connection, clock: Clock, context: DeskContext) -> None:
        """Bind to a cycle."""
        self.connection: Connection = connection
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
        await records.queue_alert(
            self.connection,
            agent_id=self.context.agent_id,
            cycle_id=self.context.cycle_id,
            severity=severity,
            subject=subject,
            body=body,
            dedupe_key=key,
            at=self._clock.now(),
        )

    async def record(self, order: Order) -> Sequence[Fill]:
        """Take in a report; one that makes no sense is for a person, and holds up no other order."""
        try:
            fills = await broker_reports.record_broker_order(
                self.connection,
                agent_id=self.context.agent_id,
                order=order,
                at=self._clock.now(),
                source=self.context.cycle_id,
            )
        except InvalidTransition as error:
            await self.alert(
                f"the report on order {order.client_order_id} contradicts what is known",
                f"{order.side} {order.quantity} {order.symbol}: {error}",
                key=f"contradiction-{order.broker_order_id}",
            )
            return ()
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
        return await orders.move_order(
            self.connection,
            order_id=record.order_id,
            to=to,
            at=self._clock.now(),
            detail=detail,
        )

    async def refuse(self, request: OrderRequest, refusal: Refusal) -> None:
        """Keep what safety refused."""
        self.refusal_codes += refusal.codes
        logger.info("order_refused", symbol=request.symbol, side=request.side, why=str(refusal))
        await records.record_refusal(
            self.connection,
            agent_id=self.context.agent_id,
            cycle_id=self.context.cycle_id,
            tool=request.purpose,
            request={name: getattr(request, name) for name in request.__slots__},
            reasons=refusal.reasons,
            at=self._clock.now(),
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
