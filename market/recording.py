"""A recording of one or more sessions, as it looked at any moment the caller names.

Serves generated and real data alike. It knows no clock: RecordedFeed and the paper exchange bring theirs.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from market.base import Baseline, FeedDescription
from market.calendar import Calendar
from market.recording_files import MINUTE, locate, read_bars, read_headlines
from market.sidecars import Closure, Halt, Instruments, read_instruments, read_session_notes
from market.spread import WINDOW_MINUTES, bid_and_ask
from shared.errors import CalendarExhausted, ConfigError
from shared.models import (
    Bar,
    Headline,
    Instrument,
    InstrumentKind,
    Quote,
    QuoteSource,
    SessionHours,
    utc,
)

_DAY = timedelta(days=1)
_BASELINE_DAYS = timedelta(days=35)
_BASELINE_SESSIONS = 20
_WINDOW = timedelta(minutes=WINDOW_MINUTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """One symbol's session as a whole; `first` and `count` place its minute bars, if there are any."""

    close: Decimal
    volume: int
    first: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """One symbol's minute bars in time order."""

    bars: tuple[Bar, ...] = ()
    starts: tuple[datetime, ...] = ()
    days: Mapping[date, _Day]

    def completed(self, at: datetime) -> int:
        """How many bars have ended by `at`."""
        return bisect_right(self.starts, at - MINUTE)


class Recording:
    """Everything a recording holds; open one with `Recording.open`."""

    def __init__(
        self,
        *,
        label: str,
        generated: bool,
        calendar: Calendar,
        instruments: Instruments,
        minutes: Mapping[str, tuple[Bar, ...]],
        daily: Mapping[str, tuple[Bar, ...]],
        headlines: tuple[Headline, ...] = (),
        halts: Sequence[Halt] = (),
        closures: Sequence[Closure] = (),
    ) -> None:
        """Index what was read. Raises ConfigError for bars on a day without a session."""
        self._calendar: Calendar = calendar
        self._instruments: Instruments = instruments
        self._series: dict[str, _Series] = _series(minutes, calendar)
        self._daily: dict[str, dict[date, _Day]] = _daily(daily, calendar)
        self._headlines: tuple[Headline, ...] = headlines
        self._halts: dict[str, list[Halt]] = {
            symbol: [halt for halt in halts if halt.symbol == symbol]
            for symbol in {halt.symbol for halt in halts}
        }
        self._closures: tuple[Closure, ...] = tuple(closures)
        self._sessions: tuple[date, ...] = tuple(
            sorted({day for series in self._series.values() for day in series.days})
        )
        if not self._sessions:
            msg = f"the recording has no bar within trading hours of {calendar.exchange}"
            raise ConfigError(msg)
        self.generated: bool = generated
        self.label: str = label or _label(self._sessions)
        self.left_out: int = sum(map(len, minutes.values())) - sum(
            len(series.bars) for series in self._series.values()
        )
        """Bars outside trading hours: not played."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        exchange: str,
        currency: str,
        calendar: Calendar,
        instruments_path: Path | None = None,
    ) -> "Recording":
        """Read a folder or one CSV file.

        A folder holds `bars.csv` and may hold `daily.csv` (either may end in `.gz`), `headlines.csv`,
        `instruments.yaml` and `session.yaml`. Bars have the columns symbol, timestamp, open, high, low,
        close, volume; the timestamp is the start of the bar, in daily bars any moment of the session's
        local date (its midnight, as a rule). Raises ConfigError naming file and line for anything that
        the operator has to correct, FeedUnavailable when a file cannot be read, CalendarExhausted.
        """
        files = locate(path, exchange=exchange, instruments_path=instruments_path)
        notes = read_session_notes(files.session) if files.session else None
        minutes = read_bars(files.bars, length=MINUTE)
        # Without a bar any day will do: what is made below refuses to be a recording.
        first = min((bars[0].start for bars in minutes.values()), default=None)
        return cls(
            label=notes.label if notes else "",
            generated=notes.generated if notes else False,
            calendar=calendar,
            instruments=read_instruments(
                files.instruments,
                exchange=exchange,
                currency=currency,
                on=calendar.exchange_date(first) if first else calendar.first_date,
            ),
            minutes=minutes,
            daily=read_bars(files.daily, length=_DAY) if files.daily else {},
            headlines=read_headlines(files.headlines) if files.headlines else (),
            halts=notes.halts if notes else (),
            closures=notes.closures if notes else (),
        )

    @property
    def description(self) -> FeedDescription:
        """What a person should know before believing it; baselines as of the first session."""
        return self.description_at(self._first_moment())

    def description_at(self, at: datetime) -> FeedDescription:
        """The same as of one moment: later sessions have the earlier ones as their baseline."""
        day = self._calendar.exchange_date(at)
        return FeedDescription(
            label=self.label,
            quotes=QuoteSource.MODELLED,
            has_news=bool(self._headlines),
            has_baseline=any(self.previous_close(symbol, day) for symbol in self.symbols()),
        )

    def symbols(self) -> tuple[str, ...]:
        """Every symbol with bars of minutes or days, sorted."""
        return tuple(sorted(self._series.keys() | self._daily.keys()))

    def instrument(self, symbol: str) -> Instrument | None:
        """The symbol's description, not tradable where the instrument file does not name it.

        None for a symbol that neither the bars nor the file know.
        """
        known = (
            symbol in self._series or symbol in self._daily or symbol in self._instruments.described
        )
        return self._instruments.instrument(symbol) if known else None

    def why_not_tradable(self, symbol: str) -> str | None:
        """The reason to show, or None for a symbol that is tradable."""
        return self._instruments.why_not_tradable(symbol)

    def sessions(self) -> tuple[date, ...]:
        """The exchange dates that have minute bars, in order."""
        return self._sessions

    def session(self, at: datetime) -> SessionHours | None:
        """The session of the exchange's date at `at`, or None on a day without one."""
        return self._calendar.session_at(at)

    def is_closed(self, at: datetime) -> bool:
        """Whether the exchange is closed at `at` though the calendar has a session."""
        return any(closure.start <= at < closure.end for closure in self._closures)

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        """The quote as of `at`, from bars completed by then.

        Its own `at` is the end of the last bar, so that its age grows while nothing trades. Bid and ask
        are modelled; a halted symbol and an index have none. Before a symbol's first bar there is only
        the last price of the session before, and None where that is not known.
        """
        at = utc(at)
        series = self._series.get(symbol)
        count = series.completed(at) if series else 0
        if series is None or count == 0:
            return self._last_price_before(symbol, at)
        last = series.bars[count - 1]
        day = self._calendar.exchange_date(at)
        today = _bars_of(series, day, count)
        halted = self._is_halted(symbol, at)
        instrument = self._instruments.instrument(symbol)
        silent = halted or instrument.kind is InstrumentKind.INDEX
        sides = None if silent else bid_and_ask(last.close, _recent(series, count), instrument)
        return Quote(
            symbol=symbol,
            at=last.end,
            bid=sides[0] if sides else None,
            ask=sides[1] if sides else None,
            last=last.close,
            source=QuoteSource.MODELLED,
            halted=halted,
            session_open=today[0].open if today else None,
            session_volume=sum(bar.volume for bar in today) if today else None,
            previous_close=self.previous_close(symbol, day),
        )

    def _last_price_before(self, symbol: str, at: datetime) -> Quote | None:
        day = self._calendar.exchange_date(at)
        price = self.previous_close(symbol, day)
        if price is None:
            return None
        return Quote(
            symbol=symbol,
            at=self._calendar.previous_session(day).closes_at,
            bid=None,
            ask=None,
            last=price,
            source=QuoteSource.MODELLED,
            previous_close=price,
        )

    def bars(self, symbol: str, start: datetime, end: datetime) -> Sequence[Bar]:
        """Bars with start <= bar.start and bar.end <= end, in order; empty for an unknown symbol."""
        series = self._series.get(symbol)
        if series is None:
            return ()
        return series.bars[bisect_left(series.starts, utc(start)) : series.completed(utc(end))]

    def headlines(
        self, symbols: Collection[str] | None, since: datetime, until: datetime
    ) -> tuple[Headline, ...]:
        """News with since <= at <= until, oldest first, about any of the symbols; None is all news."""
        since, until = utc(since), utc(until)
        return tuple(
            headline
            for headline in self._headlines
            if since <= headline.at <= until
            and (symbols is None or not set(headline.symbols).isdisjoint(symbols))
        )

    def previous_close(self, symbol: str, session_date: date) -> Decimal | None:
        """Close of the exchange's last session before that date; None unless exactly that one is known."""
        known = self._day_before(symbol, session_date)
        return known[1].close if known else None

    def average_daily_volume(self, symbol: str, before: date) -> int | None:
        """Mean shares per known session of the 35 days before that date, at most the last 20."""
        days = {**self._minute_days(symbol), **self._daily.get(symbol, {})}
        recent = sorted(day for day in days if before - _BASELINE_DAYS <= day < before)
        volumes = [days[day].volume for day in recent[-_BASELINE_SESSIONS:]]
        return round(sum(volumes) / len(volumes)) if volumes else None

    def baseline(self, symbol: str, session_date: date) -> Baseline:
        """Everything known of the symbol from before that date's session."""
        last = self._day_before(symbol, session_date)
        earlier = self._day_before(symbol, last[0]) if last else None
        change = (last[1].close / earlier[1].close - 1) * 100 if last and earlier else None
        return Baseline(
            previous_close=last[1].close if last else None,
            previous_change_pct=round(change, 4) if change is not None else None,
            average_daily_volume=self.average_daily_volume(symbol, session_date),
        )

    def baseline_at(self, symbol: str, at: datetime) -> Baseline:
        """The same, before the session of the exchange's date at `at`."""
        return self.baseline(symbol, self._calendar.exchange_date(at))

    def _day_before(self, symbol: str, session_date: date) -> tuple[date, _Day] | None:
        try:
            day = self._calendar.previous_session(session_date).session_date
        except CalendarExhausted:
            return None
        known = self._daily.get(symbol, {}).get(day) or self._minute_days(symbol).get(day)
        return (day, known) if known else None

    def _minute_days(self, symbol: str) -> Mapping[date, _Day]:
        series = self._series.get(symbol)
        return series.days if series else {}

    def _is_halted(self, symbol: str, at: datetime) -> bool:
        return any(halt.start <= at < halt.end for halt in self._halts.get(symbol, ()))

    def _first_moment(self) -> datetime:
        return min(series.starts[0] for series in self._series.values())


def _series(minutes: Mapping[str, tuple[Bar, ...]], calendar: Calendar) -> dict[str, _Series]:
    dates = _session_dates({bar.start for bars in minutes.values() for bar in bars}, calendar)
    indexed = {
        symbol: _indexed(tuple(bar for bar in bars if bar.start in dates), dates)
        for symbol, bars in minutes.items()
    }
    return {symbol: series for symbol, series in indexed.items() if series.bars}


def _indexed(bars: tuple[Bar, ...], dates: Mapping[datetime, date]) -> _Series:
    days: dict[date, _Day] = {}
    first = 0
    for day, group in groupby(bars, key=lambda bar: dates[bar.start]):
        of_day = tuple(group)
        days[day] = _Day(
            close=of_day[-1].close,
            volume=sum(bar.volume for bar in of_day),
            first=first,
            count=len(of_day),
        )
        first += len(of_day)
    return _Series(bars=bars, starts=tuple(bar.start for bar in bars), days=days)


def _session_dates(starts: Collection[datetime], calendar: Calendar) -> dict[datetime, date]:
    """The session date of each moment within trading hours; others are left out."""
    dates: dict[datetime, date] = {}
    hours_of: dict[date, SessionHours] = {}
    for start in starts:
        day = calendar.exchange_date(start)
        if day not in hours_of:
            hours_of[day] = _hours(day, calendar)
        if hours_of[day].is_open(start):
            dates[start] = day
    return dates


def _hours(day: date, calendar: Calendar) -> SessionHours:
    hours = calendar.session_on(day)
    if hours is None:
        msg = f"the recording has bars on {day}, when {calendar.exchange} has no session"
        raise ConfigError(msg)
    return hours


def _daily(daily: Mapping[str, tuple[Bar, ...]], calendar: Calendar) -> dict[str, dict[date, _Day]]:
    return {
        symbol: {
            calendar.exchange_date(bar.start): _Day(close=bar.close, volume=bar.volume)
            for bar in bars
        }
        for symbol, bars in daily.items()
    }


def _bars_of(series: _Series, day: date, completed: int) -> tuple[Bar, ...]:
    found = series.days.get(day)
    if found is None:
        return ()
    return series.bars[found.first : min(found.first + found.count, completed)]


def _recent(series: _Series, completed: int) -> tuple[Bar, ...]:
    since = series.bars[completed - 1].end - _WINDOW
    return series.bars[bisect_left(series.starts, since, hi=completed) : completed]


def _label(sessions: tuple[date, ...]) -> str:
    first, last = sessions[0], sessions[-1]
    if first == last:
        return f"recorded bars of {first}"
    return f"recorded bars of {first} to {last}, {len(sessions)} sessions"
