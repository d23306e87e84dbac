"""What the monitor does without its database: exits only, from the broker's word and the file of stops."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from brokers.faults import FaultKind, Operation
from shared.database.fences import Role, Sender
from shared.errors import BrokerUnavailable, ConfigError, FeedUnavailable
from shared.journal.entries import IntentWritten, OrderReported
from shared.journal.stops import stop_file
from shared.models import Account, Environment, OrderRequest, OrderStatus, Position
from tests.brokers.order_requests import buy, sell
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE, stock
from tests.fixtures.blind import DATABASE, Blind, Lent, held
from tests.fixtures.broker_orders import AGENT, reported_exit
from tests.fixtures.floor import SYMBOL, WithoutStops


@pytest.fixture
async def blind(tmp_path: Path) -> AsyncIterator[Blind]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Blind(tmp_path, venue)
    await venue.broker.disconnect()


# -- passes


async def test_a_stop_that_rests_is_left_alone(blind: Blind) -> None:
    blind.holds()
    said = [await blind.look() for _ in range(3)]

    assert set(said) == {f"{SYMBOL}: its stop rests"}
    assert (blind.sent(), blind.noted()) == ([], [])


async def test_shares_without_a_stop_get_it_again_once(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    first, second = await blind.look(), await blind.look()
    (stop,) = blind.stops()

    assert "its stop does not rest, and the database is away: order" in first
    assert second == f"{SYMBOL}: its stop rests"
    assert (stop.stop_price, stop.quantity) == (Decimal("98.00"), 10)
    assert blind.noted() == ["intent_written", "order_reported"]


async def test_shares_whose_price_is_through_their_stop_are_sold_once(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.venue.trade("97.00")
    first, second = await blind.look(), await blind.look()

    assert "the price is through its stop 98.00" in first
    assert second == f"{SYMBOL}: not held"
    assert blind.sent() == [("market", 10)]


async def test_a_sale_that_fills_in_parts_is_not_sent_again(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.venue.trade("97.00", volume=40)
    said = [await blind.look() for _ in range(3)]
    blind.venue.trade("97.00")

    assert "orders that rest hold its shares" in said[1]
    assert blind.sent() == [("market", 10)]
    assert blind.held() == 0


async def test_one_bad_tick_sells_nothing(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.feed.bad_ticks = [Decimal(90)] * 9
    await blind.look()

    assert (blind.held(), len(blind.stops())) == (10, 1)


@pytest.mark.parametrize("feed_is_away", [True, False])
async def test_a_stop_that_would_trigger_at_once_is_a_sale(
    blind: Blind, *, feed_is_away: bool
) -> None:
    blind.holds()
    blind.loses_protection()
    blind.venue.trade("97.00")
    if feed_is_away:
        blind.feed.failure = FeedUnavailable("the feed is away")
    else:
        blind.use(Marked(blind.venue.broker))
    await blind.look()

    assert blind.held() == 0
    assert blind.noted() == ["intent_written", "order_moved", "intent_written", "order_reported"]


class Marked(Lent):
    """A broker that does not say what a share is worth."""

    async def positions(self) -> tuple[Position, ...]:
        return tuple(replace(one, market_price=None) for one in await super().positions())


async def test_a_stop_that_is_refused_is_asked_for_again_by_the_next_pass(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.fault(Operation.PLACE, FaultKind.REJECT, reason="out of order")
    first = await blind.look()
    naked = blind.stops()
    await blind.look()

    assert first == f"{SYMBOL}: NOT PROTECTED, out of order"
    assert (naked, len(blind.stops()), blind.held()) == ([], 1, 10)


async def test_a_stop_that_is_dropped_again_is_laid_down_again(blind: Blind) -> None:
    blind.holds()
    for _ in range(3):
        blind.loses_protection()
        await blind.look()

    assert len(blind.stops()) == 1
    assert blind.sent() == [("limit", 10)] * 3


# -- answers that are missing


async def test_a_lost_answer_is_found_and_nothing_is_sent_twice(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.venue.trade("97.00", volume=0)
    blind.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    first = await blind.look()
    for _ in range(3):
        await blind.look()
    blind.venue.trade("97.00")
    await blind.look()

    assert first == f"{SYMBOL}: NOT PROTECTED, injected fault"
    assert blind.venue.faults.calls(Operation.PLACE) == 1
    assert (blind.sent(), blind.held()) == ([("market", 10)], 0)


async def test_what_never_arrived_is_sent_anew_under_another_id_once_that_is_proven(
    blind: Blind,
) -> None:
    blind.holds()
    blind.loses_protection()
    blind.fault(Operation.PLACE, FaultKind.TIME_OUT)
    await blind.look()
    soon = await blind.look(timedelta(seconds=5))
    too_soon = await blind.look(timedelta(seconds=9))
    proven = await blind.look(timedelta(seconds=1))
    names = [e.request.client_order_id for e in blind.entries() if isinstance(e, IntentWritten)]

    assert "is not known" in soon
    assert "is not known" in too_soon
    assert "its stop does not rest, and the database is away: order" in proven
    assert len(set(names)) == 2
    assert (blind.sent(), len(blind.stops())) == ([("limit", 10)], 1)


async def test_while_an_answer_is_missing_nothing_else_is_sent_in_the_symbol(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.fault(Operation.PLACE, FaultKind.TIME_OUT)
    await blind.look()
    blind.venue.trade("97.00")
    said = await blind.look()
    sent = blind.sent()
    await blind.look()

    assert "is not known" in said
    assert sent == []
    assert blind.sent() == [("market", 10)]


async def test_what_a_process_before_this_one_began_is_looked_for_first(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.fault(Operation.PLACE, FaultKind.TIME_OUT)
    await blind.look()
    blind.restart()
    first, second = await blind.look(), await blind.look()

    assert "is not known" in first
    assert "its stop does not rest, and the database is away: order" in second
    assert blind.sent() == [("limit", 10)]


def begins(blind: Blind, role: Role) -> OrderRequest:
    """A sale that stands in a journal as begun, and that the exchange never heard of."""
    begun, now = replace(sell(10), client_order_id="cat-begun"), blind.venue.clock.now()
    intent = IntentWritten(
        agent_id=AGENT,
        cycle_id=None,
        request=begun,
        reason="a loss",
        currency="USD",
        sender=Sender(role=role, token=1),
        at=now,
    )
    blind.journal(role).append(intent, now)
    return begun


@pytest.mark.parametrize("role", list(Role))
async def test_a_sale_that_was_begun_before_the_outage_is_looked_for_first(
    blind: Blind, role: Role
) -> None:
    blind.holds()
    blind.loses_protection()
    begins(blind, role)
    first, second = await blind.look(), await blind.look()

    assert "the outcome of order cat-begun is not known" in first
    assert "its stop does not rest" in second


async def test_a_sale_that_the_broker_answered_keeps_nobody_waiting(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    begun, now = begins(blind, Role.MONITOR), blind.venue.clock.now()
    answered = reported_exit(client_order_id=begun.client_order_id, status=OrderStatus.CANCELED)
    blind.journal().append(
        OrderReported(agent_id=AGENT, order=answered, source="monitor", at=now), now
    )
    said = await blind.look()

    assert "its stop does not rest, and the database is away: order" in said


async def test_what_the_journal_says_is_over_keeps_nobody_waiting(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.fault(Operation.PLACE, FaultKind.REJECT, reason="out of order")
    await blind.look()
    blind.restart()
    said = await blind.look()

    assert "its stop does not rest, and the database is away: order" in said


async def test_a_position_that_cannot_be_looked_up_keeps_no_other_one_waiting(
    blind: Blind,
) -> None:
    venue = blind.venue
    venue.replay.instruments["OTHER"] = stock("OTHER")
    venue.replay.trade("OTHER", venue.clock.now() - MINUTE, prices=[100], volume=1000)
    venue.exchange.place(replace(buy(10), symbol="OTHER"))
    blind.holds()
    blind.loses_protection()
    blind.remember(held(), held(symbol="OTHER", position_id=2))
    blind.fault(Operation.ORDER_BY_CLIENT_ID, FaultKind.REFUSE, times=3)  # as often as it is tried
    said = await blind.look()

    assert f"{SYMBOL}: NOT PROTECTED, injected fault" in said
    assert [stop.symbol for stop in blind.stops()] == ["OTHER"]


# -- what must not be believed


async def test_a_full_disk_keeps_nobody_in_a_position(
    blind: Blind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    blind.holds()
    blind.loses_protection()
    blind.venue.trade("97.00")
    monkeypatch.setattr("shared.journal.file._write", full)
    await blind.look()

    assert (blind.held(), blind.sent()) == (0, [("market", 10)])


async def test_another_account_is_not_touched(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.knows(account_id="paper-2")
    with pytest.raises(ConfigError, match="account paper-1 answers, the agent's is paper-2"):
        await blind.look()

    assert blind.sent() == []


async def test_an_account_that_is_not_paper_is_not_touched(blind: Blind) -> None:
    class Live(Lent):
        async def account(self) -> Account:
            return replace(await super().account(), environment=Environment.LIVE)

    blind.holds()
    blind.loses_protection()
    blind.use(Live(blind.venue.broker))
    with pytest.raises(ConfigError, match="only paper accounts trade"):
        await blind.look()

    assert blind.sent() == []


async def test_the_file_of_another_database_is_not_believed(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    other = uuid4()
    blind.knows(database=other)
    with pytest.raises(ConfigError, match=f"of database {DATABASE}, not of {other}"):
        await blind.look()

    assert blind.sent() == []


async def test_a_file_that_makes_no_sense_is_not_believed(blind: Blind) -> None:
    blind.holds()
    stop_file(blind.home, AGENT).write_text("{")
    with pytest.raises(ConfigError, match="makes no sense"):
        await blind.look()


async def test_without_a_file_nothing_is_known(blind: Blind) -> None:
    assert await blind.look() == "no position is known to the file of stops"


async def test_outside_the_hours_nothing_is_asked(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    calls = blind.venue.faults.calls(Operation.ACCOUNT)

    assert await blind.look(timedelta(hours=7)) == "the exchange is closed"
    assert blind.venue.faults.calls(Operation.ACCOUNT) == calls


async def test_a_broker_that_is_away_ends_the_pass(blind: Blind) -> None:
    blind.holds()
    blind.fault(Operation.POSITIONS, FaultKind.REFUSE, times=None)
    with pytest.raises(BrokerUnavailable):
        await blind.look()


async def test_an_empty_answer_about_positions_sends_nothing(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.fault(Operation.POSITIONS, FaultKind.EMPTY_READ)

    assert await blind.look() == f"{SYMBOL}: not held"
    assert blind.sent() == []


async def test_an_empty_list_of_orders_takes_nothing_from_a_stop_that_rests(blind: Blind) -> None:
    blind.holds()
    blind.fault(Operation.ORDERS, FaultKind.EMPTY_READ)
    said = await blind.look()

    assert "orders that rest hold its shares" in said
    assert (blind.sent(), len(blind.stops())) == ([], 1)


# -- where no stop can rest


async def test_where_no_stop_can_rest_a_level_that_feed_and_broker_agree_on_sells(
    blind: Blind,
) -> None:
    blind.holds()
    blind.loses_protection()
    blind.use(NoStops(blind.venue.broker))
    blind.venue.trade("98.01")
    above = await blind.look()
    blind.venue.trade("98.00")
    at_it = await blind.look()

    assert above == f"{SYMBOL}: its price is between its levels"
    assert "at or below the stop 98.00" in at_it
    assert blind.sent() == [("market", 10)]


async def test_where_no_stop_can_rest_one_bad_tick_sells_nothing(blind: Blind) -> None:
    blind.holds()
    blind.loses_protection()
    blind.use(NoStops(blind.venue.broker))
    blind.feed.bad_ticks = [Decimal(90)]
    said = await blind.look()

    assert "one of them is wrong" in said
    assert blind.sent() == []


class NoStops(WithoutStops, Lent):
    """No stops, and it stays connected."""
