"""Orders on both sides: those that one side lacks, and whether stops cover what is held.

Pure.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from shared.models import Order, OrderStatus, OrderType, Side
from shared.reconciliation_views import (
    BrokerView,
    DatabaseView,
    Delta,
    DeltaKind,
    OurOrder,
    Unavailable,
    distrust,
    same_symbol,
)


def order_deltas(database: DatabaseView, broker: BrokerView, now: datetime) -> Iterator[Delta]:
    """Compare orders by their ids."""
    for ours in database.orders:
        if ours.state.is_unresolved:
            yield _about_order(DeltaKind.ORDER_UNRESOLVED, ours, "is not known to have arrived")
    if isinstance(broker.orders, Unavailable):
        what = f"the orders could not be read: {broker.orders.why}"
        yield distrust(DeltaKind.READ_FAILED, what)
        return
    for ours in database.orders:
        yield from _listed(ours, broker.orders, broker.absent, now)
    yield from _external_orders(database, broker.orders)


def unlisted(database: DatabaseView, listed: tuple[Order, ...]) -> tuple[str, ...]:
    """Return the client order ids to ask the broker for, one by one, since its list lacks them."""
    return tuple(
        ours.client_order_id
        for ours in database.orders
        if ours.client_order_id is not None
        and ours.broker_order_id is not None
        and (ours.state.is_open or not ours.is_leg)
        and not _is_among(ours, listed)
    )


def _listed(
    ours: OurOrder, listed: tuple[Order, ...], absent: frozenset[str], now: datetime
) -> Iterator[Delta]:
    """Say what it means that the broker's list lacks one of our orders, if it does."""
    if ours.state.is_unresolved or ours.broker_order_id is None or _is_among(ours, listed):
        return
    is_absent = ours.client_order_id is None or ours.client_order_id in absent
    if ours.state.is_open and is_absent:
        yield _about_order(
            DeltaKind.ORDER_MISSING, ours, "rests by our records, the broker has it not"
        )
        return
    oldest = min((order.submitted_at for order in listed), default=now)
    is_recent = not ours.is_leg and ours.created_at > oldest
    if not is_absent and (ours.state.is_open or is_recent):
        what = (
            f"the broker lists {len(listed)} orders and leaves out {ours.name} of"
            f" {ours.created_at:%Y-%m-%d %H:%M} UTC: the list is cut off"
        )
        yield distrust(DeltaKind.TRUNCATED_ORDERS, what)


def _external_orders(database: DatabaseView, listed: tuple[Order, ...]) -> Iterator[Delta]:
    states = {ours.broker_order_id: ours.state for ours in database.orders}
    clients = {ours.client_order_id: ours.state for ours in database.orders}
    for order in listed:
        state = states.get(order.broker_order_id) or clients.get(order.client_order_id or "")
        if not order.status.is_open or (state is not None and not state.is_final):
            continue
        if state is None and order.parent_order_id in states:
            continue
        known = "is nobody's of ours" if state is None else f"is {state} by our records"
        yield Delta(
            kind=DeltaKind.EXTERNAL_ORDER,
            symbol=order.symbol,
            sentence=f"order {order.broker_order_id}, {order.side} {order.remaining_quantity}"
            f" {order.symbol}, rests at the broker and {known}",
            shown=Decimal(order.remaining_quantity),
            mark=f"{DeltaKind.EXTERNAL_ORDER} {order.broker_order_id}",
        )


def stop_deltas(database: DatabaseView, broker: BrokerView) -> Iterator[Delta]:
    """Every share of ours that the broker has must be covered by a stop in force.

    Where none can rest the monitor is the stop: it needs a level, in the database and in the file beside it.
    """
    orders, positions = broker.orders, broker.positions
    if not broker.has_stops:
        yield from _levels(database)
        return
    if isinstance(orders, Unavailable) or isinstance(positions, Unavailable):
        return
    for ours in database.positions:
        name = same_symbol(ours.symbol)
        shown = sum((p.quantity for p in positions if same_symbol(p.symbol) == name), Decimal(0))
        if not shown.is_finite() or shown <= 0:
            continue
        needed = min(Decimal(ours.quantity), shown)
        covered = sum(
            stop.remaining_quantity
            for stop in stops_in_force(orders)
            if same_symbol(stop.symbol) == name
        )
        if covered < needed:
            yield Delta(
                kind=DeltaKind.STOP_TOO_SMALL if covered else DeltaKind.STOP_MISSING,
                symbol=ours.symbol,
                sentence=f"{ours.symbol}: stops in force cover {covered} of {needed} shares",
                expected=needed,
                shown=Decimal(covered),
            )


def _levels(database: DatabaseView) -> Iterator[Delta]:
    """Find the positions for whose stop the monitor, or the monitor without its database, has no level."""
    for ours in database.positions:
        file = database.stop_file
        if ours.stop_loss is None:
            what = "no stop level is known, so nothing guards it at a broker without stops"
        elif file is None or ours.symbol not in file:
            what = f"its stop {ours.stop_loss} is not in the file beside the database"
        elif file[ours.symbol] != ours.stop_loss:
            what = (
                f"its stop is {ours.stop_loss}, in the file beside the database {file[ours.symbol]}"
            )
        else:
            continue
        yield Delta(
            kind=DeltaKind.STOP_MISSING, symbol=ours.symbol, sentence=f"{ours.symbol}: {what}"
        )


def stops_in_force(orders: tuple[Order, ...]) -> Iterator[Order]:
    """Yield the stops that would sell; a leg that waits for an entry still open would not yet."""
    entries = {o.broker_order_id for o in orders if o.side is Side.BUY and o.status.is_open}
    for order in orders:
        is_stop = order.side is Side.SELL and order.order_type is OrderType.STOP
        waits = order.status is OrderStatus.HELD and order.parent_order_id in entries
        if is_stop and order.status.is_open and not waits:
            yield order


def _is_among(ours: OurOrder, listed: tuple[Order, ...]) -> bool:
    return any(
        order.broker_order_id == ours.broker_order_id
        or (order.client_order_id is not None and order.client_order_id == ours.client_order_id)
        for order in listed
    )


def _about_order(kind: DeltaKind, ours: OurOrder, what: str) -> Delta:
    return Delta(
        kind=kind,
        symbol=ours.symbol,
        sentence=f"order {ours.name}, {ours.side} {ours.quantity} {ours.symbol}, {what}",
        expected=Decimal(ours.quantity),
        order_id=ours.order_id,
    )
