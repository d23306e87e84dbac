from datetime import date, datetime, timedelta

import pytest

from market.calendar import Calendar
from shared.config import ScheduleSettings
from shared.due import Due, Missed, NotDue, Verdict, missed_slots, startup_is_due, verdict
from shared.models import SLOT_MODES, Mode, SessionHours
from shared.schedule import Slot, slots

SCHEDULE = ScheduleSettings()


def session_of(calendar: Calendar, day: date) -> SessionHours:
    hours = calendar.session_on(day)
    assert hours is not None
    return hours


@pytest.fixture
def hours(hong_kong: Calendar) -> SessionHours:
    return session_of(hong_kong, date(2026, 6, 15))


def at(hours: SessionHours, clock: str) -> datetime:
    """A moment of the session's day by the exchange's clock."""
    return datetime.fromisoformat(f"{hours.session_date}T{clock}+08:00")


def judged(hours: SessionHours, mode: Mode, clock: str, *used: Slot) -> Verdict:
    found = slots(SCHEDULE, hours)
    now = at(hours, clock)
    return verdict(found, mode, now, grace_minutes=5, has_run=lambda slot: slot in used)


def slot_at(hours: SessionHours, mode: Mode, clock: str) -> Slot:
    moment = at(hours, clock)
    return next(s for s in slots(SCHEDULE, hours) if s.mode is mode and s.at == moment)


@pytest.mark.parametrize("mode", [Mode.SCAN, Mode.TRADE, Mode.HEARTBEAT])
@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=2), timedelta(minutes=5)])
def test_a_slot_is_due_once_until_its_grace_is_over(
    hours: SessionHours, mode: Mode, late: timedelta
) -> None:
    found = slots(SCHEDULE, hours)
    slot = next(slot for slot in found if slot.mode is mode)

    def ask(*used: Slot) -> Verdict:
        return verdict(
            found, mode, slot.at + late, grace_minutes=5, has_run=lambda one: one in used
        )

    assert ask() == Due(slot=slot)
    assert isinstance(ask(slot), NotDue)


def test_a_slot_that_cron_is_late_for_is_missed_and_not_made_up_for(hours: SessionHours) -> None:
    slot = slot_at(hours, Mode.TRADE, "10:00")

    missed = judged(hours, Mode.TRADE, "10:06")

    assert isinstance(missed, Missed)
    assert missed.slot == slot
    assert missed.why == "the trade slot of 02:00 UTC was not run in time: it is 6 minutes late"
    assert isinstance(judged(hours, Mode.TRADE, "10:06", slot), NotDue)


@pytest.mark.parametrize("clock", ["11:50", "11:55", "11:56:30", "11:59:59"])
def test_a_close_stays_due_until_nothing_is_held_or_its_part_ends(
    hours: SessionHours, clock: str
) -> None:
    close = slot_at(hours, Mode.CLOSE, "11:50")

    assert judged(hours, Mode.CLOSE, clock) == Due(slot=close)
    assert isinstance(judged(hours, Mode.CLOSE, clock, close), NotDue)


@pytest.mark.parametrize("clock", ["12:00", "12:30", "13:00"])
def test_a_close_that_was_never_flat_is_missed_when_lunch_begins(
    hours: SessionHours, clock: str
) -> None:
    missed = judged(hours, Mode.CLOSE, clock)

    assert isinstance(missed, Missed)
    assert "was not served before 04:00 UTC" in missed.why


def test_nothing_is_due_at_lunch(hours: SessionHours) -> None:
    used = slots(SCHEDULE, hours)
    noon = at(hours, "12:00")
    for minute in range(60):
        for mode in SLOT_MODES:
            now = noon + timedelta(minutes=minute)
            said = verdict(used, mode, now, grace_minutes=5, has_run=lambda s: s in used)
            assert isinstance(said, NotDue)
            assert not isinstance(
                verdict(used, mode, now, grace_minutes=5, has_run=lambda _: False), Due
            )


def test_a_day_without_a_session_has_nothing_due_and_nothing_missed(
    new_york: Calendar,
) -> None:
    christmas = datetime.fromisoformat("2026-12-25T15:00:00+00:00")

    for mode in SLOT_MODES:
        said = verdict((), mode, christmas, grace_minutes=5, has_run=lambda _: False)
        assert said == NotDue(why="the exchange has no session today")
    assert new_york.session_at(christmas) is None
    assert not startup_is_due(SCHEDULE, None, christmas)


def test_a_firing_for_the_other_half_of_the_year_is_not_due(new_york: Calendar) -> None:
    hours = session_of(new_york, date(2026, 1, 15))
    early = datetime.fromisoformat("2026-01-15T13:00:02+00:00")

    said = verdict(
        slots(SCHEDULE, hours), Mode.SCAN, early, grace_minutes=5, has_run=lambda _: False
    )

    assert said == NotDue(why="the next scan slot of 14:00 UTC has not come")


def test_every_slot_that_nobody_served_is_found_once_it_is_over(hours: SessionHours) -> None:
    """The machine slept from ten to eleven and its first run after that looks back."""
    scan = slot_at(hours, Mode.SCAN, "09:00")

    missed = missed_slots(
        slots(SCHEDULE, hours), at(hours, "11:02"), grace_minutes=5, has_run=lambda s: s == scan
    )

    assert [(m.slot.mode, m.slot.at) for m in missed] == [
        (Mode.TRADE, at(hours, "10:00")),
        (Mode.TRADE, at(hours, "10:30")),
    ]


@pytest.mark.parametrize(
    ("now", "is_due"),
    [
        ("2026-06-15T12:49:59", False),
        ("2026-06-15T12:50:01", True),
        ("2026-06-15T13:50:01", False),
        ("2026-01-15T12:50:01", False),
        ("2026-01-15T13:50:01", True),
        ("2026-01-15T13:55:01", False),
    ],
)
def test_the_startup_monitor_is_due_once_whether_it_is_summer_or_winter(
    new_york: Calendar, now: str, is_due: bool
) -> None:
    moment = datetime.fromisoformat(f"{now}+00:00")

    assert startup_is_due(SCHEDULE, new_york.session_at(moment), moment) == is_due
