from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.fees import HK_RATES, US_RATES, FeeRate, fees_for_fill, has_schedule
from shared.models import Side

TODAY = date(2026, 6, 15)


def charged(
    currency: str, side: Side, quantity: int, price: str, on: date = TODAY
) -> dict[str, Decimal]:
    fees = fees_for_fill(currency, side=side, quantity=quantity, price=Decimal(price), on=on)
    return {fee.name: fee.amount for fee in fees}


def test_a_buy_in_the_united_states_costs_nothing_but_its_price() -> None:
    assert charged("USD", Side.BUY, 1000, "100") == {}


def test_a_sale_pays_section_31_and_the_activity_fee_each_rounded_up_to_the_cent() -> None:
    # 100,000 x 20.60 / 1,000,000 = 2.06 and 1,000 x 0.000195 = 0.195
    assert charged("USD", Side.SELL, 1000, "100") == {
        "sec_section_31": Decimal("2.06"),
        "finra_taf": Decimal("0.20"),
    }


def test_one_share_pays_a_cent_of_each() -> None:
    assert charged("USD", Side.SELL, 1, "10") == {
        "sec_section_31": Decimal("0.01"),
        "finra_taf": Decimal("0.01"),
    }


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (date(2026, 4, 3), None),
        (date(2026, 4, 4), Decimal("20.60")),
        (date(2025, 5, 14), None),
    ],
)
def test_section_31_is_charged_at_the_rate_of_the_day(on: date, expected: Decimal | None) -> None:
    assert charged("USD", Side.SELL, 10_000, "100", on).get("sec_section_31") == expected


@pytest.mark.parametrize(
    ("on", "cap"),
    [(date(2026, 12, 31), Decimal("9.79")), (date(2027, 1, 1), Decimal("11.61"))],
)
def test_the_activity_fee_is_capped_at_the_amount_of_the_year(on: date, cap: Decimal) -> None:
    assert charged("USD", Side.SELL, 1_000_000, "1", on)["finra_taf"] == cap


def test_the_activity_fee_of_2027_applies_from_new_years_day() -> None:
    assert charged("USD", Side.SELL, 1000, "1", date(2027, 1, 1))["finra_taf"] == Decimal("0.24")


def test_a_day_before_the_table_is_charged_at_its_first_row_and_says_so() -> None:
    fees = charged("USD", Side.SELL, 1000, "100", date(2019, 2, 11))

    assert fees == {"finra_taf (rate of 2026-01-01)": Decimal("0.20")}


def test_a_hong_kong_trade_pays_stamp_duty_rounded_up_to_the_dollar_and_the_rest_to_the_cent() -> (
    None
):
    # 40,050 Hong Kong dollars
    assert charged("HKD", Side.BUY, 100, "400.50") == {
        "commission": Decimal("12.02"),
        "stamp_duty": Decimal(41),
        "sfc_levy": Decimal("1.08"),
        "afrc_levy": Decimal("0.06"),
        "trading_fee": Decimal("2.26"),
        "settlement_fee": Decimal("1.68"),
    }


def test_a_small_hong_kong_order_pays_the_least_commission_once_however_it_fills() -> None:
    first = fees_for_fill("HKD", side=Side.BUY, quantity=100, price=Decimal(5), on=TODAY)
    second = fees_for_fill(
        "HKD",
        side=Side.BUY,
        quantity=100,
        price=Decimal(5),
        on=TODAY,
        earlier_quantity=100,
        earlier_value=Decimal(500),
    )

    assert {fee.name: fee.amount for fee in first}["commission"] == 3
    assert "commission" not in {fee.name for fee in second}


def test_a_currency_without_a_schedule_is_an_error_and_not_free() -> None:
    assert not has_schedule("EUR")
    with pytest.raises(ValueError, match="EUR"):
        charged("EUR", Side.SELL, 1, "1")


@pytest.mark.parametrize("row", [*US_RATES, *HK_RATES], ids=lambda row: row.name)
def test_every_row_says_where_it_comes_from(row: FeeRate) -> None:
    assert row.source
    assert row.rate >= 0


@pytest.mark.parametrize("rates", [US_RATES, HK_RATES], ids=["US", "HK"])
def test_rows_of_one_charge_stand_together_by_date(rates: tuple[FeeRate, ...]) -> None:
    keys = [(row.name, row.effective_from) for row in rates]
    names = list(dict.fromkeys(name for name, _ in keys))

    assert sorted(keys, key=lambda key: (names.index(key[0]), key[1])) == keys


@given(
    parts=st.lists(st.integers(min_value=1, max_value=5000), min_size=1, max_size=8),
    cents=st.integers(min_value=1, max_value=50_000),
    side=st.sampled_from(Side),
    currency=st.sampled_from(["USD", "HKD"]),
)
def test_an_order_filled_in_parts_pays_exactly_what_it_would_pay_whole(
    parts: list[int], cents: int, side: Side, currency: str
) -> None:
    price = Decimal(cents) / 100
    paid, quantity = Decimal(0), 0
    for part in parts:
        fees = fees_for_fill(
            currency,
            side=side,
            quantity=part,
            price=price,
            on=TODAY,
            earlier_quantity=quantity,
            earlier_value=price * quantity,
        )
        assert all(fee.amount > 0 for fee in fees)
        paid += sum((fee.amount for fee in fees), Decimal(0))
        quantity += part

    assert paid == sum(charged(currency, side, quantity, str(price)).values())
