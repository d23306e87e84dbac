"""What OpenD's messages mean, and what is sent to it."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import moomoo_errors, moomoo_wire
from brokers.moomoo_requests import cancel_body, order_body, require_sendable
from brokers.moomoo_stocks import Step, Stock, described
from brokers.moomoo_wire import PaperAccount
from brokers.paper_rules import RejectCode
from shared.errors import BrokerUnavailable, OrderOutcomeUnknown, OrderRejected
from shared.models import (
    InstrumentKind,
    OrderStatus,
    OrderType,
    Position,
    Side,
    TimeInForce,
    TradingDay,
)
from shared.opend import CallFailed, Refused
from shared.unreadable import Unreadable
from tests.brokers.order_requests import buy, sell
from tests.simulators.opend.accounts import ACCOUNTS, PAPER
from tests.simulators.opend.messages import module, trading

AT = datetime(2026, 12, 21, 2, tzinfo=UTC)
OURS = PaperAccount(account_id=PAPER.account_id, blocked=False)
HEADER = {"trdEnv": 0, "accID": PAPER.account_id, "trdMarket": 1}


def row(**changed: Any) -> Any:
    """One order as OpenD lists it; None leaves a field out."""
    words: dict[str, Any] = {
        "trdSide": 1,
        "orderType": 1,
        "orderStatus": 5,
        "orderID": 6912345678901234001,
        "orderIDEx": "6912345678901234001",
        "code": "00700",
        "name": "Tencent",
        "qty": 300.0,
        "price": 99.05,
        "createTime": "2026-12-21 10:00:00",
        "updateTime": "2026-12-21 10:00:01.500",
        "fillQty": 0.0,
        "fillAvgPrice": 0.0,
        "createTimestamp": AT.timestamp(),
        "updateTimestamp": AT.timestamp() + 1.5,
        "remark": "scan-1",
        **changed,
    }
    return trading.Order(**{name: value for name, value in words.items() if value is not None})


def read(**changed: Any) -> Any:
    return moomoo_wire.order(row(**changed), currency="HKD")


def position_row(**changed: Any) -> Any:
    words: dict[str, Any] = {
        "positionID": 1,
        "positionSide": 0,
        "code": "00700",
        "name": "Tencent",
        "qty": 100.0,
        "canSellQty": 100.0,
        "price": 101.5,
        "val": 10150.0,
        "plVal": 150.0,
        "dilutedCostPrice": 100.03333333333333,
        "plRatio": 0.0147,
        **changed,
    }
    return trading.Position(**{name: value for name, value in words.items() if value is not None})


def positions(*rows: Any) -> tuple[Position, ...]:
    said = module("Trd_GetPositionList").S2C(header=HEADER, positionList=rows)
    return moomoo_wire.positions(said, OURS, currency="HKD")


def test_an_order_is_what_opend_lists() -> None:
    order = read()

    assert (order.broker_order_id, order.client_order_id) == ("6912345678901234001", "scan-1")
    assert (order.symbol, order.side, order.order_type) == ("0700", Side.BUY, OrderType.LIMIT)
    assert (order.quantity, order.filled_quantity, order.limit_price) == (300, 0, Decimal("99.05"))
    assert (order.status, order.time_in_force) == (OrderStatus.ACCEPTED, TimeInForce.DAY)
    assert (order.submitted_at, order.updated_at.microsecond) == (AT, 500_000)
    assert (order.average_fill_price, order.fees, order.reject_reason) == (None, (), None)


def test_a_time_without_its_stamp_is_the_exchanges_local_time() -> None:
    order = read(createTimestamp=None, updateTimestamp=0.0)

    assert (order.submitted_at, order.updated_at.microsecond) == (AT, 500_000)


STATUSES = {
    -1: OrderStatus.ACCEPTED,
    0: OrderStatus.ACCEPTED,
    1: OrderStatus.ACCEPTED,
    2: OrderStatus.ACCEPTED,
    3: OrderStatus.REJECTED,
    4: OrderStatus.ACCEPTED,
    5: OrderStatus.ACCEPTED,
    10: OrderStatus.PARTIALLY_FILLED,
    11: OrderStatus.FILLED,
    12: OrderStatus.CANCEL_PENDING,
    13: OrderStatus.CANCEL_PENDING,
    14: OrderStatus.CANCELED,
    15: OrderStatus.CANCELED,
    21: OrderStatus.REJECTED,
    22: OrderStatus.EXPIRED,
    23: OrderStatus.CANCELED,
    24: OrderStatus.CANCELED,
}


def test_every_status_of_the_protocol_is_known() -> None:
    assert set(trading.OrderStatus.values()) == set(STATUSES)


@pytest.mark.parametrize(("number", "status"), STATUSES.items())
def test_a_status_has_one_meaning(number: int, status: OrderStatus) -> None:
    filled = {10: 100.0, 11: 300.0, 12: 100.0, 14: 100.0}.get(number, 0.0)
    order = read(orderStatus=number, fillQty=filled, fillAvgPrice=99.0 if filled else 0.0)

    assert order.status is status
    assert order.filled_quantity == filled


@given(st.integers(min_value=-(2**31), max_value=2**31 - 1).filter(lambda n: n not in STATUSES))
def test_another_status_is_unreadable(number: int) -> None:
    with pytest.raises(Unreadable, match="orderStatus of OpenD's order cannot be"):
        read(orderStatus=number)


@pytest.mark.parametrize(
    "changed",
    [
        {"fillQty": None},
        {"orderStatus": 11, "fillQty": 200.0},
        {"orderStatus": 10, "fillQty": 0.0},
        {"fillQty": 400.0, "fillAvgPrice": 99.0},
        {"fillQty": 100.0, "fillAvgPrice": None},
        {"fillQty": 100.0, "fillAvgPrice": 0.0},
        {"fillQty": 0.5},
        {"qty": -100.0},
        {"qty": math.nan},
        {"qty": math.inf},
        {"price": None},
        {"price": 0.0},
        {"price": math.nan},
        {"orderType": 12},
        {"trdSide": 0},
        {"timeInForce": 3},
        {"code": "N/A"},
        {"code": "AAPL"},
        {"code": "700"},
        {"orderIDEx": ""},
        {"orderIDEx": "N/A"},
        {"secMarket": 2},
        {"trdMarket": 2},
        {"createTimestamp": None, "createTime": "N/A"},
        {"createTimestamp": 1e300},
    ],
    ids=str,
)
def test_an_order_that_makes_no_sense_is_unreadable(changed: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(**changed)


def test_shares_that_filled_before_an_order_failed_are_kept() -> None:
    order = read(orderStatus=21, fillQty=100.0, fillAvgPrice=99.0)

    assert (order.status, order.filled_quantity) == (OrderStatus.CANCELED, 100)


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=1, max_value=50).map(lambda lots: lots * 100),
            st.integers(min_value=10, max_value=5_000_000).map(lambda n: Decimal(n) / 1000),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_an_average_price_says_to_the_mill_what_was_paid(
    fills: list[tuple[int, Decimal]],
) -> None:
    shares = sum(quantity for quantity, _ in fills)
    value = sum((quantity * price for quantity, price in fills), Decimal(0))

    order = read(
        qty=float(shares),
        orderStatus=11,
        fillQty=float(shares),
        fillAvgPrice=float(value / shares),
    )

    assert (order.average_fill_price * shares).quantize(Decimal("0.000001")) == value
    assert {fee.currency for fee in order.fees} == {"HKD"}


@given(st.integers(min_value=1, max_value=9_995_000))
def test_a_price_goes_over_the_wire_and_back_unchanged(mills: int) -> None:
    price = Decimal(mills) / 1000
    request = replace(buy(100, price), symbol="0700")
    require_sendable(request)
    body = order_body(request, 1)

    assert read(price=body["price"]).limit_price == price


@pytest.mark.parametrize(
    ("side", "day", "kind", "duty"),
    [
        (1, "2026-12-21", InstrumentKind.STOCK, 10),
        (2, "2026-12-21", InstrumentKind.STOCK, 10),
        (2, "2022-05-04", InstrumentKind.STOCK, 13),
        (1, "2026-12-21", InstrumentKind.ETF, None),
    ],
)
def test_charges_are_those_of_the_orders_day_side_and_kind(
    side: int, day: str, kind: InstrumentKind, duty: int | None
) -> None:
    on = datetime.fromisoformat(f"{day}T01:30:00+00:00").timestamp()
    message = row(
        trdSide=side,
        orderStatus=11,
        qty=100.0,
        fillQty=100.0,
        fillAvgPrice=99.05,
        createTimestamp=on,
        updateTimestamp=on,
    )
    order = moomoo_wire.order(message, currency="HKD", kind=kind)

    fees = {fee.name: fee.amount for fee in order.fees}
    assert fees.get("stamp_duty") == duty
    assert fees["commission"] == 3


def test_only_an_account_that_opend_says_is_paper_for_these_stocks_fits() -> None:
    rows = [account.message() for account in ACCOUNTS]

    assert moomoo_wire.paper_accounts(rows) == (OURS,)
    for changed in ({"trdEnv": 1}, {"simAccType": 2}, {"simAccType": 5}):
        ours = PAPER.message()
        for name, value in changed.items():
            setattr(ours, name, value)
        assert moomoo_wire.paper_accounts([ours]) == ()
    ours = PAPER.message()
    ours.accStatus = 1
    assert moomoo_wire.paper_accounts([ours])[0].blocked


def test_a_position_is_what_opend_lists() -> None:
    (held,) = positions(position_row())

    assert (held.symbol, held.quantity, held.available) == ("0700", 100, 100)
    assert held.average_price == Decimal("100.03333333333333")
    assert (held.market_price, held.currency) == (Decimal("101.5"), "HKD")


def test_a_short_position_is_below_zero_and_a_price_of_zero_is_none() -> None:
    (short,) = positions(position_row(positionSide=1, price=0.0))

    assert (short.quantity, short.market_price) == (-100, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"dilutedCostPrice": None},
        {"dilutedCostPrice": math.nan},
        {"qty": math.nan},
        {"code": "N/A"},
        {"secMarket": 2},
        {"currency": 2},
    ],
    ids=str,
)
def test_a_position_that_makes_no_sense_is_unreadable(changed: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        positions(position_row(), position_row(**changed))


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([("2026-12-24", 1)], TradingDay.MORNING),
        ([("2026-12-24 00:00:00", 2)], TradingDay.AFTERNOON),
        ([("2026-12-23", 0)], TradingDay.NONE),
        ([], TradingDay.NONE),
    ],
)
def test_a_date_that_is_not_listed_is_not_traded(
    rows: list[tuple[str, int]], wanted: TradingDay
) -> None:
    listed = [{"time": time, "tradeDateType": kind} for time, kind in rows]
    said = module("Qot_RequestTradeDate").S2C(tradeDateList=listed)

    assert moomoo_wire.trading_day(said, date(2026, 12, 24)) is wanted


@pytest.mark.parametrize("kind", [{}, {"tradeDateType": 7}])
def test_a_kind_of_day_that_is_not_known_is_unreadable(kind: dict[str, int]) -> None:
    said = module("Qot_RequestTradeDate").S2C(tradeDateList=[{"time": "2026-12-24", **kind}])

    with pytest.raises(Unreadable, match="tradeDateType"):
        moomoo_wire.trading_day(said, date(2026, 12, 24))


def test_a_market_order_has_a_price_that_means_nothing_and_ids_stay_whole() -> None:
    body = order_body(replace(sell(200), symbol="9988"), 7)

    assert (body["code"], body["qty"], body["orderType"], body["trdSide"]) == ("09988", 200.0, 2, 2)
    assert body["price"] == 1.0
    assert body["adjustPrice"] is False
    assert cancel_body("6912345678901234001", 7)["orderID"] == 6912345678901234001
    for wrong in ("", "any", "-1", "1.5", str(1 << 64), "\u0661"):
        with pytest.raises(OrderRejected) as refused:
            cancel_body(wrong, 7)
        assert refused.value.code == RejectCode.ORDER_NOT_FOUND


def test_a_remark_is_measured_in_bytes() -> None:
    request = replace(buy(100, 99), symbol="0700")
    require_sendable(replace(request, client_order_id="é" * 32))
    with pytest.raises(OrderRejected, match="must have 1 to 64 bytes, had 66"):
        require_sendable(replace(request, client_order_id="é" * 33))


def test_a_failure_means_what_is_proven_of_it() -> None:
    never = CallFailed("x", may_have_arrived=False)
    lost = CallFailed("x", may_have_arrived=True)

    assert isinstance(moomoo_errors.of_write(never), BrokerUnavailable)
    assert isinstance(moomoo_errors.of_write(lost), OrderOutcomeUnknown)
    assert isinstance(moomoo_errors.of_write(Refused("No")), OrderRejected)
    for words in ("This request is too frequent", "OpenD is not logged in"):
        assert isinstance(moomoo_errors.of_write(Refused(words)), BrokerUnavailable)
    assert moomoo_errors.of_read(Refused("High frequency limit")).retry_after_seconds == 30


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Request timeout",
        "The request timed out",
        "Network interruption",
        "Disconnected from the trade server",
        "Unknown error",
        "Internal error, please try again later",
        "Duplicate packet",
        "Disconnected while the order was sent: not logged in",
        "请求超时",
        "网络中断",
    ],
)
def test_a_refusal_that_proves_nothing_leaves_a_write_unknown(words: str) -> None:
    assert isinstance(moomoo_errors.of_write(Refused(words)), OrderOutcomeUnknown)


@pytest.mark.parametrize(
    "words",
    [
        "Insufficient buying power",
        "The quantity is not a multiple of the lot size",
        "The order cannot be modified or cancelled in its present status",
    ],
)
def test_a_refusal_with_its_reason_is_a_rejection(words: str) -> None:
    found = moomoo_errors.of_write(Refused(words))

    assert isinstance(found, OrderRejected)
    assert found.code is not None


SHARE = Stock(
    symbol="0700", name="Tencent", lot_size=100, kind=InstrumentKind.STOCK, delisted=False
)


@pytest.mark.parametrize(
    ("stock", "tradable"),
    [
        (SHARE, True),
        (replace(SHARE, kind=InstrumentKind.ETF), True),
        (replace(SHARE, kind=InstrumentKind.INDEX), False),
        (replace(SHARE, kind=None), False),
        (replace(SHARE, delisted=True), False),
    ],
)
def test_only_shares_and_funds_that_are_listed_can_be_traded(stock: Stock, tradable: bool) -> None:
    step = Step(at=AT, price=Decimal(100), spread=Decimal("0.100"))

    found = described(stock, step, currency="HKD")

    assert (found.tradable, found.doubt) == (tradable, None)
    assert (found.exchange, found.currency) == ("XHKG", "HKD")


@given(st.integers(min_value=1, max_value=9_995_000))
def test_the_exchanges_table_is_right_at_every_price_where_the_broker_says_the_same(
    mills: int,
) -> None:
    price = Decimal(mills) / 1000
    tick = described(SHARE, Step(at=AT), currency="HKD").tick_at(price)
    same = described(SHARE, Step(at=AT, price=price, spread=tick), currency="HKD")
    other = described(SHARE, Step(at=AT, price=price, spread=tick * 3), currency="HKD")

    assert (same.doubt, same.tick_at(price)) == (None, tick)
    assert other.doubt is not None
    assert other.tick_at(price) == tick * 3
