"""Every minute of 2026 and 2027: the committed crontabs fire, and the verdict decides what runs."""

from collections import Counter
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from shared.crontab import plans
from shared.due import Due, Missed
from shared.models import Mode
from shared.paths import PROJECT
from tests.cron_days import days_between, lines, play, startups

FEW = 3
"""So many slots are shown of thousands that could differ."""
YEARS = days_between(date(2025, 12, 31), date(2027, 12, 31))
MACHINES = ("hub", "intl")

NEW_YORK = {
    Mode.SCAN: ("09:00",),
    Mode.TRADE: ("10:00", "11:00", "12:00", "13:00", "14:00", "15:00"),
    Mode.CLOSE: ("15:50",),
    Mode.HEARTBEAT: ("16:30",),
}
NEW_YORK_EARLY = {
    Mode.SCAN: ("09:00",),
    Mode.TRADE: ("10:00", "11:00", "12:00"),
    Mode.CLOSE: ("12:50",),
    Mode.HEARTBEAT: ("13:30",),
}
HONG_KONG = {
    Mode.SCAN: ("09:00",),
    Mode.TRADE: ("10:00", "11:00", "13:30", "14:30", "15:30"),
    Mode.CLOSE: ("11:50", "15:50"),
    Mode.HEARTBEAT: ("16:30",),
}
HONG_KONG_EARLY = {
    Mode.SCAN: ("09:00",),
    Mode.TRADE: ("10:00", "11:00"),
    Mode.CLOSE: ("11:50",),
    Mode.HEARTBEAT: ("12:30",),
}
"""Written down by hand, in exchange time."""

EARLY = {
    "hub": ("2026-11-27", "2026-12-24", "2027-11-26"),
    "intl": ("2026-02-16", "2026-12-24", "2026-12-31", "2027-02-05", "2027-12-24", "2027-12-31"),
}
HOLIDAYS = {
    "hub": ("2026-01-01", "2026-07-03", "2026-11-26", "2026-12-25", "2027-01-01", "2027-07-05"),
    "intl": ("2026-02-17", "2026-02-18", "2026-02-19", "2026-12-25", "2027-01-01", "2027-07-01"),
}
ZONES = {"hub": ZoneInfo("America/New_York"), "intl": ZoneInfo("Asia/Hong_Kong")}
USUAL = {"hub": NEW_YORK, "intl": HONG_KONG}
SHORT = {"hub": NEW_YORK_EARLY, "intl": HONG_KONG_EARLY}


def expected(machine: str) -> Counter[tuple[Mode, datetime]]:
    """Every run that should be, from the tables above, by the clock on the exchange's wall."""
    [plan] = plans.of_machine(machine, PROJECT)
    found: Counter[tuple[Mode, datetime]] = Counter()
    for day in YEARS[1:]:
        if plan.calendar.session_on(day) is None:
            continue
        table = SHORT[machine] if str(day) in EARLY[machine] else USUAL[machine]
        for mode, clocks in table.items():
            for clock in clocks:
                found[mode, datetime.combine(day, time.fromisoformat(clock), ZONES[machine])] += 1
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_each_slot_runs_exactly_once_at_the_right_local_time(machine: str) -> None:
    [plan] = plans.of_machine(machine, PROJECT)
    crontab = lines((PROJECT / "cron" / f"{machine}.crontab").read_text())
    judged = tuple(play(crontab, plan, YEARS))
    ran = Counter(
        (one.mode, one.at)
        for one in judged
        if isinstance(one.verdict, Due) and plan.calendar.exchange_date(one.at) >= YEARS[1]
    )

    wanted = expected(machine)
    unwanted, missing = sorted(ran - wanted), sorted(wanted - ran)
    assert (unwanted[:FEW], missing[:FEW]) == ([], [])
    assert not [one for one in judged if isinstance(one.verdict, Missed)]
    assert len(judged) > len(ran)


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_runs_on_a_holiday_a_weekend_at_lunch_or_after_an_early_close(
    machine: str,
) -> None:
    [plan] = plans.of_machine(machine, PROJECT)
    crontab = lines((PROJECT / "cron" / f"{machine}.crontab").read_text())
    local = [
        one.at.astimezone(ZONES[machine])
        for one in play(crontab, plan, YEARS, closes_until_flat=99)
        if isinstance(one.verdict, Due) and one.mode in {Mode.TRADE, Mode.CLOSE}
    ]

    assert {str(at.date()) for at in local}.isdisjoint(HOLIDAYS[machine])
    assert all(at.weekday() < 5 for at in local)
    for at in local:
        end = time(16)
        if str(at.date()) in EARLY[machine]:
            end = time(13) if machine == "hub" else time(12)
        assert time(9, 30) < at.time() < end
        assert machine == "hub" or not time(12) <= at.time() < time(13)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_close_that_is_never_flat_is_tried_every_minute_to_the_last(machine: str) -> None:
    [plan] = plans.of_machine(machine, PROJECT)
    crontab = lines((PROJECT / "cron" / f"{machine}.crontab").read_text())
    tries: Counter[datetime] = Counter()
    for one in play(crontab, plan, YEARS, closes_until_flat=99):
        if one.mode is Mode.CLOSE and isinstance(one.verdict, Due):
            tries[one.verdict.slot.at] += 1
            assert one.verdict.slot.until is not None
            assert one.at < one.verdict.slot.until

    assert set(tries.values()) == {10}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_startup_monitor_runs_once_before_each_session_and_never_else(machine: str) -> None:
    [plan] = plans.of_machine(machine, PROJECT)
    crontab = lines((PROJECT / "cron" / f"{machine}.crontab").read_text())
    opens = [h.opens_at for day in YEARS if (h := plan.calendar.session_on(day)) is not None]

    assert list(startups(crontab, plan, YEARS)) == [at - timedelta(minutes=40) for at in opens]


@pytest.mark.parametrize("machine", MACHINES)
def test_the_position_monitor_is_looked_after_in_every_minute_that_trades(machine: str) -> None:
    [plan] = plans.of_machine(machine, PROJECT)
    crontab = lines((PROJECT / "cron" / f"{machine}.crontab").read_text())
    [monitor] = [line for line in crontab if line.program == "position_monitor"]

    assert (len(monitor.minutes), len(monitor.hours)) == (60, 24)
    for day in YEARS:
        hours = plan.calendar.session_on(day)
        for opens, closes in hours.parts if hours else ():
            assert opens.date() == closes.date()
            assert any(monitor.firings(opens.date()))
