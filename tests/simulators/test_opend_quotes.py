"""Market data of the simulated OpenD, asked by the real quote client."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.simulators.opend.client import Failed, moomoo, ok, rows
from tests.simulators.opend.market import LOTS
from tests.simulators.opend.venue import OpenDVenue

CODES = ["HK.00700", "HK.00005", "HK.02628"]


def state(quotes: Any) -> str:
    (row,) = rows(quotes.get_market_state(["HK.00700"]))
    return row["market_state"]


def filtered(kind: str, field: str, **words: Any) -> Any:
    made = getattr(moomoo(), kind)()
    made.stock_field, made.is_no_filter = getattr(moomoo().StockField, field), False
    for name, value in words.items():
        setattr(made, name, value)
    return made


def test_every_stock_has_a_lot_of_its_own(opend_quotes: Any) -> None:
    named = rows(opend_quotes.get_stock_basicinfo("HK", "STOCK", CODES))
    every = rows(opend_quotes.get_stock_basicinfo("HK", "STOCK"))
    funds = rows(opend_quotes.get_stock_basicinfo("HK", "ETF"))

    assert [(row["code"], row["lot_size"]) for row in named] == [
        ("HK.00700", 100),
        ("HK.00005", 400),
        ("HK.02628", 1000),
    ]
    assert len(every) == len(LOTS) - 1
    assert [(row["code"], row["stock_type"]) for row in funds] == [("HK.02800", "ETF")]
    with pytest.raises(Failed, match="Unknown stock 00670X"):
        ok(opend_quotes.get_stock_basicinfo("HK", "STOCK", ["HK.00670X"]))


def test_a_snapshot_has_the_step_at_its_price_and_a_step_on_either_side(
    opend: OpenDVenue, opend_quotes: Any
) -> None:
    opend.trade_many({"0700": ["100.0"], "0005": ["26.4"], "2628": ["9.99"]}, volume=5000)
    snapshots = rows(opend_quotes.get_market_snapshot(CODES))

    assert [(s["last_price"], s["price_spread"], s["lot_size"]) for s in snapshots] == [
        (100, 0.1, 100),
        (26.4, 0.02, 400),
        (9.99, 0.005, 1000),
    ]
    assert [(s["bid_price"], s["ask_price"]) for s in snapshots] == [
        (99.95, 100.1),
        (26.38, 26.42),
        (9.985, 9.995),
    ]
    assert snapshots[0]["prev_close_price"] == 100
    assert (snapshots[0]["update_time"], snapshots[0]["volume"]) == (
        "2026-12-21 10:01:00",
        30 * 100_000 + 5000,
    )
    assert not snapshots[0]["suspension"]


def test_one_unknown_stock_fails_a_whole_batch_and_a_batch_has_at_most_400(
    opend_quotes: Any,
) -> None:
    with pytest.raises(Failed, match="Unknown stock 09997"):
        ok(opend_quotes.get_market_snapshot(["HK.00700", "HK.09997"]))
    with pytest.raises(Failed, match="Unknown stock 00700"):
        ok(opend_quotes.get_market_snapshot(["US.00700"]))
    with pytest.raises(Failed, match="At most 400"):
        ok(opend_quotes.get_market_snapshot([f"HK.{n:05}" for n in range(401)]))


def test_sixty_snapshots_in_half_a_minute_are_the_most(
    opend: OpenDVenue, opend_quotes: Any
) -> None:
    for _ in range(60):
        ok(opend_quotes.get_market_snapshot(["HK.00700"]))
    with pytest.raises(Failed, match="At most 60 requests"):
        ok(opend_quotes.get_market_snapshot(["HK.00700"]))
    opend.move_to(opend.now() + timedelta(seconds=31))

    assert rows(opend_quotes.get_market_snapshot(["HK.00700"]))


def test_a_halted_stock_is_suspended(opend: OpenDVenue, opend_quotes: Any) -> None:
    opend.halt(minutes=5)

    (snapshot,) = rows(opend_quotes.get_market_snapshot(["HK.00700"]))
    assert snapshot["suspension"]


def test_the_oldest_page_of_history_comes_first(opend_quotes: Any) -> None:
    ret, first, key = opend_quotes.request_history_kline(
        "HK.00700", start="2026-10-01", end="2026-12-21", max_count=30
    )
    ret_2, second, end = opend_quotes.request_history_kline(
        "HK.00700", start="2026-10-01", end="2026-12-21", max_count=30, page_req_key=key
    )
    times = [*first["time_key"], *second["time_key"]]

    assert (ret, ret_2, len(first), len(second), end) == (0, 0, 30, 11, None)
    assert times == sorted(times)
    assert (times[0], times[-1]) == ("2026-10-26 00:00:00", "2026-12-21 00:00:00")
    assert second["close"].iloc[-1] == 100


def test_a_bar_of_minutes_has_the_time_at_which_it_ended(
    opend: OpenDVenue, opend_quotes: Any
) -> None:
    opend.trade(100, 102, 99, 101, volume=700)
    words = {"start": "2026-12-21", "end": "2026-12-21"}
    minutes = ok(opend_quotes.request_history_kline("HK.00700", ktype="K_1M", **words)[:2])
    quarters = ok(opend_quotes.request_history_kline("HK.00700", ktype="K_15M", **words)[:2])

    assert list(minutes["time_key"])[::30] == ["2026-12-21 09:31:00", "2026-12-21 10:01:00"]
    last = minutes.iloc[-1]
    assert (last["open"], last["high"], last["low"], last["close"]) == (100, 102, 99, 101)
    assert last["volume"] == 700
    assert list(quarters["time_key"]) == [
        "2026-12-21 09:45:00",
        "2026-12-21 10:00:00",
        "2026-12-21 10:15:00",
    ]
    assert quarters["volume"].iloc[0] == 15 * 100_000


def test_trade_dates_know_half_days_and_holidays(opend_quotes: Any) -> None:
    days = ok(opend_quotes.request_trading_days(market="HK", start="2026-12-21", end="2026-12-31"))

    assert [(day["time"], day["trade_date_type"]) for day in days] == [
        ("2026-12-21", "WHOLE"),
        ("2026-12-22", "WHOLE"),
        ("2026-12-23", "WHOLE"),
        ("2026-12-24", "MORNING"),
        ("2026-12-28", "WHOLE"),
        ("2026-12-29", "WHOLE"),
        ("2026-12-30", "WHOLE"),
        ("2026-12-31", "MORNING"),
    ]


def test_the_market_has_a_lunch_and_auctions_around_it(
    opend: OpenDVenue, opend_quotes: Any
) -> None:
    opend.limit_rate(enforced=False)
    day, seen = opend.now().replace(hour=0), list[str]()
    for hours, minutes in ((2, 0), (4, 0), (5, 0), (7, 59), (8, 0), (8, 10), (25, 0), (25, 20)):
        opend.move_to(day + timedelta(hours=hours, minutes=minutes))
        seen.append(state(opend_quotes))

    assert seen == [
        "MORNING",
        "REST",
        "AFTERNOON",
        "AFTERNOON",
        "HK_CAS",
        "CLOSED",
        "AUCTION",
        "WAITING_OPEN",
    ]


def test_a_half_day_ends_at_noon(opend: OpenDVenue, opend_quotes: Any) -> None:
    eve, seen = opend.now().replace(hour=0) + timedelta(days=3), list[str]()
    for hours, minutes in ((3, 59), (4, 0), (4, 10), (5, 0)):
        opend.move_to(eve + timedelta(hours=hours, minutes=minutes))
        seen.append(state(opend_quotes))

    assert seen == ["MORNING", "HK_CAS", "CLOSED", "CLOSED"]


def test_a_closure_that_nobody_planned_closes_the_market_though_the_dates_say_nothing(
    opend: OpenDVenue, opend_quotes: Any
) -> None:
    opend.close_exchange(minutes=30)
    days = ok(opend_quotes.request_trading_days(market="HK", start="2026-12-21", end="2026-12-21"))

    assert state(opend_quotes) == "CLOSED"
    assert [day["trade_date_type"] for day in days] == ["WHOLE"]


def test_the_filter_finds_by_range_in_order_and_in_pages(
    opend: OpenDVenue, opend_quotes: Any
) -> None:
    opend.trade_many({"0005": ["40"], "0700": ["106"]}, volume=1000)
    dear = filtered("SimpleFilter", "CUR_PRICE", filter_min=100, filter_max=200)
    moved = filtered("AccumulateFilter", "CHANGE_RATE", sort="DESCEND", days=1)
    last_page, count, first = ok(opend_quotes.get_stock_filter("HK", [dear, moved], num=3))
    is_last, _, second = ok(opend_quotes.get_stock_filter("HK", [dear, moved], begin=3))
    prices = [Decimal(str(found[dear])) for found in [*first, *second]]
    changes = [found[moved] for found in [*first, *second]]

    assert (last_page, is_last, len(first)) == (False, True, 3)
    assert len(first) + len(second) == count
    assert all(100 <= price <= 200 for price in prices)
    assert changes == sorted(changes, reverse=True)
    assert {found.stock_code: found[moved] for found in first}["HK.00700"] == pytest.approx(6)
    assert "HK.00005" not in {found.stock_code for found in [*first, *second]}


def test_a_quote_needs_a_subscription_of_the_same_connection(opend_quotes: Any) -> None:
    with pytest.raises(Failed, match="subscribe"):
        ok(opend_quotes.get_stock_quote(["HK.00700"]))
    ok(opend_quotes.subscribe(["HK.00700"], ["QUOTE"], subscribe_push=False))

    (row,) = rows(opend_quotes.get_stock_quote(["HK.00700"]))
    assert (row["last_price"], row["price_spread"]) == (100, 0.1)
