"""What a snapshot says about a price and about targets, before anything is drafted from it."""

from decimal import Decimal
from typing import Any

import pytest

from brokers.drafts import is_left_behind, is_through, may_be_through, targets_without_stop
from shared.models import Order, OrderStatus, OrderType, Side, Snapshot
from tests.builders import order, position, quote, snapshot

SYMBOL = "ACME"
STOP = Decimal(98)


def seen(bid: str | None, mark: str | None, **of_quote: Any) -> Snapshot:
    """A market in which the feed bids this, and the broker values a share at that."""
    return snapshot(
        quotes={SYMBOL: quote(bid=None if bid is None else Decimal(bid), **of_quote)},
        positions=(position(market_price=None if mark is None else Decimal(mark)),),
    )


@pytest.mark.parametrize(
    ("bid", "mark", "both", "one"),
    [
        pytest.param("97", "97.5", True, True, id="both below"),
        pytest.param("98", "98", True, True, id="both at it"),
        pytest.param("97", "98.01", False, True, id="the feed alone"),
        pytest.param("98.01", "97", False, True, id="the broker alone"),
        pytest.param("99", "99", False, False, id="neither"),
        pytest.param(None, "97", False, True, id="no bid"),
        pytest.param("97", None, False, True, id="no word of the broker"),
        pytest.param(None, None, False, False, id="nothing known"),
        *(
            pytest.param(none, "97", False, True, id=f"a bid of {none}")
            for none in ("NaN", "sNaN", "-Infinity", "0", "-1")
        ),
        *(
            pytest.param("99", none, False, False, id=f"a price of {none}")
            for none in ("NaN", "sNaN", "-Infinity", "0", "-1")
        ),
    ],
)
def test_a_price_is_through_a_stop_by_two_words_and_may_be_by_one(
    bid: str | None, mark: str | None, both: Any, one: Any
) -> None:
    market = seen(bid, mark)

    assert is_through(STOP, SYMBOL, market) is both
    assert may_be_through(STOP, SYMBOL, market) is one
    assert not is_through(None, SYMBOL, market)
    assert not may_be_through(None, SYMBOL, market)


@pytest.mark.parametrize(
    ("bid", "of_quote", "expected"),
    [
        pytest.param("97.99", {}, True, id="below"),
        pytest.param("98", {}, False, id="at the limit somebody buys"),
        pytest.param("99", {}, False, id="above"),
        pytest.param("97.99", {"halted": True}, False, id="halted"),
        pytest.param(None, {}, False, id="no bid"),
        pytest.param("NaN", {}, False, id="no number"),
        pytest.param("0", {}, False, id="zero"),
    ],
)
def test_a_sale_is_left_behind_when_nobody_bids_its_limit_any_more(
    bid: str | None, of_quote: dict[str, Any], expected: Any
) -> None:
    market = seen(bid, "99", **of_quote)

    assert is_left_behind(Decimal(98), SYMBOL, market) is expected
    assert not is_left_behind(None, SYMBOL, market)
    assert not is_left_behind(Decimal(98), "OTHER", market)


def target(name: str, **changes: Any) -> Order:
    return order(name, **{"side": Side.SELL, "limit_price": Decimal(105)} | changes)


def stop_of(parent: str | None) -> Order:
    return order(
        "stop",
        side=Side.SELL,
        order_type=OrderType.STOP,
        limit_price=None,
        stop_price=STOP,
        parent_order_id=parent,
    )


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        pytest.param([target("T"), stop_of("T")], [], id="an OCO"),
        pytest.param([target("T", parent_order_id="E"), stop_of("E")], [], id="a bracket"),
        pytest.param([target("T")], ["T"], id="a target alone"),
        pytest.param([target("T"), stop_of(None)], ["T"], id="a stop that is not its own"),
        pytest.param([target("T"), target("U"), stop_of("U")], ["T"], id="one of two"),
        pytest.param(
            [target("T", status=OrderStatus.CANCEL_PENDING)], ["T"], id="a cancel that sticks"
        ),
        pytest.param([target("T", status=OrderStatus.HELD)], [], id="waits for its entry"),
        pytest.param([target("T", side=Side.BUY)], [], id="a purchase"),
        pytest.param([target("T", client_order_id=None)], [], id="laid down by hand"),
        pytest.param([target("T", symbol="OTHER")], [], id="another symbol"),
    ],
)
def test_a_target_is_alone_when_no_stop_has_the_same_parent(
    orders: list[Order], expected: list[str]
) -> None:
    found = targets_without_stop(SYMBOL, snapshot(open_orders=tuple(orders)))

    assert [one.broker_order_id for one in found] == expected
