"""What a reply leads to. The loop's own tests play the same rules through the real SDK."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.request_rules import refusal_of
from shared.claude_messages import (
    Json,
    ModelReply,
    ModelRequest,
    StopReason,
    canonical_json,
    content_blocks,
    parse_reply,
    request_body,
)
from shared.conversation import (
    AnsweredCall,
    AskAgain,
    CarryOut,
    Conversation,
    Finished,
    LoopEnd,
    Rules,
    Step,
    Stop,
    ToolCall,
    ToolOutcome,
    answer,
    begin,
    take_in,
)
from tests.fixtures.claude import TOOLS

RULES = Rules(offered=frozenset(str(t["name"]) for t in TOOLS), max_iterations=20)
START = begin("Mode: trade")


def use(tool_use_id: str, name: str = "get_quote", arguments: object = None) -> Json:
    nothing: Json = {}
    given_input = nothing if arguments is None else arguments
    return {"type": "tool_use", "id": tool_use_id, "name": name, "input": given_input}


def reply(*blocks: Json, stop: str = "tool_use") -> ModelReply:
    body = {
        "type": "message",
        "model": "m",
        "content": list(blocks),
        "stop_reason": stop,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return parse_reply(body, request_id=None)


def outcomes(step: CarryOut) -> list[ToolOutcome]:
    return [
        slot.outcome
        if isinstance(slot, AnsweredCall)
        else ToolOutcome(content="ok", is_error=False)
        for slot in step.slots
    ]


def carried_out(step: Step) -> list[str]:
    slots = step.slots if isinstance(step, CarryOut) else ()
    return [slot.tool_use_id for slot in slots if isinstance(slot, ToolCall)]


NEVER_CARRIED_OUT = [stop for stop in StopReason if stop is not StopReason.TOOL_USE]


@pytest.mark.parametrize("stop", NEVER_CARRIED_OUT)
def test_calls_are_carried_out_only_when_the_reply_ended_to_use_tools(stop: StopReason) -> None:
    step = take_in(START, reply(use("a"), use("b"), stop=stop), RULES)

    assert not isinstance(step, CarryOut)


@pytest.mark.parametrize(
    ("stop", "end"),
    [
        ("refusal", LoopEnd.REFUSAL),
        ("model_context_window_exceeded", LoopEnd.CONTEXT_WINDOW),
        ("a_reason_of_the_future", LoopEnd.UNKNOWN_STOP_REASON),
    ],
)
def test_some_endings_end_the_loop(stop: str, end: LoopEnd) -> None:
    step = take_in(START, reply(use("a"), stop=stop), RULES)

    assert isinstance(step, Stop)
    assert step.end is end
    assert step.conversation.messages == START.messages


def test_an_unknown_ending_is_named() -> None:
    step = take_in(START, reply(stop="a_reason_of_the_future"), RULES)

    assert isinstance(step, Stop)
    assert "a_reason_of_the_future" in step.reason


def test_a_decision_counts_as_logged_only_when_logging_it_worked() -> None:
    step = take_in(START, reply(use("a", "log_decision")), RULES)
    assert isinstance(step, CarryOut)

    refused = answer(step, [ToolOutcome(content="no", is_error=True)], RULES)
    logged = answer(step, [ToolOutcome(content="ok", is_error=False)], RULES)

    assert not refused.decision_logged
    assert logged.decision_logged


def test_a_cycle_that_offers_no_logging_is_not_reminded_of_it() -> None:
    rules = Rules(offered=frozenset({"get_quote"}), max_iterations=20)
    step = take_in(START, reply({"type": "text", "text": "done"}, stop="end_turn"), rules)

    assert isinstance(step, Finished)


def test_an_empty_reply_leaves_no_empty_message_behind() -> None:
    step = take_in(START, reply(stop="end_turn"), RULES)

    assert isinstance(step, AskAgain)
    (only,) = step.conversation.messages
    assert "log_decision" in str(content_blocks(only)[-1])


def test_empty_text_and_unsigned_thinking_are_not_sent_back() -> None:
    blocks: list[Json] = [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": " "},
        use("a"),
    ]
    step = take_in(START, reply(*blocks), RULES)

    assert content_blocks(step.conversation.messages[-1]) == (use("a"),)


def test_thinking_is_sent_back_as_it_came() -> None:
    thinking: Json = {"type": "thinking", "thinking": "hm", "signature": "s", "of_the_future": [1]}
    redacted: Json = {"type": "redacted_thinking", "data": "xyz"}
    step = take_in(START, reply(thinking, redacted, use("a")), RULES)

    assert content_blocks(step.conversation.messages[-1]) == (thinking, redacted, use("a"))


def test_the_third_identical_call_of_one_reply_is_refused() -> None:
    step = take_in(START, reply(use("a"), use("b"), use("c")), RULES)

    assert carried_out(step) == ["a", "b"]


def test_arguments_in_another_order_are_the_same_call() -> None:
    one = [use("a", arguments={"x": 1, "y": 2}), use("b", arguments={"y": 2, "x": 1})]
    step = take_in(START, reply(*one, use("c", arguments={"x": 1, "y": 2})), RULES)

    assert carried_out(step) == ["a", "b"]


def test_other_arguments_are_another_call() -> None:
    calls = [use(str(n), arguments={"symbol": f"S{n}"}) for n in range(10)]

    assert len(carried_out(take_in(START, reply(*calls), RULES))) == 10


def test_an_order_repeated_with_others_in_between_is_still_refused() -> None:
    conversation = START
    names = ["execute_trade", "get_quote"] * 2
    for n, name in enumerate(names):
        step = take_in(conversation, reply(use(str(n), name)), RULES)
        assert isinstance(step, CarryOut)
        conversation = answer(step, outcomes(step), RULES)

    third = take_in(conversation, reply(use("x", "execute_trade")), RULES)

    assert carried_out(third) == []


def test_self_contradicting_replies_end_the_loop_after_a_while() -> None:
    conversation: Conversation = START
    for n in range(2):
        step = take_in(conversation, reply(use(f"{n}"), stop="end_turn"), RULES)
        assert isinstance(step, AskAgain)
        conversation = step.conversation

    last = take_in(conversation, reply(use("z"), stop="end_turn"), RULES)

    assert isinstance(last, Stop)
    assert last.end is LoopEnd.UNUSABLE_REPLY


def test_every_call_needs_its_outcome() -> None:
    step = take_in(START, reply(use("a"), use("b")), RULES)
    assert isinstance(step, CarryOut)

    with pytest.raises(ValueError, match="shorter"):
        answer(step, [ToolOutcome(content="ok", is_error=False)], RULES)


BLOCKS = st.one_of(
    st.sampled_from(["", " ", "hello"]).map(lambda text: {"type": "text", "text": text}),
    st.sampled_from(["", "signed"]).map(
        lambda signature: {"type": "thinking", "thinking": "hm", "signature": signature}
    ),
    st.builds(
        use,
        st.sampled_from("abcdefghij"),
        st.sampled_from([*sorted(RULES.offered), "no_such_tool"]),
        st.one_of(st.just("text"), st.dictionaries(st.sampled_from("xy"), st.integers(0, 2))),
    ),
)


def _reply(blocks: list[Json], stop: str) -> ModelReply:
    return reply(*blocks, stop=stop)


REPLIES = st.builds(
    _reply,
    st.lists(BLOCKS, max_size=5),
    st.sampled_from([*map(str, StopReason), "tool_use", "tool_use"]),
)


@settings(deadline=None)
@given(replies=st.lists(REPLIES, max_size=12))
def test_whatever_claude_answers_the_next_request_is_one_that_the_provider_accepts(
    replies: list[ModelReply],
) -> None:
    conversation = START
    executed: list[str] = []
    for given_reply in replies:
        step = take_in(conversation, given_reply, RULES)
        if isinstance(step, Finished | Stop):
            break
        executed += carried_out(step)
        conversation = step.conversation
        if isinstance(step, CarryOut):
            assert given_reply.stop_reason is StopReason.TOOL_USE
            conversation = answer(step, outcomes(step), RULES)
        assert _refusal(conversation) is None

    assert len(set(executed)) == len(executed)


def _refusal(conversation: Conversation) -> str | None:
    request = ModelRequest(
        model="m",
        system="s",
        tools=TOOLS,
        messages=conversation.messages,
        max_output_tokens=100,
        timeout_seconds=1,
    )
    last = conversation.messages[-1]
    return refusal_of(dict(request_body(request)), resumable={canonical_json(last["content"])})
