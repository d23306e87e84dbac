"""The one path on which orders reach a broker: safety, intent committed, sent once, outcome recorded.

Knows nothing of Claude or of where quotes come from; it is given a way to look at the world.
"""

import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

import safety
from brokers.base import Broker
from brokers.drafts import (
    exit_requests,
    is_open_entry,
    is_through,
    naked_quantity,
    protection_request,
)
from shared import log
from shared.clock import Clock
from shared.config import LimitSettings
from shared.database import broker_reports, orders, positions, records
from shared.database.connection import Connection
from shared.database.fences import Sender
from shared.database.orders import OrderRecord
from shared.database.positions import PositionRecord
from shared.database.records import Severity
from shared.errors import (
    BrokerUnavailable,
    InvalidTransition,
    OrderOutcomeUnknown,
    OrderRejected,
    ToolError,
)
from shared.identity import client_order_id, decision_key
from shared.models import (
    Fill,
    Order,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    Refusal,
    Snapshot,
)
from shared.order_life import OrderState

logger = log.get(__name__)

Look = Callable[[Collection[str]], Awaitable[Snapshot]]
"""Takes a fresh snapshot that has quotes and instruments for these symbols at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskContext:
    """Under whose name, in which cycle, and for which database orders are placed."""

    agent_id: str
    cycle_id: str
    currency: str
    database: UUID
    sender: Sender
    """Under which lock; an intent is written only while that is held."""
    dry_run: bool
    is_cycle: bool = True
    """Whether the cycle has a row; the startup monitor is none."""

    @property
    def cycle_row(self) -> str | None:
        """The cycle that rows can refer to."""
        return self.cycle_id if self.is_cycle else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Safety said no; the reasons are recorded."""

    request: OrderRequest
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPlaced:
    """Safety agreed and a dry run stopped here; nothing was written or sent."""

    request: OrderRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The order has a row; its state says what the broker made of it."""

    record: OrderRecord
    duplicate: bool = False
    """True when the same decision was asked before in this cycle and this is its first result."""
    problem: str | None = None
    """Why the broker does not have it, or may not have it, where this call found that out."""


Submission = Refused | NotPlaced | Placed

_RESTS_NOWHERE = frozenset({OrderState.NOT_PLACED, OrderState.REJECTED})


class OrderDesk:
    """Places, replaces and cancels orders for one cycle, and keeps the database level with the broker."""

    def __init__(
        self,
        *,
        broker: Broker,
        connection: Connection,
        clock: Clock,
        limits: LimitSettings,
        context: DeskContext,
        look: Look,
    ) -> None:
        """Bring together what a cycle trades with."""
        self._broker: Broker = broker
        self._connection: Connection = connection
        self._clock: Clock = clock
        self._limits: LimitSettings = limits
        self._context: DeskContext = context
        self._look: Look = look
        self.orders_placed: int = 0
        self.cancels: int = 0
        self.fills: int = 0
        self.refusal_codes: list[str] = []
        self.alerts: list[str] = []

    @property
    def has_acted(self) -> bool:
        """Whether anything changed at the broker or in what is known of it."""
        return bool(self.orders_placed or self.cancels or self.fills)

    async def synchronise(self) -> tuple[Fill, ...]:
        """Write what the broker knows about our orders into the database; return the new fills.

        Unresolved orders are looked up by their client order id and adopted when found. One that is not
        found stays unresolved, since absence proves nothing; only an intent that its process never
        began to send, which is committed before anything is sent, is settled as not placed.
        """
        fills: list[Fill] = []
        for unresolved in await orders.unresolved_orders(self._connection, self._context.agent_id):
            fills += await self._resolve(unresolved)
        for order in await self._broker.orders(only_open=False):
            fills += await self._record(order)
        unexplained = await orders.unexplained_fills(self._connection, self._context.agent_id)
        if unexplained:
            await self.alert(
                "fills fit no position",
                f"These fills are known and explain no position: {', '.join(unexplained)}.",
                key=f"unexplained-{unexplained[-1]}",
            )
        return tuple(fills)

    async def enter(self, draft: OrderRequest, *, why: str) -> Submission:
        """Ask for an entry whose prices are put on the tick first."""
        snapshot = await self._look((draft.symbol,))
        instrument = snapshot.instruments.get(draft.symbol)
        request = draft if instrument is None else safety.on_tick(draft, instrument)
        return await self._submit(request, snapshot, why=why)

    async def exit(
        self, symbol: str, *, why: str, quantity: int | None = None
    ) -> tuple[Submission, ...]:
        """Sell a whole position, through its resting targets where there are any.

        Entries that still rest in the symbol are cancelled first. Raises ToolError when a part is asked
        for, since the protective legs cover the whole, and when nothing can be sold for want of a bid.
        """
        snapshot = await self._look((symbol,))
        ours = await self._ours(symbol, snapshot)
        if quantity is not None and 0 < quantity < ours:
            msg = f"positions are sold whole: {ours} shares of {symbol} are held, not {quantity}"
            raise ToolError(msg)
        if any(is_open_entry(order, symbol) for order in snapshot.open_orders):
            await self.cancel_entries(snapshot, why=why, symbol=symbol)
            snapshot = await self._look((symbol,))
            quantity = None if quantity == ours else quantity
        wanted = quantity or await self._ours(symbol, snapshot)
        requests = _required(exit_requests(symbol, wanted, snapshot), symbol)
        return tuple([await self._leave(request, snapshot, why=why) for request in requests])

    async def cancel_entries(
        self,
        snapshot: Snapshot,
        *,
        why: str,
        symbol: str | None = None,
        only_partly_filled: bool = False,
    ) -> tuple[Order, ...]:
        """Cancel entries of ours that still rest; what they filled so far stays and wants protection."""
        canceled: list[Order] = []
        for order in snapshot.open_orders:
            wanted = order.filled_quantity > 0 or not only_partly_filled
            if wanted and is_open_entry(order, symbol) and await self._own(order.client_order_id):
                canceled += await self._cancel(order, snapshot, why=why)
        return tuple(canceled)

    async def tidy(self, *, why: str, only_partly_filled: bool = False) -> None:
        """Cancel entries that still rest, and protect what they filled."""
        snapshot = await self._look(())
        if await self.cancel_entries(snapshot, why=why, only_partly_filled=only_partly_filled):
            await self.synchronise()
            snapshot = await self._look(())
        await self.protect(snapshot)

    async def protect(self, snapshot: Snapshot) -> tuple[Submission, ...]:
        """Rest a stop and a target for every share of ours that has none.

        Stop and target are those of the entry. What cannot be protected is alerted, never skipped.
        """
        made: list[Submission] = []
        for record in await positions.open_positions(self._connection, self._context.agent_id):
            naked = naked_quantity(record.symbol, record.quantity, snapshot)
            if naked > 0:
                made += await self._protect(record, naked, snapshot)
        return tuple(made)

    async def advise_entry(self, draft: OrderRequest) -> tuple[Refusal, ...]:
        """Say what safety would answer to an entry now; empty when it would agree."""
        snapshot = await self._look((draft.symbol,))
        instrument = snapshot.instruments.get(draft.symbol)
        request = draft if instrument is None else safety.on_tick(draft, instrument)
        return self._refusals([request], snapshot)

    async def advise_exit(self, symbol: str, quantity: int) -> tuple[Refusal, ...]:
        """Say what safety would answer to leaving a position now; empty when it would agree."""
        snapshot = await self._look((symbol,))
        requests = _required(exit_requests(symbol, quantity, snapshot), symbol)
        return self._refusals(requests, snapshot)

    def _refusals(
        self, requests: Sequence[OrderRequest], snapshot: Snapshot
    ) -> tuple[Refusal, ...]:
        now = self._clock.now()
        verdicts = [safety.review(one, snapshot, self._limits, now) for one in requests]
        return tuple(verdict for verdict in verdicts if isinstance(verdict, Refusal))

    async def alert(
        self, subject: str, body: str, *, key: str, severity: Severity = "critical"
    ) -> None:
        """Tell a person: a row in the outbox, a line in the log, a word in the run's outcome."""
        logger.error("alert", subject=subject, body=body)
        self.alerts.append(subject)
        if self._context.dry_run:
            return
        await records.queue_alert(
            self._connection,
            agent_id=self._context.agent_id,
            cycle_id=self._context.cycle_row,
            severity=severity,
            subject=subject,
            body=body,
            dedupe_key=key,
            at=self._clock.now(),
        )

    async def _resolve(self, unresolved: OrderRecord) -> Sequence[Fill]:
        found = await self._look_up(unresolved.client_order_id)
        if found is not None:
            return await self._record(found)
        if unresolved.status is OrderState.INTENT:
            why = "its process ended before it was sent"
            await self._move(unresolved, OrderState.NOT_PLACED, why)
            return ()
        await self.alert(
            f"order {unresolved.client_order_id} is {unresolved.status} and is not found",
            f"{unresolved.side} {unresolved.quantity} {unresolved.symbol} of"
            f" {unresolved.created_at.isoformat()} is not known to the broker by its id. That proves"
            " nothing: no new position is opened until it is found or settled by a person.",
            key=f"unresolved-{unresolved.client_order_id}",
        )
        return ()

    async def _protect(
        self, record: PositionRecord, naked: int, snapshot: Snapshot
    ) -> Sequence[Submission]:
        """Rest an OCO for naked shares; where the price is through the stop already, sell them."""
        if self._context.dry_run:
            return ()
        symbol, key = record.symbol, f"{record.symbol}-{record.position_id}"
        await self.alert(
            f"{symbol}: {naked} shares had no resting stop",
            f"{naked} of {record.quantity} shares of {symbol} were found without a stop at"
            f" {snapshot.taken_at.isoformat()}.",
            key=f"naked-{key}",
        )
        if is_through(record.stop_loss, symbol, snapshot):
            submissions = await self.exit(symbol, why=f"the price is through {record.stop_loss}")
        else:
            request = protection_request(
                symbol=symbol,
                quantity=naked,
                stop_loss=record.stop_loss,
                take_profit=record.take_profit,
            )
            why = "protect what the entry filled"
            submissions = (await self._submit(request, snapshot, why=why),)
        for why_not in filter(None, map(_why_not_resting, submissions)):
            await self.alert(
                f"{symbol}: {naked} shares are not protected",
                f"No stop could be placed for {naked} shares of {symbol}: {why_not}",
                key=f"unprotected-{key}",
            )
        return submissions

    async def _leave(self, request: OrderRequest, snapshot: Snapshot, *, why: str) -> Submission:
        """Submit an exit, unless what it would replace is the very same exit of this cycle."""
        replaced = (o for o in snapshot.open_orders if o.broker_order_id == request.replaces)
        target = next(replaced, None)
        record = None if target is None else await self._own(target.client_order_id)
        if (
            record is not None
            and record.order_purpose is OrderPurpose.EXIT
            and record.cycle_id == self._context.cycle_id
            and record.limit_price == request.limit_price
        ):
            return Placed(record=record, duplicate=True)
        return await self._submit(request, snapshot, why=why)

    async def _submit(self, draft: OrderRequest, snapshot: Snapshot, *, why: str) -> Submission:
        request, first = await self._named(draft)
        if first is not None:
            return Placed(record=first, duplicate=True)
        verdict = safety.review(request, snapshot, self._limits, self._clock.now())
        if isinstance(verdict, Refusal):
            await self._record_refusal(request, verdict)
            return Refused(request=request, refusal=verdict)
        if self._context.dry_run:
            return NotPlaced(request=request)
        return await self._send(verdict, why=why)

    async def _send(self, approved: safety.ApprovedOrder, *, why: str) -> Placed:
        """Commit the intent, then call the broker exactly once, then commit what became of it."""
        request = approved.request
        record = await orders.insert_intent(
            self._connection,
            agent_id=self._context.agent_id,
            cycle_id=self._context.cycle_id,
            request=request,
            reason=why,
            currency=self._context.currency,
            at=self._clock.now(),
            sender=self._context.sender,
        )
        await self._move(record, OrderState.SUBMITTING)
        self.orders_placed += 1
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
            moved = await self._move(record, OrderState.REJECTED, str(error))
            return Placed(record=moved, problem=str(error))
        except BrokerUnavailable as error:
            moved = await self._move(record, OrderState.NOT_PLACED, str(error))
            return Placed(record=moved, problem=str(error))
        except OrderOutcomeUnknown as error:
            return Placed(record=await self._unknown(record, str(error)), problem=str(error))
        except Exception as error:
            await self._unknown(record, f"{type(error).__name__}: {error}")
            raise
        await self._record(order)
        return Placed(record=await self._current(record))

    async def _unknown(self, record: OrderRecord, why: str) -> OrderRecord:
        moved = await self._move(record, OrderState.UNKNOWN, why)
        await self.alert(
            f"the outcome of order {record.client_order_id} is not known",
            f"{record.side} {record.quantity} {record.symbol}: {why}. It is not sent again; no new"
            " position is opened until it is found or settled by a person.",
            key=f"unknown-{record.client_order_id}",
        )
        return moved

    async def _cancel(self, order: Order, snapshot: Snapshot, *, why: str) -> tuple[Order, ...]:
        verdict = safety.review_cancel(
            order.broker_order_id, why=why, snapshot=snapshot, now=self._clock.now()
        )
        if isinstance(verdict, Refusal) or self._context.dry_run:
            return ()
        try:
            canceled = await self._broker.cancel_order(verdict)
        except OrderRejected:
            canceled = None
        except (OrderOutcomeUnknown, BrokerUnavailable) as error:
            await self._unconfirmed(order, str(error))
            return ()
        found = canceled or await self._look_up(order.client_order_id)
        if found is None:
            return ()
        self.cancels += 1
        await self._record(found)
        if found.status is OrderStatus.CANCEL_PENDING:
            await self._unconfirmed(order, "the broker has not confirmed it yet")
        return (found,)

    async def _unconfirmed(self, order: Order, why: str) -> None:
        await self.alert(
            f"the cancel of {order.broker_order_id} is not confirmed",
            f"{order.side} {order.quantity} {order.symbol}: {why}",
            key=f"cancel-{order.broker_order_id}",
        )

    async def _record(self, order: Order) -> Sequence[Fill]:
        """Take in a report; one that makes no sense is for a person, and holds up no other order."""
        try:
            fills = await broker_reports.record_broker_order(
                self._connection,
                agent_id=self._context.agent_id,
                order=order,
                at=self._clock.now(),
                source=self._context.cycle_id,
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

    async def _move(
        self, record: OrderRecord, to: OrderState, detail: str | None = None
    ) -> OrderRecord:
        said = {} if detail is None else {"detail": detail}
        logger.info("order_moved", order=record.client_order_id, to=to, **said)
        return await orders.move_order(
            self._connection,
            order_id=record.order_id,
            to=to,
            at=self._clock.now(),
            detail=detail,
        )

    async def _current(self, record: OrderRecord) -> OrderRecord:
        return await self._own(record.client_order_id) or record

    async def _ours(self, symbol: str, snapshot: Snapshot) -> int:
        """Shares that our own fills left us and the broker has; what was bought by hand is not ours."""
        held = snapshot.position(symbol)
        open_ = await orders.open_positions(self._connection, self._context.agent_id)
        ours = sum(record.quantity for record in open_ if record.symbol == symbol)
        return 0 if held is None else min(int(held.quantity), ours)

    async def _look_up(self, client_order_id: str | None) -> Order | None:
        if client_order_id is None:
            return None
        return await self._broker.order_by_client_id(client_order_id)

    async def _own(self, client_order_id: str | None) -> OrderRecord | None:
        """Find the row of an order; None for orders that were placed by somebody else."""
        if client_order_id is None:
            return None
        return await orders.order_by_client_id(self._connection, client_order_id)

    async def _record_refusal(self, request: OrderRequest, refusal: Refusal) -> None:
        self.refusal_codes += refusal.codes
        logger.info("order_refused", symbol=request.symbol, side=request.side, why=str(refusal))
        await records.record_refusal(
            self._connection,
            agent_id=self._context.agent_id,
            cycle_id=self._context.cycle_id,
            tool=request.purpose,
            request={name: getattr(request, name) for name in request.__slots__},
            reasons=refusal.reasons,
            at=self._clock.now(),
        )

    async def _named(self, draft: OrderRequest) -> tuple[OrderRequest, OrderRecord | None]:
        """Give a draft the id that its decision in this cycle leads to, and return its order if it has
        one. What provably rests nowhere may be asked for again: that is another attempt."""
        for attempt in itertools.count(1):
            request = replace(draft, client_order_id=self._id_of(draft, attempt))
            record = await self._own(request.client_order_id)
            if record is None or record.status not in _RESTS_NOWHERE:
                return request, record
        raise AssertionError

    def _id_of(self, draft: OrderRequest, attempt: int) -> str:
        return client_order_id(
            database=self._context.database,
            agent_id=self._context.agent_id,
            cycle=self._context.cycle_id,
            decision=decision_key(draft),
            attempt=attempt,
        )


def _required(requests: list[OrderRequest] | None, symbol: str) -> list[OrderRequest]:
    if requests is None:
        msg = f"no bid is known for {symbol}, so it cannot be sold now; its stop stays"
        raise ToolError(msg)
    return requests


def _why_not_resting(submission: Submission) -> str | None:
    """Say why a protective order does not rest at the broker; None where it does, or in a dry run."""
    match submission:
        case Refused():
            return str(submission.refusal)
        case NotPlaced():
            return None
        case Placed(record=record):
            if record.status.is_open or record.status is OrderState.FILLED:
                return None
            return f"the order is {record.status}: {submission.problem or record.reject_reason}"
        case _:
            assert_never(submission)
