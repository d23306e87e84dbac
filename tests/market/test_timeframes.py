from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.calendar import load
from market.timeframes import Aggregation, Timeframe, aggregate
from shared.models import Bar, SessionHours
from tests.market.drawings import random_walk

MINUTE = timedelta(minutes=1)
HONG_KONG = SessionHours(
    exchange="XHKG",
    session_date=date(2026, 6, 15),
    parts=(
        (datetime(2026, 6, 15, 1, 30, tzinfo=UTC), datetime(2026, 6, 15, 4, 0, tzinfo=UTC)),
        (datetime(2026, 6, 15, 5, 0, tzinfo=UTC), datetime(2026, 6, 15, 8, 0, tzinfo=UTC)),
    ),
)


def new_york(day: date) -> SessionHours:
    session = load("XNYS").session_on(day)
    assert session is not None
    return session


US = new_york(date(2026, 6, 15))


def minutes(session: SessionHours, count: int | None = None) -> tuple[Bar, ...]:
    """One bar for each minute in which the session trades, or for the first `count` of them."""
    starts = [
        opens + at * MINUTE
        for opens, closes in session.parts
        for at in range(int((closes - opens) / MINUTE))
    ]
    walk = random_walk(1, len(starts), length=MINUTE)
    return tuple(
        replace(bar, start=start, end=start + MINUTE)
        for bar, start in zip(walk, starts, strict=True)
    )[:count]


def aggregated(
    bars: Sequence[Bar],
    timeframe: Timeframe,
    session: SessionHours = US,
    *,
    known_from: datetime | None = None,
    known_until: datetime | None = None,
) -> Aggregation:
    return aggregate(
        bars,
        timeframe,
        sessions=[session],
        known_from=known_from or session.opens_at,
        known_until=known_until or session.closes_at,
    )


def hours_and_minutes(bars: Sequence[Bar]) -> list[str]:
    return [f"{bar.start:%H:%M}-{bar.end:%H:%M}" for bar in bars]


def test_five_minutes_become_one_bar() -> None:
    made = aggregated(minutes(US), Timeframe.FIVE_MINUTES).complete
    first, five = made[0], minutes(US, 5)

    assert len(made) == 78
    assert first.open == five[0].open
    assert first.high == max(bar.high for bar in five)
    assert first.low == min(bar.low for bar in five)
    assert first.close == five[-1].close
    assert first.volume == sum(bar.volume for bar in five)
    assert (first.start, first.end) == (US.opens_at, US.opens_at + 5 * MINUTE)


def test_hours_are_counted_from_the_open_and_the_last_is_short() -> None:
    made = aggregated(minutes(US), Timeframe.HOUR).complete

    assert hours_and_minutes(made) == [
        "13:30-14:30",
        "14:30-15:30",
        "15:30-16:30",
        "16:30-17:30",
        "17:30-18:30",
        "18:30-19:30",
        "19:30-20:00",
    ]


def test_no_bar_spans_the_lunch_break() -> None:
    made = aggregated(minutes(HONG_KONG), Timeframe.HOUR, HONG_KONG).complete

    assert hours_and_minutes(made) == [
        "01:30-02:30",
        "02:30-03:30",
        "03:30-04:00",
        "05:00-06:00",
        "06:00-07:00",
        "07:00-08:00",
    ]


def test_a_day_is_the_whole_session() -> None:
    [day] = aggregated(minutes(HONG_KONG), Timeframe.DAY, HONG_KONG).complete

    assert (day.start, day.end) == (HONG_KONG.opens_at, HONG_KONG.closes_at)
    assert day.volume == sum(bar.volume for bar in minutes(HONG_KONG))


def test_the_bar_that_still_forms_is_not_among_the_complete() -> None:
    until = US.opens_at + 12 * MINUTE
    made = aggregated(minutes(US, 12), Timeframe.FIVE_MINUTES, known_until=until)

    assert hours_and_minutes(made.complete) == ["13:30-13:35", "13:35-13:40"]
    assert made.forming is not None
    assert hours_and_minutes([made.forming]) == ["13:40-13:42"]
    assert made.forming.volume == sum(bar.volume for bar in minutes(US, 12)[10:])


def test_a_bar_is_complete_at_the_moment_its_slot_ends() -> None:
    until = US.opens_at + 10 * MINUTE
    made = aggregated(minutes(US, 10), Timeframe.FIVE_MINUTES, known_until=until)

    assert len(made.complete) == 2
    assert made.forming is None


def test_today_is_not_a_complete_day_before_the_close() -> None:
    until = US.closes_at - MINUTE
    made = aggregated(minutes(US, 389), Timeframe.DAY, known_until=until)

    assert made.complete == ()
    assert made.forming is not None


def test_a_slot_whose_beginning_was_not_asked_for_is_left_out() -> None:
    since = US.opens_at + 7 * MINUTE
    made = aggregated(minutes(US)[7:], Timeframe.FIVE_MINUTES, known_from=since)

    assert made.complete[0].start == US.opens_at + 10 * MINUTE
    assert made.cut_off == 3


def test_a_slot_without_trades_has_no_bar_and_one_with_gaps_is_complete() -> None:
    bars = minutes(US)
    thin = (*bars[:2], *bars[10:12], *bars[14:15])
    made = aggregated(thin, Timeframe.FIVE_MINUTES)

    assert hours_and_minutes(made.complete) == ["13:30-13:35", "13:40-13:45"]
    assert made.forming is None


def test_bars_outside_the_sessions_are_left_out_and_counted() -> None:
    early = replace(
        minutes(US, 1)[0], start=US.opens_at - 30 * MINUTE, end=US.opens_at - 29 * MINUTE
    )
    lunch = replace(
        minutes(HONG_KONG, 1)[0],
        start=HONG_KONG.parts[0][1],
        end=HONG_KONG.parts[0][1] + MINUTE,
    )

    assert aggregated((early, *minutes(US)), Timeframe.HOUR).outside_sessions == 1
    assert aggregated((early, *minutes(US)), Timeframe.HOUR).complete[0].start == US.opens_at
    assert aggregated((lunch,), Timeframe.DAY, HONG_KONG).outside_sessions == 1


def test_several_sessions_follow_each_other_in_whatever_order_they_are_given() -> None:
    calendar = load("XNYS")
    sessions = calendar.previous_sessions(date(2026, 6, 15), 3)
    bars = [bar for session in sessions for bar in minutes(session)]
    made = aggregate(
        bars,
        Timeframe.DAY,
        sessions=reversed(sessions),
        known_from=sessions[0].opens_at,
        known_until=sessions[-1].closes_at,
    )

    assert [bar.start for bar in made.complete] == [session.opens_at for session in sessions]


def test_half_days_and_daylight_saving_follow_the_calendar() -> None:
    half_day = new_york(date(2026, 11, 27))
    made = aggregated(minutes(half_day), Timeframe.HOUR, half_day).complete

    assert hours_and_minutes(made) == ["14:30-15:30", "15:30-16:30", "16:30-17:30", "17:30-18:00"]


@given(
    chosen=st.sets(st.integers(0, 329), min_size=1),
    timeframe=st.sampled_from(Timeframe),
    known=st.integers(1, 390),
)
def test_nothing_is_lost_and_nothing_is_invented(
    chosen: set[int], timeframe: Timeframe, known: int
) -> None:
    until = HONG_KONG.opens_at + known * MINUTE
    everything = minutes(HONG_KONG)
    bars = [everything[at] for at in sorted(chosen) if everything[at].end <= until]
    made = aggregated(bars, timeframe, HONG_KONG, known_until=until)
    parts = [*made.complete, *([made.forming] if made.forming else [])]

    assert sum(bar.volume for bar in parts) == sum(bar.volume for bar in bars)
    assert all(bar.end <= until for bar in parts)
    assert all(before.end <= after.start for before, after in pairwise(parts))
    assert max((bar.high for bar in parts), default=None) == max(
        (bar.high for bar in bars), default=None
    )


def test_a_bar_from_after_the_present_is_refused() -> None:
    with pytest.raises(ValueError, match="after"):
        aggregated(minutes(US, 10), Timeframe.HOUR, known_until=US.opens_at + 9 * MINUTE)


def test_a_bar_across_the_edge_of_a_slot_is_refused() -> None:
    first = minutes(US, 1)[0]
    long = replace(first, end=first.start + 7 * MINUTE)

    with pytest.raises(ValueError, match="lies across the edge"):
        aggregated((long,), Timeframe.FIVE_MINUTES)


def test_a_bar_that_is_not_a_number_is_refused() -> None:
    bars = list(minutes(US, 5))
    bars[2] = replace(bars[2], close=Decimal("NaN"))

    with pytest.raises(ValueError, match="has the close NaN"):
        aggregated(bars, Timeframe.FIVE_MINUTES)


def test_naive_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="known_until must be timezone-aware"):
        aggregated((), Timeframe.HOUR, known_until=datetime(2026, 6, 15, 20))  # noqa: DTZ001
