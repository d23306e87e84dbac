"""The simulator, asked by the real alpaca_client."""

from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.models import Order, TradeAccount
from alpaca.trading.requests import ReplaceOrderRequest, StopLossRequest

from shared.models import OrderStatus, Side
from tests.simulators.alpaca.client import (
    SELL,
    bracket,
    limit,
    listed,
    market,
    raw,
    refusal,
    stop,
    submitted,
    words,
)
from tests.simulators.alpaca.venue import AlpacaVenue


def test_the_account_is_text_and_has_no_day_trading_fields(alpaca_client: TradingClient) -> None:
    account = alpaca_client.get_account()
    fields = raw(alpaca_client, "/account")

    assert isinstance(account, TradeAccount)
    assert (account.cash, account.equity, account.currency) == ("100000", "100000", "USD")
    assert not {"pattern_day_trader", "daytrade_count"} & set(fields)


def test_an_order_is_answered_as_it_was_received_though_it_has_filled(
    alpaca_client: TradingClient,
) -> None:
    order = submitted(alpaca_client, market(3))
    now = alpaca_client.get_order_by_id(order.id)

    assert (order.status, order.filled_qty, order.filled_at) == ("pending_new", "0", None)
    assert isinstance(now, Order)
    assert (now.status, now.filled_qty, now.filled_avg_price) == ("filled", "3", "100.01")


def test_of_a_filled_bracket_the_stop_is_held_and_neither_listed_as_open_nor_nested_among_the_open(
    alpaca_client: TradingClient,
) -> None:
    unfilled = submitted(alpaca_client, bracket(99))
    nested_before = listed(alpaca_client, QueryOrderStatus.OPEN, nested=True)
    alpaca_client.cancel_order_by_id(unfilled.id)
    entry = submitted(alpaca_client, bracket(101))

    flat = listed(alpaca_client, QueryOrderStatus.OPEN)
    nested_open = listed(alpaca_client, QueryOrderStatus.OPEN, nested=True)
    (nested, _) = listed(alpaca_client, QueryOrderStatus.ALL, nested=True)

    assert words(unfilled.legs) == [("limit", "held"), ("stop", "held")]
    assert words(nested_before[0].legs) == [("limit", "held"), ("stop", "held")]
    assert words(flat) == [("limit", "new")]
    assert nested_open == []
    assert nested.id == entry.id
    assert words(nested.legs) == [("limit", "new"), ("stop", "held")]


def test_an_oto_order_has_one_leg_that_is_new_once_the_entry_has_filled(
    alpaca_client: TradingClient, alpaca: AlpacaVenue
) -> None:
    entry = submitted(
        alpaca_client, limit(101, order_class="oto", stop_loss=StopLossRequest(stop_price=90))
    )
    now = alpaca_client.get_order_by_id(entry.id)
    flat = listed(alpaca_client, QueryOrderStatus.OPEN)
    alpaca.trade(90, 90, 89, 89)

    assert words(entry.legs) == [("stop", "held")]
    assert isinstance(now, Order)
    assert (now.order_class, words(flat)) == ("oto", [("stop", "new")])
    assert alpaca.positions() == ()


def test_a_replacement_is_an_order_of_its_own(alpaca_client: TradingClient) -> None:
    old = submitted(alpaca_client, limit(98))
    new = alpaca_client.replace_order_by_id(
        old.id, ReplaceOrderRequest(limit_price=99, client_order_id="the-new-one")
    )
    gone = alpaca_client.get_order_by_id(old.id)

    assert isinstance(new, Order)
    assert isinstance(gone, Order)
    assert (new.replaces, new.client_order_id, new.limit_price) == (old.id, "the-new-one", "99")
    assert (gone.status, gone.replaced_by) == ("replaced", new.id)


def test_orders_come_in_pages_of_their_own_order_and_each_once(
    alpaca_client: TradingClient,
) -> None:
    sent = [submitted(alpaca_client, limit(90)).id for _ in range(5)]
    pages: list[Any] = []
    after: str | None = None
    while page := raw(
        alpaca_client,
        "/orders",
        status="all",
        limit=2,
        direction="asc",
        after=after or "2026-01-01",
    ):
        pages += page
        after = pages[-1]["submitted_at"]
    newest = listed(alpaca_client, QueryOrderStatus.ALL, limit=1)

    assert [order["id"] for order in pages] == [str(order_id) for order_id in sent]
    assert [order.id for order in newest] == sent[-1:]


def test_fills_come_one_by_one_in_pages(alpaca_client: TradingClient, alpaca: AlpacaVenue) -> None:
    order = submitted(alpaca_client, limit(99, 60))
    alpaca.trade(99, 99, 98, 99, volume=200)
    alpaca.trade(99, 99, 98, 99, volume=1000)
    first = raw(alpaca_client, "/account/activities/FILL", page_size=1, direction="asc")
    rest = raw(
        alpaca_client, "/account/activities/FILL", page_token=first[-1]["id"], direction="asc"
    )

    assert [(f["type"], f["qty"], f["cum_qty"], f["leaves_qty"]) for f in first + rest] == [
        ("partial_fill", "20", "20", "40"),
        ("fill", "40", "60", "0"),
    ]
    assert {f["order_id"] for f in first + rest} == {str(order.id)}


def test_a_paper_account_pays_no_fees(alpaca_client: TradingClient, alpaca: AlpacaVenue) -> None:
    submitted(alpaca_client, market(50))
    submitted(alpaca_client, market(50, SELL))

    assert alpaca.account().cash == 100000 - 1


REFUSED: dict[str, tuple[Any, int, int, str, set[str]]] = {
    "no_money": (
        limit(20, 100_000).model_copy(update={"symbol": "AAPL"}),
        403,
        40310000,
        "insufficient buying power",
        {"buying_power", "cost_basis"},
    ),
    "held_shares": (
        market(5, SELL),
        403,
        40310000,
        "insufficient qty available for order (requested: 5, available: 1)",
        {"available", "existing_qty", "held_for_orders", "related_orders", "symbol"},
    ),
    "wash_trade": (
        limit(101),
        403,
        40310000,
        "potential wash trade detected. use complex orders",
        {"existing_order_id", "reject_reason"},
    ),
    "short": (market(5, SELL).model_copy(update={"symbol": "AAPL"}), 403, 40310000, "short", set()),
    "sub_penny": (
        limit(27.06999969482422),
        422,
        42210000,
        "invalid limit_price 27.06999969482422. sub-penny increment does not fulfill minimum"
        " pricing criteria",
        set(),
    ),
    "same_id": (
        limit(50, client_order_id="taken"),
        422,
        40010001,
        "client_order_id must be unique",
        set(),
    ),
    "long_id": (limit(50, client_order_id="x" * 129), 422, 40010001, "128 characters", set()),
    "no_such_asset": (limit(50).model_copy(update={"symbol": "NOSUCH"}), 422, 42210000, "", set()),
    "stop_above": (
        stop(1, 101),
        422,
        42210000,
        "stop price must be less than current price",
        set(),
    ),
    "bracket_sale": (
        bracket(101).model_copy(update={"side": SELL}),
        422,
        42210000,
        "bracket orders must be entry orders",
        set(),
    ),
    "part_of_a_share": (
        bracket(101).model_copy(update={"qty": 1.5}),
        422,
        42210000,
        "fractional orders must be simple orders",
        set(),
    ),
}


@pytest.mark.parametrize(
    ("request_", "status", "code", "message", "extras"), REFUSED.values(), ids=REFUSED
)
def test_a_refusal_has_the_brokers_own_body(
    alpaca_client: TradingClient,
    request_: Any,
    status: int,
    code: int,
    message: str,
    extras: set[str],
) -> None:
    submitted(alpaca_client, market(5))
    submitted(alpaca_client, stop(4, 90))
    taken = submitted(alpaca_client, limit(110, 1, SELL, client_order_id="taken"))
    alpaca_client.cancel_order_by_id(taken.id)

    with pytest.raises(APIError) as refused:
        alpaca_client.submit_order(request_)

    assert (refusal(refused).status_code, refusal(refused).json()["code"]) == (status, code)
    assert message in refusal(refused).json()["message"]
    body = refusal(refused).json()
    assert set(body) == {"code", "message"} | extras


def test_what_is_not_there_is_404_and_a_closed_order_cannot_be_cancelled(
    alpaca_client: TradingClient,
) -> None:
    filled = submitted(alpaca_client, market(1))
    for path in (
        "/orders/00000000-0000-4000-8000-000000000000",
        "/orders:by_client_order_id?client_order_id=never",
        "/positions/AAPL",
        "/assets/NOSUCH",
    ):
        with pytest.raises(APIError) as absent:
            raw(alpaca_client, path)
        assert (refusal(absent).status_code, refusal(absent).json()["code"]) == (404, 40410000)
    with pytest.raises(APIError) as late:
        alpaca_client.cancel_order_by_id(filled.id)

    assert (refusal(late).status_code, refusal(late).json()["code"]) == (422, 42210000)
    assert refusal(late).json()["message"] == 'order is already in "filled" state'


def test_other_keys_are_refused(alpaca_client: TradingClient, alpaca: AlpacaVenue) -> None:
    alpaca.change_keys("another", "pair")

    with pytest.raises(APIError) as refused:
        alpaca_client.get_account()

    assert (refusal(refused).status_code, refusal(refused).json()["code"]) == (401, 40110000)


def test_a_blocked_account_is_shown_and_takes_no_order(
    alpaca_client: TradingClient, alpaca: AlpacaVenue
) -> None:
    alpaca.change_account(account_blocked=True, id="00000000-0000-4000-8000-000000000001")
    account = alpaca_client.get_account()

    assert isinstance(account, TradeAccount)
    assert account.account_blocked
    assert str(account.id) == "00000000-0000-4000-8000-000000000001"
    with pytest.raises(APIError, match="not allowed to trade"):
        alpaca_client.submit_order(market(1))


def test_the_201st_request_of_a_minute_is_too_many(
    alpaca_client: TradingClient, alpaca: AlpacaVenue
) -> None:
    alpaca.limit_rate(2)
    alpaca_client.get_clock()
    alpaca_client.get_clock()
    with pytest.raises(APIError) as many:
        alpaca_client.get_clock()
    alpaca.trade(100)
    alpaca_client.get_clock()

    assert refusal(many).status_code == 429
    assert refusal(many).headers["X-RateLimit-Limit"] == "2"
    assert refusal(many).headers["X-RateLimit-Remaining"] == "0"


def test_the_clock_follows_closures_and_the_calendar_half_days(
    alpaca_client: TradingClient, alpaca: AlpacaVenue
) -> None:
    before = raw(alpaca_client, "/clock")
    alpaca.close_exchange(minutes=30)
    after = raw(alpaca_client, "/clock")
    days = raw(alpaca_client, "/calendar", start="2026-11-26", end="2026-11-27")

    assert (before["is_open"], after["is_open"]) == (True, False)
    assert before["timestamp"] == "2026-06-15T10:00:00.000000417-04:00"
    assert [(day["date"], day["close"]) for day in days] == [("2026-11-27", "13:00")]


def test_what_happens_behind_the_agents_back_is_seen(
    alpaca_client: TradingClient, alpaca: AlpacaVenue
) -> None:
    kept, lost = submitted(alpaca_client, limit(90)), submitted(alpaca_client, limit(91))
    alpaca.cancel(str(kept.id))
    alpaca.drop(str(lost.id))
    alpaca.trade_by_somebody_else(Side.BUY, 7, 100)

    statuses = {o.id: o.status for o in listed(alpaca_client, QueryOrderStatus.ALL)}

    assert statuses.get(kept.id) == "canceled"
    assert lost.id not in statuses
    assert [(p.symbol, p.quantity) for p in alpaca.positions()] == [("ACME", 7)]
    assert OrderStatus.FILLED in {order.status for order in alpaca.orders()}


def test_requests_are_logged_without_keys(
    alpaca_client: TradingClient, alpaca: AlpacaVenue
) -> None:
    alpaca_client.get_account()
    submitted(alpaca_client, market(1))

    asked = alpaca.requests(forget=True)

    assert [(r["method"], r["path"]) for r in asked] == [
        ("GET", "/v2/account"),
        ("POST", "/v2/orders"),
    ]
    assert alpaca.secret not in str(asked)
    assert alpaca.key not in str(asked)
    assert '"ACME"' in asked[1]["body"]
    assert alpaca.requests() == []
