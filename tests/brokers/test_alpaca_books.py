"""Alpaca's lists read whole: pages, old orders that rest, groups, and fills that lag behind."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from brokers.alpaca import AlpacaBroker
from shared.alpaca_http import AlpacaKeys, RequestShare
from shared.clock import ManualClock
from shared.config_brokers import AlpacaSettings
from shared.errors import BrokerUnavailable
from shared.models import Order, OrderStatus
from tests.brokers.alpaca_bodies import Json, Ledger, bracket, fill, order, uuid_of
from tests.fixtures.wire import Wire, says, wire

NOW = datetime(2026, 6, 15, 15, tzinfo=UTC)
OLD = "2026-05-04T14:00:00.000000001Z"


@asynccontextmanager
async def opened(
    ledger: Ledger, *, page_size: int = 500, now: datetime = NOW
) -> AsyncGenerator[tuple[AlpacaBroker, Wire]]:
    async with wire() as server:

        async def answers(reader: Any, writer: Any) -> None:
            url = urlsplit(server.asked[-1].target)
            query = dict(parse_qsl(url.query))
            await says(ledger.answer(url.path, query))(reader, writer)

        server.otherwise = answers
        settings = AlpacaSettings(trading_url=server.url, data_url=server.url)
        keys = AlpacaKeys(api_key=SecretStr("PK"), secret_key=SecretStr("s"))
        broker = AlpacaBroker(
            settings, keys, RequestShare(10_000), ManualClock(now), page_size=page_size
        )
        try:
            yield broker, server
        finally:
            await broker.disconnect()


async def listed(ledger: Ledger, *, only_open: bool, **how: Any) -> tuple[Order, ...]:
    async with opened(ledger, **how) as (broker, _):
        return await broker.orders(only_open=only_open)


def ids(*bodies: Json) -> list[str]:
    return [body["id"] for body in bodies]


async def test_every_page_is_read_although_orders_of_one_moment_fall_between_two() -> None:
    orders = [order(f"n{n}", at=n // 3) for n in range(40)]

    found = await listed(Ledger(*orders), only_open=True, page_size=5)

    assert sorted(o.broker_order_id for o in found) == sorted(ids(*orders))
    assert [o.submitted_at for o in found] == sorted(o.submitted_at for o in found)


async def test_a_list_that_cannot_be_turned_further_is_no_answer() -> None:
    orders = [order(f"n{n}") for n in range(6)]

    with pytest.raises(BrokerUnavailable, match="more than 5 of one moment"):
        await listed(Ledger(*orders), only_open=True, page_size=5)


async def test_a_stop_that_is_held_beside_a_working_target_is_open_though_alpaca_does_not_say_so() -> (
    None
):
    entry, target, stop = bracket()
    fills = (fill(entry, 10, "150"),)

    found = await listed(Ledger(entry, target, stop, fills=fills), only_open=True)

    assert {o.broker_order_id for o in found} == set(ids(target, stop))
    assert {o.parent_order_id for o in found} == {entry["id"]}
    assert {o.status for o in found} == {OrderStatus.ACCEPTED, OrderStatus.HELD}


async def test_protection_from_weeks_ago_is_found_with_the_stop_that_is_held() -> None:
    entry, target, stop = (one | {"submitted_at": OLD} for one in bracket())
    newer = [order(f"n{n}", at=n) for n in range(9)]
    fills = (fill(entry, 10, "150"),)

    found = await listed(
        Ledger(entry, target, stop, *newer, fills=fills), only_open=True, page_size=4
    )

    assert {o.broker_order_id for o in found} == set(ids(target, stop, *newer))
    assert {o.parent_order_id for o in found} == {entry["id"], None}


async def test_a_target_moved_today_leads_to_its_stop_of_weeks_ago() -> None:
    entry, target, stop = (one | {"submitted_at": OLD} for one in bracket())
    moved = order("moved", side="sell", replaces=target["id"], group_id=target["group_id"])
    moved |= {"group_role": "take_profit", "order_class": "bracket"}
    target |= {"status": "replaced", "replaced_by": moved["id"]}
    fills = (fill(entry, 10, "150"),)

    found = await listed(Ledger(entry, target, stop, moved, fills=fills), only_open=True)

    assert {o.broker_order_id for o in found} == set(ids(stop, moved))
    assert {o.parent_order_id for o in found} == {entry["id"]}


async def test_legs_that_name_no_group_are_known_by_the_rolled_up_list() -> None:
    entry, target, stop = bracket(filled=False)
    for one in (entry, target, stop):
        del one["group_id"], one["group_role"]
    nested = entry | {"legs": [target, stop]}
    async with opened(Ledger(entry, target, stop)) as (broker, server):
        flat = server.otherwise
        assert flat is not None

        async def rolls_up(reader: Any, writer: Any) -> None:
            is_nested = "nested=true" in server.asked[-1].target
            await (says([nested]) if is_nested else flat)(reader, writer)

        server.otherwise = rolls_up
        found = await broker.orders(only_open=True)

    assert found[0].broker_order_id == entry["id"]
    assert {leg.parent_order_id for leg in found[1:]} == {entry["id"]}
    assert {leg.broker_order_id for leg in found[0].legs} == set(ids(target, stop))


async def test_what_the_fills_do_not_list_yet_has_not_filled_yet() -> None:
    entry = order(status="filled", filled_qty="10", filled_avg_price="151")
    ledger = Ledger(entry)
    async with opened(ledger) as (broker, _):
        [nothing] = await broker.orders(only_open=False)
        ledger.fills.append(fill(entry, 4, "150.5", 1))
        [partly] = await broker.orders(only_open=False)
        ledger.fills.append(fill(entry, 6, "151.5", 2))
        [whole] = await broker.orders(only_open=False)

    assert (nothing.status, nothing.filled_quantity, nothing.fills) == (OrderStatus.ACCEPTED, 0, ())
    assert (partly.status, partly.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, 4)
    assert partly.average_fill_price == Decimal("150.5")
    assert (whole.status, whole.filled_quantity) == (OrderStatus.FILLED, 10)
    assert whole.average_fill_price == 151
    assert [f.fill_id for f in whole.fills] == [f["id"] for f in ledger.fills]


async def test_a_cancelled_order_whose_fills_lag_is_not_over() -> None:
    entry = order(status="canceled", filled_qty="3", filled_avg_price="150")
    ledger = Ledger(entry)
    async with opened(ledger) as (broker, _):
        [before] = await broker.orders(only_open=False)
        ledger.fills.append(fill(entry, 3, "150"))
        [after] = await broker.orders(only_open=False)

    assert (before.status, before.filled_quantity) == (OrderStatus.CANCEL_PENDING, 0)
    assert (after.status, after.filled_quantity) == (OrderStatus.CANCELED, 3)


async def test_fills_are_read_once_and_in_pages_where_there_are_many() -> None:
    orders = [order(f"n{n}", at=n, status="filled", filled_qty="10") for n in range(8)]
    for one in orders:
        one["filled_avg_price"] = "150"
    fills = tuple(fill(one, 5, "150", n) for one in orders for n in (1, 2))
    async with opened(Ledger(*orders, fills=fills), page_size=7) as (broker, server):
        first = await broker.orders(only_open=False)
        read = sum("activities" in asked.target for asked in server.asked)
        again = await broker.orders(only_open=False)
        read_again = sum("activities" in asked.target for asked in server.asked)

    assert first == again
    assert all(o.status is OrderStatus.FILLED and len(o.fills) == 2 for o in first)
    assert (read, read_again) == (3, 3)


async def test_since_leaves_out_what_was_over_before_and_keeps_what_is_open() -> None:
    over = order("over", at=1, status="canceled")
    late = order("late", at=1, status="canceled") | {"updated_at": "2026-06-15T14:30:00Z"}
    rests = order("rests") | {"submitted_at": OLD, "updated_at": OLD}
    async with opened(Ledger(over, late, rests)) as (broker, _):
        found = await broker.orders(only_open=False, since=NOW - timedelta(minutes=40))

    assert {o.broker_order_id for o in found} == set(ids(late, rests))


async def test_an_order_laid_down_by_hand_has_no_client_order_id() -> None:
    by_hand = order("by hand", client_order_id=uuid_of("of Alpaca's making"))

    [found] = await listed(Ledger(by_hand), only_open=True)

    assert found.client_order_id is None


@pytest.mark.parametrize(
    ("changed", "quantity", "filled"),
    [
        ({"qty": "0.5", "filled_qty": "0.25"}, 1, 0),
        ({"qty": None, "notional": "500", "filled_qty": "1.5"}, 2, 1),
        ({"qty": None, "notional": "500"}, 1, 0),
    ],
)
async def test_parts_of_shares_by_hand_do_not_make_the_list_unreadable(
    changed: Json, quantity: int, filled: int
) -> None:
    [found] = await listed(
        Ledger(order(**changed, filled_avg_price="150", status="partially_filled")), only_open=True
    )

    assert (found.quantity, found.filled_quantity, found.fills) == (quantity, filled, ())


async def test_the_order_of_another_id_is_no_answer() -> None:
    async with opened(Ledger()) as (broker, server):
        server.otherwise = says(order("another"))
        with pytest.raises(BrokerUnavailable, match="Alpaca showed another one"):
            await broker.order_by_client_id("client-one")


async def test_only_alpaca_itself_can_say_that_there_is_no_such_thing() -> None:
    async with opened(Ledger()) as (broker, server):
        server.script = [
            says({"code": 40410000, "message": "order not found"}, 404),
            says("<html>404</html>", 404),
            says({"message": "no Route matched"}, 404),
            says("", 404),
        ]
        assert await broker.order_by_client_id("x") is None
        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                await broker.order_by_client_id("x")


async def test_a_list_that_is_no_list_is_no_answer() -> None:
    async with opened(Ledger()) as (broker, server):
        for body in ("{}", "null", '"text"', "3", "[null]", "[[]]", ""):
            server.otherwise = says(body)
            with pytest.raises(BrokerUnavailable):
                await broker.positions()
            with pytest.raises(BrokerUnavailable):
                await broker.orders(only_open=True)
