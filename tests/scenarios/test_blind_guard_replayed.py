"""An outage of the database from beginning to end: guarded blindly, then taken over, and both sides agree."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import FaultKind, Operation
from shared.database.accounts import database_identity
from shared.database.connection import Connection
from shared.database.fences import Role
from shared.journal.books import open_books
from shared.journal.replay import replay
from tests.brokers.paper_venue import PaperVenue
from tests.faults.steps import bought, position
from tests.faults.truth import read_truth
from tests.fixtures.blind import Blind
from tests.fixtures.broker_orders import AGENT
from tests.fixtures.floor import Floor
from tests.fixtures.patrol import Patrol, sold


@dataclass
class Outage:
    """Ten shares that lost stop and target, and then their database."""

    floor: Floor
    blind: Blind

    async def ends(self) -> None:
        """The database is back: the journal is taken over, and the monitor goes on."""
        books = await open_books(
            self.floor.connection,
            home=self.floor.home,
            agent_id=AGENT,
            clock=self.floor.venue.clock,
            role=Role.MONITOR,
        )
        await replay(books, at=self.floor.venue.clock.now())
        patrol = Patrol(self.floor)
        for _ in range(3):
            await patrol.minute(self.price)
        truth = await read_truth(self.floor.venue.exchange, self.floor.connection, AGENT)
        assert not (found := truth.violations()), found
        assert truth.unresolved == frozenset()

    @property
    def price(self) -> Decimal:
        """The last one."""
        quote = self.floor.venue.replay.quote("ACME", self.floor.venue.clock.now())
        assert quote is not None
        assert quote.last is not None
        return quote.last

    async def exits(self) -> list[tuple[str, str]]:
        """Every order of ours that sells, with how it ended."""
        rows = await self.floor.rows(
            "SELECT order_purpose, status FROM orders"
            " WHERE side = 'sell' AND client_order_id LIKE 'cat-%' ORDER BY order_id"
        )
        return [(row["order_purpose"], row["status"]) for row in rows]


@pytest.fixture(params=["known", "restarted"])
async def outage(
    tmp_path: Path, trading_connection: Connection, request: Any
) -> AsyncIterator[Outage]:
    """The process that noticed it lived on, or was started in the middle of it."""
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    floor = Floor(venue, trading_connection, tmp_path)
    await bought(floor)
    guard = await floor.guard()
    await guard.make_pass()
    blind = Blind(tmp_path, venue, database=await database_identity(trading_connection))
    if request.param == "known":
        context = guard.place.context
        blind.knows(sender=context.sender, cycle_id=context.cycle_id)
    blind.loses_protection()
    yield Outage(floor, blind)
    await venue.broker.disconnect()


async def test_a_stop_that_was_laid_down_blindly_is_ours_afterwards(outage: Outage) -> None:
    await outage.blind.look()
    await outage.ends()

    assert [stop.quantity for stop in outage.floor.stops()] == [10]
    assert ("stop_loss", "accepted") in await outage.exits()
    assert (await position(outage.floor))["quantity"] == 10


async def test_a_stop_that_was_laid_down_and_filled_blindly_is_booked(outage: Outage) -> None:
    await outage.blind.look()
    outage.floor.trade(99, 99, 97, "97.50")
    await outage.blind.look()
    await outage.ends()
    booked = await position(outage.floor)

    assert sold(outage.floor) == [("stop", 10, Decimal("98.00"))]
    assert (booked["status"], booked["exit_price"]) == ("closed", Decimal("98.00"))


async def test_a_sale_that_was_made_blindly_is_booked(outage: Outage) -> None:
    outage.floor.trade("97.00")
    await outage.blind.look()
    await outage.ends()
    booked = await position(outage.floor)

    assert sold(outage.floor) == [("market", 10, Decimal("96.99"))]
    assert (booked["status"], booked["exit_price"]) == ("closed", Decimal("96.99"))
    assert await outage.exits() == [("exit", "filled")]


async def test_a_sale_whose_answer_was_lost_blindly_is_found_and_booked(outage: Outage) -> None:
    outage.floor.trade("97.00")
    outage.blind.fault(Operation.PLACE, FaultKind.DROP_REPLY)
    await outage.blind.look()
    await outage.blind.look()
    await outage.ends()

    assert sold(outage.floor) == [("market", 10, Decimal("96.99"))]
    assert await outage.exits() == [("exit", "filled")]
    assert (await position(outage.floor))["status"] == "closed"


async def test_a_stop_that_never_arrived_and_its_successor_are_told_apart(outage: Outage) -> None:
    outage.blind.fault(Operation.PLACE, FaultKind.TIME_OUT)
    for _ in range(3):
        await outage.blind.look()
    await outage.ends()

    assert await outage.exits() == [("stop_loss", "not_placed"), ("stop_loss", "accepted")]
    assert [stop.quantity for stop in outage.floor.stops()] == [10]


async def test_a_stop_that_was_refused_and_the_sale_that_followed_are_booked(
    outage: Outage,
) -> None:
    outage.blind.feed.distort = lambda _: None
    outage.floor.trade("97.00")
    await outage.blind.look()
    await outage.ends()

    assert await outage.exits() == [("stop_loss", "rejected"), ("exit", "filled")]
    assert (await position(outage.floor))["status"] == "closed"


async def test_what_a_full_disk_did_not_keep_is_found_and_forbids_entries(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    outage.floor.trade("97.00")
    with monkeypatch.context() as patch:
        patch.setattr("shared.journal.file._write", full)
        await outage.blind.look()
    snapshot = await (await outage.floor.cycle()).look()

    assert outage.floor.held() == 0
    assert snapshot.disagreements == (
        "the broker shows 0 shares of ACME, by our fills there are 10",
    )
