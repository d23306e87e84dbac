"""What a fill costs beside its price: dated, itemised charges, as data with their sources.

Modelled, not reported: a real paper account may charge nothing of this. It knows no orders and no account.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import groupby

from shared.models import Fee, InstrumentKind, Side

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
    exempt: frozenset[InstrumentKind] = frozenset()
    """Kinds that are not charged."""
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
_FUNDS = frozenset({InstrumentKind.ETF})


def _section_31(effective_from: date, dollars_per_million: str) -> FeeRate:
    return FeeRate(
        name="sec_section_31",
        effective_from=effective_from,
        rate=Decimal(dollars_per_million) / 1_000_000,
        basis=Basis.VALUE,
        sides=_SELL,
        source="Securities Exchange Act, section 31; the SEC's fee rate advisories and yearly orders",
    )


def _activity_fee(effective_from: date, rate: str, most: str) -> FeeRate:
    return FeeRate(
        name="finra_taf",
        effective_from=effective_from,
        rate=Decimal(rate),
        basis=Basis.SHARES,
        sides=_SELL,
        maximum=Decimal(most),
        source="FINRA By-Laws, Schedule A, section 1: Trading Activity Fee",
    )


def _hong_kong(
    name: str,
    effective_from: date,
    percent: str,
    source: str,
    *,
    minimum: str | None = None,
    maximum: str | None = None,
) -> FeeRate:
    return FeeRate(
        name=name,
        effective_from=effective_from,
        rate=Decimal(percent) / 100,
        basis=Basis.VALUE,
        sides=_BOTH,
        minimum=None if minimum is None else Decimal(minimum),
        maximum=None if maximum is None else Decimal(maximum),
        rounding=ROUND_HALF_UP,
        source=source,
    )


def _stamp_duty(effective_from: date, percent: str) -> FeeRate:
    return FeeRate(
        name="stamp_duty",
        effective_from=effective_from,
        rate=Decimal(percent) / 100,
        basis=Basis.VALUE,
        sides=_BOTH,
        exempt=_FUNDS,
        quantum=Decimal(1),
        source="Stamp Duty Ordinance (Cap. 117), First Schedule, head 2; exchange-traded funds exempt",
    )


US_RATES: tuple[FeeRate, ...] = (
    _section_31(date(2018, 5, 22), "13.00"),
    _section_31(date(2019, 4, 16), "20.70"),
    _section_31(date(2020, 2, 18), "22.10"),
    _section_31(date(2021, 2, 25), "5.10"),
    _section_31(date(2022, 5, 14), "22.90"),
    _section_31(date(2023, 2, 27), "8.00"),
    _section_31(date(2024, 5, 22), "27.80"),
    _section_31(date(2025, 5, 14), "0"),
    _section_31(date(2026, 4, 4), "20.60"),
    _activity_fee(date(2012, 7, 1), "0.000119", "5.95"),
    _activity_fee(date(2022, 1, 1), "0.000130", "6.49"),
    _activity_fee(date(2023, 1, 1), "0.000145", "7.27"),
    _activity_fee(date(2024, 1, 1), "0.000166", "8.30"),
    _activity_fee(date(2026, 1, 1), "0.000195", "9.79"),
    _activity_fee(date(2027, 1, 1), "0.000232", "11.61"),
)
"""United States: no commission; both charges are rounded up to the cent, and fall on sells alone."""

_HKEX = "HKEX, Fees, Securities (Hong Kong), Transaction"
_HKEX_2013 = "HKEX, Transaction Costs, as of 23 October 2013"
_HKEX_2023 = "HKEX market communication 221101news: the tariff goes, the fee rises"

HK_RATES: tuple[FeeRate, ...] = (
    _hong_kong(
        *("commission", date(1970, 1, 1), "0.03"),
        "support.futunn.com, paper trading; a choice of the model, for any day",
        minimum="3",
    ),
    _stamp_duty(date(2001, 9, 1), "0.1"),
    _stamp_duty(date(2021, 8, 1), "0.13"),
    _stamp_duty(date(2023, 11, 17), "0.1"),
    _hong_kong("sfc_levy", date(2014, 11, 1), "0.0027", _HKEX),
    _hong_kong("afrc_levy", date(2013, 10, 23), "0", f"{_HKEX_2013}: not known yet"),
    _hong_kong("afrc_levy", date(2022, 1, 1), "0.00015", _HKEX),
    _hong_kong("trading_fee", date(2013, 10, 23), "0.005", _HKEX_2013),
    _hong_kong("trading_fee", date(2023, 1, 1), "0.00565", _HKEX_2023),
    _hong_kong("trading_tariff", date(2013, 10, 23), "0", _HKEX_2013, minimum="0.50"),
    _hong_kong("trading_tariff", date(2023, 1, 1), "0", _HKEX_2023),
    _hong_kong(
        *("settlement_fee", date(2019, 1, 1), "0.002"),
        "HKSCC; in force on this day at the latest",
        minimum="2",
        maximum="100",
    ),
    _hong_kong("settlement_fee", date(2025, 6, 30), "0.0042", "HKSCC: no least and no most"),
)
"""Hong Kong: both sides pay, per order and day; REITs, exempt from stamp duty too, count as shares."""

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
    kind: InstrumentKind = InstrumentKind.STOCK,
    earlier_quantity: int = 0,
    earlier_value: Decimal = Decimal(0),
) -> tuple[Fee, ...]:
    """Return what one fill owes; charges of nothing are left out.

    Each charge is worked out and rounded once for all that the order did on the exchange date `on`, so
    that filling in parts costs no more than filling whole: a fill owes what the total grew by. `earlier_*`
    is what the same order filled before, that day. FINRA's cap and Hong Kong's former tariff are per
    trade; here they are per order and day. Some kinds are exempt from some charges; shares from none.
    A day before a charge's first row is charged at that row's rate, and the name says so.
    Raises ValueError for a currency without a schedule.
    """
    if currency not in _SCHEDULES:
        msg = f"no fee schedule for {currency}, known are {', '.join(sorted(_SCHEDULES))}"
        raise ValueError(msg)
    value = price * quantity
    fees: list[Fee] = []
    for name, row in _rows_on(_SCHEDULES[currency], on):
        if side not in row.sides or kind in row.exempt:
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
