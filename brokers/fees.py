"""What a fill costs beside its price: dated, itemised charges, as data with their sources.

Modelled, not reported: a real paper account may charge nothing of this. It knows no orders and no account.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import groupby

from shared.models import Fee, Side

_CENT = Decimal("0.01")


class Basis(StrEnum):
    """What a rate is multiplied with."""

    VALUE = "value"
    SHARES = "shares"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRate:
    """One charge from one day on, until a later row of the same name."""

    name: str
    effective_from: date
    rate: Decimal
    """Money per unit of the basis."""
    basis: Basis
    sides: frozenset[Side]
    source: str
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    quantum: Decimal = _CENT
    """Smallest step of the charge."""
    rounding: str = ROUND_CEILING
    """How it reaches that step, as the decimal module names it."""

    def charge(self, quantity: int, value: Decimal) -> Decimal:
        """Return the charge on so many shares for so much money, rounded once; nothing for nothing."""
        if quantity == 0:
            return Decimal(0)
        amount = self.rate * (value if self.basis is Basis.VALUE else quantity)
        amount = amount.quantize(self.quantum, rounding=self.rounding)
        amount = amount if self.minimum is None else max(amount, self.minimum)
        return amount if self.maximum is None else min(amount, self.maximum)


_SELL = frozenset({Side.SELL})
_BOTH = frozenset(Side)
_ALWAYS = date(1970, 1, 1)

_SEC = "Securities Exchange Act section 31; SEC order 34-104909"
_TAF = "FINRA By-Laws, Schedule A, section 1: Trading Activity Fee"
_HKEX = "hkex.com.hk, Rules and Regulations, Fees"

US_RATES: tuple[FeeRate, ...] = (
    FeeRate(
        name="sec_section_31",
        effective_from=date(2025, 5, 14),
        rate=Decimal(0),
        basis=Basis.VALUE,
        sides=_SELL,
        source=_SEC,
    ),
    FeeRate(
        name="sec_section_31",
        effective_from=date(2026, 4, 4),
        rate=Decimal("0.0000206"),
        basis=Basis.VALUE,
        sides=_SELL,
        source=_SEC,
    ),
    FeeRate(
        name="finra_taf",
        effective_from=date(2026, 1, 1),
        rate=Decimal("0.000195"),
        basis=Basis.SHARES,
        sides=_SELL,
        maximum=Decimal("9.79"),
        source=_TAF,
    ),
    FeeRate(
        name="finra_taf",
        effective_from=date(2027, 1, 1),
        rate=Decimal("0.000232"),
        basis=Basis.SHARES,
        sides=_SELL,
        maximum=Decimal("11.61"),
        source=_TAF,
    ),
)
"""United States: no commission; both charges are rounded up to the cent, and fall on sells alone."""

HK_RATES: tuple[FeeRate, ...] = (
    FeeRate(
        name="commission",
        effective_from=_ALWAYS,
        rate=Decimal("0.0003"),
        basis=Basis.VALUE,
        sides=_BOTH,
        minimum=Decimal(3),
        rounding=ROUND_HALF_UP,
        source="support.futunn.com, paper trading: 0.03 %, at least HK$3 an order",
    ),
    FeeRate(
        name="stamp_duty",
        effective_from=date(2023, 11, 17),
        rate=Decimal("0.001"),
        basis=Basis.VALUE,
        sides=_BOTH,
        quantum=Decimal(1),
        source="Stamp Duty Ordinance (Cap. 117): 0.1 %, rounded up to the dollar",
    ),
    FeeRate(
        name="sfc_levy",
        effective_from=_ALWAYS,
        rate=Decimal("0.000027"),
        basis=Basis.VALUE,
        sides=_BOTH,
        rounding=ROUND_HALF_UP,
        source=_HKEX,
    ),
    FeeRate(
        name="afrc_levy",
        effective_from=_ALWAYS,
        rate=Decimal("0.0000015"),
        basis=Basis.VALUE,
        sides=_BOTH,
        rounding=ROUND_HALF_UP,
        source=_HKEX,
    ),
    FeeRate(
        name="trading_fee",
        effective_from=_ALWAYS,
        rate=Decimal("0.0000565"),
        basis=Basis.VALUE,
        sides=_BOTH,
        rounding=ROUND_HALF_UP,
        source=_HKEX,
    ),
    FeeRate(
        name="settlement_fee",
        effective_from=date(2025, 6, 30),
        rate=Decimal("0.000042"),
        basis=Basis.VALUE,
        sides=_BOTH,
        rounding=ROUND_HALF_UP,
        source="HKSCC: 0.0042 %, without minimum or maximum since 30 June 2025",
    ),
)
"""Hong Kong: shares pay stamp duty; exempt products (ETFs, REITs) are charged it here all the same."""

_SCHEDULES = {"USD": US_RATES, "HKD": HK_RATES}


def has_schedule(currency: str) -> bool:
    """Whether fees are known for accounts in this currency."""
    return currency in _SCHEDULES


def fees_for_fill(
    currency: str,
    *,
    side: Side,
    quantity: int,
    price: Decimal,
    on: date,
    earlier_quantity: int = 0,
    earlier_value: Decimal = Decimal(0),
) -> tuple[Fee, ...]:
    """Return what one fill owes; charges of nothing are left out.

    Each charge is worked out and rounded once for all that the order did on the exchange date `on`, so
    that filling in parts costs no more than filling whole: a fill owes what the total grew by. `earlier_*`
    is what the same order filled before, that day. FINRA's cap is per trade; here it is per order and day.
    A day before a charge's first row is charged at that row's rate, and the name says so.
    Raises ValueError for a currency without a schedule.
    """
    if currency not in _SCHEDULES:
        msg = f"no fee schedule for {currency}, known are {', '.join(sorted(_SCHEDULES))}"
        raise ValueError(msg)
    value = price * quantity
    fees: list[Fee] = []
    for name, row in _rows_on(_SCHEDULES[currency], on):
        if side not in row.sides:
            continue
        total = row.charge(earlier_quantity + quantity, earlier_value + value)
        amount = total - row.charge(earlier_quantity, earlier_value)
        if amount:
            fees.append(Fee(name=name, amount=amount, currency=currency))
    return tuple(fees)


def _rows_on(rates: Iterable[FeeRate], on: date) -> Iterable[tuple[str, FeeRate]]:
    """Yield the row of each charge that applies on a day, under the name to show."""
    for name, rows_of_name in groupby(rates, key=lambda row: row.name):
        rows = sorted(rows_of_name, key=lambda row: row.effective_from)
        in_force = [row for row in rows if row.effective_from <= on]
        if in_force:
            yield name, in_force[-1]
        else:
            yield f"{name} (rate of {rows[0].effective_from.isoformat()})", rows[0]
