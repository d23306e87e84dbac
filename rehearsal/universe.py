"""The invented companies of a generated session: no name, symbol or price is taken from a real one."""

import math
import random
from dataclasses import dataclass

from shared.models import InstrumentKind

SECTORS = ("Robotics", "Biologics", "Energy", "Retail", "Financial")
_HEADS = ("Brenn", "Caldo", "Dorva", "Felmo", "Gantu", "Holvi", "Jarro", "Kelpa", "Lunto", "Mirva",
          "Norvo", "Pelda", "Rostu", "Sabli", "Tolva", "Umbro", "Vesta", "Wendo", "Yarlo", "Zimba")  # fmt: skip
_TAILS = ("dex", "fors", "gard", "hum", "kott", "lyn", "mere", "nix", "quist", "wick")
_FUNDS_AND_INDEX = 3
_THIN_ONE_IN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """One symbol of the invented market and what its prices are made from."""

    symbol: str
    name: str
    kind: InstrumentKind
    sector: int | None
    """Index into SECTORS; None moves with the whole market only."""
    base_price: float
    market_beta: float
    sector_beta: float
    own_volatility: float
    """Standard deviation of the day's return that is its own."""
    average_volume: int
    """Shares of a regular session; 0 for an index."""
    trade_chance: float
    """Chance that a minute sees a trade at all; below 1 the symbol is thin."""

    @property
    def is_liquid_stock(self) -> bool:
        """Whether news and halts may be about it."""
        return self.kind is InstrumentKind.STOCK and self.trade_chance == 1


def universe(seed: int, symbols: int) -> tuple[Company, ...]:
    """Invent `symbols` of them: one index, two funds, the rest stocks, one in twelve of them thin.

    Raises ValueError for a number below 5 or above 200.
    """
    if not 5 <= symbols <= 200:
        msg = f"a generated session has 5 to 200 symbols, was {symbols}"
        raise ValueError(msg)
    draw = random.Random(f"{seed}:universe:{symbols}")  # noqa: S311 (a rehearsal, not a secret)
    stems = [(head, tail) for head in _HEADS for tail in _TAILS]
    draw.shuffle(stems)
    count = symbols - _FUNDS_AND_INDEX
    stocks = [
        _stock(draw, number, *stems[number], thin=number % _THIN_ONE_IN == _THIN_ONE_IN - 1)
        for number in range(count)
    ]
    return (*_funds_and_index(draw), *stocks)


def _stock(draw: random.Random, number: int, head: str, tail: str, *, thin: bool) -> Company:
    sector = number % len(SECTORS)
    price = math.exp(draw.uniform(math.log(8), math.log(240)))
    turnover = math.exp(draw.uniform(math.log(3e7), math.log(1.5e9))) if not thin else 1.5e6
    return Company(
        symbol=f"Q{head[:2]}{tail[:2]}".upper(),
        name=f"{head}{tail} {SECTORS[sector]} (invented)",
        kind=InstrumentKind.STOCK,
        sector=sector,
        base_price=price,
        market_beta=draw.uniform(0.7, 1.4),
        sector_beta=draw.uniform(0.7, 1.3),
        own_volatility=draw.uniform(0.007, 0.014),
        average_volume=round(turnover / price),
        trade_chance=draw.uniform(0.3, 0.5) if thin else 1.0,
    )


def _funds_and_index(draw: random.Random) -> tuple[Company, ...]:
    return (
        _fund("QXIDX", "Market Index (invented)", InstrumentKind.INDEX, draw, sector=None),
        _fund("QXMKT", "Whole Market Fund (invented)", InstrumentKind.ETF, draw, sector=None),
        _fund("QXROB", f"{SECTORS[0]} Fund (invented)", InstrumentKind.ETF, draw, sector=0),
    )


def _fund(
    symbol: str, name: str, kind: InstrumentKind, draw: random.Random, *, sector: int | None
) -> Company:
    is_index = kind is InstrumentKind.INDEX
    return Company(
        symbol=symbol,
        name=name,
        kind=kind,
        sector=sector,
        base_price=draw.uniform(3000, 5000) if is_index else draw.uniform(90, 400),
        market_beta=1.0,
        sector_beta=0.0 if sector is None else 1.0,
        own_volatility=0.0004,
        average_volume=0 if is_index else draw.randrange(8_000_000, 40_000_000),
        trade_chance=1.0,
    )
