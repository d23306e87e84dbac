"""Orders as rows: written down before they are sent, moved by what is learnt about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from shared.database.connection import (
    Connection,
    Row,
    execute,
    fetch,
    fetch_one,
    fetch_row,
    transaction,
)
from shared.database.fences import Role, Sender, require_newest
from shared.errors import CatalystError, InvalidTransition
from shared.models import OrderClass, OrderPurpose, OrderRequest, OrderType, Side, TimeInForce
from shared.order_life import OrderState, next_state
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """One row of orders: what was meant, and the latest that is known."""

    order_id: int
    agent_id: str
    cycle_id: str | None
    position_id: int | None
    """The position that its fills belong to; None before the first."""
    security_id: int | None
    parent_order_id: int | None
    """The order whose leg this is."""
    client_order_id: str | None
    """None only for a leg."""
    broker_order_id: str | None
    symbol: str
    side: Side
    order_type: OrderType
    order_class: OrderClass
    time_in_force: TimeInForce
    order_purpose: OrderPurpose
    status: OrderState
    quantity: int
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    replaces: str | None
    """Broker's id of the order that it takes the place of."""
    currency: str
    reason: str | None
    filled_quantity: int
    filled_price: Decimal | None
    reject_reason: str | None
    created_at: datetime
    submitted_at: datetime | None
    filled_at: datetime | None
    broker_updated_at: datetime | None
    """The broker's own time of its latest news about the order."""
    updated_at: datetime
    sender_role: Role | None
    """Under which lock its intent was written; None for a leg."""
    sender_token: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """One thing that was noticed about an order."""

    event_id: int
    order_id: int
    kind: str
    from_status: OrderState | None
    to_status: OrderState | None
    source: str
    detail: str | None
    at: datetime


class DuplicateOrder(CatalystError):
    """The client order id is taken: the same decision was written down before."""

    def __init__(self, existing: OrderRecord) -> None:
        """Keep the order that was there first."""
        super().__init__(
            f"order {existing.client_order_id} exists since {existing.created_at.isoformat()} "
            f"and is {existing.status}"
        )
        self.existing: OrderRecord = existing


class SaleUnderWay(CatalystError):
    """Another sale by the same way is not over, or a protection has no answer; a second one could sell twice."""

    def __init__(self, existing: OrderRecord) -> None:
        """Keep the order that is under way."""
        super().__init__(
            f"order {existing.client_order_id}, which sells {existing.symbol} too, is {existing.status}"
        )
        self.existing: OrderRecord = existing


async def insert_intent(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    request: OrderRequest,
    reason: str | None,
    currency: str,
    at: datetime,
    sender: Sender,
) -> OrderRecord:
    """Write down what is about to be asked of the broker; commit before asking.

    Raises DuplicateOrder with the order that has the client order id already, SaleUnderWay with a sale
    that is not over, and LockLost when the sender's lock has gone on to another run.
    """
    statement = Q["insert_intent"].bind(
        **_values_of(request),
        agent_id=agent_id,
        cycle_id=cycle_id,
        currency=currency,
        reason=reason,
        at=at,
        sender_role=sender.role,
        sender_token=sender.token,
    )
    try:
        async with transaction(connection):
            await require_newest(connection, agent_id=agent_id, sender=sender)
            row = await fetch_row(connection, statement)
            if row is not None:
                record = as_record(row)
                await note(connection, record, kind="created", source="intent", at=at)
                return record
    except asyncpg.UniqueViolationError as e:
        under_way = Q["exit_under_way"].bind(
            agent_id=agent_id, symbol=request.symbol, replaces=request.replaces
        )
        raise SaleUnderWay(as_record(await fetch_one(connection, under_way))) from e
    existing = await fetch_one(
        connection, Q["order_by_client_id"].bind(client_order_id=request.client_order_id)
    )
    raise DuplicateOrder(as_record(existing))


async def require_no_sale_under_way(
    connection: Connection, *, agent_id: str, request: OrderRequest
) -> None:
    """Find what a sale or a protection must not be sent beside. Raises SaleUnderWay.

    For a sale that is another one by the same way, for a protection another one that may be at the broker.
    Call it as the one process that leaves or protects the symbol, as `positions.own_exit` has it.
    """
    match request.purpose:
        case OrderPurpose.EXIT:
            statement = Q["exit_under_way"].bind(
                agent_id=agent_id, symbol=request.symbol, replaces=request.replaces
            )
        case OrderPurpose.STOP_LOSS:
            statement = Q["protection_without_answer"].bind(
                agent_id=agent_id, symbol=request.symbol
            )
        case OrderPurpose.ENTRY | OrderPurpose.TAKE_PROFIT:
            return
    row = await fetch_row(connection, statement)
    if row is not None:
        raise SaleUnderWay(as_record(row))


async def restore_intent(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    request: OrderRequest,
    reason: str | None,
    currency: str,
    at: datetime,
    sender: Sender,
) -> bool:
    """Write an intent down that was kept outside the database; False when it is known.

    No lock is asked for: it may have been sent long ago.
    """
    statement = Q["restore_intent"].bind(
        **_values_of(request),
        agent_id=agent_id,
        cycle_id=cycle_id,
        currency=currency,
        reason=reason,
        at=at,
        sender_role=sender.role,
        sender_token=sender.token,
    )
    async with transaction(connection):
        row = await fetch_row(connection, statement)
        if row is not None:
            await note(connection, as_record(row), kind="created", source="journal", at=at)
    return row is not None


async def move_order(
    connection: Connection,
    *,
    order_id: int,
    to: OrderState,
    at: datetime,
    detail: str | None = None,
    broker_order_id: str | None = None,
) -> OrderRecord:
    """Put an order into a new state and note it; `detail` is also why it was rejected.

    Raises InvalidTransition when its present state cannot lead there, or when it has another broker
    order id already, and LookupError when there is no such order.
    """
    async with transaction(connection):
        row = await fetch_row(connection, Q["lock_order"].bind(order_id=order_id))
        if row is None:
            msg = f"there is no order {order_id}"
            raise LookupError(msg)
        before = as_record(row)
        _require_same_broker_id(before, broker_order_id)
        statement = Q["move_order"].bind(
            order_id=order_id,
            status=next_state(before.status, to),
            broker_order_id=broker_order_id,
            reject_reason=detail if to is OrderState.REJECTED else None,
            at=at,
        )
        after = as_record(await fetch_one(connection, statement))
        if to is not before.status:
            await note(
                connection, before, kind="moved", to=to, source="agent", detail=detail, at=at
            )
        return after


async def order_by_client_id(
    connection: Connection, client_order_id: str | None
) -> OrderRecord | None:
    """Return the order with our id, if there is one; None is no order's id."""
    statement = Q["order_by_client_id"].bind(client_order_id=client_order_id)
    row = await fetch_row(connection, statement)
    return None if row is None else as_record(row)


async def unresolved_orders(connection: Connection, agent_id: str) -> tuple[OrderRecord, ...]:
    """Return orders of which the broker may or may not know, oldest first."""
    return _records(await fetch(connection, Q["unresolved_orders"].bind(agent_id=agent_id)))


async def unfinished_since(connection: Connection, agent_id: str) -> datetime | None:
    """Return when the oldest order that is not over was written down; None when all are over."""
    row = await fetch_one(connection, Q["unfinished_since"].bind(agent_id=agent_id))
    return row["since"]


async def broker_ids_of_symbol(
    connection: Connection, agent_id: str, symbol: str
) -> frozenset[str]:
    """Return the broker's ids of our orders in a symbol, legs included."""
    statement = Q["broker_ids_of_symbol"].bind(agent_id=agent_id, symbol=symbol)
    return frozenset(row["broker_order_id"] for row in await fetch(connection, statement))


async def sender_is_over(connection: Connection, order_id: int) -> bool:
    """Say whether whoever wrote the order's intent has been followed by another holder of its lock."""
    return bool(
        (await fetch_one(connection, Q["sender_is_over"].bind(order_id=order_id)))["is_over"]
    )


async def note_absence(
    connection: Connection, *, order_id: int, at: datetime, source: str
) -> datetime:
    """Note a full read, begun at `at`, without the order; return the time of the first such read."""
    async with transaction(connection):
        await execute(connection, Q["note_absence"].bind(order_id=order_id, at=at, source=source))
        row = await fetch_one(connection, Q["first_absence"].bind(order_id=order_id))
    return row["read_at"]


async def open_orders(connection: Connection, agent_id: str) -> tuple[OrderRecord, ...]:
    """Return orders that, as far as is known, rest at the broker, oldest first."""
    return _records(await fetch(connection, Q["open_orders"].bind(agent_id=agent_id)))


async def entries_since(connection: Connection, agent_id: str, since: datetime) -> dict[str, int]:
    """Count the entries sent since then, by symbol; what provably never rested does not count."""
    rows = await fetch(connection, Q["entries_since"].bind(agent_id=agent_id, since=since))
    return {row["symbol"]: row["entries"] for row in rows}


async def orders_of_cycle(connection: Connection, cycle_id: str) -> tuple[OrderRecord, ...]:
    """Return what a run asked for, and the legs that came of it, oldest first."""
    return _records(await fetch(connection, Q["orders_of_cycle"].bind(cycle_id=cycle_id)))


async def events_of_order(connection: Connection, order_id: int) -> tuple[OrderEvent, ...]:
    """Return everything that was noticed about an order, oldest first."""
    rows = await fetch(connection, Q["events_of_order"].bind(order_id=order_id))
    return tuple(_as_event(row) for row in rows)


async def note(
    connection: Connection,
    order: OrderRecord,
    *,
    kind: str,
    source: str,
    at: datetime,
    to: OrderState | None = None,
    detail: str | None = None,
    once: bool = False,
) -> None:
    """Write an event about an order as it was before it; `once` leaves out what is noted already."""
    query = Q["insert_event_once" if once else "insert_event"]
    statement = query.bind(
        order_id=order.order_id,
        kind=kind,
        from_status=order.status,
        to_status=to,
        source=source,
        detail=detail,
        at=at,
    )
    await execute(connection, statement)


def as_record(row: Row) -> OrderRecord:
    """Turn a row of orders into its value."""
    values: dict[str, Any] = {
        **row,
        "side": Side(row["side"]),
        "order_type": OrderType(row["order_type"]),
        "order_class": OrderClass(row["order_class"]),
        "time_in_force": TimeInForce(row["time_in_force"]),
        "order_purpose": OrderPurpose(row["order_purpose"]),
        "status": OrderState(row["status"]),
        "sender_role": None if row["sender_role"] is None else Role(row["sender_role"]),
    }
    return OrderRecord(**values)


def _values_of(request: OrderRequest) -> dict[str, object]:
    return {
        "client_order_id": request.client_order_id,
        "symbol": request.symbol,
        "side": request.side,
        "order_type": request.order_type,
        "order_class": request.order_class,
        "time_in_force": request.time_in_force,
        "order_purpose": request.purpose,
        "quantity": request.quantity,
        "limit_price": request.limit_price,
        "stop_price": request.stop_price,
        "stop_loss": request.stop_loss,
        "take_profit": request.take_profit,
        "replaces": request.replaces,
    }


def _as_event(row: Row) -> OrderEvent:
    values: dict[str, Any] = {
        **row,
        "from_status": _state(row["from_status"]),
        "to_status": _state(row["to_status"]),
    }
    return OrderEvent(**values)


def _records(rows: Sequence[Row]) -> tuple[OrderRecord, ...]:
    return tuple(as_record(row) for row in rows)


def _state(text: str | None) -> OrderState | None:
    return None if text is None else OrderState(text)


def _require_same_broker_id(order: OrderRecord, broker_order_id: str | None) -> None:
    if broker_order_id is None or order.broker_order_id in {None, broker_order_id}:
        return
    msg = (
        f"order {order.client_order_id} is the broker's {order.broker_order_id}, "
        f"not {broker_order_id}"
    )
    raise InvalidTransition(msg)
