"""The live feed against the simulator, through alpaca-py over HTTP on loopback."""

import json
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest
from pydantic import SecretStr

from market import asking
from market.alpaca import AlpacaFeed
from market.alpaca_requests import Reader, Requests
from market.alpaca_stocks import TradableStocks
from market.base import Feed
from shared.alpaca_http import AlpacaHttp, AlpacaKeys, RequestShare
from shared.clock import Clock, ManualClock
from shared.config import OrderSettings
from shared.config_brokers import AlpacaSettings
from shared.errors import FeedUnavailable
from tests.market.feed_contract import CALENDAR, FAR, MINUTE, UNKNOWN, FeedContract, Window
from tests.simulators.alpaca.market import OTHERS, START
from tests.simulators.alpaca.venue import AlpacaVenue
from tests.simulators.alpaca.wire import Wire, WireFault

OPENS = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
WRONG = "-".join(("not", "the", "one"))
LONG_AGO = CALENDAR.previous_sessions(OPENS.date(), 5)[0].opens_at
THIRTY = tuple(sorted(OTHERS[:30]))
SNAPSHOTS, BARS, NEWS = "/v2/stocks/snapshots", "/v2/stocks/bars", "/v1beta1/news"
ACTIVE = "/v1beta1/screener/stocks/most-actives"
MOVERS = "/v1beta1/screener/stocks/movers"
ASSETS = "/v2/assets"


@asynccontextmanager
async def opened(
    venue: AlpacaVenue,
    clock: Clock,
    *,
    listed: Collection[str] = (),
    secret: str | None = None,
    **settings: Any,
) -> AsyncGenerator[AlpacaFeed]:
    """Yield a feed that is connected as a run connects it."""
    reached = AlpacaSettings(
        trading_url=venue.trading_url,
        data_url=venue.data_url,
        **settings,
    )
    keys = AlpacaKeys(SecretStr(venue.key), SecretStr(secret or venue.secret))
    share = RequestShare(200)
    trading = AlpacaHttp(reached, keys, reached.trading_url, share)
    data = AlpacaHttp(reached, keys, reached.data_url, share)
    try:
        yield AlpacaFeed(
            Requests(Reader(data, OrderSettings()), reached.feed),
            clock,
            calendar=CALENDAR,
            listed=listed,
            stocks=TradableStocks(Reader(trading, OrderSettings()), clock, CALENDAR),
        )
    finally:
        await trading.close()
        await data.close()


@pytest.fixture(scope="module")
def one_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlpacaVenue]:
    venue = AlpacaVenue(tmp_path_factory.mktemp("quiet"))
    venue.limit_rate(None)
    try:
        yield venue
    finally:
        venue.close()


@pytest.fixture
def quiet(one_simulator: AlpacaVenue) -> Iterator[AlpacaVenue]:
    """A simulator whose market no test moves; faults are healed and requests forgotten."""
    one_simulator.requests(forget=True)
    yield one_simulator
    one_simulator.heal()


@pytest.fixture
async def feed(quiet: AlpacaVenue) -> AsyncIterator[AlpacaFeed]:
    async with opened(quiet, ManualClock(START), listed=THIRTY) as connected:
        yield connected


class TestAlpacaFeed(FeedContract):
    @pytest.fixture
    async def window(self, quiet: AlpacaVenue) -> AsyncIterator[Window]:
        earlier = START - 10 * MINUTE
        async with (
            opened(quiet, ManualClock(START), listed=OTHERS) as feed,
            opened(quiet, ManualClock(earlier), listed=OTHERS) as behind,
        ):
            yield Window(
                feed=feed,
                now=START,
                traded=OTHERS[:5],
                behind=behind,
                behind_now=earlier,
            )


async def test_it_says_whose_quotes_they_are(feed: AlpacaFeed) -> None:
    checked: Feed = feed

    assert "IEX alone" in checked.description.label
    assert checked.description.has_news


async def test_symbols_are_active_moving_and_configured_ones_that_can_be_traded(
    quiet: AlpacaVenue,
) -> None:
    active = {"most_actives": [{"symbol": s} for s in ("AAPL", "ACMEW", "AAPL.WS", "MSFT")]}
    moving = {"gainers": [{"symbol": "NVDA"}], "losers": [{"symbol": "GONE"}]}
    assets = [
        asset("AAPL"),
        asset("ACMEW", name="Acme Corp. Warrant"),
        asset("AAPL.WS"),
        asset("BRK.B"),
        asset("MSFT", exchange="OTC"),
        asset("NVDA"),
        asset("META", tradable=False),
        asset("TSLA", status="inactive"),
        {**asset("GOOGL"), "tradable": None},
    ]
    answer(quiet, ACTIVE, active)
    answer(quiet, MOVERS, moving)
    answer(quiet, ASSETS, assets)
    listed = ("BRK.B", "META", "TSLA", "GOOGL", "NONE")

    async with opened(quiet, ManualClock(START), listed=listed) as feed:
        found = await feed.symbols()

    assert found == ("AAPL", "BRK.B", "NVDA")


async def test_a_cycle_over_thirty_symbols_asks_in_batches(
    feed: AlpacaFeed, quiet: AlpacaVenue
) -> None:
    """One question for each kind of thing and page, however many symbols and however they are asked."""
    await feed.quotes(THIRTY)
    await feed.bars(THIRTY, start=OPENS, end=START)
    await feed.baselines(THIRTY)
    of_the_scan = asked(quiet)
    for symbol in THIRTY:
        assert await feed.quotes([symbol])
    for symbol in THIRTY:
        assert (await feed.bars([symbol], start=LONG_AGO, end=START))[symbol]
    for symbol in THIRTY:
        assert (await feed.baselines([symbol]))[symbol].average_daily_volume

    assert of_the_scan == {SNAPSHOTS: 1, BARS: 2}
    assert asked(quiet) == {SNAPSHOTS: 1, BARS: 8}


async def test_a_minute_later_one_question_brings_every_symbol_up_to_date(
    alpaca: AlpacaVenue,
) -> None:
    clock = ManualClock(START)
    async with opened(alpaca, clock) as feed:
        await feed.bars(THIRTY, start=OPENS, end=START)
        clock.move_to(alpaca.trade_many({symbol: [50] for symbol in THIRTY}))
        asked(alpaca)
        later = [await feed.bars([symbol], start=OPENS, end=FAR) for symbol in THIRTY]

    assert [bars[symbol][-1].close for symbol, bars in zip(THIRTY, later, strict=True)] == [
        Decimal(50)
    ] * len(THIRTY)
    assert asked(alpaca) == {BARS: 1}


async def test_the_list_of_stocks_is_read_once_a_day(alpaca: AlpacaVenue) -> None:
    clock = ManualClock(START)
    async with opened(alpaca, clock) as feed:
        await feed.symbols()
        await feed.symbols()
        first_day = asked(alpaca)
        clock.move_to(START + timedelta(days=1))
        await feed.symbols()

    assert first_day == {ACTIVE: 2, MOVERS: 2, ASSETS: 1}
    assert asked(alpaca) == {ACTIVE: 1, MOVERS: 1, ASSETS: 1}


async def test_baselines_are_read_again_for_another_session(alpaca: AlpacaVenue) -> None:
    clock = ManualClock(START)
    async with opened(alpaca, clock) as feed:
        monday = await feed.baselines(["ACME"])
        alpaca.trade(123)
        clock.move_to(START + timedelta(days=1))
        alpaca.move_to(clock.now())
        tuesday = await feed.baselines(["ACME"])

    assert monday["ACME"].previous_close == Decimal(100)
    assert tuesday["ACME"].previous_close == Decimal(123)
    assert tuesday["ACME"].previous_change_pct == Decimal(23)


async def test_whoever_asks_twice_for_a_quote_gets_two_readings(
    feed: AlpacaFeed, quiet: AlpacaVenue
) -> None:
    """The position monitor believes a price only when two readings agree."""
    await feed.quotes(["AAPL", "MSFT"])
    asked(quiet)

    await feed.quotes(["AAPL"])
    await feed.quotes(["MSFT"])
    came_along = asked(quiet)
    await feed.quotes(["MSFT"])
    await feed.quotes(["MSFT"])

    assert came_along == {SNAPSHOTS: 1}
    assert asked(quiet) == {SNAPSHOTS: 2}


async def test_a_quote_that_came_along_is_not_handed_out_late(quiet: AlpacaVenue) -> None:
    clock = ManualClock(START)
    async with opened(quiet, clock) as feed:
        await feed.quotes(["AAPL", "MSFT"])
        await feed.quotes(["AAPL"])
        clock.move_to(START + asking.READ_AHEAD_FOR + timedelta(milliseconds=1))
        asked(quiet)
        await feed.quotes(["MSFT"])

    assert asked(quiet) == {SNAPSHOTS: 1}


async def test_a_quote_a_moment_ahead_of_our_clock_is_waited_for(quiet: AlpacaVenue) -> None:
    ahead = {"t": stamp(START + timedelta(milliseconds=400)), "bp": 9, "ap": 10, "bs": 1, "as": 1}
    far = {**ahead, "t": stamp(START + timedelta(seconds=9))}
    answer(quiet, SNAPSHOTS, {"AAPL": {"latestQuote": ahead}, "MSFT": {"latestQuote": far}})
    clock = ManualClock(START)

    async with opened(quiet, clock) as feed:
        quotes = await feed.quotes(["AAPL", "MSFT"])

    assert set(quotes) == {"AAPL"}
    assert quotes["AAPL"].at <= clock.now() < START + timedelta(seconds=1)


async def test_a_halt_shows_as_a_quote_that_grows_old(alpaca: AlpacaVenue) -> None:
    clock = ManualClock(START)
    async with opened(alpaca, clock) as feed:
        alpaca.halt(minutes=10)
        clock.move_to(alpaca.trade_many({"AAPL": [50]}))
        quotes = await feed.quotes(["ACME", "AAPL"])

    assert not quotes["ACME"].halted
    assert quotes["ACME"].at == START
    assert quotes["AAPL"].at == clock.now() > START


async def test_days_that_are_over_are_read_alone_and_not_kept(
    feed: AlpacaFeed, quiet: AlpacaVenue
) -> None:
    """The usual volume of a held symbol is measured on weeks of minutes, once a session."""
    await feed.quotes(THIRTY)
    asked(quiet, forget=False)
    friday = CALENDAR.previous_session(OPENS.date())

    for _ in range(2):
        bars = await feed.bars(["AAPL"], start=LONG_AGO, end=friday.closes_at)
        assert all(bar.end <= friday.closes_at for bar in bars["AAPL"])

    [first, second] = [one for one in quiet.requests() if one["path"] == BARS]
    assert first["query"]["symbols"] == second["query"]["symbols"] == "AAPL"


async def test_one_unreadable_symbol_is_left_out_of_a_batch_and_alone_an_error(
    quiet: AlpacaVenue,
) -> None:
    good = {"t": stamp(START), "bp": 9, "ap": 10, "bs": 1, "as": 1}
    bad = {**good, "bp": None}
    answer(quiet, SNAPSHOTS, {"AAPL": {"latestQuote": good}, "MSFT": {"latestQuote": bad}})
    row = {"t": stamp(OPENS), "o": 9, "h": 9, "l": 9, "c": 9, "v": 5}
    rows = {"AAPL": [row], "MSFT": [{**row, "c": None}]}
    answer(quiet, BARS, {"bars": rows, "next_page_token": None})

    async with opened(quiet, ManualClock(START)) as feed:
        quotes = await feed.quotes(["AAPL", "MSFT"])
        bars = await feed.bars(["AAPL", "MSFT"], start=OPENS, end=FAR)
        baselines = await feed.baselines(["AAPL", "MSFT"])

        assert set(quotes) == set(bars) == {"AAPL"}
        assert set(baselines) == {"AAPL", "MSFT"}
        assert baselines["MSFT"].average_daily_volume is None
        with pytest.raises(FeedUnavailable, match="bp of the quote of MSFT"):
            await feed.quotes(["MSFT"])
        with pytest.raises(FeedUnavailable, match="c of the bar of MSFT"):
            await feed.bars(["MSFT"], start=OPENS, end=FAR)
        with pytest.raises(FeedUnavailable, match="c of the bar of MSFT"):
            await feed.baselines(["MSFT"])


async def test_bars_from_outside_the_session_and_after_the_clock_are_left_out(
    quiet: AlpacaVenue,
) -> None:
    moments = (OPENS - MINUTE, OPENS, START - MINUTE, START)
    rows = [{"t": stamp(at), "o": 9, "h": 9, "l": 9, "c": 9, "v": 5} for at in moments]
    answer(quiet, BARS, {"bars": {"AAPL": rows}, "next_page_token": None})

    async with opened(quiet, ManualClock(START)) as feed:
        bars = await feed.bars(["AAPL"], start=OPENS - 60 * MINUTE, end=FAR)

    assert [bar.start for bar in bars["AAPL"]] == [OPENS, START - MINUTE]


async def test_every_question_names_the_feed_and_bars_are_adjusted_for_splits(
    feed: AlpacaFeed, quiet: AlpacaVenue
) -> None:
    await feed.quotes(["AAPL"])
    await feed.bars(["AAPL"], start=OPENS, end=FAR)
    await feed.baselines(["AAPL"])

    queries = [one["query"] for one in quiet.requests()]
    assert [query["feed"] for query in queries] == ["iex"] * 3
    assert [query.get("adjustment") for query in queries] == [None, "split", "split"]
    assert [query.get("timeframe") for query in queries] == [None, "1Min", "1Day"]


async def test_baselines_of_symbols_asked_about_before_come_along(
    feed: AlpacaFeed, quiet: AlpacaVenue
) -> None:
    await feed.quotes(THIRTY)
    asked(quiet)
    for symbol in THIRTY:
        await feed.baselines([symbol])

    assert asked(quiet) == {BARS: 1}


async def test_an_article_that_is_unreadable_older_or_about_others_is_left_out(
    quiet: AlpacaVenue,
) -> None:
    good = {
        "id": 1,
        "headline": "Read me",
        "source": "benzinga",
        "created_at": stamp(OPENS),
        "updated_at": stamp(OPENS),
        "symbols": ["AAPL"],
    }
    older = {**good, "id": 3, "created_at": stamp(OPENS - MINUTE)}
    others = {**good, "id": 4, "symbols": ["MSFT"]}
    news = [{**good, "id": 2, "headline": None}, good, good, older, others, None]
    answer(quiet, NEWS, {"news": news, "next_page_token": None})

    async with opened(quiet, ManualClock(START)) as feed:
        headlines = await feed.headlines(["AAPL"], since=OPENS)

    assert [one.text for one in headlines] == ["Read me"]


async def test_news_of_many_pages_is_read_to_the_last(alpaca: AlpacaVenue) -> None:
    for number in range(120):
        alpaca.tell(f"story {number}", "ACME")

    async with opened(alpaca, ManualClock(START)) as feed:
        headlines = await feed.headlines(["ACME"], since=START)

    assert {one.text for one in headlines} == {f"story {number}" for number in range(120)}
    assert asked(alpaca) == {NEWS: 3}


Question = Callable[[AlpacaFeed], Awaitable[object]]
QUESTIONS: Mapping[str, tuple[Question, str]] = {
    "most active": (lambda feed: feed.symbols(), ACTIVE),
    "movers": (lambda feed: feed.symbols(), MOVERS),
    "assets": (lambda feed: feed.symbols(), ASSETS),
    "quotes": (lambda feed: feed.quotes(["AAPL"]), SNAPSHOTS),
    "bars": (lambda feed: feed.bars(["AAPL"], start=OPENS, end=FAR), BARS),
    "baselines": (lambda feed: feed.baselines(["AAPL"]), BARS),
    "headlines": (lambda feed: feed.headlines(["AAPL"], since=OPENS), NEWS),
}
FAULTS: Mapping[str, dict[str, Any]] = {
    "429": {"wire": Wire.ANSWER, "status": 429},
    "500": {"wire": Wire.ANSWER, "status": 500},
    "503 html": {"wire": Wire.ANSWER, "status": 503, "body": "<html></html>"},
    "504": {"wire": Wire.ANSWER, "status": 504},
    "silence": {"wire": Wire.SILENCE},
    "slow": {"wire": Wire.SLOW_BODY, "seconds": 0.05},
    "dropped": {"wire": Wire.DROP},
    "reset": {"wire": Wire.RESET},
    "reset in the body": {"wire": Wire.RESET_IN_BODY},
    "garbage": {"wire": Wire.GARBAGE},
    "html": {"wire": Wire.ANSWER, "body": "<html></html>", "content_type": "text/html"},
    "nothing": {"wire": Wire.ANSWER, "body": ""},
    "null": {"wire": Wire.ANSWER, "body": "null"},
    "a number": {"wire": Wire.ANSWER, "body": "5"},
    "NaN": {"wire": Wire.ANSWER, "body": "NaN"},
    "a text": {"wire": Wire.ANSWER, "body": '"later"'},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_what_cannot_be_read_is_one_sentence_in_time_and_read_again_later(
    quiet: AlpacaVenue, fault: dict[str, Any]
) -> None:
    """Every question meets the fault for as long as it lasts, and nothing of it is kept."""
    for question, path in QUESTIONS.values():
        async with opened(
            quiet,
            ManualClock(START),
            listed=THIRTY,
            read_timeout_seconds=0.3,
            call_timeout_seconds=0.6,
        ) as feed:
            quiet.inject(WireFault(path=path, times=None, **fault))
            began = monotonic()
            with pytest.raises(FeedUnavailable) as raised:
                await question(feed)
            took = monotonic() - began
            quiet.heal()

            assert "\n" not in str(raised.value)
            assert took < 5
            assert await question(feed)


@pytest.mark.parametrize("status", [429, 500, 504])
async def test_a_fault_that_passes_is_not_seen(quiet: AlpacaVenue, status: int) -> None:
    quiet.inject(WireFault(wire=Wire.ANSWER, status=status, path=BARS))

    async with opened(quiet, ManualClock(START)) as feed:
        bars = await feed.bars(["AAPL"], start=OPENS, end=FAR)

    assert bars["AAPL"]
    assert asked(quiet) == {BARS: 2}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_is_refused_is_not_asked_again(quiet: AlpacaVenue, status: int) -> None:
    quiet.inject(WireFault(wire=Wire.ANSWER, status=status, path=BARS, times=None))

    async with opened(quiet, ManualClock(START)) as feed:
        with pytest.raises(FeedUnavailable, match=str(status)):
            await feed.bars(["AAPL"], start=OPENS, end=FAR)

    assert asked(quiet) == {BARS: 1}


async def test_bad_keys_and_a_feed_that_is_not_paid_for_are_said(alpaca: AlpacaVenue) -> None:
    async with opened(alpaca, ManualClock(START), secret=WRONG) as feed:
        with pytest.raises(FeedUnavailable, match=r"40[13]"):
            await feed.quotes(["AAPL"])
    async with opened(alpaca, ManualClock(START), feed="sip") as feed:
        assert "all US exchanges" in feed.description.label
        with pytest.raises(FeedUnavailable, match="403"):
            await feed.quotes(["AAPL"])


async def test_a_dead_server_is_one_sentence(alpaca: AlpacaVenue) -> None:
    alpaca.listen(listens=False)

    async with opened(alpaca, ManualClock(START)) as feed:
        with pytest.raises(FeedUnavailable, match="cannot be reached"):
            await feed.quotes(["AAPL"])


@pytest.mark.parametrize(
    "second",
    [
        {"bars": {"AAPL": []}},
        {"bars": {}, "next_page_token": "again"},
        {"next_page_token": None},
        {"bars": None, "next_page_token": None},
    ],
    ids=str,
)
async def test_an_answer_without_its_last_page_is_no_answer(
    quiet: AlpacaVenue, second: dict[str, Any]
) -> None:
    row = {"t": stamp(OPENS), "o": 9, "h": 9, "l": 9, "c": 9, "v": 5}
    whole = WireFault(
        wire=Wire.ANSWER,
        path=BARS,
        body=json.dumps({"bars": {"AAPL": [row]}, "next_page_token": "again"}),
    )
    quiet.inject(whole)
    quiet.inject(WireFault(wire=Wire.ANSWER, path=BARS, nth=2, times=None, body=json.dumps(second)))

    async with opened(quiet, ManualClock(START)) as feed:
        with pytest.raises(FeedUnavailable):
            await feed.bars(["AAPL"], start=OPENS, end=FAR)

    assert asked(quiet) == {BARS: 2}


async def test_an_unknown_symbol_does_not_spoil_later_questions(quiet: AlpacaVenue) -> None:
    async with opened(quiet, ManualClock(START)) as feed:
        await feed.quotes([UNKNOWN])
        await feed.bars([UNKNOWN], start=OPENS, end=FAR)
        await feed.quotes(["AAPL"])

    assert quiet.requests()[-1]["query"]["symbols"] == "AAPL"


def asked(venue: AlpacaVenue, *, forget: bool = True) -> dict[str, int]:
    """Count what was asked since the last look, by path."""
    return dict(Counter(one["path"] for one in venue.requests(forget=forget)))


def answer(venue: AlpacaVenue, path: str, body: object) -> None:
    """Let every answer to a path be this one."""
    venue.inject(WireFault(wire=Wire.ANSWER, path=path, times=None, body=json.dumps(body)))


def asset(symbol: str, **changes: object) -> dict[str, object]:
    made = {
        "symbol": symbol,
        "name": f"{symbol} Inc. Common Stock",
        "exchange": "NYSE",
        "class": "us_equity",
        "status": "active",
        "tradable": True,
    }
    return {**made, **changes}


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
