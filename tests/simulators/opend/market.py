"""Hong Kong behind the simulated OpenD: some thirty stocks with lots of many sizes, half an hour of a Monday behind them.

The week has a half day on its Thursday, and holidays begin on its Friday.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from market.calendar import load
from shared.models import Instrument, InstrumentKind, Quote
from shared.ticks import ticks
from tests.brokers.replay import at
from tests.simulators.market import SimulatedMarket

START = at(2, day=date(2026, 12, 21))
SYMBOL = "0700"
"""Trades at 100 all morning, and all days before."""
FUND = "2800"
LOTS = {
    "0700": 100,
    "0001": 500,
    "0005": 400,
    "0011": 100,
    "0016": 500,
    "0027": 1000,
    "0066": 500,
    "0175": 1000,
    "0388": 100,
    "0670": 2000,
    "0857": 2000,
    "0883": 1000,
    "0939": 1000,
    "0941": 500,
    "1024": 100,
    "1211": 500,
    "1299": 200,
    "1398": 1000,
    "1810": 200,
    "1928": 400,
    "2020": 200,
    "2318": 500,
    "2628": 1000,
    "2800": 500,
    "3690": 100,
    "3988": 1000,
    "9618": 50,
    "9988": 100,
    "0020": 1000,
    "0669": 500,
    "0981": 500,
    "0992": 2000,
    "2015": 100,
    "6618": 50,
    "9868": 100,
    "9888": 50,
    "9999": 100,
    "2269": 500,
    "2388": 500,
    "9961": 50,
}
"""Shares in a board lot, as the issuers set them."""
_PRE_OPENING = timedelta(minutes=30)
_RANDOM_MATCHING = timedelta(minutes=10)
_CLOSING_AUCTION = timedelta(minutes=10)


@dataclass(kw_only=True)
class HongKong(SimulatedMarket):
    """Minutes as they are written, and the real sessions of Hong Kong."""

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        """A quote is the last close, a tick of spread either side."""
        quote, described = super().quote(symbol, at), self.instruments.get(symbol)
        if quote is None or quote.last is None or described is None:
            return quote
        below = described.tick_at(quote.last - Decimal("0.001"))
        above = described.tick_at(quote.last)
        return replace(quote, bid=quote.last - below, ask=quote.last + above)

    def state(self, now: datetime) -> int:
        """Return the market's state as `Qot_Common.QotMarketState` numbers it."""
        session = self.session(now)
        if session is None:
            return 6
        opens, closes = session.opens_at, session.closes_at
        if self.is_closed(now) or now < opens - _PRE_OPENING or now >= closes + _CLOSING_AUCTION:
            return 6
        if now < opens:
            return 1 if now < opens - _RANDOM_MATCHING else 2
        if now >= closes:
            return 19
        parts = [since <= now < until for since, until in session.parts]
        return (3, 5)[parts.index(True)] if any(parts) else 4

    def has_been_open(self, since: datetime, now: datetime) -> bool:
        """Whether there was trading between two moments."""
        day = self.calendar.exchange_date(since)
        while day <= self.calendar.exchange_date(now):
            session = self.calendar.session_on(day)
            parts = () if session is None else session.parts
            if any(opens <= now and since < closes for opens, closes in parts):
                return True
            day += timedelta(days=1)
        return False


def a_monday() -> HongKong:
    """Return the market at START: 0700 stands at 100, the others have moved by up to 6 per cent."""
    made = HongKong(calendar=load("XHKG"), describe=hong_kong_stock, steady=SYMBOL)
    for n, symbol in enumerate(LOTS):
        price = Decimal(100) if symbol == SYMBOL else Decimal(4 + 11 * (n % 28))
        trend = 0 if symbol == SYMBOL else n % 13 - 6
        made.add_stock(symbol, price, now=START, trend_pct=trend)
    return made


def hong_kong_stock(symbol: str) -> Instrument:
    """Describe a stock by its symbol; the tracker fund is an ETF."""
    return Instrument(
        symbol=symbol,
        name=f"Stock {symbol}" if symbol != FUND else "Tracker Fund",
        exchange="XHKG",
        currency="HKD",
        kind=InstrumentKind.ETF if symbol == FUND else InstrumentKind.STOCK,
        lot_size=LOTS.get(symbol, 100),
        ticks=ticks("XHKG", START.date()).bands,
        tradable=True,
    )


def wire_code(symbol: str) -> str:
    """Return a symbol as OpenD has it, five digits."""
    return symbol.zfill(5)


def symbol_of(code: str) -> str:
    """Return a code of the wire as the exchange behind has it, four digits or more; as it is where it is none."""
    is_code = len(code) == 5 and code.isdecimal()
    return str(int(code)).zfill(4) if is_code else code
