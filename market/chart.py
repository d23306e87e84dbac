"""What the pattern rules look at and what they answer; knows no rule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Context, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Self

from market.bars import is_intraday, require_sound
from market.pivots import Pivot, Turn, average_true_ranges, pivots
from shared.models import Bar

_PRICES = Context(prec=8)
_CONFIDENCE_STEP = Decimal("0.01")


class PatternKind(StrEnum):
    """The shapes that are looked for, all for a buyer."""

    BULL_FLAG = "bull_flag"
    CUP_AND_HANDLE = "cup_and_handle"
    ASCENDING_TRIANGLE = "ascending_triangle"
    ABCD = "abcd"
    BREAKOUT = "breakout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One shape that is there at the end of the last bar, with the levels that it implies.

    The levels are not rounded to ticks. Raises ValueError unless 0 < stop < entry < target.
    """

    kind: PatternKind
    confidence: Decimal
    """0 to 1: how well the bars fit the shape, which is not a chance of profit."""
    entry: Decimal
    stop: Decimal
    target: Decimal
    started_at: datetime
    """Start of the first bar that belongs to it."""
    ended_at: datetime
    """End of the last bar it was judged by."""
    reasons: tuple[str, ...]
    """What was measured, a sentence each."""

    def __post_init__(self) -> None:
        if not 0 < self.stop < self.entry < self.target:
            raise ValueError(
                f"a {self.kind} needs 0 < stop < entry < target, "
                f"was {self.stop}, {self.entry}, {self.target}"
            )
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"a confidence lies between 0 and 1, was {self.confidence}")


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing measured of a shape: 0 where it barely passes, 1 where it could not be better."""

    score: Decimal
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Complete bars of one symbol and length, with what every rule needs to know of them."""

    bars: Sequence[Bar]
    ranges: tuple[Decimal, ...]
    """Average true range at each bar."""
    pivots: tuple[Pivot, ...]
    intraday: bool

    @classmethod
    def of(cls, bars: Sequence[Bar]) -> Self:
        """Measure the bars. Raises ValueError naming one that is not sound."""
        require_sound(bars)
        ranges = average_true_ranges(bars)
        return cls(
            bars=bars,
            ranges=ranges,
            pivots=pivots(bars, ranges),
            intraday=is_intraday(bars),
        )

    @property
    def last(self) -> Bar:
        """The bar at whose end the chart is looked at."""
        return self.bars[-1]

    def turns(self, turn: Turn) -> tuple[Pivot, ...]:
        """The pivots of one kind, oldest first."""
        return tuple(pivot for pivot in self.pivots if pivot.turn is turn)

    def low(self, start: int, end: int | None = None) -> Decimal:
        """Lowest price of bars[start:end], which must not be empty."""
        return min(bar.low for bar in self.bars[start:end])

    def high(self, start: int, end: int | None = None) -> Decimal:
        """Highest price of bars[start:end], which must not be empty."""
        return max(bar.high for bar in self.bars[start:end])

    def mean_volume(self, start: int, end: int | None = None) -> Decimal:
        """Mean volume of bars[start:end], which must not be empty."""
        part = self.bars[start:end]
        return Decimal(sum(bar.volume for bar in part)) / len(part)

    def departure(self, low: Pivot, high: Pivot) -> Pivot:
        """The last bar before `high` that closes within half a range of `low`: there the rise left its base."""
        edge = low.price + self.ranges[low.index] / 2
        near = [at for at in range(low.index, high.index) if self.bars[at].close <= edge]
        index = near[-1] if near else low.index
        return replace(low, index=index, price=self.bars[index].low)

    def traded_rise(self, low: Pivot, high: Pivot) -> Decimal:
        """Rise from one pivot to another, less what the price jumped between sessions on intraday bars."""
        rise = high.price - low.price
        if not self.intraday:
            return rise
        return rise - sum(
            (
                bar.open - before.close
                for before, bar in pairwise(self.bars[low.index : high.index + 1])
                if bar.start.date() != before.start.date() and bar.open > before.close
            ),
            Decimal(0),
        )

    def efficiency(self, start: int, end: int) -> Decimal:
        """Net move of the closes from one bar to another, as a share of the way they took: 0 to 1."""
        closes = [bar.close for bar in self.bars[start : end + 1]]
        way = sum(
            (abs(after - before) for before, after in pairwise(closes)),
            Decimal(0),
        )
        return abs(closes[-1] - closes[0]) / way if way else Decimal(0)

    def pattern(
        self,
        kind: PatternKind,
        measures: Sequence[Measure],
        *,
        entry: Decimal,
        stop: Decimal,
        target: Decimal,
        start: int,
    ) -> Pattern | None:
        """Build the finding: its confidence is the mean score; None where the levels are not in order."""
        entry, stop, target = (_PRICES.create_decimal(level) for level in (entry, stop, target))
        if not 0 < stop < entry < target:
            return None
        confidence = sum((measure.score for measure in measures), Decimal(0)) / len(measures)
        return Pattern(
            kind=kind,
            confidence=confidence.quantize(_CONFIDENCE_STEP),
            entry=entry,
            stop=stop,
            target=target,
            started_at=self.bars[start].start,
            ended_at=self.last.end,
            reasons=tuple(measure.reason for measure in measures),
        )


def score(value: Decimal, *, worst: str, best: str) -> Decimal:
    """Where a value lies on the way from worst (0) to best (1), either of which may be the greater."""
    share = (value - Decimal(worst)) / (Decimal(best) - Decimal(worst))
    return min(max(share, Decimal(0)), Decimal(1))


def best(found: Sequence[Pattern | None]) -> Pattern | None:
    """Return the most confident finding; the first of equals; None without any."""
    return max(
        (pattern for pattern in found if pattern is not None),
        key=lambda pattern: pattern.confidence,
        default=None,
    )


def quieter(
    chart: Chart, name: str, part: tuple[int, int], *, than: str, before: tuple[int, int]
) -> Measure:
    """Judge whether bars[part] trade less than bars[before], which a rest should."""
    usual = chart.mean_volume(*before)
    if not usual:
        return Measure(Decimal(0), f"nothing was traded in {than}")
    share = chart.mean_volume(*part) / usual
    return Measure(
        score(share, worst="1", best="0.5"),
        f"{name} trades {share * 100:.0f} % of the volume of {than}",
    )
