"""The one path on which orders reach a broker: safety, intent committed, sent once, outcome recorded.

Knows nothing of Claude or of where quotes come from; it is given a way to look at the world.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

import safety
from brokers.base import Broker
from shared import log
from shared.clock import Clock
from shared.config import LimitSettings
from shared.database import broker_reports, orders, positions, records
from shared.database.connection import Connection
from shared.database.orders import OrderRecord
from shared.database.positions import PositionRecord
from shared.errors import (
    BrokerUnavailable,
    OrderOutcomeUnknown,
    OrderRejected,
    ToolError,
)
from shared.identity import client_order_id, decision_key
from shared.models import (
    Fill,
    Order,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Refusal,
    Side,
    Snapshot,
    TimeInForce,
)
from shared.order_life import OrderState

logger = log.get(__name__)

Look = Callable[[Collection[str]], Awaitable[Snapshot]]
"""Takes a fresh snapshot that has quotes and instruments for these symbols at least."""

EXIT_PRICE_ALLOWANCE_PCT = Decimal(1)
"""How far below the bid an exit's limit is set, so that it fills like a market order but not at any price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskContext:
    """Under whose name, in which cycle, and for which database orders are placed."""

    agent_id: str
    cycle_id: str
    currency: str
    database: UUID
    dry_run: bool


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


Submission = Refused | NotPlaced | Placed


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
        self.fills: int = 0
        self.refusal_codes: list[str] = []

    async def synchronise(self) -> tuple[Fill, ...]:
        """Write what the broker knows about our orders into the database; return the new fills.

        Unresolved orders are looked up by their client order id and adopted when found. Absence
        proves nothing here: they stay unresolved.
        """
        fills: list[Fill] = []
        for unresolved in await orders.unresolved_orders(self._connection, self._context.agent_id):
            found = await self._look_up(unresolved.client_order_id)
            if found is not None:
                fills += await self._record(found)
        for order in await self._broker.orders(only_open=False):
            fills += await self._record(order)
        return tuple(fills)

    async def enter(self, draft: OrderRequest, *, why: str) -> Submission:
        """Ask for an entry whose prices are put on the tick first."""
        snapshot = await self._look((draft.symbol,))
        instrument = snapshot.instruments.get(draft.symbol)
        request = draft if instrument is None else safety.on_tick(draft, instrument)
        return await self._submit(self._named(request), snapshot, why=why)

    async def exit(self, symbol: str, *, quantity: int | None, why: str) -> Submission:
        """Sell a whole position: through its resting target where there is one, so the stop stays.

        Entries that still rest in the symbol are cancelled first. Raises ToolError when a part is
        asked for, since the protective legs cover the whole.
        """
        snapshot = await self._look((symbol,))
        if any(_is_open_entry(order, symbol) for order in snapshot.open_orders):
            await self.cancel_entries(snapshot, why=why, symbol=symbol)
            snapshot = await self._look((symbol,))
        held = snapshot.position(symbol)
        whole = int(held.quantity) if held is not None else 0
        if quantity is not None and 0 < quantity < whole:
            msg = f"positions are sold whole: {whole} shares of {symbol} are held, not {quantity}"
            raise ToolError(msg)
        request = _exit_request(symbol, quantity or whole, snapshot)
        return await self._submit(self._named(request), snapshot, why=why)

    async def cancel_entries(
        self, snapshot: Snapshot, *, why: str, symbol: str | None = None
    ) -> tuple[Order, ...]:
        """Cancel entries that still rest; what they filled so far stays and wants protection."""
        canceled: list[Order] = []
        for order in snapshot.open_orders:
            if _is_open_entry(order, symbol) and await self._own(order.client_order_id):
                canceled += await self._cancel(order, snapshot, why=why)
        return tuple(canceled)

    async def protect(self, snapshot: Snapshot) -> tuple[Submission, ...]:
        """Rest a stop and a target for every share of ours that has none.

        Stop and target are those of the entry. What cannot be protected is alerted, never skipped.
        """
        made: list[Submission] = []
        for record in await positions.open_positions(self._connection, self._context.agent_id):
            naked = _naked_quantity(record, snapshot)
            if naked > 0:
                made.append(await self._protect(record, naked, snapshot))
        return tuple(made)

    async def _protect(self, record: PositionRecord, naked: int, snapshot: Snapshot) -> Submission:
        await self._alert(
            f"{record.symbol}: {naked} shares had no resting stop",
            f"{naked} of {record.quantity} shares of {record.symbol} were found without a stop at"
            f" {snapshot.taken_at.isoformat()}; a stop and a target are being placed for them.",
            key=f"naked-{record.symbol}-{record.position_id}",
        )
        request = self._named(
            OrderRequest(
                client_order_id="",
                symbol=record.symbol,
                side=Side.SELL,
                quantity=naked,
                order_type=OrderType.LIMIT,
                purpose=OrderPurpose.STOP_LOSS,
                time_in_force=TimeInForce.GTC,
                order_class=OrderClass.OCO,
                stop_loss=record.stop_loss,
                take_profit=record.take_profit,
            )
        )
        return await self._submit(request, snapshot, why="protect what the entry filled")

    async def _submit(self, request: OrderRequest, snapshot: Snapshot, *, why: str) -> Submission:
        first = await self._own(request.client_order_id)
        if first is not None:
            return Placed(record=first, duplicate=True)
        verdict = safety.review(request, snapshot, self._limits, self._clock.now())
        if isinstance(verdict, Refusal):
            await self._record_refusal(request, verdict)
            return Refused(request=request, refusal=verdict)
        if self._context.dry_run:
            return NotPlaced(request=request)
        return Placed(record=await self._send(verdict, why=why))

    async def _send(self, approved: safety.ApprovedOrder, *, why: str) -> OrderRecord:
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
            return await self._move(record, OrderState.REJECTED, str(error))
        except BrokerUnavailable as error:
            return await self._move(record, OrderState.NOT_PLACED, str(error))
        except OrderOutcomeUnknown as error:
            return await self._unknown(record, str(error))
        await self._record(order)
        return await self._current(record)

    async def _unknown(self, record: OrderRecord, why: str) -> OrderRecord:
        moved = await self._move(record, OrderState.UNKNOWN, why)
        await self._alert(
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
            await self._alert(
                f"the cancel of {order.broker_order_id} is not confirmed",
                f"{order.side} {order.quantity} {order.symbol}: {error}",
                key=f"cancel-{order.broker_order_id}",
            )
            return ()
        found = canceled or await self._look_up(order.client_order_id)
        if found is None:
            return ()
        await self._record(found)
        return (found,)

    async def _record(self, order: Order) -> Sequence[Fill]:
        fills = await broker_reports.record_broker_order(
            self._connection,
            agent_id=self._context.agent_id,
            order=order,
            at=self._clock.now(),
            source=self._context.cycle_id,
        )
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

    async def _alert(self, subject: str, body: str, *, key: str) -> None:
        logger.error("alert", subject=subject)
        await records.queue_alert(
            self._connection,
            agent_id=self._context.agent_id,
            cycle_id=self._context.cycle_id,
            severity="critical",
            subject=subject,
            body=body,
            dedupe_key=key,
            at=self._clock.now(),
        )

    def _named(self, request: OrderRequest) -> OrderRequest:
        """Give a request the id that its decision in this cycle leads to."""
        return replace(
            request,
            client_order_id=client_order_id(
                database=self._context.database,
                agent_id=self._context.agent_id,
                cycle=self._context.cycle_id,
                decision=decision_key(request),
            ),
        )


def _is_open_entry(order: Order, symbol: str | None) -> bool:
    return (
        order.side is Side.BUY
        and order.status.is_open
        and (symbol is None or order.symbol == symbol)
    )


def _exit_request(symbol: str, quantity: int, snapshot: Snapshot) -> OrderRequest:
    """Build the sale: the resting target moved to a marketable price, else a plain market order."""
    target = _resting_target(symbol, quantity, snapshot)
    price = _marketable_price(symbol, snapshot)
    market = OrderRequest(
        client_order_id="",
        symbol=symbol,
        side=Side.SELL,
        quantity=quantity,
        order_type=OrderType.MARKET,
        purpose=OrderPurpose.EXIT,
    )
    if target is None or price is None:
        return market
    return replace(
        market,
        order_type=OrderType.LIMIT,
        limit_price=price,
        time_in_force=target.time_in_force,
        replaces=target.broker_order_id,
    )


def _resting_target(symbol: str, quantity: int, snapshot: Snapshot) -> Order | None:
    return next(
        (
            order
            for order in snapshot.open_orders
            if order.symbol == symbol
            and order.side is Side.SELL
            and order.order_type is OrderType.LIMIT
            and order.status in {OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED}
            and order.remaining_quantity == quantity
        ),
        None,
    )


def _marketable_price(symbol: str, snapshot: Snapshot) -> Decimal | None:
    quote, instrument = snapshot.quotes.get(symbol), snapshot.instruments.get(symbol)
    if quote is None or quote.bid is None or instrument is None:
        return None
    price = quote.bid * (100 - EXIT_PRICE_ALLOWANCE_PCT) / 100
    tick = instrument.tick_at(price)
    return price // tick * tick


def _naked_quantity(record: PositionRecord, snapshot: Snapshot) -> int:
    """Shares held at the broker, of this position of ours, that no active stop covers."""
    held = snapshot.position(record.symbol)
    if held is None:
        return 0
    covered = sum(
        order.remaining_quantity
        for order in snapshot.open_orders
        if order.symbol == record.symbol
        and order.side is Side.SELL
        and order.order_type is OrderType.STOP
        and order.status is not OrderStatus.HELD
    )
    return min(int(held.quantity), record.quantity) - covered


def entry_request(
    *,
    symbol: str,
    quantity: int,
    limit_price: Decimal | None,
    stop_loss: Decimal | None,
    take_profit: Decimal | None,
) -> OrderRequest:
    """Build an entry with its protective legs; they outlive the day so that no position loses them."""
    return OrderRequest(
        client_order_id="",
        symbol=symbol,
        side=Side.BUY,
        quantity=quantity,
        order_type=OrderType.MARKET if limit_price is None else OrderType.LIMIT,
        purpose=OrderPurpose.ENTRY,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.BRACKET,
        limit_price=limit_price,
        stop_loss=stop_loss,
        take_profit=take_profit,
    )
