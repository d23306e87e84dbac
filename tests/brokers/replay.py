"""A small market in memory, written minute by minute as a test goes along."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from shared.models import (
    Bar,
    Instrument,
    InstrumentKind,
    Quote,
    QuoteSource,
    SessionHours,
    TickBand,
)

MONDAY = date(2026, 6, 15)
MINUTE = timedelta(minutes=1)


def at(hour: int, minute: int = 0, second: int = 0, *, day: date = MONDAY) -> datetime:
    """A time in UTC; New York trades from 13:30 to 20:00 in June."""
    return datetime.combine(day, time(hour, minute, second), UTC)


def new_york(day: date, *, closes: time = time(20)) -> SessionHours:
    opens_at = at(13, 30, day=day)
    closes_at = datetime.combine(day, closes, UTC)
    early = closes < time(20)
    return SessionHours(
        exchange="XNYS", session_date=day, parts=((opens_at, closes_at),), early_close=early
    )


def hong_kong(day: date) -> SessionHours:
    morning, afternoon = (at(1, 30, day=day), at(4, day=day)), (at(5, day=day), at(8, day=day))
    return SessionHours(exchange="XHKG", session_date=day, parts=(morning, afternoon))


def stock(
    symbol: str = "ACME",
    *,
    lot_size: int = 1,
    kind: InstrumentKind = InstrumentKind.STOCK,
    currency: str = "USD",
) -> Instrument:
    return Instrument(
        symbol=symbol,
        name=symbol.title(),
        exchange="XNYS",
        currency=currency,
        kind=kind,
        lot_size=lot_size,
        ticks=(TickBand(from_price=Decimal(0), tick=Decimal("0.01")),),
        tradable=kind is not InstrumentKind.INDEX,
    )


@dataclass
class MemoryReplay:
    """Implements brokers.matching.MarketReplay; a quote is the last close, a cent of spread either side."""

    instruments: dict[str, Instrument]
    sessions: dict[date, SessionHours]
    half_spread: Decimal = Decimal("0.01")
    halts: list[tuple[str, datetime, datetime]] = field(
        default_factory=list[tuple[str, datetime, datetime]]
    )
    closures: list[tuple[datetime, datetime]] = field(
        default_factory=list[tuple[datetime, datetime]]
    )
    _bars: defaultdict[str, list[Bar]] = field(default_factory=lambda: defaultdict(list))

    def trade(
        self,
        symbol: str,
        start: datetime,
        *,
        prices: Sequence[Decimal | int | str],
        volume: int,
    ) -> Bar:
        """Add one minute; prices are open, high, low, close, or one that stands for all."""
        four = [Decimal(price) for price in prices] * (4 if len(prices) == 1 else 1)
        opened, high, low, close = four
        bar = Bar(
            symbol=symbol,
            start=start,
            end=start + MINUTE,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
        )
        self._bars[symbol].append(bar)
        return bar

    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self.instruments))

    def instrument(self, symbol: str) -> Instrument | None:
        return self.instruments.get(symbol)

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        last = next((bar for bar in reversed(self._bars[symbol]) if bar.end <= at), None)
        if last is None:
            return None
        quote = Quote(
            symbol=symbol,
            at=last.end,
            bid=last.close - self.half_spread,
            ask=last.close + self.half_spread,
            last=last.close,
            source=QuoteSource.MODELLED,
        )
        halted = any(name == symbol and since <= at < until for name, since, until in self.halts)
        return replace(quote, halted=halted)

    def bars(self, symbol: str, start: datetime, end: datetime) -> Sequence[Bar]:
        return [bar for bar in self._bars[symbol] if start <= bar.start and bar.end <= end]

    def is_closed(self, at: datetime) -> bool:
        return any(since <= at < until for since, until in self.closures)

    def session(self, at: datetime) -> SessionHours | None:
        return self.sessions.get(at.date())
