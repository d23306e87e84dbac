"""At which UTC minutes cron has to fire, and the fewest plain expressions that say so.

Knows no clock: a schedule and a calendar come in. A firing is a minute at which a slot can fall, in summer
and winter time, on half days, before and after lunch; whether one does fall there, the run decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from market.calendar import Calendar
from shared.config import ScheduleSettings
from shared.models import Mode, SessionHours
from shared.schedule import slots, startup_at

_MINUTE = timedelta(minutes=1)
_PRUNED_AFTER_HEARTBEAT = timedelta(hours=1)


class Job(StrEnum):
    """What a line of the crontab starts."""

    STARTUP_MONITOR = "startup_monitor"
    SCAN = "scan"
    TRADE = "trade"
    CLOSE = "close"
    HEARTBEAT = "heartbeat"
    POSITION_MONITOR = "position_monitor"
    PRUNE = "prune"
    """Of `python -m shared.care`, once a day."""

    @property
    def mode(self) -> Mode | None:
        """The mode of unified_agent.py, or None for a program of its own."""
        return Mode(self.value) if self in _MODES else None


_MODES = frozenset({Job.SCAN, Job.TRADE, Job.CLOSE, Job.HEARTBEAT})


@dataclass(frozen=True, slots=True, order=True)
class Firing:
    """A minute of a UTC day, and how many days that day lies after the exchange's."""

    days_later: int
    hour: int
    minute: int


def moments(schedule: ScheduleSettings, hours: SessionHours, job: Job) -> Iterator[datetime]:
    """Yield when a job runs in one session; a close again every minute until its part ends."""
    if job is Job.STARTUP_MONITOR:
        yield startup_at(schedule, hours)
    for slot in slots(schedule, hours):
        if slot.mode is not job.mode:
            continue
        yield slot.at
        again = slot.at + _MINUTE
        while slot.until is not None and again < slot.until:
            yield again
            again += _MINUTE


def expressions(
    schedule: ScheduleSettings, sessions: Sequence[SessionHours], job: Job
) -> tuple[str, ...]:
    """Return the five fields of every line that a job needs for these sessions."""
    weekdays = frozenset(hours.session_date.weekday() for hours in sessions)
    if job is Job.POSITION_MONITOR:
        return (f"* * * * {_days(weekdays, 0)}",)
    if job is Job.PRUNE:
        return (_once_after_all(schedule, sessions, weekdays),)
    found = {
        _firing(at, hours.session_date)
        for hours in sessions
        for at in moments(schedule, hours, job)
    }
    return tuple(
        f"{_listed(minutes)} {_listed(hours)} * * {_days(weekdays, days_later)}"
        for days_later, minutes, hours in _rectangles(found)
    )


def _once_after_all(
    schedule: ScheduleSettings, sessions: Sequence[SessionHours], weekdays: frozenset[int]
) -> str:
    """Return one time of the day that lies after the last run of every session, whatever its hours."""
    last = max(
        _firing(at + _PRUNED_AFTER_HEARTBEAT, hours.session_date)
        for hours in sessions
        for at in moments(schedule, hours, Job.HEARTBEAT)
    )
    return f"{last.minute} {last.hour} * * {_days(weekdays, last.days_later)}"


def kinds_of_sessions(calendar: Calendar) -> tuple[SessionHours, ...]:
    """Return one session of the calendar's table for each weekday and hours in UTC that occur in it."""
    span = (calendar.last_date - calendar.first_date).days
    days = (calendar.first_date + timedelta(days=offset) for offset in range(span + 1))
    found = (hours for day in days if (hours := calendar.session_on(day)) is not None)
    return tuple({_kind(hours): hours for hours in found}.values())


def _kind(hours: SessionHours) -> tuple[int, tuple[Firing, ...]]:
    day = hours.session_date
    return day.weekday(), tuple(_firing(at, day) for part in hours.parts for at in part)


def _firing(at: datetime, session_date: date) -> Firing:
    in_utc = at.astimezone(UTC)
    return Firing((in_utc.date() - session_date).days, in_utc.hour, in_utc.minute)


def _rectangles(
    firings: Iterable[Firing],
) -> Iterator[tuple[int, frozenset[int], frozenset[int]]]:
    """Cover the firings exactly: hours with the same minutes share a line."""
    minutes: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for firing in firings:
        minutes[firing.days_later, firing.hour].add(firing.minute)
    hours = _same(minutes)
    for (days_later, at), sharing in sorted(
        hours.items(), key=lambda one: (one[0][0], min(one[1]))
    ):
        yield days_later, at, frozenset(sharing)


def _same(
    minutes: Mapping[tuple[int, int], set[int]],
) -> Mapping[tuple[int, frozenset[int]], set[int]]:
    hours: defaultdict[tuple[int, frozenset[int]], set[int]] = defaultdict(set)
    for (days_later, hour), at in minutes.items():
        hours[days_later, frozenset(at)].add(hour)
    return hours


def _days(weekdays: frozenset[int], days_later: int) -> str:
    """Write UTC days of the week as cron counts them, 0 for Sunday; Python's 0 is Monday."""
    return _listed(frozenset((day + 1 + days_later) % 7 for day in weekdays))


def _listed(numbers: frozenset[int]) -> str:
    """Write numbers as cron does: 0,30 or 50-59."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(_run(run) for run in runs)


def _run(run: list[int]) -> str:
    if len(run) > 2:
        return f"{run[0]}-{run[-1]}"
    return ",".join(map(str, run))
