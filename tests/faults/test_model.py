"""What Claude's end can do to a cycle: silence, torn replies, nonsense."""

from rehearsal.stand_in import Fault, FaultKind
from shared.models import Mode
from tests.faults.cases import case
from tests.faults.steps import buys, quiet
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.theatre import Theatre, trade_of

NONSENSE = (
    call("execute_trade", trade_of() | {"quantity": "1e9"}),
    call("execute_trade", trade_of() | {"quantity": -10}),
    call("execute_trade", trade_of() | {"limit_price": "NaN"}),
    call("execute_trade", trade_of() | {"symbol": "NOSUCH"}),
    call("execute_trade", trade_of() | {"symbol": "AAPL.HK"}),
    call("execute_trade", trade_of() | {"leverage": 10}),
    call("execute_trade", {k: v for k, v in trade_of().items() if k != "stop_loss"}),
    call("lift_halt", {"why": "it is fine"}),
)


@case(
    "F49",
    "no model answers",
    injected="every call is answered with 529 while a position is open",
    orders=2,
    verdict="the trade cycle fails, the stop rests, the close sells by rule",
)
async def test_f49_without_a_model_positions_are_guarded_and_closed_by_rule(
    theatre: Theatre,
) -> None:
    await theatre.run(Mode.TRADE, buys())
    overloaded = [Fault(nth=n, kind=FaultKind.OVERLOADED, retry_after="0") for n in range(1, 10)]
    failed = await theatre.run(Mode.TRADE, quiet(), faults=overloaded)
    stops = await theatre.rows(
        "SELECT status FROM orders WHERE order_purpose = 'stop_loss' ORDER BY order_id"
    )
    closed = await theatre.run(Mode.CLOSE, quiet(), faults=overloaded)

    assert (failed.exit_code, failed.positions) == (1, 1)
    assert stops == [{"status": "accepted"}]
    assert (closed.exit_code, closed.positions) == (0, 0)


@case(
    "F50",
    "a reply that is torn",
    injected="the reply ends at max_tokens in the middle of execute_trade",
    orders=0,
    verdict="the torn call is never carried out",
)
async def test_f50_a_torn_tool_call_is_never_carried_out(theatre: Theatre) -> None:
    torn = [Fault(nth=n, kind=FaultKind.TRUNCATED) for n in range(1, 10)]
    outcome = await theatre.run(Mode.TRADE, buys(), faults=torn)

    assert "execute_trade" not in outcome.tools_called
    assert await theatre.rows("SELECT FROM orders") == []


@case(
    "F51",
    "nonsense from the model",
    injected="1e9 as text, minus 10, NaN, unknown symbols, an extra key, no stop, a tool that is none",
    orders=0,
    verdict="each is answered with what is wrong; nothing is sent",
)
async def test_f51_nonsense_is_answered_and_never_sent(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.TRADE, scripted(list(NONSENSE), [LOG], [DONE]))
    answers = await theatre.rows("SELECT is_error FROM tool_calls WHERE name <> 'log_decision'")

    assert outcome.exit_code == 0
    assert answers
    assert all(row["is_error"] for row in answers)
    assert await theatre.rows("SELECT FROM orders") == []
