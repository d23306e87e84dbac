"""Hard limits in code: the loosest that any configuration may be."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.config import LimitSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The loosest amounts for one currency."""

    max_positions: int
    max_position_value: Decimal
    daily_loss_limit: Decimal


FLOORS = {
    "USD": Floor(
        max_positions=30, max_position_value=Decimal(10_000), daily_loss_limit=Decimal(4_000)
    ),
    "HKD": Floor(
        max_positions=10, max_position_value=Decimal(80_000), daily_loss_limit=Decimal(32_000)
    ),
}
"""Twice what the two trading agents are meant to have."""

_Looser = Callable[[Any, Any], bool]  # pyright: ignore[reportExplicitAny] (comparisons of like with like)

_BOUNDS: tuple[tuple[str, _Looser, Decimal | float | int], ...] = (
    ("min_risk_reward", operator.lt, Decimal("1.0")),
    ("price_collar_pct", operator.gt, Decimal("4.0")),
    ("max_quote_age_seconds", operator.gt, 120.0),
    ("max_spread_pct", operator.gt, Decimal("1.6")),
    ("max_stop_distance_pct", operator.gt, Decimal("10.0")),
    ("min_stop_ticks", operator.lt, 2),
    ("max_position_equity_pct", operator.gt, Decimal(40)),
    ("max_gross_exposure_pct", operator.gt, Decimal(100)),
    ("max_trade_risk_pct", operator.gt, Decimal("2.0")),
    ("daily_loss_warning_pct", operator.gt, Decimal("3.0")),
    ("max_trades_per_day", operator.gt, 50),
    ("max_trades_per_symbol_per_day", operator.gt, 10),
    ("cooldown_minutes_after_loss", operator.lt, 15),
    ("no_entry_minutes_after_open", operator.lt, 1),
    ("no_entry_minutes_before_close", operator.lt, 10),
    ("max_clock_drift_seconds", operator.gt, 5.0),
)


def loosened_limits(settings: Settings) -> Sequence[tuple[tuple[str | int, ...], str]]:
    """List every limit in a configuration that is looser than the hard one: (where, sentence)."""
    limits = settings.limits
    floor = FLOORS.get(limits.currency)
    if floor is None:
        known = ", ".join(FLOORS)
        return [
            (("limits", "currency"), f"no hard limits for {limits.currency}; there are {known}")
        ]
    amounts = (
        ("max_positions", operator.gt, floor.max_positions),
        ("max_position_value", operator.gt, floor.max_position_value),
        ("daily_loss_limit", operator.gt, floor.daily_loss_limit),
    )
    return [
        (("limits", name), _sentence(name, bound, limits))
        for name, looser, bound in (*amounts, *_BOUNDS)
        if looser(getattr(limits, name), bound)
    ]


def _sentence(name: str, bound: object, limits: LimitSettings) -> str:
    return f"{name} is looser than the hard limit {bound}, was {getattr(limits, name)}"
