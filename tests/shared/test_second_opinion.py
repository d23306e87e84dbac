"""A second opinion is paid for in every case, and whatever goes wrong holds the position."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rehearsal.request_rules import refusal_of
from rehearsal.stand_in import NOTICE, Fault, FaultKind, StandInTransport
from shared.claude import AnthropicModel, ModelReply, ModelRequest
from shared.claude_messages import content_blocks
from shared.clock import ManualClock
from shared.cycle_journal import CycleJournal
from shared.database.connection import Connection
from shared.errors import DatabaseUnavailable, LockLost
from shared.journal.books import open_books
from shared.second_opinion import ANSWER_SCHEMA, MAX_OUTPUT_TOKENS, Opinion, Reviewer
from shared.watch import Recommendation
from tests.fixtures.broker_orders import AGENT, AT, CYCLE, started
from tests.fixtures.claude import PRICES, FakeLedger, FakeTranscript, messages_of
from tests.fixtures.databases import open_connection
from tests.fixtures.messages_api import MessagesApi
from tests.fixtures.second_opinion import (
    EXIT,
    FALLING,
    HAIKU,
    HOLD,
    RISING,
    SYSTEM,
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


@pytest.mark.parametrize(("asked", "expected"), [(FALLING, EXIT), (RISING, HOLD)])
async def test_an_answer_is_the_model_s_word_with_its_reason_and_its_cost(
    asked: str, expected: Recommendation
) -> None:
    ledger = FakeLedger()

    opinion = await Office(ledger=ledger).ask(asked)

    assert (opinion.recommendation, opinion.answered) == (expected, True)
    assert opinion.reason.startswith(f"{NOTICE} ")
    assert opinion.cost_usd == ledger.spent > 0
    assert not ledger.open


async def test_the_request_is_one_the_provider_takes_and_has_the_form_of_the_answer() -> None:
    office = Office()
    await office.ask()
    (body,) = office.transport.bodies
    (message,) = messages_of(body)

    assert refusal_of(body) is None
    assert (body["model"], body["max_tokens"]) == (HAIKU, MAX_OUTPUT_TOKENS)
    assert body.keys() == {"model", "max_tokens", "system", "messages", "output_config"}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}
    assert content_blocks(message)[0]["text"] == FALLING
    assert content_blocks({"content": body["system"]})[0]["text"] == SYSTEM


def over_http(api: MessagesApi, ledger: FakeLedger) -> Reviewer:
    return Reviewer(
        open_model=lambda: AnthropicModel(api_key=SecretStr("key"), base_url=api.url),
        model=HAIKU,
        prices=PRICES,
        ledger=ledger,
        transcript=FakeTranscript(),
        timeout_seconds=10,
        seconds=lambda: 0.0,
    )


async def test_several_questions_go_over_one_connection_until_it_is_closed(
    messages_api: MessagesApi,
) -> None:
    ledger = FakeLedger()
    reviewer = over_http(messages_api, ledger)
    opinions = [await reviewer.ask(system=SYSTEM, question=q) for q in (FALLING, RISING, FALLING)]
    before = messages_api.connections
    await reviewer.aclose()
    await reviewer.aclose()
    again = await reviewer.ask(system=SYSTEM, question=FALLING)
    await reviewer.aclose()

    assert [opinion.recommendation for opinion in opinions] == [EXIT, HOLD, EXIT]
    assert all(opinion.answered for opinion in (*opinions, again))
    assert (before, messages_api.connections) == (1, 2)
    assert messages_api.keys == ["Bearer key"] * 4
    assert ledger.spent == sum(opinion.cost_usd for opinion in (*opinions, again))


@pytest.mark.parametrize("kind", [FaultKind.OVERLOADED, FaultKind.GARBAGE_BODY])
async def test_over_http_a_failure_holds_as_well_and_the_next_question_is_answered(
    messages_api: MessagesApi, kind: FaultKind
) -> None:
    messages_api.transport = StandInTransport(faults=[Fault(nth=1, kind=kind)])
    reviewer = over_http(messages_api, FakeLedger())
    first = await reviewer.ask(system=SYSTEM, question=FALLING)
    second = await reviewer.ask(system=SYSTEM, question=FALLING)
    await reviewer.aclose()

    assert (first.recommendation, first.answered) == (HOLD, False)
    assert (second.recommendation, second.answered) == (EXIT, True)
    assert len(messages_api.transport.bodies) == 2


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


async def test_a_model_without_a_price_is_not_asked() -> None:
    ledger = FakeLedger()
    office = Office(model="claude-of-the-past", ledger=ledger)

    opinion = await office.ask()

    assert (opinion.recommendation, opinion.answered, opinion.cost_usd) == (HOLD, False, 0)
    assert "claude-of-the-past has no price" in opinion.reason
    assert (office.opened, ledger.open, ledger.failed) == (0, {}, {})


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


class Locked(FakeLedger):
    """Another run has the lock."""

    async def reserve(self, *, model: str, worst_case_usd: Decimal) -> int:
        raise LockLost(f"{model} is not asked, the lock is lost")


async def test_a_lost_lock_ends_the_run() -> None:
    with pytest.raises(LockLost):
        await Office(ledger=Locked()).ask()


WORST_OUTPUT = MAX_OUTPUT_TOKENS * PRICES[HAIKU].tiers[0].output / 1_000_000
"""What the longest answer costs without its question."""


class OddModel:
    """A model whose SDK does what nobody expected."""

    async def reply(self, request: ModelRequest) -> ModelReply:
        raise KeyError(request.model)

    async def aclose(self) -> None:
        """Nothing is open."""


def no_sdk() -> OddModel:
    raise ImportError("No module named 'anthropic'")


@dataclass
class FullTranscript(FakeTranscript):
    """Takes no request."""

    async def record(self, kind: str, content: object) -> None:
        if kind == "request":
            raise OSError(28, "No space left on device")
        await super().record(kind, content)


@pytest.mark.parametrize(
    ("open_model", "transcript", "why", "is_charged"),
    [
        (OddModel, FakeTranscript, f"KeyError: '{HAIKU}'", True),
        (no_sdk, FakeTranscript, "ImportError: No module named 'anthropic'", False),
        (OddModel, FullTranscript, "OSError: [Errno 28]", False),
    ],
)
async def test_what_nobody_expected_holds_and_is_charged_from_when_it_may_have_been_sent(
    open_model: Callable[[], OddModel],
    transcript: type[FakeTranscript],
    why: str,
    *,
    is_charged: bool,
) -> None:
    ledger = FakeLedger()
    reviewer = Reviewer(
        open_model=open_model,
        model=HAIKU,
        prices=PRICES,
        ledger=ledger,
        transcript=transcript(),
        timeout_seconds=5,
        seconds=lambda: 0.0,
    )
    opinion = await reviewer.ask(system=SYSTEM, question=FALLING)

    assert (opinion.recommendation, opinion.answered) == (HOLD, False)
    assert why in opinion.reason
    assert opinion.cost_usd == ledger.spent
    assert (opinion.cost_usd > WORST_OUTPUT) is is_charged
    assert not ledger.open


async def test_a_call_that_is_cancelled_stays_reserved() -> None:
    arrived = asyncio.Event()
    ledger = FakeLedger()

    async def never_answer() -> None:
        arrived.set()
        await asyncio.Event().wait()

    office = Office(ledger=ledger, wire=lambda wire: LookingWire(wire, never_answer))
    asking = asyncio.create_task(office.ask())
    await arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert [*ledger.open] == [1]
    assert not ledger.failed


def test_a_connection_is_not_used_on_another_event_loop() -> None:
    office = Office()
    reviewer = office.reviewer()

    async def ask_twice() -> list[bool]:
        asked = [await reviewer.ask(system=SYSTEM, question=FALLING) for _ in range(2)]
        return [opinion.answered for opinion in asked]

    answered = [asyncio.run(ask_twice()) for _ in range(2)]
    asyncio.run(reviewer.aclose())

    assert answered == [[True, True]] * 2
    assert office.opened == 2


def test_a_monitor_that_asks_nobody_imports_no_sdk() -> None:
    program = """
import asyncio, sys
from decimal import Decimal
from shared.claude import AnthropicModel
from shared.errors import BudgetExceeded
from shared.prices import PRICE_FILE, load_prices
from shared.second_opinion import Reviewer

class Spent:
    async def reserve(self, **_):
        raise BudgetExceeded("nothing is left")

reviewer = Reviewer(open_model=lambda: AnthropicModel(api_key=None), model="claude-haiku-5-5",
    prices=load_prices(PRICE_FILE), ledger=Spent(), transcript=None, timeout_seconds=1,
    seconds=lambda: 0.0)
opinion = asyncio.run(reviewer.ask(system="s", question="q"))
loaded = {"anthropic", "httpx2", "asyncpg"} & set(sys.modules)
sys.exit(" ".join((opinion.recommendation, opinion.reason, *loaded)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert ended.stderr.splitlines()[-1] == "HOLD no second opinion: nothing is left"
