"""The desk, once shares are held: no share without a stop, and no exit that takes the stop away first."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.desk import Placed, Refused
from brokers.faults import FaultKind, Operation
from shared.database.connection import Connection
from shared.errors import ToolError
from shared.models import OrderStatus, OrderType
from shared.order_life import OrderState
from tests.brokers.order_requests import buy
from tests.brokers.paper_venue import PaperVenue
from tests.fixtures.floor import Floor, Watching, draft, leave, record_of

DIP = draft(limit="99.00", take_profit=Decimal(102))


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def position(floor: Floor) -> dict[str, Any]:
    (row,) = await floor.rows("SELECT * FROM positions")
    return row


async def partly_filled(floor: Floor) -> None:
    """An entry for 40 shares of which the market gives 10 and then nothing."""
    floor.trade(100, volume=100)
    await (await floor.desk()).enter(draft(40), why="volume")
    floor.trade(100, volume=0)


async def test_what_is_left_of_an_entry_is_cancelled_and_what_filled_gets_its_own_stop(
    floor: Floor,
) -> None:
    await partly_filled(floor)
    naked = floor.stops()
    await floor.tidy()
    entry, oco = floor.at_broker()
    (stop,) = floor.stops()

    assert naked == ()
    assert (entry.status, entry.filled_quantity) == (OrderStatus.CANCELED, 10)
    assert (oco.limit_price, oco.quantity) == (Decimal("105.00"), 10)
    assert (stop.stop_price, stop.quantity) == (Decimal("98.00"), 10)
    assert await floor.alerts() == [
        "ACME: 10 shares had no resting stop",
        "ACME: 10 shares were without a stop for 60 seconds",
    ]


async def test_shares_that_are_protected_are_not_protected_twice(floor: Floor) -> None:
    await partly_filled(floor)
    await floor.tidy()
    desk = await floor.tidy()

    assert desk.orders_placed == 0
    assert len(floor.stops()) == 1


async def test_shares_whose_price_is_through_their_stop_already_are_sold(floor: Floor) -> None:
    await partly_filled(floor)
    floor.trade(97, volume=0)
    await floor.tidy()
    floor.trade(97)
    await floor.tidy()

    assert floor.held() == 0
    assert (await position(floor))["exit_reason"] == "the price is through 98.00"


@pytest.mark.parametrize("kind", [FaultKind.REJECT, FaultKind.REFUSE])
async def test_shares_that_cannot_be_protected_are_alerted_with_the_reason_and_tried_again(
    floor: Floor, kind: FaultKind
) -> None:
    await partly_filled(floor)
    floor.fault(Operation.PLACE, kind, reason="out of order")
    await floor.tidy()
    naked = floor.stops()
    bodies = await floor.rows("SELECT body FROM alerts WHERE subject LIKE '%are not protected'")
    await floor.tidy()

    assert naked == ()
    assert len(bodies) == 1
    assert "out of order" in bodies[0]["body"]
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_a_protection_whose_outcome_is_not_known_is_alerted_and_found_later(
    floor: Floor,
) -> None:
    await partly_filled(floor)
    floor.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    await floor.tidy()
    alerts = await floor.alerts()
    desk = await floor.tidy()

    assert "ACME: 10 shares are not protected" in alerts
    assert desk.orders_placed == 0
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_a_dry_run_protects_nothing(floor: Floor) -> None:
    await partly_filled(floor)
    desk = await floor.desk(dry_run=True)
    await desk.synchronise()
    await desk.tidy(why="tidy")

    assert floor.stops() == ()
    assert len(floor.at_broker()) == 1
    assert await floor.alerts() == []


async def test_an_exit_moves_the_target_and_never_touches_the_stop_before_it_fills(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    in_force: list[int] = []

    class Guarding(Watching):
        async def before(self, operation: str, request: object) -> None:
            in_force.append(sum(stop.remaining_quantity for stop in floor.stops()))

    watching = Guarding(floor.venue.broker)
    desk = await floor.desk(broker=watching)
    record = record_of(await leave(desk, 10))
    booked = await position(floor)

    assert watching.asked == ["replace"]
    assert in_force == [10]
    assert (record.status, record.filled_price) == (OrderState.FILLED, Decimal("99.99"))
    assert floor.stops() == ()
    assert floor.held() == 0
    assert (booked["status"], booked["exit_reason"]) == ("closed", "enough")
    assert booked["realized_pnl_gross"] == Decimal("-0.20")
    assert booked["realized_pnl"] == booked["realized_pnl_gross"] - booked["fees"]


async def test_an_exit_that_fills_in_part_keeps_the_stop_for_the_rest(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(40), why="volume")
    floor.trade(100, volume=100)
    desk = await floor.desk()
    record = record_of(await leave(desk, 40))

    assert (record.status, record.filled_quantity) == (OrderState.PARTIALLY_FILLED, 10)
    assert sum(stop.remaining_quantity for stop in floor.stops()) == 30
    assert (await position(floor))["quantity"] == 30


async def test_an_exit_whose_reply_is_lost_leaves_the_stop_and_is_found_later(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.trade(100, volume=0)
    floor.fault(Operation.REPLACE, FaultKind.DROP_REPLY)
    record = record_of(await leave(await floor.desk(), 10))
    stops = floor.stops()
    floor.trade(100)
    await floor.tidy()

    assert record.status is OrderState.UNKNOWN
    assert len(stops) == 1
    assert (await position(floor))["status"] == "closed"
    assert floor.held() == 0
    assert len(await floor.alerts()) == 1


async def test_an_exit_of_nothing_is_refused(floor: Floor) -> None:
    submission = await leave(await floor.desk(), 10)

    assert isinstance(submission, Refused)
    assert submission.refusal.codes == ("NOT_HELD",)
    assert floor.at_broker() == ()


async def test_an_exit_of_more_than_is_held_is_refused(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    submission = await leave(await floor.desk(), 11)

    assert isinstance(submission, Refused)
    assert submission.refusal.codes == ("NOT_HELD",)
    assert floor.held() == 10


async def test_an_exit_of_a_part_is_told_that_positions_are_sold_whole(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    with pytest.raises(ToolError, match="sold whole: 10 shares of ACME are held, not 4"):
        await (await floor.desk()).exit("ACME", quantity=4, why="half of it")

    assert floor.held() == 10


async def test_the_same_exit_twice_in_a_cycle_is_one_order(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.trade(100, volume=0)
    desk = await floor.desk()
    first = await leave(desk, 10)
    second = await leave(desk, 10)

    assert record_of(first).status is OrderState.ACCEPTED
    assert isinstance(second, Placed)
    assert second.duplicate
    assert floor.venue.faults.calls(Operation.REPLACE) == 1


async def test_an_exit_cancels_what_still_rests_of_the_entry_first(floor: Floor) -> None:
    await partly_filled(floor)
    record = record_of(await leave(await floor.desk(), 10))
    floor.trade(100)

    assert record.status.is_open
    assert [order.status for order in floor.at_broker()] == ["canceled", "filled"]
    assert floor.held() == 0


async def test_shares_behind_two_targets_are_sold_whole_all_the_same(floor: Floor) -> None:
    desk = await floor.desk()
    await desk.enter(DIP, why="a dip")
    await desk.enter(draft(5, limit="98.90", take_profit=Decimal(102)), why="a deeper dip")
    floor.trade(99, 99, "98.50", 99)
    await floor.desk()
    held, protected = floor.held(), sum(stop.quantity for stop in floor.stops())
    await (await floor.desk()).exit("ACME", quantity=15, why="enough")

    assert (held, protected) == (15, 15)
    assert floor.held() == 0
    assert floor.stops() == ()


async def test_shares_bought_by_hand_beside_ours_do_not_keep_us_from_selling(floor: Floor) -> None:
    floor.venue.exchange.place(buy(7))
    await (await floor.desk()).enter(draft(), why="volume")
    await (await floor.desk()).exit("ACME", quantity=17, why="enough")

    await (await floor.desk()).synchronise()

    assert floor.held() == 0
    assert (await position(floor))["status"] == "closed"
    assert await floor.alerts() == ["fills fit no position"]


async def test_a_fill_that_comes_after_the_cancel_is_booked_and_protected(floor: Floor) -> None:
    await (await floor.desk()).enter(DIP, why="a dip")
    floor.fault(Operation.CANCEL, FaultKind.LATE_FILL, quantity=4)
    await floor.tidy()
    before = await floor.rows("SELECT FROM positions")
    floor.trade(100)
    await floor.tidy()

    assert before == []
    assert (await position(floor))["quantity"] == 4
    assert [stop.quantity for stop in floor.stops()] == [4]
    assert "late_fill" in {row["kind"] for row in await floor.rows("SELECT kind FROM order_events")}


async def test_a_cancel_without_an_answer_is_alerted_and_asked_again_next_time(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(DIP, why="a dip")
    floor.fault(Operation.CANCEL, FaultKind.TIME_OUT)
    await floor.tidy()
    (entry,) = floor.at_broker()
    alerts = await floor.alerts()
    await floor.tidy()

    assert entry.status is OrderStatus.ACCEPTED
    assert alerts == [f"the cancel of {entry.broker_order_id} is not confirmed"]
    assert floor.at_broker()[0].status is OrderStatus.CANCELED


async def test_an_entry_that_fills_while_it_is_being_cancelled_keeps_its_legs(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(DIP, why="a dip")

    class Racing(Watching):
        async def before(self, operation: str, request: object) -> None:
            floor.trade("98.90")

    executor = await floor.cycle(broker=Racing(floor.venue.broker))
    await executor.orders.cancel_entries(await executor.look(), why="tidy")
    await executor.orders.protect(await executor.look())

    assert floor.held() == 10
    assert [stop.quantity for stop in floor.stops()] == [10]
    assert (await position(floor))["quantity"] == 10
    assert await floor.alerts() == []


async def test_a_stop_that_fills_between_cycles_closes_the_position(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.trade(99, 99, 97, "97.50")
    await floor.tidy()
    booked = await position(floor)
    stop = next(o for o in await floor.rows("SELECT * FROM orders") if o["order_type"] == "stop")

    assert (booked["status"], booked["exit_reason"]) == ("closed", "stop_loss")
    assert booked["exit_price"] == Decimal("98.00")
    assert stop["status"] == "filled"
    assert {o.order_type for o in floor.venue.exchange.orders(only_open=True)} == set[OrderType]()
