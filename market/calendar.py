"""When an exchange trades, from a committed table; a day outside the table is an error, never "closed".

The table holds regular hours and every exception to them. It knows nothing of brokers or of the clock.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from shared.errors import CalendarExhausted, ConfigError
from shared.models import SessionHours, utc

TABLES = Path(__file__).resolve().parent.parent / "config" / "calendars"
_DAY = timedelta(days=1)
_SATURDAY = 5

LocalParts = tuple[tuple[time, time], ...]
"""(open, close) of each part of a session, in the exchange's local time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The sessions of one exchange between two dates, both included.

    Every method raises CalendarExhausted for a date outside first_date to last_date.
    """

    exchange: str
    timezone: ZoneInfo
    first_date: date
    last_date: date
    regular: LocalParts
    closed: frozenset[date]
    """Weekdays without a session."""
    other_hours: Mapping[date, LocalParts]
    """Sessions that do not keep the regular hours."""

    def session_on(self, day: date) -> SessionHours | None:
        """Hours of the session of that local date, or None on a day without one."""
        self._require_known(day)
        if not self._has_session(day):
            return None
        parts = self.other_hours.get(day, self.regular)
        return SessionHours(
            exchange=self.exchange,
            session_date=day,
            parts=tuple(
                (self._instant(day, opens), self._instant(day, closes)) for opens, closes in parts
            ),
            early_close=parts[-1][1] < self.regular[-1][1],
        )

    def session_at(self, now: datetime) -> SessionHours | None:
        """The session of the exchange's local date at `now`: before, during or after it."""
        return self.session_on(self.exchange_date(now))

    def next_session(self, after: date) -> SessionHours:
        """The first session later than that date."""
        day = after + _DAY
        while (hours := self.session_on(day)) is None:
            day += _DAY
        return hours

    def previous_session(self, before: date) -> SessionHours:
        """The last session earlier than that date."""
        day = before - _DAY
        while (hours := self.session_on(day)) is None:
            day -= _DAY
        return hours

    def previous_sessions(self, before: date, count: int) -> tuple[SessionHours, ...]:
        """The last `count` sessions earlier than that date, oldest first."""
        found: list[SessionHours] = []
        while len(found) < count:
            found.append(self.previous_session(found[-1].session_date if found else before))
        return tuple(reversed(found))

    def exchange_date(self, now: datetime) -> date:
        """The exchange's local date at `now`; a naive time is refused."""
        return utc(now).astimezone(self.timezone).date()

    def sessions_per_year(self) -> dict[int, int]:
        """How many sessions each year of the table has."""
        span = (self.last_date - self.first_date).days
        days = (self.first_date + timedelta(days=offset) for offset in range(span + 1))
        return dict(Counter(day.year for day in days if self._has_session(day)))

    def _require_known(self, day: date) -> None:
        if not self.first_date <= day <= self.last_date:
            msg = (
                f"the {self.exchange} calendar covers {self.first_date} to {self.last_date} "
                f"and says nothing about {day}"
            )
            raise CalendarExhausted(msg)

    def _has_session(self, day: date) -> bool:
        if day.weekday() < _SATURDAY:
            return day not in self.closed
        return day in self.other_hours

    def _instant(self, day: date, local: time) -> datetime:
        return utc(datetime.combine(day, local, self.timezone))


def load(exchange: str, folder: Path = TABLES) -> Calendar:
    """Read an exchange's committed table, such as XNYS.

    Raises ConfigError when there is none, when it is malformed, or when its own count of sessions per
    year does not agree with its days: a lost line would otherwise turn a holiday into a session.
    """
    path = folder / f"{exchange}.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        msg = f"there is no calendar table for {exchange}: {e}"
        raise ConfigError(msg) from e
    return parse(text, str(path))


def parse(text: str, where: str) -> Calendar:
    """Build a calendar from a table's JSON text; `where` names it in the ConfigError it may raise."""
    try:
        table = json.loads(text)
        calendar = _calendar(table)
        expected = {int(year): int(count) for year, count in table["sessions_per_year"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
        msg = f"{where} is not a calendar table: {type(e).__name__} {e}"
        raise ConfigError(msg) from e
    found = calendar.sessions_per_year()
    if found != expected:
        msg = f"{where} counts {expected} sessions per year but its days make {found}"
        raise ConfigError(msg)
    return calendar


def _calendar(table: Mapping[str, Any]) -> Calendar:
    return Calendar(
        exchange=table["exchange"],
        timezone=ZoneInfo(table["timezone"]),
        first_date=date.fromisoformat(table["first_date"]),
        last_date=date.fromisoformat(table["last_date"]),
        regular=_parts(table["regular"]),
        closed=frozenset(date.fromisoformat(day) for day in table["closed_weekdays"]),
        other_hours={
            date.fromisoformat(day): _parts(parts) for day, parts in table["other_hours"].items()
        },
    )


def _parts(parts: list[list[str]]) -> LocalParts:
    return tuple((time.fromisoformat(opens), time.fromisoformat(closes)) for opens, closes in parts)
