"""Stories of one position: the market is written by hand, Claude answers by script, all else is the real thing."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import Fault, FaultKind, Operation
from rehearsal.stand_in import Policy
from shared.claude_messages import Json, content_blocks
from shared.database.connection import Connection
from shared.models import Mode
from shared.outcome import Status
from tests.fixtures.claude import DONE, LOG, call, messages_of, scripted
from tests.fixtures.theatre import Tape, Theatre, sale_of, trade_of

TRADE_AT = 30
"""Minutes from the open to the first trade slot; the next one is 30 minutes later."""

Opened = Callable[[Tape], Theatre]


@pytest.fixture
def opened(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Opened:
    def open_theatre(tape: Tape, **recording: Any) -> Theatre:
        data = tape.write(**recording)
        return Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)

    return open_theatre


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "tape")


def buys(quantity: int = 10, **changes: object) -> Policy:
    return scripted([call("execute_trade", trade_of(quantity, **changes))], [LOG], [DONE])


def sells(quantity: int = 10) -> Policy:
    return scripted([call("execute_trade", sale_of(quantity))], [LOG], [DONE])


def quiet() -> Policy:
    return scripted([LOG], [DONE])


async def only_position(theatre: Theatre) -> dict[str, Any]:
    (row,) = await theatre.rows("SELECT * FROM positions")
    return row


async def open_at_broker(theatre: Theatre) -> list[str]:
    return [order.symbol for order in await theatre.broker_orders() if order.status.is_open]


def answers_to(theatre: Theatre, request: int = -1) -> list[Json]:
    """Results of the tools in the newest message of one request."""
    last = messages_of(theatre.transports[-1].bodies[request])[-1]
    return [block for block in content_blocks(last) if block["type"] == "tool_result"]


async def test_an_entry_is_stopped_out_in_the_next_minute(opened: Opened, tape: Tape) -> None:
    tape.minute(TRADE_AT, "100.00", "100.00", "97.50", "97.60")
    tape.settle_at("97.60", since=TRADE_AT + 1)
    theatre = opened(tape)
    bought = await theatre.run(Mode.TRADE, buys())
    after = await theatre.run(Mode.TRADE, quiet())
    position = await only_position(theatre)

    assert (bought.fills, bought.positions, after.fills, after.positions) == (1, 1, 1, 0)
    assert (position["status"], position["exit_reason"]) == ("closed", "stop_loss")
    assert position["exit_price"] == Decimal(98)
    assert await open_at_broker(theatre) == []


async def test_a_gap_through_the_stop_is_sold_at_the_open_and_not_at_the_stop(
    opened: Opened, tape: Tape
) -> None:
    tape.settle_at("94.00", since=TRADE_AT)
    theatre = opened(tape)
    await theatre.run(Mode.TRADE, buys())
    after = await theatre.run(Mode.TRADE, quiet())
    position = await only_position(theatre)
    cost = 10 * position["entry_price"]

    assert position["exit_price"] == Decimal(94)
    assert position["realized_pnl_gross"] == 940 - cost
    assert after.session_pnl == position["realized_pnl"]
    assert after.equity == 100_000 + position["realized_pnl"]


async def test_a_target_that_is_reached_takes_the_stop_with_it(opened: Opened, tape: Tape) -> None:
    tape.minute(TRADE_AT + 3, "100.00", "105.50", "100.00", "105.20")
    tape.settle_at("105.20", since=TRADE_AT + 4)
    theatre = opened(tape)
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.TRADE, quiet())
    position = await only_position(theatre)
    legs = await theatre.rows(
        "SELECT order_purpose, status FROM orders WHERE parent_order_id IS NOT NULL ORDER BY 1"
    )

    assert (position["exit_reason"], position["exit_price"]) == ("take_profit", Decimal(105))
    assert legs == [
        {"order_purpose": "stop_loss", "status": "canceled"},
        {"order_purpose": "take_profit", "status": "filled"},
    ]


async def test_a_halted_symbol_is_refused_with_a_code_that_claude_reads(
    opened: Callable[..., Theatre], tape: Tape
) -> None:
    theatre = opened(tape, halt=("2026-06-15T13:55:00Z", "2026-06-15T14:20:00Z"))
    outcome = await theatre.run(Mode.TRADE, buys())
    (answer,) = answers_to(theatre, 1)

    assert "QUOTE_MISSING" in outcome.refusals
    assert "trading in AAPL is halted" in str(answer["content"])
    assert answer["is_error"] is True
    assert await theatre.broker_orders() == ()


async def test_a_position_in_a_halted_symbol_keeps_its_stop_until_it_trades_again(
    opened: Callable[..., Theatre], tape: Tape
) -> None:
    theatre = opened(tape, halt=("2026-06-15T14:25:00Z", "2026-06-15T14:35:00Z"))
    await theatre.run(Mode.TRADE, buys())
    during = await theatre.run(Mode.TRADE, sells())
    (answer, *_) = answers_to(theatre, 1)
    stops = await theatre.rows("SELECT status FROM orders WHERE order_purpose = 'stop_loss'")
    after = await theatre.run(Mode.TRADE, sells())

    assert answer["is_error"] is True
    assert (during.positions, stops) == (1, [{"status": "accepted"}])
    assert after.positions == 0


async def test_a_tool_that_does_not_exist_is_said_and_the_cycle_goes_on(
    opened: Opened, tape: Tape
) -> None:
    theatre = opened(tape)
    outcome = await theatre.run(
        Mode.TRADE, scripted([call("set_limit", {"max_position_value": 1e9})], [LOG], [DONE])
    )
    (answer,) = answers_to(theatre, 1)

    assert "there is no tool named set_limit" in str(answer["content"])
    assert answer["is_error"] is True
    assert (outcome.status, outcome.tools_called) == (Status.DONE, ("log_decision",))


async def test_ten_things_at_once_are_all_answered_in_their_order(
    opened: Opened, tape: Tape
) -> None:
    symbols = [f"SYM{number}" for number in range(7)]
    ten: Sequence[Json] = [
        *(call("get_quote", {"symbol": symbol}) for symbol in symbols),
        call("execute_trade", trade_of()),
        call("get_portfolio"),
        call("execute_trade", sale_of(3)),
    ]
    theatre = opened(tape)
    outcome = await theatre.run(Mode.TRADE, scripted(ten, [LOG], [DONE]))
    answers = answers_to(theatre, 1)

    assert len(answers) == 10
    assert all(
        symbol in str(answer["content"]) for symbol, answer in zip(symbols, answers, strict=False)
    )
    assert '"status":"filled"' in str(answers[7]["content"])
    assert '"quantity":"10"' in str(answers[8]["content"])
    assert "positions are sold whole" in str(answers[9]["content"])
    assert outcome.orders == 1
    assert len(await theatre.rows("SELECT FROM tool_calls")) == 11


async def test_the_same_order_twice_in_one_reply_is_one_order_at_the_broker(
    opened: Opened, tape: Tape
) -> None:
    theatre = opened(tape)
    twice = [call("execute_trade", trade_of()), call("execute_trade", trade_of())]
    outcome = await theatre.run(Mode.TRADE, scripted(twice, [LOG], [DONE]))
    first, second = answers_to(theatre, 1)

    assert '"duplicate_of_earlier_call":false' in str(first["content"])
    assert '"duplicate_of_earlier_call":true' in str(second["content"])
    assert len(await theatre.broker_orders()) == 1
    assert (outcome.orders, outcome.fills) == (1, 1)
    assert (await only_position(theatre))["quantity"] == 10


async def test_an_entry_that_does_not_fill_is_cancelled_by_the_next_cycle(
    opened: Opened, tape: Tape
) -> None:
    theatre = opened(tape)
    await theatre.run(Mode.TRADE, buys(limit_price=99, take_profit=102))
    resting = await open_at_broker(theatre)
    await theatre.run(Mode.TRADE, quiet())

    assert resting == ["AAPL"]
    assert await open_at_broker(theatre) == []
    assert await theatre.rows("SELECT FROM positions") == []


async def test_an_entry_that_fills_in_part_is_protected_in_the_same_cycle(
    opened: Opened, tape: Tape
) -> None:
    tape.minute(TRADE_AT - 1, "100.00", "100.02", "99.98", "100.00", volume=200)
    theatre = opened(tape)
    outcome = await theatre.run(Mode.TRADE, buys(40))
    stops = await theatre.rows(
        "SELECT quantity FROM orders WHERE order_type = 'stop' AND status = 'accepted'"
    )
    (position, *_) = await theatre.rows("SELECT quantity FROM positions")
    entry = next(o for o in await theatre.broker_orders() if o.side == "buy")

    assert position["quantity"] == 20
    assert {"quantity": 20} in stops
    assert entry.status == "canceled"
    assert "AAPL: 20 shares had no resting stop" in outcome.alerts


async def test_an_order_whose_answer_was_lost_is_found_before_the_cycle_ends(
    opened: Opened, tape: Tape
) -> None:
    theatre = opened(tape)
    theatre.faults.add(Fault(operation=Operation.PLACE, kind=FaultKind.DROP_REPLY))
    outcome = await theatre.run(Mode.TRADE, buys())
    (answer,) = answers_to(theatre, 1)
    statuses = await theatre.rows("SELECT status FROM orders WHERE order_purpose = 'entry'")

    assert "may or may not have this order" in str(answer["content"])
    assert [alert for alert in outcome.alerts if alert.endswith("is not known")]
    assert (outcome.orders, outcome.fills, outcome.positions) == (1, 1, 1)
    assert statuses == [{"status": "filled"}]
    assert len(await theatre.broker_orders()) == 1


async def test_an_order_that_nobody_can_find_keeps_the_next_cycle_from_buying(
    opened: Opened, tape: Tape
) -> None:
    theatre = opened(tape)
    theatre.faults.add(Fault(operation=Operation.PLACE, kind=FaultKind.TIME_OUT))
    await theatre.run(Mode.TRADE, buys())
    outcome = await theatre.run(Mode.TRADE, buys(5))

    assert outcome.refusals == ("UNRESOLVED_ORDER",)
    assert await theatre.broker_orders() == ()


async def test_what_is_held_at_the_end_of_the_day_is_sold_also_when_claude_does_nothing(
    opened: Opened, tape: Tape
) -> None:
    theatre = opened(tape)
    await theatre.run(Mode.TRADE, buys())
    outcome = await theatre.run(Mode.CLOSE, quiet())

    assert (outcome.status, outcome.positions) == (Status.DONE, 0)
    assert "sold by rule: AAPL" in outcome.reason
    assert (await only_position(theatre))["status"] == "closed"


async def test_nothing_is_opened_in_a_close_run(opened: Opened, tape: Tape) -> None:
    theatre = opened(tape)
    await theatre.run(Mode.TRADE, buys())
    bought = [call("execute_trade", trade_of(5))]
    outcome = await theatre.run(Mode.CLOSE, scripted(bought, [LOG], [DONE]))

    assert (
        await theatre.rows("SELECT FROM orders WHERE side = 'buy' AND cycle_id LIKE '%close'") == []
    )
    assert outcome.positions == 0
