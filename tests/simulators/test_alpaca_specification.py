"""Everything the simulator answers, and everything the real client asks it, against the official documents."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.data.enums import DataFeed, MarketType, MostActivesBy
from alpaca.data.historical.news import NewsClient
from alpaca.data.historical.screener import ScreenerClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import (
    MarketMoversRequest,
    MostActivesRequest,
    NewsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetStatus, QueryOrderStatus
from alpaca.trading.models import Order
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrderByIdRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)

from shared.models import Side
from tests.simulators.alpaca.api import ROUTES
from tests.simulators.alpaca.client import (
    SELL,
    bracket,
    limit,
    listed,
    market,
    raw,
    stop,
    submitted,
)
from tests.simulators.alpaca.market import START
from tests.simulators.alpaca.specification import Specification
from tests.simulators.alpaca.specification_patches import PATCHES, Patch
from tests.simulators.alpaca.venue import AlpacaVenue
from tests.simulators.alpaca.wire import Request
from tests.simulators.test_alpaca_data import DAYS, MINUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its answer, as they went over the wire."""

    asked: Request
    status: int
    body: Any


def test_every_answer_and_every_request_is_as_the_official_documents_have_them_and_no_patch_is_needless(
    alpaca: AlpacaVenue, alpaca_client: TradingClient
) -> None:
    exchanges = _a_day_at(alpaca, alpaca_client)
    specification = Specification()
    asked = {(one.asked.method, one.asked.path) for one in exchanges}
    unasked = [
        f"{route.method} {route.pattern}"
        for route in ROUTES
        if not any(route.method == m and re.fullmatch(route.pattern, path) for m, path in asked)
    ]
    needless = [patch.place for patch in PATCHES if not any(_wrong(exchanges, _without(patch)))]

    assert list(_wrong(exchanges, specification)) == []
    assert specification.wrong_with_log(alpaca.requests()) == []
    assert unasked == []
    assert needless == []


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.place.rpartition("/schemas/")[2])
def test_what_a_patch_replaces_stands_there_still(patch: Patch) -> None:
    assert Specification().published(patch) == patch.published
    assert patch.reason


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/v2/account", {"id": "5a1f0e0a-7c3c-4d1e-9c55-3f1f2f9b6a11", "status": "QUIET"}, "QUIET"),
        ("/v2/account", {"status": "ACTIVE"}, "'id' is a required property"),
        ("/v2/clock", {"timestamp": "yesterday", "is_open": True}, "yesterday"),
        (
            "/v2/orders",
            [{"notional": None, "type": "limit", "time_in_force": "day", "sides": 1}],
            "sides",
        ),
        ("/v2/positions", [{"qty": 3}], "3 is not of type 'string'"),
        ("/v2/nothing", {}, "no such endpoint"),
    ],
)
def test_an_answer_of_our_own_making_is_found(path: str, body: Any, found: str) -> None:
    assert found in "; ".join(Specification().wrong_with_answer("GET", path, 200, body))


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "found"),
    [
        ("GET", "/v2/orders", {"state": "open"}, "", "no parameter state"),
        ("GET", "/v2/orders", {"status": "opened"}, "", "opened"),
        ("GET", "/v2/orders", {"limit": "many"}, "", "many"),
        ("GET", "/v2/orders:by_client_order_id", {}, "", "client_order_id is missing"),
        (
            "POST",
            "/v2/orders",
            {},
            '{"type": "limit", "time_in_force": "day", "price": 1}',
            "price",
        ),
        ("POST", "/v2/orders", {}, '{"type": "limit"}', "time_in_force"),
        ("GET", "/v2/stocks/bars", {"symbols": "A"}, "", "timeframe is missing"),
        ("GET", "/v2/account", {}, "{}", "a body that nobody asked for"),
        ("PUT", "/v2/orders", {}, "", "no such endpoint"),
    ],
)
def test_a_request_of_our_own_making_is_found(
    method: str, path: str, query: dict[str, str], body: str, found: str
) -> None:
    log = [{"method": method, "path": path, "query": query, "body": body}]

    assert found in "; ".join(Specification().wrong_with_log(log))


def _wrong(exchanges: list[Exchange], specification: Specification) -> Iterator[str]:
    for one in exchanges:
        method, path, sent = one.asked.method, one.asked.path, one.asked.body.decode()
        asked = specification.wrong_with_request(method, path, query=one.asked.query, body=sent)
        answered = specification.wrong_with_answer(method, path, one.status, one.body)
        yield from (f"{method} {path} {one.status}: {text}" for text in (*asked, *answered))


def _without(patch: Patch) -> Specification:
    return Specification(other for other in PATCHES if other != patch)


def _a_day_at(alpaca: AlpacaVenue, trading: TradingClient) -> list[Exchange]:
    """Ask everything that can be asked, and return what was said."""
    key, secret, url = alpaca.key, alpaca.secret, alpaca.data_url
    stocks = StockHistoricalDataClient(key, secret, url_override=url)
    news = NewsClient(key, secret, url_override=url)
    screener = ScreenerClient(key, secret, url_override=url)
    kept: list[Exchange] = []
    for client in (trading, stocks, news, screener):
        _listen(client, kept)
    _trade(alpaca, trading)
    _be_refused(alpaca, trading)
    _read(trading)
    alpaca.tell("Nothing more is known", "ACME")
    _look(stocks, news, screener)
    for client in (stocks, news, screener):
        client._session.close()
    return kept


def _listen(client: RESTClient, kept: list[Exchange]) -> None:
    def keep(answer: requests.Response, *_: Any, **__: Any) -> None:
        sent = cast("bytes | None", answer.request.body) or b""
        target = answer.request.path_url
        asked = Request.read(answer.request.method or "", target, headers={}, body=sent)
        body = answer.json() if answer.content else None
        kept.append(Exchange(asked=asked, status=answer.status_code, body=body))

    client._session.hooks["response"].append(keep)


def _trade(alpaca: AlpacaVenue, trading: TradingClient) -> None:
    rests = submitted(trading, limit(90, 3))
    words = ReplaceOrderRequest(limit_price=91.5, qty=4, client_order_id="replaced")
    trading.replace_order_by_id(rests.id, words)
    replaced = trading.get_order_by_client_id("replaced")
    assert isinstance(replaced, Order)
    trading.cancel_order_by_id(replaced.id)
    entry = submitted(trading, bracket(99, 40))
    alpaca.trade(99, 99, 98, 99, volume=100)
    listed(trading, QueryOrderStatus.ALL, nested=True)
    alpaca.trade(99)
    nested = trading.get_order_by_id(entry.id, GetOrderByIdRequest(nested=True))
    assert isinstance(nested, Order)
    target, _ = nested.legs or []
    trading.replace_order_by_id(target.id, ReplaceOrderRequest(limit_price=98))
    alpaca.trade(99)
    submitted(trading, market(8))
    protective = submitted(trading, stop(8, 80))
    trading.replace_order_by_id(protective.id, ReplaceOrderRequest(stop_price=81.25))
    only_stop = StopLossRequest(stop_price=30)
    submitted(trading, limit(42, order_class="oto", stop_loss=only_stop, symbol="NVDA"))
    alpaca.trade_by_somebody_else(Side.BUY, 5, 30, symbol="MSFT")
    both = {
        "take_profit": TakeProfitRequest(limit_price=40),
        "stop_loss": StopLossRequest(stop_price=20),
    }
    submitted(trading, limit(40, 5, SELL, order_class="oco", symbol="MSFT", **both))
    alpaca.move_to(START + timedelta(hours=8))
    submitted(trading, limit(20, symbol="AAPL"))
    for status in QueryOrderStatus:
        for nested_too in (True, False):
            listed(trading, status, nested=nested_too, symbols=["ACME", "NVDA"], limit=100)
            listed(trading, status, after=START, until=START + timedelta(days=3), direction="asc")


def _be_refused(alpaca: AlpacaVenue, trading: TradingClient) -> None:
    for refused in (limit(1.234567), limit(99, 100_000), market(5, SELL), stop(1, 3000)):
        with pytest.raises(APIError):
            trading.submit_order(refused)
    for path in ("/positions/NOSUCH", "/assets/NOSUCH", "/orders/not-an-id"):
        with pytest.raises(APIError):
            raw(trading, path)
    alpaca.change_account(trading_blocked=True)
    with pytest.raises(APIError):
        trading.submit_order(market(1))


def _read(trading: TradingClient) -> None:
    trading.get_account()
    trading.get_clock()
    trading.get_calendar(GetCalendarRequest(start=START.date(), end=START.date()))
    trading.get_all_assets(GetAssetsRequest(status=AssetStatus.ACTIVE))
    trading.get_asset("ACME")
    trading.get_all_positions()
    trading.get_open_position("ACME")
    raw(trading, "/account/activities", activity_types="FILL")
    fills = raw(trading, "/account/activities/FILL", page_size=1, direction="asc")
    raw(
        trading,
        "/account/activities/FILL",
        page_token=fills[0]["id"],
        direction="asc",
        after=START.isoformat(),
    )


def _look(stocks: StockHistoricalDataClient, news: NewsClient, screener: ScreenerClient) -> None:
    two: dict[str, Any] = {"symbol_or_symbols": ["ACME", "NVDA"], "feed": DataFeed.IEX}
    stocks.get_stock_snapshot(StockSnapshotRequest(**two))
    stocks.get_stock_latest_quote(StockLatestQuoteRequest(**two))
    stocks.get_stock_latest_trade(StockLatestTradeRequest(**two))
    stocks.get_stock_latest_bar(StockLatestBarRequest(**two))
    for timeframe in (MINUTES, DAYS):
        since = START - timedelta(days=30)
        stocks.get_stock_bars(StockBarsRequest(timeframe=timeframe, start=since, limit=9, **two))
    third = {"page_token": b"15".hex()}
    raw(stocks, "/stocks/bars", symbols="ACME", timeframe="1Min", limit=5, **third)
    news.get_news(NewsRequest(symbols="ACME,NVDA", start=START - timedelta(days=1)))
    news.get_news(NewsRequest(include_content=True, limit=3))
    screener.get_most_actives(MostActivesRequest(top=3, by=MostActivesBy.TRADES))
    screener.get_market_movers(MarketMoversRequest(market_type=MarketType.STOCKS, top=3))
