"""What every feed of market data has to answer: the same questions, and the same form of answers.

A feed's own tests inherit `FeedContract` and say in the fixture `window` what to look through. Whatever a
feed cannot have is said by its description, and by nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from market import calendar as calendars
from market.bars import require_sound
from market.base import Baseline, Feed
from market.calendar import Calendar
from shared.models import Bar, Quote

UNKNOWN = "ZZNONE"
CALENDAR = calendars.load("XNYS")
FAR = datetime(2100, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Two looks at the same market within a session."""

    feed: Feed
    now: datetime
    """Where its clock stands: on a full minute, at least half an hour into a session."""
    traded: tuple[str, ...]
    """Three symbols or more that have traded in every minute so far; the first has had news, where there is any."""
    behind: Feed
    """The same data through a clock that stands earlier, in the same session."""
    behind_now: datetime
    calendar: Calendar = CALENDAR
    """Of its exchange."""

    @property
    def opens(self) -> datetime:
        """When the session opened."""
        session = self.calendar.session_at(self.now)
        assert session is not None
        return session.opens_at


class FeedContract:
    """The cases; each name is the sentence that must be true."""

    async def test_m01_it_says_what_it_is(self, window: Window) -> None:
        description = window.feed.description

        assert description.label
        assert description.has_baseline

    async def test_m02_symbols_are_sorted_and_named_once(self, window: Window) -> None:
        symbols = await window.feed.symbols()

        assert list(symbols) == sorted(set(symbols))
        assert set(window.traded) <= set(symbols)

    async def test_m03_a_quote_has_both_sides_or_none_and_its_own_time(
        self, window: Window
    ) -> None:
        quotes = await window.feed.quotes(window.traded)

        assert set(quotes) == set(window.traded)
        for symbol, quote in quotes.items():
            assert quote.symbol == symbol
            assert quote.source is window.feed.description.quotes
            _require_sound_quote(quote, window.now)
            assert quote.mid is not None
            assert quote.last is not None

    async def test_m04_every_question_about_quotes_is_answered_in_full(
        self, window: Window
    ) -> None:
        together = await window.feed.quotes(window.traded)
        alone = [(await window.feed.quotes([symbol]))[symbol] for symbol in window.traded]
        again = await window.feed.quotes(window.traded)

        assert together == {quote.symbol: quote for quote in alone} == again

    async def test_m05_bars_are_whole_minutes_in_order_without_duplicates(
        self, window: Window
    ) -> None:
        bars = await window.feed.bars(window.traded, start=window.opens - 3 * DAY, end=FAR)

        assert set(bars) == set(window.traded)
        for symbol, series in bars.items():
            require_sound(series)
            assert {bar.symbol for bar in series} == {symbol}
            assert {bar.end - bar.start for bar in series} == {MINUTE}
            assert all(before.start < after.start for before, after in pairwise(series))
            assert all(bar.start.utcoffset() == timedelta() for bar in series)
            assert all(_is_in_session(bar, window.calendar) for bar in series)
            assert series[-1].end == window.now

    async def test_m06_a_window_of_bars_begins_and_ends_where_it_was_asked_to(
        self, window: Window
    ) -> None:
        start, end = window.opens + 3 * MINUTE, window.opens + 9 * MINUTE

        whole = await window.feed.bars(window.traded, start=start, end=end)
        odd = await window.feed.bars(
            window.traded, start=start - timedelta(seconds=1), end=end + timedelta(seconds=59)
        )

        for series in whole.values():
            assert [bar.start for bar in series] == [start + n * MINUTE for n in range(6)]
        assert odd == whole

    async def test_m07_bars_are_the_same_whoever_asks_for_them_with_whatever_else(
        self, window: Window
    ) -> None:
        start, middle = window.opens, window.opens + 10 * MINUTE

        first = await window.feed.bars(window.traded, start=start, end=middle)
        alone = [
            (await window.feed.bars([symbol], start=start - DAY, end=FAR))[symbol]
            for symbol in window.traded
        ]
        together = await window.feed.bars(window.traded, start=start - DAY, end=FAR)
        second = await window.feed.bars(window.traded, start=middle, end=FAR)

        assert {bars[0].symbol: bars for bars in alone} == together
        for symbol in window.traded:
            today = [bar for bar in together[symbol] if bar.start >= start]
            assert today == [*first[symbol], *second[symbol]]

    async def test_m08_a_window_that_is_empty_or_to_come_has_no_bars(self, window: Window) -> None:
        asked = window.traded[:2]
        nothing: Mapping[str, Sequence[Bar]] = dict.fromkeys(asked, ())

        assert await window.feed.bars(asked, start=window.now, end=window.opens) == nothing
        assert await window.feed.bars(asked, start=window.now + MINUTE, end=FAR) == nothing
        night = window.opens - timedelta(hours=9)
        assert await window.feed.bars(asked, start=night, end=night + 30 * MINUTE) == nothing

    async def test_m09_an_unknown_symbol_has_no_quote_no_bars_and_no_baseline(
        self, window: Window
    ) -> None:
        asked = (window.traded[0], UNKNOWN)

        quotes = await window.feed.quotes(asked)
        bars = await window.feed.bars(asked, start=window.opens, end=FAR)
        baselines = await window.feed.baselines(asked)

        assert set(quotes) == {window.traded[0]}
        assert set(bars) == set(asked)
        assert bars[UNKNOWN] == ()
        assert baselines[UNKNOWN] == Baseline(
            previous_close=None, previous_change_pct=None, average_daily_volume=None
        )

    async def test_m10_nothing_asked_for_is_nothing_answered(self, window: Window) -> None:
        assert await window.feed.quotes(()) == {}
        assert await window.feed.bars((), start=window.opens, end=FAR) == {}
        assert await window.feed.baselines(()) == {}
        assert await window.feed.headlines((), since=window.opens - DAY) == ()

    async def test_m11_a_naive_time_is_refused(self, window: Window) -> None:
        naive = datetime(2026, 6, 15)  # noqa: DTZ001

        with pytest.raises(ValueError, match="timezone-aware"):
            await window.feed.bars(window.traded, start=naive, end=FAR)
        with pytest.raises(ValueError, match="timezone-aware"):
            await window.feed.bars(window.traded, start=window.opens, end=naive)
        with pytest.raises(ValueError, match="timezone-aware"):
            await window.feed.headlines(window.traded, since=naive)

    async def test_m12_news_is_in_order_with_source_and_time_and_about_what_was_asked(
        self, window: Window
    ) -> None:
        if not window.feed.description.has_news:
            return
        since = window.opens - 2 * DAY

        everything = await window.feed.headlines(None, since=since)
        asked = await window.feed.headlines(window.traded[:1], since=since)

        assert everything
        assert list(everything) == sorted(everything, key=lambda one: (one.at, one.headline_id))
        assert len({one.headline_id for one in everything}) == len(everything)
        assert all(since <= one.at <= window.now and one.source for one in everything)
        assert all(one.text and "\n" not in one.text for one in everything)
        assert set(asked) == {one for one in everything if window.traded[0] in one.symbols}
        assert await window.feed.headlines(None, since=everything[-1].at) == everything[-1:]
        assert await window.feed.headlines(None, since=window.now + MINUTE) == ()

    async def test_m13_baselines_are_there_for_every_symbol_and_of_the_session_before(
        self, window: Window
    ) -> None:
        baselines = await window.feed.baselines(window.traded)
        quotes = await window.feed.quotes(window.traded)

        assert set(baselines) == set(window.traded)
        for symbol, known in baselines.items():
            assert isinstance(known.previous_close, Decimal)
            assert known.previous_close == quotes[symbol].previous_close
            assert known.previous_change_pct is not None
            assert known.average_daily_volume

    async def test_m14_a_quote_tells_of_the_session_what_its_bars_tell(
        self, window: Window
    ) -> None:
        quotes = await window.feed.quotes(window.traded)
        bars = await window.feed.bars(window.traded, start=window.opens, end=FAR)

        for symbol, series in bars.items():
            assert quotes[symbol].session_open == series[0].open
            assert quotes[symbol].session_volume == sum(bar.volume for bar in series)

    async def test_m15_nothing_after_the_clock_is_shown(self, window: Window) -> None:
        feed, now = window.behind, window.behind_now

        quotes = await feed.quotes(window.traded)
        bars = await feed.bars(window.traded, start=window.opens - DAY, end=FAR)
        headlines = await feed.headlines(None, since=window.opens - 2 * DAY)

        assert now < window.now
        assert all(quote.at <= now for quote in quotes.values())
        assert all(bar.end <= now for series in bars.values() for bar in series)
        assert all(series[-1].end == now for series in bars.values())
        assert all(one.at <= now for one in headlines)
        assert await feed.baselines(window.traded) == await window.feed.baselines(window.traded)

    async def test_m16_it_can_be_closed_twice(self, window: Window) -> None:
        await window.feed.close()
        await window.feed.close()


def _require_sound_quote(quote: Quote, now: datetime) -> None:
    assert quote.at.utcoffset() == timedelta()
    assert quote.at <= now
    assert (quote.bid is None) is (quote.ask is None)
    prices = [quote.bid, quote.ask, quote.last, quote.session_open, quote.previous_close]
    assert all(price is None or (price.is_finite() and price > 0) for price in prices)
    assert quote.bid is None or quote.ask is None or quote.bid <= quote.ask


def _is_in_session(bar: Bar, calendar: Calendar) -> bool:
    session = calendar.session_at(bar.start)
    return session is not None and session.is_open(bar.start)
