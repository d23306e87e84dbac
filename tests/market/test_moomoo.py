"""The live feed of Hong Kong at the simulated OpenD, over the real client's transport."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest

from market import asking, moomoo_requests
from market import calendar as calendars
from market.base import Feed
from market.daily import NOT_KNOWN
from market.moomoo import MoomooFeed
from market.moomoo_history import ASK_AGAIN_AFTER
from market.session_bars import session_bars
from shared.clock import Clock, ManualClock
from shared.config_brokers import MoomooSettings
from shared.errors import FeedUnavailable
from shared.models import QuoteSource
from shared.opend import OpenD
from shared.opend_limits import OpenDShare
from tests.market.feed_contract import FAR, MINUTE, FeedContract, Window
from tests.simulators.opend.market import FUND, LOTS, START
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol, Wire, WireFault

CALENDAR = calendars.load("XHKG")
OPENS = datetime(2026, 12, 21, 1, 30, tzinfo=UTC)
STOCKS = tuple(sorted(LOTS))
SNAPSHOT, CANDLES = Protocol.GET_SECURITY_SNAPSHOT, Protocol.REQUEST_HISTORY_KL
STATIC, FILTER = Protocol.GET_STATIC_INFO, Protocol.STOCK_FILTER
QUOTA = "The historical candlestick quota of the last 30 days is used up"
NOBODY = "9997"


@asynccontextmanager
async def opened(
    venue: OpenDVenue,
    clock: Clock,
    *,
    listed: Collection[str] = STOCKS,
    share_pct: int = 100,
    **settings: Any,
) -> AsyncGenerator[MoomooFeed]:
    """Yield a feed that is connected as a run connects it."""
    reached = MoomooSettings(host=venue.host, port=venue.port, **settings)
    opend = OpenD(reached, OpenDShare(share_pct))
    feed = MoomooFeed(opend, clock, calendar=CALENDAR, settings=reached, listed=listed)
    try:
        yield feed
    finally:
        await feed.close()
        await opend.close()


@pytest.fixture(scope="module")
def one_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDVenue]:
    venue = OpenDVenue(tmp_path_factory.mktemp("quiet"))
    venue.limit_rate(enforced=False)
    for number in range(5):
        venue.add_stock(f"60{number:02}", 20)
    try:
        yield venue
    finally:
        venue.close()


@pytest.fixture
def quiet(one_simulator: OpenDVenue) -> Iterator[OpenDVenue]:
    """A simulator whose market no test moves; faults are healed and requests forgotten."""
    one_simulator.requests(forget=True)
    yield one_simulator
    one_simulator.heal()


@pytest.fixture
async def feed(quiet: OpenDVenue) -> AsyncIterator[MoomooFeed]:
    async with opened(quiet, ManualClock(START)) as connected:
        yield connected


class TestMoomooFeed(FeedContract):
    @pytest.fixture
    async def window(self, quiet: OpenDVenue) -> AsyncIterator[Window]:
        earlier = START - 10 * MINUTE
        async with (
            opened(quiet, ManualClock(START)) as feed,
            opened(quiet, ManualClock(earlier)) as behind,
        ):
            yield Window(
                feed=feed,
                now=START,
                traded=STOCKS[:5],
                behind=behind,
                behind_now=earlier,
                calendar=CALENDAR,
            )


async def test_it_says_what_it_is_and_that_it_has_no_news(feed: MoomooFeed) -> None:
    checked: Feed = feed

    assert "moomoo" in checked.description.label
    assert "Hong Kong" in checked.description.label
    assert checked.description.quotes is QuoteSource.QUOTED
    assert not checked.description.has_news
    assert await feed.headlines(None, since=OPENS) == ()
    with pytest.raises(ValueError, match="timezone-aware"):
        await feed.headlines(None, since=datetime(2026, 12, 21))  # noqa: DTZ001


async def test_symbols_are_the_most_traded_stocks_and_the_configured_ones(
    quiet: OpenDVenue,
) -> None:
    async with opened(quiet, ManualClock(START), listed=(FUND, "0700"), most_active=5) as feed:
        found = await feed.symbols()
        again = await feed.symbols()
        quotes = await feed.quotes([symbol for symbol in STOCKS if symbol != FUND])
    turnover = {
        s: q.last * q.session_volume for s, q in quotes.items() if q.last and q.session_volume
    }
    largest = sorted(turnover, key=lambda symbol: -turnover[symbol])[:5]
    async with opened(quiet, ManualClock(START), listed=("0005",), most_active=0) as feed:
        assert await feed.symbols() == ("0005",)

    assert found == again == tuple(sorted({FUND, "0700", *largest}))
    assert asked(quiet) == {FILTER: 2, STATIC: 2, SNAPSHOT: 2}


async def test_what_is_no_share_or_fund_of_hong_kong_is_no_symbol(quiet: OpenDVenue) -> None:
    listed = ("0700", "0005", NOBODY, "AAPL", "00005", "700")
    async with opened(quiet, ManualClock(START), listed=listed, most_active=0) as feed:
        assert await feed.symbols() == ("0005", "0700")
    for fields in ({"secType": 5}, {"delisting": True}, {"exchType": 4}):
        quiet.inject(WireFault(wire=Wire.CHANGE, protocol=STATIC, times=None, fields=fields))
        async with opened(quiet, ManualClock(START), listed=listed, most_active=0) as feed:
            assert await feed.symbols() == ()
        quiet.heal()


async def test_what_a_symbol_is_is_asked_once_a_day(opend: OpenDVenue) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock, listed=("0700",), most_active=0) as feed:
        await feed.symbols()
        await feed.symbols()
        first_day = asked(opend)
        clock.move_to(START + timedelta(days=1))
        await feed.symbols()

    assert first_day == {STATIC: 1}
    assert asked(opend) == {STATIC: 1}


async def test_a_quote_has_sides_sizes_in_shares_and_the_day(
    opend: OpenDVenue,
) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock) as feed:
        clock.move_to(opend.trade_many({"0005": ["26.4"], "2628": ["9.99"]}, volume=5000))
        quotes = await feed.quotes(["0005", "2628", "0700"])

    found = quotes["0005"]
    assert (found.bid, found.last, found.ask) == (
        Decimal("26.38"),
        Decimal("26.4"),
        Decimal("26.42"),
    )
    assert (found.bid_size, found.ask_size) == (3 * LOTS["0005"], 4 * LOTS["0005"])
    assert found.at == clock.now() == START + MINUTE
    assert quotes["2628"].bid == Decimal("9.985")
    assert quotes["0700"].at == START
    assert quotes["0700"].session_volume == 30 * 100_000
    assert quotes["0700"].session_open == quotes["0700"].previous_close == Decimal(100)


async def test_a_quote_that_grows_old_stays_old(opend: OpenDVenue) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock) as feed:
        for _ in range(3):
            clock.move_to(opend.trade_many({"0005": [30]}))
        quotes = await feed.quotes(["0005", "0700"])

    assert quotes["0005"].at == START + 3 * MINUTE
    assert quotes["0700"].at == START


async def test_of_the_day_before_nothing_is_said_about_the_present_session(
    quiet: OpenDVenue,
) -> None:
    async with opened(quiet, ManualClock(START + timedelta(days=1))) as feed:
        quotes = await feed.quotes(["0700"])

    assert quotes["0700"].at == START
    assert quotes["0700"].session_open is None
    assert quotes["0700"].session_volume is None
    assert quotes["0700"].previous_close is None


async def test_a_halt_is_shown(opend: OpenDVenue) -> None:
    async with opened(opend, ManualClock(START)) as feed:
        opend.halt(minutes=5)
        quotes = await feed.quotes(["0700", "0005"])

    assert quotes["0700"].halted
    assert not quotes["0005"].halted


async def test_an_unknown_status_is_a_halt_and_logged_once(
    quiet: OpenDVenue, caplog: pytest.LogCaptureFixture
) -> None:
    change(quiet, SNAPSHOT, secStatus=77)
    async with opened(quiet, ManualClock(START)) as feed:
        first = await feed.quotes(["0700"])
        second = await feed.quotes(["0700"])

    assert first["0700"].halted
    assert second["0700"].halted
    assert events(caplog).count("unknown_security_status") == 1


async def test_a_scan_and_technicals_of_thirty_ask_once_for_each_thing(quiet: OpenDVenue) -> None:
    """Quotes in batches of twenty; minutes and days once a symbol, whoever asks for them again."""
    thirty = (*STOCKS[:25], "6000", "6001", "6002", "6003", "6004")
    days = CALENDAR.previous_sessions(START.date(), 5)
    async with opened(quiet, ManualClock(START), share_pct=1000) as feed:
        await feed.quotes(thirty)
        await feed.bars(thirty, start=OPENS, end=START)
        await feed.baselines(thirty)
        of_the_scan = asked(quiet)
        for symbol in thirty:
            assert (await feed.bars([symbol], start=days[0].opens_at, end=FAR))[symbol]
            assert (await feed.baselines([symbol]))[symbol].average_daily_volume
        of_technicals = asked(quiet)
        for symbol in thirty:
            assert (await feed.bars([symbol], start=days[0].opens_at, end=FAR))[symbol]
            assert (await feed.bars([symbol], start=START - MINUTE, end=FAR))[symbol]

    assert of_the_scan == {SNAPSHOT: 2, CANDLES: 60}
    assert of_technicals == {CANDLES: 30}
    assert asked(quiet) == {}


async def test_a_scan_asks_for_minutes_only_where_a_quote_says_nothing_of_the_session(
    quiet: OpenDVenue,
) -> None:
    async with opened(quiet, ManualClock(START)) as feed:
        quotes = dict(await feed.quotes(STOCKS))
        assert await session_bars(feed, STOCKS, quotes, start=OPENS, end=START) == {}
        quotes["0700"] = replace(quotes["0700"], session_open=None)
        read = await session_bars(feed, STOCKS, quotes, start=OPENS, end=START)
        quiet.inject(WireFault(wire=Wire.REFUSE, protocol=CANDLES, reason=QUOTA, times=None))
        quotes["0005"] = replace(quotes["0005"], session_volume=None)
        refused = await session_bars(feed, ["0005", "0001"], quotes, start=OPENS, end=START)
        with pytest.raises(FeedUnavailable, match="allowance"):
            await session_bars(feed, ["0005"], {}, start=OPENS, end=START)

    assert set(read) == {"0700"}
    assert len(read["0700"]) == 30
    assert refused == {}
    assert asked(quiet) == {SNAPSHOT: 2, CANDLES: 2}


async def test_a_minute_later_one_question_a_symbol_brings_it_up_to_date(
    opend: OpenDVenue,
) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock) as feed:
        await feed.bars(["0700", "0005"], start=OPENS, end=START)
        asked(opend)
        clock.move_to(opend.trade_many({"0700": [101], "0005": [30]}))
        bars = await feed.bars(["0700", "0005"], start=OPENS, end=FAR)

    assert [len(series) for series in bars.values()] == [31, 31]
    assert [series[-1].close for series in bars.values()] == [Decimal(101), Decimal(30)]
    assert asked(opend) == {CANDLES: 2}


async def test_a_bar_begins_a_minute_before_the_time_that_opend_names(opend: OpenDVenue) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock) as feed:
        clock.move_to(opend.trade(100, 102, 99, 101, volume=700))
        bars = (await feed.bars(["0700"], start=OPENS, end=FAR))["0700"]

    assert (bars[0].start, bars[0].end) == (OPENS, OPENS + MINUTE)
    last = bars[-1]
    assert (last.start, last.end) == (START, START + MINUTE)
    assert (last.open, last.high, last.low, last.close) == (100, 102, 99, 101)
    assert last.volume == 700


async def test_the_minute_under_way_is_no_bar(opend: OpenDVenue) -> None:
    opend.trade(100)
    async with opened(opend, ManualClock(START + timedelta(seconds=30))) as feed:
        bars = (await feed.bars(["0700"], start=OPENS, end=FAR))["0700"]

    assert bars[-1].end == START


async def test_whoever_asks_twice_for_a_quote_gets_two_readings(
    feed: MoomooFeed, quiet: OpenDVenue
) -> None:
    """The position monitor believes a price only when two readings agree."""
    await feed.quotes(["0700", "0005"])
    asked(quiet)

    await feed.quotes(["0700"])
    await feed.quotes(["0005"])
    came_along = asked(quiet)
    await feed.quotes(["0005"])
    await feed.quotes(["0005"])

    assert came_along == {SNAPSHOT: 1}
    assert asked(quiet) == {SNAPSHOT: 2}


async def test_a_quote_that_came_along_is_not_handed_out_late(quiet: OpenDVenue) -> None:
    clock = ManualClock(START)
    async with opened(quiet, clock) as feed:
        await feed.quotes(["0700", "0005"])
        await feed.quotes(["0700"])
        clock.move_to(START + asking.READ_AHEAD_FOR + timedelta(milliseconds=1))
        asked(quiet)
        await feed.quotes(["0005"])

    assert asked(quiet) == {SNAPSHOT: 1}


async def test_a_quote_a_moment_ahead_of_our_clock_is_waited_for(quiet: OpenDVenue) -> None:
    near, far = ManualClock(START - timedelta(milliseconds=400)), ManualClock(START - 5 * MINUTE)
    async with opened(quiet, near) as feed:
        assert (await feed.quotes(["0700"]))["0700"].at == START <= near.now()
    async with opened(quiet, far) as feed:
        assert await feed.quotes(["0700"]) == {}


class TestHours:
    async def test_lunch_has_no_bars(self, opend: OpenDVenue) -> None:
        """Candles of the lunch break, of auctions and of the night are none of a session's."""
        clock = ManualClock(START)
        async with opened(opend, clock, listed=("0700",)) as feed:
            for local in ((11, 59), (12, 0), (12, 30), (12, 59), (13, 0), (15, 59), (16, 0)):
                trade_at(opend, *local)
            clock.move_to(datetime(2026, 12, 21, 9, tzinfo=UTC))
            bars = (await feed.bars(["0700"], start=START, end=FAR))["0700"]

        assert [f"{bar.start.astimezone(CALENDAR.timezone):%H:%M}" for bar in bars] == [
            "11:59",
            "13:00",
            "15:59",
        ]

    async def test_a_half_day_ends_at_noon_and_its_holiday_is_empty(
        self, opend: OpenDVenue
    ) -> None:
        clock = ManualClock(START)
        async with opened(opend, clock, listed=("0700",)) as feed:
            for local in ((11, 59), (12, 0), (13, 30)):
                trade_at(opend, *local, day=24)
            clock.move_to(datetime(2026, 12, 25, 6, tzinfo=UTC))
            asked(opend)
            eve = datetime(2026, 12, 24, tzinfo=UTC)
            bars = (await feed.bars(["0700"], start=eve, end=FAR))["0700"]
            christmas = await feed.bars(["0700"], start=eve + timedelta(days=1), end=FAR)

        assert [bar.end for bar in bars] == [eve + timedelta(hours=4)]
        assert christmas == {"0700": ()}
        assert asked(opend) == {CANDLES: 1}


async def test_history_of_many_pages_is_read_to_the_last_and_the_first_alone_is_counted(
    quiet: OpenDVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moomoo_requests, "CANDLES_PER_PAGE", 12)
    one_turn: dict[str, Any] = {"share_pct": 1, "share_timeout_seconds": 0}
    async with opened(quiet, ManualClock(START), **one_turn) as feed:
        bars = (await feed.bars(["0700"], start=OPENS, end=FAR))["0700"]

    assert len(bars) == 30
    assert asked(quiet) == {CANDLES: 3}


async def test_pages_without_an_end_are_no_answer(
    quiet: OpenDVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moomoo_requests, "CANDLES_PER_PAGE", 1)
    async with opened(quiet, ManualClock(START)) as feed:
        with pytest.raises(FeedUnavailable, match="more than 20 pages"):
            await feed.bars(["0700"], start=OPENS, end=FAR)

    assert asked(quiet) == {CANDLES: 20}


async def test_candles_are_asked_for_by_dates_adjusted_for_splits(
    feed: MoomooFeed, quiet: OpenDVenue
) -> None:
    await feed.bars(["0700"], start=OPENS, end=FAR)
    await feed.baselines(["0700"])

    minutes, days = quiet.asked(CANDLES)
    assert (minutes["beginTime"], minutes["endTime"]) == ("2026-12-21", "2026-12-21")
    assert (days["beginTime"], days["endTime"]) == ("2026-11-16", "2026-12-20")
    assert (minutes["klType"], days["klType"]) == (1, 2)
    assert minutes["rehabType"] == days["rehabType"] == 1


async def test_baselines_are_of_the_session_before_in_shares(opend: OpenDVenue) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock) as feed:
        monday = (await feed.baselines(["0700"]))["0700"]
        opend.trade(123)
        clock.move_to(START + timedelta(days=1))
        opend.move_to(clock.now())
        tuesday = (await feed.baselines(["0700"]))["0700"]

    assert monday.previous_close == Decimal(100)
    assert monday.average_daily_volume is not None
    assert 390_000 * 100 <= monday.average_daily_volume <= 396_000 * 100
    assert tuesday.previous_close == Decimal(123)
    assert tuesday.previous_change_pct == Decimal(23)


class TestOneBadSymbol:
    @pytest.mark.parametrize(
        "bad", [(NOBODY,), ("0003", NOBODY), ("AAPL", "00700", "700")], ids=str
    )
    async def test_among_thirty_it_hides_no_other(
        self,
        quiet: OpenDVenue,
        caplog: pytest.LogCaptureFixture,
        bad: tuple[str, ...],
    ) -> None:
        every = (*STOCKS, *bad)
        async with opened(quiet, ManualClock(START)) as feed:
            quotes = await feed.quotes(every)
            bars = await feed.bars(every, start=OPENS, end=FAR)
            baselines = await feed.baselines(every)
            first = asked(quiet)
            again = await feed.quotes(every)

        assert set(quotes) == set(again) == set(STOCKS)
        assert set(bars) == set(baselines) == set(every)
        assert all(bars[symbol] for symbol in STOCKS)
        assert {bars[symbol] for symbol in bad} == {()}
        assert {baselines[symbol] for symbol in bad} == {NOT_KNOWN}
        on_the_wire = [symbol for symbol in bad if symbol in {NOBODY, "0003"}]
        assert first[SNAPSHOT] <= 2 + len(on_the_wire)
        assert asked(quiet)[SNAPSHOT] == 2
        assert events(caplog).count("symbol_refused") == len(on_the_wire)

    async def test_it_is_asked_about_again_after_a_while(self, opend: OpenDVenue) -> None:
        clock = ManualClock(START)
        async with opened(opend, clock) as feed:
            assert await feed.quotes(["6000"]) == {}
            opend.add_stock("6000", 20)
            assert await feed.quotes(["6000"]) == {}
            clock.move_to(START + ASK_AGAIN_AFTER)
            assert set(await feed.quotes(["6000"])) == {"6000"}

    async def test_it_is_found_by_halves_where_the_refusal_names_nobody(
        self, quiet: OpenDVenue
    ) -> None:
        quiet.inject(
            WireFault(wire=Wire.REFUSE, protocol=SNAPSHOT, reason="No right to quotes", times=2)
        )
        async with opened(quiet, ManualClock(START)) as feed:
            quotes = await feed.quotes(STOCKS[:20])

        assert set(quotes) == set(STOCKS[:20])
        assert asked(quiet) == {SNAPSHOT: 5}

    async def test_a_refusal_of_everything_ends_after_a_few_questions(
        self, quiet: OpenDVenue
    ) -> None:
        async with opened(quiet, ManualClock(START)) as feed:
            await feed.quotes(["0700"])
            quiet.inject(WireFault(wire=Wire.REFUSE, reason="No right to quotes", times=None))
            asked(quiet)
            with pytest.raises(FeedUnavailable, match="No right to quotes"):
                await feed.quotes(STOCKS)
            with pytest.raises(FeedUnavailable, match="No right to quotes"):
                await feed.bars(STOCKS, start=OPENS, end=FAR)
            with pytest.raises(FeedUnavailable, match="No right to quotes"):
                await feed.quotes(["0700"])

        assert asked(quiet) == {SNAPSHOT: 5 + 1, CANDLES: 5}


class TestHistory:
    async def test_a_used_up_allowance_leaves_one_symbol_out_and_is_logged_once(
        self, quiet: OpenDVenue, caplog: pytest.LogCaptureFixture
    ) -> None:
        quiet.inject(WireFault(wire=Wire.REFUSE, protocol=CANDLES, reason=QUOTA, nth=2))
        clock = ManualClock(START)
        async with opened(quiet, clock) as feed:
            bars = await feed.bars(STOCKS[:5], start=OPENS, end=FAR)
            baselines = await feed.baselines(STOCKS[:5])
            refused_only = asked(quiet)
            with pytest.raises(FeedUnavailable, match="allowance"):
                await feed.bars([STOCKS[1]], start=OPENS, end=FAR)
            nothing_asked = asked(quiet)
            clock.move_to(START + ASK_AGAIN_AFTER)
            later = await feed.bars([STOCKS[1]], start=OPENS, end=FAR)

        assert set(bars) == set(STOCKS[:5]) - {STOCKS[1]}
        assert baselines[STOCKS[1]] == NOT_KNOWN
        assert all(baselines[symbol].previous_close for symbol in bars)
        assert refused_only == {CANDLES: 5 + 4}
        assert nothing_asked == {}
        assert len(later[STOCKS[1]]) == 30
        assert events(caplog) == ["symbol_refused"]

    async def test_of_many_those_without_a_turn_are_left_for_later(
        self, quiet: OpenDVenue, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The symbols that were traded most come first; nobody waits half a minute for the others."""
        began = monotonic()
        async with opened(quiet, ManualClock(START), share_pct=10, most_active=8) as feed:
            symbols = await feed.symbols()
            baselines = await feed.baselines(symbols)
            again = await feed.baselines(symbols)

        known = {symbol for symbol, found in baselines.items() if found is not NOT_KNOWN}
        assert monotonic() - began < 5
        assert known == set(feed._most_traded[:6])
        assert again == baselines
        assert asked(quiet)[CANDLES] == 6
        assert "history_left_for_later" in events(caplog)

    async def test_one_refused_without_a_known_reason_is_left_out(self, quiet: OpenDVenue) -> None:
        reason = "No data for this stock"
        quiet.inject(WireFault(wire=Wire.REFUSE, protocol=CANDLES, reason=reason, nth=3))
        async with opened(quiet, ManualClock(START)) as feed:
            bars = await feed.bars(STOCKS, start=OPENS, end=FAR)

        assert set(bars) == set(STOCKS) - {STOCKS[2]}

    async def test_many_refused_between_others_are_left_out_too(self, quiet: OpenDVenue) -> None:
        for nth in range(1, 14, 2):
            refused = WireFault(wire=Wire.REFUSE, protocol=CANDLES, reason="No data", nth=nth)
            quiet.inject(refused)
        async with opened(quiet, ManualClock(START)) as feed:
            bars = await feed.bars(STOCKS, start=OPENS, end=FAR)

        assert set(bars) == set(STOCKS) - set(STOCKS[:13:2])

    async def test_too_many_requests_end_the_question(self, quiet: OpenDVenue) -> None:
        reason = "This request is too frequent, please try again later"
        quiet.inject(WireFault(wire=Wire.REFUSE, reason=reason, nth=4, times=None))
        async with opened(quiet, ManualClock(START)) as feed:
            await feed.quotes(["0700"])
            with pytest.raises(FeedUnavailable, match="too frequent"):
                await feed.quotes(STOCKS)
            with pytest.raises(FeedUnavailable, match="too frequent"):
                await feed.bars(STOCKS, start=OPENS, end=FAR)

        assert asked(quiet) == {SNAPSHOT: 2, CANDLES: 1}


class TestOddValues:
    async def test_fields_left_out_are_not_known(self, quiet: OpenDVenue) -> None:
        change(quiet, SNAPSHOT, **{"*": None})
        change(quiet, CANDLES, **{"*": None})
        async with opened(quiet, ManualClock(START)) as feed:
            quotes = await feed.quotes(STOCKS[:3])
            for quote in quotes.values():
                assert (quote.bid, quote.ask, quote.bid_size, quote.ask_size) == (None,) * 4
                assert quote.halted
                assert quote.last is not None
            with pytest.raises(FeedUnavailable, match="has no"):
                await feed.bars(STOCKS[:3], start=OPENS, end=FAR)
            with pytest.raises(FeedUnavailable, match="has no"):
                await feed.baselines(STOCKS[:3])

    async def test_prices_of_zero_are_not_known_or_no_answer(self, quiet: OpenDVenue) -> None:
        zeros = dict.fromkeys(
            ("bidPrice", "askPrice", "curPrice", "lastClosePrice", "openPrice"), 0.0
        )
        change(quiet, SNAPSHOT, **zeros)
        change(quiet, CANDLES, lowPrice=0.0)
        async with opened(quiet, ManualClock(START)) as feed:
            quote = (await feed.quotes(["0700"]))["0700"]
            with pytest.raises(FeedUnavailable, match="low 0"):
                await feed.bars(["0700"], start=OPENS, end=FAR)
            with pytest.raises(FeedUnavailable, match="low 0"):
                await feed.baselines(["0700"])

        known = (quote.bid, quote.ask, quote.last, quote.session_open, quote.previous_close)
        assert known == (None,) * 5
        assert quote.session_volume is None

    @pytest.mark.parametrize("absurd", [float("nan"), float("inf"), -1.0, 1e300])
    async def test_absurd_prices_are_one_sentence(self, quiet: OpenDVenue, absurd: float) -> None:
        change(quiet, SNAPSHOT, curPrice=absurd)
        change(quiet, CANDLES, closePrice=absurd)
        async with opened(quiet, ManualClock(START)) as feed:
            with pytest.raises(FeedUnavailable, match="curPrice of 0700"):
                await feed.quotes(["0700"])
            with pytest.raises(FeedUnavailable, match="closePrice of a candle of 0700"):
                await feed.bars(["0700"], start=OPENS, end=FAR)

    async def test_empty_answers_are_forgotten(self, quiet: OpenDVenue) -> None:
        """A minute later, when the same is asked again, what an empty answer hid is there."""
        clock = ManualClock(START - MINUTE)
        async with opened(quiet, clock) as feed:
            quiet.inject(WireFault(wire=Wire.EMPTY, times=None, protocol=SNAPSHOT))
            quiet.inject(WireFault(wire=Wire.EMPTY, times=None, protocol=CANDLES))
            with pytest.raises(FeedUnavailable, match="none of what was asked for came"):
                await feed.quotes(["0700"])
            assert await feed.bars(["0700"], start=OPENS, end=FAR) == {"0700": ()}
            assert await feed.baselines(["0700"]) == {"0700": NOT_KNOWN}
            quiet.heal()
            clock.move_to(START)
            assert len((await feed.bars(["0700"], start=OPENS, end=FAR))["0700"]) == 30
            assert (await feed.baselines(["0700"]))["0700"].previous_close == Decimal(100)
            assert await feed.quotes(["0700"])

    async def test_candles_of_another_stock_are_no_answer(self, quiet: OpenDVenue) -> None:
        change(quiet, CANDLES, code="00005")
        async with opened(quiet, ManualClock(START)) as feed:
            with pytest.raises(FeedUnavailable, match="candles of 00005"):
                await feed.bars(["0700"], start=OPENS, end=FAR)


Question = Callable[[MoomooFeed], Awaitable[object]]
QUESTIONS: dict[str, tuple[Question, Protocol]] = {
    "most traded": (lambda feed: feed.symbols(), FILTER),
    "what they are": (lambda feed: feed.symbols(), STATIC),
    "quotes": (lambda feed: feed.quotes(["0700"]), SNAPSHOT),
    "bars": (lambda feed: feed.bars(["0700"], start=OPENS, end=FAR), CANDLES),
    "baselines": (lambda feed: feed.baselines(["0700"]), CANDLES),
}
FAULTS: dict[str, dict[str, Any]] = {
    "refused": {"wire": Wire.REFUSE},
    "not logged in": {"wire": Wire.REFUSE, "reason": "OpenD is not logged in"},
    "timed out": {"wire": Wire.REFUSE, "ret_type": -100},
    "silence": {"wire": Wire.SILENCE},
    "slow": {"wire": Wire.SLOW, "seconds": 0.05},
    "late": {"wire": Wire.LATE, "seconds": 5.0},
    "dropped": {"wire": Wire.DROP},
    "reset": {"wire": Wire.RESET},
    "cut": {"wire": Wire.CUT},
    "corrupt": {"wire": Wire.CORRUPT},
    "hollow": {"wire": Wire.HOLLOW},
    "wrong checksum": {"wire": Wire.BAD_CHECKSUM},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_what_cannot_be_read_is_one_sentence_in_time_and_read_again_later(
    quiet: OpenDVenue, fault: dict[str, Any]
) -> None:
    """Every question meets the fault for as long as it lasts, and nothing of it is kept."""
    for question, protocol in QUESTIONS.values():
        async with opened(quiet, ManualClock(START), call_timeout_seconds=0.4) as feed:
            quiet.inject(WireFault(protocol=protocol, times=None, **fault))
            began = monotonic()
            with pytest.raises(FeedUnavailable) as raised:
                await question(feed)
            took = monotonic() - began
            quiet.heal()

            assert "\n" not in str(raised.value)
            assert took < 2
            assert await question(feed)


@pytest.mark.parametrize("wire", [Wire.DROP, Wire.RESET, Wire.CUT, Wire.CORRUPT])
async def test_a_fault_that_passes_is_not_seen(quiet: OpenDVenue, wire: Wire) -> None:
    quiet.inject(WireFault(wire=wire, protocol=SNAPSHOT))
    async with opened(quiet, ManualClock(START)) as feed:
        assert await feed.quotes(["0700"])

    assert asked(quiet) == {SNAPSHOT: 2}


async def test_an_opend_that_is_gone_or_not_logged_in_is_one_sentence(opend: OpenDVenue) -> None:
    clock = ManualClock(START)
    async with opened(opend, clock) as feed:
        assert await feed.quotes(["0700"])
        opend.log_in(logged_in=False)
        with pytest.raises(FeedUnavailable, match="not logged in"):
            await feed.quotes(["0700"])
        opend.log_in(logged_in=True)
        opend.inject(WireFault(wire=Wire.DIE, protocol=SNAPSHOT))
        with pytest.raises(FeedUnavailable, match="start it"):
            await feed.quotes(["0700"])
        opend.listen(listens=True)
        assert await feed.quotes(["0700"])
    opend.listen(listens=False)
    async with opened(opend, clock) as feed:
        for question, _ in QUESTIONS.values():
            with pytest.raises(FeedUnavailable, match="connection refused"):
                await question(feed)


def asked(venue: OpenDVenue) -> dict[int, int]:
    """Count what was asked about the market since the last look, by protocol."""
    found = Counter(Protocol(one["protocol"]) for one in venue.requests(forget=True))
    return {protocol: count for protocol, count in found.items() if protocol > Protocol.SUB}


def change(venue: OpenDVenue, protocol: Protocol, **fields: Any) -> None:
    """Let every answer of a protocol have these fields in the place of its own."""
    venue.inject(WireFault(wire=Wire.CHANGE, protocol=protocol, times=None, fields=fields))


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that were logged, by the names of their events."""
    return [record.getMessage() for record in caplog.records]


def trade_at(venue: OpenDVenue, hour: int, minute: int, *, day: int = 21) -> None:
    """Let 0700 trade in the minute that begins at that time of Hong Kong."""
    venue.move_to(datetime(2026, 12, day, hour, minute, tzinfo=CALENDAR.timezone))
    venue.trade(100)
