"""A day that nobody compared before: each run does so for itself, and what it finds keeps no sale back."""

from decimal import Decimal
from pathlib import Path

import pytest

from brokers.faults import Fault, FaultKind, Operation
from brokers.paper import PaperBroker
from shared.database.connection import Connection
from shared.models import Mode, OrderType
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.theatre import Tape, Theatre, sale_of, trade_of

BUYS = [call("execute_trade", trade_of())]
SELLS = [call("execute_trade", sale_of())]


@pytest.fixture
def theatre(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Theatre:
    data = Tape(tmp_path / "tape").write()
    return Theatre(
        tmp_path / "rehearsal", data, trading_connection, research_connection, compared=False
    )


async def verdicts(theatre: Theatre) -> list[str]:
    return [
        row["verdict"]
        for row in await theatre.rows("SELECT verdict FROM reconciliations ORDER BY 1")
    ]


async def test_a_run_that_finds_no_verdict_makes_one_and_buys(theatre: Theatre) -> None:
    bought = await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))
    await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))

    assert (bought.orders, bought.refusals) == (1, ())
    assert await verdicts(theatre) == ["clean"], "a clean verdict is made once"


@pytest.mark.parametrize("mode", [Mode.SCAN, Mode.HEARTBEAT])
async def test_a_run_that_opens_nothing_needs_none(theatre: Theatre, mode: Mode) -> None:
    await theatre.run(mode, scripted([LOG], [DONE]), forced=True)

    assert await verdicts(theatre) == []


async def test_a_broker_that_cannot_be_read_sells_and_does_not_buy(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))
    await theatre.trading.execute("DELETE FROM reconciliations")
    theatre.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.TIME_OUT, times=9))
    more = [call("execute_trade", trade_of(3))]
    outcome = await theatre.run(Mode.TRADE, scripted(more, SELLS, [LOG], [DONE]))

    assert "NO_VERDICT" in outcome.refusals
    assert outcome.positions == 0
    assert await verdicts(theatre) == ["unreadable"]
    assert "nothing is bought: the broker cannot be relied on" in outcome.alerts


async def test_a_list_that_comes_back_empty_is_not_flat(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))
    await theatre.trading.execute("DELETE FROM reconciliations")
    theatre.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ, times=3))
    await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))
    (position,) = await theatre.rows("SELECT status, quantity FROM positions")

    assert await verdicts(theatre) == ["unreadable"]
    assert await theatre.rows("SELECT FROM symbol_locks") == []
    assert dict(position) == {"status": "open", "quantity": 10}


async def test_a_read_that_lags_for_some_seconds_locks_nothing(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))
    await theatre.trading.execute("DELETE FROM reconciliations")
    theatre.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ, times=2))
    await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))

    assert await verdicts(theatre) == ["clean"]


async def test_what_is_naked_is_protected_before_anything_is_compared(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))
    await theatre.trading.execute("DELETE FROM reconciliations")
    broker = theatre.stage().broker()
    assert isinstance(broker, PaperBroker)
    (stop,) = [o for o in await broker.orders(only_open=True) if o.order_type is OrderType.STOP]
    broker._exchange.cancel(stop.broker_order_id)
    await broker.disconnect()
    await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))
    (stop,) = await theatre.rows(
        "SELECT status FROM orders WHERE order_type = 'stop' AND status = 'accepted'"
    )

    assert await verdicts(theatre) == ["clean"]
    assert await theatre.rows("SELECT FROM symbol_locks") == []


async def test_a_locked_symbol_keeps_no_other_from_being_bought(theatre: Theatre) -> None:
    for symbol in ("AAPL", "OTHER"):
        await theatre.trading.execute("UPDATE symbol_locks SET symbol = $1", symbol)
        await theatre.trading.execute(
            "INSERT INTO symbol_locks (agent_id, symbol, kind, reason, evidence, locked_by, locked_at)"
            " SELECT 'rehearsal', $1, 'broker_more', 'x', '{}', 'test', now()"
            " WHERE NOT EXISTS (SELECT FROM symbol_locks)",
            symbol,
        )
        outcome = await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))

        assert outcome.refusals == (("SYMBOL_LOCKED",) if symbol == "AAPL" else ())
    assert await verdicts(theatre) == ["locked", "locked"]


async def test_a_deposit_does_not_hide_a_loss(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))
    theatre.equity = Decimal(101_500)
    await deposit(theatre, Decimal(5_000))
    outcome = await theatre.run(Mode.TRADE, scripted(BUYS, [LOG], [DONE]))

    assert "the day's loss of 3500" in outcome.reason
    assert "5000 USD came from outside" in outcome.alerts


async def deposit(theatre: Theatre, amount: Decimal) -> None:
    broker = theatre.stage().broker()
    assert isinstance(broker, PaperBroker)
    broker._exchange.receive(amount)
    await broker.disconnect()
