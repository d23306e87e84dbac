"""The desk: an order is written down before it is sent, sent once, and never forgotten."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.desk import NotPlaced, Placed, Refused
from brokers.faults import FaultKind, Operation
from shared.database.connection import Connection
from shared.database.orders import insert_intent, move_order, unresolved_orders
from shared.models import OrderStatus
from shared.order_life import OrderState
from tests.brokers.order_requests import buy, sell
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import at
from tests.fixtures.broker_orders import AGENT, sender
from tests.fixtures.databases import open_connection
from tests.fixtures.floor import Floor, Watching, draft, leave, record_of


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def status_of_only_order(floor: Floor) -> str:
    (row,) = await floor.rows("SELECT status FROM orders WHERE parent_order_id IS NULL")
    return row["status"]


async def test_the_intent_is_committed_before_the_broker_hears_of_the_order(
    floor: Floor, trading_database_url: str
) -> None:
    onlooker = await open_connection(trading_database_url)
    seen: list[dict[str, Any]] = []

    class Onlooking(Watching):
        async def before(self, operation: str, request: Any) -> None:
            rows = await onlooker.fetch(
                "SELECT status, quantity, reason, broker_order_id FROM orders"
                " WHERE client_order_id = $1",
                request.request.client_order_id,
            )
            seen.extend(map(dict, rows))

    desk = await floor.desk(broker=Onlooking(floor.venue.broker))
    await desk.enter(draft(), why="volume")
    await onlooker.close()

    assert seen == [
        {"status": "submitting", "quantity": 10, "reason": "volume", "broker_order_id": None}
    ]


async def test_an_order_that_fills_is_booked_with_its_legs_and_its_reason(floor: Floor) -> None:
    desk = await floor.desk()
    record = record_of(await desk.enter(draft(), why="volume"))
    orders = await floor.rows("SELECT order_purpose, status FROM orders ORDER BY order_id")
    (position,) = await floor.rows("SELECT quantity, entry_price, entry_reason FROM positions")

    assert (record.status, record.filled_quantity) == (OrderState.FILLED, 10)
    assert {(row["order_purpose"], row["status"]) for row in orders} == {
        ("entry", "filled"),
        ("take_profit", "accepted"),
        ("stop_loss", "accepted"),
    }
    assert position == {
        "quantity": 10,
        "entry_price": Decimal("100.01"),
        "entry_reason": "volume",
    }
    assert (desk.orders_placed, desk.fills) == (1, 1)


async def test_an_order_that_the_broker_rejects_is_rejected_with_its_reason(floor: Floor) -> None:
    floor.fault(Operation.PLACE, FaultKind.REJECT, reason="insufficient buying power")
    desk = await floor.desk()
    record = record_of(await desk.enter(draft(), why="volume"))

    assert record.status is OrderState.REJECTED
    assert record.reject_reason == "insufficient buying power"
    assert floor.at_broker() == ()


async def test_an_order_that_never_left_is_not_placed_and_blocks_nothing(floor: Floor) -> None:
    floor.fault(Operation.PLACE, FaultKind.REFUSE, reason="connection refused")
    record = record_of(await (await floor.desk()).enter(draft(), why="volume"))
    (event,) = await floor.rows("SELECT detail FROM order_events WHERE to_status = 'not_placed'")
    again = record_of(await (await floor.desk()).enter(draft(), why="volume"))

    assert record.status is OrderState.NOT_PLACED
    assert event["detail"] == "connection refused"
    assert again.status is OrderState.FILLED
    assert len(floor.at_broker()) == 1


@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.TIME_OUT])
async def test_an_unclear_outcome_is_unknown_alerted_and_never_sent_again(
    floor: Floor, kind: FaultKind
) -> None:
    floor.fault(Operation.PLACE, kind, reason="no answer in 5 s")
    desk = await floor.desk()
    record = record_of(await desk.enter(draft(), why="volume"))
    again = await desk.enter(draft(), why="volume")

    assert record.status is OrderState.UNKNOWN
    assert isinstance(again, Placed)
    assert again.duplicate
    assert floor.venue.faults.calls(Operation.PLACE) == 1
    assert await floor.alerts() == [f"the outcome of order {record.client_order_id} is not known"]


async def test_while_an_order_is_unresolved_nothing_is_opened_and_exits_still_pass(
    floor: Floor,
) -> None:
    floor.list_another("OTHER")
    await (await floor.desk()).enter(draft(), why="volume")
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    await (await floor.desk()).enter(draft(symbol="OTHER"), why="volume")
    desk = await floor.tidy()
    entry = await desk.enter(draft(7, symbol="OTHER"), why="volume")
    leaving = record_of(await leave(desk, 10))

    assert isinstance(entry, Refused)
    assert entry.refusal.codes == ("UNRESOLVED_ORDER",)
    assert leaving.status is OrderState.FILLED
    assert floor.held() == 0


async def test_an_order_whose_reply_was_lost_is_found_by_its_id_and_adopted_whole(
    floor: Floor,
) -> None:
    floor.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    lost = record_of(await (await floor.desk()).enter(draft(), why="volume"))
    floor.fault(Operation.ORDERS, FaultKind.EMPTY_READ)
    desk = await floor.desk()
    await desk.synchronise()
    rows = await floor.rows("SELECT client_order_id, order_purpose, status FROM orders ORDER BY 2")
    (position,) = await floor.rows("SELECT quantity, stop_loss, status FROM positions")

    assert [(row["order_purpose"], row["status"]) for row in rows] == [
        ("entry", "filled"),
        ("stop_loss", "accepted"),
        ("take_profit", "accepted"),
    ]
    assert position == {"quantity": 10, "stop_loss": Decimal("98.00"), "status": "open"}
    assert [order.client_order_id for order in floor.at_broker()] == [lost.client_order_id]
    assert desk.fills == 1


async def test_an_order_that_cannot_be_found_stays_unresolved(floor: Floor) -> None:
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    await (await floor.desk()).enter(draft(), why="volume")
    for _ in range(2):
        await (await floor.desk()).synchronise()

    assert await status_of_only_order(floor) == "unknown"


@pytest.mark.parametrize(("kind", "arrived"), [(FaultKind.SILENCE, 1), (FaultKind.TIME_OUT, 0)])
async def test_a_run_that_dies_in_the_middle_of_a_call_leaves_an_unresolved_order(
    floor: Floor, kind: FaultKind, arrived: int
) -> None:
    floor.fault(Operation.PLACE, kind, seconds=3600)
    calling = asyncio.Event()

    class Calling(Watching):
        async def before(self, operation: str, request: object) -> None:
            calling.set()

    desk = await floor.desk(broker=Calling(floor.venue.broker))
    entering = asyncio.create_task(desk.enter(draft(), why="volume"))
    await calling.wait()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    left = await unresolved_orders(floor.connection, AGENT)
    next_entry = await (await floor.desk()).enter(draft(5), why="volume")

    assert [record.status for record in left] == [OrderState.SUBMITTING]
    assert len(floor.at_broker()) == arrived
    assert isinstance(next_entry, Refused)
    assert "UNRESOLVED_ORDER" in next_entry.refusal.codes


async def test_the_same_decision_twice_in_a_cycle_is_one_order(floor: Floor) -> None:
    desk = await floor.desk()
    first = await desk.enter(draft(), why="volume")
    second = await desk.enter(draft(limit="100.010"), why="volume, said differently")

    assert isinstance(second, Placed)
    assert second.duplicate
    assert second.record.client_order_id == record_of(first).client_order_id
    assert len(floor.at_broker()) == 1
    assert desk.orders_placed == 1


async def test_the_same_decision_in_another_cycle_is_another_order(floor: Floor) -> None:
    dip = draft(limit="99.00", take_profit=Decimal(102))
    first = record_of(await (await floor.desk()).enter(dip, why="a dip"))
    second = record_of(await (await floor.desk()).enter(dip, why="a dip"))

    assert first.client_order_id != second.client_order_id
    assert len(floor.at_broker()) == 2


async def test_a_dry_run_writes_no_order_and_sends_nothing(floor: Floor) -> None:
    desk = await floor.desk(dry_run=True)
    allowed = await desk.enter(draft(), why="volume")
    refused = await desk.enter(draft(1000), why="volume")

    assert isinstance(allowed, NotPlaced)
    assert isinstance(refused, Refused)
    assert floor.venue.faults.calls(Operation.PLACE) == 0
    assert await floor.rows("SELECT FROM orders") == []
    assert len(await floor.rows("SELECT FROM refusals")) == 1


async def test_a_dry_run_cancels_nothing(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(limit="99.00", take_profit=Decimal(102)), why="a dip")
    executor = await floor.cycle(dry_run=True)
    canceled = await executor.orders.cancel_entries(await executor.look(), why="tidy")

    assert canceled == ()
    assert floor.at_broker()[0].status is OrderStatus.ACCEPTED


async def test_a_refusal_is_kept_with_every_code_and_the_request(floor: Floor) -> None:
    desk = await floor.desk()
    submission = await desk.enter(draft(100, stop_loss=None), why="volume")
    (row,) = await floor.rows("SELECT tool, codes, texts, request, cycle_id FROM refusals")

    assert isinstance(submission, Refused)
    assert row["codes"] == ["STOP_MISSING", "POSITION_VALUE"]
    assert list(submission.refusal.codes) == row["codes"] == desk.refusal_codes
    assert "5000" in row["texts"][1]
    assert (row["tool"], row["request"]["symbol"], row["request"]["quantity"]) == (
        "entry",
        "ACME",
        100,
    )
    assert row["cycle_id"] == "rehearsal-1"


async def test_prices_are_put_on_the_tick_before_they_are_judged(floor: Floor) -> None:
    desk = await floor.desk()
    stop, target = Decimal("98.001"), Decimal("105.009")
    submission = await desk.enter(draft(stop_loss=stop, take_profit=target), why="volume")
    record = record_of(submission)

    assert (record.stop_loss, record.take_profit) == (Decimal("98.01"), Decimal("105.00"))


async def test_an_order_placed_by_hand_is_left_alone_and_counts_as_exposure(floor: Floor) -> None:
    floor.venue.exchange.place(buy(40))
    resting = floor.venue.exchange.place(buy(1, 90))
    desk = await floor.tidy()
    submission = await desk.enter(draft(), why="volume")

    assert isinstance(submission, Refused)
    assert submission.refusal.codes == ("POSITION_VALUE",)
    assert floor.venue.exchange.order(resting.broker_order_id) == resting
    assert await floor.rows("SELECT FROM orders") == []
    assert await floor.rows("SELECT FROM positions") == []


async def test_a_sale_by_hand_of_what_we_bought_is_not_booked_as_ours(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    target, stop = floor.venue.exchange.orders(only_open=True)
    floor.venue.exchange.cancel(target.broker_order_id)
    floor.venue.exchange.place(sell(10))
    desk = await floor.tidy()

    assert stop.status is OrderStatus.ACCEPTED
    assert desk.orders_placed == 0
    assert floor.held() == 0
    assert await floor.rows("SELECT quantity FROM positions") == [{"quantity": 10}]


async def test_an_intent_that_its_process_never_began_to_send_is_settled_as_not_placed(
    floor: Floor,
) -> None:
    await insert_intent(
        floor.connection,
        agent_id=AGENT,
        cycle_id=None,
        request=replace(draft(), client_order_id="cat-of-a-dead-run"),
        reason="volume",
        currency="USD",
        at=at(13, 59),
        sender=await sender(floor.connection),
    )
    desk = await floor.desk()
    await desk.synchronise()
    submission = await desk.enter(draft(), why="volume")

    assert record_of(submission).status is OrderState.FILLED
    assert (await floor.rows("SELECT status FROM orders ORDER BY order_id"))[0] == {
        "status": "not_placed"
    }


async def test_a_read_of_positions_that_comes_back_empty_is_not_believed_to_mean_flat(
    floor: Floor,
) -> None:
    floor.list_another("OTHER")
    await (await floor.desk()).enter(draft(), why="volume")
    floor.fault(Operation.POSITIONS, FaultKind.EMPTY_READ)
    submission = await (await floor.desk()).enter(draft(symbol="OTHER"), why="volume")

    assert isinstance(submission, Refused)
    assert submission.refusal.codes == ("RECONCILIATION",)
    assert "the broker shows 0 shares of ACME, by our fills there are 10" in str(submission.refusal)


async def test_a_report_that_contradicts_one_order_does_not_keep_the_others_from_being_read(
    floor: Floor,
) -> None:
    floor.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    dip = draft(limit="99.00", take_profit=Decimal(102))
    lost = record_of(await (await floor.desk()).enter(dip, why="a dip"))
    await move_order(
        floor.connection, order_id=lost.order_id, to=OrderState.REJECTED, at=at(14), detail="?"
    )
    floor.trade(100, volume=0)
    await (await floor.desk()).enter(draft(5), why="volume")
    floor.trade(100)
    fills = await (await floor.desk()).synchronise()

    assert [fill.quantity for fill in fills] == [5]
    assert len(floor.at_broker()) == 2
    assert await floor.alerts() == [
        f"the outcome of order {lost.client_order_id} is not known",
        f"the report on order {lost.client_order_id} contradicts what is known",
    ]
