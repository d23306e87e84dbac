from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.fees import HK_RATES, US_RATES, FeeRate, fees_for_fill, has_schedule
from shared.models import Fill, InstrumentKind, Side

TODAY = date(2026, 6, 15)


def charged(
    currency: str, side: Side, quantity: int, price: str, on: date = TODAY
) -> dict[str, Decimal]:
    fees = fees_for_fill(currency, side=side, quantity=quantity, price=Decimal(price), on=on)
    return {fee.name: fee.amount for fee in fees}


def fill(side: Side, price: str) -> Fill:
    fees = fees_for_fill("HKD", side=side, quantity=1000, price=Decimal(price), on=TODAY)
    return Fill(
        fill_id=side,
        broker_order_id=side,
        symbol="0005",
        side=side,
        quantity=1000,
        price=Decimal(price),
        at=datetime(2026, 6, 15, 2, 0, tzinfo=UTC),
        fees=fees,
    )


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
        (date(2018, 5, 22), Decimal("13.00")),
        (date(2019, 4, 15), Decimal("13.00")),
        (date(2019, 4, 16), Decimal("20.70")),
        (date(2021, 2, 24), Decimal("22.10")),
        (date(2021, 2, 25), Decimal("5.10")),
        (date(2025, 5, 13), Decimal("27.80")),
        (date(2025, 5, 14), None),
        (date(2026, 4, 3), None),
        (date(2026, 4, 4), Decimal("20.60")),
    ],
    ids=str,
)
def test_section_31_is_charged_at_the_rate_of_the_day(on: date, expected: Decimal | None) -> None:
    assert charged("USD", Side.SELL, 10_000, "100", on).get("sec_section_31") == expected


@pytest.mark.parametrize(
    ("on", "cap"),
    [
        (date(2019, 2, 11), Decimal("5.95")),
        (date(2025, 12, 31), Decimal("8.30")),
        (date(2026, 12, 31), Decimal("9.79")),
        (date(2027, 1, 1), Decimal("11.61")),
    ],
    ids=str,
)
def test_the_activity_fee_is_capped_at_the_amount_of_the_year(on: date, cap: Decimal) -> None:
    assert charged("USD", Side.SELL, 1_000_000, "1", on)["finra_taf"] == cap


def test_the_activity_fee_of_2027_applies_from_new_years_day() -> None:
    assert charged("USD", Side.SELL, 1000, "1", date(2027, 1, 1))["finra_taf"] == Decimal("0.24")


def test_a_day_before_the_table_is_charged_at_its_first_row_and_says_so() -> None:
    fees = charged("USD", Side.SELL, 1000, "100", date(2012, 6, 29))

    # 100,000 x 13.00 / 1,000,000 and 1,000 x 0.000119
    assert fees == {
        "sec_section_31 (rate of 2018-05-22)": Decimal("1.30"),
        "finra_taf (rate of 2012-07-01)": Decimal("0.12"),
    }


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


def test_a_hong_kong_trade_of_april_2022_pays_what_was_due_then() -> None:
    # 40,050 Hong Kong dollars: duty of 0.13 %, fee of 0.005 %, 50 cents of tariff, at least 2 to settle
    assert charged("HKD", Side.SELL, 100, "400.50", date(2022, 4, 1)) == {
        "commission": Decimal("12.02"),
        "stamp_duty": Decimal(53),
        "sfc_levy": Decimal("1.08"),
        "afrc_levy": Decimal("0.06"),
        "trading_fee": Decimal("2.00"),
        "trading_tariff": Decimal("0.50"),
        "settlement_fee": Decimal(2),
    }


@pytest.mark.parametrize(
    ("on", "per_cent"),
    [
        (date(2021, 7, 30), "0.10"),
        (date(2021, 8, 2), "0.13"),
        (date(2023, 11, 16), "0.13"),
        (date(2023, 11, 17), "0.10"),
    ],
    ids=str,
)
def test_stamp_duty_is_that_of_the_day(on: date, per_cent: str) -> None:
    duty = charged("HKD", Side.BUY, 1000, "100", on)["stamp_duty"]

    assert duty == Decimal(per_cent) / 100 * 100_000


@pytest.mark.parametrize(
    ("value", "duty"), [("1", "1"), ("1000", "1"), ("1000.01", "2"), ("39999.99", "40")]
)
def test_stamp_duty_is_rounded_up_to_the_dollar(value: str, duty: str) -> None:
    assert charged("HKD", Side.BUY, 1, value)["stamp_duty"] == Decimal(duty)


@pytest.mark.parametrize(
    ("value", "commission"), [("9999", "3"), ("10000", "3"), ("10016", "3"), ("10017", "3.01")]
)
def test_commission_is_three_dollars_at_least(value: str, commission: str) -> None:
    assert charged("HKD", Side.SELL, 1, value)["commission"] == Decimal(commission)


@pytest.mark.parametrize(
    ("on", "value", "fee"),
    [
        (date(2025, 6, 27), "1000", "2"),
        (date(2025, 6, 27), "1000000", "20"),
        (date(2025, 6, 27), "9000000", "100"),
        (date(2025, 6, 30), "1000", "0.04"),
        (date(2025, 6, 30), "9000000", "378"),
    ],
)
def test_settlement_has_no_least_and_no_most_since_june_2025(
    on: date, value: str, fee: str
) -> None:
    assert charged("HKD", Side.BUY, 1, value, on)["settlement_fee"] == Decimal(fee)


def test_a_fund_pays_no_stamp_duty_and_every_other_charge() -> None:
    shares, fund = (
        {
            fee.name: fee.amount
            for fee in fees_for_fill(
                "HKD", side=Side.BUY, quantity=500, price=Decimal(20), on=TODAY, kind=kind
            )
        }
        for kind in (InstrumentKind.STOCK, InstrumentKind.ETF)
    )

    assert shares.pop("stamp_duty") == 10
    assert fund == shares


def test_a_fund_in_the_united_states_pays_as_a_share_does() -> None:
    stock, fund = (
        fees_for_fill("USD", side=Side.SELL, quantity=500, price=Decimal(20), on=TODAY, kind=kind)
        for kind in (InstrumentKind.STOCK, InstrumentKind.ETF)
    )

    assert fund == stock


def test_a_round_trip_has_a_gross_and_a_net_result() -> None:
    bought, sold = (fill(side, price) for side, price in ((Side.BUY, "40"), (Side.SELL, "40.40")))

    gross = sold.price * sold.quantity - bought.price * bought.quantity
    net = gross - bought.total_fees - sold.total_fees

    assert gross == 400
    # 12 + 40 + 1.08 + 0.06 + 2.26 + 1.68, and 12.12 + 41 + 1.09 + 0.06 + 2.28 + 1.70
    assert net == Decimal(400) - Decimal("57.08") - Decimal("58.25")


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
    on=st.sampled_from([TODAY, date(2022, 4, 1)]),
    kind=st.sampled_from([InstrumentKind.STOCK, InstrumentKind.ETF]),
)
def test_an_order_filled_in_parts_pays_exactly_what_it_would_pay_whole(
    parts: list[int], cents: int, side: Side, currency: str, on: date, kind: InstrumentKind
) -> None:
    price = Decimal(cents) / 100
    paid, quantity = Decimal(0), 0
    for part in parts:
        fees = fees_for_fill(
            currency,
            side=side,
            quantity=part,
            price=price,
            on=on,
            kind=kind,
            earlier_quantity=quantity,
            earlier_value=price * quantity,
        )
        assert all(fee.amount > 0 for fee in fees)
        paid += sum((fee.amount for fee in fees), Decimal(0))
        quantity += part

    whole = fees_for_fill(currency, side=side, quantity=quantity, price=price, on=on, kind=kind)
    assert paid == sum(fee.amount for fee in whole)
