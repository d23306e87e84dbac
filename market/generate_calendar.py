"""Writes the committed calendar tables from exchange_calendars; development only, never imported by a run.

python -m market.generate_calendar

Closures for weather reach exchange_calendars late, if at all; those that its pinned version lacks are
named here. Days on which Hong Kong only opened late or closed early for weather (2020-08-19 and
2021-06-28, for two) keep regular hours in the table; it has traded through bad weather since 23 September
2024. Such a day matters to the replay of a recording alone.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import exchange_calendars

from market.calendar import TABLES, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which days of an exchange a committed table covers."""

    exchange: str
    first_date: date
    last_date: date
    also_closed: Mapping[date, str] = field(default_factory=dict[date, str])
    """Closures that the source lacks, each with who says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSession:
    """One session as exchange_calendars tells it, its parts in UTC."""

    session_date: date
    parts: tuple[tuple[datetime, datetime], ...]


COMMITTED = (
    Span(exchange="XNYS", first_date=date(2019, 1, 1), last_date=date(2027, 12, 31)),
    Span(
        exchange="XHKG",
        first_date=date(2019, 1, 1),
        last_date=date(2027, 12, 31),
        also_closed={
            date(2023, 9, 1): "typhoon Saola, HKEX market communication 2309012news",
            date(2023, 9, 8): "black rainstorm, HKEX market communication 2309083news",
        },
    ),
)
_SATURDAY = 5
_Hours = tuple[tuple[str, str], ...]


def main() -> int:
    """Write every committed table and say what was written."""
    for span in COMMITTED:
        path = TABLES / f"{span.exchange}.json"
        path.write_text(table_text(span), encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


def source_sessions(span: Span) -> tuple[SourceSession, ...]:
    """Ask exchange_calendars; without `end` it would stop a year from today.

    Raises RuntimeError when it knows of a closure by itself that `also_closed` names.
    """
    source = exchange_calendars.get_calendar(
        span.exchange, start=span.first_date.isoformat(), end=span.last_date.isoformat()
    )
    rows: Iterable[Any] = source.schedule.itertuples()
    sessions = {row.Index.date(): _parts_of(row) for row in rows}
    known = sorted(day.isoformat() for day in span.also_closed.keys() - sessions.keys())
    if known:
        msg = f"{span.exchange} is closed without being told on {', '.join(known)}: drop it here"
        raise RuntimeError(msg)
    return tuple(
        SourceSession(session_date=day, parts=parts)
        for day, parts in sessions.items()
        if day not in span.also_closed
    )


def table_text(span: Span) -> str:
    """Render one table as JSON with one exception per line.

    Raises RuntimeError when the text, read back, would not give every session of the source exactly.
    """
    source = exchange_calendars.get_calendar(span.exchange)
    sessions = source_sessions(span)
    hours = {session.session_date: _local_hours(session, source.tz) for session in sessions}
    text = _render(span, str(source.tz), hours)
    _require_same(text, span, sessions)
    return text


def _parts_of(row: Any) -> tuple[tuple[datetime, datetime], ...]:
    moments = [row.open, row.break_start, row.break_end, row.close]
    # NaT, which stands for a missing lunch break, is the one value here that does not equal itself.
    known = [moment.to_pydatetime() for moment in moments if moment == moment]
    return tuple(zip(known[::2], known[1::2], strict=True))


def _local_hours(session: SourceSession, timezone: Any) -> _Hours:
    return tuple(
        (f"{opens.astimezone(timezone):%H:%M}", f"{closes.astimezone(timezone):%H:%M}")
        for opens, closes in session.parts
    )


def _render(span: Span, timezone: str, hours: Mapping[date, _Hours]) -> str:
    regular = Counter(hours.values()).most_common(1)[0][0]
    fields = {
        "exchange": json.dumps(span.exchange),
        "timezone": json.dumps(timezone),
        "source": json.dumps(_source(span)),
        "first_date": json.dumps(span.first_date.isoformat()),
        "last_date": json.dumps(span.last_date.isoformat()),
        "regular": json.dumps(regular),
        "sessions_per_year": json.dumps(Counter(str(day.year) for day in hours)),
        "closed_weekdays": _lines("[", _closed_weekdays(span, hours), "]"),
        "other_hours": _lines(
            "{",
            [f'"{day}": {json.dumps(parts)}' for day, parts in hours.items() if parts != regular],
            "}",
        ),
    }
    return _lines("{", [f'"{name}": {value}' for name, value in fields.items()], "}") + "\n"


def _source(span: Span) -> str:
    closed = "".join(f"; closed {day} ({why})" for day, why in span.also_closed.items())
    return f"exchange_calendars {exchange_calendars.__version__}{closed}"


def _closed_weekdays(span: Span, hours: Mapping[date, _Hours]) -> list[str]:
    count = (span.last_date - span.first_date).days + 1
    days = (span.first_date + timedelta(days=offset) for offset in range(count))
    return [f'"{day}"' for day in days if day.weekday() < _SATURDAY and day not in hours]


def _lines(opening: str, items: list[str], closing: str) -> str:
    return "\n".join([opening, ",\n".join(items), closing])


def _require_same(text: str, span: Span, sessions: Iterable[SourceSession]) -> None:
    calendar = parse(text, f"generated table for {span.exchange}")
    for session in sessions:
        hours = calendar.session_on(session.session_date)
        if hours is None or hours.parts != session.parts:
            msg = f"the {span.exchange} table gives {hours} where the source says {session}"
            raise RuntimeError(msg)


if __name__ == "__main__":
    sys.exit(main())
