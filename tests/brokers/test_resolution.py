"""Orders whose outcome is not known: adopted when found, never sent again, absent only when it is proven."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from brokers.base import DUPLICATE_CLIENT_ORDER_ID
from brokers.desk import Refused
from brokers.faults import FaultKind, Operation
from brokers.resolution import is_proven_absent
from shared.database.connection import Connection
from shared.database.orders import insert_intent
from shared.errors import OrderRejected
from shared.models import Order
from shared.order_life import OrderState
from tests.brokers.approvals import approved
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import at
from tests.builders import order
from tests.fixtures.broker_orders import AGENT, sender
from tests.fixtures.floor import Floor, Watching, draft, record_of


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def lost(floor: Floor, kind: FaultKind = FaultKind.TIME_OUT) -> None:
    """An entry of which nobody said what became of it."""
    floor.fault(Operation.PLACE, kind)
    record = record_of(await (await floor.desk()).enter(draft(), why="volume"))
    assert record.status is OrderState.UNKNOWN


def wait(floor: Floor, seconds: float) -> None:
    floor.venue.clock.move_to(floor.venue.clock.now() + timedelta(seconds=seconds))


async def state(floor: Floor) -> str:
    (row,) = await floor.rows("SELECT status FROM orders WHERE order_purpose = 'entry'")
    return row["status"]


async def later_holder_looks(floor: Floor) -> str:
    await (await floor.desk()).synchronise()
    return await state(floor)


async def test_two_full_reads_far_enough_apart_prove_an_order_absent(floor: Floor) -> None:
    await lost(floor)
    first = await later_holder_looks(floor)
    wait(floor, 9.9)
    second = await later_holder_looks(floor)
    wait(floor, 0.1)
    third = await later_holder_looks(floor)

    assert (first, second, third) == ("unknown", "unknown", "not_placed")
    assert floor.at_broker() == ()
    assert floor.venue.faults.calls(Operation.PLACE) == 1


async def test_the_sender_itself_cannot_prove_absence_since_its_request_may_still_arrive(
    floor: Floor,
) -> None:
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    desk = await floor.desk()
    await desk.enter(draft(), why="volume")
    for _ in range(3):
        wait(floor, 60)
        await desk.synchronise()

    assert await state(floor) == "unknown"
    assert await floor.rows("SELECT FROM order_absences") == []


async def test_only_a_new_decision_trades_again_after_absence_is_proven(floor: Floor) -> None:
    await lost(floor)
    blocked = await (await floor.desk()).enter(draft(), why="volume")
    await later_holder_looks(floor)
    wait(floor, 10)
    desk = await floor.desk()
    await desk.synchronise()
    resent = floor.at_broker()
    again = await desk.enter(draft(), why="volume")

    assert isinstance(blocked, Refused)
    assert blocked.refusal.codes == ("UNRESOLVED_ORDER",)
    assert resent == ()
    assert record_of(again).status is OrderState.FILLED


async def test_an_order_that_turns_up_between_the_reads_is_adopted_with_its_stop(
    floor: Floor,
) -> None:
    await lost(floor)
    await later_holder_looks(floor)
    (row,) = await floor.rows("SELECT client_order_id FROM orders")
    late = approved(replace(draft(), client_order_id=row["client_order_id"]))
    await floor.venue.broker.place_order(late)
    wait(floor, 10)

    assert await later_holder_looks(floor) == "filled"
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_an_order_that_turns_up_after_it_was_proven_absent_is_looked_after(
    floor: Floor,
) -> None:
    await lost(floor)
    await later_holder_looks(floor)
    wait(floor, 10)
    proven = await later_holder_looks(floor)
    (row,) = await floor.rows("SELECT client_order_id FROM orders")
    late = approved(replace(draft(), client_order_id=row["client_order_id"]))
    await floor.venue.broker.place_order(late)

    assert proven == "not_placed"
    assert await later_holder_looks(floor) == "filled"
    assert await floor.rows("SELECT quantity FROM positions") == [{"quantity": 10}]


@pytest.mark.parametrize("kind", [FaultKind.EMPTY_READ, FaultKind.TIME_OUT])
async def test_a_failed_or_empty_look_up_never_takes_an_order_that_is_listed_for_absent(
    floor: Floor, kind: FaultKind
) -> None:
    await lost(floor, FaultKind.DROP_REPLY)
    floor.fault(Operation.ORDER_BY_CLIENT_ID, kind, times=None)

    assert await later_holder_looks(floor) == "filled"


async def test_a_list_that_lacks_orders_known_to_rest_proves_nothing(floor: Floor) -> None:
    floor.list_another("OTHER")
    await (await floor.desk()).enter(replace(draft(), symbol="OTHER"), why="volume")
    await lost(floor)
    for _ in range(2):
        floor.fault(Operation.ORDERS, FaultKind.EMPTY_READ)
        await (await floor.desk()).synchronise()
        wait(floor, 60)

    rows = await floor.rows("SELECT status FROM orders WHERE symbol = 'ACME'")
    assert rows == [{"status": "unknown"}]
    assert await floor.rows("SELECT FROM order_absences") == []


async def test_an_intent_whose_writer_may_still_be_at_it_is_left_to_it(floor: Floor) -> None:
    desk = await floor.desk()
    writer = await sender(floor.connection)
    await insert_intent(
        floor.connection,
        agent_id=AGENT,
        cycle_id=None,
        request=replace(draft(), client_order_id="cat-of-somebody-at-work"),
        reason="volume",
        currency="USD",
        at=at(13, 59),
        sender=writer,
    )
    await desk.synchronise()

    assert await state(floor) == "intent"


async def test_every_unresolved_order_is_looked_for_however_old_it_is(floor: Floor) -> None:
    await lost(floor, FaultKind.DROP_REPLY)
    (row,) = await floor.rows("SELECT order_id FROM orders")
    floor.venue.move_to(at(14) + timedelta(days=3))
    floor.fault(Operation.ORDER_BY_CLIENT_ID, FaultKind.EMPTY_READ, times=None)
    await (await floor.desk()).synchronise()

    assert await state(floor) == "filled"
    assert row["order_id"] == 1


class Odd(Watching):
    """A broker that takes an order, unless it `loses` it, and then answers in a strange way."""

    def __init__(
        self, floor: Floor, answer: Callable[[Order], Order], *, loses: bool = False
    ) -> None:
        super().__init__(floor.venue.broker)
        self._answer: Callable[[Order], Order] = answer
        self._loses: bool = loses

    async def place_order(self, approved: Any) -> Order:
        if self._loses:
            return self._answer(order())
        return self._answer(await super().place_order(approved))


def already_there(_: Order) -> Order:
    raise OrderRejected("client_order_id must be unique", code=DUPLICATE_CLIENT_ORDER_ID)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_order_id": "somebody-elses"}, "about order somebody-elses"),
        ({"client_order_id": None}, "about order without an id"),
        ({"broker_order_id": ""}, "the broker answered about order"),
        ({"quantity": 1000}, "the broker has ACME buy 1000, asked was ACME buy 10"),
    ],
)
async def test_an_answer_about_another_order_is_not_believed(
    floor: Floor, changes: dict[str, Any], problem: str
) -> None:
    confused = Odd(floor, lambda answer: replace(answer, **changes))
    submission = await (await floor.desk(broker=confused)).enter(draft(), why="volume")

    assert record_of(submission).status is OrderState.UNKNOWN
    assert problem in str(submission)
    assert await later_holder_looks(floor) == "filled"


async def test_an_id_that_the_broker_has_seen_before_is_looked_up_and_adopted(
    floor: Floor,
) -> None:
    desk = await floor.desk(broker=Odd(floor, already_there))
    submission = await desk.enter(draft(), why="volume")

    assert record_of(submission).status is OrderState.FILLED
    assert len(floor.at_broker()) == 1


async def test_an_id_that_is_taken_and_not_found_stays_unknown(floor: Floor) -> None:
    desk = await floor.desk(broker=Odd(floor, already_there, loses=True))
    submission = await desk.enter(draft(), why="volume")

    assert record_of(submission).status is OrderState.UNKNOWN
    assert "no order of that id is found" in str(submission)


def test_the_bound_is_ten_seconds() -> None:
    first = at(14)

    assert is_proven_absent(first_read_at=first, read_at=first + timedelta(seconds=10))
    assert not is_proven_absent(first_read_at=first, read_at=first + timedelta(seconds=9.999))
    assert not is_proven_absent(first_read_at=first, read_at=first - timedelta(hours=1)), (
        "a clock that went back proves nothing"
    )
