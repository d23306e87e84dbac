"""What a cycle spends and says: every row at once, every message once, and nothing that cannot be put together again."""

import asyncio
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from rehearsal.stand_in import Fault, FaultKind, Policy, StandInTransport
from shared.agent_loop import LoopEnd, LoopResult, run_loop
from shared.claude import Usage
from shared.claude_messages import Json
from shared.clock import ManualClock
from shared.config import ClaudeSettings
from shared.cycle_journal import CycleJournal
from shared.database.connection import Connection
from shared.errors import BudgetExceeded
from shared.journal.books import open_books
from tests.fixtures.broker_orders import AGENT, AT, CYCLE, started
from tests.fixtures.claude import (
    DONE,
    LOG,
    PRICES,
    SYSTEM,
    TOOLS,
    FakeToolbox,
    call,
    model_over,
    scripted,
)
from tests.fixtures.transcripts import put_together, without_marks

DAY = date(2026, 6, 15)
SPENT = Usage(input=100, output=20, cache_read=3, cache_write=4)


@pytest.fixture
async def journal(trading_connection: Connection, tmp_path: Path) -> CycleJournal:
    await started(trading_connection)
    clock = ManualClock(AT)
    return CycleJournal(
        await open_books(trading_connection, home=tmp_path, agent_id=AGENT, clock=clock),
        clock=clock,
        agent_id=AGENT,
        cycle_id=CYCLE,
        budget_date=DAY,
        budget_usd=Decimal(1),
    )


async def talk(
    journal: CycleJournal, policy: Policy, faults: Sequence[Fault] = ()
) -> tuple[LoopResult, list[Json]]:
    """Hold a conversation through the real loop and SDK; return how it went, and every body sent."""
    transport = StandInTransport(policy, faults)
    model = model_over(transport)
    result = await run_loop(
        model=model,
        system=SYSTEM,
        tools=TOOLS,
        first_message="Mode: trade\nDecide.",
        toolbox=FakeToolbox(),
        ledger=journal,
        transcript=journal,
        settings=ClaudeSettings(),
        prices=PRICES,
        elapsed_seconds=lambda: 0.0,
        sleep=lambda _: asyncio.sleep(0),
    )
    await model.aclose()
    return result, transport.bodies


async def recorded(connection: Connection, kind: str) -> list[Any]:
    rows = await connection.fetch(
        "SELECT content FROM cycle_transcripts WHERE kind = $1 ORDER BY sequence", kind
    )
    return [row["content"] for row in rows]


ASK = call("get_quote", {"symbol": "ACME"})
TWICE_THE_SAME_ID = (call("get_quote", {"symbol": "A"}, id="x"), call("get_portfolio", id="x"))


@pytest.mark.parametrize(
    ("policy", "faults"),
    [
        (scripted([ASK], [call("get_portfolio")], [LOG], [DONE]), ()),
        (scripted([DONE], [LOG], [DONE]), ()),
        (scripted(TWICE_THE_SAME_ID, [ASK], [LOG], [DONE]), ()),
        (scripted([ASK], [LOG], [DONE]), [Fault(nth=2, kind=FaultKind.OVERLOADED)]),
        (scripted([ASK], [ASK], [LOG], [DONE]), [Fault(nth=2, kind=FaultKind.TRUNCATED)]),
        (scripted([ASK], [LOG], [DONE]), [Fault(nth=1, kind=FaultKind.PAUSE_TURN)]),
        (scripted([ASK], [LOG], [DONE]), [Fault(nth=2, kind=FaultKind.EMPTY)]),
    ],
    ids=["plain", "nudged", "unusable", "retried", "truncated", "paused", "empty"],
)
async def test_every_request_can_be_put_together_again_from_what_is_on_record(
    trading_connection: Connection,
    journal: CycleJournal,
    policy: Policy,
    faults: Sequence[Fault],
) -> None:
    result, bodies = await talk(journal, policy, faults)
    requests = await recorded(trading_connection, "request")

    assert result.end is LoopEnd.FINISHED, result.reason
    assert len(bodies) > 2
    assert put_together(requests) == [without_marks(body) for body in bodies]


async def test_system_and_tools_are_kept_once_and_each_message_once(
    trading_connection: Connection, journal: CycleJournal
) -> None:
    _, bodies = await talk(journal, scripted([ASK], [call("get_portfolio")], [LOG], [DONE]))
    first, *others = await recorded(trading_connection, "request")
    last_sent = cast("Sequence[Json]", bodies[-1]["messages"])

    assert first["system"][0]["text"] == SYSTEM
    assert [tool["name"] for tool in first["tools"]] == [tool["name"] for tool in TOOLS]
    assert all(other.keys() == {"model", "messages_before", "messages"} for other in others)
    assert sum(len(request["messages"]) for request in (first, *others)) == len(last_sent)


async def test_what_was_said_is_kept_in_its_order(
    trading_connection: Connection, journal: CycleJournal
) -> None:
    await talk(journal, scripted([ASK], [LOG], [DONE]))
    rows = await trading_connection.fetch(
        "SELECT sequence, kind FROM cycle_transcripts ORDER BY sequence"
    )

    assert [row["kind"] for row in rows] == [
        *("request", "reply", "tool_result"),
        *("request", "reply", "tool_result"),
        *("request", "reply"),
    ]
    assert [row["sequence"] for row in rows] == list(range(1, 9))


async def test_a_reply_is_kept_as_it_came_with_the_providers_id_of_the_request(
    trading_connection: Connection, journal: CycleJournal
) -> None:
    await talk(journal, scripted([LOG], [DONE]))
    reply, _ = await recorded(trading_connection, "reply")

    assert reply["request_id"] == "req_stand_in_0001"
    assert reply["stop_reason"] == "tool_use"
    assert reply["content"][-1]["input"] == LOG["input"]


async def test_a_settled_call_costs_what_it_used_and_is_counted(
    trading_connection: Connection, journal: CycleJournal
) -> None:
    for cost in ("0.01", "0.02"):
        call_id = await journal.reserve(model="claude-sonnet-5-5", worst_case_usd=Decimal("0.5"))
        await journal.settle(
            call_id,
            usage=SPENT,
            cost_usd=Decimal(cost),
            stop_reason="end_turn",
            request_id="req_1",
            duration_seconds=1.5,
        )
    day = await trading_connection.fetchrow("SELECT spent_usd, reserved_usd FROM budget_days")

    assert day is not None
    assert dict(day) == {"spent_usd": Decimal("0.03"), "reserved_usd": 0}
    assert journal.cost_usd == Decimal("0.03")
    assert journal.usage == SPENT + SPENT


async def test_a_failed_call_is_charged_what_it_may_have_cost(
    trading_connection: Connection, journal: CycleJournal
) -> None:
    call_id = await journal.reserve(model="claude-sonnet-5-5", worst_case_usd=Decimal("0.5"))
    await journal.fail(call_id, error="no answer", charged_usd=Decimal("0.5"))
    row = await trading_connection.fetchrow("SELECT status, cost_usd, error FROM claude_calls")

    assert row is not None
    assert dict(row) == {"status": "failed", "cost_usd": Decimal("0.5"), "error": "no answer"}
    assert journal.cost_usd == Decimal("0.5")


async def test_no_call_is_made_that_could_pass_the_days_budget(journal: CycleJournal) -> None:
    await journal.reserve(model="claude-sonnet-5-5", worst_case_usd=Decimal("0.6"))
    with pytest.raises(BudgetExceeded, match=r"0\.4 of 1 USD are left for 2026-06-15"):
        await journal.reserve(model="claude-sonnet-5-5", worst_case_usd=Decimal("0.6"))

    assert journal.cost_usd == 0
