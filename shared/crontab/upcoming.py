"""What cron will start in the hours to come that is due, told in exchange time and in UTC.

Pure: plans and a moment go in. What fires without being due is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from market import calendar_horizon
from market.calendar import Calendar
from shared.crontab.block import Plan
from shared.crontab.firings import Job
from shared.models import SessionHours
from shared.schedule import slots, startup_at

AHEAD = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """One run to come."""

    at: datetime
    local: datetime
    """The same moment in exchange time."""
    agent: str
    job: Job
    note: str
    """What is unusual about it, or empty."""


def upcoming(
    plans: Sequence[Plan], now: datetime, ahead: timedelta = AHEAD
) -> tuple[Upcoming, ...]:
    """List the runs from `now` on, in time order; a close is listed once, with its end."""
    found = (one for plan in plans for one in _runs(plan, now, now + ahead))
    return tuple(sorted(found, key=lambda one: (one.at, one.agent)))


def notices(plans: Sequence[Plan], now: datetime, ahead: timedelta = AHEAD) -> tuple[str, ...]:
    """Say what a person would otherwise have to look for: days without a session, the calendar's end."""
    found = (sentence for plan in plans for sentence in _notices(plan, now, now + ahead))
    return tuple(dict.fromkeys(found))


def table(found: Sequence[Upcoming]) -> str:
    """Lay the runs out for a terminal, one a line."""
    lines = [f"{'exchange time':<22}{'UTC':<14}{'agent':<16}{'what':<17}note"]
    for one in found:
        zone = f"{one.local:%a %d %b %H:%M %Z}"
        line = f"{zone:<22}{one.at:%a %H:%M}{'':<5}{one.agent:<16}{one.job.value:<17}{one.note}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _runs(plan: Plan, start: datetime, end: datetime) -> Iterator[Upcoming]:
    for hours in _sessions(plan.calendar, start, end):
        for at, job, note in _planned(plan, hours):
            if start <= at < end:
                local = at.astimezone(plan.calendar.timezone)
                yield Upcoming(at=at, local=local, agent=plan.agent, job=job, note=note)


def _planned(plan: Plan, hours: SessionHours) -> Iterator[tuple[datetime, Job, str]]:
    zone = plan.calendar.timezone
    early = f"early close at {hours.closes_at.astimezone(zone):%H:%M}" if hours.early_close else ""
    yield startup_at(plan.schedule, hours), Job.STARTUP_MONITOR, early
    for slot in slots(plan.schedule, hours):
        until = f"until {slot.until.astimezone(zone):%H:%M}, until flat" if slot.until else ""
        yield slot.at, Job(slot.mode.value), "; ".join(filter(None, (until, early)))


def _notices(plan: Plan, start: datetime, end: datetime) -> Iterator[str]:
    calendar = plan.calendar
    yield f"{plan.agent}: position_monitor is started every minute unless it is at work"
    yield f"{plan.agent}: what is too old is deleted once a day, an hour after its last run"
    for day in _days(calendar, start, end):
        if calendar.session_on(day) is None:
            yield f"{plan.agent}: {calendar.exchange} has no session on {day:%a %d %b %Y}"
    yield from calendar_horizon.warnings(calendar, calendar.exchange_date(start))


def _sessions(calendar: Calendar, start: datetime, end: datetime) -> Iterator[SessionHours]:
    for day in _days(calendar, start, end):
        hours = calendar.session_on(day)
        if hours is not None:
            yield hours


def _days(calendar: Calendar, start: datetime, end: datetime) -> Iterator[date]:
    """Yield the exchange's dates that the span touches."""
    day, last = calendar.exchange_date(start), calendar.exchange_date(end)
    while day <= last:
        yield day
        day += timedelta(days=1)
