import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import talipp.indicators as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from talipp.ohlcv import OHLCV

from market.indicators import BARS_NEEDED, Technicals, technicals
from market.pivots import average_true_ranges
from shared.models import Bar, SessionHours
from tests.market.drawings import DAY, FIVE_MINUTES, START, bars_of, line, random_walk

PROJECT = Path(__file__).resolve().parents[2]
SETTLED = 300
"""Bars after which the two libraries, which begin their averages differently, agree."""

ORACLES: dict[str, Callable[[list[float], list[OHLCV]], Any]] = {
    "rsi_14": lambda closes, _: oracle.RSI(14, closes)[-1],
    "macd_line": lambda closes, _: oracle.MACD(12, 26, 9, closes)[-1].macd,
    "macd_signal": lambda closes, _: oracle.MACD(12, 26, 9, closes)[-1].signal,
    "macd_histogram": lambda closes, _: oracle.MACD(12, 26, 9, closes)[-1].histogram,
    "ema_9": lambda closes, _: oracle.EMA(9, closes)[-1],
    "ema_20": lambda closes, _: oracle.EMA(20, closes)[-1],
    "sma_20": lambda closes, _: oracle.SMA(20, closes)[-1],
    "sma_50": lambda closes, _: oracle.SMA(50, closes)[-1],
    "atr_14": lambda _, candles: oracle.ATR(14, candles)[-1],
    "bollinger_upper": lambda closes, _: oracle.BB(20, 2, closes)[-1].ub,
    "bollinger_middle": lambda closes, _: oracle.BB(20, 2, closes)[-1].cb,
    "bollinger_lower": lambda closes, _: oracle.BB(20, 2, closes)[-1].lb,
}


def candle(bar: Bar) -> OHLCV:
    return OHLCV(float(bar.open), float(bar.high), float(bar.low), float(bar.close), None, None)


def bar(minute: int, high: str, low: str, close: str, volume: int) -> Bar:
    start = START + timedelta(minutes=minute)
    return Bar(
        symbol="ACME",
        start=start,
        end=start + timedelta(minutes=1),
        open=Decimal(close),
        high=Decimal(high),
        low=Decimal(low),
        close=Decimal(close),
        volume=volume,
    )


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(4))
def test_an_indicator_agrees_with_an_independent_library(name: str, seed: int) -> None:
    bars = random_walk(seed, SETTLED, sigma=0.004)
    expected = ORACLES[name]([float(bar.close) for bar in bars], [candle(bar) for bar in bars])
    value = getattr(technicals(bars), name)

    assert float(value) == pytest.approx(expected, abs=2e-4)


def test_every_indicator_has_an_oracle_but_the_vwap() -> None:
    assert set(ORACLES) == set(BARS_NEEDED)


@pytest.mark.parametrize(("name", "needed"), BARS_NEEDED.items())
def test_a_value_needs_its_number_of_bars_and_says_so(name: str, needed: int) -> None:
    bars = random_walk(3, needed)
    short = technicals(bars[:-1])

    assert getattr(technicals(bars), name) is not None
    assert getattr(short, name) is None
    assert short.missing[name] == f"{name} needs {needed} bars, {needed - 1} were given"


def test_the_numbers_of_bars_are_those_of_the_formulas() -> None:
    assert BARS_NEEDED == {
        "rsi_14": 15,
        "macd_line": 34,
        "macd_signal": 34,
        "macd_histogram": 34,
        "ema_9": 9,
        "ema_20": 20,
        "sma_20": 20,
        "sma_50": 50,
        "atr_14": 15,
        "bollinger_upper": 20,
        "bollinger_middle": 20,
        "bollinger_lower": 20,
    }


def test_what_is_missing_is_exactly_what_is_none() -> None:
    for count in (0, 1, 10, 25, 40, 60):
        found = technicals(random_walk(5, count))
        names = (*BARS_NEEDED, "vwap")

        assert {name for name in names if getattr(found, name) is None} == set(found.missing)


def test_no_bars_are_no_values_and_no_moment() -> None:
    found = technicals(())

    assert found.bars_used == 0
    assert found.as_of is None
    assert set(found.missing.values()) == {"there are no bars"}


def test_the_moment_is_the_end_of_the_last_bar() -> None:
    found = technicals(random_walk(1, 30))

    assert found.bars_used == 30
    assert found.as_of == START + 30 * FIVE_MINUTES


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-1"])
@pytest.mark.parametrize("index", [0, 30, 99])
def test_one_bad_price_is_named_and_poisons_nothing(field: str, bad: str, index: int) -> None:
    bars = list(random_walk(2, 100))
    bars[index] = replace(bars[index], **{field: Decimal(bad)})
    moment = bars[index].start.isoformat()

    with pytest.raises(ValueError, match="not a positive finite price") as raised:
        technicals(bars)

    assert f"the bar of ACME at {moment} has the {field} {bad}" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volume": -1}, "has the volume -1"),
        ({"symbol": "OTHER"}, "follows one of ACME"),
        ({"start": START}, "begins before"),
        ({"end": START}, "not after its start"),
        ({"high": Decimal("0.01"), "low": Decimal("0.01")}, "outside 0.01 to 0.01"),
        ({"start": datetime(2026, 6, 15, 14)}, "must be timezone-aware"),  # noqa: DTZ001
    ],
    ids=str,
)
def test_a_bar_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    bars = list(random_walk(2, 40))
    bars[20] = replace(bars[20], **changes)

    with pytest.raises(ValueError, match=said):
        technicals(bars)


def test_bars_out_of_order_are_refused() -> None:
    bars = random_walk(2, 40)

    with pytest.raises(ValueError, match="begins before"):
        technicals((*bars[20:], *bars[:20]))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 80),
    sigma=st.sampled_from([0.0001, 0.01, 0.1]),
)
def test_values_are_finite_and_in_their_range(seed: int, count: int, sigma: float) -> None:
    found = technicals(random_walk(seed, count, sigma=sigma))
    values = [getattr(found, name) for name in (*BARS_NEEDED, "vwap")]

    assert all(value.is_finite() for value in values if value is not None)
    assert found.rsi_14 is None or 0 <= found.rsi_14 <= 100
    assert found.atr_14 is None or found.atr_14 >= 0
    if found.bollinger_upper and found.bollinger_middle and found.bollinger_lower:
        assert found.bollinger_lower <= found.bollinger_middle <= found.bollinger_upper


def test_prices_beyond_floating_point_are_refused_and_not_infinite() -> None:
    bars = [
        replace(
            one,
            **{
                name: getattr(one, name).scaleb(305 if index % 2 else 306)
                for name in ("open", "high", "low", "close")
            },
        )
        for index, one in enumerate(random_walk(1, 60))
    ]

    with pytest.raises(ValueError, match="too large to compute with"):
        technicals(bars)


@pytest.mark.parametrize("count", [15, 60, 600])
def test_a_market_that_stands_still_has_no_rsi(count: int) -> None:
    found = technicals(bars_of([50.0] * count, wick=0))

    assert found.rsi_14 is None
    assert found.missing["rsi_14"] == "rsi_14 says nothing: no close moved in 14 bars"


@pytest.mark.parametrize("tick", [0.01, -0.01])
def test_one_tick_long_ago_is_neither_overbought_nor_oversold(tick: float) -> None:
    resting = [50.0] * 20 + [50.0 + tick] * 15

    assert technicals(bars_of(resting, wick=0)).rsi_14 is None
    assert technicals(bars_of(resting[:-1], wick=0)).rsi_14 == (100 if tick > 0 else 0)


@pytest.mark.parametrize(("end", "rsi"), [(70.0, 100), (30.0, 0)])
def test_the_rsi_of_moves_in_one_direction_is_an_extreme(end: float, rsi: int) -> None:
    found = technicals(bars_of(line((0, 50), (20, end)), wick=0.1))

    assert found.rsi_14 == rsi


def test_the_vwap_weighs_typical_prices_by_volume() -> None:
    bars = (bar(0, "10.20", "9.90", "10.00", 100), bar(1, "11.50", "10.50", "11.00", 300))
    # (10.20 + 9.90 + 10.00) / 3 * 100 + 11.00 * 300 = 1003.3333 + 3300, over 400 shares.

    assert technicals(bars).vwap == Decimal("10.75833")


def test_the_vwap_takes_todays_bars_alone() -> None:
    yesterday = replace(
        bar(0, "99", "99", "99", 10**9),
        start=START - timedelta(days=1),
        end=START - timedelta(days=1) + timedelta(minutes=1),
    )
    today = bar(0, "10", "10", "10", 5)

    assert technicals((yesterday, today)).vwap == 10


def test_the_vwap_takes_the_bars_of_the_session_it_is_given() -> None:
    session = SessionHours(
        exchange="XNYS",
        session_date=date(2026, 6, 15),
        parts=((START, START + timedelta(minutes=390)),),
    )
    bars = (
        bar(-1, "99", "99", "99", 10**6),
        bar(0, "10", "10", "10", 5),
        bar(1, "12", "12", "12", 5),
    )

    assert technicals(bars, session=session).vwap == 11
    assert technicals(bars[:1], session=session).missing["vwap"].startswith("vwap is not defined")


def test_a_session_without_trades_has_no_vwap() -> None:
    found = technicals((bar(0, "10", "10", "10", 0),))

    assert found.vwap is None
    assert "nothing was traded" in found.missing["vwap"]


def test_daily_bars_have_no_vwap() -> None:
    found = technicals(random_walk(1, 60, length=DAY))

    assert found.vwap is None
    assert found.sma_50 is not None


def test_values_have_seven_digits_of_the_price_whatever_its_size() -> None:
    def scaled(power: int) -> Technicals:
        scale = Decimal(10) ** power
        return technicals(
            [
                replace(
                    one,
                    open=one.open * scale,
                    high=one.high * scale,
                    low=one.low * scale,
                    close=one.close * scale,
                )
                for one in random_walk(4, 120)
            ]
        )

    penny, dear = scaled(-4), scaled(3)

    assert penny.rsi_14 == pytest.approx(dear.rsi_14, abs=Decimal("0.0002"))
    assert penny.sma_20 is not None
    assert dear.sma_20 is not None
    assert penny.sma_20.scaleb(7) == pytest.approx(dear.sma_20, rel=Decimal("0.000001"))


def test_the_average_true_range_of_the_patterns_is_that_of_the_indicators() -> None:
    bars = random_walk(8, SETTLED)
    atr = technicals(bars).atr_14

    assert atr is not None
    assert average_true_ranges(bars)[-1] == pytest.approx(atr, abs=Decimal("0.0001"))


def test_the_same_bars_give_the_same_values() -> None:
    bars = random_walk(9, 100)

    assert technicals(bars) == technicals(list(bars))


def ran(*program: str) -> tuple[int, str]:
    """Run a program in a fresh interpreter; its exit code and what it complained of."""
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(program)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stderr


def test_importing_them_loads_no_numpy_and_no_pandas() -> None:
    said = ran(
        "import sys, market.indicators, market.patterns, market.timeframes",
        "heavy = {'numpy', 'pandas', 'polars', 'talib'} & sys.modules.keys()",
        "sys.exit(' '.join(heavy) or 0)",
    )

    assert said == (0, "")


def test_patterns_never_load_numpy() -> None:
    said = ran(
        "import sys",
        "from market.patterns import detect",
        "from tests.market.drawings import random_walk",
        "detect(random_walk(1, 100))",
        "sys.exit(' '.join({'numpy', 'pandas', 'talib'} & sys.modules.keys()) or 0)",
    )

    assert said == (0, "")


def test_pandas_and_alpaca_still_work_after_ta_lib_was_loaded() -> None:
    said = ran(
        "from tests.market.drawings import random_walk",
        "from market.indicators import technicals",
        "technicals(random_walk(1, 40))",
        "import pandas, alpaca.data",
        "pandas.DataFrame",
    )

    assert said == (0, "")
