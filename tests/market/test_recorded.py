from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market import calendar as calendars
from market.base import Feed
from market.recorded import RecordedFeed
from market.recording import Recording
from shared.clock import ManualClock
from tests.market.feed_contract import FeedContract, Window

OPENS = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
FAR = datetime(2030, 1, 1, tzinfo=UTC)

moments = st.integers(-200 * 60, 600 * 60).map(lambda seconds: OPENS + timedelta(seconds=seconds))


def feed_at(recording: Recording, now: datetime) -> RecordedFeed:
    return RecordedFeed(recording, ManualClock(now))


class TestRecordedFeed(FeedContract):
    @pytest.fixture
    def window(self, generated_recording: Recording) -> Window:
        now, behind = OPENS + timedelta(hours=3), OPENS + timedelta(minutes=40)
        told_of = [
            symbol
            for one in generated_recording.headlines(None, OPENS - timedelta(days=1), now)
            for symbol in one.symbols
        ]
        traded = [
            symbol
            for symbol in dict.fromkeys([*told_of, *generated_recording.symbols()])
            if len(generated_recording.bars(symbol, OPENS, now)) == 180
            and (quote := generated_recording.quote(symbol, now)) is not None
            and quote.mid is not None
        ]
        assert traded[0] in told_of
        return Window(
            feed=feed_at(generated_recording, now),
            now=now,
            traded=tuple(traded[:5]),
            behind=feed_at(generated_recording, behind),
            behind_now=behind,
        )


async def test_it_is_a_feed_and_describes_what_it_plays(generated_recording: Recording) -> None:
    feed: Feed = feed_at(generated_recording, OPENS)

    assert "generated session of 2026-06-15, seed 7" in feed.description.label
    assert feed.description.has_baseline
    assert feed.description.has_news
    assert await feed.symbols() == generated_recording.symbols()
    await feed.close()


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(now=moments, start=moments, end=st.one_of(moments, st.just(FAR)))
async def test_nothing_after_the_clock_can_be_read(
    generated_recording: Recording, now: datetime, start: datetime, end: datetime
) -> None:
    feed = feed_at(generated_recording, now)
    symbols = await feed.symbols()

    quotes = await feed.quotes(symbols)
    bars = await feed.bars(symbols, start=start, end=end)
    headlines = await feed.headlines(None, since=start)

    assert all(quote.at <= now for quote in quotes.values())
    assert all(
        start <= bar.start and bar.end <= min(end, now) for of in bars.values() for bar in of
    )
    assert all(start <= headline.at <= now for headline in headlines)
    assert set(bars) == set(symbols)


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(now=moments)
async def test_the_future_changes_nothing_that_can_be_read_now(
    generated_folder: Path, generated_recording: Recording, tmp_path: Path, now: datetime
) -> None:
    """Cutting off every later line from the files leaves every answer as it was."""
    _cut(generated_folder, tmp_path, now)
    if not (tmp_path / "bars.csv").read_text(encoding="utf-8").count("\n") > 1:
        return
    cut = Recording.open(tmp_path, exchange="XNYS", currency="USD", calendar=calendars.load("XNYS"))
    whole, past = feed_at(generated_recording, now), feed_at(cut, now)
    symbols = await whole.symbols()

    assert await whole.quotes(symbols) == await past.quotes(symbols)
    assert await whole.bars(symbols, start=OPENS, end=FAR) == await past.bars(
        symbols, start=OPENS, end=FAR
    )
    assert await whole.headlines(None, since=OPENS - timedelta(days=1)) == await past.headlines(
        None, since=OPENS - timedelta(days=1)
    )
    assert await whole.baselines(symbols) == await past.baselines(symbols)


async def test_baselines_are_those_of_the_session_before(generated_recording: Recording) -> None:
    symbol = generated_recording.symbols()[0]

    monday = (await feed_at(generated_recording, OPENS).baselines([symbol]))[symbol]
    after = (await feed_at(generated_recording, OPENS + timedelta(days=1)).baselines([symbol]))[
        symbol
    ]

    assert monday.previous_close == generated_recording.previous_close(symbol, date(2026, 6, 15))
    assert monday.average_daily_volume
    assert after.previous_close == generated_recording.bars(symbol, OPENS, FAR)[-1].close


async def test_an_unknown_symbol_has_no_quote_no_bars_and_an_empty_baseline(
    generated_recording: Recording,
) -> None:
    feed = feed_at(generated_recording, OPENS + timedelta(hours=1))

    assert await feed.quotes(["NONE"]) == {}
    assert await feed.bars(["NONE"], start=OPENS, end=FAR) == {"NONE": ()}
    assert (await feed.baselines(["NONE"]))["NONE"].previous_close is None


async def test_a_naive_window_is_refused(generated_recording: Recording) -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        await feed_at(generated_recording, OPENS).bars(
            ["QXIDX"],
            start=OPENS,
            end=datetime(2026, 6, 15),  # noqa: DTZ001
        )


async def test_real_quotes_never_show_a_later_bar(market_data: Path) -> None:
    recording = Recording.open(
        market_data / "us_1m_2019-02-11_13.csv.gz",
        exchange="XNYS",
        currency="USD",
        calendar=calendars.load("XNYS"),
    )
    now = datetime(2019, 2, 12, 15, 0, 30, tzinfo=UTC)

    quotes = await feed_at(recording, now).quotes(recording.symbols())

    assert max(quote.at for quote in quotes.values()) == datetime(2019, 2, 12, 15, 0, tzinfo=UTC)
    assert quotes["AAPL"].previous_close == Decimal("169.45")


def _cut(folder: Path, into: Path, now: datetime) -> None:
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        if path.name in {"bars.csv", "headlines.csv"}:
            length = timedelta(minutes=1 if path.name == "bars.csv" else 0)
            header, *lines = text.splitlines(keepends=True)
            kept = [line for line in lines if _stamp(line) + length <= now]
            text = "".join([header, *kept])
        (into / path.name).write_text(text, encoding="utf-8")


def _stamp(line: str) -> datetime:
    return datetime.fromisoformat(line.split(",")[1])
