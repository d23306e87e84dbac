"""Cases about sending: replies that are lost, processes that die on the way, decisions that come twice."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stamina

from brokers.desk import Refused
from brokers.faults import FaultKind, Operation
from brokers.patience import PatientBroker
from market.calendar import load
from shared.clock import ManualClock
from shared.config import OrderSettings, ScheduleSettings
from shared.database.orders import insert_intent
from shared.errors import Busy, DatabaseUnavailable, OrderOutcomeUnknown
from shared.lock import hold
from shared.models import Mode, Order
from shared.order_life import OrderState
from shared.outcome import Status
from shared.schedule import due_slot, slots
from tests.brokers.approvals import approved
from tests.brokers.replay import MONDAY
from tests.faults.cases import case
from tests.faults.points import Points, watched_connection
from tests.faults.steps import bought, buys, dip, entry_state, position, quiet, wait
from tests.fixtures.broker_orders import AGENT, sender
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.databases import open_connection
from tests.fixtures.floor import Floor, Watching, draft, record_of
from tests.fixtures.rehearsal import Machine
from tests.fixtures.theatre import Theatre, trade_of


class Answering(Watching):
    """A broker whose answer to a new order is not what it should be."""

    def __init__(self, floor: Floor, answer: Callable[[Order], Any]) -> None:
        super().__init__(floor.venue.broker)
        self._answer: Callable[[Order], Any] = answer

    async def place_order(self, approved: Any) -> Order:
        return self._answer(await super().place_order(approved))


def raising(error: BaseException) -> Callable[[Order], Any]:
    def answer(order: Order) -> None:
        del order
        raise error

    return answer


@case(
    "F01",
    "the reply is lost",
    injected="the exchange takes the entry, no answer comes back",
    orders=1,
    verdict="UNKNOWN and alerted; found by its id by the next cycle, one position with its stop",
)
async def test_f01_an_order_whose_reply_is_lost_is_found_and_never_sent_again(floor: Floor) -> None:
    floor.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    record = record_of(await (await floor.desk()).enter(draft(), why="volume"))
    await floor.tidy()

    assert record.status is OrderState.UNKNOWN
    assert await entry_state(floor) == "filled"
    assert (await position(floor))["quantity"] == sum(stop.quantity for stop in floor.stops()) == 10
    assert f"the outcome of order {record.client_order_id} is not known" in await floor.alerts()


@case(
    "F02",
    "gone between intent and sending",
    injected="an intent is committed, and its process is gone before it sent anything",
    orders=0,
    verdict="NOT_PLACED by the next holder of the lock; not sent by itself",
)
async def test_f02_an_intent_that_was_never_sent_is_settled_as_not_placed(floor: Floor) -> None:
    await insert_intent(
        floor.connection,
        agent_id=AGENT,
        cycle_id=None,
        request=replace(draft(), client_order_id="cat-of-a-dead-run"),
        reason="volume",
        currency="USD",
        at=floor.venue.clock.now(),
        sender=await sender(floor.connection),
    )
    await floor.tidy()

    assert await entry_state(floor) == "not_placed"
    assert floor.venue.faults.calls(Operation.PLACE) == 0


@case(
    "F03",
    "gone between sending and its record",
    injected="the process ends when the exchange has the entry and the database does not know",
    orders=1,
    verdict="adopted by the next cycle before anything else, with its stop",
)
async def test_f03_an_order_that_nobody_wrote_down_as_sent_is_adopted(floor: Floor) -> None:
    desk = await floor.desk(broker=Answering(floor, raising(asyncio.CancelledError())))
    with pytest.raises(asyncio.CancelledError):
        await desk.enter(draft(), why="volume")
    before = await entry_state(floor)
    await floor.tidy()

    assert before == "submitting"
    assert await entry_state(floor) == "filled"
    assert [stop.quantity for stop in floor.stops()] == [10]


@case(
    "F04",
    "the database goes after sending",
    injected="the connection ends while the exchange takes the entry",
    orders=1,
    verdict="exit code 1; the local journal has the outcome and the next run takes it over",
)
async def test_f04_what_the_database_could_not_take_is_known_to_the_next_run(
    theatre: Theatre, trading_database_url: str
) -> None:
    doomed = theatre.trading

    class AfterSending(Points):
        def reach(self, name: str) -> None:
            if theatre.faults.calls(Operation.PLACE):
                doomed.terminate()

    theatre.trading = watched_connection(doomed, AfterSending())
    outcome = await theatre.run(Mode.TRADE, buys())
    theatre.trading = await open_connection(trading_database_url)
    after = await theatre.run(Mode.TRADE, quiet())
    statuses = await theatre.rows("SELECT status FROM orders WHERE order_purpose = 'entry'")
    await theatre.trading.close()

    assert (outcome.exit_code, after.exit_code) == (1, 0)
    assert statuses == [{"status": "filled"}]


@case(
    "F05",
    "the database goes before sending",
    injected="the connection ends before the intent of an entry is committed",
    orders=0,
    verdict="no new risk: nothing is sent, the run fails",
)
async def test_f05_without_a_committed_intent_nothing_is_sent(
    floor: Floor, trading_database_url: str
) -> None:
    connection = floor.connection
    desk = await floor.desk()
    connection.terminate()
    with pytest.raises(DatabaseUnavailable):
        await desk.enter(draft(), why="volume")
    floor.connection = await open_connection(trading_database_url)
    rows = await floor.rows("SELECT FROM orders")
    await floor.connection.close()

    assert rows == []
    assert floor.venue.faults.calls(Operation.PLACE) == 0


@case(
    "F06",
    "the same decision twice",
    injected="one reply of Claude asks for the same entry two times",
    orders=1,
    verdict="the second call gets the first one's result",
)
async def test_f06_the_same_decision_twice_in_a_cycle_is_one_order(theatre: Theatre) -> None:
    twice = [call("execute_trade", trade_of()), call("execute_trade", trade_of())]
    outcome = await theatre.run(Mode.TRADE, scripted(twice, [LOG], [DONE]))

    assert (outcome.orders, outcome.fills) == (1, 1)
    assert await theatre.rows("SELECT quantity FROM positions") == [{"quantity": 10}]


@case(
    "F07",
    "two runs overlap",
    injected="a second run starts while one holds the agent's lock",
    orders=0,
    verdict="the second says busy and exits 0; the lock is free when its holder is gone",
)
def test_f07_a_second_run_is_told_that_one_is_at_work(new_rehearsal: Machine) -> None:
    lock = new_rehearsal.home / "locks" / "rehearsal.lock"
    clock = ManualClock(datetime(2026, 6, 15, 14, 0, tzinfo=UTC))
    with hold(lock, agent_id="rehearsal", mode="trade", clock=clock):
        second = new_rehearsal.run("--mode", "scan")
        with pytest.raises(Busy):
            hold(lock, agent_id="rehearsal", mode="trade", clock=clock).__enter__()
    after = new_rehearsal.run("--mode", "scan")

    assert (second.exit_code, second.said["status"]) == (0, Status.BUSY)
    assert after.said["status"] != Status.BUSY


@case(
    "F08",
    "cron comes late",
    injected="the machine sleeps through a trade slot and its grace",
    orders=0,
    verdict="nothing is due, so nothing is entered; the next slot is",
)
def test_f08_a_slot_whose_grace_is_over_is_not_played() -> None:
    hours = load("XNYS").session_on(MONDAY)
    assert hours is not None
    schedule = ScheduleSettings()
    planned = slots(schedule, hours)
    trade, following = [slot for slot in planned if slot.mode is Mode.TRADE][:2]
    late = trade.at + timedelta(minutes=schedule.grace_minutes, seconds=1)
    moments = (trade.at, late, following.at)

    assert [due_slot(planned, Mode.TRADE, at, schedule.grace_minutes) for at in moments] == [
        trade,
        None,
        following,
    ]


@case(
    "F09",
    "reads fail for a moment",
    injected="positions cannot be read twice, then an entry gets no answer",
    orders=1,
    verdict="reads are tried again within a deadline; a write is never sent twice",
)
async def test_f09_reads_are_tried_again_and_writes_are_not(floor: Floor) -> None:
    broker = PatientBroker(floor.venue.broker, OrderSettings())
    floor.fault(Operation.POSITIONS, FaultKind.REFUSE, times=2)
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    with stamina.set_testing(True, attempts=10, cap=True):
        read = await broker.positions()
        with pytest.raises(OrderOutcomeUnknown):
            await broker.place_order(approved(replace(draft(), client_order_id="cat-once")))
    await bought(floor)

    assert read == ()
    assert floor.venue.faults.calls(Operation.PLACE) == 2, "one that got no answer, one that did"


@case(
    "F10",
    "the id is taken",
    injected="the exchange says that it knows the client order id, and has the order",
    orders=1,
    verdict="looked up, compared and adopted",
)
async def test_f10_an_order_that_is_said_to_exist_is_compared_and_adopted(floor: Floor) -> None:
    class SentTwice(Watching):
        async def place_order(self, approved: Any) -> Order:
            await super().place_order(approved)
            return await super().place_order(approved)

    desk = await floor.desk(broker=SentTwice(floor.venue.broker))
    record = record_of(await desk.enter(draft(), why="volume"))

    assert record.status is OrderState.FILLED
    assert (await position(floor))["quantity"] == 10


@case(
    "F11",
    "an answer about another order",
    injected="the exchange takes the entry and answers with another client order id",
    orders=1,
    verdict="UNKNOWN until it is found by its own id",
)
async def test_f11_an_answer_about_another_order_leaves_it_unknown(floor: Floor) -> None:
    other = Answering(floor, lambda order: replace(order, client_order_id="cat-another"))
    record = record_of(await (await floor.desk(broker=other)).enter(draft(), why="volume"))
    blocked = await (await floor.desk()).enter(draft(5), why="volume")
    await floor.tidy()

    assert record.status is OrderState.UNKNOWN
    assert isinstance(blocked, Refused)
    assert "UNRESOLVED_ORDER" in blocked.refusal.codes
    assert await entry_state(floor) == "filled"


@case(
    "F12",
    "a cancel that sticks",
    injected="the cancel of an entry stays pending",
    orders=1,
    verdict="CANCEL_PENDING and alerted; until it is confirmed its shares count as if they came",
)
async def test_f12_a_cancel_that_is_not_confirmed_is_not_believed(floor: Floor) -> None:
    await (await floor.desk()).enter(dip(), why="a dip")
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL)
    await floor.tidy()
    (entry,) = floor.at_broker()
    again = await (await floor.desk()).enter(dip(), why="a dip again")
    alerts = await floor.alerts()
    wait(floor, 60)
    await floor.tidy()

    assert f"the cancel of {entry.broker_order_id} is not confirmed" in alerts
    assert isinstance(again, Refused)
    assert again.refusal.codes == ("UNRESOLVED_ORDER",)
    assert await entry_state(floor) == "canceled"
