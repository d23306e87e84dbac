from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from market.calendar import Calendar
from market.indicators import technicals
from market.recorded import RecordedFeed
from market.recording import Recording
from market.recording_files import MINUTE
from market.sidecars import Instruments
from market.timeframes import Timeframe, aggregate
from market.watching import look, seen, usual_volumes
from shared.clock import ManualClock
from shared.config import SignalSettings
from shared.models import Bar, SessionHours
from shared.watch import Baseline, Watch
from signals import detect
from tests.builders import instrument
from tests.fixtures.market_data import GENERATED_DAY

NOW = datetime(2026, 6, 15, 17, 0, 20, tzinfo=UTC)
ENTERED = datetime(2026, 6, 15, 14, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def feed_at(recording: Recording, now: datetime) -> RecordedFeed:
    return RecordedFeed(recording, ManualClock(now))


def today(calendar: Calendar) -> SessionHours:
    found = calendar.session_on(GENERATED_DAY)
    assert found is not None
    return found


async def test_a_watch_can_be_filled_from_a_feed(
    generated_recording: Recording, new_york: Calendar
) -> None:
    feed = feed_at(generated_recording, NOW)
    symbol = generated_recording.symbols()[0]
    sessions = (*new_york.previous_sessions(GENERATED_DAY, 2), today(new_york))
    usual = await usual_volumes(feed, [symbol], earlier=sessions[:-1])
    found = (
        await look(feed, {symbol: ENTERED}, sessions=sessions, usual=usual, now=NOW, window=HOUR)
    )[symbol]

    assert usual == {symbol: None}
    assert found.why is None
    assert found.technicals is not None
    assert found.technicals.as_of == datetime(2026, 6, 15, 17, 0, tzinfo=UTC)
    assert found.technicals.rsi_14 is not None
    assert found.technicals.vwap is not None
    assert found.volume is not None
    assert found.volume.baseline is Baseline.MODELLED
    watch = Watch(
        symbol=symbol,
        quantity=10,
        now=NOW,
        price=found.technicals.vwap,
        technicals=found.technicals,
        volume=found.volume,
    )
    assert detect(watch, SignalSettings())


async def test_the_indicators_are_those_of_complete_bars_of_five_minutes(
    generated_recording: Recording, new_york: Calendar
) -> None:
    feed = feed_at(generated_recording, NOW)
    symbol = generated_recording.symbols()[0]
    session = today(new_york)
    minutes = (await feed.bars([symbol], start=session.opens_at, end=NOW))[symbol]
    five = aggregate(
        minutes,
        Timeframe.FIVE_MINUTES,
        sessions=[session],
        known_from=session.opens_at,
        known_until=NOW,
    )
    found = await look(feed, {symbol: None}, sessions=[session], usual={}, now=NOW, window=HOUR)

    assert found[symbol].technicals == technicals(five.complete, session=session)
    assert found[symbol].volume is None


async def test_a_symbol_without_bars_has_nothing_and_holds_nobody_up(
    generated_recording: Recording, new_york: Calendar
) -> None:
    feed = feed_at(generated_recording, NOW)
    session = today(new_york)
    found = await look(
        feed, {"NOBODY": ENTERED}, sessions=[session], usual={}, now=NOW, window=HOUR
    )

    assert found["NOBODY"].volume is None
    assert found["NOBODY"].technicals is not None
    assert found["NOBODY"].technicals.rsi_14 is None
    assert found["NOBODY"].technicals.as_of is None


def test_bars_that_no_formula_may_see_are_not_known_and_say_why(new_york: Calendar) -> None:
    session = today(new_york)
    bad = replace(minute(session.opens_at), close=Decimal("NaN"))
    found = seen([bad], sessions=[session], usual=None, opened_at=ENTERED, now=NOW, window=HOUR)

    assert found.technicals is None
    assert found.volume is None
    assert found.why is not None
    assert "NaN" in found.why


async def test_the_usual_volume_is_measured_from_earlier_sessions(new_york: Calendar) -> None:
    earlier = new_york.previous_sessions(GENERATED_DAY, 6)
    session = today(new_york)
    recording = Recording(
        label="six quiet days and a busy one",
        generated=True,
        calendar=new_york,
        instruments=Instruments(
            source=Path("none.yaml"), described={}, reasons={}, unnamed=instrument(tradable=False)
        ),
        minutes={
            "ACME": tuple(
                minute(hours.opens_at + at * MINUTE, 200 if hours is session else 100)
                for hours in (*earlier, session)
                for at in range(390)
            )
        },
        daily={},
    )
    feed = feed_at(recording, NOW)
    usual = await usual_volumes(feed, ["ACME"], earlier=earlier)
    found = await look(
        feed,
        {"ACME": ENTERED},
        sessions=(*earlier[-2:], session),
        usual=usual,
        now=NOW,
        window=HOUR,
    )
    pace = found["ACME"].volume

    assert pace is not None
    assert (pace.baseline, pace.sessions, pace.of_entry_pct) == (
        Baseline.MEASURED,
        6,
        Decimal("100.0"),
    )
    assert await usual_volumes(feed, ["ACME"], earlier=()) == {"ACME": None}


def minute(start: datetime, volume: int = 100) -> Bar:
    price = Decimal(100)
    return Bar(
        symbol="ACME",
        start=start,
        end=start + MINUTE,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=volume,
    )
