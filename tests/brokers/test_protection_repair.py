"""Stops that are gone or refused: laid down again, or the shares are sold where the price is through them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import FaultKind, Operation
from shared.database.connection import Connection
from shared.models import Order, OrderStatus, Position, Side, TickBand
from tests.brokers.order_requests import sell
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE, stock
from tests.faults.steps import bought
from tests.fixtures.floor import SYMBOL, Between, Floor, Watching, draft

NO_PRICES = ("NaN", "sNaN", "Infinity", "0", "-1")


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def lose_protection(floor: Floor) -> None:
    """Ten shares of ours whose stop and target the broker has dropped."""
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)


async def lose_the_stop(floor: Floor) -> None:
    """Ten shares of ours whose target still rests, and holds them."""
    await bought(floor)
    floor.drop(floor.stops()[0])


async def tidy(floor: Floor, **cycle: Any) -> list[str]:
    """Do what every cycle and every pass begins with; return what a person was told."""
    desk = await floor.desk(**cycle)
    await desk.synchronise()
    await desk.tidy(why="its time is over")
    return desk.alerts


def open_sales(floor: Floor) -> list[tuple[str, int]]:
    return sorted(
        (order.order_type.value, order.remaining_quantity)
        for order in floor.venue.exchange.orders(only_open=True)
        if order.side is Side.SELL
    )


class Marking(Watching):
    """A broker that says something else about what a share is worth, or nothing."""

    def __init__(self, floor: Floor, price: Decimal | None) -> None:
        super().__init__(floor.venue.broker)
        self._price: Decimal | None = price

    async def positions(self) -> tuple[Position, ...]:
        return tuple(replace(held, market_price=self._price) for held in await super().positions())


@pytest.mark.parametrize("bid", NO_PRICES)
async def test_a_bid_that_is_no_price_keeps_no_stop_from_being_laid_down(
    floor: Floor, bid: str
) -> None:
    await lose_protection(floor)
    floor.feed.distort = lambda quote: replace(quote, bid=Decimal(bid))
    await tidy(floor)

    assert [stop.stop_price for stop in floor.stops()] == [Decimal("98.00")]
    assert floor.held() == 10


@pytest.mark.parametrize("bid", NO_PRICES)
async def test_a_bid_that_is_no_price_leaves_a_position_as_it_is(floor: Floor, bid: str) -> None:
    await bought(floor)
    floor.feed.distort = lambda quote: replace(quote, bid=Decimal(bid))
    executor = await floor.cycle()
    sold, left = await executor.sell_what_is_held(why="the day is over")

    assert (sold, left) == ([], [SYMBOL])
    assert open_sales(floor) == [("limit", 10), ("stop", 10)]


async def test_one_bad_tick_does_not_sell_what_has_no_stop(floor: Floor) -> None:
    await lose_protection(floor)
    floor.feed.bad_ticks = [Decimal(90)] * 9
    await tidy(floor)

    assert floor.held() == 10
    assert [stop.quantity for stop in floor.stops()] == [10]


@pytest.mark.parametrize("mark", [*NO_PRICES, "97.00", None])
async def test_one_bad_price_of_the_broker_does_not_sell_either(
    floor: Floor, mark: str | None
) -> None:
    await lose_protection(floor)
    await tidy(floor, broker=Marking(floor, None if mark is None else Decimal(mark)))

    assert floor.held() == 10
    assert [stop.quantity for stop in floor.stops()] == [10]


@pytest.mark.parametrize("mark", [*NO_PRICES, None])
async def test_a_stop_that_the_broker_refuses_and_the_feed_is_through_is_a_sale(
    floor: Floor, mark: str | None
) -> None:
    await lose_protection(floor)
    floor.trade("97.50")
    await tidy(floor, broker=Marking(floor, None if mark is None else Decimal(mark)))

    assert floor.held() == 0
    sales = [order for order in floor.at_broker() if order.side is Side.SELL]
    assert [order.filled_quantity for order in sales] == [10]


async def test_a_price_that_falls_through_the_stop_while_it_is_laid_down_is_a_sale_at_once(
    floor: Floor,
) -> None:
    await lose_protection(floor)
    await tidy(floor, broker=Between(floor, lambda: floor.trade("97.50")))

    assert floor.held() == 0


async def test_a_stop_that_is_refused_for_another_reason_is_alarmed_and_asked_for_again(
    floor: Floor,
) -> None:
    await lose_protection(floor)
    floor.fault(Operation.PLACE, FaultKind.REJECT, reason="out of order")
    told = await tidy(floor)
    naked = floor.stops()
    await tidy(floor)

    assert "ACME: 10 shares are not protected" in told
    assert (naked, floor.held()) == ((), 10)
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_a_stop_is_laid_down_on_the_tick_of_today(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(stop_loss=Decimal("98.01")), why="volume")
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    coarse = (TickBand(from_price=Decimal(0), tick=Decimal("0.05")),)
    floor.venue.replay.instruments[SYMBOL] = replace(stock(), ticks=coarse)
    await tidy(floor)

    assert [stop.stop_price for stop in floor.stops()] == [Decimal("98.05")]


async def test_a_sale_that_fails_is_protected_on_the_tick_of_today(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(stop_loss=Decimal("98.01")), why="volume")
    coarse = (TickBand(from_price=Decimal(0), tick=Decimal("0.05")),)
    floor.venue.replay.instruments[SYMBOL] = replace(stock(), ticks=coarse)
    floor.fault(Operation.REPLACE, FaultKind.REJECT, reason="cannot be replaced")
    floor.fault(Operation.PLACE, FaultKind.REJECT, reason="out of order")
    await (await floor.desk()).exit(SYMBOL, why="enough")

    assert [stop.stop_price for stop in floor.stops()] == [Decimal("98.05")]


async def test_a_target_that_lost_its_stop_makes_room_for_a_new_one(floor: Floor) -> None:
    await lose_the_stop(floor)
    before = open_sales(floor)
    told = await tidy(floor)

    assert before == [("limit", 10)]
    assert open_sales(floor) == [("limit", 10), ("stop", 10)]
    assert "ACME: 10 shares had no resting stop" in told
    assert "ACME: 10 shares are not protected" not in told


async def test_a_target_whose_cancel_sticks_is_asked_to_go_again(floor: Floor) -> None:
    await lose_the_stop(floor)
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL)
    told = await tidy(floor)
    before = open_sales(floor)
    await tidy(floor)

    assert "ACME: 10 shares are not protected" in told
    assert before == [("limit", 10)]
    assert open_sales(floor) == [("limit", 10), ("stop", 10)]


async def test_only_the_target_that_lost_its_stop_goes(floor: Floor) -> None:
    desk = await floor.desk()
    await desk.enter(draft(limit="99.00", take_profit=Decimal(102)), why="a dip")
    await desk.enter(draft(5, limit="98.90", take_profit=Decimal(102)), why="a deeper dip")
    floor.trade(99, 99, "98.50", 99)
    await (await floor.desk()).synchronise()
    lost = next(stop for stop in floor.stops() if stop.quantity == 10)
    kept = [o for o in floor.venue.exchange.orders(only_open=True) if o.quantity == 5]
    floor.drop(lost)
    await tidy(floor)

    assert open_sales(floor) == [("limit", 5), ("limit", 10), ("stop", 5), ("stop", 10)]
    assert {o.broker_order_id for o in kept} <= _open_ids(floor)


async def test_a_sale_that_works_already_is_not_cancelled_for_a_stop(floor: Floor) -> None:
    await bought(floor)
    floor.fault(Operation.REPLACE, FaultKind.PARTIAL_FILLS, quantity=0)
    await (await floor.desk()).exit(SYMBOL, why="enough")
    (sale,) = [o for o in floor.venue.exchange.orders(only_open=True) if o.order_type == "limit"]
    floor.drop(floor.stops()[0])
    told = await tidy(floor)

    assert "ACME: 10 shares are not protected" in told
    assert _order(floor, sale).status is OrderStatus.ACCEPTED


async def test_a_sale_that_somebody_else_laid_down_is_not_cancelled(floor: Floor) -> None:
    await lose_protection(floor)
    by_hand = floor.venue.exchange.place(sell(10, 105))
    told = await tidy(floor)

    assert "ACME: 10 shares are not protected" in told
    assert _order(floor, by_hand).status is OrderStatus.ACCEPTED


async def test_a_halted_target_stays_until_a_stop_could_be_laid_down(floor: Floor) -> None:
    await lose_the_stop(floor)
    now = floor.venue.clock.now()
    floor.venue.replay.halts.append((SYMBOL, now, now + MINUTE))
    told = await tidy(floor)

    assert "ACME: 10 shares are not protected" in told
    assert open_sales(floor) == [("limit", 10)]


async def test_the_time_without_a_stop_ends_with_the_sale_of_what_was_naked(floor: Floor) -> None:
    await lose_protection(floor)
    began = floor.venue.clock.now()
    floor.trade("97.50")
    await tidy(floor)
    (spell,) = await floor.rows("SELECT began_at, ended_at, alarmed_at FROM unprotected_spells")

    assert floor.held() == 0
    assert (spell["began_at"], spell["ended_at"]) == (began, began + MINUTE)
    assert spell["alarmed_at"] is not None


async def test_a_time_without_a_stop_that_was_known_ends_with_a_later_sale(floor: Floor) -> None:
    await lose_protection(floor)
    began = floor.venue.clock.now()
    floor.trade("97.50", volume=0)
    await tidy(floor)
    (lasting,) = await floor.rows("SELECT ended_at FROM unprotected_spells")
    floor.trade("97.50")
    await tidy(floor)
    (over,) = await floor.rows("SELECT began_at, ended_at FROM unprotected_spells")

    assert lasting["ended_at"] is None
    assert (over["began_at"], over["ended_at"]) == (began, began + 2 * MINUTE)


async def test_a_later_position_in_the_symbol_has_times_of_its_own(floor: Floor) -> None:
    await lose_protection(floor)
    floor.trade("97.50")
    await tidy(floor)
    floor.trade("100.00")
    await (await floor.desk(cooldown_minutes_after_loss=0)).enter(draft(5), why="again")
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.trade("100.00")
    await tidy(floor)
    rows = await floor.rows(
        "SELECT position_id, quantity FROM unprotected_spells ORDER BY began_at"
    )

    assert [row["quantity"] for row in rows] == [10, 5]
    assert len({row["position_id"] for row in rows}) == 2


async def test_a_target_whose_stop_is_selling_is_moved_for_what_is_left(floor: Floor) -> None:
    await bought(floor)
    broker = Between(floor, lambda: floor.trade(99, 99, "97.00", "97.50", volume=40))
    desk = await floor.desk(broker=broker)
    await desk.exit(SYMBOL, why="enough")
    sold = [
        fill.quantity
        for order in floor.venue.exchange.orders(only_open=False)
        for fill in order.fills
        if fill.side is Side.SELL
    ]

    assert broker.asked == ["replace", "replace"]
    assert sold == [4, 4]
    assert open_sales(floor) == [("limit", 2), ("stop", 2)]


def _order(floor: Floor, order: Order) -> Order:
    found = floor.venue.exchange.order(order.broker_order_id)
    assert found is not None
    return found


def _open_ids(floor: Floor) -> set[str]:
    return {order.broker_order_id for order in floor.venue.exchange.orders(only_open=True)}
