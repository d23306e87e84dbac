"""How the invented market moves from day to day.

A day's moves depend on the seed and its date alone, so any two sessions fit together: what one calls the
previous close is what the other closes at.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cache

from rehearsal.universe import SECTORS, Company

MARKET_VOLATILITY = 0.008
SECTOR_VOLATILITY = 0.010
REGULAR_MINUTES = 390
_MEMORY_WEEKDAYS = 250
_PERSISTENCE = 0.98
_OVERNIGHT_SHARE = 0.35
_SATURDAY = 5


class EventKind(StrEnum):
    """What makes one stock move on its own."""

    GAP = "gap"
    """News before the open: it opens away and keeps going."""
    TREND = "trend"
    """It drifts all day and nobody says why."""
    NEWS = "news"
    """News during the session: it drifts for half an hour or so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stock's own move on one day."""

    company: int
    kind: EventKind
    effect: float
    """Log return it adds to the day."""
    at_share: float
    """When, as a share of the session's minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPlan:
    """What one stock's day must come to."""

    previous_close: int
    open: int
    close: int
    """Prices in cents."""
    volume: int


_EVENT_PATTERN = (
    (EventKind.GAP, 1),
    (EventKind.NEWS, 1),
    (EventKind.TREND, 1),
    (EventKind.GAP, 1),
    (EventKind.NEWS, -1),
    (EventKind.TREND, 1),
    (EventKind.GAP, -1),
    (EventKind.NEWS, 1),
)
_EFFECTS = {
    EventKind.GAP: (0.03, 0.07),
    EventKind.TREND: (0.02, 0.045),
    EventKind.NEWS: (0.015, 0.04),
}
GAP_SHARE = 0.6
"""How much of a gap event is in the opening price; the rest follows during the day."""


class Market:
    """The invented market of one seed: every day of it, in any order."""

    def __init__(self, seed: int, companies: Sequence[Company]) -> None:
        self._seed: int = seed
        self.companies: tuple[Company, ...] = tuple(companies)
        self._moves = cache(self._moves_on)
        self._levels = cache(self._levels_on)

    def random(self, day: date, purpose: str) -> random.Random:
        """A source of chance that belongs to one day and one purpose."""
        return random.Random(f"{self._seed}:{day}:{purpose}")  # noqa: S311 (a rehearsal, not a secret)

    def close(self, company: int, day: date) -> int:
        """Closing price in cents."""
        return _cents(self.companies[company].base_price * math.exp(self._levels(day)[company]))

    def events(self, day: date) -> tuple[Event, ...]:
        """The stocks that move on their own that day, at most eight and at most half of all."""
        draw = self.random(day, "events")
        liquid = [i for i, company in enumerate(self.companies) if company.is_liquid_stock]
        chosen = draw.sample(liquid, min(len(_EVENT_PATTERN), (len(liquid) + 1) // 2))
        return tuple(
            Event(
                company=company,
                kind=kind,
                effect=sign * draw.uniform(*_EFFECTS[kind]),
                at_share=draw.uniform(0.15, 0.7),
            )
            for company, (kind, sign) in zip(chosen, _EVENT_PATTERN, strict=False)
        )

    def plan(self, company: int, day: date, previous: date, minutes: int) -> DayPlan:
        """What the day must come to, given the session before and the length of this one."""
        own = sum(e.effect for e in self.events_of(company, day))
        gap_effect = sum(
            e.effect * GAP_SHARE for e in self.events_of(company, day) if e.kind is EventKind.GAP
        )
        total = self._levels(day)[company] - self._levels(previous)[company]
        gap = _OVERNIGHT_SHARE * (total - own) + gap_effect
        draw = self.random(day, f"volume:{company}")
        usual = self.companies[company].average_volume * minutes / REGULAR_MINUTES
        before = self.close(company, previous)
        return DayPlan(
            previous_close=before,
            open=_cents(before / 100 * math.exp(gap)),
            close=self.close(company, day),
            volume=round(usual * math.exp(draw.gauss(0, 0.2)) * (1 + 35 * abs(own))),
        )

    def events_of(self, company: int, day: date) -> tuple[Event, ...]:
        """That stock's own events of the day."""
        return tuple(event for event in self.events(day) if event.company == company)

    def _levels_on(self, day: date) -> tuple[float, ...]:
        levels = [0.0] * len(self.companies)
        weight, at = 1.0, day
        for _ in range(_MEMORY_WEEKDAYS):
            levels = [
                level + weight * move for level, move in zip(levels, self._moves(at), strict=True)
            ]
            weight *= _PERSISTENCE
            at = _weekday_before(at)
        return tuple(levels)

    def _moves_on(self, day: date) -> tuple[float, ...]:
        draw = self.random(day, "moves")
        market = draw.gauss(0, MARKET_VOLATILITY)
        sectors = [draw.gauss(0, SECTOR_VOLATILITY) for _ in SECTORS]
        own = [draw.gauss(0, company.own_volatility) for company in self.companies]
        for event in self.events(day):
            own[event.company] += event.effect
        return tuple(
            company.market_beta * market
            + (0.0 if company.sector is None else company.sector_beta * sectors[company.sector])
            + alone
            for company, alone in zip(self.companies, own, strict=True)
        )


def _weekday_before(day: date) -> date:
    day -= timedelta(days=1)
    while day.weekday() >= _SATURDAY:
        day -= timedelta(days=1)
    return day


def _cents(price: float) -> int:
    return max(1, round(price * 100))
