"""The loop against the real SDK, over the stand-in's transport."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise

import httpx2
import pytest

from rehearsal.stand_in import Fault, FaultKind
from shared.agent_loop import RETRY_WAITS_SECONDS, LoopEnd, ToolCall
from shared.claude import Model, ModelReply, ModelRequest, Usage
from shared.claude_messages import Json, content_blocks, is_json_object, is_list, request_body
from shared.config import ClaudeSettings
from shared.errors import ConfigError, CreditExhausted, ToolError
from shared.prices import cost
from tests.fixtures.claude import (
    DONE,
    LOG,
    PRICES,
    Cycle,
    FakeLedger,
    FakeToolbox,
    call,
    messages_of,
    say,
    scripted,
)

PORTFOLIO = call("get_portfolio")
TRADE = call("execute_trade", {"symbol": "ABC"})


def results_of(body: Json) -> list[Json]:
    """The tool results in the last message of a request."""
    blocks = content_blocks(messages_of(body)[-1])
    return [block for block in blocks if block["type"] == "tool_result"]


async def test_a_cycle_calls_its_tools_logs_its_decision_and_finishes() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))

    result = await cycle.run()

    assert result.end is LoopEnd.FINISHED
    assert result.reason == ""
    assert result.tools_called == ("get_portfolio", "log_decision")
    assert result.decision_logged
    assert result.iterations == 3
    assert result.text == "Stand-in policy, no model was asked. done"


async def test_the_cost_is_that_of_the_usage_of_all_replies_and_nothing_stays_reserved() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))

    result = await cycle.run()

    assert result.cost_usd == cycle.ledger.spent > 0
    assert result.cost_usd == cost(PRICES["claude-sonnet-5-5"], result.usage)
    assert not cycle.ledger.open
    assert cycle.ledger.request_ids == [f"req_stand_in_000{n}" for n in (1, 2, 3)]


async def test_the_transcript_holds_everything_in_the_order_in_which_it_happened() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))

    await cycle.run()

    assert cycle.transcript.kinds == ["request", "reply", "tool_result"] * 2 + ["request", "reply"]
    requests = [content for kind, content in cycle.transcript.entries if kind == "request"]
    assert requests == cycle.bodies


async def test_every_call_is_reserved_before_it_is_made() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))
    open_while_asked: list[int] = []

    class Watching:
        def __init__(self, model: Model) -> None:
            self._model = model

        async def reply(self, request: ModelRequest) -> ModelReply:
            open_while_asked.append(len(cycle.ledger.open))
            return await self._model.reply(request)

    cycle.wrap = Watching
    await cycle.run()

    assert open_while_asked == [1, 1, 1]


async def test_several_calls_of_one_reply_are_answered_in_order_in_one_message() -> None:
    calls = [call("get_quote", {"symbol": s}, id=f"toolu_{s}") for s in ("AAA", "BBB", "CCC")]
    cycle = Cycle(scripted(calls, [LOG], [DONE]))

    await cycle.run()

    answered = [result["tool_use_id"] for result in results_of(cycle.bodies[1])]
    assert answered == ["toolu_AAA", "toolu_BBB", "toolu_CCC"]
    assert cycle.toolbox.names == ["get_quote"] * 3 + ["log_decision"]


async def test_thinking_goes_back_unchanged() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))

    await cycle.run()

    thinking = [
        block
        for message in messages_of(cycle.bodies[2])
        for block in content_blocks(message)
        if block["type"] == "thinking"
    ]
    assert len(thinking) == 2  # the stand-in answers 400 when a signature does not fit


async def test_a_truncated_reply_is_never_carried_out_and_every_call_in_it_is_answered() -> None:
    both = [PORTFOLIO, TRADE]
    cycle = Cycle(scripted(both, [LOG], [DONE]), [Fault(nth=1, kind=FaultKind.TRUNCATED)])

    result = await cycle.run()

    assert cycle.toolbox.names == ["log_decision"]
    assert [r["is_error"] for r in results_of(cycle.bodies[1])] == [True, True]
    assert "cut off" in str(results_of(cycle.bodies[1])[0]["content"])
    assert result.end is LoopEnd.FINISHED


async def test_the_third_truncated_reply_ends_the_loop() -> None:
    faults = [Fault(nth=n, kind=FaultKind.TRUNCATED) for n in (1, 2, 3)]
    cycle = Cycle(scripted([TRADE]), faults)

    result = await cycle.run()

    assert result.end is LoopEnd.TRUNCATED
    assert cycle.toolbox.names == []


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        (FaultKind.REFUSAL, LoopEnd.REFUSAL),
        (FaultKind.CONTEXT_WINDOW, LoopEnd.CONTEXT_WINDOW),
        (FaultKind.UNKNOWN_STOP_REASON, LoopEnd.UNKNOWN_STOP_REASON),
    ],
)
async def test_a_reply_that_ends_for_a_bad_reason_is_paid_and_not_carried_out(
    kind: FaultKind, end: LoopEnd
) -> None:
    cycle = Cycle(scripted([TRADE]), [Fault(nth=1, kind=kind)], strict=False)

    result = await cycle.run()

    assert result.end is end
    assert cycle.toolbox.names == []
    assert len(cycle.ledger.settled) == 1


async def test_a_paused_turn_is_sent_back_as_it_is_and_goes_on() -> None:
    cycle = Cycle(scripted([LOG], [DONE]), [Fault(nth=1, kind=FaultKind.PAUSE_TURN)])

    result = await cycle.run()

    assert messages_of(cycle.bodies[1])[-1]["role"] == "assistant"
    assert result.end is LoopEnd.FINISHED
    assert result.decision_logged


async def test_pauses_without_end_end_the_loop() -> None:
    faults = [Fault(nth=n, kind=FaultKind.PAUSE_TURN) for n in range(1, 10)]
    result = await Cycle(scripted([LOG]), faults).run()

    assert result.end is LoopEnd.UNUSABLE_REPLY
    assert result.iterations == 4


async def test_an_empty_reply_is_answered_with_a_reminder_to_log_the_decision() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]), [Fault(nth=2, kind=FaultKind.EMPTY)])

    result = await cycle.run()

    assert result.decision_logged
    assert result.end is LoopEnd.FINISHED


async def test_a_reply_without_a_logged_decision_is_reminded_once() -> None:
    cycle = Cycle(scripted([say("I am done")]))

    result = await cycle.run()

    assert result.end is LoopEnd.FINISHED
    assert not result.decision_logged
    assert result.iterations == 2


async def test_the_last_permitted_replies_are_announced_and_the_last_one_is_carried_out() -> None:
    n = iter(range(100))
    cycle = Cycle(
        lambda _: [call("get_quote", {"symbol": f"S{next(n)}"})],
        settings=ClaudeSettings(max_iterations=4),
    )

    result = await cycle.run()

    assert result.end is LoopEnd.ITERATIONS
    assert result.tools_called == ("get_quote",) * 4
    assert ["left in this cycle" in str(body) for body in cycle.bodies] == [
        False,
        False,
        True,
        True,
    ]


async def test_the_same_question_is_refused_the_third_time_and_ends_the_loop_the_fifth() -> None:
    cycle = Cycle(scripted([PORTFOLIO]))

    result = await cycle.run()

    assert result.end is LoopEnd.REPEATED_CALLS
    assert cycle.toolbox.names == ["get_portfolio"] * 2
    assert result.iterations == 5
    assert "asked the same 3 times" in str(cycle.bodies[3])


async def test_after_a_trade_the_portfolio_may_be_asked_for_anew() -> None:
    trades = [[PORTFOLIO, call("execute_trade", {"symbol": f"S{n}"})] for n in range(6)]
    cycle = Cycle(scripted(*trades, [LOG], [DONE]))

    result = await cycle.run()

    assert result.end is LoopEnd.FINISHED
    assert cycle.toolbox.names.count("get_portfolio") == 6


async def test_a_tool_that_is_not_offered_is_not_carried_out() -> None:
    cycle = Cycle(scripted([call("lift_halt")], [LOG], [DONE]))

    await cycle.run()

    assert cycle.toolbox.names == ["log_decision"]
    assert "no tool named lift_halt" in str(results_of(cycle.bodies[1]))


async def test_an_input_that_is_no_object_is_answered_as_an_error() -> None:
    cycle = Cycle(scripted([call("get_quote", "ABC")], [LOG], [DONE]), strict=False)

    result = await cycle.run()

    assert cycle.toolbox.names == ["log_decision"]
    assert "not a JSON object" in str(results_of(cycle.bodies[1]))
    assert result.end is LoopEnd.FINISHED


async def test_calls_that_share_an_id_are_refused_and_asked_for_again() -> None:
    twice = [call("execute_trade", {"symbol": s}, id="toolu_same") for s in ("A", "B")]
    cycle = Cycle(scripted(twice, [LOG], [DONE]))

    result = await cycle.run()

    assert cycle.toolbox.names == ["log_decision"]
    assert result.end is LoopEnd.FINISHED


async def test_an_id_of_an_earlier_reply_is_refused_too() -> None:
    again = [call("get_portfolio", id="toolu_same")]
    cycle = Cycle(scripted(again, again, [LOG], [DONE]))

    await cycle.run()

    assert cycle.toolbox.names == ["get_portfolio", "log_decision"]


async def test_a_tool_error_is_told_to_claude() -> None:
    def refuse(asked: ToolCall) -> None:
        if asked.name == "get_quote":
            msg = "there is no symbol NOPE"
            raise ToolError(msg)

    cycle = Cycle(
        scripted([call("get_quote", {"symbol": "NOPE"})], [LOG], [DONE]),
        toolbox=FakeToolbox(takes=refuse),
    )

    await cycle.run()

    (answered,) = results_of(cycle.bodies[1])
    assert answered["is_error"] is True
    assert answered["content"] == "there is no symbol NOPE"


async def test_half_a_surrogate_pair_in_a_tool_s_answer_does_not_stop_the_cycle() -> None:
    cycle = Cycle(
        scripted([PORTFOLIO], [LOG], [DONE]), toolbox=FakeToolbox({"get_portfolio": "news \ud83d"})
    )

    assert (await cycle.run()).end is LoopEnd.FINISHED


@pytest.mark.parametrize("budget", ["0", "0.01"])
async def test_no_call_is_made_that_the_budget_could_not_pay_at_its_worst(budget: str) -> None:
    cycle = Cycle(scripted([PORTFOLIO]), ledger=FakeLedger(budget_usd=Decimal(budget)))

    result = await cycle.run()

    assert result.end is LoopEnd.BUDGET
    assert cycle.bodies == []
    assert result.cost_usd == 0


async def test_a_budget_that_runs_out_ends_the_loop_between_two_calls() -> None:
    n = iter(range(100))
    cycle = Cycle(
        lambda _: [call("get_quote", {"symbol": f"S{next(n)}"})],
        ledger=FakeLedger(budget_usd=Decimal("0.08")),
    )

    result = await cycle.run()

    assert result.end is LoopEnd.BUDGET
    assert 0 < result.iterations < 20
    assert cycle.ledger.spent <= Decimal("0.08")


async def test_the_deadline_ends_the_loop_between_two_calls() -> None:
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))

    def take_long(_: ToolCall) -> None:
        cycle.clock.now += 300

    cycle.toolbox.takes = take_long
    result = await cycle.run()

    assert result.end is LoopEnd.DEADLINE
    assert result.tools_called == ("get_portfolio",)
    assert len(cycle.bodies) == 1


async def test_a_call_s_timeout_never_reaches_past_the_deadline() -> None:
    timeouts: list[float] = []
    cycle = Cycle(scripted([PORTFOLIO], [LOG], [DONE]))

    class Watching:
        def __init__(self, model: Model) -> None:
            self._model = model

        async def reply(self, request: ModelRequest) -> ModelReply:
            timeouts.append(request.timeout_seconds)
            return await self._model.reply(request)

    def take_long(_: ToolCall) -> None:
        cycle.clock.now += 100

    cycle.wrap = Watching
    cycle.toolbox.takes = take_long
    await cycle.run()

    assert timeouts == [90, 90, 40]


@pytest.mark.parametrize(
    ("kind", "billed"),
    [
        (FaultKind.CONNECTION_REFUSED, False),
        (FaultKind.RATE_LIMITED, False),
        (FaultKind.OVERLOADED, False),
        (FaultKind.SERVER_ERROR, True),
        (FaultKind.CONNECTION_CUT, True),
        (FaultKind.GARBAGE_BODY, True),
    ],
)
async def test_a_failed_call_is_tried_again_and_charged_its_worst_case_unless_provably_free(
    kind: FaultKind, *, billed: bool
) -> None:
    cycle = Cycle(scripted([LOG], [DONE]), [Fault(nth=1, kind=kind)])

    result = await cycle.run()

    assert result.end is LoopEnd.FINISHED
    assert cycle.clock.slept == [RETRY_WAITS_SECONDS[0]]
    ((_, charged),) = cycle.ledger.failed.values()
    assert (charged > 0) is billed
    assert result.cost_usd == cycle.ledger.spent
    assert "error" in cycle.transcript.kinds


async def test_three_failures_in_a_row_end_the_loop_with_growing_waits() -> None:
    faults = [Fault(nth=n, kind=FaultKind.OVERLOADED) for n in (1, 2, 3)]
    cycle = Cycle(scripted([LOG]), faults)

    result = await cycle.run()

    assert result.end is LoopEnd.MODEL_UNAVAILABLE
    assert "529" in result.reason
    assert cycle.clock.slept == [*RETRY_WAITS_SECONDS]
    assert len(cycle.ledger.failed) == 3
    assert all(a < b for a, b in pairwise(RETRY_WAITS_SECONDS))


async def test_retry_after_is_obeyed_where_the_deadline_allows() -> None:
    cycle = Cycle(
        scripted([LOG], [DONE]), [Fault(nth=1, kind=FaultKind.RATE_LIMITED, retry_after="30")]
    )

    result = await cycle.run()

    assert cycle.clock.slept == [30]
    assert result.end is LoopEnd.FINISHED


@pytest.mark.parametrize("retry_after", ["240", "4233600"])
async def test_a_retry_after_beyond_the_deadline_ends_the_loop_without_waiting(
    retry_after: str,
) -> None:
    fault = Fault(nth=1, kind=FaultKind.RATE_LIMITED, retry_after=retry_after)
    cycle = Cycle(scripted([LOG]), [fault])

    result = await cycle.run()

    assert result.end is LoopEnd.MODEL_UNAVAILABLE
    assert cycle.clock.slept == []


async def test_silence_ends_with_the_request_s_timeout_and_is_charged() -> None:
    cycle = Cycle(
        scripted([LOG], [DONE]),
        [Fault(nth=1, kind=FaultKind.SILENCE)],
        settings=ClaudeSettings(request_timeout_seconds=0.05),
    )

    result = await cycle.run()

    assert result.end is LoopEnd.FINISHED
    ((error, charged),) = cycle.ledger.failed.values()
    assert "did not answer within" in error
    assert charged > 0


@pytest.mark.parametrize("kind", [FaultKind.CREDIT_EXHAUSTED, FaultKind.SPEND_LIMIT])
async def test_exhausted_credit_ends_the_loop_at_once_and_is_told_apart(kind: FaultKind) -> None:
    cycle = Cycle(scripted([LOG]), [Fault(nth=1, kind=kind)])

    result = await cycle.run()

    assert result.end is LoopEnd.BUDGET
    assert isinstance(result.failure, CreditExhausted)
    assert result.cost_usd == 0
    assert len(cycle.bodies) == 1


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [(FaultKind.BAD_KEY, "invalid x-api-key"), (FaultKind.UNKNOWN_MODEL, "claude-of-the-past")],
)
async def test_a_bad_key_or_model_is_for_the_operator_in_the_provider_s_words(
    kind: FaultKind, sentence: str
) -> None:
    cycle = Cycle(scripted([LOG]), [Fault(nth=1, kind=kind)])

    with pytest.raises(ConfigError, match=sentence):
        await cycle.run()

    assert not cycle.ledger.open
    assert cycle.ledger.spent == 0


async def test_a_model_without_a_price_is_refused_before_anything_is_asked() -> None:
    cycle = Cycle(scripted([LOG]), settings=ClaudeSettings(model="claude-of-the-past"))

    with pytest.raises(ConfigError, match="no price"):
        await cycle.run()

    assert cycle.bodies == []


async def test_a_cancelled_call_leaves_its_reservation_standing() -> None:
    asked = asyncio.Event()

    class Telling:
        def __init__(self, model: Model) -> None:
            self._model = model

        async def reply(self, request: ModelRequest) -> ModelReply:
            asked.set()
            return await self._model.reply(request)

    cycle = Cycle(scripted([LOG]), [Fault(nth=1, kind=FaultKind.SILENCE)], wrap=Telling)
    task = asyncio.create_task(cycle.run())
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(cycle.ledger.open) == 1


async def test_our_breakpoints_bring_a_long_cycle_s_input_to_a_quarter_of_its_price() -> None:
    cached = await long_cycle(lambda wire: wire)
    plain = await long_cycle(WithoutBreakpoints)

    assert cached.input + cached.cache_read + cached.cache_write == plain.input
    assert plain.cache_read == plain.cache_write == 0
    assert input_cost(cached) * 4 <= input_cost(plain)


async def test_the_cache_is_still_found_after_a_reply_with_more_blocks_than_it_looks_back() -> None:
    n = iter(range(1000))
    many = 15
    cycle = Cycle(
        lambda _: [call("get_quote", {"symbol": f"S{next(n)}"}) for _ in range(many)],
        settings=ClaudeSettings(max_iterations=4),
        toolbox=FakeToolbox({"get_quote": "x" * 400}),
    )

    result = await cycle.run()

    # Each request after the first reads all that the one before it wrote.
    assert result.usage.cache_read > result.usage.cache_write


def input_cost(usage: Usage) -> Decimal:
    inputs = Usage(input=usage.input, cache_read=usage.cache_read, cache_write=usage.cache_write)
    return cost(PRICES["claude-sonnet-5-5"], inputs)


async def long_cycle(
    wire: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport],
) -> Usage:
    n = iter(range(100))
    cycle = Cycle(
        wire=wire,
        policy=lambda _: [call("get_quote", {"symbol": f"S{next(n)}"})],
        toolbox=FakeToolbox({"get_quote": '{"bid": "10.00", "ask": "10.01"}' * 20}),
        system="You trade a paper account. " * 200,
    )
    result = await cycle.run()
    assert result.iterations == 20
    return result.usage


class WithoutBreakpoints(httpx2.AsyncBaseTransport):
    """Takes every cache_control out of a request on its way."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = _strip(json.loads(await request.aread()))
        headers = {"authorization": request.headers["authorization"]}
        stripped = httpx2.Request(request.method, request.url, headers=headers, json=body)
        return await self._inner.handle_async_request(stripped)


def _strip(value: object) -> object:
    if is_json_object(value):
        return {key: _strip(part) for key, part in value.items() if key != "cache_control"}
    return [_strip(part) for part in value] if is_list(value) else value


def test_importing_the_loop_imports_no_sdk() -> None:
    code = (
        "import sys, shared.claude, shared.agent_loop, shared.prices;"
        "sys.exit(' '.join({'anthropic', 'httpx2', 'asyncpg'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_no_request_carries_what_current_models_refuse() -> None:
    request = ModelRequest(
        model="m",
        system="s",
        tools=(),
        messages=({"role": "user", "content": "hello"},),
        max_output_tokens=100,
        timeout_seconds=1,
    )

    assert set(request_body(request)) == {"model", "max_tokens", "system", "tools", "messages"}
