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
    zigzag = _ZigZag(bars)
    for index in range(len(bars)):
        zigzag.add(index, REVERSAL_ATR * ranges[index])
    return zigzag.pivots()


class _ZigZag:
    """The confirmed pivots and the move that goes on; before the first pivot it may go either way."""

    def __init__(self, bars: Sequence[Bar]) -> None:
        self._bars: Sequence[Bar] = bars
        self._confirmed: list[Pivot] = []
        self._extremes: dict[Turn, Pivot] = {}

    def add(self, index: int, reversal: Decimal) -> None:
        """Take the next bar. One that both extends a move and comes back from it extends it."""
        if index == 0:
            self._extremes = {turn: self._pivot(turn, 0) for turn in Turn}
            return
        for turn, extreme in list(self._extremes.items()):
            reached = self._pivot(turn, index)
            if _is_beyond(reached, extreme):
                self._extremes[turn] = reached
            elif 0 < self._distance(extreme, index) >= reversal:
                self._confirm(extreme, index)
                return

    def pivots(self) -> tuple[Pivot, ...]:
        """Return the confirmed pivots, and the extreme of the present move."""
        return (*self._confirmed, *self._extremes.values()) if self._confirmed else ()

    def _confirm(self, extreme: Pivot, index: int) -> None:
        self._confirmed.append(replace(extreme, confirmed=True))
        since = [
            self._pivot(_opposite(extreme.turn), at) for at in range(extreme.index + 1, index + 1)
        ]
        farthest = since[0]
        for pivot in since:
            farthest = pivot if _is_beyond(pivot, farthest) else farthest
        self._extremes = {farthest.turn: farthest}

    def _distance(self, extreme: Pivot, index: int) -> Decimal:
        bar = self._bars[index]
        return extreme.price - bar.low if extreme.turn is Turn.HIGH else bar.high - extreme.price

    def _pivot(self, turn: Turn, index: int) -> Pivot:
        bar = self._bars[index]
        price = bar.high if turn is Turn.HIGH else bar.low
        return Pivot(turn=turn, index=index, price=price, confirmed=False)


def _is_beyond(pivot: Pivot, extreme: Pivot) -> bool:
    if pivot.turn is Turn.HIGH:
        return pivot.price > extreme.price
    return pivot.price < extreme.price


def _opposite(turn: Turn) -> Turn:
    return Turn.LOW if turn is Turn.HIGH else Turn.HIGH
