"""What is sent to Alpaca for a request of ours.

Pure. Prices and shares travel as text, as the specification has them, so that none becomes a float. A price
that is no multiple of its tick is refused here: rounding would be a decision.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from brokers.alpaca_wire import TICKS
from brokers.base import Capabilities
from brokers.paper_rules import RejectCode
from shared.errors import OrderRejected
from shared.models import (
    Environment,
    OrderClass,
    OrderRequest,
    OrderType,
    TimeInForce,
)

Body = Mapping[str, object]

ALPACA_CAPABILITIES = Capabilities(
    name="alpaca",
    environment=Environment.PAPER,
    order_types=frozenset(OrderType),
    order_classes=frozenset(OrderClass),
    times_in_force=frozenset(TimeInForce),
    can_replace=True,
    legs_active_after="complete_fill",
    resting_orders_hold_shares=True,
    reports_fills=True,
    client_order_id_max_length=128,
    client_order_ids_unique=True,
)


def order_body(request: OrderRequest) -> Body:
    """Return the body of a new order; one time in force is that of the order and of its legs.

    A pair of legs of which one is missing becomes what Alpaca has for it: an entry with one leg is an OTO,
    a lone protection is a simple stop or limit order. Raises OrderRejected.
    """
    _require_sendable(request)
    body: dict[str, object] = {
        "client_order_id": request.client_order_id,
        "symbol": request.symbol,
        "side": str(request.side),
        "qty": str(request.quantity),
        "time_in_force": str(request.time_in_force),
    }
    legs = {
        "take_profit": _part("limit_price", request.take_profit),
        "stop_loss": _part("stop_price", request.stop_loss),
    }
    given = {name: part for name, part in legs.items() if part is not None}
    match request.order_class, len(given):
        case OrderClass.SIMPLE, 0:
            return body | _own_prices(request)
        case OrderClass.BRACKET, 2:
            return body | _own_prices(request) | {"order_class": "bracket"} | given
        case OrderClass.BRACKET, 1:
            return body | _own_prices(request) | {"order_class": "oto"} | given
        case OrderClass.OCO, 2:
            _require_limit_is_target(request)
            return body | {"type": "limit", "order_class": "oco"} | given
        case OrderClass.OCO, 1:
            is_stop = request.stop_loss is not None
            only = legs["stop_loss"] if is_stop else legs["take_profit"]
            return body | {"type": "stop" if is_stop else "limit"} | (only or {})
        case _:
            legs_given = " and ".join(given) or "no legs"
            msg = f"a {request.order_class} order does not go together with {legs_given}"
            raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)


def replacement_body(request: OrderRequest) -> Body:
    """Return the body that changes a resting order.

    The quantity is always said: Alpaca would take that of the old order, and with it what has filled
    already. Raises OrderRejected.
    """
    _require_sendable(request)
    prices = {k: v for k, v in _own_prices(request).items() if k != "type"}
    return {
        "client_order_id": request.client_order_id,
        "qty": str(request.quantity),
        "time_in_force": str(request.time_in_force),
    } | prices


def _own_prices(request: OrderRequest) -> dict[str, object]:
    """Return type and prices; a price that the type has no use for is refused, or a stop would be lost."""
    given = {"limit_price": request.limit_price, "stop_price": request.stop_price}
    wanted = _PRICES_OF[request.order_type]
    for name, price in given.items():
        if (price is not None) != (name == wanted):
            msg = f"{request.order_type} orders and {name} {price} do not go together"
            raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)
    prices = {name: _written(price) for name, price in given.items() if price is not None}
    return {"type": str(request.order_type), **prices}


_PRICES_OF = {
    OrderType.MARKET: None,
    OrderType.LIMIT: "limit_price",
    OrderType.STOP: "stop_price",
}


def _require_sendable(request: OrderRequest) -> None:
    """Refuse what has no id, so that it could never be found again, and what has no such price."""
    limit, length = ALPACA_CAPABILITIES.client_order_id_max_length, len(request.client_order_id)
    if not 1 <= length <= limit:
        msg = f"client_order_id must have 1 to {limit} characters, had {length}"
        raise OrderRejected(msg, code=RejectCode.CLIENT_ORDER_ID_LENGTH)
    if request.quantity <= 0:
        msg = f"quantity must be above 0, was {request.quantity}"
        raise OrderRejected(msg, code=RejectCode.INVALID_QUANTITY)
    for name, price in _prices(request):
        if not price.is_finite() or price <= 0:
            msg = f"{name} must be above 0, was {price}"
            raise OrderRejected(msg, code=RejectCode.INVALID_PRICE)
        tick = tick_at(price)
        if price % tick:
            msg = f"{name} must be a multiple of {tick}, was {price}"
            raise OrderRejected(msg, code=RejectCode.INVALID_PRICE)


def _require_limit_is_target(request: OrderRequest) -> None:
    if request.limit_price not in {None, request.take_profit}:
        msg = f"an oco's limit is its take_profit, was {request.limit_price}"
        raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)


def _prices(request: OrderRequest) -> Iterator[tuple[str, Decimal]]:
    for name in ("limit_price", "stop_price", "take_profit", "stop_loss"):
        price: Decimal | None = getattr(request, name)
        if price is not None:
            yield name, price


def _part(name: str, price: Decimal | None) -> dict[str, object] | None:
    return None if price is None else {name: _written(price)}


def _written(price: Decimal) -> str:
    """Write a price on its tick, with the tick's decimals and nothing behind them."""
    return format(price.quantize(tick_at(price)), "f")


def tick_at(price: Decimal) -> Decimal:
    """Return the step that applies at a price."""
    return next(band.tick for band in reversed(TICKS) if price >= band.from_price)
