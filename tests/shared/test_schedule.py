from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.calendar import Calendar, parse
from shared.config import ScheduleSettings
from shared.models import Mode, SessionHours
from shared.schedule import Slot, due_slot, next_slot, problems, slots

DAY = date(2026, 6, 15)
HONG_KONG = """{
"exchange": "XHKG", "timezone": "Asia/Hong_Kong", "first_date": "2026-12-23", "last_date": "2026-12-23",
"regular": [["09:30", "12:00"], ["13:00", "16:00"]], "sessions_per_year": {"2026": 1},
"closed_weekdays": [], "other_hours": {}}"""


def session_of(calendar: Calendar, day: date) -> SessionHours:
    hours = calendar.session_on(day)
    assert hours is not None
    return hours


def local(calendar: Calendar, found: tuple[Slot, ...], mode: Mode) -> list[str]:
    return [f"{s.at.astimezone(calendar.timezone):%H:%M}" for s in found if s.mode is mode]


def test_a_regular_day_scans_trades_closes_and_beats_once_after_the_close(
    new_york: Calendar,
) -> None:
    found = slots(ScheduleSettings(), session_of(new_york, DAY))

    assert local(new_york, found, Mode.SCAN) == ["09:00"]
    assert local(new_york, found, Mode.TRADE) == [
        *("10:00", "10:30", "11:00", "11:30", "12:00", "12:30"),
        *("13:00", "13:30", "14:00", "14:30", "15:00", "15:30"),
    ]
    assert local(new_york, found, Mode.CLOSE) == ["15:50"]
    assert local(new_york, found, Mode.HEARTBEAT) == ["16:30"]


def test_on_a_half_day_everything_moves_with_the_close(new_york: Calendar) -> None:
    found = slots(ScheduleSettings(), session_of(new_york, date(2026, 11, 27)))

    assert local(new_york, found, Mode.TRADE)[-1] == "12:30"
    assert local(new_york, found, Mode.CLOSE) == ["12:50"]
    assert local(new_york, found, Mode.HEARTBEAT) == ["13:30"]


def test_nothing_trades_in_the_lunch_break() -> None:
    hong_kong = parse(HONG_KONG, "test")

    found = slots(ScheduleSettings(), session_of(hong_kong, date(2026, 12, 23)))

    assert local(hong_kong, found, Mode.TRADE) == [
        *("10:00", "10:30", "11:00", "11:30"),
        *("13:00", "13:30", "14:00", "14:30", "15:00", "15:30"),
    ]


@pytest.mark.parametrize(
    ("late_seconds", "is_due"), [(-1, False), (0, True), (300, True), (301, False)]
)
def test_a_slot_is_due_from_its_moment_until_the_grace_is_over(
    new_york: Calendar, late_seconds: int, is_due: bool
) -> None:
    found = slots(ScheduleSettings(), session_of(new_york, DAY))
    close = next(slot for slot in found if slot.mode is Mode.CLOSE)

    due = due_slot(found, Mode.CLOSE, close.at + timedelta(seconds=late_seconds), 5)

    assert due == (close if is_due else None)


def test_only_the_mode_that_is_asked_for_is_due(new_york: Calendar) -> None:
    found = slots(ScheduleSettings(), session_of(new_york, DAY))

    assert due_slot(found, Mode.TRADE, found[0].at, 5) is None


def test_the_next_slot_is_the_first_one_later_of_any_mode_or_of_one(new_york: Calendar) -> None:
    found = slots(ScheduleSettings(), session_of(new_york, DAY))
    scan, first_trade = found[0], found[1]

    assert next_slot(found, scan.at) == first_trade
    assert next_slot(found, scan.at, Mode.HEARTBEAT) == found[-1]
    assert next_slot(found, found[-1].at) is None
    assert next_slot(found, first_trade.at, Mode.SCAN) is None


def test_the_default_schedule_has_no_problem() -> None:
    assert problems(ScheduleSettings()) == ()


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (
            ScheduleSettings(
                first_trade_minutes_after_open=200, last_trade_minutes_before_close=200
            ),
            "has no trade slot",
        ),
        (ScheduleSettings(close_minutes_before_close=30), "close_minutes_before_close must be"),
        (ScheduleSettings(grace_minutes=10), "could start after the close"),
        (ScheduleSettings(trade_every_minutes=5), "two trade slots would be due at once"),
    ],
    ids=["no trade slot", "close before last trade", "grace past the close", "grace past the next"],
)
def test_a_schedule_that_cannot_work_is_named(schedule: ScheduleSettings, words: str) -> None:
    assert any(words in problem for problem in problems(schedule))


schedules = st.builds(
    ScheduleSettings,
    scan_minutes_before_open=st.integers(1, 240),
    first_trade_minutes_after_open=st.integers(1, 240),
    trade_every_minutes=st.integers(5, 240),
    last_trade_minutes_before_close=st.integers(1, 240),
    close_minutes_before_close=st.integers(1, 240),
    heartbeat_minutes_after_close=st.integers(1, 240),
)


@settings(deadline=None)
@given(schedules, st.sampled_from([150, 210, 390]))
def test_every_schedule_keeps_its_slots_in_order_and_its_trades_inside_the_session(
    schedule: ScheduleSettings, minutes: int
) -> None:
    opens = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
    closes = opens + timedelta(minutes=minutes)
    hours = SessionHours(exchange="XNYS", session_date=DAY, parts=((opens, closes),))
    last_trade = closes - timedelta(minutes=schedule.last_trade_minutes_before_close)

    found = slots(schedule, hours)

    assert list(found) == sorted(found, key=lambda slot: slot.at)
    assert all(hours.is_open(s.at) for s in found if s.mode in {Mode.TRADE, Mode.CLOSE})
    assert all(s.at <= last_trade for s in found if s.mode is Mode.TRADE)
    if not problems(schedule) and minutes == 390:
        assert {slot.mode for slot in found} == set(Mode)
