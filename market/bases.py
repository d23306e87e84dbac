"""Shapes that build below a level and may leave it upwards: cup and handle, triangle, breakout.

Pure rules over one chart.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from market.chart import Chart, Measure, Pattern, PatternKind, best, quieter, score
from market.pivots import Pivot, Turn

_HUNDRED = Decimal(100)

CUP_DEPTH_PCT = (Decimal(12), Decimal(35))
CUP_DEPTH_ATR = (Decimal(4), Decimal(12))
"""The same for intraday bars: what 12 and 35 % are for a share whose daily range averages 3 %."""
_CUP_BARS = range(15, 201)
_RIM_TOLERANCE = Decimal("0.2")
_BOTTOM_FROM, _BOTTOM_TO = Decimal("0.25"), Decimal("0.75")
_HANDLE_MIN_BARS = 3

_TOUCHES = range(3, 7)
TOUCH_PCT = Decimal(2)
_TRIANGLE_RISE_ATR = Decimal(1)
_TRIANGLE_HEIGHT_ATR = Decimal(2)
_TRIANGLE_IDLE_BARS = 20

BREAKOUT_WITHIN_PCT = Decimal(2)
BREAKOUT_VOLUME = Decimal("1.3")
_RESISTANCE_BARS = 40
_VOLUME_BARS = 20
_BASE_HEIGHT_ATR = Decimal(2)


def cup_and_handle(chart: Chart) -> Pattern | None:
    """Find two rims of one height over a round bottom, and a shallow handle after them.

    Depth is 12 to 35 % of the rim on daily bars, 4 to 12 average true ranges on intraday ones. Rims are
    15 to 200 bars apart and differ by at most a fifth of the depth, the bottom lies in the middle half,
    and the handle, at least 3 bars and at most half as long as the cup, stays in its upper half and not
    above the rim. Entry at the higher rim, stop at the handle's low, target the depth above the entry.
    """
    highs = chart.turns(Turn.HIGH)
    return best(
        [
            _cup(chart, left, right)
            for right in highs
            if len(chart.bars) - 1 - right.index >= _HANDLE_MIN_BARS
            for left in highs
            if right.index - left.index in _CUP_BARS
        ]
    )


def ascending_triangle(chart: Chart) -> Pattern | None:
    """Find 3 to 6 highs at one level over rising lows, not yet left.

    The highs lie within 2 % and within one average true range of each other (on intraday bars 2 % would
    hold almost anything). Entry at the highest high, stop at the last low, target the triangle's height
    above the entry.
    """
    highs = chart.turns(Turn.HIGH)
    ends = [highs, highs[:-1]] if highs and not highs[-1].confirmed else [highs]
    return best(
        [
            _triangle(chart, tops[-count:])
            for tops in ends
            for count in _TOUCHES
            if count <= len(tops)
        ]
    )


def breakout(chart: Chart) -> Pattern | None:
    """Find a last bar that closes above the highest high of the 40 bars before it, on heavy trading.

    The close lies within 2 % above that resistance and the close before within 2 % below; the volume is
    more than 1.3 times the mean of the 20 bars before. Entry at the last close, stop one average true range below the
    resistance, target the height of the base above the resistance; the base begins at its first touch.
    """
    end = len(chart.bars) - 1
    before = range(max(0, end - _RESISTANCE_BARS), end)
    resistance = chart.high(before.start, end)
    usual = chart.mean_volume(max(0, end - _VOLUME_BARS), end)
    average_range = chart.ranges[end - 1]
    if not average_range or not _leaves(chart, resistance):
        return None
    if not chart.last.volume > BREAKOUT_VOLUME * usual > 0:
        return None
    touches = [
        index for index in before if chart.bars[index].high >= resistance - average_range / 2
    ]
    height = resistance - chart.low(touches[0], end)
    if height < _BASE_HEIGHT_ATR * average_range:
        return None
    measures = (
        *_strength(chart, resistance, usual),
        *_base(touches, end),
    )
    return chart.pattern(
        PatternKind.BREAKOUT,
        measures,
        entry=chart.last.close,
        stop=resistance - average_range,
        target=resistance + height,
        start=touches[0],
    )


def _cup(chart: Chart, left: Pivot, right: Pivot) -> Pattern | None:
    rim = max(left.price, right.price)
    bottom = min(
        range(left.index + 1, right.index), key=lambda index: (chart.bars[index].low, index)
    )
    depth = rim - chart.bars[bottom].low
    handle = range(right.index + 1, len(chart.bars))
    handle_low = chart.low(handle.start)
    position = Decimal(bottom - left.index) / (right.index - left.index)
    fits = (
        _is_cup_deep(chart, depth, rim, right)
        and abs(left.price - right.price) <= _RIM_TOLERANCE * depth
        and _BOTTOM_FROM <= position <= _BOTTOM_TO
        and chart.high(left.index + 1) <= rim
        and 2 * len(handle) <= right.index - left.index
        and 2 * (rim - handle_low) < depth
    )
    if not fits:
        return None
    return chart.pattern(
        PatternKind.CUP_AND_HANDLE,
        _cup_measures(chart, left, right, bottom=bottom, depth=depth, handle_low=handle_low),
        entry=rim,
        stop=handle_low,
        target=rim + depth,
        start=left.index,
    )


def _is_cup_deep(chart: Chart, depth: Decimal, rim: Decimal, right: Pivot) -> bool:
    if chart.intraday:
        least, most = (ranges * chart.ranges[right.index] for ranges in CUP_DEPTH_ATR)
    else:
        least, most = (pct / _HUNDRED * rim for pct in CUP_DEPTH_PCT)
    return 0 < least <= depth <= most


def _cup_measures(
    chart: Chart, left: Pivot, right: Pivot, *, bottom: int, depth: Decimal, handle_low: Decimal
) -> tuple[Measure, ...]:
    rim = max(left.price, right.price)
    position = Decimal(bottom - left.index) / (right.index - left.index)
    error = _deviation_from_round(chart, left, right, depth)
    uneven = abs(left.price - right.price) / depth
    back = (rim - handle_low) / depth
    return (
        Measure(
            score(error, worst="0.16", best="0.07"),
            f"{right.index - left.index} bars from rim to rim lie on average {error * _HUNDRED:.0f} % "
            f"of the depth off a round cup, {depth / rim * _HUNDRED:.1f} % deep",
        ),
        Measure(
            score(uneven, worst="0.2", best="0.05"),
            f"the rims differ by {uneven * _HUNDRED:.0f} % of the depth",
        ),
        Measure(
            score(abs(position - Decimal("0.5")), worst="0.25", best="0.1"),
            f"the bottom lies at {position * _HUNDRED:.0f} % of the way",
        ),
        Measure(
            score(back, worst="0.5", best="0.25"),
            f"the handle gives back {back * _HUNDRED:.0f} % of the depth",
        ),
        quieter(
            chart,
            "the handle",
            (right.index + 1, len(chart.bars)),
            than="the cup",
            before=(left.index, right.index + 1),
        ),
    )


def _deviation_from_round(chart: Chart, left: Pivot, right: Pivot, depth: Decimal) -> Decimal:
    """Mean distance of the closes from a parabola between the rims, as a share of the depth.

    A straight-sided V scores 0.17.
    """
    width = right.index - left.index
    floor = max(left.price, right.price) - depth
    errors = [
        abs(
            chart.bars[index].close
            - floor
            - depth * (Decimal(2 * (index - left.index)) / width - 1) ** 2
        )
        for index in range(left.index, right.index + 1)
    ]
    return sum(errors, Decimal(0)) / len(errors) / depth


def _triangle(chart: Chart, tops: Sequence[Pivot]) -> Pattern | None:
    lows = [low for low in chart.turns(Turn.LOW) if low.index > tops[0].index]
    level = max(top.price for top in tops)
    band = level - min(top.price for top in tops)
    average_range = chart.ranges[tops[-1].index]
    rise, height = lows[-1].price - lows[0].price, level - lows[0].price
    fits = (
        band <= min(TOUCH_PCT / _HUNDRED * level, average_range)
        and all(after.price > before.price for before, after in pairwise(lows))
        and rise >= _TRIANGLE_RISE_ATR * average_range > 0
        and height >= _TRIANGLE_HEIGHT_ATR * average_range
        and (tops[-1].confirmed or tops[-1].price <= max(top.price for top in tops[:-1]))
        and chart.high(tops[0].index) <= level
        and len(chart.bars) - tops[-1].index <= _TRIANGLE_IDLE_BARS
    )
    if not fits:
        return None
    return chart.pattern(
        PatternKind.ASCENDING_TRIANGLE,
        _triangle_measures(chart, tops, lows),
        entry=level,
        stop=lows[-1].price,
        target=level + height,
        start=tops[0].index,
    )


def _triangle_measures(
    chart: Chart, tops: Sequence[Pivot], lows: Sequence[Pivot]
) -> tuple[Measure, ...]:
    level = max(top.price for top in tops)
    band = (level - min(top.price for top in tops)) / chart.ranges[tops[-1].index]
    rise = (lows[-1].price - lows[0].price) / (level - lows[0].price)
    first, end = tops[0].index, len(chart.bars)
    middle = (first + end) // 2
    return (
        Measure(score(Decimal(len(tops)), worst="2", best="4"), f"{len(tops)} highs at one level"),
        Measure(
            score(band, worst="1", best="0.3"),
            f"the highs lie within {band:.2f} average true ranges",
        ),
        Measure(
            score(rise, worst="0.2", best="0.6"),
            f"{len(lows)} lows rise by {rise * _HUNDRED:.0f} % of the height",
        ),
        quieter(chart, "the second half", (middle, end), than="the first", before=(first, middle)),
    )


def _leaves(chart: Chart, resistance: Decimal) -> bool:
    margin = BREAKOUT_WITHIN_PCT / _HUNDRED * resistance
    close_before = chart.bars[-2].close
    return (
        resistance < chart.last.close <= resistance + margin and close_before >= resistance - margin
    )


def _strength(chart: Chart, resistance: Decimal, usual: Decimal) -> tuple[Measure, Measure]:
    above = (chart.last.close - resistance) / chart.ranges[-1]
    times = chart.last.volume / usual
    return (
        Measure(
            score(above, worst="0", best="0.5"),
            f"the close is {above:.2f} average true ranges above the resistance",
        ),
        Measure(
            score(times, worst="1.3", best="2.5"), f"the volume is {times:.1f} times the usual"
        ),
    )


def _base(touches: Sequence[int], end: int) -> tuple[Measure, Measure]:
    """Judge how long the resistance held, and how often the price came back to it after leaving it."""
    visits = 1 + sum(after - before > 3 for before, after in pairwise(touches))
    length = end - touches[0]
    return (
        Measure(
            score(Decimal(visits), worst="1", best="3"), f"the resistance was met {visits} times"
        ),
        Measure(score(Decimal(length), worst="5", best="20"), f"the base is {length} bars long"),
    )
