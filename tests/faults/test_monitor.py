"""Cases about the position monitor: stops that are refused, stuck or racing us, halts, silence, and prices that are none."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from brokers.desk import Refused, Submission
from brokers.faults import FaultKind, Operation
from shared.models import Quote
from tests.brokers.replay import MINUTE
from tests.faults.cases import case
from tests.faults.steps import bought, partly_bought, position, wait
from tests.fixtures.floor import SYMBOL, Between, Floor, draft
from tests.fixtures.patrol import Patrol, sold

OTHER = "OTHER"
LOSS = {"stop_loss_pct": Decimal("0.5")}
"""Signals by which 99.50 is a loss that is left by rule, while the stop waits at 98."""


async def codes_against_buying(floor: Floor, symbol: str = SYMBOL) -> tuple[str, ...]:
    """Ask for an entry, which has to be refused."""
    asked: Submission = await (await floor.desk()).enter(draft(5, symbol=symbol), why="volume")
    assert isinstance(asked, Refused)
    return asked.refusal.codes


@case(
    "F27",
    "a stop that would trigger at once",
    injected="the exchange drops stop and target; the price falls through the stop while it is laid down again",
    orders=2,
    naked_seconds=120,
    verdict="the refusal and a second look agree that the price is through: sold in the same pass, alarmed",
)
async def test_f27_a_stop_that_is_refused_because_the_price_is_through_is_a_sale(
    floor: Floor,
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    patrol = Patrol(floor, broker=Between(floor, lambda: floor.trade("97.50")))
    await patrol.minute("98.50")
    await patrol.minute("97.50")

    assert sold(floor) == [("market", 10, Decimal("97.49"))]
    assert (await position(floor))["exit_reason"] == "the price is through 98.00"
    assert f"{SYMBOL}: 10 shares had no resting stop" in await floor.alerts()


@case(
    "F28",
    "a stop that does not come into force",
    injected="10 of 40 shares fill, the cancel of the rest sticks, and the entry's own stop waits for it",
    orders=2,
    naked_seconds=130,
    verdict="alarmed by the first pass, which asks for the cancel; the second one asks again and lays a stop down",
)
async def test_f28_a_stop_that_waits_and_never_protects_is_alarmed_and_replaced(
    floor: Floor,
) -> None:
    await partly_bought(floor)
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL)
    patrol = Patrol(floor)
    await patrol.look()
    alerts = await floor.alerts()
    stuck = floor.stops()
    await patrol.minute(100, volume=0)
    await patrol.minute(100)

    assert f"{SYMBOL}: 10 shares are not protected" in alerts
    assert stuck == ()
    assert [stop.quantity for stop in floor.stops()] == [10]


@case(
    "F29",
    "the stop fills while we exit",
    injected="the price falls through the stop between the monitor's look and its sale",
    orders=1,
    verdict="the exchange turns the sale down; looked at again, nothing is left: one sale, nobody alarmed",
)
async def test_f29_a_stop_that_fills_while_we_exit_is_the_one_sale(floor: Floor) -> None:
    await bought(floor)
    broker = Between(floor, lambda: floor.trade("97.50"))
    patrol = Patrol(floor, broker=broker, signals=LOSS)
    await patrol.minute("99.40")
    await patrol.minute("97.50")

    assert sold(floor) == [("stop", 10, Decimal("97.50"))]
    assert (await position(floor))["exit_reason"] == "stop_loss"
    assert await floor.alerts() == []


@case(
    "F30",
    "a halt, and a gap through the stop after it",
    injected="trading halts for five minutes while a sale works, and goes on 9 percent lower",
    orders=2,
    verdict="the sale and the stop stay, one alert, no entry; every share is sold once, where trading goes on",
)
async def test_f30_a_sale_that_a_halt_caught_is_kept_and_not_sent_again(floor: Floor) -> None:
    await bought(floor)
    patrol = Patrol(floor, signals=LOSS)
    await patrol.minute("99.40", volume=0)
    now = floor.venue.clock.now()
    floor.venue.replay.halts.append((SYMBOL, now, now + 5 * MINUTE))
    for _ in range(4):
        await patrol.minute("99.40", volume=0)
        assert "QUOTE_MISSING" in await codes_against_buying(floor)
        assert [stop.quantity for stop in floor.stops()] == [10]
    floor.trade("99.40", volume=0)
    await patrol.minute("90.00")
    await patrol.minute("90.00")

    assert sold(floor) == [("stop", 10, Decimal("90.00"))]
    assert await floor.alerts() == [f"trading in {SYMBOL} is halted"]
    assert (await position(floor))["status"] == "closed"


@case(
    "F31",
    "a monitor that fell silent",
    injected="the monitor's last sign of life is 61 seconds old",
    orders=2,
    verdict="MONITOR_SILENT: nothing is bought; what is held is sold all the same",
)
async def test_f31_while_nobody_watches_nothing_is_bought_and_everything_can_be_sold(
    floor: Floor,
) -> None:
    await bought(floor)
    floor.watched = False
    floor.list_another(OTHER)
    wait(floor, 60)
    in_time = await (await floor.cycle()).orders.advise_entry(draft(5, symbol=OTHER))
    wait(floor, 1)
    late = await codes_against_buying(floor, OTHER)
    await (await floor.desk()).exit(SYMBOL, why="enough")
    floor.trade(100)

    assert "MONITOR_SILENT" not in {code for refusal in in_time for code in refusal.codes}
    assert "MONITOR_SILENT" in late
    assert floor.held() == 0


def changed(**changes: Any) -> Callable[[Quote], Quote]:
    return lambda quote: replace(quote, **changes)


def at_price(price: str) -> Callable[[Quote], Quote]:
    return changed(**dict.fromkeys(("bid", "ask", "last"), Decimal(price)))


def moved(by: timedelta) -> Callable[[Quote], Quote]:
    return lambda quote: replace(quote, at=quote.at + by)


NO_PRICES: tuple[Callable[[Quote], Quote], ...] = (
    *(at_price(price) for price in ("90", "0", "-1", "NaN", "10000", "1")),
    changed(bid=None, ask=None, last=None),
    changed(bid=Decimal(101), ask=Decimal(99)),
    moved(-10 * MINUTE),
    moved(10 * MINUTE),
)


@case(
    "F32",
    "prices that are none",
    injected="minute by minute: one bad tick, 0, -1, NaN, 100 times, a hundredth, none, crossed, stale, future, HKD",
    orders=1,
    verdict="no price counts that two readings do not agree on: nothing is sold, nothing is bought",
)
async def test_f32_prices_that_are_none_sell_nothing_and_buy_nothing(floor: Floor) -> None:
    await bought(floor)
    patrol = Patrol(floor, signals=LOSS)
    for distort in NO_PRICES:
        floor.feed.distort = distort
        await patrol.minute(100)
        floor.list_another(OTHER)
        assert patrol.problem is not None
        assert await codes_against_buying(floor, OTHER)
    floor.feed.distort = None
    assert await (await floor.desk()).advise_entry(draft(5, symbol=OTHER)) == ()
    await floor.connection.execute("UPDATE positions SET currency = 'HKD'")
    await patrol.minute("99.40")

    assert "held in HKD, quoted in USD" in str(patrol.problem)
    assert (patrol.left, sold(floor)) == ([], [])
    assert [stop.quantity for stop in floor.stops()] == [10]
