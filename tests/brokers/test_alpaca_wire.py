"""What Alpaca's answers mean, and what is sent to it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import alpaca_errors, alpaca_wire
from brokers.alpaca_requests import order_body, replacement_body
from brokers.base import DUPLICATE_CLIENT_ORDER_ID
from brokers.paper_rules import RejectCode
from shared.alpaca_http import CallFailed, ErrorReply, Refused
from shared.config_brokers import AlpacaSettings
from shared.errors import BrokerUnavailable, CatalystError, OrderOutcomeUnknown, OrderRejected
from shared.models import Environment, InstrumentKind, OrderStatus, OrderType, Side, TimeInForce
from shared.unreadable import Unreadable
from tests.brokers.alpaca_bodies import Json, bracket, fill, order, uuid_of
from tests.brokers.order_requests import bracket as bracket_request
from tests.brokers.order_requests import buy, oco, sell, stop

AT = datetime(2026, 6, 15, 14, tzinfo=UTC)
SETTINGS = AlpacaSettings()
ACCOUNT = {
    "id": uuid_of("account"),
    "account_number": "PA3",
    "status": "ACTIVE",
    "currency": "USD",
    "cash": "99990.10",
    "equity": "100010.255",
    "buying_power": "199980.20",
    "account_blocked": False,
    "trading_blocked": False,
    "trade_suspended_by_user": False,
}
POSITION = {
    "symbol": "AAPL",
    "side": "long",
    "qty": "5",
    "qty_available": "4",
    "avg_entry_price": "100.0",
    "current_price": "120.05",
}
ASSET = {
    "class": "us_equity",
    "exchange": "NASDAQ",
    "symbol": "AAPL",
    "name": "Apple Inc.",
    "status": "active",
    "tradable": True,
}


def account(**changed: Any) -> Any:
    return alpaca_wire.account(ACCOUNT | changed, environment=Environment.PAPER, at=AT)


def test_an_account_is_read_to_the_last_digit() -> None:
    found = account()

    assert (found.account_id, found.currency, found.blocked) == (uuid_of("account"), "USD", False)
    assert (found.cash, found.equity) == (Decimal("99990.10"), Decimal("100010.255"))
    assert (found.at, found.environment) == (AT, Environment.PAPER)


@pytest.mark.parametrize(
    "changed",
    [
        {"account_blocked": True},
        {"trading_blocked": True},
        {"trade_suspended_by_user": True},
        {"status": "ACCOUNT_UPDATED"},
        {"status": "WHATEVER_COMES"},
    ],
    ids=str,
)
def test_an_account_that_does_not_clearly_trade_is_blocked(changed: Json) -> None:
    assert account(**changed).blocked


@pytest.mark.parametrize(
    "name", sorted(set(ACCOUNT) - {"account_number", "trade_suspended_by_user"})
)
@pytest.mark.parametrize("value", [None, "", True, [], {}, "NaN", "1e999999"], ids=repr)
def test_an_account_with_a_field_that_makes_no_sense_is_no_account(
    name: str, value: object
) -> None:
    text_is_fine = name in {"id", "status", "currency"} and isinstance(value, str) and value
    if text_is_fine or (name.endswith("_blocked") and value is True):
        assert account(**{name: value})
        return
    if value == "1e999999":
        value = "Infinity"
    with pytest.raises(Unreadable, match=name):
        account(**{name: value})


@pytest.mark.parametrize(
    ("changed", "quantity", "available"),
    [
        ({}, "5", "4"),
        ({"side": "short", "qty": "-5", "qty_available": "-5"}, "-5", "-5"),
        ({"side": "short", "qty": "5", "qty_available": "0"}, "-5", "0"),
        ({"qty": "5.25", "qty_available": "5.25"}, "5.25", "5.25"),
    ],
)
def test_a_position_is_signed(changed: Json, quantity: str, available: str) -> None:
    found = alpaca_wire.position(POSITION | changed)

    assert (found.quantity, found.available) == (Decimal(quantity), Decimal(available))
    assert (found.average_price, found.market_price) == (Decimal(100), Decimal("120.05"))


@pytest.mark.parametrize("name", ["qty", "qty_available", "side", "symbol", "avg_entry_price"])
def test_a_position_that_lacks_something_is_none(name: str) -> None:
    with pytest.raises(Unreadable, match=name):
        alpaca_wire.position(POSITION | {name: None})

    assert alpaca_wire.position(POSITION | {"current_price": None}).market_price is None


STATUSES = {
    "new": OrderStatus.ACCEPTED,
    "accepted": OrderStatus.ACCEPTED,
    "pending_new": OrderStatus.ACCEPTED,
    "accepted_for_bidding": OrderStatus.ACCEPTED,
    "pending_review": OrderStatus.ACCEPTED,
    "pending_replace": OrderStatus.ACCEPTED,
    "stopped": OrderStatus.ACCEPTED,
    "suspended": OrderStatus.ACCEPTED,
    "done_for_day": OrderStatus.ACCEPTED,
    "calculated": OrderStatus.ACCEPTED,
    "held": OrderStatus.HELD,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "pending_cancel": OrderStatus.CANCEL_PENDING,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
    "replaced": OrderStatus.REPLACED,
    "rejected": OrderStatus.REJECTED,
}
"""Written down by hand."""


@pytest.mark.parametrize(("word", "status"), STATUSES.items())
def test_every_status_has_its_meaning(word: str, status: OrderStatus) -> None:
    assert alpaca_wire.row(order(status=word)).order.status is status


@pytest.mark.parametrize("word", [w for w, s in STATUSES.items() if s is OrderStatus.ACCEPTED])
def test_an_order_that_rests_with_some_filled_is_partially_filled(word: str) -> None:
    found = alpaca_wire.row(order(status=word, filled_qty="3", filled_avg_price="150")).order

    assert (found.status, found.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, 3)


def test_what_is_calculated_and_whole_is_filled() -> None:
    whole = order(status="calculated", filled_qty="10", filled_avg_price="150")

    assert alpaca_wire.row(whole).order.status is OrderStatus.FILLED


@pytest.mark.parametrize("word", ["transmogrified", "NEW", "cancelled"])
def test_a_status_that_is_not_known_is_said_with_the_order(word: str) -> None:
    with pytest.raises(Unreadable, match=f"{uuid_of('one')} that it is '{word}'"):
        alpaca_wire.row(order(status=word))


@pytest.mark.parametrize(
    "name",
    ["id", "client_order_id", "symbol", "side", "type", "time_in_force", "status", "filled_qty"],
)
@pytest.mark.parametrize("value", [None, "", 7.5, "?"], ids=repr)
def test_an_order_with_a_field_that_makes_no_sense_is_no_order(name: str, value: Any) -> None:
    if value == "?" and name in {"id", "client_order_id", "symbol"}:
        assert alpaca_wire.row(order(**{name: value}))
        return
    with pytest.raises(Unreadable, match=name if value != "?" else None):
        alpaca_wire.row(order(**{name: value}))


def test_what_no_order_of_ours_is_can_be_read_all_the_same() -> None:
    trailing = alpaca_wire.row(order(type="trailing_stop", stop_price="140", side="sell")).order
    limited = alpaca_wire.row(order(type="stop_limit", stop_price="140", side="sell")).order
    opening = alpaca_wire.row(order(time_in_force="opg")).order

    assert (trailing.order_type, trailing.stop_price) == (OrderType.STOP, 140)
    assert limited.order_type is OrderType.LIMIT
    assert opening.time_in_force is TimeInForce.DAY


def test_a_time_with_nanoseconds_is_read_to_the_microsecond_and_in_utc() -> None:
    found = alpaca_wire.row(order(submitted_at="2026-06-15T10:00:00.123456789-04:00")).order

    assert found.submitted_at == datetime(2026, 6, 15, 14, 0, 0, 123456, tzinfo=UTC)
    assert found.submitted_at.tzinfo is UTC


def test_nested_legs_know_their_parent() -> None:
    entry, target, guard = bracket(filled=False)

    found = alpaca_wire.row(entry | {"legs": [target, guard]})

    assert found.is_first
    assert {leg.order.parent_order_id for leg in found.legs} == {entry["id"]}
    assert {(leg.order.side, leg.order.status) for leg in found.legs} == {
        (Side.SELL, OrderStatus.HELD)
    }


def test_a_fill_is_an_execution_with_its_own_id() -> None:
    body = fill(order(), 4, "150.255")
    found = alpaca_wire.fill(body)

    assert found is not None
    assert (found.fill_id, found.quantity, found.price) == (body["id"], 4, Decimal("150.255"))
    assert found.at == datetime(2026, 6, 15, 14, 1, 1, 981482, tzinfo=UTC)
    assert alpaca_wire.fill(body | {"qty": "0.5"}) is None


def test_an_asset_is_an_instrument_with_the_steps_of_its_market() -> None:
    found = alpaca_wire.instrument(ASSET)

    assert (found.symbol, found.lot_size, found.currency) == ("AAPL", 1, "USD")
    assert found.tradable
    assert (found.tick_at(Decimal("0.9999")), found.tick_at(Decimal(1))) == (
        Decimal("0.0001"),
        Decimal("0.01"),
    )


@pytest.mark.parametrize(
    "changed", [{"tradable": False}, {"status": "inactive"}, {"class": "crypto"}], ids=str
)
def test_an_asset_that_cannot_be_traded_says_so(changed: Json) -> None:
    assert not alpaca_wire.instrument(ASSET | changed).tradable
    assert alpaca_wire.instrument(ASSET | {"class": "us_index"}).kind is InstrumentKind.INDEX


def test_a_clock_is_in_utc() -> None:
    body = {"timestamp": "2026-06-15T10:15:22.5-04:00", "is_open": True}

    found = alpaca_wire.market_clock(body)

    assert (found.is_open, found.at) == (True, AT.replace(minute=15, second=22, microsecond=500000))


def test_an_entry_is_sent_with_its_legs_and_every_number_is_text() -> None:
    request = replace(bracket_request(50, "99.5"), client_order_id="id-1")

    assert order_body(request) == {
        "client_order_id": "id-1",
        "symbol": "ACME",
        "side": "buy",
        "qty": "50",
        "type": "limit",
        "time_in_force": "gtc",
        "order_class": "bracket",
        "limit_price": "99.50",
        "take_profit": {"limit_price": "110.00"},
        "stop_loss": {"stop_price": "95.00"},
    }


def test_an_oco_has_its_limit_in_its_target_alone() -> None:
    body = order_body(oco(50))

    assert (body["type"], body["order_class"]) == ("limit", "oco")
    assert body["take_profit"] == {"limit_price": "110.00"}
    assert body["stop_loss"] == {"stop_price": "95.00"}
    assert "limit_price" not in body


def test_half_a_pair_is_what_alpaca_has_for_it() -> None:
    oto = order_body(bracket_request(50, 99, take_profit=None))
    lone_stop = order_body(oco(50, take_profit=None))
    lone_target = order_body(oco(50, stop_loss=None))

    assert (oto["order_class"], oto["stop_loss"]) == ("oto", {"stop_price": "95.00"})
    assert "take_profit" not in oto
    assert (lone_stop["type"], lone_stop["stop_price"]) == ("stop", "95.00")
    assert (lone_target["type"], lone_target["limit_price"]) == ("limit", "110.00")
    assert not {"order_class", "stop_loss", "take_profit"} & {*lone_stop, *lone_target}


def test_a_replacement_says_its_quantity_since_alpaca_would_take_the_old_orders() -> None:
    body = replacement_body(replace(sell(7, "0.5", replaces="old"), client_order_id="id-2"))

    assert body == {
        "client_order_id": "id-2",
        "qty": "7",
        "time_in_force": "day",
        "limit_price": "0.5000",
    }
    assert replacement_body(stop(7, 95, replaces="old"))["stop_price"] == "95.00"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (buy(1, "99.005"), "limit_price must be a multiple of 0.01, was 99.005"),
        (buy(1, "27.06999969482422"), "limit_price must be a multiple of 0.01"),
        (buy(1, "0.12345"), "multiple of 0.0001"),
        (stop(1, "94.999"), "stop_price must be a multiple of 0.01"),
        (bracket_request(1, 99, take_profit="110.001"), "take_profit must be a multiple"),
        (bracket_request(1, 99, stop_loss="-1"), "stop_loss must be above 0, was -1"),
        (buy(1, "NaN"), "limit_price must be above 0, was NaN"),
        (buy(0, 99), "quantity must be above 0, was 0"),
        (replace(buy(1, 99), client_order_id="x" * 129), "1 to 128 characters, had 129"),
        (replace(buy(1, 99), client_order_id=""), "1 to 128 characters, had 0"),
        (replace(buy(1), limit_price=Decimal(99)), "market orders and limit_price 99"),
        (replace(buy(1, 99), limit_price=None), "limit orders and limit_price None"),
        (replace(buy(1, 99), stop_loss=Decimal(90)), "simple order does not go together with"),
        (bracket_request(1, 99, stop_loss=None, take_profit=None), "with no legs"),
        (replace(oco(1), limit_price=Decimal(105)), "an oco's limit is its take_profit, was 105"),
    ],
)
def test_what_cannot_be_sent_as_it_is_meant_is_refused_here(request_: Any, said: str) -> None:
    with pytest.raises(OrderRejected) as refused:
        order_body(request_)

    assert said in str(refused.value)


@given(st.decimals("0.0001", "100000", places=4))
def test_a_price_arrives_as_it_was_or_not_at_all(price: Decimal) -> None:
    request = buy(1, price)
    try:
        sent = order_body(request)["limit_price"]
    except OrderRejected:
        assert price >= 1
        assert price * 100 % 1
    else:
        assert isinstance(sent, str)
        assert Decimal(sent) == price
        assert "E" not in sent


def refused(status: int, code: int | None, message: str | None, **details: object) -> Refused:
    return Refused(ErrorReply(status=status, code=code, message=message, details=details))


ERRORS = [
    (
        refused(403, 40310000, "insufficient buying power", buying_power="0", cost_basis="9900"),
        RejectCode.INSUFFICIENT_BUYING_POWER,
    ),
    (
        refused(
            403,
            40310000,
            "insufficient qty available for order (requested: 2, available: 1)",
            available="1",
            existing_qty="3",
            related_orders=["a"],
        ),
        RejectCode.INSUFFICIENT_QTY,
    ),
    (
        refused(
            403,
            40310000,
            "potential wash trade detected. use complex orders",
            existing_order_id="a",
            reject_reason="opposite side market/stop order exists",
        ),
        RejectCode.WASH_TRADE,
    ),
    (refused(403, 40310000, "cannot be done", cost_basis="1"), "insufficient_buying_power"),
    (refused(403, 40310000, "cannot be done", existing_qty="1"), "insufficient_qty"),
    (refused(403, 40310000, "cannot be done", existing_order_id="1"), "wash_trade"),
    (refused(403, 40310000, "account is not allowed to trade"), "40310000"),
    (refused(422, 42210000, "potential wash trade detected"), "42210000"),
    (refused(422, 40010001, "client_order_id must be unique"), DUPLICATE_CLIENT_ORDER_ID),
    (refused(409, None, "client_order_id must be unique"), DUPLICATE_CLIENT_ORDER_ID),
    (refused(422, 40010001, "limit price must be > 0"), "40010001"),
    (refused(422, 42210000, 'order is already in "filled" state'), "42210000"),
    (refused(404, 40410000, "order not found"), RejectCode.ORDER_NOT_FOUND),
    (refused(400, None, "bad request"), None),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: str(value)[:60])
def test_a_refusal_is_known_by_code_message_and_what_else_is_said(
    error: Refused, code: str | None
) -> None:
    found = alpaca_errors.of_write(error, SETTINGS)

    assert isinstance(found, OrderRejected)
    assert found.code == code
    assert error.message is not None
    assert error.message in str(found)


def test_a_refusal_shows_the_numbers_that_it_comes_with() -> None:
    said = str(alpaca_errors.of_write(ERRORS[0][0], SETTINGS))

    assert said.endswith("insufficient buying power; buying_power 0, cost_basis 9900")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused(401, 40110000, "request is not authorized"), BrokerUnavailable),
        (refused(401, None, None), BrokerUnavailable),
        (refused(403, None, "forbidden."), BrokerUnavailable),
        (refused(429, None, None), BrokerUnavailable),
        (refused(403, None, None), OrderOutcomeUnknown),
        (refused(404, None, None), OrderOutcomeUnknown),
        (refused(422, None, None), OrderOutcomeUnknown),
        (refused(408, None, "request timeout"), OrderOutcomeUnknown),
        (refused(500, 50010000, "internal server error"), OrderOutcomeUnknown),
        (refused(504, None, None), OrderOutcomeUnknown),
        (CallFailed("silent", may_have_arrived=True), OrderOutcomeUnknown),
        (CallFailed("refused", may_have_arrived=False), BrokerUnavailable),
    ],
    ids=str,
)
def test_a_write_is_rejected_only_where_alpaca_itself_says_no(
    error: CallFailed, kind: type[CatalystError]
) -> None:
    assert type(alpaca_errors.of_write(error, SETTINGS)) is kind
    assert type(alpaca_errors.of_read(error, SETTINGS)) is BrokerUnavailable


def test_keys_that_are_refused_are_named_by_their_variables() -> None:
    found = alpaca_errors.of_read(refused(401, 40110000, "request is not authorized"), SETTINGS)

    assert str(found) == (
        "Alpaca refuses the keys in ALPACA_API_KEY and ALPACA_SECRET_KEY at"
        " https://paper-api.alpaca.markets: request is not authorized"
    )


def test_too_many_requests_say_how_long_to_wait() -> None:
    error = Refused(ErrorReply.read(429, '{"message": "too many requests."}', "7"))

    for found in (
        alpaca_errors.of_read(error, SETTINGS),
        alpaca_errors.of_write(error, SETTINGS),
    ):
        assert isinstance(found, BrokerUnavailable)
        assert found.retry_after_seconds == 7
