"""The market behind a simulated broker: stocks with days and a morning behind them, then what a test lets happen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

from market.calendar import Calendar
from shared.errors import CalendarExhausted
from shared.models import Bar, Instrument, Quote, SessionHours, utc
from tests.brokers.replay import MINUTE, MemoryReplay

HISTORY_SESSIONS = 40
_MINUTE_LOTS = 1000
_DAILY_LOTS = 390_000


@dataclass(kw_only=True)
class SimulatedMarket(MemoryReplay):
    """Minutes as they are written, the real sessions of one exchange, days of history."""

    calendar: Calendar
    describe: Callable[[str], Instrument]
    """What a stock that is added is like."""
    steady: str
    """The one that was at the same price on all days before."""
    instruments: dict[str, Instrument] = field(default_factory=dict[str, Instrument])
    sessions: dict[date, SessionHours] = field(default_factory=dict[date, SessionHours])
    daily: dict[str, list[Bar]] = field(default_factory=dict[str, list[Bar]])
    """Sessions before the first minute, oldest first."""

    def add_stock(self, symbol: str, price: Decimal, *, now: datetime, trend_pct: int = 0) -> None:
        """Let a stock have been there: `HISTORY_SESSIONS` days of it, and the minutes since the opening."""
        described = self.describe(symbol)
        self.instruments[symbol] = described
        days = self.calendar.previous_sessions(self.calendar.exchange_date(now), HISTORY_SESSIONS)
        self.daily[symbol] = [
            self._past_day(described, self._midnight(day.session_date), price, n)
            for n, day in enumerate(days)
        ]
        minutes = tuple(self._minutes_until(now))
        for n, minute in enumerate(minutes):
            moved = price * (1 + Decimal(trend_pct * (n + 1)) / (100 * len(minutes)))
            self.trade(
                symbol,
                minute,
                prices=[on_tick(described, moved)],
                volume=_MINUTE_LOTS * described.lot_size,
            )

    def session(self, at: datetime) -> SessionHours | None:
        try:
            return self.calendar.session_at(at)
        except CalendarExhausted:
            return None

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        quote = super().quote(symbol, at)
        previous = self.previous_day(symbol, at)
        if quote is None or previous is None:
            return quote
        return replace(quote, previous_close=previous.close, bid_size=3, ask_size=4)

    def next_open(self, at: datetime) -> datetime:
        """Return the next opening after a moment."""
        session = self.session(at)
        if session is not None and at < session.opens_at:
            return session.opens_at
        return self.calendar.next_session(self.calendar.exchange_date(at)).opens_at

    def next_close(self, at: datetime) -> datetime:
        """Return the next close after a moment."""
        session = self.session(at)
        if session is not None and at < session.closes_at:
            return session.closes_at
        return self.calendar.next_session(self.calendar.exchange_date(at)).closes_at

    def minutes(self, symbol: str) -> list[Bar]:
        """Return every minute that was written, oldest first."""
        return self._bars[symbol]

    def days(self, symbol: str, now: datetime) -> list[Bar]:
        """Return the daily bars, oldest first, the one under way included."""
        written: dict[date, list[Bar]] = {}
        for bar in self._bars[symbol]:
            if bar.end <= now:
                written.setdefault(self.calendar.exchange_date(bar.start), []).append(bar)
        made = [
            merged(bars, self._midnight(day), timedelta(days=1))
            for day, bars in sorted(written.items())
        ]
        return [*self.daily.get(symbol, []), *made]

    def previous_day(self, symbol: str, now: datetime) -> Bar | None:
        """Return the last daily bar of a session before today's."""
        today = self.calendar.exchange_date(now)
        earlier = [
            b for b in self.days(symbol, now) if self.calendar.exchange_date(b.start) < today
        ]
        return earlier[-1] if earlier else None

    def today(self, symbol: str, now: datetime) -> Bar | None:
        """Return the daily bar under way."""
        last = self.days(symbol, now)[-1:]
        today = self.calendar.exchange_date(now)
        return next((b for b in last if self.calendar.exchange_date(b.start) == today), None)

    def _minutes_until(self, now: datetime) -> Iterator[datetime]:
        session = self.session(now)
        for opens, closes in () if session is None else session.parts:
            minute = opens
            while minute + MINUTE <= min(now, closes):
                yield minute
                minute += MINUTE

    def _midnight(self, day: date) -> datetime:
        return utc(datetime.combine(day, time(), self.calendar.timezone))

    def _past_day(self, described: Instrument, start: datetime, price: Decimal, n: int) -> Bar:
        """Return one day of history, which ends where the present one begins and swings a little before."""
        is_flat = n == HISTORY_SESSIONS - 1 or described.symbol == self.steady
        swing = Decimal(0) if is_flat else Decimal(n % 5 - 2) / 100
        close = on_tick(described, price * (1 + swing))
        reach = on_tick(described, price / 100, ROUND_CEILING)
        return Bar(
            symbol=described.symbol,
            start=start,
            end=start + timedelta(days=1),
            open=price,
            high=max(price, close) + reach,
            low=min(price, close) - reach,
            close=close,
            volume=(_DAILY_LOTS + 1000 * (n % 7)) * described.lot_size,
        )


def merged(bars: list[Bar], start: datetime, span: timedelta) -> Bar:
    """Return several bars of one symbol as one."""
    return Bar(
        symbol=bars[0].symbol,
        start=start,
        end=start + span,
        open=bars[0].open,
        high=max(bar.high for bar in bars),
        low=min(bar.low for bar in bars),
        close=bars[-1].close,
        volume=sum(bar.volume for bar in bars),
    )


def on_tick(described: Instrument, price: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """Return the price that the exchange has in the place of another."""
    tick = described.tick_at(price)
    return (price / tick).quantize(Decimal(1), rounding=rounding) * tick


def next_minute(moment: datetime) -> datetime:
    """Return the whole minute at or after a moment."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + MINUTE
