"""The minutes of a generated day: each stock's path from its open to its close, and the bars along it.

Volatility clusters (a GARCH(1,1) process) and is U-shaped over the day, and so is volume; stocks share
the market's shocks, and more of them with their sector.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from rehearsal.prices import (
    GAP_SHARE,
    MARKET_VOLATILITY,
    SECTOR_VOLATILITY,
    DayPlan,
    Event,
    EventKind,
    Market,
)
from rehearsal.universe import SECTORS, Company

_ARCH, _GARCH = 0.12, 0.83
_NEWS_HALF_LIFE_MINUTES = 9.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteBar:
    """One minute of one symbol, prices in cents; `minute` counts from the open, lunch left out."""

    minute: int
    open: int
    high: int
    low: int
    close: int
    volume: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltPlan:
    """One stock does not trade in minutes first to last, both included."""

    company: int
    first: int
    last: int

    def covers(self, company: int, minute: int) -> bool:
        """Whether that stock stands still in that minute."""
        return company == self.company and self.first <= minute <= self.last


def plan_halt(market: Market, day: date, minutes: int) -> HaltPlan | None:
    """One liquid stock, for 10 to 30 minutes in the middle of the day; None when there is no such stock."""
    draw = market.random(day, "halt")
    liquid = [i for i, company in enumerate(market.companies) if company.is_liquid_stock]
    if not liquid:
        return None
    first = draw.randrange(minutes // 5, minutes * 3 // 5)
    return HaltPlan(company=draw.choice(liquid), first=first, last=first + draw.randint(10, 30) - 1)


def news_minute(event: Event, minutes: int) -> int:
    """The minute in which the news of an event comes out; prices react from the next one on."""
    return int(event.at_share * minutes)


def play(
    market: Market, day: date, previous: date, minutes: int, halt: HaltPlan | None
) -> tuple[tuple[MinuteBar, ...], ...]:
    """The bars of one day for each company, in the market's order; a minute without a trade has none."""
    shape = volatility_shape(minutes)
    common = _shocks(market.random(day, "market minutes"), shape)
    sectors = [_shocks(market.random(day, f"minutes of {name}"), shape) for name in SECTORS]
    return tuple(
        _company_bars(market, number, day, previous, halt, shape, _shared(company, common, sectors))
        for number, company in enumerate(market.companies)
    )


def volatility_shape(minutes: int) -> list[float]:
    """Relative size of each minute's moves, U-shaped; the squares add up to 1."""
    raw = [0.7 + 0.6 * (2 * t / minutes - 1) ** 2 + math.exp(-t / 12) for t in range(minutes)]
    size = math.sqrt(sum(value * value for value in raw))
    return [value / size for value in raw]


def volume_shape(minutes: int) -> list[float]:
    """Relative volume of each minute, U-shaped."""
    return [0.5 + 1.5 * (2 * t / minutes - 1) ** 2 + math.exp(-t / 6) for t in range(minutes)]


def _shared(
    company: Company, common: Sequence[float], sectors: Sequence[Sequence[float]]
) -> list[float]:
    market = company.market_beta * MARKET_VOLATILITY
    if company.sector is None:
        return [market * shock for shock in common]
    sector = company.sector_beta * SECTOR_VOLATILITY
    return [
        market * one + sector * other
        for one, other in zip(common, sectors[company.sector], strict=True)
    ]


def _shocks(draw: random.Random, shape: Sequence[float]) -> list[float]:
    variance, last = 1.0, 0.0
    shocks: list[float] = []
    for size in shape:
        variance = 1 - _ARCH - _GARCH + _ARCH * last * last + _GARCH * variance
        last = math.sqrt(variance) * draw.gauss(0, 1)
        shocks.append(last * size)
    return shocks


def _company_bars(
    market: Market,
    number: int,
    day: date,
    previous: date,
    halt: HaltPlan | None,
    shape: Sequence[float],
    shared: Sequence[float],
) -> tuple[MinuteBar, ...]:
    company, minutes = market.companies[number], len(shape)
    draw = market.random(day, f"minutes of {number}")
    plan = market.plan(number, day, previous, minutes)
    events = market.events_of(number, day)
    alone = _shocks(draw, shape)
    shocks = [both + company.own_volatility * own for both, own in zip(shared, alone, strict=True)]
    path = _path(plan, shocks, _drift(events, minutes), shape)
    traded = [
        minute
        for minute in range(minutes)
        if (minute in {0, minutes - 1} or draw.random() < company.trade_chance)
        and not (halt and halt.covers(number, minute))
    ]
    volumes = _volumes(draw, traded, plan.volume, _interest(shocks, shape, events))
    wick = math.hypot(MARKET_VOLATILITY, SECTOR_VOLATILITY, company.own_volatility) / 2
    return tuple(
        _bar(
            draw,
            minute,
            plan.open if minute == 0 else path[minute - 1],
            path[minute],
            volume,
            wick * shape[minute],
        )
        for minute, volume in zip(traded, volumes, strict=True)
    )


def _path(
    plan: DayPlan, shocks: Sequence[float], drift: Sequence[float], shape: Sequence[float]
) -> list[int]:
    """Closing price of each minute in cents; what the shocks miss of the day's close is spread over it."""
    missing = math.log(plan.close / plan.open) - sum(shocks) - sum(drift)
    level = math.log(plan.open)
    path: list[int] = []
    for shock, push, size in zip(shocks, drift, shape, strict=True):
        level += shock + push + missing * size * size
        path.append(max(1, round(math.exp(level))))
    path[-1] = plan.close
    return path


def _drift(events: Sequence[Event], minutes: int) -> list[float]:
    drift = [0.0] * minutes
    for event in events:
        weights = _reaction(event, minutes)
        effect = event.effect * (1 - GAP_SHARE if event.kind is EventKind.GAP else 1)
        total = sum(weights)
        drift = [one + effect * weight / total for one, weight in zip(drift, weights, strict=True)]
    return drift


def _reaction(event: Event, minutes: int) -> list[float]:
    if event.kind is not EventKind.NEWS:
        return [1.0] * minutes
    first = news_minute(event, minutes) + 1
    return [
        0.0 if t < first else 0.5 ** ((t - first) / _NEWS_HALF_LIFE_MINUTES) for t in range(minutes)
    ]


def _interest(
    shocks: Sequence[float], shape: Sequence[float], events: Sequence[Event]
) -> list[float]:
    """Relative volume of each minute: U-shaped, more where the price moves, and more after news."""
    minutes = len(shape)
    usual = math.sqrt(sum(shock * shock for shock in shocks))
    interest = [
        volume * (0.7 + 0.3 * min(4.0, abs(shock) / (usual * size)))
        for volume, shock, size in zip(volume_shape(minutes), shocks, shape, strict=True)
    ]
    for event in events:
        if event.kind is EventKind.NEWS:
            reaction = _reaction(event, minutes)
            interest = [one * (1 + 4 * more) for one, more in zip(interest, reaction, strict=True)]
    return interest


def _volumes(
    draw: random.Random, traded: Sequence[int], total: int, interest: Sequence[float]
) -> list[int]:
    """Shares of each traded minute; they add up to the day's volume."""
    if total == 0:
        return [0] * len(traded)
    weights = [interest[minute] * math.exp(draw.gauss(0, 0.3)) for minute in traded]
    scale = total / sum(weights)
    volumes = [max(1, int(weight * scale)) for weight in weights]
    volumes[-1] = max(1, volumes[-1] + total - sum(volumes))
    return volumes


def _bar(
    draw: random.Random, minute: int, before: int, close: int, volume: int, wick: float
) -> MinuteBar:
    opened = before if minute == 0 else max(1, before + draw.choice((-1, 0, 0, 0, 1)))
    reach = wick * close
    return MinuteBar(
        minute=minute,
        open=opened,
        high=max(opened, close) + int(abs(draw.gauss(0, reach))),
        low=max(1, min(opened, close) - int(abs(draw.gauss(0, reach)))),
        close=close,
        volume=volume,
    )
