"""Takes in what a broker reports about orders of ours: their state, their fills, their legs.

Fills are facts and are kept even when the rest of a report makes no sense. Orders that are not ours,
placed by hand in the broker's app for example, are none of its business.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from shared.database.connection import (
    Connection,
    Row,
    Statement,
    execute,
    fetch,
    fetch_one,
    fetch_row,
    transaction,
)
from shared.database.order_rows import OrderRecord, as_record, note
from shared.database.positions import book_fills
from shared.errors import InvalidTransition
from shared.ledger import unlisted_fill
from shared.models import Fill, Order, OrderPurpose, OrderType
from shared.order_life import TRANSITIONS, OrderState, state_of
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """One thing a broker said, to whom, when, and how it was heard."""

    agent_id: str
    order: Order
    at: datetime
    source: str


async def record_broker_order(
    connection: Connection, *, agent_id: str, order: Order, at: datetime, source: str
) -> tuple[Fill, ...]:
    """Take in one order as the broker reports it, with its legs, and return the fills that were new.

    All of it is one transaction; call it outside any other. The order is known by its client order id,
    by its broker order id, or as a leg of a known parent, which gets a row of its own; any other is not
    ours and is left alone. Positions follow from the new fills.

    Raises InvalidTransition when the report contradicts what is known: new fills are kept and booked,
    the state is not moved, and an event says so.
    """
    report = _Report(agent_id=agent_id, order=order, at=at, source=source)
    async with transaction(connection):
        await execute(connection, Q["lock_symbol"].bind(agent_id=agent_id, symbol=order.symbol))
        fills, contradictions = await _take_in(connection, report)
        if fills:
            await book_fills(connection, agent_id=agent_id, symbol=order.symbol, at=at)
    if contradictions:
        raise InvalidTransition("; ".join(contradictions))
    return fills


async def _take_in(
    connection: Connection, report: _Report
) -> tuple[tuple[Fill, ...], tuple[str, ...]]:
    """Return the new fills and the contradictions of an order and its legs."""
    known = await _find(connection, report) or await _adopt_leg(connection, report)
    if known is None:
        return (), ()
    contradiction = _identity_contradiction(known, report.order)
    if contradiction is not None:
        await _note_contradiction(connection, known, report, contradiction)
        return (), (contradiction,)
    filled = await fetch_one(connection, Q["filled_so_far"].bind(order_id=known.order_id))
    contradiction = _contradiction_of_totals(known, report.order, filled["quantity"])
    if contradiction is not None:
        await _note_contradiction(connection, known, report, contradiction)
        if report.order.status.is_open or report.order.filled_quantity > filled["quantity"]:
            return (), (contradiction,)
        # an order that is over trades no more, whatever became of its fills: a sale may be asked for again
        return (), (contradiction, *await _take_in_state(connection, known, report))
    fills = await _keep_fills(connection, known, report, filled)
    contradictions = await _take_in_state(connection, known, report)
    for leg in report.order.legs:
        of_parent = replace(leg, parent_order_id=report.order.broker_order_id)
        leg_fills, leg_contradictions = await _take_in(connection, replace(report, order=of_parent))
        fills += leg_fills
        contradictions += leg_contradictions
    return fills, contradictions


async def _find(connection: Connection, report: _Report) -> OrderRecord | None:
    order = report.order
    if order.client_order_id:
        by_client = await _locked(
            connection,
            Q["lock_order_by_client_id"].bind(
                agent_id=report.agent_id, client_order_id=order.client_order_id
            ),
        )
        # some brokers give a leg the client order id of its parent
        if by_client is not None and not _is_parent(by_client, order):
            return by_client
    return await _locked(
        connection,
        Q["lock_order_by_broker_id"].bind(
            agent_id=report.agent_id, broker_order_id=order.broker_order_id
        ),
    )


async def _adopt_leg(connection: Connection, report: _Report) -> OrderRecord | None:
    """Write down an order that belongs to one of ours; the broker made it and gave it its id."""
    order = report.order
    if order.parent_order_id is None:
        return None
    parent = await _locked(
        connection,
        Q["lock_order_by_broker_id"].bind(
            agent_id=report.agent_id, broker_order_id=order.parent_order_id
        ),
    )
    if parent is None:
        return None
    shared_id = order.client_order_id == parent.client_order_id
    statement = Q["insert_leg"].bind(
        parent_order_id=parent.order_id,
        client_order_id=None if shared_id else order.client_order_id,
        broker_order_id=order.broker_order_id,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        order_purpose=_purpose_of_leg(order.order_type),
        status=OrderState.ACCEPTED,
        quantity=order.quantity,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        at=report.at,
    )
    leg = as_record(await fetch_one(connection, statement))
    await note(connection, leg, kind="created", source=report.source, at=report.at)
    return leg


async def _keep_fills(
    connection: Connection, known: OrderRecord, report: _Report, filled: Row
) -> tuple[Fill, ...]:
    charged = await fetch(connection, Q["fees_so_far"].bind(order_id=known.order_id))
    derived = unlisted_fill(
        report.order,
        known_quantity=filled["quantity"],
        known_value=filled["value"],
        known_fees={row["name"]: row["amount"] for row in charged},
    )
    reported = (*report.order.fills, *(() if derived is None else (derived,)))
    new = tuple([fill for fill in reported if await _keep_fill(connection, known, fill, report)])
    for fill in new:
        kind = "late_fill" if known.status.is_final else "fill"
        await _note(connection, known, report, kind=kind, detail=_sentence(fill))
    total = filled["quantity"] + sum(fill.quantity for fill in new)
    if new and total > known.quantity:
        await _note(
            connection, known, report, kind="overfill", detail=f"{total} of {known.quantity} filled"
        )
    return new


async def _keep_fill(
    connection: Connection, known: OrderRecord, fill: Fill, report: _Report
) -> bool:
    """Say whether the fill was new; one that differs from what was kept is noted, and not taken over."""
    statement = Q["insert_fill"].bind(
        agent_id=report.agent_id,
        fill_id=fill.fill_id,
        order_id=known.order_id,
        broker_order_id=fill.broker_order_id,
        symbol=known.symbol,
        side=known.side,
        quantity=fill.quantity,
        price=fill.price,
        currency=known.currency,
        filled_at=fill.at,
        at=report.at,
    )
    row = await fetch_row(connection, statement)
    if row is None:
        await _compare_with_kept(connection, known, fill, report)
        return False
    for sequence, fee in enumerate(fill.fees):
        insert = Q["insert_fee"].bind(
            fill_key=row["fill_key"],
            sequence=sequence,
            name=fee.name,
            amount=fee.amount,
            currency=fee.currency,
        )
        await execute(connection, insert)
    return True


async def _compare_with_kept(
    connection: Connection, known: OrderRecord, fill: Fill, report: _Report
) -> None:
    kept = await fetch_one(
        connection, Q["known_fill"].bind(agent_id=report.agent_id, fill_id=fill.fill_id)
    )
    if (kept["order_id"], kept["quantity"], kept["price"]) == (
        known.order_id,
        fill.quantity,
        fill.price,
    ):
        return
    await _note(connection, known, report, kind="fill_differs", detail=_sentence(fill), once=True)


async def _take_in_state(
    connection: Connection, known: OrderRecord, report: _Report
) -> tuple[str, ...]:
    """Move the order where the broker says it is, if it may go there; return what contradicts."""
    to = _news(known, report.order)
    allowed = to is known.status or to in TRANSITIONS[known.status]
    await _update(connection, known, report, to if allowed else known.status)
    if not allowed:
        contradiction = (
            f"order {known.client_order_id or known.broker_order_id} is {known.status}, "
            f"the broker reports {to}"
        )
        await _note_contradiction(connection, known, report, contradiction, to=to)
        return (contradiction,)
    if to is not known.status:
        detail = report.order.reject_reason
        await _note(connection, known, report, kind="moved", to=to, detail=detail)
    return ()


def _news(known: OrderRecord, order: Order) -> OrderState:
    """Return the state that the report says the order is in, or the known one where it says nothing new.

    An end is always news. A resting order that is reported again without a newer time neither takes
    back what is known nor answers a cancel; reads of a broker can lag behind each other.
    """
    reported = state_of(order.status, filled_quantity=order.filled_quantity)
    last = known.broker_updated_at
    if not reported.is_open or last is None or order.updated_at > last:
        return reported
    leads_back = (
        known.status is OrderState.CANCEL_PENDING or reported not in TRANSITIONS[known.status]
    )
    return known.status if leads_back else reported


async def _update(
    connection: Connection, known: OrderRecord, report: _Report, status: OrderState
) -> None:
    order = report.order
    statement = Q["update_from_broker"].bind(
        order_id=known.order_id,
        status=status,
        broker_order_id=order.broker_order_id,
        filled_quantity=order.filled_quantity,
        filled_price=order.average_fill_price,
        reject_reason=order.reject_reason,
        submitted_at=order.submitted_at,
        broker_updated_at=order.updated_at,
        at=report.at,
    )
    await execute(connection, statement)


def _identity_contradiction(known: OrderRecord, order: Order) -> str | None:
    """Return why the report cannot be about the order whose id it bears, or None."""
    ours = (known.symbol, known.side, known.broker_order_id or order.broker_order_id)
    theirs = (order.symbol, order.side, order.broker_order_id)
    if ours == theirs and order.broker_order_id:
        return None
    name = known.client_order_id or known.broker_order_id
    return f"order {name} is {' '.join(ours)}, the broker reports {' '.join(theirs)}"


def _contradiction_of_totals(known: OrderRecord, order: Order, filled: int) -> str | None:
    """Return why the totals of an order that lists no fills cannot be taken in, or None.

    A total that falls takes fills back; none is booked back, what is held is for the broker to say. A
    total without an average price cannot be booked before there is one. Reads that lag say nothing new.
    """
    name = known.client_order_id or known.broker_order_id
    if order.fills:
        return None
    if order.filled_quantity > filled and order.average_fill_price is None:
        return (
            f"order {name} has {order.filled_quantity} filled shares and no average price, so"
            f" {order.filled_quantity - filled} of them are not booked yet"
        )
    last = known.broker_updated_at
    is_news = last is None or order.updated_at > last
    if order.filled_quantity < filled and (is_news or not order.status.is_open):
        return (
            f"order {name} had {filled} filled shares, the broker now reports"
            f" {order.filled_quantity}: {filled - order.filled_quantity} were taken back"
        )
    return None


def _purpose_of_leg(order_type: OrderType) -> OrderPurpose:
    match order_type:
        case OrderType.STOP:
            return OrderPurpose.STOP_LOSS
        case OrderType.LIMIT:
            return OrderPurpose.TAKE_PROFIT
        case OrderType.MARKET:
            return OrderPurpose.EXIT
        case _:
            assert_never(order_type)


def _is_parent(known: OrderRecord, order: Order) -> bool:
    return order.parent_order_id is not None and known.broker_order_id == order.parent_order_id


async def _locked(connection: Connection, statement: Statement) -> OrderRecord | None:
    row = await fetch_row(connection, statement)
    return None if row is None else as_record(row)


async def _note_contradiction(
    connection: Connection,
    known: OrderRecord,
    report: _Report,
    contradiction: str,
    to: OrderState | None = None,
) -> None:
    await _note(
        connection, known, report, kind="contradiction", to=to, detail=contradiction, once=True
    )


async def _note(
    connection: Connection,
    known: OrderRecord,
    report: _Report,
    *,
    kind: str,
    detail: str | None,
    to: OrderState | None = None,
    once: bool = False,
) -> None:
    await note(
        connection,
        known,
        kind=kind,
        source=report.source,
        at=report.at,
        to=to,
        detail=detail,
        once=once,
    )


def _sentence(fill: Fill) -> str:
    return f"{fill.side} {fill.quantity} at {fill.price} ({fill.fill_id})"
