"""The market behind the simulator: some forty stocks with a morning behind them, then what a test lets happen."""

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from market.calendar import load
from shared.models import Instrument, InstrumentKind, TickBand
from tests.brokers.replay import at
from tests.simulators import market

START = at(14)
SYMBOL = "ACME"
"""Trades at 100 all morning, and all days before."""
OTHERS = (
    *("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "AVGO", "JPM", "V", "XOM", "UNH"),
    *("JNJ", "PG", "MA", "HD", "COST", "ABBV", "MRK", "CVX", "KO", "PEP", "BAC", "WMT", "CRM"),
    *("AMD", "NFLX", "ADBE", "ORCL", "CSCO", "INTC", "QCOM", "TXN", "IBM", "GE", "CAT", "BA"),
    *("DIS", "NKE", "PFE"),
)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One piece of news as the broker serves it."""

    story_id: int
    at: datetime
    headline: str
    symbols: tuple[str, ...]
    summary: str
    source: str = "benzinga"


@dataclass(kw_only=True)
class SimulatedMarket(market.SimulatedMarket):
    """Minutes as they are written, real sessions of New York, days of history, news."""

    stories: list[Story] = field(default_factory=list[Story])
    _story_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(41_000_000))

    def tell(self, story: Story) -> None:
        """Publish news."""
        self.stories.append(story)

    def next_story_id(self) -> int:
        """Return an id that no story has."""
        return next(self._story_ids)


def a_morning() -> SimulatedMarket:
    """Return the market at START: ACME stands at 100, the others have moved by up to 6 per cent."""
    made = SimulatedMarket(calendar=load("XNYS"), describe=us_stock, steady=SYMBOL)
    made.add_stock(SYMBOL, Decimal(100), now=START)
    for n, symbol in enumerate(OTHERS):
        made.add_stock(symbol, Decimal(20 + 9 * n), now=START, trend_pct=n % 13 - 6)
        made.tell(
            Story(
                story_id=made.next_story_id(),
                at=START - timedelta(minutes=5 + n),
                headline=f"{symbol} was talked about",
                symbols=(symbol,),
                summary=f"Somebody said something about {symbol}.",
            )
        )
    return made


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
