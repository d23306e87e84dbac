"""Draws series of bars for tests: ideal shapes from the prices they pass, and random walks."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

from shared.models import Bar

START = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
DAY = timedelta(days=1)


def bars_of(
    closes: Sequence[float],
    *,
    wick: float,
    volumes: Sequence[int] | None = None,
    length: timedelta = FIVE_MINUTES,
) -> tuple[Bar, ...]:
    """Bars that open at the close before and reach `wick` beyond open and close."""
    made: list[Bar] = []
    for index, (before, close) in enumerate(pairwise([closes[0], *closes])):
        made.append(
            _bar(
                index,
                length,
                before,
                max(before, close) + wick,
                min(before, close) - wick,
                close,
                1000 if volumes is None else volumes[index],
            )
        )
    return tuple(made)


def line(*corners: tuple[int, float]) -> list[float]:
    """Closes that run straight from corner to corner, each (bars from the one before, price)."""
    closes = [corners[0][1]]
    for count, price in corners[1:]:
        start = closes[-1]
        closes += [start + (price - start) * step / count for step in range(1, count + 1)]
    return closes


def quiet(count: int, price: float, step: float) -> list[float]:
    """Closes that go to and fro around a price and end at it."""
    return [price + (step if (count - at) % 2 == 0 else 0) for at in range(count)]


def random_walk(
    seed: int,
    count: int,
    *,
    sigma: float = 0.002,
    length: timedelta = FIVE_MINUTES,
    price: float = 100.0,
) -> tuple[Bar, ...]:
    """Bars of a price without memory; trading is heavier in bars that move, as it is in markets."""
    random = Random(seed)  # noqa: S311 - a seeded market, not a secret
    made: list[Bar] = []
    for index in range(count):
        way = [price]
        for _ in range(12):
            way.append(way[-1] * math.exp(random.gauss(0, sigma / math.sqrt(12))))
        moved = abs(way[-1] / price - 1) / sigma
        volume = round(10_000 * (0.5 + moved) * math.exp(random.gauss(0, 0.4)))
        made.append(_bar(index, length, price, max(way), min(way), way[-1], volume))
        price = way[-1]
    return tuple(made)


def _bar(
    index: int,
    length: timedelta,
    opened: float,
    high: float,
    low: float,
    close: float,
    volume: int,
) -> Bar:
    start = START + index * length
    return Bar(
        symbol="ACME",
        start=start,
        end=start + length,
        open=_price(opened),
        high=_price(high),
        low=_price(low),
        close=_price(close),
        volume=volume,
    )


def _price(value: float) -> Decimal:
    return Decimal(value).quantize(Decimal("0.0001"))
