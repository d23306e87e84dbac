"""Stories of a position that is watched: cycles and passes alternate on one exchange and one database.

What the exchange's own books say is asked after every pass, and what the database says at every end.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.base import Capabilities
from brokers.desk import Refused, Submission
from brokers.faults import FaultKind, Operation
from shared.database.connection import Connection
from shared.models import Position, Quote, Side, TickBand
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE, stock
from tests.faults.steps import bought, position
from tests.fixtures.floor import SYMBOL, Between, Floor, WithoutStops, draft
from tests.fixtures.patrol import Patrol, sold, told_right

OTHER = "OTHER"
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


async def left_by_rule(floor: Floor, broker: Any = None) -> Patrol:
    """A monitor that leaves at a small loss, and a position of ten shares."""
    patrol = Patrol(floor, signals=LOSS)
    await patrol.minute(100)
    await bought(floor)
    patrol.use(broker)
    return patrol


async def buys(floor: Floor, symbol: str = SYMBOL, quantity: int = 5) -> Submission:
    """What becomes of an entry that the next cycle asks for."""
    return await (await floor.desk()).enter(draft(quantity, symbol=symbol), why="volume")


async def exits(floor: Floor) -> list[str]:
    rows = await floor.rows("SELECT status FROM orders WHERE order_purpose = 'exit' ORDER BY 1")
    return [row["status"] for row in rows]


async def naked_seconds(patrol: Patrol) -> list[float]:
    """How long each time without a stop was, by books and database alike."""
    spells = await told_right(patrol)
    return [spell.seconds(patrol.floor.venue.clock.now()) for spell in spells]


def halt(floor: Floor, minutes: int) -> None:
    """Trading stops now, for so long."""
    now = floor.venue.clock.now()
    floor.venue.replay.halts.append((SYMBOL, now, now + minutes * MINUTE))


# -- a gap through the stop


async def test_a_gap_through_the_stop_is_sold_by_the_stop_alone(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    await patrol.minute(100)
    await patrol.minute("94.00", 95, 93, "94.50")
    await patrol.minute("94.00")

    assert sold(floor) == [("stop", 10, Decimal("94.00"))]
    assert (patrol.left, await floor.alerts()) == ([], [])
    assert (await position(floor))["exit_reason"] == "stop_loss"
    assert await naked_seconds(patrol) == []


async def test_a_gap_in_a_thin_market_is_sold_in_parts_by_stop_and_exit_and_every_share_once(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor, 20)
    await patrol.minute("94.00", 95, 93, "94.50", volume=40)
    for price in ("94.00", "93.00", "92.00"):
        await patrol.minute(price, volume=40)

    assert sum(quantity for _, quantity, _ in sold(floor)) == 20
    assert {kind for kind, _, _ in sold(floor)} == {"stop", "limit"}
    assert (await position(floor))["status"] == "closed"
    assert await naked_seconds(patrol) == []


async def test_where_no_stop_rests_a_gap_is_sold_by_the_next_quarter_of_a_minute(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    patrol.use(WithoutStops(floor.venue.broker))
    await patrol.quarters(100)
    await patrol.quarters("94.00")
    at = floor.venue.clock.now()
    await patrol.quarters("94.00")
    (sale,) = [order for order in floor.at_broker() if order.side is Side.SELL and order.fills]

    assert [fill.at for fill in sale.fills] == [at]
    assert (await position(floor))["status"] == "closed"


# -- a halt


async def test_a_halt_is_told_once_and_nothing_is_bought_or_sold_until_it_is_over(
    floor: Floor,
) -> None:
    patrol = await left_by_rule(floor)
    halt(floor, 8)
    for _ in range(7):
        refused = await buys(floor)
        assert isinstance(refused, Refused)
        assert "QUOTE_MISSING" in refused.refusal.codes
        assert [stop.quantity for stop in floor.stops()] == [10]
        await patrol.minute("99.40", volume=0)
    during = (sold(floor), await exits(floor))
    await patrol.minute("99.40")

    assert during == ([], [])
    assert await floor.alerts() == [f"trading in {SYMBOL} is halted"]
    assert sold(floor) == [("limit", 10, Decimal("99.39"))]
    assert await naked_seconds(patrol) == []


async def test_a_sale_that_a_halt_caught_stays_the_only_one_and_works_again_after_it(
    floor: Floor,
) -> None:
    patrol = await left_by_rule(floor)
    await patrol.minute("99.40", volume=0)
    halt(floor, 5)
    for _ in range(5):
        await patrol.minute("99.40", volume=0)
    during = await exits(floor)
    await patrol.minute("99.00")

    assert (during, patrol.left) == (["accepted"], [SYMBOL])
    assert await floor.alerts() == [f"trading in {SYMBOL} is halted"]
    assert sold(floor) == [("limit", 10, Decimal("99.00"))]
    assert await naked_seconds(patrol) == []


async def test_a_halt_that_ends_below_the_stop_is_sold_once(floor: Floor) -> None:
    patrol = await left_by_rule(floor)
    await patrol.minute("99.40", volume=0)
    halt(floor, 5)
    for _ in range(5):
        await patrol.minute("99.40", volume=0)
    await patrol.minute("90.00")
    await patrol.minute("90.00")

    assert sold(floor) == [("stop", 10, Decimal("90.00"))]
    assert await naked_seconds(patrol) == []


# -- a stop that fills while we exit


class Rigid(Between):
    """A broker that cannot replace, so that what protects has to be cancelled first."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, can_replace=False)


@pytest.mark.parametrize("kind", [Between, Rigid])
async def test_a_stop_that_fills_while_we_exit_is_the_one_sale_and_alarms_nobody(
    floor: Floor, kind: type[Between]
) -> None:
    patrol = await left_by_rule(floor, kind(floor, lambda: floor.trade(99, 99, 97, "97.50")))
    made = await patrol.minute("99.40")
    await patrol.minute("97.50")

    assert made is not None
    assert made.problem is None
    assert sold(floor) == [("stop", 10, Decimal("98.00"))]
    assert await floor.alerts() == []
    assert (await position(floor))["exit_reason"] == "stop_loss"
    assert await naked_seconds(patrol) == []


@pytest.mark.parametrize("kind", [Between, Rigid])
async def test_a_stop_that_fills_in_part_while_we_exit_leaves_the_rest_for_one_sale(
    floor: Floor, kind: type[Between]
) -> None:
    happens = kind(floor, lambda: floor.trade(99, 99, 97, "97.50", volume=40))
    patrol = await left_by_rule(floor, happens)
    await patrol.minute("99.40")
    for _ in range(3):
        await patrol.minute("97.50", volume=40)

    assert sum(quantity for _, quantity, _ in sold(floor)) == 10
    assert (await position(floor))["status"] == "closed"
    assert all(seconds <= 60 for seconds in await naked_seconds(patrol))


async def test_a_target_that_fills_while_we_exit_is_the_one_sale(floor: Floor) -> None:
    patrol = await left_by_rule(floor, Between(floor, lambda: floor.trade(105, 106, 105, 106)))
    await patrol.minute("99.40")
    await patrol.minute(106)

    assert sold(floor) == [("limit", 10, Decimal("105.00"))]
    assert await floor.alerts() == []
    assert await naked_seconds(patrol) == []


# -- a stop that is refused


async def test_a_stop_that_would_trigger_at_once_is_a_sale_in_the_same_pass(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    patrol.use(Between(floor, lambda: floor.trade("97.50")))
    await patrol.minute("98.50")

    assert sold(floor) == [("market", 10, Decimal("97.49"))]
    assert f"{SYMBOL}: 10 shares had no resting stop" in await floor.alerts()
    assert await naked_seconds(patrol) == [120]


async def test_a_stop_that_is_refused_without_a_reason_to_sell_is_alarmed_until_it_rests(
    floor: Floor, patrol: Patrol
) -> None:
    await bought(floor)
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    floor.fault(Operation.PLACE, FaultKind.REJECT, times=3, reason="out of order")
    for _ in range(4):
        assert floor.stops() == ()
        await patrol.minute(100)

    assert [stop.quantity for stop in floor.stops()] == [10]
    assert (await floor.alerts()).count(f"{SYMBOL}: 10 shares are not protected") == 1
    assert await naked_seconds(patrol) == [240]


async def test_a_stop_off_the_tick_of_today_is_laid_down_on_it(
    floor: Floor, patrol: Patrol
) -> None:
    await (await floor.desk()).enter(draft(stop_loss=Decimal("98.01")), why="volume")
    floor.venue.exchange.cancel(floor.stops()[0].broker_order_id)
    coarse = (TickBand(from_price=Decimal(0), tick=Decimal("0.05")),)
    floor.venue.replay.instruments[SYMBOL] = replace(stock(), ticks=coarse)
    await patrol.minute(100)

    assert [stop.stop_price for stop in floor.stops()] == [Decimal("98.05")]
    assert await naked_seconds(patrol) == [60]


# -- a bad tick


def distorted(**changes: Any) -> Callable[[Quote], Quote]:
    return lambda quote: replace(quote, **changes)


def moved(by: timedelta) -> Callable[[Quote], Quote]:
    return lambda quote: replace(quote, at=quote.at + by)


def missing(_: Quote) -> None:
    """No quote at all."""


def all_at(price: str) -> dict[str, Decimal]:
    return dict.fromkeys(("bid", "ask", "last"), Decimal(price))


@pytest.mark.parametrize(
    "distort",
    [
        pytest.param(distorted(**all_at("90")), id="low"),
        pytest.param(distorted(**all_at("112")), id="high"),
        pytest.param(distorted(**all_at("0")), id="zero"),
        pytest.param(distorted(**all_at("-1")), id="negative"),
        pytest.param(distorted(**all_at("NaN")), id="NaN"),
        pytest.param(distorted(bid=Decimal("NaN")), id="NaN bid"),
        pytest.param(distorted(bid=Decimal(101), ask=Decimal(99)), id="crossed"),
        pytest.param(distorted(**all_at("10000")), id="a hundredfold"),
        pytest.param(distorted(**all_at("1")), id="a hundredth"),
        pytest.param(moved(-5 * MINUTE), id="stale"),
        pytest.param(moved(9 * MINUTE), id="from the future"),
        pytest.param(distorted(bid=None, ask=None, last=None), id="empty"),
        pytest.param(missing, id="none at all"),
    ],
)
async def test_bad_ticks_sell_nothing_and_buy_nothing_and_what_is_real_counts_again(
    floor: Floor, distort: Callable[[Quote], Quote | None]
) -> None:
    patrol = await left_by_rule(floor)
    floor.feed.distort = distort
    for _ in range(3):
        made = await patrol.minute(100)
        floor.list_another(OTHER)
        assert made is not None
        assert made.problem is not None
        assert isinstance(await buys(floor, OTHER), Refused)
    during = (sold(floor), await exits(floor), floor.stops()[0].quantity)
    floor.feed.distort = None
    assert await (await floor.desk()).advise_entry(draft(5, symbol=OTHER)) == ()
    await patrol.minute("99.40")

    assert during == ([], [], 10)
    assert sold(floor) == [("limit", 10, Decimal("99.39"))]
    assert await naked_seconds(patrol) == []


async def test_a_price_in_another_currency_sells_nothing(floor: Floor) -> None:
    patrol = await left_by_rule(floor)
    await floor.connection.execute("UPDATE positions SET currency = 'HKD'")
    made = await patrol.minute("99.40")
    during = sold(floor)
    await floor.connection.execute("UPDATE positions SET currency = 'USD'")
    await patrol.minute("99.40")

    assert made is not None
    assert "held in HKD, quoted in USD" in str(made.problem)
    assert during == []
    assert sold(floor) == [("limit", 10, Decimal("99.39"))]


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "9000", "97.00"])
async def test_one_bad_price_of_the_broker_sells_nothing(floor: Floor, price: str) -> None:
    class Wrong(Between):
        async def positions(self) -> tuple[Position, ...]:
            true = await super().positions()
            return tuple(replace(held, market_price=Decimal(price)) for held in true)

    patrol = await left_by_rule(floor, Wrong(floor, lambda: None))
    for _ in range(3):
        await patrol.minute(100)
    during = sold(floor)
    patrol.use(None)
    await patrol.minute("99.40")

    assert during == []
    assert sold(floor) == [("limit", 10, Decimal("99.39"))]
    assert await naked_seconds(patrol) == []
