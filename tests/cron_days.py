"""Plays cron over days: matches a crontab's lines by crontab(5) alone, and lets the verdict decide.

It knows nothing of how the lines were made.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from market.calendar import Calendar
from shared.config import ScheduleSettings
from shared.crontab.block import Plan
from shared.due import Due, Verdict, startup_is_due, verdict
from shared.models import Mode
from shared.schedule import Slot, slots

LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a crontab: when it fires, and what it starts."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    command: str

    @property
    def program(self) -> str:
        """The Python file that is started, without its ending, or the package."""
        found = re.search(r"/(\w+)\.py\b|-m ([\w.]+)", self.command)
        assert found, self.command
        return found[1] or found[2]

    @property
    def mode(self) -> Mode | None:
        """The mode that is asked for, if any."""
        found = re.search(r" --mode (\w+)", self.command)
        return Mode(found[1]) if found else None

    def firings(self, day: date) -> Iterator[datetime]:
        """Yield the minutes of a UTC day at which cron starts the line."""
        weekday = (day.weekday() + 1) % 7
        if weekday in self.weekdays and day.day in self.days and day.month in self.months:
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def lines(crontab: str) -> tuple[Line, ...]:
    """Read a crontab as cron does: comments and settings aside, five fields and a command."""
    found: list[Line] = []
    for text in crontab.splitlines():
        if not text.strip() or text.lstrip().startswith("#") or re.match(r"\s*\w+\s*=", text):
            continue
        *fields, command = text.split(None, 5)
        sets = [_numbers(field, *limits) for field, limits in zip(fields, LIMITS, strict=True)]
        sets[4] = frozenset(number % 7 for number in sets[4])
        minutes, hours, days, months, weekdays = sets
        found.append(Line(minutes, hours, days, months, weekdays, command))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Judged:
    """One firing of a line, and what came of it."""

    at: datetime
    mode: Mode
    verdict: Verdict


def play(
    crontab: Sequence[Line], plan: Plan, days: Sequence[date], *, closes_until_flat: int = 1
) -> Iterator[Judged]:
    """Fire every line of unified_agent.py over UTC days; a run that is due is done, a close in that many."""
    runs: dict[Slot, int] = {}
    known: dict[date, tuple[Slot, ...]] = {}
    for day in days:
        fired = (
            (at, line.mode) for line in crontab if line.mode is not None for at in line.firings(day)
        )
        for at, mode in sorted(fired):
            now = at + timedelta(seconds=2)
            today = plan.calendar.exchange_date(now)
            if today not in known:
                known[today] = _slots(plan.schedule, plan.calendar, now)
            judged = verdict(
                known[today],
                mode,
                now,
                grace_minutes=plan.schedule.grace_minutes,
                has_run=lambda slot: (
                    runs.get(slot, 0) >= (closes_until_flat if slot.mode is Mode.CLOSE else 1)
                ),
            )
            if isinstance(judged, Due):
                runs[judged.slot] = runs.get(judged.slot, 0) + 1
            yield Judged(at, mode, judged)


def startups(crontab: Sequence[Line], plan: Plan, days: Sequence[date]) -> Iterator[datetime]:
    """Yield the firings of the startup monitor that are due."""
    for line in (line for line in crontab if line.program == "startup_monitor"):
        for at in (at for day in days for at in line.firings(day)):
            now = at + timedelta(seconds=2)
            if startup_is_due(plan.schedule, plan.calendar.session_at(now), now):
                yield at


def days_between(first: date, last: date) -> tuple[date, ...]:
    """Return every date from the first to the last."""
    return tuple(first + timedelta(days=offset) for offset in range((last - first).days + 1))


def _slots(schedule: ScheduleSettings, calendar: Calendar, now: datetime) -> tuple[Slot, ...]:
    hours = calendar.session_at(now)
    return () if hours is None else slots(schedule, hours)


def _numbers(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for piece in field.split(","):
        span, _, step = piece.partition("/")
        first, dash, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
        assert low <= int(first) <= int(last or first) <= high, field
        found |= set(range(int(first), int(last if dash else first) + 1, int(step or 1)))
    return frozenset(found)
