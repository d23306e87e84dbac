"""What bars of whole days say about the time before a session. Pure: knows no feed and no clock."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from market.base import Baseline
from market.calendar import Calendar
from shared.errors import CalendarExhausted
from shared.models import Bar

BASELINE_DAYS = timedelta(days=35)
BASELINE_SESSIONS = 20
NOT_KNOWN = Baseline(previous_close=None, previous_change_pct=None, average_daily_volume=None)


def baseline(days: Sequence[Bar], session_date: date, calendar: Calendar) -> Baseline:
    """Work out what was known before that date's session from bars of whole days, oldest first."""
    by_date = {calendar.exchange_date(bar.start): bar for bar in days}
    last = day_before(by_date, session_date, calendar)
    earlier = day_before(by_date, last[0], calendar) if last else None
    change = (last[1].close / earlier[1].close - 1) * 100 if last and earlier else None
    recent = sorted(day for day in by_date if session_date - BASELINE_DAYS <= day < session_date)
    volumes = [by_date[day].volume for day in recent[-BASELINE_SESSIONS:]]
    return Baseline(
        previous_close=last[1].close if last else None,
        previous_change_pct=None if change is None else round(change, 4),
        average_daily_volume=round(sum(volumes) / len(volumes)) if volumes else None,
    )


def day_before(
    by_date: Mapping[date, Bar], day: date, calendar: Calendar
) -> tuple[date, Bar] | None:
    """The bar of exactly the session before that date; an older one would be of another day."""
    try:
        before = calendar.previous_session(day).session_date
    except CalendarExhausted:
        return None
    return (before, by_date[before]) if before in by_date else None
