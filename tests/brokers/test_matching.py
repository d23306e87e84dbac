from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.matching import (
    BookOrder,
    Execution,
    execution_at_quote,
    execution_in_bar,
    in_matching_order,
    volume_share,
)
from shared.models import (
    Bar,
    OrderStatus,
    OrderType,
    Quote,
    QuoteSource,
    Side,
    TimeInForce,
)
from tests.brokers.replay import MINUTE, at

NOW = at(14)


def order(
    side: Side,
    order_type: OrderType,
    price: int | str | None = None,
    *,
    quantity: int = 100,
    triggered: bool = False,
    sequence: int = 1,
) -> BookOrder:
    stated = None if price is None else Decimal(price)
    return BookOrder(
        sequence=sequence,
        broker_order_id=f"order-{sequence}",
        client_order_id=f"client-{sequence}",
        symbol="ACME",
        side=side,
        order_type=order_type,
        time_in_force=TimeInForce.DAY,
        quantity=quantity,
        status=OrderStatus.ACCEPTED,
        submitted_at=NOW,
        updated_at=NOW,
        active_from=NOW,
        limit_price=stated if order_type is OrderType.LIMIT else None,
        stop_price=stated if order_type is OrderType.STOP else None,
        triggered=triggered,
    )


def bar(opened: int, high: int, low: int, close: int) -> Bar:
    return Bar(
        symbol="ACME",
        start=NOW,
        end=NOW + MINUTE,
        open=Decimal(opened),
        high=Decimal(high),
        low=Decimal(low),
        close=Decimal(close),
        volume=1000,
    )


def quote(bid: str | None, ask: str | None, *, halted: bool = False) -> Quote:
    return Quote(
        symbol="ACME",
        at=NOW,
        bid=None if bid is None else Decimal(bid),
        ask=None if ask is None else Decimal(ask),
        last=Decimal(100),
        source=QuoteSource.MODELLED,
        halted=halted,
    )


BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, STOP = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP


@pytest.mark.parametrize(
    ("resting", "prices", "expected"),
    [
        pytest.param(order(BUY, LIMIT, 99), (100, 101, 99, 100), 99, id="buy limit touched"),
        pytest.param(order(BUY, LIMIT, 99), (98, 101, 97, 100), 98, id="buy limit, better open"),
        pytest.param(order(BUY, LIMIT, 99), (101, 102, 100, 101), None, id="buy limit missed"),
        pytest.param(order(SELL, LIMIT, 101), (100, 101, 99, 100), 101, id="sell limit touched"),
        pytest.param(order(SELL, LIMIT, 101), (103, 104, 99, 100), 103, id="sell limit, gap up"),
        pytest.param(order(SELL, LIMIT, 101), (99, 100, 98, 99), None, id="sell limit missed"),
        pytest.param(order(SELL, STOP, 95), (97, 98, 95, 96), 95, id="sell stop touched"),
        pytest.param(order(SELL, STOP, 95), (90, 99, 89, 98), 90, id="sell stop gapped through"),
        pytest.param(order(SELL, STOP, 95), (97, 98, 96, 97), None, id="sell stop untouched"),
        pytest.param(order(BUY, STOP, 105), (104, 105, 103, 104), 105, id="buy stop touched"),
        pytest.param(
            order(BUY, STOP, 105), (108, 109, 107, 108), 108, id="buy stop gapped through"
        ),
        pytest.param(order(BUY, STOP, 105), (103, 104, 102, 103), None, id="buy stop untouched"),
        pytest.param(order(BUY, MARKET), (104, 105, 103, 104), 104, id="market at the open"),
        pytest.param(
            order(SELL, STOP, 95, triggered=True),
            (97, 98, 96, 97),
            97,
            id="rest of a stop at the open",
        ),
    ],
)
def test_a_bar_gives_a_resting_order_its_price(
    resting: BookOrder, prices: tuple[int, int, int, int], expected: int | None
) -> None:
    execution = execution_in_bar(resting, bar(*prices), 1000)

    assert (None if execution is None else execution.price) == expected


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param(order(BUY, MARKET), "100.01", id="market buy pays the ask"),
        pytest.param(order(SELL, MARKET), "99.99", id="market sell takes the bid"),
        pytest.param(order(BUY, LIMIT, "100.01"), "100.01", id="limit at the ask"),
        pytest.param(order(BUY, LIMIT, 105), "100.01", id="limit through the ask pays the ask"),
        pytest.param(order(BUY, LIMIT, 100), None, id="limit inside the spread rests"),
        pytest.param(order(SELL, LIMIT, "99.99"), "99.99", id="limit at the bid"),
        pytest.param(order(SELL, LIMIT, 100), None, id="sell limit inside the spread rests"),
        pytest.param(order(SELL, STOP, 105), None, id="a stop waits for a bar"),
    ],
)
def test_a_quote_gives_a_new_order_its_price(new: BookOrder, expected: str | None) -> None:
    execution = execution_at_quote(new, quote("99.99", "100.01"), 1000)

    assert (None if execution is None else execution.price) == (expected and Decimal(expected))


@pytest.mark.parametrize(
    "missing", [quote("99.99", None), quote("99.99", "100.01", halted=True)], ids=["no ask", "halt"]
)
def test_without_an_ask_or_in_a_halt_a_buy_does_not_trade_at_once(missing: Quote) -> None:
    assert execution_at_quote(order(BUY, MARKET), missing, 1000) is None


@pytest.mark.parametrize(
    ("volume", "share_pct", "lot_size", "expected"),
    [
        (1000, 10, 1, 100),
        (1999, 10, 100, 100),
        (2000, 10, 100, 200),
        (50, 10, 100, 100),
        (1, 10, 1, 1),
        (0, 10, 1, 0),
    ],
)
def test_the_share_of_a_volume_is_whole_lots_and_one_at_least_if_anything_traded(
    volume: int, share_pct: int, lot_size: int, expected: int
) -> None:
    assert volume_share(volume, Decimal(share_pct), lot_size) == expected


def test_an_order_gets_no_more_than_its_share_and_no_more_than_it_wants() -> None:
    wants = order(BUY, MARKET, quantity=100)
    minute = bar(100, 100, 100, 100)

    assert execution_in_bar(wants, minute, 30) == Execution(price=Decimal(100), quantity=30)
    assert execution_in_bar(wants, minute, 500) == Execution(price=Decimal(100), quantity=100)
    assert execution_in_bar(wants, minute, 0) is None


def test_a_capped_order_fills_up_to_the_cap_and_never_more() -> None:
    capped = replace(order(BUY, MARKET, quantity=100), fill_cap=40)

    after = capped.after_fill(Execution(price=Decimal(100), quantity=40), NOW)

    assert capped.fillable_quantity == 40
    assert (after.fillable_quantity, after.remaining_quantity) == (0, 60)
    assert after.status is OrderStatus.PARTIALLY_FILLED


def test_stops_are_matched_before_older_orders_of_other_types() -> None:
    older, stop, newer = (
        order(SELL, LIMIT, 105, sequence=1),
        order(SELL, STOP, 95, sequence=2),
        order(BUY, MARKET, sequence=3),
    )

    assert in_matching_order([newer, older, stop]) == (stop, older, newer)


@pytest.mark.parametrize(
    ("status", "quantity", "expected"),
    [
        (OrderStatus.ACCEPTED, 100, OrderStatus.FILLED),
        (OrderStatus.ACCEPTED, 10, OrderStatus.PARTIALLY_FILLED),
        (OrderStatus.CANCEL_PENDING, 10, OrderStatus.CANCEL_PENDING),
        (OrderStatus.CANCEL_PENDING, 100, OrderStatus.FILLED),
        (OrderStatus.CANCELED, 10, OrderStatus.CANCELED),
        (OrderStatus.CANCELED, 100, OrderStatus.FILLED),
    ],
)
def test_a_fill_moves_the_status_where_a_broker_would(
    status: OrderStatus, quantity: int, expected: OrderStatus
) -> None:
    before = replace(order(BUY, LIMIT, 99), status=status)

    after = before.after_fill(Execution(price=Decimal(99), quantity=quantity), NOW)

    assert after.status is expected


PRICES = st.integers(min_value=1, max_value=50)


@given(
    side=st.sampled_from(Side),
    order_type=st.sampled_from(OrderType),
    price=PRICES,
    prices=st.tuples(PRICES, PRICES, PRICES, PRICES),
)
def test_a_fill_lies_within_the_bar_and_a_limit_is_never_broken(
    side: Side, order_type: OrderType, price: int, prices: tuple[int, int, int, int]
) -> None:
    low, opened, close, high = sorted(prices)
    execution = execution_in_bar(order(side, order_type, price), bar(opened, high, low, close), 10)

    if execution is None:
        assert order_type is not OrderType.MARKET
        return
    assert low <= execution.price <= high
    better = execution.price <= price if side is BUY else execution.price >= price
    assert better or order_type is not OrderType.LIMIT
    assert not better or execution.price == price or order_type is not OrderType.STOP
