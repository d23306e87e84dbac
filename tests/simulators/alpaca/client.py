"""The real client, and the requests that tests make with it."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.models import Order
from alpaca.trading.requests import (
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from tests.simulators.alpaca.venue import AlpacaVenue

TIMEOUT_SECONDS = (2.0, 1.0)
BUY, SELL, GTC = OrderSide.BUY, OrderSide.SELL, TimeInForce.GTC


def limit(
    price: float, quantity: int = 5, side: OrderSide = BUY, **others: Any
) -> LimitOrderRequest:
    words = {"symbol": "ACME", "qty": quantity, "side": side, "time_in_force": GTC} | others
    return LimitOrderRequest(limit_price=price, **words)


def market(quantity: int, side: OrderSide = BUY) -> MarketOrderRequest:
    return MarketOrderRequest(symbol="ACME", qty=quantity, side=side, time_in_force=TimeInForce.DAY)


def bracket(price: float, quantity: int = 5) -> LimitOrderRequest:
    return limit(
        price,
        quantity,
        order_class="bracket",
        take_profit=TakeProfitRequest(limit_price=110),
        stop_loss=StopLossRequest(stop_price=90),
    )


def submitted(client: TradingClient, request: Any) -> Order:
    order = client.submit_order(request)
    assert isinstance(order, Order)
    return order


def listed(client: TradingClient, status: QueryOrderStatus, **others: Any) -> list[Order]:
    orders = client.get_orders(GetOrdersRequest(status=status, **others))
    assert isinstance(orders, list)
    return orders


def raw(client: RESTClient, path: str, **query: Any) -> Any:
    """Ask as the client does, and return what came."""
    ask: Callable[..., Any] = client.get  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] (untyped there)
    return ask(path, query)


def refusal(refused: pytest.ExceptionInfo[APIError]) -> Any:
    """The HTTP response behind an error."""
    return cast("Any", refused.value).response


def words(orders: list[Order] | None) -> list[tuple[str | None, str]]:
    return [(order.type and order.type.value, order.status.value) for order in orders or []]


def stop(quantity: int, price: float) -> StopOrderRequest:
    return StopOrderRequest(
        symbol="ACME", qty=quantity, side=SELL, time_in_force=GTC, stop_price=price
    )


class _Bounded(HTTPAdapter):
    """Gives every request a bound, which the client does not."""

    def send(self, request: PreparedRequest, **others: Any) -> Response:
        bounded: dict[str, Any] = others | {"timeout": TIMEOUT_SECONDS}
        return super().send(request, **bounded)


def open_client(venue: AlpacaVenue) -> TradingClient:
    """Return the real client of a venue's trading API; it tries once."""
    client = TradingClient(venue.key, venue.secret, url_override=venue.trading_url)
    client._retry = 0
    client._session.mount("http://", _Bounded())
    return client
