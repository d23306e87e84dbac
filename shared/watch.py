"""What is watched in an open position, and what can be said about it; decides nothing.

`signals` works these values out, market data and the position monitor fill them in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from shared.models import SessionHours, require_aware


class Readings(Protocol):
    """Indicators at the end of the last complete bar; None is "not known"."""

    @property
    def bars_used(self) -> int:
        """How many bars they were computed from."""
        ...

    @property
    def as_of(self) -> datetime | None:
        """End of the last of them."""
        ...

    @property
    def rsi_14(self) -> Decimal | None:
        """0 to 100."""
        ...

    @property
    def vwap(self) -> Decimal | None:
        """Of the present session."""
        ...

    @property
    def ema_20(self) -> Decimal | None:
        """In the unit of the price."""
        ...

    @property
    def macd_line(self) -> Decimal | None:
        """In the unit of the price, of either sign."""
        ...

    @property
    def macd_signal(self) -> Decimal | None:
        """The line's own average."""
        ...


class Baseline(StrEnum):
    """Where the usual volume at a time of day comes from."""

    MEASURED = "measured"
    """Minutes of earlier sessions of the same symbol."""
    MODELLED = "modelled"
    """A curve that is the same for all symbols: too rough to sell by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePace:
    """How briskly a symbol trades for the time of day, compared with how it did at the entry."""

    of_entry_pct: Decimal
    """(now / usual now) / (at the entry / usual then), in percent."""
    baseline: Baseline
    sessions: int
    """How many earlier sessions were measured; 0 for a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One open position at one moment; None is "not known" and gives no signal."""

    symbol: str
    quantity: int
    now: datetime
    entry_price: Decimal | None = None
    opened_at: datetime | None = None
    best_price: Decimal | None = None
    """Highest confirmed price since the entry."""
    price: Decimal | None = None
    """Present price, checked by rules.quotes."""
    technicals: Readings | None = None
    volume: VolumePace | None = None
    session: SessionHours | None = None
    """Of the exchange's present date."""
    may_stay_overnight: bool = False
    may_stay_over_lunch: bool = False

    def __post_init__(self) -> None:
        require_aware(self.now, "now")
        if self.opened_at is not None:
            require_aware(self.opened_at, "opened_at")


class Direction(StrEnum):
    """What a signal speaks for."""

    HOLD = "hold"
    EXIT = "exit"


class Strength(StrEnum):
    """How much a signal counts."""

    STRONG = "strong"
    MODERATE = "moderate"
    WEAK = "weak"


class SignalKind(StrEnum):
    """Everything that is looked at; of each ladder only the highest rung reached is given."""

    STOP_LOSS_HIT = "stop_loss_hit"
    STOP_LOSS_NEAR = "stop_loss_near"
    STOP_LOSS_WEAK = "stop_loss_weak"
    TRAILING_STOP_HIT = "trailing_stop_hit"
    PROFIT_TARGET_REACHED = "profit_target_reached"
    TAKE_PROFIT_MODERATE = "take_profit_moderate"
    TAKE_PROFIT_WEAK = "take_profit_weak"
    HEALTHY_PROFIT = "healthy_profit"
    RSI_OVERBOUGHT = "rsi_overbought"
    RSI_HIGH = "rsi_high"
    RSI_WEAK = "rsi_weak"
    RSI_MOMENTUM_DEAD = "rsi_momentum_dead"
    RSI_HEALTHY = "rsi_healthy"
    VOLUME_DYING = "volume_dying"
    VOLUME_WEAK = "volume_weak"
    VOLUME_DYING_WEAK = "volume_dying_weak"
    VOLUME_STRONG = "volume_strong"
    VOLUME_HEALTHY = "volume_healthy"
    BELOW_VWAP = "below_vwap"
    ABOVE_VWAP = "above_vwap"
    BELOW_EMA20 = "below_ema20"
    ABOVE_EMA20 = "above_ema20"
    MACD_BEARISH = "macd_bearish"
    MACD_BULLISH = "macd_bullish"
    MARKET_CLOSING = "market_closing"
    MARKET_CLOSING_SOON = "market_closing_soon"
    LUNCH_BREAK_SOON = "lunch_break_soon"
    TIME_STOP = "time_stop"
    TIME_STOP_NEAR = "time_stop_near"
    OVERNIGHT_HOLD = "overnight_hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing seen, what it speaks for, and the numbers it was seen by."""

    kind: SignalKind
    direction: Direction
    strength: Strength
    sentence: str


class Recommendation(StrEnum):
    """What is to be done; written as the database has it."""

    EXIT = "EXIT"
    HOLD = "HOLD"
    REVIEW = "REVIEW"
    """A model is asked; until it has answered the position is held with its stop."""


class Label(StrEnum):
    """How clear the recommendation is."""

    STRONG_EXIT = "strong_exit"
    STRONG_HOLD = "strong_hold"
    HOLD = "hold"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A recommendation with the sentences that led to it."""

    recommendation: Recommendation
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kind of signal speaks for, how much, and when it is given."""

    direction: Direction
    strength: Strength
    when: str
    """Names in backquotes are settings."""


def _exit(strength: Strength, when: str) -> Meaning:
    return Meaning(Direction.EXIT, strength, when)


def _hold(strength: Strength, when: str) -> Meaning:
    return Meaning(Direction.HOLD, strength, when)


MEANINGS: Mapping[SignalKind, Meaning] = MappingProxyType(
    {
        SignalKind.STOP_LOSS_HIT: _exit(Strength.STRONG, "loss of at least `stop_loss_pct`"),
        SignalKind.STOP_LOSS_NEAR: _exit(
            Strength.MODERATE, "loss of at least `stop_loss_near_pct`"
        ),
        SignalKind.STOP_LOSS_WEAK: _exit(Strength.WEAK, "loss of at least `stop_loss_weak_pct`"),
        SignalKind.TRAILING_STOP_HIT: _exit(
            Strength.STRONG,
            "best profit was above `trailing_stop_from_pct`, and `trailing_stop_pct` points of it"
            " are gone",
        ),
        SignalKind.PROFIT_TARGET_REACHED: _exit(
            Strength.MODERATE, "profit of at least `take_profit_pct`"
        ),
        SignalKind.TAKE_PROFIT_MODERATE: _exit(
            Strength.MODERATE, "profit of at least `take_profit_moderate_pct`"
        ),
        SignalKind.TAKE_PROFIT_WEAK: _exit(
            Strength.WEAK, "profit of at least `take_profit_weak_pct`"
        ),
        SignalKind.HEALTHY_PROFIT: _hold(
            Strength.MODERATE, "profit from `healthy_profit_from_pct` to `healthy_profit_to_pct`"
        ),
        SignalKind.RSI_OVERBOUGHT: _exit(Strength.STRONG, "RSI at least `rsi_overbought`"),
        SignalKind.RSI_HIGH: _exit(Strength.MODERATE, "RSI at least `rsi_high`"),
        SignalKind.RSI_WEAK: _exit(Strength.WEAK, "RSI at least `rsi_weak`"),
        SignalKind.RSI_MOMENTUM_DEAD: _exit(Strength.MODERATE, "RSI at most `rsi_momentum_dead`"),
        SignalKind.RSI_HEALTHY: _hold(
            Strength.STRONG, "RSI from `rsi_healthy_from` to `rsi_healthy_to`"
        ),
        SignalKind.VOLUME_DYING: _exit(
            Strength.STRONG, "volume at most `volume_dying_pct` of its pace at the entry"
        ),
        SignalKind.VOLUME_WEAK: _exit(Strength.MODERATE, "the same, at most `volume_weak_pct`"),
        SignalKind.VOLUME_DYING_WEAK: _exit(
            Strength.WEAK, "the same, at most `volume_dying_weak_pct`"
        ),
        SignalKind.VOLUME_STRONG: _hold(Strength.STRONG, "the same, at least `volume_strong_pct`"),
        SignalKind.VOLUME_HEALTHY: _hold(
            Strength.MODERATE, "the same, at least `volume_healthy_pct`"
        ),
        SignalKind.BELOW_VWAP: _exit(Strength.MODERATE, "price `below_vwap_pct` below the VWAP"),
        SignalKind.ABOVE_VWAP: _hold(Strength.STRONG, "price `above_vwap_pct` above the VWAP"),
        SignalKind.BELOW_EMA20: _exit(Strength.MODERATE, "price `below_ema20_pct` below the EMA20"),
        SignalKind.ABOVE_EMA20: _hold(Strength.MODERATE, "price `above_ema20_pct` above the EMA20"),
        SignalKind.MACD_BEARISH: _exit(Strength.MODERATE, "MACD below its signal line"),
        SignalKind.MACD_BULLISH: _hold(Strength.STRONG, "MACD above its signal line"),
        SignalKind.MARKET_CLOSING: _exit(
            Strength.STRONG, "`minutes_to_close` or less to the end of the session"
        ),
        SignalKind.MARKET_CLOSING_SOON: _exit(
            Strength.MODERATE, "`minutes_to_close_soon` or less to the end of the session"
        ),
        SignalKind.LUNCH_BREAK_SOON: _exit(
            Strength.MODERATE, "`minutes_to_lunch` or less to the lunch break"
        ),
        SignalKind.TIME_STOP: _exit(Strength.MODERATE, "held for at least `time_stop_minutes`"),
        SignalKind.TIME_STOP_NEAR: _exit(
            Strength.WEAK, "held for at least `time_stop_near_minutes`"
        ),
        SignalKind.OVERNIGHT_HOLD: _hold(Strength.WEAK, "held for at least `overnight_hours`"),
    }
)
"""The one place that says how strong each signal is."""
