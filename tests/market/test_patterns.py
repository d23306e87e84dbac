from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.chart import PatternKind
from market.patterns import HIGH_CONFIDENCE, MIN_BARS, Pattern, detect
from market.pivots import Turn, average_true_ranges, pivots
from shared.models import Bar
from tests.market.drawings import (
    DAY,
    FIVE_MINUTES,
    START,
    bars_of,
    line,
    quiet,
    random_walk,
)

LEAD = 20


def bull_flag(
    *, pole: float = 4.0, back: float = 0.25, pole_bars: int = 6, volume: int = 400
) -> tuple[Bar, ...]:
    """A rise of `pole` on heavy trading, then six bars that give `back` of it away on light trading."""
    top = 100 + pole
    closes = [
        *quiet(LEAD, 100, 0.2),
        *line((0, 100), (pole_bars, top), (3, top - pole * back), (3, top - pole * back * 0.6))[1:],
    ]
    volumes = [500] * LEAD + [1000] * pole_bars + [volume] * 6
    return bars_of(closes, wick=0.1, volumes=volumes)


def cup_and_handle(
    *,
    depth: float = 4.0,
    half: int = 20,
    right_half: int | None = None,
    right_rim: float = 100.0,
    handle: float = 0.2,
    wick: float | None = None,
    length: timedelta = FIVE_MINUTES,
) -> tuple[Bar, ...]:
    """A rise to a rim, a parabola down and back up, and a handle of `handle` of the depth."""
    right = half if right_half is None else right_half
    rim, floor = 100.0, 100.0 - depth
    bowl = [floor + depth * (at / half) ** 2 for at in range(-half, 0)]
    bowl += [floor + (right_rim - floor) * (at / right) ** 2 for at in range(right + 1)]
    before = line((0, floor), (LEAD, rim))[:-1]
    low = right_rim - depth * handle
    after = line((0, right_rim), (3, low), (3, (low + right_rim) / 2))[1:]
    closes = [*before, *bowl, *after]
    volumes = [1000] * (len(closes) - 6) + [400] * 6
    return bars_of(
        closes, wick=depth / 25 if wick is None else wick, volumes=volumes, length=length
    )


def ascending_triangle(
    *,
    first_fall: float = 4.0,
    legs: int = 4,
    falls: Sequence[float] | None = None,
    tops: Sequence[float] | None = None,
    after: int = 3,
) -> tuple[Bar, ...]:
    """A rise to a level that is met `legs` times, with falls from it that grow smaller."""
    falls = falls or [first_fall * (1 - leg / legs) for leg in range(legs)]
    tops = tops or [100.0] * len(falls)
    corners: list[tuple[int, float]] = [(0, tops[0] - first_fall)]
    for top, fall in zip(tops, falls, strict=True):
        corners += [(5, top), (5, 100 - fall)]
    corners[1] = (8, tops[0])
    corners[-1] = (after, corners[-1][1])
    closes = [*quiet(LEAD, tops[0] - first_fall, 0.3), *line(*corners)[1:]]
    half = len(closes) - (len(closes) - LEAD) // 2
    volumes = [1000] * half + [500] * (len(closes) - half)
    return bars_of(closes, wick=0.2, volumes=volumes)


def abcd(*, rise: float = 5.0, retrace: float = 0.5, onward: float = 0.25) -> tuple[Bar, ...]:
    """A rise, a straight fall of `retrace` of it, and the beginning of another rise."""
    b = 100 + rise
    c = b - rise * retrace
    closes = [*quiet(LEAD, 100, 0.2), *line((0, 100), (7, b), (5, c), (2, c + rise * onward))[1:]]
    volumes = [500] * LEAD + [1000] * 7 + [500] * 5 + [800] * 2
    return bars_of(closes, wick=0.1, volumes=volumes)


def breakout(
    *, above: float = 0.6, volume: int = 3000, base: float = 2.0, before: float = 99.9
) -> tuple[Bar, ...]:
    """A range of two hours whose upper edge is met three times, and a close above it."""
    floor = 100 - base
    corners = [(0, floor), (4, 100.0), (6, floor), (6, 99.9), (6, floor), (6, before)]
    closes = [*quiet(LEAD, floor, base / 10), *line(*corners, (1, 100 + above))[1:]]
    return bars_of(closes, wick=base / 20, volumes=[1000] * (len(closes) - 1) + [volume])


def followed_by(bars: tuple[Bar, ...], close: float, count: int = 1) -> tuple[Bar, ...]:
    """The bars and, after them, `count` that run straight to a close on light trading."""
    last = bars[-1]
    length = last.end - last.start
    more = bars_of(line((0, float(last.close)), (count, close))[1:], wick=0, length=length)
    return bars + tuple(
        replace(bar, start=last.end + at * length, end=last.end + (at + 1) * length, volume=400)
        for at, bar in enumerate(more)
    )


SHAPES: dict[PatternKind, Callable[[], tuple[Bar, ...]]] = {
    PatternKind.BULL_FLAG: bull_flag,
    PatternKind.CUP_AND_HANDLE: cup_and_handle,
    PatternKind.ASCENDING_TRIANGLE: ascending_triangle,
    PatternKind.ABCD: abcd,
    PatternKind.BREAKOUT: breakout,
}

SHAPE_NAMES = pytest.mark.parametrize("kind", SHAPES, ids=str)


def found(bars: tuple[Bar, ...], kind: PatternKind) -> Pattern | None:
    return next((pattern for pattern in detect(bars) if pattern.kind is kind), None)


def confidence(bars: tuple[Bar, ...], kind: PatternKind) -> Decimal:
    pattern = found(bars, kind)
    return Decimal(0) if pattern is None else pattern.confidence


@SHAPE_NAMES
def test_an_ideal_shape_is_the_clearest_finding(kind: PatternKind) -> None:
    first = detect(SHAPES[kind]())[0]

    assert first.kind is kind
    assert first.confidence >= Decimal("0.9")


@settings(deadline=None, max_examples=40)
@given(pole=st.floats(3, 12), back=st.floats(0.1, 0.35), pole_bars=st.integers(4, 12))
def test_bull_flags_of_many_sizes_are_found(pole: float, back: float, pole_bars: int) -> None:
    bars = bull_flag(pole=pole, back=back, pole_bars=pole_bars)

    assert confidence(bars, PatternKind.BULL_FLAG) >= HIGH_CONFIDENCE


@settings(deadline=None, max_examples=40)
@given(depth=st.floats(2, 10), half=st.integers(10, 40), handle=st.floats(0.1, 0.3))
def test_cups_of_many_sizes_are_found_on_intraday_bars(
    depth: float, half: int, handle: float
) -> None:
    bars = cup_and_handle(depth=depth, half=half, handle=handle)

    assert confidence(bars, PatternKind.CUP_AND_HANDLE) >= HIGH_CONFIDENCE


@settings(deadline=None, max_examples=40)
@given(first_fall=st.floats(3, 8), legs=st.integers(3, 6))
def test_triangles_of_many_sizes_are_found(first_fall: float, legs: int) -> None:
    bars = ascending_triangle(first_fall=first_fall, legs=legs)

    assert confidence(bars, PatternKind.ASCENDING_TRIANGLE) >= HIGH_CONFIDENCE


@settings(deadline=None, max_examples=40)
@given(rise=st.floats(4, 10), retrace=st.floats(0.42, 0.56))
def test_abcds_of_many_sizes_are_found(rise: float, retrace: float) -> None:
    bars = abcd(rise=rise, retrace=retrace)

    assert confidence(bars, PatternKind.ABCD) >= HIGH_CONFIDENCE


@settings(deadline=None, max_examples=40)
@given(above=st.floats(0.35, 1.5), volume=st.integers(2000, 9000))
def test_breakouts_of_many_sizes_are_found(above: float, volume: int) -> None:
    bars = breakout(above=above, volume=volume)

    assert confidence(bars, PatternKind.BREAKOUT) >= HIGH_CONFIDENCE


@pytest.mark.parametrize(
    ("kind", "bars"),
    [
        pytest.param(PatternKind.BULL_FLAG, bull_flag(back=0.55), id="a flag that gives back half"),
        pytest.param(PatternKind.BULL_FLAG, bull_flag(pole=0.5), id="a pole of an ordinary bar"),
        pytest.param(PatternKind.CUP_AND_HANDLE, cup_and_handle(handle=0.6), id="a deep handle"),
        pytest.param(
            PatternKind.CUP_AND_HANDLE, cup_and_handle(depth=10, length=DAY), id="10 % by the day"
        ),
        pytest.param(
            PatternKind.CUP_AND_HANDLE, cup_and_handle(depth=37, length=DAY), id="37 % by the day"
        ),
        pytest.param(
            PatternKind.ASCENDING_TRIANGLE, ascending_triangle(legs=2), id="a level met only twice"
        ),
        pytest.param(
            PatternKind.BULL_FLAG, followed_by(bull_flag(), 104.5), id="a flag left upwards"
        ),
        pytest.param(
            PatternKind.CUP_AND_HANDLE, followed_by(cup_and_handle(), 100.5), id="a handle left"
        ),
        pytest.param(
            PatternKind.CUP_AND_HANDLE,
            cup_and_handle(depth=2.9, handle=0.45, wick=0.4),
            id="3 ranges within the day",
        ),
        pytest.param(
            PatternKind.CUP_AND_HANDLE, cup_and_handle(wick=0.01), id="16 ranges within the day"
        ),
        pytest.param(
            PatternKind.CUP_AND_HANDLE,
            cup_and_handle(half=8, right_half=40),
            id="a bottom at the left",
        ),
        pytest.param(
            PatternKind.CUP_AND_HANDLE, cup_and_handle(right_rim=99), id="a right rim too low"
        ),
        pytest.param(
            PatternKind.ASCENDING_TRIANGLE,
            ascending_triangle(falls=[4, 2, 3, 1]),
            id="lows that do not rise each time",
        ),
        pytest.param(
            PatternKind.ASCENDING_TRIANGLE,
            ascending_triangle(falls=[4, 4, 4, 4]),
            id="lows that do not rise at all",
        ),
        pytest.param(
            PatternKind.ASCENDING_TRIANGLE,
            ascending_triangle(falls=[6, 5, 4, 3], tops=[100, 98.5, 100, 98.5]),
            id="highs at two levels",
        ),
        pytest.param(
            PatternKind.ASCENDING_TRIANGLE,
            followed_by(ascending_triangle(), 101),
            id="a triangle left upwards",
        ),
        pytest.param(
            PatternKind.ASCENDING_TRIANGLE,
            followed_by(ascending_triangle(), 99.2, count=25),
            id="a triangle long not met",
        ),
        pytest.param(PatternKind.ABCD, abcd(onward=0.6), id="a last leg more than half done"),
        pytest.param(
            PatternKind.BREAKOUT, breakout(before=97.5), id="a leap from 2 % below the resistance"
        ),
        pytest.param(PatternKind.BREAKOUT, breakout(base=0.5, above=0.9), id="a target passed"),
        pytest.param(
            PatternKind.BREAKOUT,
            bars_of([*quiet(45, 99.9, 0.05), 100.6], wick=0.4, volumes=[1000] * 45 + [3000]),
            id="a base of one range",
        ),
        pytest.param(PatternKind.ABCD, abcd(retrace=0.30), id="a fall of 30 %"),
        pytest.param(PatternKind.ABCD, abcd(retrace=0.70), id="a fall of 70 %"),
        pytest.param(PatternKind.BREAKOUT, breakout(volume=1300), id="1.3 times the usual volume"),
        pytest.param(PatternKind.BREAKOUT, breakout(above=2.2), id="2 % above the resistance"),
        pytest.param(
            PatternKind.BREAKOUT, breakout(above=0.05), id="a close below the highest high"
        ),
    ],
)
def test_a_shape_that_breaks_its_rule_is_not_found(
    kind: PatternKind, bars: tuple[Bar, ...]
) -> None:
    assert found(bars, kind) is None


@pytest.mark.parametrize(
    ("kind", "bars"),
    [
        (PatternKind.BREAKOUT, breakout(volume=1301)),
        (PatternKind.CUP_AND_HANDLE, cup_and_handle(depth=12, length=DAY)),
        (PatternKind.CUP_AND_HANDLE, cup_and_handle(depth=31, length=DAY)),
        (PatternKind.ABCD, abcd(retrace=0.38)),
    ],
    ids=str,
)
def test_a_shape_that_just_keeps_its_rule_is_found(
    kind: PatternKind, bars: tuple[Bar, ...]
) -> None:
    assert found(bars, kind) is not None


def test_a_bull_flag_implies_its_levels() -> None:
    pattern = found(bull_flag(), PatternKind.BULL_FLAG)

    assert pattern is not None
    # The top is 104 and its wick, the flag's low 103 and its wick, the pole begins one bar up.
    assert pattern.entry == Decimal("104.1")
    assert pattern.stop == Decimal("102.9")
    assert pattern.target == Decimal("108.3")
    assert pattern.ended_at == START + 32 * FIVE_MINUTES
    assert "the flag gives back 29 % of the pole" in pattern.reasons


def test_an_abcd_expects_its_last_leg_to_be_as_long_as_its_first() -> None:
    pattern = found(abcd(), PatternKind.ABCD)

    assert pattern is not None
    assert pattern.entry == Decimal("103.75")
    assert pattern.stop == Decimal("102.4")
    assert pattern.target == pattern.stop + (Decimal("105.1") - Decimal("99.9"))


def test_a_gap_between_sessions_is_no_pole_on_intraday_bars() -> None:
    closes = [*quiet(LEAD, 100, 0.2), 103.7, *line((0, 104), (3, 103), (3, 103.4))]
    volumes = [500] * LEAD + [1000] * 2 + [400] * 6
    traded = bars_of(closes, wick=0.1, volumes=volumes)
    night = timedelta(hours=17)
    gapped = tuple(
        replace(
            bar,
            start=bar.start + night,
            end=bar.end + night,
            open=bar.close if index == LEAD else bar.open,
            low=bar.close - Decimal("0.1") if index == LEAD else bar.low,
        )
        if index >= LEAD
        else bar
        for index, bar in enumerate(traded)
    )

    assert found(traded, PatternKind.BULL_FLAG) is not None
    assert found(gapped, PatternKind.BULL_FLAG) is None


def test_a_v_is_a_worse_cup_than_a_round_one() -> None:
    rim, depth, half = 100.0, 4.0, 20
    v = [rim - depth * (1 - abs(at) / half) for at in range(-half, half + 1)]
    closes = [*line((0, 96), (LEAD, 100))[:-1], *v, *line((0, 100), (3, 99.2), (3, 99.6))[1:]]
    volumes = [1000] * (len(closes) - 6) + [400] * 6
    v_bars = bars_of(closes, wick=0.16, volumes=volumes)

    round_cup = confidence(cup_and_handle(), PatternKind.CUP_AND_HANDLE)
    assert confidence(v_bars, PatternKind.CUP_AND_HANDLE) < round_cup - Decimal("0.1")


@SHAPE_NAMES
def test_without_its_volume_a_shape_is_less_clear_or_gone(kind: PatternKind) -> None:
    bars = SHAPES[kind]()
    even = tuple(replace(bar, volume=1000) for bar in bars)

    assert confidence(even, kind) < confidence(bars, kind)


@pytest.mark.parametrize(
    ("count", "sigma", "length"),
    [(78, 0.002, FIVE_MINUTES), (200, 0.002, FIVE_MINUTES), (150, 0.02, DAY)],
    ids=str,
)
def test_random_walks_rarely_look_clearly_drawn(
    count: int, sigma: float, length: timedelta
) -> None:
    """One walk in twenty at most; measured over 1000 seeds: 1.9, 3.3 and 2.7 in a hundred."""
    seeds = range(250)
    clear = [
        (seed, pattern.kind.value, str(pattern.confidence))
        for seed in seeds
        for pattern in detect(random_walk(seed, count, sigma=sigma, length=length))
        if pattern.confidence >= HIGH_CONFIDENCE
    ]
    walks = {seed for seed, _, _ in clear}

    assert len(walks) <= len(seeds) / 20, f"seeds with a clear pattern: {clear}"


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), sigma=st.sampled_from([0.0005, 0.004, 0.05]))
def test_every_finding_has_ordered_levels_and_reasons(seed: int, sigma: float) -> None:
    bars = random_walk(seed, 90, sigma=sigma)

    for pattern in detect(bars):
        assert 0 < pattern.stop < pattern.entry < pattern.target
        assert 0 <= pattern.confidence <= 1
        assert bars[0].start <= pattern.started_at < pattern.ended_at == bars[-1].end
        assert pattern.reasons


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(list(SHAPES)), power=st.integers(-1, 3), heavier=st.sampled_from([7, 100])
)
def test_the_scale_of_price_and_volume_does_not_matter(
    kind: PatternKind, power: int, heavier: int
) -> None:
    bars = SHAPES[kind]()
    scale = Decimal(10) ** power
    scaled = tuple(
        replace(
            bar,
            open=bar.open * scale,
            high=bar.high * scale,
            low=bar.low * scale,
            close=bar.close * scale,
            volume=bar.volume * heavier,
        )
        for bar in bars
    )

    assert detect(scaled) == tuple(
        replace(
            pattern,
            entry=pattern.entry * scale,
            stop=pattern.stop * scale,
            target=pattern.target * scale,
        )
        for pattern in detect(bars)
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_random_walks_too_are_judged_the_same_at_ten_times_the_price(seed: int) -> None:
    bars = random_walk(seed, 90)
    scaled = tuple(
        replace(bar, open=bar.open * 10, high=bar.high * 10, low=bar.low * 10, close=bar.close * 10)
        for bar in bars
    )

    assert [(p.kind, p.confidence, p.reasons) for p in detect(scaled)] == [
        (p.kind, p.confidence, p.reasons) for p in detect(bars)
    ]


@SHAPE_NAMES
def test_too_few_bars_show_no_pattern(kind: PatternKind) -> None:
    bars = SHAPES[kind]()

    assert detect(()) == ()
    assert detect(bars[-(MIN_BARS - 1) :]) == ()


def test_a_market_that_stands_still_or_does_not_trade_shows_no_pattern() -> None:
    still = bars_of([100.0] * 60, wick=0)
    assert pivots(still, average_true_ranges(still)) == ()
    untraded = tuple(replace(bar, volume=0) for bar in breakout())

    assert detect(still) == ()
    assert found(untraded, PatternKind.BREAKOUT) is None


@SHAPE_NAMES
def test_a_shape_is_gone_once_its_stop_is_passed(kind: PatternKind) -> None:
    bars = SHAPES[kind]()
    pattern = found(bars, kind)
    assert pattern is not None
    last = bars[-1]
    fallen = replace(
        last,
        start=last.end,
        end=last.end + (last.end - last.start),
        open=last.close,
        high=last.close,
        low=pattern.stop * Decimal("0.95"),
        close=pattern.stop * Decimal("0.96"),
    )

    later = found((*bars, fallen), kind)
    assert later is None or later.stop < pattern.stop


def test_a_bar_that_is_not_a_number_is_named() -> None:
    bars = list(bull_flag())
    bars[7] = replace(bars[7], high=Decimal("NaN"))

    with pytest.raises(ValueError, match="has the high NaN"):
        detect(bars)


@pytest.mark.parametrize(
    "levels",
    [("10", "10", "12"), ("11", "10", "12"), ("9", "10", "10"), ("0", "10", "12")],
    ids=str,
)
def test_a_pattern_with_levels_out_of_order_cannot_be_made(levels: tuple[str, str, str]) -> None:
    pattern = found(bull_flag(), PatternKind.BULL_FLAG)
    assert pattern is not None
    stop, entry, target = map(Decimal, levels)

    with pytest.raises(ValueError, match="stop < entry < target"):
        replace(pattern, stop=stop, entry=entry, target=target)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 119))
def test_a_confirmed_pivot_is_not_moved_by_later_bars(seed: int, cut: int) -> None:
    bars = random_walk(seed, 120)
    early = pivots(bars[:cut], average_true_ranges(bars[:cut]))
    late = pivots(bars, average_true_ranges(bars))
    confirmed = [pivot for pivot in early if pivot.confirmed]

    assert list(late[: len(confirmed)]) == confirmed


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_pivots_alternate_and_are_the_extremes_since_the_one_before(seed: int) -> None:
    bars = random_walk(seed, 120)
    found_pivots = pivots(bars, average_true_ranges(bars))

    for one, other in pairwise(found_pivots):
        since = bars[one.index + 1 : other.index + 1]
        assert one.turn is not other.turn
        if other.turn is Turn.HIGH:
            assert other.price == since[-1].high == max(bar.high for bar in since)
        else:
            assert other.price == since[-1].low == min(bar.low for bar in since)


def test_a_pivot_is_the_extreme_even_if_a_calmer_bar_confirms_it() -> None:
    bars = bars_of([100.0, 104, 102, 103], wick=0.1)
    ranges = [Decimal(1), Decimal(1), Decimal(10), Decimal("0.5")]
    low, high, back = pivots(bars, ranges)

    assert (low.index, high.index, back.index) == (0, 1, 2)
    assert [pivot.confirmed for pivot in (low, high, back)] == [True, True, False]
