"""What a series of bars has to be before anything is computed from it. Knows no indicator and no feed."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from shared.models import Bar, require_aware

LONGEST_INTRADAY = timedelta(hours=1)


def require_sound(bars: Sequence[Bar]) -> None:
    """Raise ValueError naming the first bar that no formula may see.

    Prices must be finite and positive with low <= open, close <= high, volumes not negative, times
    aware; all bars are of one symbol, in order, and do not overlap.
    """
    for bar in bars:
        if (fault := _fault(bar)) is not None:
            raise ValueError(f"the bar {_name(bar)} {fault}")
    for before, bar in pairwise(bars):
        if bar.symbol != before.symbol:
            raise ValueError(f"the bar {_name(bar)} follows one of {before.symbol}")
        if bar.start < before.end:
            raise ValueError(f"the bar {_name(bar)} begins before {before.end.isoformat()}")


def is_intraday(bars: Sequence[Bar]) -> bool:
    """Whether bars resolve a session: none is longer than an hour."""
    return all(bar.end - bar.start <= LONGEST_INTRADAY for bar in bars)


def _fault(bar: Bar) -> str | None:
    require_aware(bar.start, "start")
    require_aware(bar.end, "end")
    prices = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
    for name, price in prices.items():
        if not _is_price(price):
            return f"has the {name} {price}, which is not a positive finite price"
    if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        return f"has its open {bar.open} or close {bar.close} outside {bar.low} to {bar.high}"
    if bar.volume < 0:
        return f"has the volume {bar.volume}, which is negative"
    return None if bar.start < bar.end else f"ends at {bar.end.isoformat()}, not after its start"


def _is_price(price: Decimal) -> bool:
    return price.is_finite() and price > 0


def _name(bar: Bar) -> str:
    return f"of {bar.symbol} at {bar.start.isoformat()}"
