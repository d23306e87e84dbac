"""Cases about fills: late, in part, twice, contradicting each other, too many, too few."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from brokers.faults import FaultKind, Operation
from shared.database.broker_reports import record_broker_order
from shared.models import Fill, Order
from tests.brokers.replay import stock
from tests.faults.cases import case
from tests.faults.steps import bought, dip, entry_state, partly_bought, position, wait
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.floor import Floor


async def report(floor: Floor, order: Order) -> None:
    """Let the desk hear something about an order, as from another source."""
    await record_broker_order(
        floor.connection,
        agent_id=AGENT,
        order=order,
        at=floor.venue.clock.now(),
        source="another source",
    )


async def kinds(floor: Floor) -> set[str]:
    return {row["kind"] for row in await floor.rows("SELECT kind FROM order_events")}


async def fills(floor: Floor) -> list[dict[str, Any]]:
    return await floor.rows("SELECT quantity, price FROM fills ORDER BY fill_key")


@case(
    "F13",
    "a fill after the cancel",
    injected="4 of 10 shares fill after the exchange confirmed the cancel",
    orders=2,
    verdict="booked as a late fill, alerted as naked, and protected by the cycle that finds it",
)
async def test_f13_shares_that_come_after_the_cancel_are_booked_and_protected(floor: Floor) -> None:
    await (await floor.desk()).enter(dip(), why="a dip")
    floor.fault(Operation.CANCEL, FaultKind.LATE_FILL, quantity=4)
    await floor.tidy()
    wait(floor, 60)
    await floor.tidy()

    assert (await position(floor))["quantity"] == 4
    assert [stop.quantity for stop in floor.stops()] == [4]
    assert "late_fill" in await kinds(floor)
    assert "ACME: 4 shares had no resting stop" in await floor.alerts()


@case(
    "F14",
    "a partial fill, then a cancel",
    injected="10 of 40 shares fill, the rest is cancelled a minute later",
    orders=2,
    naked_seconds=60,
    verdict="the position is what filled, a stop rests for exactly that, the rest is not bought again",
)
async def test_f14_what_filled_is_held_and_protected_and_the_rest_is_not_bought_again(
    floor: Floor,
) -> None:
    await partly_bought(floor)
    await floor.tidy()
    await floor.tidy()
    (spell,) = await floor.rows(
        "SELECT quantity, ended_at - began_at AS lasted FROM unprotected_spells"
    )

    assert (await position(floor))["quantity"] == floor.held() == 10
    assert [stop.quantity for stop in floor.stops()] == [10]
    assert await entry_state(floor) == "canceled"
    assert (spell["quantity"], spell["lasted"].total_seconds()) == (10, 60)


@case(
    "F15",
    "the same fill twice",
    injected="the exchange reports an order and its fill three times",
    orders=1,
    verdict="one row, one booking",
)
async def test_f15_a_fill_that_is_reported_again_is_one_row(floor: Floor) -> None:
    await bought(floor)
    for _ in range(2):
        await report(floor, floor.at_broker()[0])

    assert [row["quantity"] for row in await fills(floor)] == [10]
    assert (await position(floor))["quantity"] == 10


@case(
    "F16",
    "sources that differ about a fill",
    injected="a second report gives another price for the same fill",
    orders=1,
    verdict="the first is kept, the difference is an event of the order",
)
async def test_f16_the_first_word_about_a_fill_is_kept_and_the_difference_noted(
    floor: Floor,
) -> None:
    await bought(floor)
    (entry,) = floor.at_broker()
    (fill,) = entry.fills
    await report(floor, replace(entry, fills=(replace(fill, price=Decimal(99)),)))

    assert [row["price"] for row in await fills(floor)] == [Decimal("100.01")]
    assert "fill_differs" in await kinds(floor)


@case(
    "F17",
    "more fills than were ordered",
    injected="a second report has 12 filled of 10 ordered",
    orders=1,
    verdict="recorded with an event; the difference to what is held is found and forbids entries",
)
async def test_f17_an_overfill_is_recorded_and_seen(floor: Floor) -> None:
    await bought(floor)
    (entry,) = floor.at_broker()
    more: Fill = replace(entry.fills[0], fill_id="f-over", quantity=2)
    await report(floor, replace(entry, filled_quantity=12, fills=(*entry.fills, more)))
    snapshot = await (await floor.cycle()).look()

    assert "overfill" in await kinds(floor)
    assert (await position(floor))["quantity"] == 12
    assert snapshot.disagreements == (
        "the broker shows 10 shares of ACME, by our fills there are 12",
    )


@case(
    "F18",
    "a remainder below the lot",
    injected="30 shares are held without a stop, and the symbol now trades in lots of 100",
    orders=1,
    naked_seconds=120,
    verdict="one try a cycle, which the exchange turns down, and one alert; a person sells the odd lot",
)
async def test_f18_a_remainder_that_no_order_fits_is_alerted_once_and_not_tried_without_end(
    floor: Floor,
) -> None:
    await bought(floor, 30)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.venue.replay.instruments["ACME"] = stock(lot_size=100)
    calls = floor.venue.faults.calls(Operation.PLACE)
    for _ in range(2):
        wait(floor, 60)
        await floor.tidy()
    alerts = await floor.alerts()

    assert floor.venue.faults.calls(Operation.PLACE) == calls + 2
    assert alerts.count("ACME: 30 shares are not protected") == 1
    assert (await position(floor))["quantity"] == 30
