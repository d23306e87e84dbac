"""What a close does by rule, look after look: sold once, moved after the market, waited for, told of."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import FaultKind, Operation
from closing import Closing, Held
from shared.clock import ManualClock
from shared.database.connection import Connection
from shared.models import Mode, Order, OrderType, Side
from shared.order_life import OrderState
from shared.outcome import Status
from tests.brokers.paper_venue import START, PaperVenue, week_of_new_york
from tests.brokers.replay import MINUTE, at
from tests.builders import quote, snapshot
from tests.fixtures.broker_orders import exit_request, intended
from tests.fixtures.floor import SYMBOL, Floor, draft, record_of
from tool_executor import ToolExecutor

SLOT = at(19, 50)
GIVES_UP = at(19, 59)
WHY = "the session ends"


class EventfulClock(ManualClock):
    """Lets something happen at a moment, while somebody waits."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self.events: dict[datetime, Callable[[], object]] = {}

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        for moment in sorted(moment for moment in self.events if moment <= self.now()):
            self.events.pop(moment)()


@pytest.fixture
def clock() -> EventfulClock:
    return EventfulClock(START)


@pytest.fixture
async def floor(
    tmp_path: Path, trading_connection: Connection, clock: EventfulClock
) -> AsyncIterator[Floor]:
    """40 shares of ACME, bought at 100 and protected; the close begins in a quiet minute."""
    venue = PaperVenue(tmp_path / "paper.sqlite3", week_of_new_york(), clock)
    floor = Floor(venue, trading_connection, tmp_path)
    bought = record_of(await (await floor.desk()).enter(draft(40), why="volume"))
    assert bought.filled_quantity == 40
    clock.move_to(SLOT)
    yield floor
    await venue.broker.disconnect()


def minutes(floor: Floor, prices: str, *, volume: int, since: datetime = SLOT) -> None:
    """Write what trades from then on, a price a minute; a tenth of the volume is for one order."""
    for number, price in enumerate(prices.split()):
        floor.venue.replay.trade(SYMBOL, since + number * MINUTE, prices=[price], volume=volume)


def before_the_close(floor: Floor, *, volume: int, price: str = "100") -> None:
    minutes(floor, price, volume=volume, since=SLOT - MINUTE)


async def closing(floor: Floor, slot_at: datetime | None = SLOT, **cycle: Any) -> Closing:
    executor = await floor.cycle(mode=Mode.CLOSE, **cycle)
    return closing_of(executor, slot_at)


def closing_of(executor: ToolExecutor, slot_at: datetime | None = SLOT) -> Closing:
    place = executor._place
    assert place.session is not None
    return Closing(place=place, session=place.session, executor=executor, slot_at=slot_at)


def sales(floor: Floor) -> list[Order]:
    """What the agent asked to be sold, oldest first; a bracket's own legs are not among it."""
    orders = floor.venue.exchange.orders(only_open=False)
    ours = [
        o for o in orders if o.side is Side.SELL and (o.client_order_id or "").startswith("cat-")
    ]
    return sorted(ours, key=lambda order: order.submitted_at)


def sold(floor: Floor) -> int:
    return sum(order.filled_quantity for order in sales(floor))


async def alerts(floor: Floor) -> list[str]:
    return [
        row["body"]
        for row in await floor.rows("SELECT body FROM alerts WHERE subject LIKE '%still held%'")
    ]


async def test_a_sale_that_fills_bit_by_bit_is_waited_for_and_asked_for_once(floor: Floor) -> None:
    before_the_close(floor, volume=100)
    minutes(floor, "100 100 100 100", volume=100)
    status, reason = await (await closing(floor)).sell_all(WHY)

    assert (status, reason) == (Status.DONE, f"{WHY}; sold by rule: ACME")
    assert [(order.quantity, order.filled_quantity) for order in sales(floor)] == [(40, 40)]
    assert floor.held() == 0
    assert await alerts(floor) == []
    assert SLOT + 3 * MINUTE <= floor.venue.clock.now() < SLOT + 4 * MINUTE


async def test_a_sale_that_the_market_left_behind_is_moved_after_it(floor: Floor) -> None:
    before_the_close(floor, volume=100)
    minutes(floor, "98.50 98.50 98.50", volume=200)  # above the stop, below the sale's limit
    status, _ = await (await closing(floor)).sell_all(WHY)

    assert status is Status.DONE
    assert [(order.limit_price, order.filled_quantity) for order in sales(floor)] == [
        (Decimal("98.99"), 10),
        (Decimal("97.50"), 30),
    ]
    assert floor.held() == 0


async def test_a_sale_that_the_market_comes_nearer_to_is_left_alone(floor: Floor) -> None:
    before_the_close(floor, volume=100)
    minutes(floor, "99.80 100.40 99.50 101", volume=100)
    await (await closing(floor)).sell_all(WHY)

    assert len(sales(floor)) == 1
    assert floor.held() == 0


async def test_when_nothing_trades_a_person_is_told_once_and_the_sale_works_on(
    floor: Floor,
) -> None:
    before_the_close(floor, volume=0)
    minutes(floor, "100 " * 10, volume=0)
    status, reason = await (await closing(floor)).sell_all(WHY)
    [sale] = sales(floor)

    assert status is Status.FAILED
    assert "still held: ACME (40 shares): its sale works at the exchange" in reason
    assert await alerts(floor) == [
        "ACME (40 shares): its sale works at the exchange, 0 shares of it are filled. the session ends"
    ]
    assert sale.status.is_open
    assert GIVES_UP - timedelta(seconds=15) < floor.venue.clock.now() <= GIVES_UP


async def test_runs_that_follow_in_the_same_slot_tell_nothing_new(floor: Floor) -> None:
    before_the_close(floor, volume=0)
    minutes(floor, "100 " * 10, volume=0)
    for _ in range(3):
        status, _ = await (await closing(floor)).sell_all(WHY)

        assert status is Status.FAILED

    assert len(await alerts(floor)) == 1
    assert len(sales(floor)) == 1


async def test_a_run_that_begins_when_the_time_is_up_still_sells_once(floor: Floor) -> None:
    floor.venue.clock.move_to(at(19, 59, 30))
    minutes(floor, "100", volume=1000, since=at(19, 58))
    status, _ = await (await closing(floor)).sell_all(WHY)

    assert status is Status.DONE
    assert floor.held() == 0
    assert floor.venue.clock.now() == at(19, 59, 30)


async def test_a_forced_run_in_the_middle_of_a_session_does_not_wait_for_its_end(
    floor: Floor,
) -> None:
    before_the_close(floor, volume=0)
    schedule = {"close_minutes_before_close": 3}
    close = await closing(floor, slot_at=None, schedule=schedule)
    status, _ = await close.sell_all(WHY)

    assert status is Status.FAILED
    assert floor.venue.clock.now() <= SLOT + timedelta(minutes=2)


async def test_a_halted_symbol_is_told_of_at_once_and_sold_when_it_trades_again(
    floor: Floor,
) -> None:
    before_the_close(floor, volume=0)
    minutes(floor, "100 " * 6, volume=0)
    minutes(floor, "100 100", volume=1000, since=SLOT + 6 * MINUTE)
    floor.venue.replay.halts.append((SYMBOL, SLOT, SLOT + 6 * MINUTE))
    status, _ = await (await closing(floor)).sell_all(WHY)

    assert status is Status.DONE
    assert floor.held() == 0
    assert len(sales(floor)) == 1
    [told] = await alerts(floor)
    assert told.startswith("ACME (40 shares): trading is halted, ")


async def test_a_halt_to_the_end_sends_one_sale_and_one_alert_and_leaves_the_stop(
    floor: Floor,
) -> None:
    before_the_close(floor, volume=0)
    floor.venue.replay.halts.append((SYMBOL, SLOT, at(20)))
    status, reason = await (await closing(floor)).sell_all(WHY)

    assert status is Status.FAILED
    assert "trading is halted" in reason
    assert len(sales(floor)) == 1
    assert len(await alerts(floor)) == 1
    assert [stop.quantity for stop in floor.stops()] == [40]


async def test_a_sale_that_is_turned_down_is_not_asked_for_at_every_look(floor: Floor) -> None:
    before_the_close(floor, volume=1000)
    for operation in (Operation.REPLACE, Operation.PLACE):
        floor.fault(operation, FaultKind.REJECT, times=None, reason="not today")
    status, reason = await (await closing(floor)).sell_all(WHY)
    exits = await floor.rows("SELECT created_at FROM orders WHERE order_purpose = 'exit'")
    times = sorted({(row["created_at"] - SLOT).total_seconds() for row in exits})

    assert status is Status.FAILED
    assert "no sale is under way: the order is rejected: not today" in reason
    assert times[:5] == [0, 15, 45, 105, 165]
    assert len(times) <= 11


async def test_a_sale_that_somebody_cancelled_is_asked_for_again(
    floor: Floor, clock: EventfulClock
) -> None:
    before_the_close(floor, volume=0)
    minutes(floor, "100 100", volume=0)
    minutes(floor, "100 100", volume=1000, since=SLOT + 2 * MINUTE)

    def cancel() -> None:
        floor.venue.exchange.cancel(sales(floor)[0].broker_order_id)

    clock.events[SLOT + timedelta(seconds=30)] = cancel
    status, _ = await (await closing(floor)).sell_all(WHY)

    assert status is Status.DONE
    assert sold(floor) == 40
    assert [order.filled_quantity for order in sales(floor)] == [0, 40]


async def test_the_same_sale_that_was_cancelled_is_another_attempt(floor: Floor) -> None:
    before_the_close(floor, volume=0)
    minutes(floor, "100", volume=0)
    desk = (await closing(floor)).executor.orders
    await _without_protection(floor)
    (first,) = await desk.exit(SYMBOL, why=WHY)
    floor.venue.exchange.cancel(record_of(first).broker_order_id or "")
    await desk.synchronise()
    (second,) = await desk.exit(SYMBOL, why=WHY)
    (third,) = await desk.exit(SYMBOL, why=WHY)

    assert record_of(second).client_order_id != record_of(first).client_order_id
    assert record_of(third).client_order_id == record_of(second).client_order_id
    assert record_of(second).status is OrderState.ACCEPTED


async def test_a_sale_whose_outcome_is_unknown_is_left_to_the_next_run(
    floor: Floor, clock: EventfulClock
) -> None:
    before_the_close(floor, volume=1000)
    minutes(floor, "100 100 100", volume=1000)
    floor.fault(Operation.REPLACE, FaultKind.TIME_OUT)
    status, reason = await (await closing(floor)).sell_all(WHY)
    handed_over_at, before = clock.now(), list(sales(floor))
    clock.move_to(SLOT + MINUTE)
    after = await closing(floor)
    await after.executor.orders.synchronise()
    again, _ = await after.sell_all(WHY)

    assert (status, before) == (Status.FAILED, [])
    assert "the outcome of its sale is not known" in reason
    assert handed_over_at == SLOT + timedelta(seconds=15)
    assert again is Status.DONE
    assert sold(floor) == 40
    assert floor.held() == 0


async def test_a_sale_whose_answer_came_late_is_found_and_nothing_is_sold_twice(
    floor: Floor,
) -> None:
    before_the_close(floor, volume=100)
    minutes(floor, "100 100 100 100", volume=100)
    floor.fault(Operation.REPLACE, FaultKind.DROP_REPLY)
    status, _ = await (await closing(floor)).sell_all(WHY)

    assert status is Status.DONE
    assert len(sales(floor)) == 1
    assert sold(floor) == 40


async def test_a_run_that_is_ended_while_it_waits_is_taken_up_by_the_next_one(
    floor: Floor, clock: EventfulClock
) -> None:
    before_the_close(floor, volume=100)
    minutes(floor, "100 100 100 100", volume=100)

    def end() -> None:
        raise KeyboardInterrupt

    clock.events[SLOT + timedelta(seconds=30)] = end
    with pytest.raises(KeyboardInterrupt):
        await (await closing(floor)).sell_all(WHY)
    after = await closing(floor)
    await after.executor.orders.synchronise()
    status, _ = await after.sell_all(WHY)

    assert status is Status.DONE
    assert len(sales(floor)) == 1
    assert sold(floor) == 40


async def test_a_close_in_the_middle_of_which_the_exchange_closes_ends_without_an_alarm(
    floor: Floor, clock: EventfulClock
) -> None:
    before_the_close(floor, volume=100)
    minutes(floor, "100 100", volume=100)
    floor.venue.replay.closures.append((SLOT + MINUTE, at(20)))
    status, reason = await (await closing(floor)).sell_all(WHY)

    assert status is Status.NOTHING_TO_DO
    assert "the broker says that XNYS is closed" in reason
    assert len(sales(floor)) == 1
    assert await alerts(floor) == []
    assert SLOT + MINUTE <= clock.now() <= SLOT + 2 * MINUTE


async def test_in_a_closure_no_sale_is_asked_for_and_none_is_refused(floor: Floor) -> None:
    before_the_close(floor, volume=1000)
    floor.venue.replay.closures.append((SLOT, at(20)))
    close = await closing(floor)
    status, _ = await close.sell_all(WHY)

    assert status is Status.NOTHING_TO_DO
    assert sales(floor) == []
    assert close.executor.orders.refusal_codes == []


async def test_a_dry_run_sells_nothing_and_does_not_wait(floor: Floor) -> None:
    before_the_close(floor, volume=0)
    status, _ = await (await closing(floor, dry_run=True)).sell_all(WHY)

    assert status is Status.DONE
    assert sales(floor) == []
    assert floor.venue.clock.now() == SLOT


async def _without_protection(floor: Floor) -> None:
    """Let a person cancel stop and target."""
    for stop in floor.stops():
        floor.venue.exchange.cancel(stop.broker_order_id)


LIMIT = exit_request(
    symbol=SYMBOL, quantity=10, order_type=OrderType.LIMIT, limit_price=Decimal(99)
)


@pytest.mark.parametrize(
    ("bid", "halted", "held", "status", "wants"),
    [
        ("98.99", False, 10, OrderState.ACCEPTED, True),
        ("99.00", False, 10, OrderState.ACCEPTED, False),
        ("98.99", True, 10, OrderState.ACCEPTED, False),
        (None, False, 10, OrderState.ACCEPTED, False),
        ("99.00", False, 11, OrderState.ACCEPTED, True),
        ("90.00", False, 11, OrderState.UNKNOWN, False),
        ("90.00", False, 11, OrderState.INTENT, False),
        ("90.00", False, 11, OrderState.CANCEL_PENDING, False),
    ],
)
async def test_a_sale_is_wanted_beside_none_that_works_or_may(
    trading_connection: Connection,
    bid: str | None,
    halted: bool,
    held: int,
    status: OrderState,
    wants: bool,
) -> None:
    sale = replace(await intended(trading_connection, LIMIT), status=status)
    seen = quote(symbol=SYMBOL, bid=None if bid is None else Decimal(bid), halted=halted)
    one = Held(
        symbol=SYMBOL, quantity=held, sales=(sale,), snapshot=snapshot(quotes={SYMBOL: seen})
    )

    assert one.wants_a_sale is wants
