from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import calendar as calendars
from market.calendar import Calendar
from shared.config import ScheduleSettings
from shared.models import SLOT_MODES, Mode, SessionHours
from shared.schedule import (
    LONGEST_PART_MINUTES,
    Slot,
    due_slot,
    may_hold_past,
    next_slot,
    problems,
    slots,
)

DAY = date(2026, 6, 15)
WIDE = ScheduleSettings(
    first_trade_minutes_after_open=7,
    trade_every_minutes=11,
    last_trade_minutes_before_close=45,
    close_minutes_before_close=25,
    grace_minutes=6,
)


def session_of(calendar: Calendar, day: date) -> SessionHours:
    hours = calendar.session_on(day)
    assert hours is not None
    return hours


def sessions(exchange: str) -> Iterator[SessionHours]:
    calendar = calendars.load(exchange)
    for offset in range((calendar.last_date - calendar.first_date).days + 1):
        hours = calendar.session_on(calendar.first_date + timedelta(days=offset))
        if hours is not None:
            yield hours


def trades_in_time(schedule: ScheduleSettings, hours: SessionHours, at: datetime) -> bool:
    """Whether a trade at that time keeps both distances, worked out from the clock alone."""
    part = hours.part_at(at)
    return (
        part is not None
        and at - part[0] >= timedelta(minutes=schedule.first_trade_minutes_after_open)
        and part[1] - at >= timedelta(minutes=schedule.last_trade_minutes_before_close)
    )


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


def test_hong_kong_trades_and_closes_before_lunch_and_again_before_the_close(
    hong_kong: Calendar,
) -> None:
    found = slots(ScheduleSettings(), session_of(hong_kong, date(2026, 12, 23)))

    assert local(hong_kong, found, Mode.SCAN) == ["09:00"]
    assert local(hong_kong, found, Mode.TRADE) == [
        *("10:00", "10:30", "11:00", "11:30"),
        *("13:30", "14:00", "14:30", "15:00", "15:30"),
    ]
    assert local(hong_kong, found, Mode.CLOSE) == ["11:50", "15:50"]
    assert local(hong_kong, found, Mode.HEARTBEAT) == ["16:30"]


def test_a_half_day_in_hong_kong_has_one_close_and_its_heartbeat_after_the_morning(
    hong_kong: Calendar,
) -> None:
    found = slots(ScheduleSettings(), session_of(hong_kong, date(2026, 12, 24)))

    assert local(hong_kong, found, Mode.TRADE) == ["10:00", "10:30", "11:00", "11:30"]
    assert local(hong_kong, found, Mode.CLOSE) == ["11:50"]
    assert local(hong_kong, found, Mode.HEARTBEAT) == ["12:30"]


@pytest.mark.parametrize("exchange", ["XNYS", "XHKG"])
@pytest.mark.parametrize("schedule", [ScheduleSettings(), WIDE], ids=["default", "wide"])
def test_every_slot_of_every_session_lies_where_it_belongs(
    exchange: str, schedule: ScheduleSettings
) -> None:
    for hours in sessions(exchange):
        found = slots(schedule, hours)
        times = [slot.at for slot in found]
        closes = [slot.at for slot in found if slot.mode is Mode.CLOSE]

        assert all(earlier < later for earlier, later in pairwise(times))
        assert (found[0].mode, found[-1].mode) == (Mode.SCAN, Mode.HEARTBEAT)
        assert times[0] < hours.opens_at
        assert times[-1] > hours.closes_at
        assert closes == [
            part[1] - timedelta(minutes=schedule.close_minutes_before_close) for part in hours.parts
        ]
        for slot in found[1:-1]:
            assert trades_in_time(schedule, hours, slot.at) or slot.mode is Mode.CLOSE


@pytest.mark.parametrize("exchange", ["XNYS", "XHKG"])
def test_the_longest_part_of_a_regular_session_is_as_long_as_it_says(exchange: str) -> None:
    longest = max(closes - opens for hours in sessions(exchange) for opens, closes in hours.parts)

    assert longest == timedelta(minutes=LONGEST_PART_MINUTES[exchange])


@pytest.mark.parametrize(
    ("late_seconds", "is_due"), [(-1, False), (0, True), (300, True), (301, False)]
)
def test_a_slot_is_due_from_its_moment_until_the_grace_is_over(
    new_york: Calendar, late_seconds: int, is_due: bool
) -> None:
    found = slots(ScheduleSettings(), session_of(new_york, DAY))
    trade = next(slot for slot in found if slot.mode is Mode.TRADE)

    due = due_slot(found, Mode.TRADE, trade.at + timedelta(seconds=late_seconds), 5)

    assert due == (trade if is_due else None)


@pytest.mark.parametrize(
    ("late_seconds", "is_due"), [(-1, False), (0, True), (599, True), (600, False)]
)
def test_a_close_is_due_until_its_part_of_the_session_ends(
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
    assert problems(ScheduleSettings(), "XNYS") == ()
    assert problems(ScheduleSettings(), "XHKG") == ()


def test_a_schedule_for_one_long_session_can_be_too_wide_for_one_with_a_lunch_break() -> None:
    schedule = ScheduleSettings(
        first_trade_minutes_after_open=121, last_trade_minutes_before_close=60
    )

    assert problems(schedule, "XNYS") == ()
    assert any("180 minutes of trading" in sentence for sentence in problems(schedule, "XHKG"))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (
            ScheduleSettings(
                first_trade_minutes_after_open=200, last_trade_minutes_before_close=200
            ),
            "have no trade slot",
        ),
        (ScheduleSettings(close_minutes_before_close=30), "close_minutes_before_close must be"),
        (ScheduleSettings(startup_minutes_before_open=34), "before the books are level"),
        (ScheduleSettings(trade_every_minutes=5), "two trade slots would be due at once"),
    ],
    ids=[
        "no trade slot",
        "close before last trade",
        "startup after the scan",
        "grace past the next",
    ],
)
def test_a_schedule_that_cannot_work_is_named(schedule: ScheduleSettings, words: str) -> None:
    assert any(words in problem for problem in problems(schedule, "XNYS"))


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
    if not problems(schedule, "XNYS") and minutes == 390:
        assert {slot.mode for slot in found} == set(SLOT_MODES)


@pytest.mark.parametrize("over_lunch", [True, False])
@pytest.mark.parametrize("overnight", [True, False])
@pytest.mark.parametrize(
    ("exchange", "day", "parts"),
    [("XHKG", DAY, 2), ("XHKG", date(2026, 12, 24), 1), ("XNYS", DAY, 1)],
)
def test_only_the_last_part_of_a_session_ends_in_a_night(
    exchange: str, day: date, parts: int, over_lunch: bool, overnight: bool
) -> None:
    hours = session_of(calendars.load(exchange), day)
    schedule = ScheduleSettings(may_hold_over_lunch=over_lunch, may_hold_overnight=overnight)
    may = [may_hold_past(schedule, hours, part) for part in hours.parts]

    assert may == [over_lunch, overnight][-parts:]
