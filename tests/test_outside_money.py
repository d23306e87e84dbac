"""Money that came from outside: neither profit nor loss, whoever traded meanwhile (F26)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.faults import FaultKind, Operation
from market.calendar import load
from outside_money import fills_of_the_day, money_since_start
from shared.database.connection import Connection
from shared.database.cycles import start_session
from shared.models import OrderStatus, Side
from tests.brokers.paper_venue import START, PaperVenue
from tests.brokers.replay import MONDAY
from tests.builders import NOW, order
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.floor import Floor, draft, leave


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    await start_session(
        trading_connection,
        agent_id=AGENT,
        session_date=MONDAY,
        exchange="XNYS",
        currency="USD",
        equity=Decimal(100_000),
        at=START,
    )
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def came(floor: Floor) -> Decimal:
    return await money_since_start(
        floor.connection,
        floor.venue.broker,
        agent_id=AGENT,
        session_date=MONDAY,
        zone=load("XNYS").timezone,
    )


async def test_trading_is_none_of_it_whoever_trades(floor: Floor) -> None:
    before = await came(floor)
    await (await floor.desk()).enter(draft(), why="volume")
    floor.venue.exchange.trade_by_somebody_else("ACME", Side.BUY, 30, Decimal("100.02"))
    bought = await came(floor)
    floor.trade(101)
    await leave(await floor.desk(), 10)

    assert [before, bought, await came(floor)] == [0, 0, 0]


@pytest.mark.parametrize("amount", ["250.00", "-12.34"])
async def test_a_dividend_and_a_fee_are_and_stay_in_sight(floor: Floor, amount: str) -> None:
    await came(floor)
    await (await floor.desk()).enter(draft(), why="volume")
    floor.venue.exchange.receive(Decimal(amount))

    assert [await came(floor), await came(floor)] == [Decimal(amount)] * 2


async def test_the_mark_does_not_depend_on_when_in_the_day_it_is_set(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    first = await came(floor)
    (row,) = await floor.rows("SELECT starting_cash FROM trading_sessions")

    assert (first, row["starting_cash"]) == (0, 100_000)


async def test_what_cannot_be_read_excuses_nothing(floor: Floor) -> None:
    await came(floor)
    floor.venue.exchange.receive(Decimal(500))
    floor.fault(Operation.ORDERS, FaultKind.TIME_OUT)

    assert [await came(floor), await came(floor)] == [0, 500]


async def test_it_moves_what_the_day_s_loss_is_measured_from(floor: Floor) -> None:
    executor = await floor.cycle()
    executor.lookout.money_from_outside = Decimal(-300)
    seen = await executor.look()

    assert seen.session_start_equity == 99_700
    assert (await executor.portfolio())["session_result"] == 300


def test_an_order_that_lists_no_fills_counts_by_its_total_once() -> None:
    total = order(
        status=OrderStatus.FILLED,
        filled_quantity=10,
        average_fill_price=Decimal(100),
        updated_at=NOW,
    )
    (fill,) = fills_of_the_day([total, total], [], NOW)

    assert (fill.quantity, fill.price) == (10, 100)
    assert fills_of_the_day([total], [fill], NOW) == (fill,)
