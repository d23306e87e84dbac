"""A second opinion is paid for in every case, and whatever goes wrong holds the position."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import httpx2
import pytest
from pydantic import SecretStr

from rehearsal.request_rules import refusal_of
from rehearsal.stand_in import NOTICE, Fault, FaultKind, StandInTransport
from shared.claude import AnthropicModel, ModelReply, ModelRequest
from shared.claude_messages import content_blocks
from shared.errors import LockLost
from shared.second_opinion import ANSWER_SCHEMA, MAX_OUTPUT_TOKENS, Reviewer
from shared.watch import Recommendation
from tests.fixtures.claude import PRICES, FakeLedger, FakeTranscript, messages_of
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


async def test_a_model_without_a_price_is_not_asked() -> None:
    ledger = FakeLedger()
    office = Office(model="claude-of-the-past", ledger=ledger)

    opinion = await office.ask()

    assert (opinion.recommendation, opinion.answered, opinion.cost_usd) == (HOLD, False, 0)
    assert "claude-of-the-past has no price" in opinion.reason
    assert (office.opened, ledger.open, ledger.failed) == (0, {}, {})


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
    wires: list[LookingWire] = []

    def wire(behind: httpx2.AsyncBaseTransport) -> LookingWire:
        wires.append(LookingWire(behind, no_wait))
        return wires[-1]

    office = Office(wire=wire)
    reviewer = office.reviewer()

    async def no_wait() -> None:
        """The answer comes at once."""

    async def ask_twice() -> list[bool]:
        asked = [await reviewer.ask(system=SYSTEM, question=FALLING) for _ in range(2)]
        return [opinion.answered for opinion in asked]

    async def ask_and_close() -> None:
        await reviewer.ask(system=SYSTEM, question=FALLING)
        await reviewer.aclose()

    answered = [asyncio.run(ask_twice()) for _ in range(2)]
    asyncio.run(reviewer.aclose())
    asyncio.run(ask_and_close())

    assert answered == [[True, True]] * 2
    assert office.opened == 3
    assert [wire.closed for wire in wires] == [0, 0, 1]


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
