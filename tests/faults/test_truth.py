"""Cases about the account: broker and database disagree, lists lie, somebody else trades, shares split."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from brokers.desk import Refused
from brokers.faults import FaultKind, Operation
from shared.errors import BrokerUnavailable
from shared.models import Mode, Order, Position, Side, Verdict
from standing import Seen, Standpoint, take_stock
from tests.faults.cases import case
from tests.faults.steps import bought, buys, dip, position, quiet
from tests.fixtures.floor import SYMBOL, Floor, Watching, draft
from tests.fixtures.theatre import Theatre


class Showing(Watching):
    """A broker that shows other holdings or another list than it has."""

    def __init__(
        self, floor: Floor, *, quantity: int | None = None, listed: int | None = None
    ) -> None:
        super().__init__(floor.venue.broker)
        self._quantity: int | None = quantity
        self._listed: int | None = listed

    async def positions(self) -> tuple[Position, ...]:
        held: tuple[Position, ...] = await super().positions()
        if self._quantity is None:
            return held
        return tuple(replace(one, quantity=Decimal(self._quantity)) for one in held)

    async def orders(self, **question: Any) -> tuple[Order, ...]:
        found: tuple[Order, ...] = await super().orders(**question)
        return found[: self._listed]


async def compare(floor: Floor, broker: Watching | None = None) -> Seen:
    """Compare as the startup monitor does."""
    executor = await floor.cycle(broker=broker)
    place = executor._place
    session = place.session
    assert session is not None
    return await take_stock(
        Standpoint(
            settings=place.settings,
            connection=floor.connection,
            broker=place.broker,
            feed=place.feed,
            clock=place.clock,
            desk=executor.orders,
            context=place.context,
            session=session,
        )
    )


def found(seen: Seen) -> set[str]:
    return {delta.kind.value for delta in seen.found.differences}


async def locks(floor: Floor) -> list[str]:
    rows = await floor.rows("SELECT kind FROM symbol_locks WHERE released_at IS NULL ORDER BY 1")
    return [row["kind"] for row in rows]


async def refused(floor: Floor) -> set[str]:
    """Codes with which a further entry is refused."""
    submission = await (await floor.desk()).enter(draft(5), why="volume")
    assert isinstance(submission, Refused)
    return set(submission.refusal.codes)


@case(
    "F19a",
    "the broker has more",
    injected="somebody buys 7 shares beside our 10",
    orders=1,
    verdict="symbol locked, a person told; no fill is invented",
)
async def test_f19a_more_shares_than_ours_lock_their_symbol(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.trade_by_somebody_else(SYMBOL, Side.BUY, 7, Decimal(100))
    seen = await compare(floor)

    assert (found(seen), await locks(floor)) == ({"broker_more"}, ["broker_more"])
    assert "SYMBOL_LOCKED" in await refused(floor)
    assert (await position(floor))["quantity"] == 10
    assert f"{SYMBOL} is locked: broker more" in await floor.alerts()


@case(
    "F19b",
    "the broker has less",
    injected="the broker shows 6 of our 10 shares",
    orders=1,
    verdict="symbol locked, a person told; the database keeps what its fills say",
)
async def test_f19b_fewer_shares_than_ours_lock_their_symbol(floor: Floor) -> None:
    await bought(floor)
    seen = await compare(floor, Showing(floor, quantity=6))

    assert (found(seen), await locks(floor)) == ({"broker_less"}, ["broker_less"])
    assert (await position(floor))["quantity"] == 10


@case(
    "F19c",
    "the broker is short",
    injected="the broker shows -10 shares where 10 were bought",
    orders=1,
    verdict="symbol locked, a person told; nothing is bought back by itself",
)
async def test_f19c_a_holding_of_the_other_sign_locks_its_symbol(floor: Floor) -> None:
    await bought(floor)
    seen = await compare(floor, Showing(floor, quantity=-10))

    assert (found(seen), await locks(floor)) == ({"flipped"}, ["flipped"])


@case(
    "F19d",
    "the broker has what we never bought",
    injected="somebody buys 7 shares of a symbol of which we have none",
    orders=0,
    verdict="symbol locked, a person told; it is not ours to manage or to sell",
)
async def test_f19d_a_holding_that_we_never_bought_locks_its_symbol(floor: Floor) -> None:
    floor.venue.exchange.trade_by_somebody_else(SYMBOL, Side.BUY, 7, Decimal(100))
    seen = await compare(floor)
    await floor.tidy()

    assert (found(seen), await locks(floor)) == ({"broker_only"}, ["broker_only"])
    assert await floor.rows("SELECT FROM positions") == []
    assert floor.held() == 7


@case(
    "F19e",
    "the broker has nothing",
    injected="all our shares are gone, cash and equity agree with that, twice",
    orders=1,
    verdict="symbol locked, a person told; no exit is invented",
)
async def test_f19e_a_holding_that_is_gone_locks_its_symbol(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.trade_by_somebody_else(SYMBOL, Side.SELL, 10, Decimal(100))
    seen = await compare(floor)

    assert (found(seen), await locks(floor)) == ({"database_only"}, ["database_only"])
    assert (await position(floor))["status"] == "open"
    assert len(await floor.rows("SELECT FROM fills")) == 1


@case(
    "F20",
    "positions fail, or come back empty",
    injected="one read of positions fails, the next ones are empty while 10 shares are held",
    orders=1,
    verdict="never read as flat: unreadable, nothing is bought, the position stays open",
)
async def test_f20_a_failed_or_empty_read_is_never_flat(floor: Floor) -> None:
    await bought(floor)
    floor.fault(Operation.POSITIONS, FaultKind.REFUSE)
    with pytest.raises(BrokerUnavailable):
        await (await floor.desk()).enter(draft(5), why="volume")
    floor.fault(Operation.POSITIONS, FaultKind.EMPTY_READ, times=2)
    seen = await compare(floor)

    assert seen.found.verdict is Verdict.UNREADABLE
    assert found(seen) == {"suspiciously_empty"}
    assert (await position(floor))["status"] == "open"
    assert await locks(floor) == []


@case(
    "F21",
    "a list of orders that is cut off",
    injected="the broker lists three of our six orders, and knows the others by their ids",
    orders=2,
    verdict="the count does not fit: unreadable, nothing is concluded from what is missing",
)
async def test_f21_an_order_that_the_list_leaves_out_is_not_gone(floor: Floor) -> None:
    await bought(floor)
    floor.list_another("OTHER")
    await (await floor.desk()).enter(dip(symbol="OTHER"), why="a dip")
    seen = await compare(floor, Showing(floor, listed=3))
    statuses = await floor.rows(
        "SELECT status FROM orders WHERE order_purpose = 'entry' ORDER BY 1"
    )

    assert seen.found.verdict is Verdict.UNREADABLE
    assert found(seen) == {"truncated_orders"}
    assert await locks(floor) == []
    assert [row["status"] for row in statuses] == ["accepted", "filled"]


@case(
    "F22",
    "orders and positions disagree for seconds",
    injected="the first read of positions after a fill is the one from before it",
    orders=1,
    verdict="read again after some seconds; clean",
)
async def test_f22_reads_that_lag_behind_each_other_are_read_again(floor: Floor) -> None:
    floor.venue.exchange.positions()
    await bought(floor)
    floor.fault(Operation.POSITIONS, FaultKind.EMPTY_READ)
    before = floor.venue.clock.now()
    seen = await compare(floor)

    assert seen.found.verdict is Verdict.CLEAN
    assert (floor.venue.clock.now() - before).total_seconds() > 0
    assert await locks(floor) == []


@case(
    "F23",
    "a person trades in the broker's app",
    injected="an order laid down by hand rests, and shares bought by hand are held",
    orders=0,
    verdict="left alone, never sold by us, counted as exposure",
)
async def test_f23_what_a_person_does_is_left_alone_and_counts(floor: Floor) -> None:
    floor.venue.exchange.trade_by_somebody_else(SYMBOL, Side.BUY, 48, Decimal(100))
    await floor.tidy()
    codes = await refused(floor)

    assert "POSITION_VALUE" in codes
    assert floor.held() == 48
    assert await floor.rows("SELECT FROM orders") == []


@case(
    "F24",
    "the broker liquidates",
    injected="the broker cancels our stop and target and sells our shares",
    orders=1,
    verdict="critical alert and lock; settled by a person, without a made-up price",
)
async def test_f24_a_liquidation_reaches_a_person(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.trade_by_somebody_else(SYMBOL, Side.SELL, 10, Decimal(90))
    await compare(floor)
    alerts = await floor.rows("SELECT subject, severity FROM alerts WHERE subject LIKE '%locked%'")

    assert alerts == [{"subject": f"{SYMBOL} is locked: database only", "severity": "critical"}]
    assert (await position(floor))["exit_price"] is None


@case(
    "F25",
    "a split overnight",
    injected="10 shares become 20 at half the price, the stop stays as it was",
    orders=1,
    verdict="recognised by both ratios, locked, and the stop that covers half is named",
)
async def test_f25_a_split_is_recognised_and_locks(floor: Floor) -> None:
    await bought(floor)
    floor.venue.exchange.split(SYMBOL, new=2, old=1)
    seen = await compare(floor)

    assert "split_suspected" in found(seen)
    assert "split_suspected" in await locks(floor)
    assert (await position(floor))["quantity"] == 10


@case(
    "F26",
    "a dividend",
    injected="5000 USD come from outside while the day's loss is 3500",
    orders=0,
    verdict="money from outside is neither profit nor loss: the day's limit still holds",
)
async def test_f26_money_from_outside_hides_no_loss(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, quiet())
    theatre.equity = Decimal(101_500)
    broker: Any = theatre.stage().broker()
    broker._exchange.receive(Decimal(5_000))
    await broker.disconnect()
    outcome = await theatre.run(Mode.TRADE, buys())

    assert "the day's loss of 3500" in outcome.reason
    assert outcome.orders == 0
