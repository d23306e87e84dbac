from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.calendar import Calendar
from market.volume_pace import FEWEST_SESSIONS, UsualVolume, usual_volume, volume_pace
from shared.models import Bar, SessionHours
from shared.watch import Baseline, VolumePace

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = date(2026, 6, 15)


def bar(start: datetime, volume: int) -> Bar:
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


def minutes(session: SessionHours) -> list[datetime]:
    return [
        opens + at * MINUTE
        for opens, closes in session.parts
        for at in range((closes - opens) // MINUTE)
    ]


def day_shape(at: int) -> int:
    """Heavy at the open, light at noon."""
    return 3000 if at < 30 else 500


def bars_of(session: SessionHours, factor: int = 1) -> list[Bar]:
    return [bar(start, factor * day_shape(at)) for at, start in enumerate(minutes(session))]


def session_on(calendar: Calendar, day: date) -> SessionHours:
    found = calendar.session_on(day)
    assert found is not None
    return found


@pytest.fixture
def today(new_york: Calendar) -> SessionHours:
    return session_on(new_york, DAY)


@pytest.fixture
def usual(new_york: Calendar) -> UsualVolume:
    earlier = new_york.previous_sessions(DAY, FEWEST_SESSIONS)
    found = usual_volume([one for session in earlier for one in bars_of(session)], earlier)
    assert found is not None
    return found


def pace(
    bars: Sequence[Bar],
    session: SessionHours,
    *,
    entered: int,
    now: int,
    usual: UsualVolume | None,
    window: timedelta = HOUR,
    known: Sequence[SessionHours] = (),
) -> VolumePace | None:
    return volume_pace(
        bars,
        usual=usual,
        sessions=known or (session,),
        opened_at=session.opens_at + entered * MINUTE,
        now=session.opens_at + now * MINUTE,
        window=window,
    )


class TestTheUsualVolume:
    def test_is_the_mean_of_each_minute(self, new_york: Calendar) -> None:
        earlier = new_york.previous_sessions(DAY, 6)
        bars = [one for n, session in enumerate(earlier) for one in bars_of(session, n + 1)]
        found = usual_volume(bars, earlier)

        assert found is not None
        assert found.sessions == 6
        assert found.between(0, 30) == Decimal("3.5") * 30 * 3000
        assert found.between(30, 90) == Decimal("3.5") * 60 * 500
        assert found.between(380, 999) == Decimal("3.5") * 10 * 500

    def test_is_not_known_with_too_few_sessions(self, new_york: Calendar) -> None:
        earlier = new_york.previous_sessions(DAY, FEWEST_SESSIONS)
        bars = [one for session in earlier[1:] for one in bars_of(session)]

        assert usual_volume(bars, earlier) is None
        assert usual_volume((), ()) is None

    def test_leaves_early_closes_out(self, new_york: Calendar) -> None:
        thanksgiving_week = new_york.previous_sessions(date(2026, 12, 1), FEWEST_SESSIONS + 1)
        assert sum(session.early_close for session in thanksgiving_week) == 1
        bars = [one for session in thanksgiving_week for one in bars_of(session)]
        found = usual_volume(bars, thanksgiving_week)

        assert found is not None
        assert found.sessions == FEWEST_SESSIONS

    def test_counts_trading_time_without_lunch(self, hong_kong: Calendar) -> None:
        earlier = hong_kong.previous_sessions(DAY, FEWEST_SESSIONS)
        found = usual_volume([one for session in earlier for one in bars_of(session)], earlier)

        assert found is not None
        assert len(found.by_minute) == 331
        assert found.between(149, 151) == 2 * 500


class TestThePace:
    def test_is_what_it_was_when_the_day_goes_its_usual_way(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        """Six times the volume a minute at the open, and a growing total, are no news."""
        for factor in (1, 3):
            found = pace(bars_of(today, factor), today, entered=30, now=300, usual=usual)

            assert found == VolumePace(
                of_entry_pct=Decimal("100.0"), baseline=Baseline.MEASURED, sessions=5
            )

    @pytest.mark.parametrize(
        ("later", "expected"), [(0, "0.0"), (1, "25.0"), (2, "50.0"), (6, "150.0")]
    )
    def test_falls_and_rises_with_the_last_hour(
        self, today: SessionHours, usual: UsualVolume, later: int, expected: str
    ) -> None:
        starts = minutes(today)
        bars = [
            bar(start, day_shape(at) * (4 if at < 120 else later))
            for at, start in enumerate(starts)
        ]
        found = pace(bars, today, entered=100, now=200, usual=usual)

        assert found is not None
        assert found.of_entry_pct == Decimal(expected)

    def test_over_a_whole_session_is_that_of_all_of_it_so_far(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        bars = [
            bar(start, day_shape(at) * (4 if at < 30 else 1))
            for at, start in enumerate(minutes(today))
        ]
        found = pace(bars, today, entered=30, now=90, usual=usual, window=timedelta(minutes=390))
        ratio = Decimal(4 * 30 * 3000 + 60 * 500) / (30 * 3000 + 60 * 500) / 4 * 100

        assert found is not None
        assert found.of_entry_pct == round(ratio, 1)

    def test_without_earlier_sessions_goes_by_a_modelled_day(self, today: SessionHours) -> None:
        found = pace(bars_of(today), today, entered=60, now=200, usual=None)

        assert found is not None
        assert (found.baseline, found.sessions) == (Baseline.MODELLED, 0)

    def test_of_an_early_entry_is_taken_after_a_quarter_of_an_hour(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        early = pace(bars_of(today, 2), today, entered=2, now=200, usual=usual)

        assert early == pace(bars_of(today, 2), today, entered=15, now=200, usual=usual)
        assert early is not None

    def test_does_not_look_back_over_lunch_as_if_it_were_trading(self, hong_kong: Calendar) -> None:
        today = session_on(hong_kong, DAY)
        earlier = hong_kong.previous_sessions(DAY, FEWEST_SESSIONS)
        usual = usual_volume([one for session in earlier for one in bars_of(session)], earlier)
        # 13:30: the hour of trading before it began at 11:30.
        found = pace(bars_of(today), today, entered=60, now=240, usual=usual)

        assert found is not None
        assert found.of_entry_pct == Decimal("100.0")

    def test_of_a_position_held_overnight_is_against_the_session_of_its_entry(
        self, new_york: Calendar, today: SessionHours, usual: UsualVolume
    ) -> None:
        yesterday = new_york.previous_session(DAY)
        found = volume_pace(
            [*bars_of(yesterday, 4), *bars_of(today, 2)],
            usual=usual,
            sessions=(yesterday, today),
            opened_at=yesterday.opens_at + 100 * MINUTE,
            now=today.opens_at + 100 * MINUTE,
            window=HOUR,
        )

        assert found is not None
        assert found.of_entry_pct == Decimal("50.0")


class TestWhatIsNotKnown:
    def test_is_no_pace_where_the_feed_stopped(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        bars = [one for one in bars_of(today) if one.end <= today.opens_at + 200 * MINUTE]

        assert pace(bars, today, entered=60, now=215, usual=usual) is not None
        assert pace(bars, today, entered=60, now=216, usual=usual) is None
        assert pace((), today, entered=60, now=200, usual=usual) is None

    def test_is_no_pace_where_nothing_was_traded_at_the_entry(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        bars = [
            one if one.start >= today.opens_at + HOUR else replace(one, volume=0)
            for one in bars_of(today)
        ]

        assert pace(bars, today, entered=60, now=200, usual=usual) is None

    def test_is_no_pace_in_the_first_quarter_of_an_hour(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        assert pace(bars_of(today), today, entered=3, now=14, usual=usual) is None
        assert pace(bars_of(today), today, entered=3, now=15, usual=usual) is not None

    def test_is_no_pace_outside_every_session_that_is_known(
        self, today: SessionHours, usual: UsualVolume
    ) -> None:
        assert pace(bars_of(today), today, entered=-60, now=200, usual=usual) is None
        assert pace(bars_of(today), today, entered=60, now=391, usual=usual) is None

    def test_is_no_pace_where_usually_nothing_is_traded(self, today: SessionHours) -> None:
        silent = UsualVolume(sessions=5, by_minute=(0,) * 391)

        assert pace(bars_of(today), today, entered=60, now=200, usual=silent) is None


@given(entered=st.integers(0, 389), now=st.integers(0, 389), window=st.integers(15, 400))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_a_usual_day_never_looks_like_a_change(entered: int, now: int, window: int) -> None:
    opens = datetime.fromisoformat("2026-06-15T13:30:00+00:00")
    today = SessionHours(
        exchange="XNYS", session_date=DAY, parts=((opens, opens + timedelta(minutes=390)),)
    )
    earlier = [
        replace(
            today,
            session_date=DAY - timedelta(days=back),
            parts=((opens - back * 24 * HOUR, opens - back * 24 * HOUR + 390 * MINUTE),),
        )
        for back in range(FEWEST_SESSIONS, 0, -1)
    ]
    usual = usual_volume([one for session in earlier for one in bars_of(session)], earlier)
    found = pace(
        bars_of(today, 7), today, entered=entered, now=now, usual=usual, window=window * MINUTE
    )

    assert found is None or found.of_entry_pct == 100
    assert (found is None) == (now < 15 or max(entered, 15) > now)
