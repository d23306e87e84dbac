"""Turning points of a price, found as it goes: a point once confirmed is never moved by a later bar."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from shared.models import Bar

REVERSAL_ATR = Decimal("1.5")
"""How far the price must come back from an extreme, in average true ranges, to make it a pivot."""
_ATR_PERIOD = 14


class Turn(StrEnum):
    """Which way the price turned."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pivot:
    """A bar's high or low from which the price came back; highs and lows alternate."""

    turn: Turn
    index: int
    price: Decimal
    confirmed: bool
    """False for the extreme of the move that still goes on, always the last pivot of a list."""


def average_true_ranges(bars: Sequence[Bar]) -> tuple[Decimal, ...]:
    """Wilder's average true range (14) at each bar; until the 14th the mean of the ranges so far."""
    if not bars:
        return ()
    averages = [bars[0].high - bars[0].low]
    for before, bar in pairwise(bars):
        true_range = max(bar.high, before.close) - min(bar.low, before.close)
        weight = min(len(averages) + 1, _ATR_PERIOD)
        averages.append(averages[-1] + (true_range - averages[-1]) / weight)
    return tuple(averages)


def pivots(bars: Sequence[Bar], ranges: Sequence[Decimal]) -> tuple[Pivot, ...]:
    """Find the zig-zag of the bars, whose average true ranges are `ranges`, oldest pivot first.

    An extreme is confirmed by the first later bar that is REVERSAL_ATR of that bar's own average true
    range away from it, so that no point depends on anything after its confirmation.
    """
    zigzag = _ZigZag()
    for index, bar in enumerate(bars):
        zigzag.add(index, bar, REVERSAL_ATR * ranges[index])
    return zigzag.pivots()


class _ZigZag:
    """The move that goes on, and its direction once there is one.

    Its extremes are that of the present move and the farthest point back from it since.
    """

    def __init__(self) -> None:
        self._confirmed: list[Pivot] = []
        self._extremes: dict[Turn, Pivot] = {}
        self._heading: Turn | None = None

    def add(self, index: int, bar: Bar, reversal: Decimal) -> None:
        """Take the next bar. One that both extends a move and comes back from it extends it."""
        extended = [turn for turn in Turn if self._extend(turn, index, bar)]
        for turn in Turn:
            if self._heading not in (None, turn):
                continue
            if turn in extended and self._heading is turn:
                self._extremes = {turn: self._extremes[turn]}
            elif turn not in extended and self._is_left(turn, bar, reversal):
                self._confirm(turn, index, bar)
                return

    def pivots(self) -> tuple[Pivot, ...]:
        """Return the confirmed pivots, and the extreme of the present move."""
        if self._heading is None:
            return ()
        return (*self._confirmed, self._extremes[self._heading])

    def _extend(self, turn: Turn, index: int, bar: Bar) -> bool:
        known = self._extremes.get(turn)
        price = bar.high if turn is Turn.HIGH else bar.low
        if known is None or (price > known.price if turn is Turn.HIGH else price < known.price):
            self._extremes[turn] = _pivot(turn, index, bar)
            return True
        return False

    def _is_left(self, turn: Turn, bar: Bar, reversal: Decimal) -> bool:
        price = self._extremes[turn].price
        away = price - bar.low if turn is Turn.HIGH else bar.high - price
        return away > 0 and away >= reversal

    def _confirm(self, turn: Turn, index: int, bar: Bar) -> None:
        self._confirmed.append(replace(self._extremes[turn], confirmed=True))
        self._heading = Turn.LOW if turn is Turn.HIGH else Turn.HIGH
        since = self._extremes.get(self._heading)
        if since is None or since.index <= self._extremes[turn].index:
            since = _pivot(self._heading, index, bar)
        self._extremes = {self._heading: since}


def _pivot(turn: Turn, index: int, bar: Bar) -> Pivot:
    price = bar.high if turn is Turn.HIGH else bar.low
    return Pivot(turn=turn, index=index, price=price, confirmed=False)
