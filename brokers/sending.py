"""Sends orders and cancels: safety, intent committed, sent once, outcome recorded, cancel confirmed.

Knows neither why an order is wanted nor what has to come first; that is the desk's and the exit's.
"""

import itertools
from dataclasses import replace

import safety
from brokers.base import DUPLICATE_CLIENT_ORDER_ID, Broker
from brokers.clerk import Clerk
from brokers.submissions import NotPlaced, Placed, Refused, Submission
from shared import log
from shared.clock import Clock
from shared.config import LimitSettings, OrderSettings
from shared.database import orders
from shared.database.orders import OrderRecord, SaleUnderWay
from shared.errors import BrokerUnavailable, OrderOutcomeUnknown, OrderRejected
from shared.identity import client_order_id, decision_key
from shared.models import Order, OrderPurpose, OrderRequest, OrderStatus, Refusal, Snapshot
from shared.order_life import OrderState

logger = log.get(__name__)

_RESTS_NOWHERE = frozenset({OrderState.NOT_PLACED, OrderState.REJECTED})
_SELLS_NO_MORE = _RESTS_NOWHERE | {OrderState.CANCELED, OrderState.EXPIRED}
"""A sale that ended so may be asked for again: it never exceeds what is held and available."""
_LOOKED_AGAIN_AFTER_SECONDS = 1.0


class Sending:
    """The one way on which a cycle's orders reach its broker."""

    def __init__(
        self,
        *,
        broker: Broker,
        clerk: Clerk,
        clock: Clock,
        limits: LimitSettings,
        settings: OrderSettings,
    ) -> None:
        """Bring together what orders are sent with."""
        self._broker: Broker = broker
        self._clerk: Clerk = clerk
        self._clock: Clock = clock
        self._limits: LimitSettings = limits
        self._settings: OrderSettings = settings

    async def submit(self, draft: OrderRequest, snapshot: Snapshot, *, why: str) -> Submission:
        """Send a draft if safety agrees; the same decision again in a cycle gives its first result."""
        request, first = await self._named(draft)
        if first is not None:
            return Placed(record=first, duplicate=True)
        verdict = safety.review(request, snapshot, self._limits, self._clock.now())
        if isinstance(verdict, Refusal):
            await self._clerk.refuse(request, verdict)
            return Refused(request=request, refusal=verdict)
        if self._clerk.context.dry_run:
            return NotPlaced(request=request)
        return await self._send(verdict, why=why)

    async def cancel(
        self, order: Order, snapshot: Snapshot, *, why: str, to_leave: bool = False
    ) -> Order | None:
        """Ask for a cancel and wait until it is confirmed, or until it is not in time: then alert.

        Returns the order as it then is; None where safety refused, in a dry run, and where the broker did
        not answer. `to_leave` asks safety's leave to cancel what protects a position.
        """
        verdict = safety.review_cancel(
            order.broker_order_id,
            why=why,
            snapshot=snapshot,
            now=self._clock.now(),
            to_leave=to_leave,
        )
        if isinstance(verdict, Refusal):
            logger.warning("cancel_refused", order=order.broker_order_id, why=str(verdict))
            return None
        if self._clerk.context.dry_run:
            return None
        try:
            found = await self._broker.cancel_order(verdict)
        except OrderRejected:
            found = await self._found(order)
        except (OrderOutcomeUnknown, BrokerUnavailable) as error:
            await self._unconfirmed(order, str(error))
            return None
        if found is None:
            return None
        self._clerk.cancels += 1
        return await self._confirmed(found)

    async def _send(self, approved: safety.ApprovedOrder, *, why: str) -> Placed:
        """Commit the intent, then call the broker exactly once, then commit what became of it."""
        request, clerk = approved.request, self._clerk
        try:
            record = await self._intend(request, why)
        except SaleUnderWay as error:
            return Placed(record=error.existing, duplicate=True, problem=str(error))
        await clerk.move(record, OrderState.SUBMITTING)
        clerk.orders_placed += 1
        logger.info(
            "order_sent",
            order=record.client_order_id,
            symbol=request.symbol,
            side=request.side,
            quantity=request.quantity,
            limit_price=request.limit_price,
            why=why,
        )
        call = self._broker.place_order if request.replaces is None else self._broker.replace_order
        try:
            order = await call(approved)
        except OrderRejected as error:
            return await self._rejected(record, request, error)
        except BrokerUnavailable as error:
            moved = await clerk.move(record, OrderState.NOT_PLACED, str(error))
            return Placed(record=moved, problem=str(error))
        except OrderOutcomeUnknown as error:
            return Placed(record=await self._unknown(record, str(error)), problem=str(error))
        except Exception as error:
            await self._unknown(record, f"{type(error).__name__}: {error}")
            raise
        return await self._answered(record, request, order)

    async def _intend(self, request: OrderRequest, why: str) -> OrderRecord:
        context = self._clerk.context
        if request.purpose is not OrderPurpose.ENTRY:
            await orders.require_no_sale_under_way(
                self._clerk.connection, agent_id=context.agent_id, request=request
            )
            self._clerk.note_intent(request, why)
        return await orders.insert_intent(
            self._clerk.connection,
            agent_id=context.agent_id,
            cycle_id=context.cycle_id,
            request=request,
            reason=why,
            currency=context.currency,
            at=self._clock.now(),
            sender=context.sender,
        )

    async def _answered(self, record: OrderRecord, request: OrderRequest, order: Order) -> Placed:
        """Believe an answer only when it is about the order that was sent."""
        problem = _not_about(request, order)
        if problem is not None:
            return Placed(record=await self._unknown(record, problem), problem=problem)
        await self._clerk.record(order)
        return Placed(record=await self._clerk.current(record))

    async def _rejected(
        self, record: OrderRecord, request: OrderRequest, error: OrderRejected
    ) -> Placed:
        """Keep a rejection; that the id is taken means that the order may be there already."""
        if error.code != DUPLICATE_CLIENT_ORDER_ID:
            moved = await self._clerk.move(record, OrderState.REJECTED, str(error))
            return Placed(record=moved, problem=str(error))
        try:
            found = await self._broker.order_by_client_id(request.client_order_id)
        except BrokerUnavailable as unread:
            problem = f"{error}, and it could not be looked up: {unread}"
            return Placed(record=await self._unknown(record, problem), problem=problem)
        if found is None:
            problem = f"{error}, and no order of that id is found"
            return Placed(record=await self._unknown(record, problem), problem=problem)
        return await self._answered(record, request, found)

    async def _unknown(self, record: OrderRecord, why: str) -> OrderRecord:
        moved = await self._clerk.move(record, OrderState.UNKNOWN, why)
        await self._clerk.alert(
            f"the outcome of order {record.client_order_id} is not known",
            f"{record.side} {record.quantity} {record.symbol}: {why}. It is not sent again; no new"
            " position is opened until it is found, proven absent, or settled by a person.",
            key=f"unknown-{record.client_order_id}",
        )
        return moved

    async def _confirmed(self, order: Order) -> Order:
        """Record a cancel's answer, and look until it is final or the time is up."""
        await self._clerk.record(order)
        deadline, found = self._settings.cancel_confirm_seconds, order
        while found.status is OrderStatus.CANCEL_PENDING and deadline > 0:
            await self._clock.sleep(_LOOKED_AGAIN_AFTER_SECONDS)
            deadline -= _LOOKED_AGAIN_AFTER_SECONDS
            found = await self._found(order) or found
            await self._clerk.record(found)
        if found.status is OrderStatus.CANCEL_PENDING:
            await self._unconfirmed(order, "the broker has not confirmed it yet")
        return found

    async def _found(self, order: Order) -> Order | None:
        """Look an order up by its own id, or among all where it has none."""
        if order.client_order_id is not None:
            return await self._broker.order_by_client_id(order.client_order_id)
        listed = await self._broker.orders(only_open=False, since=order.submitted_at)
        return next((o for o in listed if o.broker_order_id == order.broker_order_id), None)

    async def _unconfirmed(self, order: Order, why: str) -> None:
        await self._clerk.alert(
            f"the cancel of {order.broker_order_id} is not confirmed",
            f"{order.side} {order.quantity} {order.symbol}: {why}",
            key=f"cancel-{order.broker_order_id}",
        )

    async def _named(self, draft: OrderRequest) -> tuple[OrderRequest, OrderRecord | None]:
        """Give a draft the id that its decision in this cycle leads to, and return its order if it has
        one. What provably rests nowhere, and a sale that is over, may be asked for again: that is another
        attempt."""
        over = _RESTS_NOWHERE if draft.purpose is OrderPurpose.ENTRY else _SELLS_NO_MORE
        for attempt in itertools.count(1):
            request = replace(draft, client_order_id=self._id_of(draft, attempt))
            record = await self._clerk.own(request.client_order_id)
            if record is None or record.status not in over:
                return request, record
        raise AssertionError

    def _id_of(self, draft: OrderRequest, attempt: int) -> str:
        context = self._clerk.context
        return client_order_id(
            database=context.database,
            agent_id=context.agent_id,
            cycle=f"{context.cycle_id}{context.occasion}",
            decision=decision_key(draft),
            attempt=attempt,
        )


def _not_about(request: OrderRequest, order: Order) -> str | None:
    """Say why an answer cannot be about what was sent; None when it can."""
    if order.client_order_id != request.client_order_id or not order.broker_order_id:
        return (
            f"the broker answered about order {order.client_order_id or 'without an id'},"
            f" not about {request.client_order_id}"
        )
    # what a replacement counts as its quantity differs between brokers once the old order filled in part
    quantities = (request.quantity, order.quantity) if request.replaces is None else (0, 0)
    asked = (request.symbol, request.side, quantities[0])
    answered = (order.symbol, order.side, quantities[1])
    if asked != answered:
        return (
            f"the broker has {' '.join(map(str, answered))}, asked was {' '.join(map(str, asked))}"
        )
    return None
