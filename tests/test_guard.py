"""One pass of the position monitor: what it leaves, what it holds, and what it writes down."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import Fault, FaultKind, Operation
from guard import Pass
from shared import trading_state
from shared.database.connection import Connection
from shared.database.positions import own_exit
from shared.errors import BrokerUnavailable, FeedUnavailable
from shared.models import Order, OrderType, Position, Side, TradingState
from shared.second_opinion import Opinion
from shared.watch import Recommendation
from tests.brokers.paper_venue import PaperVenue
from tests.faults.steps import bought, partly_bought
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.databases import open_connection
from tests.fixtures.floor import SYMBOL, Between, Floor, Watching, WithoutStops


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def status(floor: Floor) -> dict[str, Any]:
    """What the monitor wrote about the only position it ever looked at."""
    (row,) = await floor.rows("SELECT * FROM position_monitor_status")
    return row


def sales(floor: Floor) -> list[Order]:
    return [order for order in floor.at_broker() if order.side is Side.SELL]


def working_sale(floor: Floor) -> Order:
    """The only limit sale that rests: a target, or the exit in its place."""
    listed = floor.venue.exchange.orders(only_open=True)
    (sale,) = [order for order in listed if order.order_type is OrderType.LIMIT]
    return sale


class Saying(Watching):
    """A broker that says something else about what is held."""

    def __init__(self, floor: Floor, change: Callable[[Position], Position]) -> None:
        super().__init__(floor.venue.broker)
        self.change: Callable[[Position], Position] = change

    async def positions(self) -> Any:
        return tuple(self.change(held) for held in await super().positions())


async def test_a_quiet_position_is_held_and_written_down(floor: Floor) -> None:
    await bought(floor)
    floor.trade("100.20")
    made = await (await floor.guard()).make_pass()
    row = await status(floor)

    assert (made.watched, made.left, made.problem) == (1, (), None)
    assert (row["status"], row["recommendation"], row["symbol"]) == ("running", "HOLD", SYMBOL)
    assert row["last_price"] == Decimal("100.20")
    assert row["next_check_at"] - row["last_check_at"] == timedelta(seconds=60)
    assert len(floor.stops()) == 1


async def test_a_loss_that_is_strong_is_left_through_the_target_with_its_stop_until_the_end(
    floor: Floor,
) -> None:
    await bought(floor)
    floor.trade("99.50")
    watching = Watching(floor.venue.broker)
    made = await (await floor.guard(broker=watching, stop_loss_pct=Decimal("0.4"))).make_pass()

    assert made.left == (SYMBOL,)
    assert watching.asked == ["replace"]
    assert floor.held() == 0
    (row,) = await floor.rows("SELECT exit_reason, status FROM positions")
    assert row["status"] == "closed"
    assert (await status(floor))["recommendation"] == "EXIT"


async def test_one_tick_that_nobody_else_saw_sells_nothing(floor: Floor) -> None:
    await bought(floor)
    floor.feed.bad_ticks = [Decimal("90.00")] * 9  # every quote falls, the broker's mark does not
    made = await (await floor.guard()).make_pass()

    assert made.left == ()
    assert "one of them is wrong" in str(made.problem)
    assert (await status(floor))["last_price"] is None


async def test_without_a_price_of_the_broker_two_quotes_have_to_agree(floor: Floor) -> None:
    await bought(floor)
    floor.trade("99.50")
    broker = Saying(floor, lambda held: replace(held, market_price=None))
    guard = await floor.guard(broker=broker, stop_loss_pct=Decimal("0.4"))
    first = await guard.make_pass()
    floor.trade("99.49")
    second = await guard.make_pass()

    assert (first.left, second.left) == ((), (SYMBOL,))
    assert "twice" in str(first.problem)


async def test_a_best_price_is_remembered_by_the_next_monitor(floor: Floor) -> None:
    await bought(floor)
    floor.trade("103.00", volume=0)
    await (await floor.guard()).make_pass()
    floor.trade("101.00", volume=0)
    made = await (
        await floor.guard(trailing_stop_pct=Decimal("1.5"), trailing_stop_from_pct=Decimal(1))
    ).make_pass()

    assert made.left == (SYMBOL,)
    assert (await status(floor))["high_watermark"] >= Decimal("103.00")


async def test_a_partly_filled_entry_is_ended_and_protected_within_a_pass(floor: Floor) -> None:
    await partly_bought(floor)
    await (await floor.guard()).make_pass()
    (stop,) = floor.stops()

    assert (stop.quantity, floor.held()) == (10, 10)


async def test_an_exit_that_works_is_not_sent_again(floor: Floor) -> None:
    await bought(floor)
    floor.trade("99.50")
    floor.fault(Operation.REPLACE, FaultKind.PARTIAL_FILLS, quantity=0)
    guard = await floor.guard(stop_loss_pct=Decimal("0.4"))
    first = await guard.make_pass()
    floor.trade("99.50")
    second = await guard.make_pass()

    assert (first.left, second.left) == ((SYMBOL,), ())
    assert len(await floor.rows("SELECT FROM orders WHERE order_purpose = 'exit'")) == 1


async def test_what_was_turned_down_is_asked_for_again_in_the_next_pass(floor: Floor) -> None:
    await bought(floor)
    floor.trade("99.50")
    floor.fault(Operation.REPLACE, FaultKind.REFUSE)
    guard = await floor.guard(stop_loss_pct=Decimal("0.4"))
    first = await guard.make_pass()
    floor.trade("99.50")
    await guard.make_pass()

    assert f"{SYMBOL} should be left and is not sold" in await floor.alerts()
    assert first.problem is not None
    assert floor.held() == 0


async def test_a_symbol_that_another_process_leaves_is_left_to_it(
    floor: Floor, trading_database_url: str
) -> None:
    await bought(floor)
    floor.trade("99.50")
    other = await open_connection(trading_database_url)
    assert await own_exit(other, agent_id=AGENT, symbol=SYMBOL)
    made = await (await floor.guard(stop_loss_pct=Decimal("0.4"))).make_pass()
    await other.close()

    assert "another process" in str(made.problem)
    assert floor.held() == 10


async def test_shares_that_another_process_is_protecting_are_left_to_it(
    floor: Floor, trading_database_url: str
) -> None:
    await partly_bought(floor)
    other = await open_connection(trading_database_url)
    assert await own_exit(other, agent_id=AGENT, symbol=SYMBOL)
    await (await floor.guard()).make_pass()
    assert floor.stops() == ()
    await other.close()
    await (await floor.guard()).make_pass()

    assert len(floor.stops()) == 1


async def test_where_no_stop_can_rest_the_monitor_is_the_stop(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.venue.exchange.orders(only_open=True)[0].broker_order_id)
    floor.trade("97.90")
    guard = await floor.guard(broker=WithoutStops(floor.venue.broker), stop_loss_pct=Decimal(5))
    made = await guard.make_pass()

    assert guard.pause == timedelta(seconds=15)
    assert made.left == (SYMBOL,)
    assert floor.held() == 0
    assert "at or below the stop 98.00" in (await status(floor))["recommendation_reason"]


async def test_where_no_stop_can_rest_the_stop_follows_the_best_price(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.venue.exchange.orders(only_open=True)[0].broker_order_id)
    floor.trade("104.00")
    guard = await floor.guard(
        broker=WithoutStops(floor.venue.broker), trailing_stop_pct=Decimal("1.5")
    )
    held = await guard.make_pass()
    floor.trade("102.40")
    left = await guard.make_pass()

    assert (held.left, left.left) == ((), (SYMBOL,))
    assert "at or below the stop 102.44" in (await status(floor))["recommendation_reason"]


async def test_the_days_loss_limit_closes_everything_and_halts(floor: Floor) -> None:
    await bought(floor, 40)
    floor.trade("98.10")
    guard = await floor.guard()
    limits = guard.place.settings.limits.model_copy(update={"daily_loss_limit": Decimal(50)})
    settings = guard.place.settings.model_copy(update={"limits": limits})
    guard.place = replace(guard.place, settings=settings)
    made = await guard.make_pass()
    now = floor.venue.clock.now()
    found = await trading_state.current(floor.connection, AGENT, floor.home, now)

    assert made.left == (SYMBOL,)
    assert (floor.held(), found.state) == (0, TradingState.HALTED)


async def test_outside_the_hours_nothing_is_asked_of_anybody(floor: Floor) -> None:
    await bought(floor)
    floor.venue.clock.move_to(floor.venue.clock.now() + timedelta(hours=7))
    calls = floor.venue.faults.calls(Operation.ORDERS)
    made = await (await floor.guard()).make_pass()

    assert (made.watched, made.left) == (1, ())
    assert floor.venue.faults.calls(Operation.ORDERS) == calls


async def test_a_broker_that_does_not_answer_ends_the_pass(floor: Floor) -> None:
    await bought(floor)
    floor.fault(Operation.ORDERS, FaultKind.REFUSE, times=None)
    with pytest.raises(BrokerUnavailable):
        await (await floor.guard()).make_pass()


async def test_without_a_feed_stops_are_verified_all_the_same(floor: Floor) -> None:
    await partly_bought(floor)
    floor.feed.failure = FeedUnavailable("the feed is away")
    made = await (await floor.guard()).make_pass()

    assert "the feed is away" in str(made.problem)
    assert len(floor.stops()) == 1


async def test_a_position_that_is_closed_is_not_watched_any_more(floor: Floor) -> None:
    await bought(floor)
    guard = await floor.guard()
    await guard.make_pass()
    await (await floor.desk()).exit(SYMBOL, why="enough")
    floor.trade("100.00")
    await guard.make_pass()

    assert (await status(floor))["status"] == "stopped"


class Answering:
    """Counts what it is asked, and always answers the same."""

    def __init__(self, recommendation: Recommendation) -> None:
        self.asked: list[str] = []
        self.opinion: Opinion = Opinion(
            recommendation=recommendation,
            reason="it looks weak",
            cost_usd=Decimal("0.001"),
            answered=True,
        )

    async def ask(self, *, system: str, question: str) -> Opinion:
        del system
        self.asked.append(question)
        return self.opinion


async def reviewed(floor: Floor, answering: Any, minutes: int, **monitor: Any) -> list[Pass]:
    """Hold for so many minutes; after the first one the time stop is a moderate exit, and so a review."""
    signals: dict[str, Any] = {"time_stop_minutes": 1, "time_stop_near_minutes": 1}
    guard = await floor.guard(reviewer=answering, monitor=monitor, **signals)
    passes: list[Pass] = []
    for _ in range(minutes):
        floor.trade("100.00", volume=0)
        passes.append(await guard.make_pass())
    return passes


async def test_a_review_asks_at_most_every_quarter_of_an_hour_and_so_often(floor: Floor) -> None:
    await bought(floor)
    answering = Answering(Recommendation.HOLD)
    await reviewed(floor, answering, 40, reviews_per_position=2)
    row = await status(floor)

    assert len(answering.asked) == 2
    assert (row["haiku_calls"], row["last_haiku_recommendation"]) == (2, "HOLD")
    assert row["estimated_cost"] == Decimal("0.002")
    assert floor.held() == 10


async def test_the_next_monitor_goes_on_counting_where_this_one_stopped(floor: Floor) -> None:
    await bought(floor)
    answering = Answering(Recommendation.HOLD)
    await reviewed(floor, answering, 2)
    await reviewed(floor, answering, 2)
    assert len(answering.asked) == 1
    await reviewed(floor, answering, 13, reviews_per_position=1)
    assert len(answering.asked) == 1


async def test_a_review_that_says_exit_sells(floor: Floor) -> None:
    await bought(floor)
    (made,) = await reviewed(floor, Answering(Recommendation.EXIT), 1)
    floor.trade("100.00")

    assert made.left == (SYMBOL,)
    assert floor.held() == 0
    (order,) = await floor.rows("SELECT reason FROM orders WHERE order_purpose = 'exit'")
    assert order["reason"] == "second opinion: it looks weak"


async def test_without_anybody_to_ask_a_review_holds(floor: Floor) -> None:
    await bought(floor)
    (made,) = await reviewed(floor, None, 1)

    assert (made.left, made.problem) == ((), None)
    assert (await status(floor))["recommendation"] == "REVIEW"


async def test_a_sale_that_the_market_left_behind_is_moved_after_it(floor: Floor) -> None:
    await bought(floor)
    floor.trade("99.50", volume=0)
    guard = await floor.guard(stop_loss_pct=Decimal("0.4"))
    first = await guard.make_pass()
    floor.trade("98.20", volume=0)
    second = await guard.make_pass()
    floor.trade("98.20", volume=0)
    third = await guard.make_pass()
    floor.trade("98.20")

    assert (first.left, second.left, third.left) == ((SYMBOL,), (SYMBOL,), ())
    assert floor.held() == 0


async def test_a_sale_that_the_day_s_loss_asked_for_is_moved_after_the_market_too(
    floor: Floor,
) -> None:
    await bought(floor, 40)
    floor.trade("99.00", volume=0)
    guard = await floor.guard()
    limits = guard.place.settings.limits.model_copy(update={"daily_loss_limit": Decimal(30)})
    settings = guard.place.settings.model_copy(update={"limits": limits})
    guard.place = replace(guard.place, settings=settings)
    await guard.make_pass()
    limit = working_sale(floor).limit_price
    floor.trade("97.99", volume=0)
    await guard.make_pass()

    assert limit is not None
    assert limit > Decimal("97.98")
    assert (working_sale(floor).limit_price or limit) < Decimal("97.98")


async def test_a_sale_whose_cancel_is_not_confirmed_is_not_moved(floor: Floor) -> None:
    await bought(floor)
    floor.trade("99.50", volume=0)
    guard = await floor.guard(stop_loss_pct=Decimal("0.4"))
    await guard.make_pass()
    sale = working_sale(floor)
    floor.venue.exchange.cancel(
        sale.broker_order_id, fault=Fault(operation=Operation.CANCEL, kind=FaultKind.STUCK_CANCEL)
    )
    floor.trade("98.20", volume=0)
    made = await guard.make_pass()

    assert (made.left, made.orders) == ((), 0)


async def test_a_position_that_its_stop_sold_meanwhile_is_no_failure(floor: Floor) -> None:
    await bought(floor)
    floor.trade("99.50")
    broker = Between(floor, lambda: floor.trade("97.50"))
    made = await (await floor.guard(broker=broker, stop_loss_pct=Decimal("0.4"))).make_pass()

    assert made.problem is None
    assert (await floor.alerts(), floor.held()) == ([], 0)


async def test_a_halt_of_what_is_held_is_told_once(floor: Floor) -> None:
    await bought(floor)
    now = floor.venue.clock.now()
    floor.venue.replay.halts.append((SYMBOL, now, now + timedelta(minutes=5)))
    guard = await floor.guard()
    told = [(await guard.make_pass()).alerts for _ in range(2)]
    again = await (await floor.guard()).make_pass()

    assert told == [(f"trading in {SYMBOL} is halted",), ()]
    assert again.alerts == (
        f"trading in {SYMBOL} is halted",
    )  # another process, the same day: one mail
    assert await floor.alerts() == [f"trading in {SYMBOL} is halted"]


async def test_a_stop_without_an_answer_is_not_laid_down_a_second_time(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    before = floor.venue.faults.calls(Operation.PLACE)
    guard = await floor.guard()
    for _ in range(3):
        await guard.make_pass()
        floor.trade("100.00")
    stops = await floor.rows(
        "SELECT status FROM orders WHERE order_purpose = 'stop_loss' AND status <> 'canceled'"
    )

    assert floor.venue.faults.calls(Operation.PLACE) == before + 1
    assert [row["status"] for row in stops] == ["unknown"]
    assert f"{SYMBOL}: 10 shares are not protected" in await floor.alerts()

    # whoever has the lock after it proves the first one absent, and only then lays another one down
    successor = await floor.guard()
    for _ in range(3):
        await successor.make_pass()
        floor.trade("100.00")
    assert floor.venue.faults.calls(Operation.PLACE) == before + 2
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_a_sale_that_is_not_sent_beside_another_leaves_no_line_in_the_journal(
    floor: Floor,
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    guard = await floor.guard()
    for _ in range(3):
        await guard.make_pass()

    assert len(list(guard.place.books.journal.lines())) == 1


async def test_in_a_closure_that_nobody_planned_nothing_is_sold_and_one_word_is_said(
    floor: Floor,
) -> None:
    await bought(floor)
    now = floor.venue.clock.now()
    floor.venue.replay.closures.append((now, now + timedelta(minutes=2)))
    guard = await floor.guard(stop_loss_pct=Decimal("0.1"))
    floor.trade("99")
    closed = await guard.make_pass()
    floor.trade("99")
    opened = await guard.make_pass()

    assert (closed.watched, closed.orders, closed.left) == (1, 0, ())
    assert opened.left == (SYMBOL,)
    assert await floor.alerts() == [f"held while XNYS is closed unplanned: {SYMBOL}"]
