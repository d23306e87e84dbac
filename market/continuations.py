"""Shapes in which a rise rests before it may go on: bull flag and ABCD. Pure rules over one chart."""

from decimal import Decimal
from itertools import pairwise

from market.chart import Chart, Measure, Pattern, PatternKind, best, quieter, score
from market.pivots import Pivot, Turn

_HUNDRED = Decimal(100)

POLE_PCT = Decimal(5)
POLE_ATR = Decimal("2.5")
"""A pole is a rise of more than either of the two."""
_POLE_BARS = range(2, 21)
_FLAG_BARS = range(3, 21)
FLAG_RETRACE_BELOW = Decimal("0.5")

ABCD_RETRACE_FROM = Decimal("0.38")
ABCD_RETRACE_TO = Decimal("0.62")
_AB_ATR = Decimal(3)
_ABCD_BARS = 60


def bull_flag(chart: Chart) -> Pattern | None:
    """Find a steep pole of 2 to 20 bars, of which the 3 to 20 bars since give back less than half.

    None of them is higher than the pole's top. The pole rises more than 5 % or, for bars on which that
    is out of reach, more than 2.5 average true ranges as of its first bar; on intraday bars a gap between
    sessions does not count. Entry at the pole's top, stop at the flag's low, target the pole's height
    above the entry.
    """
    return best(
        [
            _flag(chart, chart.departure(low, top), top)
            for low, top in pairwise(chart.pivots)
            if top.turn is Turn.HIGH and len(chart.bars) - 1 - top.index in _FLAG_BARS
        ]
    )


def abcd(chart: Chart) -> Pattern | None:
    """Find a rise A to B, a confirmed fall to C of 38 to 62 % of it, and a new rise less than half done.

    The last leg is expected to be as long as the first: the target is D = C + (B - A). Entry at the
    last close, which is above C and below the middle of C and D; stop at C.
    """
    if len(chart.pivots) < 4:
        return None
    low, b, c, d = chart.pivots[-4:]
    if low.turn is not Turn.LOW or c.index + _ABCD_BARS < len(chart.bars):
        return None
    a = chart.departure(low, b)
    rise, average_range = b.price - a.price, chart.ranges[a.index]
    if not chart.traded_rise(a, b) >= _AB_ATR * average_range > 0:
        return None
    retrace = (b.price - c.price) / rise
    middle = c.price + rise / 2
    if not ABCD_RETRACE_FROM <= retrace <= ABCD_RETRACE_TO:
        return None
    if d.price >= middle or not c.price < chart.last.close < middle:
        return None
    return chart.pattern(
        PatternKind.ABCD,
        _abcd_measures(chart, a, b, c),
        entry=chart.last.close,
        stop=c.price,
        target=c.price + rise,
        start=a.index,
    )


def _flag(chart: Chart, start: Pivot, top: Pivot) -> Pattern | None:
    traded, average_range = chart.traded_rise(start, top), chart.ranges[start.index]
    is_pole = traded > POLE_PCT / _HUNDRED * start.price or traded > POLE_ATR * average_range
    if not is_pole or not average_range or top.index - start.index not in _POLE_BARS:
        return None
    pole, flag_low = top.price - start.price, chart.low(top.index + 1)
    retrace = (top.price - flag_low) / pole
    if not retrace < FLAG_RETRACE_BELOW or chart.high(top.index + 1) > top.price:
        return None
    return chart.pattern(
        PatternKind.BULL_FLAG,
        _flag_measures(chart, start, top, retrace),
        entry=top.price,
        stop=flag_low,
        target=top.price + pole,
        start=start.index,
    )


def _flag_measures(chart: Chart, start: Pivot, top: Pivot, retrace: Decimal) -> tuple[Measure, ...]:
    flag, pole = (top.index + 1, len(chart.bars)), (start.index + 1, top.index + 1)
    return (
        _steepness("the pole", chart, start, top),
        _straightness("the pole", chart.efficiency(start.index, top.index)),
        Measure(
            score(retrace, worst="0.5", best="0.25"),
            f"the flag gives back {retrace * _HUNDRED:.0f} % of the pole",
        ),
        quieter(chart, "the flag", flag, than="the pole", before=pole),
    )


def _abcd_measures(chart: Chart, a: Pivot, b: Pivot, c: Pivot) -> tuple[Measure, ...]:
    retrace = (b.price - c.price) / (b.price - a.price)
    straight = min(chart.efficiency(a.index, b.index), chart.efficiency(b.index, c.index))
    back, rise = (b.index + 1, c.index + 1), (a.index + 1, b.index + 1)
    return (
        _steepness("AB", chart, a, b),
        Measure(
            score(abs(retrace - Decimal("0.5")), worst="0.12", best="0.03"),
            f"BC gives back {retrace * _HUNDRED:.0f} % of AB",
        ),
        _straightness("the less straight of AB and BC", straight),
        quieter(chart, "BC", back, than="AB", before=rise),
    )


def _straightness(name: str, efficiency: Decimal) -> Measure:
    return Measure(
        score(efficiency, worst="0.4", best="0.9"),
        f"{name} takes {efficiency * _HUNDRED:.0f} % of its way directly",
    )


def _steepness(name: str, chart: Chart, low: Pivot, high: Pivot) -> Measure:
    """Judge a rise by its ranges per root of its bars, which is how far a random walk goes."""
    rise, bars = chart.traded_rise(low, high), high.index - low.index
    ranges = rise / chart.ranges[low.index]
    jumped = "" if rise == high.price - low.price else " without the gap between sessions"
    return Measure(
        score(ranges / Decimal(bars).sqrt(), worst="1", best="2.5"),
        f"{name} rises {rise / low.price * _HUNDRED:.1f} %, {ranges:.1f} average true ranges, "
        f"in {bars} bars{jumped}",
    )
