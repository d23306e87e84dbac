"""Order requests with sensible defaults, for tests that go to the exchange directly."""

import itertools
from decimal import Decimal

from shared.models import (
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
)

_numbers = itertools.count(1)

Price = Decimal | int | str | None


def order_request(
    side: Side,
    quantity: int,
    *,
    order_type: OrderType = OrderType.MARKET,
    symbol: str = "ACME",
    limit: Price = None,
    stop: Price = None,
    stop_loss: Price = None,
    take_profit: Price = None,
    order_class: OrderClass = OrderClass.SIMPLE,
    time_in_force: TimeInForce = TimeInForce.DAY,
    replaces: str | None = None,
    client_order_id: str | None = None,
) -> OrderRequest:
    return OrderRequest(
        client_order_id=client_order_id or f"request-{next(_numbers)}",
        symbol=symbol,
        side=side,
        quantity=quantity,
        order_type=order_type,
        purpose=OrderPurpose.ENTRY if side is Side.BUY else OrderPurpose.EXIT,
        time_in_force=time_in_force,
        order_class=order_class,
        limit_price=_decimal(limit),
        stop_price=_decimal(stop),
        stop_loss=_decimal(stop_loss),
        take_profit=_decimal(take_profit),
        replaces=replaces,
    )


def buy(quantity: int, limit: Price = None, *, replaces: str | None = None) -> OrderRequest:
    order_type = OrderType.MARKET if limit is None else OrderType.LIMIT
    return order_request(Side.BUY, quantity, order_type=order_type, limit=limit, replaces=replaces)


def sell(quantity: int, limit: Price = None, *, replaces: str | None = None) -> OrderRequest:
    order_type = OrderType.MARKET if limit is None else OrderType.LIMIT
    return order_request(Side.SELL, quantity, order_type=order_type, limit=limit, replaces=replaces)


def stop(quantity: int, trigger: Price, *, replaces: str | None = None) -> OrderRequest:
    return order_request(
        Side.SELL,
        quantity,
        order_type=OrderType.STOP,
        stop=trigger,
        time_in_force=TimeInForce.GTC,
        replaces=replaces,
    )


def bracket(
    quantity: int,
    limit: Price = None,
    *,
    stop_loss: Price = 95,
    take_profit: Price = 110,
    time_in_force: TimeInForce = TimeInForce.GTC,
) -> OrderRequest:
    return order_request(
        Side.BUY,
        quantity,
        order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit=limit,
        stop_loss=stop_loss,
        take_profit=take_profit,
        order_class=OrderClass.BRACKET,
        time_in_force=time_in_force,
    )


def oco(quantity: int, *, stop_loss: Price = 95, take_profit: Price = 110) -> OrderRequest:
    return order_request(
        Side.SELL,
        quantity,
        order_type=OrderType.LIMIT,
        stop_loss=stop_loss,
        take_profit=take_profit,
        order_class=OrderClass.OCO,
        time_in_force=TimeInForce.GTC,
    )


def _decimal(price: Price) -> Decimal | None:
    return None if price is None else Decimal(price)
