"""What a second opinion costs, in the books of the database, for everything that can go wrong."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rehearsal.stand_in import Fault, FaultKind
from shared.clock import ManualClock
from shared.cycle_journal import CycleJournal
from shared.database.connection import Connection
from shared.errors import DatabaseUnavailable
from shared.journal.books import open_books
from shared.second_opinion import Opinion
from tests.fixtures.broker_orders import AGENT, AT, CYCLE, started
from tests.fixtures.databases import open_connection
from tests.fixtures.second_opinion import (
    HAIKU,
    HOLD,
    LookingWire,
    Office,
)


async def open_journal(
    connection: Connection, home: Path, *, budget_usd: str = "1"
) -> CycleJournal:
    await started(connection)
    clock = ManualClock(AT)
    return CycleJournal(
        await open_books(connection, home=home, agent_id=AGENT, clock=clock),
        clock=clock,
        agent_id=AGENT,
        cycle_id=CYCLE,
        budget_date=date(2026, 6, 15),
        budget_usd=Decimal(budget_usd),
    )


async def booked(connection: Connection) -> list[dict[str, Any]]:
    """Every call in the database."""
    rows = await connection.fetch(
        "SELECT status, model, reserved_usd, cost_usd, error, request_id FROM claude_calls"
    )
    return [dict(row) for row in rows]


async def day_of(connection: Connection) -> dict[str, Any]:
    row = await connection.fetchrow("SELECT spent_usd, reserved_usd FROM budget_days")
    assert row is not None
    return dict(row)


async def said(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT kind FROM cycle_transcripts ORDER BY sequence")
    return [row["kind"] for row in rows]


FREE = {
    FaultKind.CONNECTION_REFUSED: "could not be reached",
    FaultKind.RATE_LIMITED: "answered 429",
    FaultKind.OVERLOADED: "answered 529",
    FaultKind.BAD_KEY: "answered 401",
    FaultKind.UNKNOWN_MODEL: "answered 404",
    FaultKind.CREDIT_EXHAUSTED: "credit balance",
    FaultKind.SPEND_LIMIT: "monthly limit",
}
MAYBE_BILLED = {
    FaultKind.CONNECTION_CUT: "could not be reached",
    FaultKind.SILENCE: "did not answer within 0.05 s",
    FaultKind.GARBAGE_BODY: "could not be read",
    FaultKind.SERVER_ERROR: "answered 500",
}
BILLED = {
    FaultKind.TRUNCATED: "ended with 'max_tokens'",
    FaultKind.REFUSAL: "ended with 'refusal'",
    FaultKind.PAUSE_TURN: "ended with 'pause_turn'",
    FaultKind.CONTEXT_WINDOW: "ended with 'model_context_window_exceeded'",
    FaultKind.UNKNOWN_STOP_REASON: "ended with 'a_reason_of_the_future'",
    FaultKind.EMPTY: "has 0 parts",
}


def test_every_fault_of_the_provider_is_in_a_table() -> None:
    assert {*FREE, *MAYBE_BILLED, *BILLED} == set(FaultKind)


async def failed(
    kind: FaultKind, connection: Connection, home: Path
) -> tuple[Opinion, dict[str, Any], list[str]]:
    """Ask in vain, with the database as the ledger."""
    journal = await open_journal(connection, home)
    office = Office(
        faults=[Fault(nth=1, kind=kind)],
        ledger=journal,
        transcript=journal,
        strict=kind is not FaultKind.UNKNOWN_STOP_REASON,
    )
    opinion = await office.ask()
    (row,) = await booked(connection)
    day = await day_of(connection)

    assert (opinion.recommendation, opinion.answered) == (HOLD, False)
    assert opinion.cost_usd == row["cost_usd"] == day["spent_usd"] == journal.cost_usd
    assert day["reserved_usd"] == 0
    return opinion, row, await said(connection)


@pytest.mark.parametrize(("kind", "why"), FREE.items())
async def test_a_call_that_was_refused_before_work_holds_and_costs_nothing(
    trading_connection: Connection, tmp_path: Path, kind: FaultKind, why: str
) -> None:
    opinion, row, kinds = await failed(kind, trading_connection, tmp_path)

    assert opinion.cost_usd == 0
    assert why in opinion.reason
    assert why in row["error"]
    assert (row["status"], kinds) == ("failed", ["request", "error"])


@pytest.mark.parametrize(("kind", "why"), MAYBE_BILLED.items())
async def test_a_call_that_may_have_been_billed_holds_and_costs_its_worst_case(
    trading_connection: Connection, tmp_path: Path, kind: FaultKind, why: str
) -> None:
    opinion, row, kinds = await failed(kind, trading_connection, tmp_path)

    assert opinion.cost_usd == row["reserved_usd"] > 0
    assert why in opinion.reason
    assert (row["status"], kinds) == ("failed", ["request", "error"])


@pytest.mark.parametrize(("kind", "why"), BILLED.items())
async def test_a_reply_that_is_no_answer_holds_and_costs_what_it_used(
    trading_connection: Connection, tmp_path: Path, kind: FaultKind, why: str
) -> None:
    opinion, row, kinds = await failed(kind, trading_connection, tmp_path)

    assert 0 < opinion.cost_usd < row["reserved_usd"]
    assert why in opinion.reason
    assert (row["status"], kinds) == ("settled", ["request", "reply"])


async def test_a_call_is_reserved_in_the_database_while_it_lasts_and_settled_after_it(
    trading_connection: Connection, tmp_path: Path
) -> None:
    journal = await open_journal(trading_connection, tmp_path)
    while_asked: list[dict[str, Any]] = []

    async def look() -> None:
        while_asked.extend([*await booked(trading_connection), await day_of(trading_connection)])

    opinion = await Office(
        ledger=journal, transcript=journal, wire=lambda wire: LookingWire(wire, look)
    ).ask()
    call_while, day_while = while_asked
    (row,), day = await booked(trading_connection), await day_of(trading_connection)

    assert (call_while["status"], call_while["model"]) == ("reserved", HAIKU)
    assert day_while == {"spent_usd": 0, "reserved_usd": row["reserved_usd"]}
    assert (row["status"], row["request_id"]) == ("settled", "req_stand_in_0001")
    assert day == {"spent_usd": opinion.cost_usd, "reserved_usd": 0}
    assert 0 < opinion.cost_usd == row["cost_usd"] < row["reserved_usd"]
    assert await said(trading_connection) == ["request", "reply"]


async def test_without_budget_the_position_is_held_and_nothing_is_sent(
    trading_connection: Connection, tmp_path: Path
) -> None:
    journal = await open_journal(trading_connection, tmp_path, budget_usd="0.0001")
    office = Office(ledger=journal, transcript=journal)

    opinion = await office.ask()

    assert (opinion.recommendation, opinion.answered, opinion.cost_usd) == (HOLD, False, 0)
    assert "0.0001 USD are left" in opinion.reason
    assert (office.opened, office.transport.bodies) == (0, [])
    assert (await booked(trading_connection), await said(trading_connection)) == ([], [])


async def test_a_lost_database_ends_the_run_whatever_the_model_would_have_said(
    trading_connection: Connection, trading_database_url: str, tmp_path: Path
) -> None:
    connection = await open_connection(trading_database_url)
    journal = await open_journal(connection, tmp_path)

    async def lose() -> None:
        connection.terminate()

    office = Office(ledger=journal, transcript=journal, wire=lambda wire: LookingWire(wire, lose))
    with pytest.raises(DatabaseUnavailable):
        await office.ask()

    assert [row["status"] for row in await booked(trading_connection)] == ["reserved"]
