"""Where broker and records disagree: the broker is right about the account, and nothing is invented."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from brokers.faults import Fault, FaultKind, Operation
from brokers.paper import PaperBroker
from brokers.paper_exchange import PaperExchange
from shared.models import Mode, OrderType, Position, Side
from shared.outcome import Outcome
from tests.brokers.order_requests import order_request
from tests.faults.cases import case
from tests.faults.steps import buys, quiet
from tests.fixtures.theatre import Theatre

PRICE = Decimal(100)


@asynccontextmanager
async def at_the_exchange(theatre: Theatre) -> AsyncGenerator[PaperExchange]:
    """Reach past the agent."""
    broker = theatre.stage().broker()
    assert isinstance(broker, PaperBroker)
    yield broker._exchange
    await broker.disconnect()


async def traded_by_somebody_else(theatre: Theatre, side: Side, quantity: int) -> None:
    async with at_the_exchange(theatre) as exchange:
        exchange.trade_by_somebody_else("AAPL", side, quantity, PRICE)


async def compare(theatre: Theatre) -> Outcome:
    """A run whose session has no verdict yet, and so compares; Claude would like to buy."""
    theatre.compared = False
    await theatre.trading.execute("DELETE FROM reconciliations")
    return await theatre.run(Mode.TRADE, buys(3))


async def locks(theatre: Theatre) -> Sequence[str]:
    return [
        row["kind"] for row in await theatre.rows("SELECT kind FROM symbol_locks ORDER BY lock_id")
    ]


async def verdict(theatre: Theatre) -> str:
    (row,) = await theatre.rows("SELECT verdict FROM reconciliations ORDER BY at DESC LIMIT 1")
    return row["verdict"]


async def fills(theatre: Theatre) -> int:
    (row,) = await theatre.rows("SELECT count(*) AS n FROM fills")
    return row["n"]


@case(
    "F19a",
    "the broker holds more",
    injected="somebody else buys 7 of a symbol of ours",
    orders=1,
    verdict="symbol locked, a person mailed; no fill is invented",
)
async def test_f19a_more_than_we_bought_locks_the_symbol(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await traded_by_somebody_else(theatre, Side.BUY, 7)
    outcome = await compare(theatre)

    assert await locks(theatre) == ["broker_more"]
    assert "SYMBOL_LOCKED" in outcome.refusals
    assert await fills(theatre) == 1


@case(
    "F19b",
    "the broker holds less",
    injected="somebody else sells 4 of our 10",
    orders=2,
    naked_seconds=1800,
    verdict="symbol locked; the 6 that are left are alarmed and protected by the next run; no sale is booked",
)
async def test_f19b_less_than_we_bought_locks_the_symbol(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await traded_by_somebody_else(theatre, Side.SELL, 4)
    outcome = await compare(theatre)

    assert "broker_less" in await locks(theatre)
    assert "SYMBOL_LOCKED" in outcome.refusals
    assert "AAPL: 6 shares had no resting stop" in outcome.alerts
    assert await fills(theatre) == 1


@case(
    "F19c",
    "the broker is short",
    injected="the broker reports minus 5 of what we bought 10 of",
    orders=1,
    verdict="symbol locked; nothing is sent",
)
async def test_f19c_a_position_on_the_other_side_locks_the_symbol(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    short = Decimal(-5)
    theatre.held = (
        Position(
            symbol="AAPL", quantity=short, available=short, average_price=PRICE, currency="USD"
        ),
    )
    await compare(theatre)

    assert "flipped" in await locks(theatre)
    assert await fills(theatre) == 1


@case(
    "F19d",
    "only the broker knows it",
    injected="somebody else buys 40 of a symbol we never traded",
    orders=0,
    verdict="external: not managed, counts as exposure, symbol not bought",
)
async def test_f19d_what_somebody_else_bought_is_not_ours_to_manage(theatre: Theatre) -> None:
    await traded_by_somebody_else(theatre, Side.BUY, 40)
    outcome = await compare(theatre)
    closed = await theatre.run(Mode.CLOSE, quiet())
    async with at_the_exchange(theatre) as exchange:
        held = [int(position.quantity) for position in exchange.positions()]

    assert outcome.orders == closed.orders == 0
    assert await theatre.rows("SELECT FROM positions") == []
    assert held == [40]


@case(
    "F19e",
    "only we know it",
    injected="the broker holds nothing of what we bought",
    orders=1,
    verdict="symbol locked; the position stays open until a person has settled it",
)
async def test_f19e_what_the_broker_does_not_have_is_not_closed_by_us(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await traded_by_somebody_else(theatre, Side.SELL, 10)
    await compare(theatre)
    (position,) = await theatre.rows("SELECT status, quantity, exit_price FROM positions")

    assert "database_only" in await locks(theatre)
    assert position == {"status": "open", "quantity": 10, "exit_price": None}


@case(
    "F20",
    "an empty answer",
    injected="positions are read as empty, twice, while the account's value says otherwise",
    orders=1,
    verdict="not believed: unreadable, nothing is bought, nothing is closed",
)
async def test_f20_positions_that_are_read_as_empty_are_not_flat(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    theatre.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ, times=None))
    outcome = await compare(theatre)
    (position,) = await theatre.rows("SELECT status, quantity FROM positions")

    assert await verdict(theatre) == "unreadable"
    assert "NO_VERDICT" in outcome.refusals
    assert position == {"status": "open", "quantity": 10}


@case(
    "F21",
    "a list that is cut off",
    injected="the list of orders comes without orders that the broker knows by id",
    orders=1,
    verdict="truncated: unreadable, nothing is bought, no order counts as gone",
)
async def test_f21_a_list_of_orders_that_is_cut_off_is_noticed(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    theatre.faults.add(Fault(operation=Operation.ORDERS, kind=FaultKind.EMPTY_READ, times=None))
    await compare(theatre)
    gone = await theatre.rows("SELECT FROM orders WHERE status IN ('not_placed', 'canceled')")

    assert await verdict(theatre) == "unreadable"
    assert gone == []


@case(
    "F22",
    "orders and positions lag",
    injected="positions are read as empty, and right ten seconds later",
    orders=1,
    verdict="read again, clean; nothing is locked",
)
async def test_f22_reads_that_disagree_for_some_seconds_lock_nothing(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    theatre.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ, times=2))
    theatre.compared = False
    await theatre.trading.execute("DELETE FROM reconciliations")
    await theatre.run(Mode.TRADE, quiet())

    assert await verdict(theatre) == "clean"
    assert await locks(theatre) == []


@case(
    "F23",
    "a person trades in the broker's app",
    injected="an order by hand rests",
    orders=0,
    verdict="external: never cancelled by us, its symbol is not bought",
)
async def test_f23_an_order_by_hand_is_left_alone(theatre: Theatre) -> None:
    await theatre.run(Mode.SCAN, quiet())
    async with at_the_exchange(theatre) as exchange:
        by_hand = exchange.place(
            order_request(Side.BUY, 1, symbol="AAPL", order_type=OrderType.LIMIT, limit=90)
        )
    outcome = await compare(theatre)
    await theatre.run(Mode.CLOSE, quiet())
    (left,) = await theatre.broker_orders()

    assert "SYMBOL_LOCKED" in outcome.refusals
    assert (left.broker_order_id, left.status.is_open) == (by_hand.broker_order_id, True)


@case(
    "F24",
    "the broker liquidates",
    injected="all our shares are sold by the broker, and our stop with them",
    orders=1,
    verdict="an external exit: a critical alert, symbol locked, no sale of ours",
)
async def test_f24_a_liquidation_is_for_a_person(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await traded_by_somebody_else(theatre, Side.SELL, 10)
    await compare(theatre)
    alerts = await theatre.rows("SELECT subject FROM alerts WHERE severity = 'critical'")

    assert {"subject": "AAPL is locked: database only"} in alerts
    assert await fills(theatre) == 1


@case(
    "F25",
    "a split overnight",
    injected="two shares for one; the stop of before rests on",
    orders=1,
    verdict="recognised by quantity and price, symbol locked until a person accepts it",
)
async def test_f25_a_split_is_recognised_and_locked(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    async with at_the_exchange(theatre) as exchange:
        exchange.split("AAPL", new=2, old=1)
    outcome = await compare(theatre)

    assert "split_suspected" in await locks(theatre)
    assert "SYMBOL_LOCKED" in outcome.refusals


@case(
    "F26",
    "money from outside",
    injected="a fee of 2500, above the day's loss limit of 2000",
    orders=1,
    verdict="no trading loss: the day goes on, the position stays",
)
async def test_f26_a_fee_is_no_trading_loss(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    async with at_the_exchange(theatre) as exchange:
        exchange.receive(Decimal(-2500))
    outcome = await theatre.run(Mode.TRADE, quiet())

    assert outcome.positions == 1
    assert "limit" not in outcome.reason
    assert "-2500.00 USD came from outside" in outcome.alerts
