"""Stories at a broker where no stop rests: cycles buy, the monitor is the stop, and every share is sold once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.desk import Refused
from brokers.faults import FaultKind, Operation
from shared import trading_state
from shared.database.connection import Connection
from shared.journal.stops import read_stops
from shared.models import OrderClass, OrderStatus, Side, TimeInForce
from tests.brokers.replay import MINUTE, MONDAY, at
from tests.faults.steps import position
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.floor import SYMBOL, Floor, record_of
from tests.fixtures.patrol import sold
from tests.fixtures.plain_broker import Beat, PlainBroker, PlainVenue, plain_draft, sales

FILLED = OrderStatus.FILLED
LUNCH, AFTER_LUNCH = at(4), at(5)


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PlainVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path, watched=False)
    await venue.broker.disconnect()


@pytest.fixture
async def beat(floor: Floor) -> Beat:
    """A monitor that has seen a quiet minute, so that cycles may buy."""
    beat = Beat(floor)
    await beat.minute("10.00")
    return beat


async def buys(floor: Floor, quantity: int = 300) -> None:
    """A cycle's entry, which fills at once."""
    record = record_of(await (await floor.desk()).enter(plain_draft(quantity), why="volume"))
    assert record.filled_quantity == quantity


async def unguarded(floor: Floor) -> list[tuple[float, bool]]:
    """How long each time was in which nobody guarded, and whether it was an alarm."""
    rows = await floor.rows("SELECT * FROM unprotected_spells ORDER BY began_at")
    return [
        ((row["ended_at"] - row["began_at"]).total_seconds(), row["alarmed_at"] is not None)
        for row in rows
    ]


# -- entry


async def test_an_entry_is_one_plain_order_whose_levels_everybody_knows_but_the_broker(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    await beat.quiet(15)
    (entry,) = floor.at_broker()
    (row,) = await floor.rows("SELECT * FROM orders")
    held, file = await position(floor), read_stops(floor.home, AGENT)

    assert (entry.time_in_force, entry.legs) == (TimeInForce.DAY, ())
    assert row["order_class"] == OrderClass.SIMPLE
    assert (row["stop_loss"], row["take_profit"]) == (Decimal("9.80"), Decimal("10.50"))
    assert (held["stop_loss"], held["take_profit"]) == (Decimal("9.80"), Decimal("10.50"))
    assert file is not None
    assert [(stop.quantity, stop.stop_loss) for stop in file.stops] == [(300, Decimal("9.80"))]
    assert (await floor.alerts(), await unguarded(floor)) == ([], [])


async def test_an_entry_that_fills_in_part_goes_on_and_what_filled_is_guarded(
    floor: Floor, beat: Beat
) -> None:
    await beat.minute("10.00", volume=1000)
    await (await floor.desk()).enter(plain_draft(300), why="volume")
    await beat.quiet(30)
    (entry,) = floor.venue.exchange.orders(only_open=True)
    in_part = (entry.filled_quantity, (await position(floor))["quantity"])
    for _ in range(3):
        await beat.minute("9.79", volume=1000)
    (entry, _) = floor.at_broker()

    assert in_part == (100, 100)
    assert (entry.status, entry.filled_quantity) == (OrderStatus.CANCELED, 200)
    assert sales(floor) == [("market", 200, FILLED)]
    assert (floor.held(), await floor.alerts()) == (0, [])


async def test_an_entry_whose_time_is_over_is_cancelled_and_what_filled_stays_guarded(
    floor: Floor, beat: Beat
) -> None:
    await beat.minute("10.00", volume=1000)
    await (await floor.desk()).enter(plain_draft(300), why="volume")
    for _ in range(31):
        await beat.minute("10.10", volume=1000)
    entry = floor.at_broker()[0]
    for _ in range(2):
        await beat.minute("9.70")

    assert (entry.status, entry.filled_quantity) == (OrderStatus.CANCELED, 100)
    assert sales(floor) == [("market", 100, FILLED)]


async def test_more_of_a_symbol_is_not_bought_since_it_would_have_no_stop_of_its_own(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    await beat.quiet(15)
    again = await (await floor.desk()).enter(plain_draft(100), why="more")

    assert isinstance(again, Refused)
    assert again.refusal.codes == ("ALREADY_HELD",)


# -- the monitor is the stop


@pytest.mark.parametrize("can_replace", [True, False])
async def test_a_price_at_the_stop_is_sold_once_by_the_next_quarter_of_a_minute(
    floor: Floor, beat: Beat, can_replace: bool
) -> None:
    broker = floor.venue.broker
    assert isinstance(broker, PlainBroker)
    broker.can_replace = can_replace
    await buys(floor)
    await beat.minute("9.81")
    assert sales(floor) == []
    await beat.minute("9.80")
    at_it = floor.venue.clock.now()
    for _ in range(3):
        await beat.minute("9.60")
    (sale,) = [order for order in floor.at_broker() if order.side is Side.SELL]

    assert sales(floor) == [("market", 300, FILLED)]
    assert sale.submitted_at == at_it
    assert (beat.left, floor.held(), (await position(floor))["status"]) == ([SYMBOL], 0, "closed")
    assert (await floor.alerts(), await unguarded(floor)) == ([], [])


async def test_a_price_at_the_target_is_sold_once(floor: Floor, beat: Beat) -> None:
    await buys(floor)
    await beat.minute("10.49")
    assert sales(floor) == []
    for _ in range(3):
        await beat.minute("10.50")

    assert sales(floor) == [("market", 300, FILLED)]
    assert (await position(floor))["realized_pnl_gross"] > 0


async def test_the_stop_follows_the_best_price(floor: Floor, beat: Beat) -> None:
    await (await floor.desk()).enter(plain_draft(take_profit=Decimal("12.00")), why="volume")
    beat.patrol.signals = {"trailing_stop_pct": Decimal("1.5")}
    beat.restart()
    await beat.minute("10.40")
    await beat.minute("10.26")
    assert sales(floor) == []
    await beat.minute("10.25")
    await beat.minute("10.25")

    assert sales(floor) == [("market", 300, FILLED)]


async def test_one_bad_tick_sells_nothing(floor: Floor, beat: Beat) -> None:
    await buys(floor)
    floor.feed.bad_ticks = [Decimal("9.00")]
    await beat.minute("10.00")

    assert sales(floor) == []


@pytest.mark.parametrize("stop_trading", [trading_state.reduce, trading_state.halt])
async def test_a_halt_of_the_agent_keeps_no_stop_from_selling(
    floor: Floor, beat: Beat, stop_trading: Any
) -> None:
    await buys(floor)
    await stop_trading(
        floor.connection,
        agent_id=AGENT,
        home=floor.home,
        why="enough",
        by="a person",
        at=floor.venue.clock.now(),
    )
    await beat.minute("9.70")
    await beat.minute("9.70")

    assert (sales(floor), floor.held()) == ([("market", 300, FILLED)], 0)


async def test_a_halt_of_the_symbol_is_waited_out_and_then_sold_once(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    now = floor.venue.clock.now()
    floor.venue.replay.halts.append((SYMBOL, now, now + 3 * MINUTE))
    for _ in range(2):
        await beat.minute("9.50", volume=0)
    during = sales(floor)
    await beat.minute("9.50", volume=0)
    await beat.minute("9.50")
    await beat.minute("9.50")

    assert during == []
    assert sales(floor) == [("market", 300, FILLED)]


# -- lunch and night


async def test_nothing_is_sent_at_lunch_and_a_stop_passed_then_is_sold_after_it(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    floor.venue.clock.move_to(LUNCH - MINUTE)
    await beat.minute("10.00")
    asked = len(floor.at_broker())
    await beat.quiet(3600)
    assert floor.venue.clock.now() == AFTER_LUNCH
    assert len(floor.at_broker()) == asked
    await beat.minute("9.00")
    await beat.minute("9.00")

    assert sales(floor) == [("market", 300, FILLED)]
    assert sold(floor)[0][2] == Decimal("8.99")
    assert floor.at_broker()[-1].submitted_at <= AFTER_LUNCH + MINUTE
    assert not [subject for subject in await floor.alerts() if "not known" in subject]


async def test_lunch_is_no_time_without_a_price(floor: Floor, beat: Beat) -> None:
    await buys(floor)
    floor.venue.clock.move_to(LUNCH - MINUTE)
    await beat.quiet(60)  # the last minute has no trade, and its quote is old
    await beat.quiet(3600)
    await beat.quiet(60)

    assert [subject for subject in await floor.alerts() if "not known" in subject] == []
    assert floor.held() == 300


async def test_a_position_held_over_night_loses_nothing_and_is_guarded_in_the_next_session(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    await beat.quiet(15)
    floor.venue.clock.move_to(at(1, 31, day=MONDAY + timedelta(days=1)))
    beat.restart()
    await beat.minute("9.70")
    await beat.minute("9.70")

    assert sales(floor) == [("market", 300, FILLED)]
    assert (await position(floor))["status"] == "closed"


async def test_an_entry_still_resting_at_the_end_of_the_day_is_over_the_next_morning(
    floor: Floor, beat: Beat
) -> None:
    await (await floor.desk()).enter(plain_draft(limit="9.95"), why="a dip")
    floor.venue.clock.move_to(at(1, 31, day=MONDAY + timedelta(days=1)))
    beat.restart()
    await beat.minute("9.00")
    (row,) = await floor.rows("SELECT status FROM orders")

    assert (row["status"], floor.held()) == ("expired", 0)


# -- silence


async def test_a_minute_of_silence_is_allowed_to_an_entry_and_a_second_more_is_not(
    floor: Floor, beat: Beat
) -> None:
    del beat
    floor.trade("10.00", volume=100_000)
    at_the_bound = await (await floor.desk()).advise_entry(plain_draft())
    floor.venue.clock.move_to(floor.venue.clock.now() + timedelta(seconds=1))
    refused = await (await floor.desk()).enter(plain_draft(), why="volume")

    assert at_the_bound == ()
    assert isinstance(refused, Refused)
    assert refused.refusal.codes == ("MONITOR_SILENT",)


@pytest.mark.parametrize(("minutes", "is_alarm"), [(1, None), (2, False), (3, True)])
async def test_a_monitor_that_was_killed_is_counted_and_sells_what_it_finds(
    floor: Floor, beat: Beat, minutes: int, is_alarm: bool | None
) -> None:
    await buys(floor)
    for _ in range(minutes):
        floor.trade("9.70", volume=100_000)
    beat.restart()
    await beat.patrol.look()
    await beat.minute("9.70")

    assert sales(floor) == [("market", 300, FILLED)]
    counted = [] if is_alarm is None else [(minutes * 60.0, is_alarm)]
    assert await unguarded(floor) == counted
    told = [subject for subject in await floor.alerts() if "nobody guarded it" in subject]
    assert len(told) == (1 if is_alarm else 0)


# -- orders without an answer


@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.TIME_OUT])
async def test_a_sale_without_an_answer_is_sold_once_in_the_end(
    floor: Floor, beat: Beat, kind: FaultKind
) -> None:
    await buys(floor)
    floor.fault(Operation.PLACE, kind)
    for _ in range(4):
        await beat.minute("9.70")

    assert sales(floor) == [("market", 300, FILLED)]
    assert (floor.held(), (await position(floor))["status"]) == (0, "closed")


@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.TIME_OUT])
async def test_an_entry_without_an_answer_is_never_sent_again_though_the_broker_would_take_it(
    floor: Floor, beat: Beat, kind: FaultKind
) -> None:
    floor.fault(Operation.PLACE, kind)
    desk = await floor.desk()
    first = record_of(await desk.enter(plain_draft(), why="volume"))
    again = record_of(await desk.enter(plain_draft(), why="volume"))
    calls = floor.venue.faults.calls(Operation.PLACE)
    for _ in range(2):
        await floor.desk()  # whoever sent it is over
        await beat.quiet(60)
    arrived = [order.client_order_id for order in floor.at_broker()]

    assert (first.status, again.client_order_id) == ("unknown", first.client_order_id)
    assert calls == 1
    assert arrived == ([first.client_order_id] if kind is FaultKind.DROP_REPLY else [])
    assert floor.held() == (300 if kind is FaultKind.DROP_REPLY else 0)
    (row,) = await floor.rows("SELECT status FROM orders")
    assert row["status"] == ("filled" if kind is FaultKind.DROP_REPLY else "not_placed")


async def test_the_broker_itself_would_have_taken_the_same_id_twice(floor: Floor) -> None:
    broker = floor.venue.broker
    assert isinstance(broker, PlainBroker)
    for _ in range(2):
        broker._exchange.place(broker._sent(replace(plain_draft(100), client_order_id="cat-same")))
    listed = await broker.orders(only_open=False)

    assert [order.client_order_id for order in listed] == ["cat-same", "cat-same"]


async def test_a_closure_that_nobody_planned_leaves_what_is_held_without_a_guard_and_is_an_alarm(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    now = floor.venue.clock.now()
    floor.venue.replay.closures.append((now, now + timedelta(minutes=2)))
    await beat.minute("9.70")
    (alert,) = await floor.rows(
        "SELECT severity, body FROM alerts WHERE subject LIKE '%unplanned%'"
    )

    assert beat.left == []
    assert alert["severity"] == "critical"
    assert "No stop rests at this broker: NOBODY GUARDS what is held." in alert["body"]
    assert "targets rest" not in alert["body"]


async def test_a_sale_that_works_for_long_and_does_not_fill_is_an_alarm_since_nothing_guards_beside_it(
    floor: Floor, beat: Beat
) -> None:
    await buys(floor)
    await beat.minute("10.00", volume=0)
    await (await floor.desk()).exit(SYMBOL, why="enough")
    await beat.quiet(135)
    before = [subject for subject in await floor.alerts() if "works" in subject]
    await beat.quiet(60)
    alerts = await floor.rows("SELECT severity, subject FROM alerts WHERE subject LIKE '%works%'")

    assert before == []
    assert [(row["severity"], row["subject"]) for row in alerts] == [
        ("critical", f"the sale of {SYMBOL} works for 150 seconds and is not filled")
    ]
    assert len(sales(floor)) == 1
