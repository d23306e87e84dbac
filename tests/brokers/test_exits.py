"""Ways out when no target can be moved: cancel, confirm, sell what is available, and protect again if it fails."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.base import Capabilities
from brokers.faults import FaultKind, Operation
from shared.database.connection import Connection
from shared.database.positions import own_exit
from shared.errors import ToolError
from shared.models import OrderStatus, OrderType, Side, TimeInForce
from shared.order_life import OrderState
from tests.brokers.order_requests import order_request
from tests.brokers.paper_venue import PaperVenue
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.databases import open_connection
from tests.fixtures.floor import SYMBOL, Floor, Watching, draft, record_of


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def hold_behind_a_lone_stop(floor: Floor) -> None:
    """Ten shares of ours, a stop, and no target that could be moved."""
    await (await floor.desk()).enter(draft(), why="volume")
    target, _ = floor.venue.exchange.orders(only_open=True)
    floor.venue.exchange.cancel(target.broker_order_id)
    stop = order_request(
        Side.SELL, 10, order_type=OrderType.STOP, stop="98.00", time_in_force=TimeInForce.GTC
    )
    floor.venue.exchange.place(stop)
    await (await floor.desk()).synchronise()


async def leave(floor: Floor, **cycle: Any) -> Any:
    (submission,) = await (await floor.desk(**cycle)).exit(SYMBOL, why="enough")
    return submission


async def test_a_lone_stop_is_cancelled_and_confirmed_before_the_shares_are_sold(
    floor: Floor,
) -> None:
    await hold_behind_a_lone_stop(floor)
    watching = Watching(floor.venue.broker)
    submission = await leave(floor, broker=watching)

    assert watching.asked == ["cancel", "place"]
    assert record_of(submission).status is OrderState.FILLED
    assert (floor.held(), floor.stops()) == (0, ())


@pytest.mark.parametrize("kind", [FaultKind.REJECT, FaultKind.REFUSE, FaultKind.TIME_OUT])
async def test_a_sale_that_fails_leaves_the_shares_protected_again(
    floor: Floor, kind: FaultKind
) -> None:
    await hold_behind_a_lone_stop(floor)
    floor.fault(Operation.PLACE, kind, reason="out of order")
    await leave(floor)
    (stop,) = floor.stops()

    assert (stop.stop_price, stop.quantity) == (Decimal("98.00"), 10)
    assert floor.held() == 10
    assert "ACME: the sale of 10 shares failed" in await floor.alerts()


async def test_a_sale_whose_answer_is_lost_is_one_sale(floor: Floor) -> None:
    await hold_behind_a_lone_stop(floor)
    floor.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    submission = await leave(floor)
    await (await floor.desk()).synchronise()
    sales = [o for o in floor.at_broker() if o.side is Side.SELL and o.filled_quantity]

    assert record_of(submission).status is OrderState.UNKNOWN
    assert [sale.filled_quantity for sale in sales] == [10]
    assert await floor.rows("SELECT status FROM positions") == [{"status": "closed"}]


async def test_a_cancel_that_is_not_confirmed_sells_nothing_and_alerts(floor: Floor) -> None:
    await hold_behind_a_lone_stop(floor)
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL)
    before = floor.venue.clock.now()
    with pytest.raises(ToolError, match="is not confirmed"):
        await leave(floor)

    assert floor.held() == 10
    assert floor.venue.faults.calls(Operation.PLACE) == 1
    assert (floor.venue.clock.now() - before).total_seconds() == 10
    assert any("is not confirmed" in subject for subject in await floor.alerts())


async def test_a_target_that_the_broker_will_not_move_is_left_by_the_other_way(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.fault(Operation.REPLACE, FaultKind.REJECT, reason="cannot be replaced")
    submission = await leave(floor)

    assert record_of(submission).order_type is OrderType.MARKET
    assert floor.held() == 0


async def test_a_stop_that_fills_while_we_leave_is_the_one_sale(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")

    class Racing(Watching):
        async def before(self, operation: str, request: object) -> None:
            floor.trade(97, 97, 97, 97)

    submission = await leave(floor, broker=Racing(floor.venue.broker))
    await (await floor.desk()).synchronise()
    sold = sum(
        order.filled_quantity
        for order in floor.venue.exchange.orders(only_open=False)
        if order.side is Side.SELL
    )

    assert record_of(submission).status is OrderState.REJECTED
    assert (sold, floor.held()) == (10, 0)
    assert await floor.rows("SELECT exit_reason FROM positions") == [{"exit_reason": "stop_loss"}]


async def test_a_broker_that_cannot_replace_is_left_by_cancelling_first(floor: Floor) -> None:
    class Rigid(Watching):
        @property
        def capabilities(self) -> Capabilities:
            return replace(floor.venue.broker.capabilities, can_replace=False)

    await (await floor.desk()).enter(draft(), why="volume")
    rigid = Rigid(floor.venue.broker)
    await leave(floor, broker=rigid)

    assert "replace" not in rigid.asked
    assert (floor.held(), floor.stops()) == (0, ())


async def test_what_one_cancel_took_away_is_protected_again_when_another_is_not_confirmed(
    floor: Floor,
) -> None:
    class Rigid(Watching):
        @property
        def capabilities(self) -> Capabilities:
            return replace(floor.venue.broker.capabilities, can_replace=False)

    desk = await floor.desk()
    dip = draft(limit="99.00", take_profit=Decimal(102))
    await desk.enter(dip, why="a dip")
    await desk.enter(replace(dip, quantity=5, limit_price=Decimal("98.90")), why="a deeper dip")
    floor.trade(99, 99, "98.50", 99)
    await (await floor.desk()).synchronise()
    floor.fault(Operation.CANCEL, FaultKind.STUCK_CANCEL, nth=2)
    with pytest.raises(ToolError, match="is not confirmed"):
        await leave(floor, broker=Rigid(floor.venue.broker))

    assert floor.held() == 15
    assert sum(stop.remaining_quantity for stop in floor.stops()) == 15


async def test_protection_stays_while_nothing_could_be_sold(floor: Floor) -> None:
    await hold_behind_a_lone_stop(floor)
    floor.venue.move_to(floor.venue.clock.now().replace(hour=22))
    with pytest.raises(ToolError, match="was refused"):
        await leave(floor)

    assert [stop.status for stop in floor.stops()] == [OrderStatus.ACCEPTED]


async def test_a_symbol_that_another_process_is_leaving_is_left_to_it(
    floor: Floor, trading_database_url: str
) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    other = await open_connection(trading_database_url)
    assert await own_exit(other, agent_id=AGENT, symbol=SYMBOL)
    with pytest.raises(ToolError, match="another process is leaving or protecting ACME"):
        await leave(floor)
    await other.close()
    submission = await leave(floor)

    assert record_of(submission).status is OrderState.FILLED


async def test_a_sale_whose_outcome_is_not_known_is_not_sent_again_by_the_next_cycle(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.trade(100, volume=0)
    floor.fault(Operation.REPLACE, FaultKind.TIME_OUT)
    first = record_of(await leave(floor))
    second = await leave(floor)

    assert first.status is OrderState.UNKNOWN
    assert (second.duplicate, second.record.order_id) == (True, first.order_id)
    assert floor.venue.faults.calls(Operation.REPLACE) == 1
    assert [stop.quantity for stop in floor.stops()] == [10]


async def test_the_stop_of_an_odd_lot_that_cannot_be_sold_stays(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(30), why="volume")
    replay = floor.venue.replay
    replay.instruments[SYMBOL] = replace(replay.instruments[SYMBOL], lot_size=100)
    with pytest.raises(ToolError, match="30 shares of ACME are no multiple of its lot of 100"):
        await leave(floor)

    assert floor.held() == 30
    assert [stop.quantity for stop in floor.stops()] == [30]


async def test_a_sale_that_fails_and_leaves_the_shares_naked_says_so_first(floor: Floor) -> None:
    await hold_behind_a_lone_stop(floor)
    floor.fault(Operation.PLACE, FaultKind.REJECT, times=2, reason="out of order")
    await leave(floor)

    assert floor.stops() == ()
    assert "ACME: the sale of 10 shares failed, and they are NOT PROTECTED" in await floor.alerts()
