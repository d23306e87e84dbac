"""What happened to the agent before this one, one test each: none of it may happen again."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import asyncpg
import pytest

from brokers.desk import Refused, Submission
from brokers.faults import Fault, FaultKind, Operation
from rehearsal.stand_in import Fault as ClaudeFault
from rehearsal.stand_in import FaultKind as ClaudeFaultKind
from shared.claude_messages import Json
from shared.database.cycles import finish_cycle
from shared.database.records import record_decision
from shared.models import Mode, OrderStatus
from shared.order_life import OrderState
from shared.outcome import Status
from tests.brokers.replay import MONDAY, at, stock
from tests.faults.cases import case
from tests.faults.steps import bought, buys, dip, entry_state, partly_bought, position, quiet, sells
from tests.fixtures.broker_orders import cycle_end
from tests.fixtures.claude import call, scripted
from tests.fixtures.floor import Floor, Watching, draft, leave, record_of
from tests.fixtures.operate import change_rows
from tests.fixtures.rehearsal import Machine
from tests.fixtures.theatre import Theatre


def codes_of(submission: Submission) -> tuple[str, ...]:
    """Return the codes for which it was refused."""
    assert isinstance(submission, Refused), submission
    return submission.refusal.codes


@case(
    "R05",
    "Resting legs hold the shares",
    injected="an exit while stop and target rest",
    orders=2,
    verdict="the target is moved, the first exit fills",
)
async def test_r05_resting_legs_do_not_keep_us_in_a_position(floor: Floor) -> None:
    await bought(floor)
    watching = Watching(floor.venue.broker)
    record = record_of(await leave(await floor.desk(broker=watching), 10))

    assert watching.asked == ["replace"]
    assert (record.status, floor.held(), floor.stops()) == (OrderState.FILLED, 0, ())


@case(
    "R10",
    "An order's status is stuck",
    injected="fill and cancel after the cycle that placed the order",
    orders=2,
    verdict="every order has the exchange's status",
)
async def test_r10_an_accepted_order_is_known_as_filled_or_canceled_once_it_is(
    floor: Floor,
) -> None:
    await (await floor.desk()).enter(dip(), why="a dip")
    accepted = await entry_state(floor)
    deeper = draft(5, limit="98.90", take_profit=Decimal(102))
    await (await floor.desk()).enter(deeper, why="a deeper dip")
    floor.trade(99)
    await floor.tidy()
    rows = await floor.rows("SELECT broker_order_id, status FROM orders ORDER BY order_id")
    exchange = {o.broker_order_id: o for o in floor.venue.exchange.orders(only_open=False)}

    assert (accepted, rows[0]["status"]) == ("accepted", "filled")
    assert {row["status"] for row in rows} == {"filled", "accepted", "canceled"}
    assert all(
        r["status"] == exchange[r["broker_order_id"]].status
        for r in rows
        if exchange[r["broker_order_id"]].status is not OrderStatus.HELD
    )


@case(
    "R11",
    "Phantom positions",
    injected="entries rejected, never filled and never arrived",
    orders=1,
    verdict="no position is written without a fill",
)
async def test_r11_an_entry_that_never_fills_is_no_position(floor: Floor) -> None:
    floor.fault(Operation.PLACE, FaultKind.REJECT, reason="insufficient buying power")
    await (await floor.desk()).enter(draft(), why="volume")
    await (await floor.desk()).enter(dip(), why="a dip")
    floor.trade(100)
    await floor.tidy()
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    await (await floor.desk()).enter(draft(7), why="volume")
    await floor.tidy()
    states = [r["status"] for r in await floor.rows("SELECT status FROM orders WHERE side = 'buy'")]

    assert sorted(states) == ["canceled", "rejected", "unknown"]
    assert (floor.held(), await floor.rows("SELECT FROM positions")) == (0, [])


@case(
    "R12",
    "Held at the broker, closed in the database",
    injected="a position marked as closed without a fill",
    orders=2,
    verdict="the comparison locks the symbol and alerts a person",
)
def test_r12_shares_that_the_broker_holds_are_never_forgotten(holding: Machine) -> None:
    ((symbol, quantity),) = holding.query(
        "SELECT symbol, quantity FROM positions ORDER BY position_id LIMIT 1"
    )
    change_rows(
        holding,
        "UPDATE positions SET status = 'closed', quantity = 0, closed_at = now()"
        " WHERE position_id = (SELECT min(position_id) FROM positions)",
    )
    run = holding.compare()
    alerts = holding.query("SELECT severity FROM alerts WHERE subject LIKE '%is locked%'")
    with holding.at_the_exchange() as exchange:
        held = {p.symbol: p.quantity for p in exchange.positions()}

    assert held[symbol] == quantity
    assert (run.exit_code, run.said["locked"]) == (1, [symbol])
    assert {d["kind"] for d in run.said["deltas"] if d["symbol"] == symbol} & {"broker_only"}
    assert alerts == [("critical",)]


@case(
    "R13",
    "The second partial fill is missed",
    injected="an entry that fills in two minutes",
    orders=1,
    naked_seconds=120,
    verdict="both fills are booked, all shares have a stop",
)
async def test_r13_a_second_partial_fill_is_booked(floor: Floor) -> None:
    await partly_bought(floor, 20)
    first = (await position(floor))["quantity"]
    floor.trade(100, volume=100)
    await (await floor.desk()).synchronise()
    fills = await floor.rows("SELECT quantity FROM fills")

    assert (first, (await position(floor))["quantity"], floor.held()) == (10, 20, 20)
    assert [fill["quantity"] for fill in fills] == [10, 10]
    assert sum(stop.quantity for stop in floor.stops()) == 20


@case(
    "R14",
    "Sells are not recorded",
    injected="a purchase and a sale in two cycles",
    orders=2,
    verdict="both orders and both fills are rows",
)
async def test_r14_a_sale_is_recorded_like_a_purchase(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.TRADE, sells())
    fills = await theatre.rows(
        "SELECT fills.side, fills.quantity, order_purpose FROM fills JOIN orders USING (order_id)"
        " ORDER BY fill_key"
    )

    assert fills == [
        {"side": "buy", "quantity": 10, "order_purpose": "entry"},
        {"side": "sell", "quantity": 10, "order_purpose": "exit"},
    ]
    assert await theatre.rows("SELECT status FROM positions") == [{"status": "closed"}]


@case(
    "R16",
    "Submitted counts as filled",
    injected="an entry that the exchange accepts and does not fill",
    orders=1,
    verdict="accepted, no fill and no position",
)
async def test_r16_an_order_that_is_accepted_is_not_filled(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.TRADE, buys(limit_price=99, take_profit=102))
    (order,) = await theatre.rows(
        "SELECT status, filled_quantity, filled_price, filled_at FROM orders WHERE side = 'buy'"
    )

    assert tuple(order.values()) == ("accepted", 0, None, None)
    assert (outcome.orders, outcome.fills, outcome.positions) == (1, 0, 0)
    assert await theatre.rows("SELECT FROM fills") == []


@case(
    "R17",
    "An order fills after the wait",
    injected="a fill after the cycle that placed the order ended",
    orders=1,
    verdict="the next cycle books it, its stop rests from the fill on",
)
async def test_r17_a_fill_after_the_wait_is_booked_and_protected(floor: Floor) -> None:
    await (await floor.desk()).enter(dip(), why="a dip")
    floor.trade(99)
    before = await floor.rows("SELECT FROM positions")
    desk = await floor.tidy()

    assert before == []
    assert (await position(floor))["quantity"] == floor.held() == 10
    assert [(stop.quantity, stop.stop_price) for stop in floor.stops()] == [(10, Decimal(98))]
    assert desk.orders_placed == 0


@case(
    "R19",
    "Several open rows for one symbol",
    injected="two entries, and a second writer of the same position",
    orders=2,
    verdict="one open row holds both, a second is refused by the database",
)
async def test_r19_a_symbol_has_one_open_row_whoever_writes(floor: Floor) -> None:
    await (await floor.desk()).enter(dip(), why="a dip")
    await (await floor.desk()).enter(dip(5), why="a dip")
    floor.trade(99)
    await (await floor.desk()).synchronise()
    with pytest.raises(asyncpg.UniqueViolationError, match="positions_one_open_per_symbol"):
        await floor.rows(
            "INSERT INTO positions (agent_id, symbol, side, status, currency, quantity,"
            " entry_quantity, entry_price, fees, realized_pnl_gross, realized_pnl, opened_at,"
            " updated_at) SELECT agent_id, symbol, side, status, currency, quantity,"
            " entry_quantity, entry_price, fees, realized_pnl_gross, realized_pnl, opened_at,"
            " updated_at FROM positions"
        )

    assert (await position(floor))["quantity"] == floor.held() == 15


@case(
    "R20",
    "A constant lot of 100",
    injected="a stock with lots of 4, and one whose lot is too dear",
    orders=1,
    verdict="lots are the instrument's; nothing is rounded up past the value cap",
)
async def test_r20_lots_come_from_the_instrument_and_are_not_rounded_up(floor: Floor) -> None:
    for symbol, lot_size in (("FOURS", 4), ("DEAR", 100)):
        floor.list_another(symbol)
        floor.venue.replay.instruments[symbol] = stock(symbol, lot_size=lot_size)
    desk = await floor.desk()
    odd = await desk.enter(draft(10, symbol="FOURS"), why="volume")
    even = record_of(await desk.enter(draft(8, symbol="FOURS"), why="volume"))
    half = await desk.enter(draft(40, symbol="DEAR"), why="volume")
    whole = await desk.enter(draft(100, symbol="DEAR"), why="volume")

    assert codes_of(odd) == codes_of(half) == ("LOT_SIZE",)
    assert even.filled_quantity == 8
    assert "POSITION_VALUE" in codes_of(whole)


@case(
    "R28",
    "Rows of no shares count as open",
    injected="a position that was sold, at a limit of one position",
    orders=3,
    verdict="no shares is closed; it takes up no place and cannot be open",
)
async def test_r28_a_row_without_shares_is_no_position(floor: Floor) -> None:
    floor.list_another("OTHER")
    await bought(floor)
    await leave(await floor.desk(), 10)
    with pytest.raises(asyncpg.CheckViolationError, match="positions_open_means_held"):
        await floor.rows("UPDATE positions SET status = 'open', closed_at = NULL")
    entry = await (await floor.desk(max_positions=1)).enter(draft(symbol="OTHER"), why="volume")
    rows = await floor.rows("SELECT symbol, status, quantity FROM positions ORDER BY symbol")

    assert record_of(entry).status is OrderState.FILLED
    assert [tuple(row.values()) for row in rows] == [("ACME", "closed", 0), ("OTHER", "open", 10)]


@case(
    "R32",
    "Empty tables after hundreds of decisions",
    injected="a purchase, a sale and a cycle without a trade",
    orders=2,
    verdict="every cycle, decision, order, fill and position is a row",
)
async def test_r32_every_cycle_decision_and_order_is_a_row(theatre: Theatre) -> None:
    for policy in (buys(), sells(), quiet()):
        await theatre.run(Mode.TRADE, policy)
    cycles = await theatre.rows(
        "SELECT status, orders_placed, (SELECT count(*) FROM decisions d WHERE d.cycle_id ="
        " c.cycle_id) AS decisions, (SELECT count(*) FROM orders o WHERE o.cycle_id = c.cycle_id"
        " AND parent_order_id IS NULL) AS orders FROM trading_cycles c ORDER BY started_at"
    )
    (totals,) = await theatre.rows(
        "SELECT (SELECT count(*) FROM fills) AS fills, (SELECT count(*) FROM positions) AS held"
    )

    assert [tuple(row.values()) for row in cycles] == [
        ("done", 1, 1, 1),
        ("done", 1, 1, 1),
        ("done", 0, 1, 0),
    ]
    assert tuple(totals.values()) == (2, 1)


@case(
    "R33",
    "Decisions without a cycle row are lost",
    injected="Claude fails after a decision was logged",
    orders=0,
    verdict="the cycle's row is there first and the decision stays; without one it is an error",
)
async def test_r33_a_decision_outlives_the_cycle_that_fails_after_it(theatre: Theatre) -> None:
    gone = ClaudeFault(nth=2, kind=ClaudeFaultKind.BAD_KEY)
    outcome = await theatre.run(Mode.TRADE, quiet(), faults=[gone])
    (kept,) = await theatre.rows(
        "SELECT cycle_id, status, reasoning FROM decisions JOIN trading_cycles USING (cycle_id)"
    )
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await record_decision(
            theatre.trading,
            agent_id="rehearsal",
            cycle_id="nobody-wrote-it-down",
            decision="skip",
            symbol=None,
            reasoning="nothing to do",
            confidence=None,
            model=None,
            at=theatre.stage().clock.now(),
        )

    assert outcome.exit_code != 0
    assert (kept["status"], kept["reasoning"]) == ("failed", "nothing to do")


@case(
    "R34",
    "How a position was left is never saved",
    injected="exits at the target, by decision and at the stop",
    orders=4,
    verdict="each position says how it was left",
)
async def test_r34_a_position_says_how_it_was_left(floor: Floor) -> None:
    for low, high in (("100", "106"), ("100", "100"), ("97", "100")):
        desk = await floor.desk(cooldown_minutes_after_loss=0)
        record_of(await desk.enter(draft(), why="volume"))
        floor.trade(100, high, low, 100)
        desk = await floor.desk()
        await desk.synchronise()
        if floor.held():
            await leave(desk, 10)
    rows = await floor.rows("SELECT exit_reason, exit_price FROM positions ORDER BY position_id")

    assert [tuple(row.values()) for row in rows] == [
        ("take_profit", Decimal(105)),
        ("enough", Decimal("99.99")),
        ("stop_loss", Decimal(98)),
    ]


@case(
    "R46",
    "The same symbol again and again",
    injected="nine cycles that each want the same symbol",
    orders=3,
    verdict="three entries a day, and no more than the value allowed",
)
async def test_r46_a_symbol_is_not_piled_up(floor: Floor) -> None:
    answers = [await (await floor.desk()).enter(dip(), why="a dip") for _ in range(9)]
    desk = await floor.desk(max_trades_per_symbol_per_day=10)
    large = await desk.enter(dip(21), why="a dip")
    last = await (await floor.desk(max_trades_per_day=3)).enter(dip(), why="a dip")
    floor.trade(99)
    held = await (await floor.desk(max_trades_per_symbol_per_day=10)).enter(draft(), why="volume")

    assert [record_of(answer).status for answer in answers[:3]] == [OrderState.ACCEPTED] * 3
    assert {codes_of(answer) for answer in answers[3:]} == {("TRADES_PER_SYMBOL",)}
    assert codes_of(large) == ("POSITION_VALUE",)
    assert "TRADES_PER_DAY" in codes_of(last)
    assert "OPPOSITE_ORDER" in codes_of(held)


@case(
    "R48",
    "Orders queue while the exchange is closed",
    injected="entries in the evening and on a Saturday",
    orders=0,
    verdict="nothing is sent, nothing is kept for later",
)
async def test_r48_nothing_is_sent_while_the_exchange_is_closed(floor: Floor) -> None:
    for moment in (at(21), at(15, day=MONDAY.replace(day=MONDAY.day + 5))):
        floor.venue.move_to(moment)
        submission = await (await floor.desk()).enter(draft(), why="volume")
        assert "SESSION_CLOSED" in codes_of(submission)

    assert floor.venue.faults.calls(Operation.PLACE) == 0
    assert await floor.rows("SELECT FROM orders") == []


@case(
    "R50",
    "Profit is never recorded, or at a price of 0",
    injected="a position that is bought and sold with fees",
    orders=2,
    verdict="profit is what the cash changed by, to the cent; a price of 0 is refused",
)
async def test_r50_profit_is_what_the_exchange_s_cash_changed_by(floor: Floor) -> None:
    await bought(floor)
    await leave(await floor.desk(), 10)
    booked = await position(floor)
    (fills,) = await floor.rows("SELECT sum(realized_pnl) AS profit FROM fills")
    with pytest.raises(asyncpg.CheckViolationError, match="fills_price_positive"):
        await floor.rows("UPDATE fills SET price = 0")

    assert booked["exit_price"] == Decimal("99.99")
    assert booked["realized_pnl"] == floor.venue.exchange.account().cash - 100_000
    assert booked["realized_pnl"] == fills["profit"] < 0


@case(
    "R55",
    "An update that touches no row is silent",
    injected="the end of a cycle that this database does not have",
    orders=0,
    verdict="an error, and no other cycle is touched",
)
async def test_r55_an_update_that_touches_no_row_is_an_error(floor: Floor) -> None:
    await floor.cycle()
    with pytest.raises(LookupError, match="cycle other-1 is not running"):
        await finish_cycle(floor.connection, cycle_end(cycle_id="other-1"))

    assert await floor.rows("SELECT cycle_id, status FROM trading_cycles") == [
        {"cycle_id": "rehearsal-1", "status": "running"}
    ]


@case(
    "R63",
    "A failed read of positions closes everything",
    injected="positions read as empty for a whole cycle",
    orders=1,
    verdict="the position stays open with its stop",
)
async def test_r63_positions_that_are_read_as_empty_close_nothing(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    empty = Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ, times=None)
    theatre.faults.add(empty)
    await theatre.run(Mode.TRADE, quiet())
    stops = await theatre.rows("SELECT status FROM orders WHERE order_purpose = 'stop_loss'")

    assert theatre.faults.calls(Operation.POSITIONS) > 1
    assert await theatre.rows("SELECT status, quantity, exit_reason FROM positions") == [
        {"status": "open", "quantity": 10, "exit_reason": None}
    ]
    assert stops == [{"status": "accepted"}]


@case(
    "R65",
    "Results are kept only after the loop",
    injected="the run is ended in the middle of the loop",
    orders=0,
    verdict="what was scanned and answered before it is in rows",
)
async def test_r65_what_was_found_before_the_end_is_kept(theatre: Theatre) -> None:
    scans = scripted([call("scan_market")])

    def policy(request: Json) -> Sequence[Json]:
        if len(theatre.transports[0].bodies) == 2:
            running.cancel()
        return scans(request)

    running = asyncio.create_task(theatre.run(Mode.TRADE, policy))
    outcome = await running
    tools = await theatre.rows("SELECT name, is_error FROM tool_calls")

    assert outcome.status is Status.INTERRUPTED
    assert tools == [{"name": "scan_market", "is_error": False}]
    assert await theatre.rows("SELECT symbol FROM scan_results") == [{"symbol": "AAPL"}]
