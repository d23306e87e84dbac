"""Technical indicators of one series of bars, by TA-Lib.

TA-Lib, and numpy and pandas with it, are loaded by the first call and not before. It knows no feed, no
clock and no meaning of the numbers: what an RSI of 80 says is for others to decide.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from market.bars import is_intraday, require_sound
from shared.models import Bar, SessionHours

BARS_NEEDED: Mapping[str, int] = MappingProxyType(
    {
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
)
"""Fewest bars for a value at all. RSI, MACD, EMA and ATR remember their first bars: their values settle
after about five times as many."""

_RSI_PERIOD = 14
_RSI_STEP = Decimal("0.0001")
_SIGNIFICANT_DIGITS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Technicals:
    """Indicators at the end of the last bar, in the unit of the price; None is "not known"."""

    bars_used: int
    as_of: datetime | None
    """End of the last bar; None without any bar."""
    rsi_14: Decimal | None = None
    """Wilder's, 0 to 100."""
    macd_line: Decimal | None = None
    """EMA of 12 closes less EMA of 26."""
    macd_signal: Decimal | None = None
    """EMA of 9 values of the line."""
    macd_histogram: Decimal | None = None
    """Line less signal."""
    ema_9: Decimal | None = None
    ema_20: Decimal | None = None
    sma_20: Decimal | None = None
    sma_50: Decimal | None = None
    atr_14: Decimal | None = None
    """Wilder's average true range."""
    bollinger_upper: Decimal | None = None
    """SMA of 20 closes plus two population standard deviations."""
    bollinger_middle: Decimal | None = None
    bollinger_lower: Decimal | None = None
    vwap: Decimal | None = None
    """Mean of (high + low + close) / 3 over the session's bars, weighted by volume."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of each value that is None, with the reason as a sentence."""


def technicals(bars: Sequence[Bar], *, session: SessionHours | None = None) -> Technicals:
    """Compute every indicator from complete bars of one symbol and length, oldest first.

    The VWAP takes the bars inside `session`, or those on the UTC date of the last bar where none is
    given (a session of XNYS or XHKG lies inside one): give bars from its open on. Bars longer than an
    hour have no VWAP. The RSI of 14 bars whose closes did not move is None. Values have seven
    significant digits of the price. Raises ValueError naming a bar that is not sound: TA-Lib would turn
    one NaN into an RSI of 0 for ever after.
    """
    require_sound(bars)
    if not bars:
        return _result({}, dict.fromkeys((*BARS_NEEDED, "vwap"), "there are no bars"), bars)
    values = _settled(bars)
    missing = {
        name: f"{name} needs {needed} bars, {len(bars)} were given"
        for name, needed in BARS_NEEDED.items()
        if len(bars) < needed
    }
    if "rsi_14" in values and not _moved_lately(bars):
        del values["rsi_14"]
        missing["rsi_14"] = f"rsi_14 says nothing: no close moved in {_RSI_PERIOD} bars"
    vwap = _vwap(bars, session)
    if isinstance(vwap, Decimal):
        values["vwap"] = vwap
    else:
        missing["vwap"] = vwap
    return _result(values, missing, bars)


def _settled(bars: Sequence[Bar]) -> dict[str, Decimal]:
    """Return what TA-Lib makes of the bars, without what has too few."""
    # Here and not above: a run that computes nothing must not pay a third of a second and 65 MB.
    import numpy as np
    import talib

    closes = np.array([float(bar.close) for bar in bars])
    highs = np.array([float(bar.high) for bar in bars])
    lows = np.array([float(bar.low) for bar in bars])
    formulas: Mapping[tuple[str, ...], Callable[[], Any]] = {
        ("rsi_14",): lambda: [talib.RSI(closes, timeperiod=_RSI_PERIOD)],
        ("macd_line", "macd_signal", "macd_histogram"): lambda: talib.MACD(
            closes, fastperiod=12, slowperiod=26, signalperiod=9
        ),
        ("ema_9",): lambda: [talib.EMA(closes, timeperiod=9)],
        ("ema_20",): lambda: [talib.EMA(closes, timeperiod=20)],
        ("sma_20",): lambda: [talib.SMA(closes, timeperiod=20)],
        ("sma_50",): lambda: [talib.SMA(closes, timeperiod=50)],
        ("atr_14",): lambda: [talib.ATR(highs, lows, closes, timeperiod=14)],
        ("bollinger_upper", "bollinger_middle", "bollinger_lower"): lambda: talib.BBANDS(
            closes, timeperiod=20, nbdevup=2, nbdevdn=2
        ),
    }
    step = _price_step(bars[-1].close)
    return {
        name: _rounded(name, float(series[-1]), _RSI_STEP if name == "rsi_14" else step)
        for names, formula in formulas.items()
        if len(bars) >= BARS_NEEDED[names[0]]
        for name, series in zip(names, formula(), strict=True)
    }


def _rounded(name: str, value: float, step: Decimal) -> Decimal:
    if not math.isfinite(value):
        raise ValueError(f"{name} came out as {value}: the prices are too large to compute with")
    return Decimal(value).quantize(step) + 0


def _price_step(price: Decimal) -> Decimal:
    return Decimal(1).scaleb(price.adjusted() + 1 - _SIGNIFICANT_DIGITS)


def _moved_lately(bars: Sequence[Bar]) -> bool:
    """Whether the RSI is about the present; without any movement TA-Lib gives 0, as if it were oversold."""
    return len({bar.close for bar in bars[-_RSI_PERIOD - 1 :]}) > 1


def _vwap(bars: Sequence[Bar], session: SessionHours | None) -> Decimal | str:
    if not is_intraday(bars):
        return "vwap needs bars of at most an hour"
    today = [bar for bar in bars if _is_in_session(bar, session, bars[-1])]
    volume = sum(bar.volume for bar in today)
    if not volume:
        return "vwap is not defined: nothing was traded in the session"
    paid = sum((bar.high + bar.low + bar.close) * bar.volume for bar in today)
    return (Decimal(paid) / (3 * volume)).quantize(_price_step(bars[-1].close))


def _is_in_session(bar: Bar, session: SessionHours | None, last: Bar) -> bool:
    if session is None:
        return bar.start.date() == last.start.date()
    return session.is_open(bar.start)


def _result(
    values: Mapping[str, Decimal], missing: Mapping[str, str], bars: Sequence[Bar]
) -> Technicals:
    return Technicals(
        bars_used=len(bars), as_of=bars[-1].end if bars else None, missing=missing, **values
    )
