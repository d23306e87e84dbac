"""Chart patterns for a buyer, by plain rules: what shape the bars have, and which levels it implies.

Knows no feed, no clock and no account. A shape is a description of the past: its confidence says how
clearly it is drawn, not how often it pays.
"""

from collections.abc import Sequence
from decimal import Decimal

from market.bases import ascending_triangle, breakout, cup_and_handle
from market.chart import Chart, Pattern, PatternKind
from market.continuations import abcd, bull_flag
from shared.models import Bar

__all__ = ["HIGH_CONFIDENCE", "MIN_BARS", "Pattern", "PatternKind", "detect"]

HIGH_CONFIDENCE = Decimal("0.7")
"""From here on a shape is clearly drawn; random walks rarely reach it."""
MIN_BARS = 20
"""Fewer bars show no pattern."""

_RULES = (bull_flag, cup_and_handle, ascending_triangle, abcd, breakout)


def detect(bars: Sequence[Bar]) -> tuple[Pattern, ...]:
    """Find the shapes that are there at the end of the last bar, at most one of a kind, clearest first.

    Give complete bars of one symbol and length, oldest first; bars of at most an hour count as
    intraday. Fewer than MIN_BARS give (). Raises ValueError naming a bar that is not sound.
    """
    chart = Chart.of(bars)
    if len(bars) < MIN_BARS:
        return ()
    found = [pattern for rule in _RULES if (pattern := rule(chart)) is not None]
    return tuple(sorted(found, key=lambda pattern: -pattern.confidence))
