"""Reads what a client sends about orders: Alpaca's words into the exchange's."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import uuid4

from brokers.matching import BookOrder
from shared.models import OrderClass, OrderPurpose, OrderRequest, OrderType, Side, TimeInForce
from tests.simulators.alpaca.refusals import BAD_PARAMETER, UNPROCESSABLE, refuse
from tests.simulators.alpaca.shapes import NEVER_FALLEN_TO, NEVER_REACHED
from tests.simulators.alpaca.wire import Json, Request


def read_body(request: Request) -> Json:
    """Return a request's body, which has to be an object; raise Refused."""
    try:
        body = request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise refuse(400, 40010000, "request body format is invalid")
    return cast("Json", body)


def read_order(body: Json) -> OrderRequest:
    """Return a new order; raise Refused where Alpaca refuses its shape, or the exchange has no such order.

    An OTO order becomes a bracket whose other leg is out of every price's reach, and never shown.
    """
    order_type = _one_of(body, "type", OrderType)
    side = _one_of(body, "side", Side)
    order_class = str(body.get("order_class") or "simple")
    _refuse_what_the_exchange_has_not(body, order_type, order_class)
    quantity = _quantity(body, order_class)
    target, stop = _legs(body, order_class, side)
    limit, is_limit = _price(body, "limit_price"), order_type is OrderType.LIMIT
    if is_limit and limit is None and order_class != "oco":
        raise refuse(422, BAD_PARAMETER, "limit orders require limit price")
    return OrderRequest(
        client_order_id=_client_order_id(body),
        symbol=str(body.get("symbol") or ""),
        side=side,
        quantity=quantity,
        order_type=order_type,
        purpose=OrderPurpose.ENTRY if side is Side.BUY else OrderPurpose.EXIT,
        time_in_force=_one_of(body, "time_in_force", TimeInForce),
        order_class=_CLASSES[order_class],
        limit_price=limit,
        stop_price=_price(body, "stop_price"),
        take_profit=target,
        stop_loss=stop,
    )


def read_replacement(body: Json, old: BookOrder) -> OrderRequest:
    """Return the order that takes the place of `old`: what is not said stays, the quantity is what remains."""
    limit, stop = _price(body, "limit_price"), _price(body, "stop_price")
    named = body.get("time_in_force")
    return OrderRequest(
        client_order_id=_client_order_id(body),
        symbol=old.symbol,
        side=old.side,
        quantity=_quantity(body, "simple") if "qty" in body else old.remaining_quantity,
        order_type=old.order_type,
        purpose=OrderPurpose.ENTRY if old.side is Side.BUY else OrderPurpose.EXIT,
        time_in_force=_one_of(body, "time_in_force", TimeInForce) if named else old.time_in_force,
        limit_price=old.limit_price if limit is None else limit,
        stop_price=old.stop_price if stop is None else stop,
        replaces=old.broker_order_id,
    )


_CLASSES = {
    "simple": OrderClass.SIMPLE,
    "bracket": OrderClass.BRACKET,
    "oto": OrderClass.BRACKET,
    "oco": OrderClass.OCO,
}


def _refuse_what_the_exchange_has_not(body: Json, order_type: OrderType, order_class: str) -> None:
    if body.get("extended_hours") and order_type is not OrderType.LIMIT:
        raise refuse(422, BAD_PARAMETER, 'only type="limit" is allowed for extended hours')
    for name in ("notional", "trail_price", "trail_percent", "extended_hours", "legs"):
        if body.get(name):
            raise refuse(422, BAD_PARAMETER, f"the simulator knows no {name}")
    if order_class not in _CLASSES:
        raise refuse(422, BAD_PARAMETER, f"the simulator knows no order_class {order_class}")


def _legs(body: Json, order_class: str, side: Side) -> tuple[Decimal | None, Decimal | None]:
    """Return the prices of target and stop."""
    target = _price(_part(body, "take_profit"), "limit_price")
    loss = _part(body, "stop_loss")
    stop = _price(loss, "stop_price")
    if loss.get("limit_price") is not None:
        raise refuse(422, BAD_PARAMETER, "the simulator knows no stop-limit leg")
    if order_class == "simple":
        return None, None
    wanted, kind = (Side.SELL, "exit") if order_class == "oco" else (Side.BUY, "entry")
    if side is not wanted:
        raise refuse(422, UNPROCESSABLE, f"{order_class} orders must be {kind} orders")
    if order_class == "oto":
        if (target is None) == (stop is None):
            text = "oto orders require exactly one of take_profit.limit_price, stop_loss.stop_price"
            raise refuse(422, BAD_PARAMETER, text)
        return target or NEVER_REACHED, stop or NEVER_FALLEN_TO
    if target is None:
        raise refuse(422, BAD_PARAMETER, f"{order_class} orders require take_profit.limit_price")
    if stop is None:
        raise refuse(422, BAD_PARAMETER, f"{order_class} orders require stop_loss.stop_price")
    return target, stop


def _part(body: Json, name: str) -> Json:
    part = body.get(name)
    return cast("Json", part) if isinstance(part, dict) else {}


def _quantity(body: Mapping[str, Any], order_class: str) -> int:
    quantity = _number(body.get("qty"), "qty")
    if quantity is None or quantity <= 0:
        raise refuse(422, BAD_PARAMETER, "qty must be > 0")
    if quantity % 1:
        if order_class != "simple":
            raise refuse(422, UNPROCESSABLE, "fractional orders must be simple orders")
        if body.get("time_in_force") != "day":
            raise refuse(422, UNPROCESSABLE, "fractional orders must be DAY orders")
        raise refuse(403, 40310000, "asset is not fractionable")
    return int(quantity)


def _price(body: Mapping[str, Any], name: str) -> Decimal | None:
    return _number(body.get(name), name)


def _number(value: object, name: str) -> Decimal | None:
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise refuse(422, BAD_PARAMETER, f"invalid {name} {value}") from None


def _client_order_id(body: Json) -> str:
    return str(body.get("client_order_id") or uuid4())


def _one_of(body: Json, name: str, words: type[OrderType] | type[Side] | type[TimeInForce]) -> Any:
    try:
        return words(str(body.get(name)))
    except ValueError:
        raise refuse(422, BAD_PARAMETER, f"invalid {name}: {body.get(name)}") from None
