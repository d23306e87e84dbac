"""The simulated OpenD, asked by the real client."""

from datetime import timedelta
from typing import Any

import pytest

from shared.models import OrderStatus, Side
from tests.simulators.opend.accounts import AMERICAN, LIVE, OPTIONS, PAPER
from tests.simulators.opend.client import (
    PAPER_ACCOUNT,
    Failed,
    hear_of_orders,
    is_ready,
    ok,
    open_trading,
    order,
    place,
    rows,
)
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol

DEFAULT: dict[str, Any] = {"price": 99.0}


def funds(client: Any, account: dict[str, Any] = PAPER_ACCOUNT) -> dict[str, Any]:
    (row,) = rows(client.accinfo_query(**account))
    return row


def positions(client: Any) -> dict[str, dict[str, Any]]:
    return {row["code"]: row for row in rows(client.position_list_query(**PAPER_ACCOUNT))}


def modify(client: Any, op: str, order_id: str, quantity: int = 0, price: float = 0) -> Any:
    return ok(client.modify_order(op, order_id, quantity, price, **PAPER_ACCOUNT))


def test_the_client_connects_and_is_told_who_is_logged_in(opend_client: Any) -> None:
    said = ok(opend_client.get_global_state())

    assert is_ready(opend_client)
    assert (said["market_hk"], said["market_us"]) == ("MORNING", "CLOSED")
    assert (said["qot_logined"], said["trd_logined"]) == (True, True)
    assert said["program_status_type"] == "READY"


def test_a_connection_is_kept_alive(opend: OpenDVenue, opend_client: Any) -> None:
    assert opend_client.keep_alive()[0] == 0
    ok(opend_client.get_global_state())

    assert len(opend.asked(Protocol.KEEP_ALIVE)) == 1


def test_the_first_paper_account_of_the_market_is_not_the_one_for_stocks(opend_client: Any) -> None:
    listed = rows(opend_client.get_acc_list())
    paper = [row for row in listed if row["trd_env"] == "SIMULATE"]

    assert [row["acc_id"] for row in listed] == [
        OPTIONS.account_id,
        LIVE.account_id,
        PAPER.account_id,
    ]
    assert [row["sim_acc_type"] for row in paper] == ["OPTION", "STOCK"]
    with pytest.raises(Failed, match="does not support trading this product"):
        place(opend_client, 99, acc_id=0, acc_index=0)


def test_an_account_is_asked_with_its_own_environment_and_market(
    opend: OpenDVenue, opend_client: Any
) -> None:
    real = funds(opend_client, {"trd_env": "REAL", "acc_id": LIVE.account_id})
    with pytest.raises(Failed, match="Nonexisting acc_id"):
        place(opend_client, 99, acc_id=AMERICAN.account_id)
    with pytest.raises(Failed, match="unlock"):
        place(opend_client, 99, trd_env="REAL", acc_id=LIVE.account_id)

    assert (real["cash"], funds(opend_client)["cash"]) == (250_000, 1_000_000)
    assert opend.orders() == ()


def test_money_has_no_currency_and_is_held_back_by_a_resting_order(opend_client: Any) -> None:
    before = funds(opend_client)
    place(opend_client, 99, 1000)
    after = funds(opend_client)

    assert (before["power"], before["total_assets"], before["currency"]) == (1e6, 1e6, "N/A")
    assert after["cash"] == 1_000_000
    assert 1_000_000 - 99_000 - 300 < after["power"] < 1_000_000 - 99_000
    assert after["frozen_cash"] == after["cash"] - after["power"]


def test_an_order_fills_at_the_offer_and_pays_hong_kongs_fees(
    opend: OpenDVenue, opend_client: Any
) -> None:
    row = place(opend_client, 101, remark="scan-1")

    assert (row["order_status"], row["dealt_qty"], row["dealt_avg_price"]) == (
        "FILLED_ALL",
        100,
        100.1,
    )
    assert (row["remark"], row["code"], row["time_in_force"]) == ("scan-1", "HK.00700", "DAY")
    assert row["create_time"] == "2026-12-21 10:00:00"
    assert funds(opend_client)["cash"] == pytest.approx(float(opend.account().cash))
    assert 1_000_000 - 10_010 - 20 < float(opend.account().cash) < 1_000_000 - 10_010 - 11


def test_order_ids_are_longer_than_a_double(opend_client: Any) -> None:
    ids = [place(opend_client, 99)["order_id"] for _ in range(2)]

    assert all(isinstance(order_id, str) and len(order_id) == 19 for order_id in ids)
    assert ids[0] != ids[1]
    assert float(ids[0]) == float(ids[1])


def test_a_remark_is_not_unique_and_has_at_most_64_bytes(
    opend: OpenDVenue, opend_client: Any
) -> None:
    remark = "r" * 61 + "\u6e2f"
    found = {place(opend_client, 99, remark=remark)["order_id"] for _ in range(2)}
    with pytest.raises(Failed, match="64"):
        place(opend_client, 99, remark=remark + "x")

    listed = rows(opend_client.order_list_query(**PAPER_ACCOUNT))
    assert {row["order_id"] for row in listed if row["remark"] == remark} == found
    assert len(opend.orders()) == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"order_type": "STOP", "aux_price": 90.0}, "order type"),
        ({"order_type": "AUCTION"}, "order type"),
        ({"time_in_force": "GTC"}, "orders for the day"),
        ({"trd_side": "SELL_SHORT"}, "trading direction"),
        ({"trd_side": "SELL"}, "short selling"),
        ({"quantity": 150}, "multiple of the lot size"),
        ({"price": 99.99}, "price spread"),
        ({"price": 0.0}, "more than 0"),
        ({"quantity": 1_000_000}, "buying power"),
        ({"code": "HK.99999"}, "Unknown stock"),
    ],
)
def test_a_paper_account_refuses_and_nothing_rests(
    opend: OpenDVenue, opend_client: Any, words: dict[str, Any], text: str
) -> None:
    with pytest.raises(Failed, match=text):
        place(opend_client, **(DEFAULT | words))

    assert opend.orders() == ()


def test_a_price_is_cut_after_three_decimals_and_moved_where_that_is_wished(
    opend_client: Any,
) -> None:
    with pytest.raises(Failed, match="price spread"):
        place(opend_client, 27.06999969482422, 200, code="HK.01810")
    cut = place(opend_client, 95.0509, code="HK.00700")
    moved = place(opend_client, 95.02, adjust_limit=-0.01)

    assert (cut["price"], moved["price"]) == (95.05, 95.0)
    with pytest.raises(Failed, match="within the limit"):
        place(opend_client, 95.02, adjust_limit=0.0001)


def test_deals_fees_and_unlocking_are_not_had_on_paper(opend_client: Any) -> None:
    for call in (
        opend_client.deal_list_query,
        opend_client.history_deal_list_query,
        opend_client.order_fee_query,
    ):
        with pytest.raises(Failed, match="does not support"):
            ok(call(**PAPER_ACCOUNT))
    with pytest.raises(Failed, match="does not support"):
        ok(opend_client.unlock_trade("123456"))


def test_a_changed_order_keeps_its_id_and_counts_what_had_filled(
    opend: OpenDVenue, opend_client: Any
) -> None:
    row = place(opend_client, 99, 300, remark="grows")
    opend.trade(99, volume=1000)
    part = order(opend_client, row["order_id"])
    modify(opend_client, "NORMAL", row["order_id"], 500, 98)
    changed = order(opend_client, row["order_id"])
    opend.trade(97, volume=100_000)
    whole = order(opend_client, row["order_id"])

    assert (part["order_status"], part["dealt_qty"], part["qty"]) == ("FILLED_PART", 100, 300)
    assert (changed["price"], changed["qty"], changed["dealt_qty"]) == (98, 500, 100)
    assert (changed["order_status"], changed["remark"]) == ("FILLED_PART", "grows")
    assert (whole["order_status"], whole["dealt_qty"]) == ("FILLED_ALL", 500)
    assert whole["dealt_avg_price"] == pytest.approx((99 * 100 + 97 * 400) / 500)
    assert len(rows(opend_client.order_list_query(**PAPER_ACCOUNT))) == 1
    with pytest.raises(Failed, match="present status"):
        modify(opend_client, "CANCEL", row["order_id"])


def test_orders_are_cancelled_one_by_one_and_all_at_once(
    opend: OpenDVenue, opend_client: Any
) -> None:
    first, *others = [place(opend_client, price, 100)["order_id"] for price in (99, 98, 97)]
    modify(opend_client, "CANCEL", first)
    statuses = [order(opend_client, order_id)["order_status"] for order_id in (first, *others)]
    ret, said = opend_client.cancel_all_order(**PAPER_ACCOUNT)

    assert statuses == ["CANCELLED_ALL", "SUBMITTED", "SUBMITTED"]
    assert (ret, said) == (0, "success")
    assert {order.status for order in opend.orders()} == {OrderStatus.CANCELED}
    for operation in ("DISABLE", "ENABLE", "DELETE"):
        with pytest.raises(Failed, match="only to modify and to cancel"):
            modify(opend_client, operation, first)
    with pytest.raises(Failed, match="does not exist"):
        modify(opend_client, "CANCEL", "6912345678901234999")


def test_what_was_sold_out_stays_as_a_row_without_shares(
    opend: OpenDVenue, opend_client: Any
) -> None:
    place(opend_client, 101)
    opend.trade(103)
    held = positions(opend_client)["HK.00700"]
    place(opend_client, 102, trd_side="SELL")
    row = positions(opend_client)["HK.00700"]

    assert (held["qty"], held["can_sell_qty"], held["cost_price"]) == (100, 100, 100.1)
    assert held["pl_ratio"] == pytest.approx(100 * (103 - 100.1) / 100.1)
    assert (held["average_cost"], held["today_pl_val"]) == ("N/A", "N/A")
    assert (row["qty"], row["cost_price"], row["pl_ratio"]) == (0, "N/A", "N/A")
    assert opend.positions() == ()


def test_a_resting_sale_holds_the_shares(opend_client: Any) -> None:
    place(opend_client, 101, 200)
    place(opend_client, 110, 100, trd_side="SELL")

    assert positions(opend_client)["HK.00700"]["can_sell_qty"] == 100
    with pytest.raises(Failed, match="Insufficient positions"):
        place(opend_client, 111, 200, trd_side="SELL")


def test_every_change_of_an_order_is_told(opend: OpenDVenue, opend_client: Any) -> None:
    told = hear_of_orders(opend_client)
    row = place(opend_client, 99, 300)
    opend.trade(99, volume=1000)
    opend.tell_of_orders(pushes=False)
    opend.trade(99, volume=1000)
    opend.tell_of_orders(pushes=True)
    opend.trade(99, volume=1000)
    heard = [told.get(timeout=5) for _ in range(3)]

    assert [(r["order_status"], r["dealt_qty"]) for r in heard] == [
        ("SUBMITTED", 0),
        ("FILLED_PART", 100),
        ("FILLED_ALL", 300),
    ]
    assert {r["order_id"] for r in heard} == {row["order_id"]}
    assert told.empty()


def test_an_order_of_the_night_waits_for_the_opening_and_ends_with_its_day(
    opend: OpenDVenue, opend_client: Any
) -> None:
    opend.move_to(opend.now() + timedelta(hours=8))
    row = place(opend_client, 99)
    opend.move_to(opend.now() + timedelta(hours=16))
    opened = order(opend_client, row["order_id"])
    opend.move_to(opend.now() + timedelta(hours=8))
    gone = rows(opend_client.order_list_query(**PAPER_ACCOUNT))
    listed = rows(opend_client.history_order_list_query(start="2026-12-21", **PAPER_ACCOUNT))

    assert (row["order_status"], opened["order_status"]) == ("WAITING_SUBMIT", "SUBMITTED")
    assert gone == []
    assert [(r["order_id"], r["order_status"]) for r in listed] == [
        (row["order_id"], "CANCELLED_ALL")
    ]


def test_the_most_that_can_be_traded_is_whole_lots_and_leaves_the_fees(opend_client: Any) -> None:
    place(opend_client, 101)
    (row,) = rows(opend_client.acctradinginfo_query("NORMAL", "HK.00700", 98.9, **PAPER_ACCOUNT))

    assert (row["max_cash_buy"], row["max_position_sell"]) == (9900, 100)
    assert row["max_sell_short"] == "N/A"


def test_a_person_trades_beside_the_client(opend: OpenDVenue, opend_client: Any) -> None:
    opend.trade_by_somebody_else(Side.BUY, 200, 100)

    (row,) = rows(opend_client.order_list_query(**PAPER_ACCOUNT))
    assert (row["qty"], row["order_status"], row["remark"]) == (200, "FILLED_ALL", "")
    assert positions(opend_client)["HK.00700"]["qty"] == 200


def test_fifteen_orders_in_half_a_minute_are_the_most(opend: OpenDVenue, opend_client: Any) -> None:
    for _ in range(15):
        place(opend_client, 99)
    with pytest.raises(Failed, match=r"too frequent.* At most 15 requests every 30 seconds"):
        place(opend_client, 99)
    opend.move_to(opend.now() + timedelta(seconds=31))
    place(opend_client, 99)

    assert len(opend.orders()) == 16
    assert len(opend.asked(Protocol.PLACE_ORDER)) == 17


def test_what_opend_remembers_may_be_asked_as_often_as_one_likes(
    opend: OpenDVenue, opend_client: Any
) -> None:
    for _ in range(12):
        funds(opend_client)
    for _ in range(10):
        funds(opend_client, PAPER_ACCOUNT | {"refresh_cache": True})
    with pytest.raises(Failed, match="At most 10"):
        funds(opend_client, PAPER_ACCOUNT | {"refresh_cache": True})
    opend.limit_rate(enforced=False)

    assert funds(opend_client, PAPER_ACCOUNT | {"refresh_cache": True})["cash"] == 1_000_000


def test_the_account_survives_a_second_client(opend: OpenDVenue, opend_client: Any) -> None:
    row = place(opend_client, 99, remark="kept")
    second = open_trading(opend)
    try:
        found = order(second, row["order_id"])
    finally:
        second.close()

    assert found["remark"] == "kept"
    assert len({request["connection"] for request in opend.requests()}) == 2
