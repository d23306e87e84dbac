"""What a sale has to pass: nothing that limits new risk is among it."""

from collections.abc import Iterator
from datetime import datetime

from rules.case import Case, reason
from rules.codes import Code
from rules.permission import exchange_is_not_known_to_be_closed, session_is_open
from shared.models import Order, OrderPurpose, OrderType, Position, Reason, Side, Snapshot


def sale_is_in_session(case: Case) -> Iterator[Reason]:
    """A stop may be laid down at any hour; to sell, the exchange has to be open.

    A broker that does not say so keeps nobody in a position.
    """
    if case.request.purpose is not OrderPurpose.STOP_LOSS:
        yield from session_is_open(case)
        yield from exchange_is_not_known_to_be_closed(case)


def reasons_to_keep(
    order: Order, held: Position, snapshot: Snapshot, now: datetime, *, to_leave: bool
) -> Iterator[Reason]:
    """Say why the order that protects a holding has to stay: nobody leaves, or nobody could."""
    if not to_leave:
        yield reason(
            Code.PROTECTS_POSITION,
            f"order {order.broker_order_id} protects {held.quantity} shares of {order.symbol}",
        )
        return
    session, quote = snapshot.session, snapshot.quotes.get(order.symbol)
    if session is None or not session.is_open(now):
        yield reason(
            Code.SESSION_CLOSED,
            f"what protects {order.symbol} stays while the exchange is closed, it was {now:%H:%M:%S}",
        )
    elif snapshot.market_is_open is False:
        yield reason(
            Code.BROKER_CLOSED,
            f"what protects {order.symbol} stays while the broker says that the exchange is closed",
        )
    if quote is None or quote.bid is None or quote.halted:
        yield reason(
            Code.QUOTE_MISSING, f"what protects {order.symbol} stays while there is no bid for it"
        )


def quantity_is_positive(case: Case) -> Iterator[Reason]:
    """Odd lots may be sold, nothing and less may not."""
    if case.request.quantity <= 0:
        yield reason(Code.QUANTITY, f"the quantity must be above 0, was {case.request.quantity}")


def never_more_than_held(case: Case) -> Iterator[Reason]:
    """What the broker holds and no other order claims; the order to be replaced frees its shares."""
    request = case.request
    held = case.snapshot.position(request.symbol)
    if held is None or held.quantity <= 0:
        yield reason(Code.NOT_HELD, f"no shares of {request.symbol} are held")
        return
    freed = sum(
        order.remaining_quantity
        for order in case.snapshot.open_orders
        if order.broker_order_id == request.replaces
    )
    sellable = min(held.quantity, held.available + freed)
    if request.quantity > sellable:
        yield reason(
            Code.NOT_HELD,
            f"{sellable} shares of {request.symbol} can be sold, {request.quantity} were asked for",
        )


def replaces_an_open_sale(case: Case) -> Iterator[Reason]:
    """Only a resting target may be moved; the stop stays where it is."""
    request = case.request
    if request.replaces is None:
        return
    found = any(
        order.broker_order_id == request.replaces
        and order.symbol == request.symbol
        and order.side is Side.SELL
        and order.order_type is OrderType.LIMIT
        for order in case.snapshot.open_orders
    )
    if not found:
        yield reason(
            Code.NOT_OPEN, f"order {request.replaces} is no open limit sale of {request.symbol}"
        )
