from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.ledger import (
    Adjustment,
    Oversold,
    PositionState,
    apply_adjustment,
    apply_fill,
    cash_flow,
    money_from_outside,
    unlisted_fill,
)
from shared.models import Fee, Fill, Order, OrderStatus, OrderType, Side, TimeInForce

AT = datetime(2026, 6, 15, 14, 30, tzinfo=UTC)
NOTHING: PositionState | None = None
FEES = (("stamp_duty", "3"), ("commission", "3"), ("sfc_levy", "0.06"))


def fill(
    side: Side, quantity: int, price: str | Decimal, *, fee: str | Decimal = "0", n: int = 0
) -> Fill:
    return Fill(
        fill_id=f"f{n}",
        broker_order_id="b1",
        symbol="ACME",
        side=side,
        quantity=quantity,
        price=Decimal(price),
        at=AT + timedelta(minutes=n),
        fees=(Fee(name="commission", amount=Decimal(fee), currency="USD"),),
    )


def fold(fills: list[Fill]) -> PositionState | None:
    return reduce(apply_fill, fills, NOTHING)


@dataclass(frozen=True)
class Step:
    is_buy: bool
    quantity: int
    price: Decimal
    fee: Decimal


STEPS = st.lists(
    st.builds(
        Step,
        is_buy=st.booleans(),
        quantity=st.integers(min_value=1, max_value=5000),
        price=st.decimals(min_value="0.001", max_value="9999", places=3),
        fee=st.decimals(min_value="-1", max_value="20", places=2),
    ),
    min_size=1,
    max_size=12,
)


def possible(steps: list[Step]) -> list[Fill]:
    """Turn steps into fills of one position: a sell takes at most what is held, the last one may end it."""
    fills: list[Fill] = []
    held = 0
    for number, step in enumerate(steps):
        if not step.is_buy and held == 0:
            continue
        side = Side.BUY if step.is_buy else Side.SELL
        quantity = step.quantity if step.is_buy else min(step.quantity, held)
        fills.append(fill(side, quantity, step.price, fee=step.fee, n=number))
        held += quantity if step.is_buy else -quantity
        if held == 0:
            break
    return fills


def test_a_round_trip_earns_what_came_in_less_what_went_out() -> None:
    closed = fold(
        [fill(Side.BUY, 100, "10.00", fee="1"), fill(Side.SELL, 100, "11.50", fee="1.25", n=1)]
    )

    assert closed is not None
    assert (closed.quantity, closed.closed_at) == (0, AT + timedelta(minutes=1))
    assert (closed.realized_pnl_gross, closed.realized_pnl) == (Decimal(150), Decimal("147.75"))
    assert closed.average_exit_price == Decimal("11.50")


def test_buying_more_moves_the_average_and_selling_does_not() -> None:
    added = fold([fill(Side.BUY, 100, "10"), fill(Side.BUY, 50, "13", n=1)])
    reduced = fold(
        [fill(Side.BUY, 100, "10"), fill(Side.BUY, 50, "13", n=1), fill(Side.SELL, 60, "20", n=2)]
    )

    assert added is not None
    assert reduced is not None
    assert added.average_entry_price == reduced.average_entry_price == Decimal(11)
    assert reduced.realized_pnl_gross == Decimal(540)
    assert reduced.remaining_cost == Decimal(990)


def test_a_price_that_does_not_divide_leaves_no_remainder_at_the_end() -> None:
    fills = [
        fill(Side.BUY, 1, "10.00"),
        fill(Side.BUY, 2, "10.01", n=1),
        *(fill(Side.SELL, 1, "10.00", n=n) for n in (2, 3, 4)),
    ]
    closed = fold(fills)

    assert closed is not None
    assert closed.realized_pnl == Decimal("-0.02")


def test_an_unusually_fine_price_leaves_no_remainder_either() -> None:
    price = "10.1234567890123"
    closed = fold([fill(Side.BUY, 3, price), fill(Side.SELL, 3, "11", n=1)])

    assert closed is not None
    assert closed.realized_pnl == 33 - 3 * Decimal(price)
    assert closed.remaining_cost == 0


def test_fees_count_when_they_are_paid() -> None:
    opened = fold([fill(Side.BUY, 100, "10", fee="3")])

    assert opened is not None
    assert (opened.realized_pnl_gross, opened.realized_pnl) == (Decimal(0), Decimal(-3))
    assert opened.average_entry_price == Decimal(10)


def test_a_buy_after_the_end_begins_a_new_position() -> None:
    again = fold(
        [
            fill(Side.BUY, 1, "10", fee="1"),
            fill(Side.SELL, 1, "11", n=1),
            fill(Side.BUY, 2, "12", n=2),
        ]
    )

    assert again is not None
    assert (again.quantity, again.fees, again.opened_at) == (2, 0, AT + timedelta(minutes=2))


@pytest.mark.parametrize("bought", [0, 99])
def test_more_cannot_be_sold_than_is_held(bought: int) -> None:
    held = fold([fill(Side.BUY, bought, "10")]) if bought else None

    with pytest.raises(Oversold, match=f"100 ACME were sold, {bought} are held"):
        apply_fill(held, fill(Side.SELL, 100, "10", n=1))


def test_a_fill_of_another_symbol_is_refused() -> None:
    held = fold([fill(Side.BUY, 1, "10")])

    with pytest.raises(ValueError, match="OTHER"):
        apply_fill(held, replace(fill(Side.BUY, 1, "10"), symbol="OTHER"))


@given(STEPS)
def test_cash_is_neither_made_nor_lost(steps: list[Step]) -> None:
    fills = possible(steps)
    position = fold(fills)
    assume(position is not None)
    assert position is not None
    signed = sum(
        (one.quantity * one.price * (1 if one.side is Side.SELL else -1) for one in fills),
        Decimal(0),
    )
    fees = sum((one.total_fees for one in fills), Decimal(0))

    assert position.cash_flow == signed - fees
    assert position.realized_pnl == position.cash_flow + position.remaining_cost
    if not position.is_open:
        assert position.remaining_cost == 0
        assert position.realized_pnl == signed - fees


@given(STEPS)
def test_a_quantity_is_never_negative_and_always_what_was_bought_less_what_was_sold(
    steps: list[Step],
) -> None:
    position = None
    for one in possible(steps):
        position = apply_fill(position, one)

        assert position.quantity == position.bought_quantity - position.sold_quantity >= 0
        assert position.remaining_cost >= 0


@given(STEPS, st.integers(min_value=0), st.integers(min_value=1))
def test_a_fill_reported_in_parts_gives_the_same_position(
    steps: list[Step], which: int, cut: int
) -> None:
    fills = possible(steps)
    assume(fills)
    index = which % len(fills)
    whole = fills[index]
    assume(whole.quantity > 1)
    first = 1 + cut % (whole.quantity - 1)
    parts = [
        replace(whole, quantity=first, fees=()),
        replace(whole, quantity=whole.quantity - first),
    ]

    assert fold([*fills[:index], *parts, *fills[index + 1 :]]) == fold(fills)


def order(filled_quantity: int, average: str | None, fills: tuple[Fill, ...] = ()) -> Order:
    return Order(
        broker_order_id="b1",
        client_order_id="c1",
        symbol="ACME",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        quantity=300,
        status=OrderStatus.PARTIALLY_FILLED,
        submitted_at=AT,
        updated_at=AT + timedelta(seconds=7),
        filled_quantity=filled_quantity,
        average_fill_price=None if average is None else Decimal(average),
        fills=fills,
    )


def test_totals_without_fills_are_taken_for_the_fill_they_grew_by() -> None:
    derived = unlisted_fill(order(200, "10.25"), known_quantity=100, known_value=Decimal(1000))

    assert derived is not None
    assert (derived.fill_id, derived.quantity, derived.price) == ("b1:200", 100, Decimal("10.5"))
    assert derived.at == AT + timedelta(seconds=7)


def test_the_charges_on_such_a_fill_are_what_those_on_the_order_grew_by() -> None:
    charged = tuple(Fee(name=name, amount=Decimal(amount), currency="HKD") for name, amount in FEES)
    whole = replace(order(200, "10.25"), fees=charged)

    first = unlisted_fill(whole, known_quantity=0, known_value=Decimal(0))
    known = {"stamp_duty": Decimal(2), "commission": Decimal(3)}
    second = unlisted_fill(whole, known_quantity=100, known_value=Decimal(1000), known_fees=known)

    assert first is not None
    assert first.fees == charged
    assert second is not None
    assert [(fee.name, fee.amount) for fee in second.fees] == [
        ("stamp_duty", Decimal(1)),
        ("sfc_levy", Decimal("0.06")),
    ]


def test_the_same_totals_give_no_second_fill() -> None:
    assert unlisted_fill(order(200, "10"), known_quantity=200, known_value=Decimal(2000)) is None


def test_fills_that_are_listed_are_believed() -> None:
    listed = order(200, "10", (fill(Side.BUY, 100, "10"),))

    assert unlisted_fill(listed, known_quantity=0, known_value=Decimal(0)) is None


def test_a_total_without_a_price_is_an_error_and_not_a_gift() -> None:
    with pytest.raises(ValueError, match="b1 is filled without an average price"):
        unlisted_fill(order(100, None), known_quantity=0, known_value=Decimal(0))


def adjusted(state: PositionState | None, quantity: int, price: str) -> PositionState:
    assert state is not None
    word = Adjustment(quantity_after=quantity, entry_price_after=Decimal(price), at=AT)
    return apply_adjustment(state, word)


def test_an_adjustment_changes_shares_and_cost_and_neither_profit_nor_cash() -> None:
    before = fold([fill(Side.BUY, 10, "100", fee="1"), fill(Side.SELL, 4, "110", n=1)])
    assert before is not None
    after = adjusted(before, 12, "50")
    sold = apply_fill(after, fill(Side.SELL, 12, "60", n=2))

    assert (after.quantity, after.average_entry_price, after.remaining_cost) == (12, 50, 600)
    assert (after.realized_pnl, after.cash_flow) == (before.realized_pnl, before.cash_flow)
    assert sold.realized_pnl_gross == before.realized_pnl_gross + 12 * 10
    assert not sold.is_open


def test_a_position_adjusted_to_nothing_is_closed_with_the_profit_that_it_had() -> None:
    before = fold([fill(Side.BUY, 10, "100"), fill(Side.SELL, 4, "110", n=1)])
    after = adjusted(before, 0, "100")

    assert (after.is_open, after.closed_at) == (False, AT)
    assert (after.realized_pnl_gross, after.average_entry_price) == (40, 100)
    assert after.remaining_cost == 0


def test_what_is_bought_after_an_adjustment_is_averaged_with_it() -> None:
    after = adjusted(fold([fill(Side.BUY, 10, "100")]), 20, "50")
    more = apply_fill(after, fill(Side.BUY, 20, "60", n=1))

    assert (more.quantity, more.average_entry_price) == (40, 55)


@pytest.mark.parametrize("quantity", [-1, 5])
def test_what_is_closed_or_below_nothing_cannot_be_adjusted(quantity: int) -> None:
    state = fold([fill(Side.BUY, 10, "100")])
    closed = apply_fill(state, fill(Side.SELL, 10, "100", n=1))

    with pytest.raises(ValueError, match="cannot become"):
        adjusted(closed if quantity == 5 else state, quantity, "1")


@given(STEPS, st.decimals(min_value=-5000, max_value=5000, places=2))
def test_money_from_outside_is_what_no_fill_explains(steps: list[Step], came: Decimal) -> None:
    fills = possible(steps)
    now = 100_000 + sum((cash_flow(one) for one in fills), Decimal(0)) + came

    assert money_from_outside(starting_cash=Decimal(100_000), cash_now=now, fills=fills) == came
