"""Where a broker without stops ends: odd lots, totals instead of fills, no database, and what a person is told."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tool_answers
from brokers.faults import Operation
from closing import Closing
from shared.database.accounts import database_identity
from shared.database.connection import Connection
from shared.database.fences import Role
from shared.database.positions import open_positions
from shared.errors import ToolError
from shared.journal.books import open_books
from shared.journal.replay import replay
from shared.models import Mode, Order, OrderStatus, Position, Side
from shared.operate import views
from shared.outcome import Status
from tests.brokers.replay import stock
from tests.faults.steps import position
from tests.fixtures.blind import Blind
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.floor import SYMBOL, Floor, Watching, record_of
from tests.fixtures.plain_broker import Beat, PlainVenue, plain_draft, sales

FILLED = OrderStatus.FILLED
DUST = f"{SYMBOL}: 100 shares are less than a lot"


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PlainVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path, watched=False)
    await venue.broker.disconnect()


@pytest.fixture
async def beat(floor: Floor) -> Beat:
    """A monitor that guards 300 shares, bought at 10.01."""
    beat = Beat(floor)
    await beat.minute("10.00")
    record_of(await (await floor.desk()).enter(plain_draft(), why="volume"))
    await beat.quiet(15)
    return beat


def in_lots_of(floor: Floor, lot_size: int) -> None:
    """The lot changes while 300 shares are held."""
    floor.venue.replay.instruments[SYMBOL] = stock(lot_size=lot_size)


async def report(floor: Floor, order: Order) -> None:
    """The broker says this about an order."""
    desk = await floor.desk()
    await desk._clerk.record(replace(order, fills=()))


async def filled(floor: Floor) -> list[tuple[str, int]]:
    rows = await floor.rows("SELECT fill_id, quantity FROM fills ORDER BY filled_at, fill_id")
    return [(row["fill_id"].rpartition(":")[2], row["quantity"]) for row in rows]


# -- odd lots


async def test_whole_lots_are_sold_and_the_rest_is_told_once_and_never_asked_for_again(
    floor: Floor, beat: Beat
) -> None:
    in_lots_of(floor, 200)
    for _ in range(5):
        await beat.minute("9.70")
    calls = floor.venue.faults.calls(Operation.PLACE)
    made = await beat.patrol.look()

    assert sales(floor) == [("market", 200, FILLED)]
    assert calls == 2
    assert await floor.alerts() == [DUST]
    assert ((await position(floor))["quantity"], floor.held()) == (100, 100)
    assert made is not None
    assert (made.odd_lots, made.watched, made.problem) == ((SYMBOL,), 1, None)


async def test_less_than_a_lot_is_never_asked_to_be_sold_by_whoever_wants_it(
    floor: Floor, beat: Beat
) -> None:
    in_lots_of(floor, 500)
    for _ in range(3):
        await beat.minute("9.70")
    with pytest.raises(ToolError, match="300 shares of ACME are less than its lot of 500"):
        await (await floor.desk()).exit(SYMBOL, why="Claude wants it")

    assert floor.venue.faults.calls(Operation.PLACE) == 1
    assert await floor.rows("SELECT FROM orders WHERE order_purpose = 'exit'") == []


@pytest.mark.parametrize(("lot_size", "left"), [(200, 100), (500, 300)])
async def test_a_close_is_done_when_only_an_odd_lot_is_left(
    floor: Floor, beat: Beat, lot_size: int, left: int
) -> None:
    del beat
    in_lots_of(floor, lot_size)
    executor = await floor.cycle(mode=Mode.CLOSE)
    place = executor._place
    assert place.session is not None
    closing = Closing(place=place, session=place.session, executor=executor, slot_at=None)
    status, _ = await closing.sell_all("the close")
    sold, still = await executor.sell_what_is_held(why="the day's loss")

    assert (status, floor.held()) == (Status.DONE, left)
    assert (sold, still) == ([], [])
    assert await floor.alerts() == [f"{SYMBOL}: {left} shares are less than a lot"]


async def test_a_sale_of_lots_that_still_works_is_not_doubled_by_the_odd_lot_beside_it(
    floor: Floor, beat: Beat
) -> None:
    in_lots_of(floor, 200)
    await beat.minute("10.00", volume=0)
    first = await (await floor.desk()).exit(SYMBOL, why="enough")
    again = await (await floor.desk()).exit(SYMBOL, why="enough, once more")

    assert [record_of(one).client_order_id for one in again] == [
        record_of(one).client_order_id for one in first
    ]
    assert sales(floor)[0][:2] == ("market", 200)
    assert len(sales(floor)) == 1


# -- totals instead of fills


async def test_fills_are_what_the_totals_grew_by_each_of_them_once(floor: Floor) -> None:
    beat = Beat(floor)
    await beat.minute("10.00", volume=1000)
    await (await floor.desk()).enter(plain_draft(), why="volume")
    for price in ("10.00", "9.99"):
        await beat.minute(price, volume=1000)
    (entry,) = floor.at_broker()
    held = await position(floor)

    assert await filled(floor) == [("100", 100), ("200", 100), ("300", 100)]
    assert (held["quantity"], held["entry_price"]) == (300, round(entry.average_fill_price or 0, 8))


async def test_a_total_that_falls_is_told_and_the_brokers_position_is_the_truth(
    floor: Floor, beat: Beat
) -> None:
    class Fewer(Watching):
        async def positions(self) -> tuple[Position, ...]:
            true = await super().positions()
            return tuple(replace(held, quantity=Decimal(200)) for held in true)

    (entry,) = floor.at_broker()
    later = entry.updated_at + timedelta(seconds=5)
    for _ in range(2):
        await report(floor, replace(entry, filled_quantity=200, updated_at=later))
    snapshot = await (await floor.cycle(broker=Fewer(floor.venue.broker))).look()
    events = await floor.rows("SELECT detail FROM order_events WHERE kind = 'contradiction'")

    assert await filled(floor) == [("300", 300)]
    assert len(events) == 1
    assert "100 were taken back" in events[0]["detail"]
    assert [one for one in await floor.alerts() if "contradicts what is known" in one]
    assert snapshot.disagreements == (
        "the broker shows 200 shares of ACME, by our fills there are 300",
    )
    del beat


async def test_a_sale_that_ended_with_its_fills_taken_back_is_over_and_can_be_asked_for_again(
    floor: Floor, beat: Beat
) -> None:
    await beat.minute("10.00", volume=0)
    await (await floor.desk()).exit(SYMBOL, why="enough")
    (sale,) = [order for order in floor.at_broker() if order.side is Side.SELL]
    later = sale.updated_at + timedelta(seconds=5)
    some = replace(
        sale,
        status=OrderStatus.PARTIALLY_FILLED,
        filled_quantity=100,
        average_fill_price=Decimal(10),
        updated_at=later,
    )
    await report(floor, some)
    gone = replace(sale, status=OrderStatus.CANCELED, updated_at=later + timedelta(seconds=5))
    await report(floor, gone)
    (row,) = await floor.rows("SELECT status FROM orders WHERE order_purpose = 'exit'")
    left = await (await floor.cycle()).lookout.without_a_sale()

    assert row["status"] == "canceled"
    assert left == [SYMBOL]
    assert [one for one in await floor.alerts() if "contradicts what is known" in one]


async def test_a_read_that_lags_takes_nothing_back(floor: Floor, beat: Beat) -> None:
    del beat
    (entry,) = floor.at_broker()
    earlier = replace(
        entry,
        filled_quantity=100,
        status=OrderStatus.PARTIALLY_FILLED,
        updated_at=entry.updated_at - timedelta(seconds=5),
    )
    await report(floor, earlier)

    assert await floor.alerts() == []
    assert await filled(floor) == [("300", 300)]


async def test_a_total_without_a_price_is_told_and_booked_when_there_is_one(floor: Floor) -> None:
    beat = Beat(floor)
    await beat.minute("10.00")
    await (await floor.desk()).enter(plain_draft(limit="9.95"), why="a dip")
    (entry,) = floor.at_broker()
    done = replace(
        entry,
        status=FILLED,
        filled_quantity=300,
        updated_at=entry.updated_at + timedelta(seconds=5),
    )
    await report(floor, done)
    before = await filled(floor)
    await report(floor, replace(done, average_fill_price=Decimal("9.95")))

    assert before == []
    assert [one for one in await floor.alerts() if "contradicts what is known" in one]
    assert await filled(floor) == [("300", 300)]
    assert (await position(floor))["stop_loss"] == Decimal("9.80")


# -- without the database


async def test_without_its_database_the_monitor_sells_at_the_level_in_the_file_and_once(
    floor: Floor, beat: Beat
) -> None:
    identity = await database_identity(floor.connection)
    assert isinstance(floor.venue, PlainVenue)
    blind = Blind(floor.home, floor.venue, database=identity)
    floor.trade("9.81", volume=100_000)
    above = await blind.look()
    floor.trade("9.80", volume=100_000)
    at_it = await blind.look()
    floor.trade("9.60", volume=100_000)
    blind.restart()
    after = await blind.look()
    during = sales(floor)
    books = await open_books(
        floor.connection,
        home=floor.home,
        agent_id=AGENT,
        clock=floor.venue.clock,
        role=Role.MONITOR,
    )
    await replay(books, at=floor.venue.clock.now())
    await beat.quiet(30)

    assert above == f"{SYMBOL}: its price is between its levels"
    assert "at or below the stop 9.80" in at_it
    assert after == f"{SYMBOL}: not held"
    assert during == [("market", 300, FILLED)]
    assert (sales(floor), (await position(floor))["status"]) == (during, "closed")


async def test_without_its_database_an_odd_lot_is_not_tried_without_end(
    floor: Floor, beat: Beat
) -> None:
    del beat
    assert isinstance(floor.venue, PlainVenue)
    identity = await database_identity(floor.connection)
    blind = Blind(floor.home, floor.venue, database=identity)
    in_lots_of(floor, 200)
    said: list[str] = []
    for _ in range(4):
        floor.trade("9.70", volume=100_000)
        said.append(await blind.look())

    assert sales(floor) == [("market", 200, FILLED)]
    assert said[-1] == f"{SYMBOL}: 100 shares are less than a lot, which no order sells"


# -- what is said


async def test_claude_is_told_levels_and_who_guards_them(floor: Floor, beat: Beat) -> None:
    del beat
    told: Any = await (await floor.cycle()).portfolio()
    (held,) = told["positions"]

    assert (held["stops"], held["target"]) == ([Decimal("9.80")], Decimal("10.50"))
    assert held["shares_without_stop"] == 0
    assert "nothing rests at the broker" in held["guarded_by"]


async def test_what_is_not_ours_has_no_guard(floor: Floor, beat: Beat) -> None:
    del beat
    snapshot = await (await floor.cycle()).look()
    said = tool_answers.position(snapshot.positions[0], snapshot)

    assert (said["stops"], said["shares_without_stop"]) == ([], 300)


async def test_a_person_is_told_who_guards_and_when_the_monitor_looked(
    floor: Floor, beat: Beat
) -> None:
    del beat
    held = await open_positions(floor.connection, AGENT)
    (said,) = await views._positions(floor.connection, AGENT, held)
    await floor.connection.execute("UPDATE positions SET stop_loss = NULL")
    bare = await open_positions(floor.connection, AGENT)
    (without,) = await views._positions(floor.connection, AGENT, bare)

    assert said["guarded_by"] == "the monitor, last pass 2026-06-15 02:01:15 UTC"
    assert (said["resting_stops"], said["shares_without_stop"]) == ([], 0)
    assert without["shares_without_stop"] == 300
