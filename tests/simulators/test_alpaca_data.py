"""The simulator's market data, asked by the real clients."""

from datetime import timedelta
from typing import Any, cast

import pytest
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed, MarketType, MostActivesBy
from alpaca.data.historical.news import NewsClient
from alpaca.data.historical.screener import ScreenerClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.models import BarSet, NewsSet
from alpaca.data.models.screener import MostActives, Movers
from alpaca.data.requests import (
    MarketMoversRequest,
    MostActivesRequest,
    NewsRequest,
    StockBarsRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from tests.simulators.alpaca.client import raw, refusal
from tests.simulators.alpaca.market import OTHERS, START
from tests.simulators.alpaca.venue import AlpacaVenue
from tests.simulators.market import HISTORY_SESSIONS

MINUTES = TimeFrame(1, cast("TimeFrameUnit", TimeFrameUnit.Minute))
DAYS = TimeFrame(1, cast("TimeFrameUnit", TimeFrameUnit.Day))


@pytest.fixture
def stocks(alpaca: AlpacaVenue) -> StockHistoricalDataClient:
    return StockHistoricalDataClient(alpaca.key, alpaca.secret, url_override=alpaca.data_url)


def bars_of(stocks: StockHistoricalDataClient, symbols: list[str], **others: Any) -> Any:
    bars = stocks.get_stock_bars(StockBarsRequest(symbol_or_symbols=symbols, **others))
    assert isinstance(bars, BarSet)
    return bars.data


def test_one_snapshot_call_has_every_symbol_that_is_known(
    alpaca: AlpacaVenue, stocks: StockHistoricalDataClient
) -> None:
    alpaca.trade(101, 103, 100, 102, volume=500)
    found: Any = stocks.get_stock_snapshot(
        StockSnapshotRequest(symbol_or_symbols=["ACME", *OTHERS, "NOSUCH"], feed=DataFeed.IEX)
    )

    acme = found["ACME"]
    assert set(found) == {"ACME", *OTHERS}
    assert (acme.latest_trade.price, acme.latest_quote.bid_price) == (102, 101.99)
    assert (acme.minute_bar.open, acme.minute_bar.volume) == (101, 500)
    assert (acme.daily_bar.high, acme.previous_daily_bar.close) == (103, 100)
    assert [r["path"] for r in alpaca.requests()] == ["/v2/stocks/snapshots"]


def test_minutes_come_in_pages_up_to_a_limit_and_end_with_the_last_one_completed(
    alpaca: AlpacaVenue, stocks: StockHistoricalDataClient
) -> None:
    alpaca.move_to(START + timedelta(seconds=30))
    words = {"timeframe": MINUTES, "start": START - timedelta(minutes=30), "feed": DataFeed.IEX}
    every = bars_of(stocks, ["ACME", "AAPL"], **words)
    first = bars_of(stocks, ["ACME", "AAPL"], limit=40, **words)

    assert [len(every["AAPL"]), len(every["ACME"])] == [30, 30]
    assert every["ACME"][-1].timestamp == START - timedelta(minutes=1)
    assert [len(first["AAPL"]), len(first["ACME"])] == [30, 10]


def test_a_page_token_leads_through_all_bars_once(
    alpaca: AlpacaVenue, stocks: StockHistoricalDataClient
) -> None:
    query = {"symbols": "ACME,AAPL", "timeframe": "1Min", "limit": 20, "feed": "iex"}
    pages = [raw(stocks, "/stocks/bars", **query)]
    while token := pages[-1]["next_page_token"]:
        pages.append(raw(stocks, "/stocks/bars", page_token=token, **query))
    times = [(s, bar["t"]) for page in pages for s, bars in page["bars"].items() for bar in bars]

    assert [sum(map(len, page["bars"].values())) for page in pages] == [20, 20, 20]
    assert times == sorted(set(times))


def test_days_go_back_far_enough_for_an_average(stocks: StockHistoricalDataClient) -> None:
    days = bars_of(
        stocks,
        ["MSFT"],
        timeframe=DAYS,
        start=START - timedelta(days=90),
        sort=Sort.DESC,
        feed=DataFeed.IEX,
    )["MSFT"]

    assert len(days) == HISTORY_SESSIONS + 1
    assert days[0].timestamp.isoformat() == "2026-06-15T04:00:00+00:00"
    assert days[1].timestamp.isoformat() == "2026-06-12T04:00:00+00:00"
    assert min(day.volume for day in days[1:]) > 100_000


def test_quotes_and_trades_move_with_the_market(
    alpaca: AlpacaVenue, stocks: StockHistoricalDataClient
) -> None:
    alpaca.trade_many({"AAPL": ["21"], "MSFT": ["30"]})
    quotes: Any = stocks.get_stock_latest_quote(
        StockLatestQuoteRequest(symbol_or_symbols=["AAPL", "MSFT"])
    )
    trades: Any = stocks.get_stock_latest_trade(
        StockLatestTradeRequest(symbol_or_symbols=["AAPL", "MSFT"])
    )

    assert (quotes["AAPL"].ask_price, quotes["MSFT"].bid_price) == (21.01, 29.99)
    assert (trades["AAPL"].price, trades["MSFT"].price) == (21, 30)


def test_the_free_plan_has_no_recent_consolidated_tape(
    alpaca: AlpacaVenue, stocks: StockHistoricalDataClient
) -> None:
    old = {"timeframe": DAYS, "start": START - timedelta(days=9), "end": START - timedelta(days=1)}
    with pytest.raises(APIError) as refused:
        stocks.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="ACME", feed=DataFeed.SIP))
    earlier = bars_of(stocks, ["ACME"], feed=DataFeed.SIP, **old)
    alpaca.change_plan(free=False)
    stocks.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="ACME", feed=DataFeed.SIP))

    assert refusal(refused).status_code == 403
    assert refusal(refused).json() == {
        "message": "subscription does not permit querying recent SIP data"
    }
    assert earlier["ACME"]


def test_news_of_some_symbols_newest_first(alpaca: AlpacaVenue) -> None:
    alpaca.tell("ACME ignores every rule", "ACME", "AAPL")
    client = NewsClient(alpaca.key, alpaca.secret, url_override=alpaca.data_url)
    found = client.get_news(
        NewsRequest(symbols="ACME,AAPL,MSFT", start=START - timedelta(hours=1), limit=10)
    )

    assert isinstance(found, NewsSet)
    assert [story.headline for story in found.data["news"]] == [
        "ACME ignores every rule",
        "AAPL was talked about",
        "MSFT was talked about",
    ]


def test_the_screener_knows_who_moved_and_who_was_traded(alpaca: AlpacaVenue) -> None:
    alpaca.trade_many({"NVDA": ["45"]}, volume=90_000)
    client = ScreenerClient(alpaca.key, alpaca.secret, url_override=alpaca.data_url)
    active = client.get_most_actives(MostActivesRequest(top=3, by=MostActivesBy.VOLUME))
    moved = client.get_market_movers(MarketMoversRequest(market_type=MarketType.STOCKS, top=5))

    assert isinstance(active, MostActives)
    assert active.most_actives[0].symbol == "NVDA"
    assert len(active.most_actives) == 3
    assert isinstance(moved, Movers)
    assert moved.gainers[0].symbol == "NVDA"
    assert [row.percent_change for row in moved.gainers] == sorted(
        (row.percent_change for row in moved.gainers), reverse=True
    )
    assert all(row.percent_change < 0 for row in moved.losers)
    assert "ACME" not in {row.symbol for row in (*moved.gainers, *moved.losers)}


def test_who_has_no_keys_for_data_hears_it_from_the_load_balancer(
    alpaca: AlpacaVenue, stocks: StockHistoricalDataClient
) -> None:
    alpaca.change_keys("another", "pair")
    with pytest.raises(APIError) as refused:
        stocks.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="ACME"))

    assert refusal(refused).status_code == 401
    assert "<html>" in refusal(refused).text
