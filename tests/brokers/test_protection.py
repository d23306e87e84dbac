"""Entries that outlive their time, stops that wait, and the seconds that shares were without one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.drafts import active_stops
from brokers.faults import FaultKind, Operation
from shared.config import OrderSettings
from shared.database.connection import Connection
from shared.models import OrderStatus, OrderType, Side
from tests.brokers.paper_venue import PaperVenue
from tests.builders import order, snapshot
from tests.fixtures.floor import Floor, draft

DIP = draft(limit="99.00", take_profit=Decimal(102))
LIFETIME = timedelta(minutes=OrderSettings().entry_lifetime_minutes)


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def tidy(floor: Floor) -> None:
    desk = await floor.desk()
    await desk.synchronise()
    await desk.tidy(why="its time is over")


async def spells(floor: Floor) -> list[dict[str, Any]]:
    return await floor.rows("SELECT * FROM unprotected_spells ORDER BY spell_id")


async def test_an_entry_rests_as_long_as_its_life_and_no_longer(floor: Floor) -> None:
    await (await floor.desk()).enter(DIP, why="a dip")
    began = floor.venue.clock.now()
    floor.venue.move_to(began + LIFETIME - timedelta(seconds=1))
    await tidy(floor)
    (young,) = floor.at_broker()
    floor.venue.move_to(began + LIFETIME)
    await tidy(floor)
    (old,) = floor.at_broker()

    assert (young.status, old.status) == (OrderStatus.ACCEPTED, OrderStatus.CANCELED)


async def test_an_entry_that_filled_in_part_is_ended_whatever_its_age(floor: Floor) -> None:
    floor.trade(100, volume=100)
    await (await floor.desk()).enter(draft(40), why="volume")
    await tidy(floor)
    entry, protection = floor.at_broker()

    assert (entry.status, entry.filled_quantity) == (OrderStatus.CANCELED, 10)
    assert protection.quantity == 10
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_shares_stay_as_they_are_and_alarmed_while_their_entry_cannot_be_ended(
    floor: Floor,
) -> None:
    floor.trade(100, volume=100)
    await (await floor.desk()).enter(draft(40), why="volume")
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL)
    await tidy(floor)
    alerts = await floor.alerts()
    await tidy(floor)

    assert "ACME: 10 shares are not protected" in alerts
    assert any("is not confirmed" in subject for subject in alerts)
    assert [order.order_type for order in floor.stops()] == [OrderType.STOP]


async def test_the_time_without_a_stop_is_kept_and_alarmed_once_when_it_was_too_long(
    floor: Floor,
) -> None:
    floor.trade(100, volume=100)
    await (await floor.desk()).enter(draft(40), why="volume")
    filled_at = floor.venue.clock.now()
    floor.trade(100, volume=0)
    await tidy(floor)
    await tidy(floor)
    (spell,) = await spells(floor)
    told = [alert for alert in await floor.alerts() if "without a stop for" in alert]

    assert (spell["quantity"], spell["began_at"]) == (10, filled_at)
    assert (spell["ended_at"] - spell["began_at"]).total_seconds() == 60
    assert told == ["ACME: 10 shares were without a stop for 60 seconds"]


async def test_a_short_time_without_a_stop_is_kept_and_alarms_nobody(floor: Floor) -> None:
    floor.trade(100, volume=100)
    desk = await floor.desk()
    await desk.enter(draft(40), why="volume")
    floor.venue.move_to(floor.venue.clock.now() + timedelta(seconds=20))
    await desk.tidy(why="filled in part")
    (spell,) = await spells(floor)

    assert (spell["ended_at"] - spell["began_at"]).total_seconds() == 20
    assert spell["alarmed_at"] is None


async def test_an_entry_that_fills_at_once_was_never_naked(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    await tidy(floor)

    assert await spells(floor) == []
    assert await floor.alerts() == []


def test_a_held_stop_is_healthy_unless_its_entry_can_still_fill() -> None:
    entry = order(broker_order_id="e", side=Side.BUY, status=OrderStatus.PARTIALLY_FILLED)
    stop = order(
        broker_order_id="s",
        side=Side.SELL,
        order_type=OrderType.STOP,
        limit_price=None,
        stop_price=Decimal(98),
        status=OrderStatus.HELD,
        parent_order_id="e",
    )
    after = snapshot(open_orders=(stop,))
    before = snapshot(open_orders=(entry, stop))

    assert active_stops(stop.symbol, after) == [stop]
    assert active_stops(stop.symbol, before) == []
