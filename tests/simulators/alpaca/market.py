"""The market behind the simulator: some forty stocks with a morning behind them, then what a test lets happen."""

import itertools
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal

from market.calendar import Calendar, load
from shared.errors import CalendarExhausted
from shared.models import Bar, Instrument, InstrumentKind, Quote, SessionHours, TickBand, utc
from tests.brokers.replay import MINUTE, MemoryReplay, at

START = at(14)
SYMBOL = "ACME"
"""Trades at 100 all morning, and all days before."""
OTHERS = (
    *("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "AVGO", "JPM", "V", "XOM", "UNH"),
    *("JNJ", "PG", "MA", "HD", "COST", "ABBV", "MRK", "CVX", "KO", "PEP", "BAC", "WMT", "CRM"),
    *("AMD", "NFLX", "ADBE", "ORCL", "CSCO", "INTC", "QCOM", "TXN", "IBM", "GE", "CAT", "BA"),
    *("DIS", "NKE", "PFE"),
)
HISTORY_SESSIONS = 40
_CENT = Decimal("0.01")
_DAILY_VOLUME = 390_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One piece of news as the broker serves it."""

    story_id: int
    at: datetime
    headline: str
    symbols: tuple[str, ...]
    summary: str
    source: str = "benzinga"


@dataclass
class SimulatedMarket(MemoryReplay):
    """Minutes as they are written, real sessions of New York, days of history, news."""

    calendar: Calendar = field(default_factory=lambda: load("XNYS"))
    daily: dict[str, list[Bar]] = field(default_factory=dict[str, list[Bar]])
    """Sessions before the first minute, oldest first."""
    stories: list[Story] = field(default_factory=list[Story])
    _story_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(41_000_000))

    def add_stock(self, symbol: str, price: Decimal, *, now: datetime, trend_pct: int = 0) -> None:
        """Let a stock have been there: `HISTORY_SESSIONS` days of it, and the minutes since the opening."""
        self.instruments[symbol] = us_stock(symbol)
        days = self.calendar.previous_sessions(self.calendar.exchange_date(now), HISTORY_SESSIONS)
        self.daily[symbol] = [
            _day(symbol, self._midnight(day.session_date), price, n) for n, day in enumerate(days)
        ]
        session = self.session(now)
        if session is None or session.opens_at >= now:
            return
        minutes = int((min(now, session.closes_at) - session.opens_at) / MINUTE)
        for n in range(minutes):
            moved = price * (1 + Decimal(trend_pct * (n + 1)) / (100 * minutes))
            close = moved.quantize(_CENT)
            self.trade(symbol, session.opens_at + n * MINUTE, prices=[close], volume=1000)

    def tell(self, story: Story) -> None:
        """Publish news."""
        self.stories.append(story)

    def next_story_id(self) -> int:
        """Return an id that no story has."""
        return next(self._story_ids)

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
        made = [self._of_day(symbol, day, bars) for day, bars in sorted(written.items())]
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

    def _midnight(self, day: date) -> datetime:
        return utc(datetime.combine(day, time(), self.calendar.timezone))

    def _of_day(self, symbol: str, day: date, bars: list[Bar]) -> Bar:
        start = self._midnight(day)
        return Bar(
            symbol=symbol,
            start=start,
            end=start + timedelta(days=1),
            open=bars[0].open,
            high=max(bar.high for bar in bars),
            low=min(bar.low for bar in bars),
            close=bars[-1].close,
            volume=sum(bar.volume for bar in bars),
        )


def a_morning() -> SimulatedMarket:
    """Return the market at START: ACME stands at 100, the others have moved by up to 6 per cent."""
    market = SimulatedMarket(instruments={}, sessions={})
    market.add_stock(SYMBOL, Decimal(100), now=START)
    for n, symbol in enumerate(OTHERS):
        market.add_stock(symbol, Decimal(20 + 9 * n), now=START, trend_pct=n % 13 - 6)
        market.tell(
            Story(
                story_id=market.next_story_id(),
                at=START - timedelta(minutes=5 + n),
                headline=f"{symbol} was talked about",
                symbols=(symbol,),
                summary=f"Somebody said something about {symbol}.",
            )
        )
    return market


def us_stock(symbol: str) -> Instrument:
    """Describe a US stock: cents, and below a dollar hundredths of a cent."""
    return Instrument(
        symbol=symbol,
        name=f"{symbol.title()} Inc. Common Stock",
        exchange="NASDAQ",
        currency="USD",
        kind=InstrumentKind.STOCK,
        lot_size=1,
        ticks=(
            TickBand(from_price=Decimal(0), tick=Decimal("0.0001")),
            TickBand(from_price=Decimal(1), tick=_CENT),
        ),
        tradable=True,
    )


def next_minute(moment: datetime) -> datetime:
    """Return the whole minute at or after a moment."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + MINUTE


def _day(symbol: str, start: datetime, price: Decimal, n: int) -> Bar:
    """Return one day of history, which ends where the present one begins and swings a little before."""
    swing = (
        Decimal(0) if n == HISTORY_SESSIONS - 1 or symbol == SYMBOL else Decimal(n % 5 - 2) / 100
    )
    close = (price * (1 + swing)).quantize(_CENT)
    reach = (price / 100).quantize(_CENT, rounding=ROUND_CEILING)
    return Bar(
        symbol=symbol,
        start=start,
        end=start + timedelta(days=1),
        open=price,
        high=max(price, close) + reach,
        low=min(price, close) - reach,
        close=close,
        volume=_DAILY_VOLUME + 1000 * (n % 7),
    )
