"""Which minute bars have been read already, and what to ask for next. Knows no connection and no clock.

A minute that is over is read once more a little later, since trades are reported late; then it stays.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from market.calendar import Calendar
from shared.models import Bar

SETTLES_WITHIN = timedelta(minutes=2)
"""Bars that ended less before they were read may still change."""
_FILLED = 0.8
"""Share of a page that the regular session may fill: bars from outside it come along, and count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one request asks for: bars of these symbols that begin from `start` on and end by `end`."""

    symbols: tuple[str, ...]
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    start: datetime
    end: datetime
    bars: tuple[Bar, ...]


class Minutes:
    """The bars read so far, by symbol, each a stretch without gaps up to its end."""

    def __init__(self, calendar: Calendar, *, bars_per_page: int, symbols_per_request: int) -> None:
        """Begin with nothing; one request may name so many symbols, and a page holds so many bars."""
        self._calendar: Calendar = calendar
        self._bars_per_page: int = bars_per_page
        self._symbols_per_request: int = symbols_per_request
        self._series: dict[str, _Series] = {}

    def missing(
        self, symbols: Collection[str], others: Iterable[str], *, start: datetime, end: datetime
    ) -> tuple[Window, ...]:
        """Say what to ask for so that bars of these symbols are known from `start` to `end`.

        What has room left on a page is filled with `others` that miss the same: they will be asked about
        next, and one page for several is one request instead of several.
        """
        groups: dict[datetime, list[str]] = {}
        for symbol in dict.fromkeys(symbols):
            since = self._unknown_since(symbol, start, end)
            if since is not None:
                groups.setdefault(since, []).append(symbol)
        rest = [symbol for symbol in dict.fromkeys(others) if symbol not in symbols]
        return tuple(
            Window(symbols=part, start=since, end=end)
            for since, group in groups.items()
            for part in self._parts(
                [*group, *self._companions(rest, len(group), since, start, end)]
            )
        )

    def add(self, window: Window, read: Mapping[str, Sequence[Bar]]) -> None:
        """Take in what a window's request brought; a symbol that is not in `read` stays unknown."""
        for symbol in window.symbols:
            if symbol in read:
                self._series[symbol] = self._joined(symbol, window, read[symbol])

    def between(self, symbol: str, start: datetime, end: datetime) -> tuple[Bar, ...] | None:
        """Bars with start <= bar.start and bar.end <= end; None unless all of that time is known."""
        series = self._series.get(symbol)
        if series is None or start < series.start or end > series.end:
            return None
        first = bisect_left(series.bars, start, key=_start)
        return tuple(bar for bar in series.bars[first:] if bar.end <= end)

    def _unknown_since(self, symbol: str, start: datetime, end: datetime) -> datetime | None:
        series = self._series.get(symbol)
        if series is None or start < series.start:
            return start
        return None if end <= series.end else max(series.start, series.end - SETTLES_WITHIN)

    def _companions(
        self, others: Sequence[str], asked: int, since: datetime, start: datetime, end: datetime
    ) -> list[str]:
        minutes = max(1, self._trading_minutes(since, end))
        room = min(int(self._bars_per_page * _FILLED) // minutes, self._symbols_per_request) - asked
        alike = [one for one in others if self._unknown_since(one, start, end) == since]
        return alike[: max(0, room)]

    def _joined(self, symbol: str, window: Window, bars: Sequence[Bar]) -> _Series:
        known = self._series.get(symbol)
        if known is None or window.start <= known.start or window.start > known.end:
            return _Series(start=window.start, end=window.end, bars=tuple(bars))
        kept = known.bars[: bisect_left(known.bars, window.start, key=_start)]
        return _Series(start=known.start, end=window.end, bars=(*kept, *bars))

    def _parts(self, symbols: Sequence[str]) -> Iterable[tuple[str, ...]]:
        for first in range(0, len(symbols), self._symbols_per_request):
            yield tuple(symbols[first : first + self._symbols_per_request])

    def _trading_minutes(self, start: datetime, end: datetime) -> int:
        parts = trading_parts(self._calendar, start, end)
        return sum((closes - opens for opens, closes in parts), timedelta()) // timedelta(minutes=1)


def trading_parts(
    calendar: Calendar, start: datetime, end: datetime
) -> tuple[tuple[datetime, datetime], ...]:
    """The parts of sessions between two moments, in order, cut off where those moments lie within one."""
    day, last = calendar.exchange_date(start), calendar.exchange_date(end)
    found: list[tuple[datetime, datetime]] = []
    while day <= last:
        hours = calendar.session_on(day)
        for opens, closes in hours.parts if hours else ():
            if max(opens, start) < min(closes, end):
                found.append((max(opens, start), min(closes, end)))
        day += timedelta(days=1)
    return tuple(found)


def within(bars: Sequence[Bar], parts: Sequence[tuple[datetime, datetime]]) -> tuple[Bar, ...]:
    """The bars that lie in one of these parts; both are in order."""
    found: list[Bar] = []
    for opens, closes in parts:
        first = bisect_left(bars, opens, key=_start)
        end = bisect_left(bars, closes, lo=first, key=_start)
        found += [bar for bar in bars[first:end] if bar.end <= closes]
    return tuple(found)


def _start(bar: Bar) -> datetime:
    return bar.start
