"""The picture that safety decides by: everything at the moment of asking, and nothing made up."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from shared import trading_state
from shared.database.connection import Connection
from shared.errors import FeedUnavailable
from shared.models import TradingState
from tests.brokers.order_requests import buy, sell
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE, at
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.floor import Floor, draft, leave


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def test_a_picture_has_what_is_held_and_on_order_also_when_it_is_not_asked_for(
    floor: Floor,
) -> None:
    floor.list_another("OTHER")
    await (await floor.desk()).enter(draft(), why="volume")
    executor = await floor.cycle()
    seen = await executor.lookout.look(("OTHER", "NOSUCH"))

    assert set(seen.quotes) == set(seen.instruments) == {"ACME", "OTHER"}
    assert [held.symbol for held in seen.positions] == ["ACME"]
    assert len(seen.open_orders) == 2


async def test_every_picture_is_new(floor: Floor) -> None:
    lookout = (await floor.cycle()).lookout
    before = await lookout.look(("ACME",))
    floor.trade(101)
    after = await lookout.look(("ACME",))

    assert after.taken_at - before.taken_at == MINUTE
    assert (before.quotes["ACME"].last, after.quotes["ACME"].last) == (100, 101)


async def test_a_feed_that_cannot_be_read_leaves_a_picture_without_quotes(floor: Floor) -> None:
    floor.trade(100)
    lookout = (await floor.cycle()).lookout
    floor.feed.failure = FeedUnavailable("no answer in 5 s")
    without = await lookout.look(["ACME"])
    problem = lookout.feed_problem
    floor.feed.failure = None
    after = await lookout.look(["ACME"])

    assert (without.quotes, problem) == ({}, "no answer in 5 s")
    assert without.account == after.account
    assert (set(after.quotes), lookout.feed_problem) == ({"ACME"}, None)


async def test_a_halt_that_begins_in_the_middle_of_a_cycle_is_in_the_next_picture(
    floor: Floor,
) -> None:
    lookout = (await floor.cycle()).lookout
    before = await lookout.look()
    await trading_state.halt(
        None, agent_id=AGENT, home=floor.home, why="enough", by="me", at=at(14)
    )
    after = await lookout.look()

    assert (before.state, after.state) == (TradingState.ACTIVE, TradingState.HALTED)
    assert "enough" in after.halts[0]


async def test_entries_and_losses_are_those_of_this_session(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.trade(99)
    await leave(await floor.desk(), 10)
    today = await (await floor.cycle()).lookout.look()
    floor.venue.move_to(datetime(2026, 6, 16, 14, 0, tzinfo=UTC))
    tomorrow = await (await floor.cycle()).lookout.look()

    assert today.entries_today == {"ACME": 1}
    assert set(today.last_loss_at) == {"ACME"}
    assert at(14) < today.last_loss_at["ACME"] <= today.taken_at
    assert (tomorrow.entries_today, tomorrow.last_loss_at) == ({}, {})


async def test_a_gain_is_no_loss(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    floor.trade(103)
    await leave(await floor.desk(), 10)

    assert (await (await floor.cycle()).lookout.look()).last_loss_at == {}


async def test_shares_that_the_broker_no_longer_shows_are_a_disagreement(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    target, _ = floor.venue.exchange.orders(only_open=True)
    floor.venue.exchange.cancel(target.broker_order_id)
    floor.venue.exchange.place(sell(4))
    seen = await (await floor.cycle()).lookout.look()

    assert seen.disagreements == ("the broker shows 6 shares of ACME, by our fills there are 10",)


async def test_shares_bought_by_hand_are_no_disagreement_and_not_ours(floor: Floor) -> None:
    floor.venue.exchange.place(buy(7))
    lookout = (await floor.cycle()).lookout
    seen = await lookout.look()

    assert seen.disagreements == ()
    assert [held.quantity for held in seen.positions] == [Decimal(7)]
    assert await lookout.positions_of_ours() == ()


async def test_a_position_with_a_sale_under_way_is_not_without_one(floor: Floor) -> None:
    await (await floor.desk()).enter(draft(), why="volume")
    before = await (await floor.cycle()).lookout.without_a_sale()
    floor.trade(100, volume=10)
    await leave(await floor.desk(), 10)
    after = await (await floor.cycle()).lookout.without_a_sale()

    assert (before, after) == (["ACME"], [])


async def test_the_budget_that_is_left_and_what_of_it_is_for_exits(floor: Floor) -> None:
    seen = await (await floor.cycle()).lookout.look()

    assert (seen.budget_left_usd, seen.budget_kept_for_exits_usd) == (Decimal(5), Decimal(1))
