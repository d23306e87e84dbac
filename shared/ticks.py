"""The smallest price steps of an exchange's shares, dated, with their sources.

It knows shares alone: Hong Kong's exchange-traded products, debt and structured products have other
tables, and what a broker says about a symbol counts for more than anything here.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from shared.models import TickBand


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedTicks:
    """One table of price steps and the day from which it applies."""

    bands: tuple[TickBand, ...]
    """Ascending by from_price; the first one starts at 0."""
    effective_from: date
    label: str
    """Where it comes from; says so where the table is younger than the day it is used for."""


def ticks(exchange: str, on: date) -> DatedTicks:
    """Return the table of an exchange, such as XNYS, on one of its local dates.

    A day before the first table gets the first one, and the label says so.
    Raises ValueError for an exchange without a table.
    """
    if exchange not in _TABLES:
        msg = f"no tick table for {exchange}, known are {', '.join(sorted(_TABLES))}"
        raise ValueError(msg)
    tables = _TABLES[exchange]
    in_force = [table for table in tables if table.effective_from <= on]
    return in_force[-1] if in_force else _early(tables[0])


def _early(table: DatedTicks) -> DatedTicks:
    return DatedTicks(
        bands=table.bands,
        effective_from=table.effective_from,
        label=f"{table.label} (table of {table.effective_from.isoformat()})",
    )


def _bands(*rows: tuple[str, str]) -> tuple[TickBand, ...]:
    return tuple(TickBand(from_price=Decimal(price), tick=Decimal(tick)) for price, tick in rows)


_HK_FROM_100 = (
    *(("100", "0.1"), ("200", "0.2"), ("500", "0.5")),
    *(("1000", "1"), ("2000", "2"), ("5000", "5")),
)

_UNITED_STATES = (
    DatedTicks(
        bands=_bands(("0", "0.0001"), ("1", "0.01")),
        effective_from=date(2006, 1, 31),
        # Amended in 2024 so that some shares will be quoted in half cents; a cent stays valid for them.
        label="SEC rule 612 (17 CFR 242.612)",
    ),
)

_HONG_KONG = (
    DatedTicks(
        bands=_bands(
            *(("0", "0.001"), ("0.25", "0.005"), ("0.5", "0.01")),
            *(("10", "0.02"), ("20", "0.05"), *_HK_FROM_100),
        ),
        effective_from=date(2006, 7, 24),
        label="HKEX, spread table of 24 July 2006",
    ),
    DatedTicks(
        bands=_bands(
            *(("0", "0.001"), ("0.25", "0.005"), ("0.5", "0.01")),
            *(("20", "0.02"), ("50", "0.05"), *_HK_FROM_100),
        ),
        effective_from=date(2025, 8, 4),
        label="HKEX, Reduction of Minimum Spreads, phase 1",
    ),
    DatedTicks(
        bands=_bands(
            *(("0", "0.001"), ("0.25", "0.005"), ("10", "0.01")),
            *(("20", "0.02"), ("50", "0.05"), *_HK_FROM_100),
        ),
        # HKEX announced "around mid-2026"; the day is the one that public trading software uses.
        effective_from=date(2026, 8, 3),
        label="HKEX, Reduction of Minimum Spreads, phase 2",
    ),
)

_TABLES = {"XNYS": _UNITED_STATES, "XHKG": _HONG_KONG}
