"""A model of bid and ask for data that has trades only; what it gives is never a real quote.

Pure: the last price and the bars before it go in, nothing later is known.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from shared.models import Bar, Instrument

WINDOW_MINUTES = 30
"""How far back the model looks."""
_RANGE_PER_VOLATILITY = math.sqrt(8 / math.pi)
"""Expected high-low range of a random walk in its standard deviations (Feller 1951; Parkinson 1980)."""
_REFERENCE_TURNOVER = 100_000.0
"""Money per minute at which half the spread equals one minute's standard deviation."""
_WIDEST_HALF_SPREAD = 0.01


def bid_and_ask(
    last: Decimal, recent: tuple[Bar, ...], instrument: Instrument
) -> tuple[Decimal, Decimal]:
    """Model (bid, ask) around the last price, both on the instrument's tick grid, bid < ask.

    half spread = last * volatility * sqrt(100,000 / turnover per minute), at most 1 % of the price, with
    volatility = mean(true range) / sqrt(8 / pi) / last over the bars of the last 30 minutes, and turnover per
    minute = sum(close * volume) / 30: a minute without a trade counts as one without turnover. The
    spread is that, rounded to whole ticks, and never less than one. When it is an odd number of ticks the
    last trade is taken to have hit the ask if its bar did not fall, and the bid if it did.

    `recent` holds the completed bars up to the last price, oldest first, at least one.
    """
    tick = instrument.tick_at(last)
    ticks = max(1, round(2 * half_spread(last, recent) / float(tick)))
    anchor = _on_grid(last, instrument, ROUND_FLOOR)
    hit_ask = anchor == last and recent[-1].close >= recent[-1].open
    below = (ticks + 1) // 2 if hit_ask else ticks // 2
    bid = _on_grid(anchor - below * tick, instrument, ROUND_FLOOR)
    ask = _on_grid(bid + ticks * tick, instrument, ROUND_CEILING)
    return bid, ask


def half_spread(last: Decimal, recent: tuple[Bar, ...]) -> float:
    """Half the modelled spread in money, before it is put on the tick grid."""
    price = float(last)
    ranges = [
        float(max(bar.high, before.close) - min(bar.low, before.close)) / price
        for before, bar in zip(recent[:1] + recent[:-1], recent, strict=True)
    ]
    volatility = sum(ranges) / len(ranges) / _RANGE_PER_VOLATILITY
    turnover = sum(float(bar.close) * bar.volume for bar in recent) / WINDOW_MINUTES
    if turnover == 0:
        return price * _WIDEST_HALF_SPREAD
    return price * min(_WIDEST_HALF_SPREAD, volatility * math.sqrt(_REFERENCE_TURNOVER / turnover))


def _on_grid(price: Decimal, instrument: Instrument, rounding: str) -> Decimal:
    smallest = instrument.ticks[0].tick
    tick = instrument.tick_at(max(price, smallest))
    return max(smallest, (price / tick).to_integral_value(rounding) * tick)
