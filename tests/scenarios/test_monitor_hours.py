"""Hours of a watched position in which stops are lost, entries and sales fill in parts, and answers are missing."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.desk import Refused
from brokers.faults import FaultKind, Operation
from shared.database.connection import Connection
from shared.models import Position, Quote, Side
from tests.brokers.paper_venue import PaperVenue
from tests.faults.steps import bought, position
from tests.fixtures.floor import SYMBOL, Floor, WithoutStops, draft
from tests.fixtures.patrol import Patrol, sold, told_right

NAKED = f"{SYMBOL}: 10 shares had no resting stop"
LOSS = {"stop_loss_pct": Decimal("0.5")}
"""Signals by which 99.50 is a loss that is left by rule, while the stop waits at 98."""


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path, watched=False)
    await venue.broker.disconnect()


@pytest.fixture
async def patrol(floor: Floor) -> Patrol:
    """A monitor that has seen the market quiet once, so that cycles may buy."""
    patrol = Patrol(floor)
    await patrol.minute(100)
    return patrol


async def seconds_without_a_stop(patrol: Patrol) -> list[float]:
    """How long each time without a stop was, by books and database alike."""
    spells = await told_right(patrol)
    return [spell.seconds(patrol.floor.venue.clock.now()) for spell in spells]


async def cycle(floor: Floor) -> None:
    """A trade cycle that finds nothing to do."""
    desk = await floor.desk()
    await desk.synchronise()
    await desk.tidy(why="its time is over")


# -- a stop that is gone


async def test_stops_that_the_broker_drops_again_and_again_are_laid_down_in_the_next_pass(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    for lost in ("stop and target", "stop", "stop"):
        await patrol.minute(100)
        (stop,) = floor.stops()
        if lost == "stop":
            floor.drop(stop)
        else:
            floor.venue.exchange.cancel(stop.broker_order_id)
        await patrol.minute(100)
        assert [stop.quantity for stop in floor.stops()] == [10]

    assert NAKED in await floor.alerts()
    assert f"{SYMBOL}: 10 shares are not protected" not in await floor.alerts()
    assert await seconds_without_a_stop(patrol) == [60, 60, 60]
    assert sold(floor) == []


async def test_a_stop_that_waits_for_an_entry_that_will_not_end_is_alarmed_until_it_protects(
    floor: Floor, patrol: Patrol
) -> None:
    await patrol.minute(100, volume=100)
    await (await floor.desk()).enter(draft(40), why="volume")
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL)
    await patrol.minute(100, volume=0)
    stuck = floor.stops()
    await patrol.minute(100, volume=0)

    assert (stuck, [stop.quantity for stop in floor.stops()]) == ((), [10])
    assert {NAKED, f"{SYMBOL}: 10 shares are not protected"} <= set(await floor.alerts())
    assert await seconds_without_a_stop(patrol) == [
        130
    ]  # ten seconds went into waiting for the cancel


async def test_a_broker_that_is_away_is_silence_and_what_it_lost_is_found_when_it_is_back(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    await patrol.minute(100)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.fault(Operation.ORDERS, FaultKind.REFUSE, times=None)
    floor.trade(100)
    assert await patrol.look() is None
    floor.trade(100)
    assert await patrol.look() is None
    floor.venue.faults._script.clear()
    refused = await (await floor.desk()).enter(draft(5), why="volume")
    await patrol.minute(100)

    assert isinstance(refused, Refused)
    assert "MONITOR_SILENT" in refused.refusal.codes
    assert [stop.quantity for stop in floor.stops()] == [10]
    assert await seconds_without_a_stop(patrol) == [180]


# -- an entry that fills in parts


async def test_an_entry_that_fills_in_parts_is_ended_and_protected_for_what_it_filled(
    floor: Floor, patrol: Patrol
) -> None:
    await patrol.minute(100, volume=100)
    await (await floor.desk()).enter(draft(40), why="volume")
    await patrol.minute(100, volume=50)
    await patrol.minute(100, volume=500)
    await patrol.minute("97.00")

    assert [order.filled_quantity for order in floor.at_broker()] == [15, 0]
    assert sold(floor) == [("stop", 15, Decimal("97.00"))]
    assert await seconds_without_a_stop(patrol) == [60]


async def test_an_entry_that_fills_all_between_two_passes_has_its_own_stop(
    floor: Floor, patrol: Patrol
) -> None:
    await (await floor.desk()).enter(
        draft(20, limit="99.00", take_profit=Decimal(102)), why="a dip"
    )
    await patrol.minute(100)
    await patrol.minute("99.00", 99, "98.50", 99)
    await patrol.minute("99.00")

    assert [stop.quantity for stop in floor.stops()] == [20]
    assert len(floor.at_broker()) == 1
    assert await seconds_without_a_stop(patrol) == []


# -- a sale that fills in parts


async def test_a_sale_in_parts_follows_a_falling_market_with_its_stop_until_the_last_share(
    floor: Floor,
) -> None:
    patrol = Patrol(floor, signals=LOSS)
    await patrol.minute(100)
    await bought(floor, 40)
    held: list[tuple[int, int]] = []
    for price in ("99.40", "99.30", "98.30", "98.20", "98.20", "98.10"):
        await patrol.minute(price, volume=80)
        held.append((floor.held(), sum(stop.remaining_quantity for stop in floor.stops())))
        await cycle(floor)

    assert held == [(32, 32), (24, 24), (16, 16), (8, 8), (0, 0), (0, 0)]
    assert {kind for kind, _, _ in sold(floor)} == {"limit"}
    assert (await position(floor))["status"] == "closed"
    assert await floor.alerts() == []
    assert await seconds_without_a_stop(patrol) == []


# -- answers that are missing


async def test_a_sale_without_an_answer_is_not_sent_again_until_it_is_proven_absent(
    floor: Floor,
) -> None:
    patrol = Patrol(floor, signals=LOSS)
    await patrol.minute(100)
    await bought(floor)
    floor.fault(Operation.REPLACE, FaultKind.TIME_OUT)
    for _ in range(3):
        await patrol.minute("99.40")
    states = await floor.rows("SELECT status FROM orders WHERE order_purpose = 'exit' ORDER BY 1")

    assert [row["status"] for row in states] == ["filled", "not_placed"]
    assert floor.venue.faults.calls(Operation.REPLACE) == 2
    assert sold(floor) == [("limit", 10, Decimal("99.39"))]
    assert await seconds_without_a_stop(patrol) == []


async def test_a_sale_whose_answer_is_lost_is_found_and_is_the_one_sale(floor: Floor) -> None:
    patrol = Patrol(floor, signals=LOSS)
    await patrol.minute(100)
    await bought(floor)
    floor.fault(Operation.REPLACE, FaultKind.DROP_REPLY)
    for _ in range(3):
        await patrol.minute("99.40")

    assert floor.venue.faults.calls(Operation.REPLACE) == 1
    assert sold(floor) == [("limit", 10, Decimal("99.39"))]
    assert await seconds_without_a_stop(patrol) == []


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [(FaultKind.DROP_REPLY, 60), (FaultKind.TIME_OUT, 180), (FaultKind.REFUSE, 120)],
)
async def test_a_stop_whose_answer_is_missing_rests_once_in_the_end(
    floor: Floor, patrol: Patrol, kind: FaultKind, seconds: int
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.fault(Operation.PLACE, kind)
    for _ in range(3):
        await patrol.minute(100)

    assert [stop.quantity for stop in floor.stops()] == [10]
    assert [order.side for order in floor.at_broker()] == [Side.BUY, Side.SELL]
    assert f"{SYMBOL}: 10 shares are not protected" in await floor.alerts()
    assert await seconds_without_a_stop(patrol) == [seconds]


# -- a broker at which no stop rests


def without_a_bid(quote: Quote) -> Quote:
    return replace(quote, bid=Decimal("NaN"))


class Marked(WithoutStops):
    """No stops, and a word about the price that does not follow the market."""

    async def positions(self) -> tuple[Position, ...]:
        return tuple(replace(held, market_price=Decimal(0)) for held in await super().positions())


async def test_where_no_stop_rests_a_price_that_nobody_knows_is_an_alarm(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    patrol.use(WithoutStops(floor.venue.broker))
    floor.feed.distort = without_a_bid
    told_at: list[timedelta] = []
    began = floor.venue.clock.now()
    for _ in range(4):
        await patrol.quarters(100)
        if await floor.alerts():
            told_at.append(floor.venue.clock.now() - began)

    assert told_at[0] == timedelta(minutes=3)
    assert await floor.alerts() == [f"the price of {SYMBOL} is not known, and no stop rests"]
    assert floor.held() == 10


async def test_a_price_that_is_known_again_begins_the_time_without_one_anew(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    patrol.use(WithoutStops(floor.venue.broker))
    for is_known in (False, False, True, False, False):
        floor.feed.distort = None if is_known else without_a_bid
        await patrol.quarters(100)

    assert await floor.alerts() == []


async def test_where_no_stop_rests_a_broker_without_a_price_confirms_none(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    patrol.use(Marked(floor.venue.broker))
    await patrol.quarters(100)
    floor.feed.bad_ticks = [Decimal(90)]
    await patrol.look()
    held = floor.held()
    await patrol.quarters("97.00")
    await patrol.quarters("96.99")

    assert held == 10
    assert floor.held() == 0
