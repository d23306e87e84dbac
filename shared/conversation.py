"""Decides, after each reply, what a cycle's conversation does next; it performs no I/O.

A reply is carried out only when it ended in order to use tools. Whatever else it asked for is answered
with the reason why nothing was done, a bounded number of times.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias, assert_never

from shared.claude_messages import (
    Json,
    ModelReply,
    StopReason,
    ToolUse,
    canonical_json,
    content_blocks,
)

DECISION_TOOL = "log_decision"
NOT_CARRIED_OUT = "Not carried out"
"""First words of the answer to every call that was never handed to the toolbox."""

_MAX_TRUNCATIONS = 2
_MAX_PAUSES = 3
_MAX_UNUSABLE = 2
_REPEATS_REFUSED_FROM = 3
_REPEATS_END_AT = 5
_WARN_WHEN_REPLIES_LEFT = 2


class LoopEnd(StrEnum):
    """Why a cycle's loop ended."""

    FINISHED = "finished"
    ITERATIONS = "iterations"
    DEADLINE = "deadline"
    BUDGET = "budget"
    REFUSAL = "refusal"
    MODEL_UNAVAILABLE = "model_unavailable"
    REPEATED_CALLS = "repeated_calls"
    TRUNCATED = "truncated"
    CONTEXT_WINDOW = "context_window"
    UNKNOWN_STOP_REASON = "unknown_stop_reason"
    UNUSABLE_REPLY = "unusable_reply"
    """Replies that contradict themselves, or pause, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call to carry out: the tool is offered and the arguments are an object, no more is known."""

    tool_use_id: str
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What a tool answered, as text for Claude."""

    content: str
    is_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredCall:
    """A call that is not carried out, and the answer it gets instead."""

    tool_use_id: str
    name: str
    outcome: ToolOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for a whole cycle."""

    offered: frozenset[str]
    """Names of the tools that the request offers; no other is carried out."""
    max_iterations: int
    acting_tools: frozenset[str] = frozenset({"execute_trade"})
    """Tools that change the account: after one succeeds, an earlier question may be asked anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The messages so far, and what has to be remembered to keep the rules."""

    messages: tuple[Json, ...]
    iterations: int = 0
    """Replies taken in."""
    decision_logged: bool = False
    nudged: bool = False
    truncations: int = 0
    pauses: int = 0
    unusable: int = 0
    seen_ids: frozenset[str] = frozenset()
    asked: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often each call, name and canonical arguments, was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryOut:
    """Carry out the calls among `slots`, in order, and give every outcome to `answer`."""

    conversation: Conversation
    slots: tuple[ToolCall | AnsweredCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAgain:
    """Ask for another reply; no tool runs in between. `refused` are calls answered on the way."""

    conversation: Conversation
    refused: tuple[AnsweredCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Claude is done."""

    conversation: Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the loop; nothing in the reply is carried out."""

    conversation: Conversation
    end: LoopEnd
    reason: str


Step: TypeAlias = CarryOut | AskAgain | Finished | Stop


def begin(first_message: str) -> Conversation:
    """Open a conversation with its first user message."""
    return Conversation(messages=({"role": "user", "content": [_text(first_message)]},))


def take_in(conversation: Conversation, reply: ModelReply, rules: Rules) -> Step:
    """Decide what a reply leads to. Pure; the conversation in the step has the reply in it."""
    conversation = replace(conversation, iterations=conversation.iterations + 1)
    match reply.stop_reason:
        case StopReason.TOOL_USE:
            return _tools_asked_for(conversation, reply, rules)
        case StopReason.END_TURN | StopReason.STOP_SEQUENCE:
            return _turn_ended(conversation, reply, rules)
        case StopReason.MAX_TOKENS:
            return _cut_off(conversation, reply)
        case StopReason.PAUSE_TURN:
            return _paused(conversation, reply)
        case StopReason.REFUSAL:
            return _stop(conversation, LoopEnd.REFUSAL, "Claude refused to go on")
        case StopReason.CONTEXT_WINDOW:
            return _stop(conversation, LoopEnd.CONTEXT_WINDOW, "the context window is full")
        case StopReason.UNKNOWN:
            reason = f"a reply ended for the unknown reason {reply.raw_stop_reason!r}"
            return _stop(conversation, LoopEnd.UNKNOWN_STOP_REASON, reason)
        case _:
            assert_never(reply.stop_reason)


def answer(step: CarryOut, outcomes: Sequence[ToolOutcome], rules: Rules) -> Conversation:
    """Add one user message that answers every call of the step, in order; one outcome per slot."""
    results = [
        _result(slot.tool_use_id, outcome)
        for slot, outcome in zip(step.slots, outcomes, strict=True)
    ]
    conversation = step.conversation
    left = rules.max_iterations - conversation.iterations
    warning = [_text(_last_replies_warning(left))] if 0 < left <= _WARN_WHEN_REPLIES_LEFT else []
    succeeded = {
        slot.name
        for slot, outcome in zip(step.slots, outcomes, strict=True)
        if not outcome.is_error
    }
    return replace(
        _with_blocks(conversation, "user", [*results, *warning]),
        decision_logged=conversation.decision_logged or DECISION_TOOL in succeeded,
        asked=_asked_after(conversation.asked, succeeded, rules),
    )


def _tools_asked_for(conversation: Conversation, reply: ModelReply, rules: Rules) -> Step:
    if not reply.tool_uses:
        return _turn_ended(conversation, reply, rules)
    if _ids_are_reused(conversation, reply):
        return _unusable(conversation, reply, "its tool_use ids are not unique", keep=False)
    asked = Counter(conversation.asked) + Counter(map(_fingerprint, reply.tool_uses))
    worn_out = [use.name for use in reply.tool_uses if asked[_fingerprint(use)] >= _REPEATS_END_AT]
    if worn_out:
        reason = f"{worn_out[0]} was asked for {_REPEATS_END_AT} times with the same arguments"
        return _stop(conversation, LoopEnd.REPEATED_CALLS, reason)
    slots = _slots(conversation, reply, rules)
    conversation = _with_reply(conversation, reply)
    return CarryOut(conversation=replace(conversation, asked=dict(asked)), slots=slots)


def _slots(
    conversation: Conversation, reply: ModelReply, rules: Rules
) -> tuple[ToolCall | AnsweredCall, ...]:
    asked = Counter(conversation.asked)
    slots: list[ToolCall | AnsweredCall] = []
    for use in reply.tool_uses:
        asked[_fingerprint(use)] += 1
        slots.append(_slot(use, asked[_fingerprint(use)], rules))
    return tuple(slots)


def _slot(use: ToolUse, times: int, rules: Rules) -> ToolCall | AnsweredCall:
    if use.name not in rules.offered:
        return _refuse(use, f"there is no tool named {use.name} in this cycle.")
    if use.input is None:
        return _refuse(use, "the input is not a JSON object.")
    if times >= _REPEATS_REFUSED_FROM:
        return _refuse(
            use,
            f"you asked the same {times} times. Use the answer you have, or do something else; "
            f"the cycle ends when the same is asked {_REPEATS_END_AT} times.",
        )
    return ToolCall(tool_use_id=use.id, name=use.name, arguments=use.input)


def _turn_ended(conversation: Conversation, reply: ModelReply, rules: Rules) -> Step:
    if reply.tool_uses:
        return _unusable(conversation, reply, "it ended without waiting for the tools it names")
    if conversation.decision_logged or conversation.nudged or DECISION_TOOL not in rules.offered:
        return Finished(conversation=_with_reply(conversation, reply))
    nudge = (
        f"You have not called {DECISION_TOOL}. Call it now, once, to log what you decided and why."
    )
    return _ask_again(replace(conversation, nudged=True), reply, nudge)


def _cut_off(conversation: Conversation, reply: ModelReply) -> Step:
    conversation = replace(conversation, truncations=conversation.truncations + 1)
    why = "your reply was cut off at its maximum length. Ask again, more briefly."
    if conversation.truncations > _MAX_TRUNCATIONS:
        reason = f"{conversation.truncations} replies were cut off at their maximum length"
        return _stop(conversation, LoopEnd.TRUNCATED, reason)
    if _ids_are_reused(conversation, reply):
        return _unusable(conversation, reply, "its tool_use ids are not unique", keep=False)
    return _ask_again(conversation, reply, why)


def _paused(conversation: Conversation, reply: ModelReply) -> Step:
    conversation = replace(conversation, pauses=conversation.pauses + 1)
    if conversation.pauses > _MAX_PAUSES:
        reason = f"Claude paused {conversation.pauses} times"
        return _stop(conversation, LoopEnd.UNUSABLE_REPLY, reason)
    if reply.tool_uses:
        return _unusable(conversation, reply, "it paused although it names tools")
    return AskAgain(conversation=_with_reply(conversation, reply))


def _unusable(
    conversation: Conversation, reply: ModelReply, flaw: str, *, keep: bool = True
) -> Step:
    """Tell Claude what is wrong with its reply; `keep` says whether the provider would take it back."""
    conversation = replace(conversation, unusable=conversation.unusable + 1)
    if conversation.unusable > _MAX_UNUSABLE:
        reason = f"a reply could not be used: {flaw}"
        return _stop(conversation, LoopEnd.UNUSABLE_REPLY, reason)
    why = f"your reply could not be used: {flaw}. Ask again."
    if keep and not _ids_are_reused(conversation, reply):
        return _ask_again(conversation, reply, why)
    return AskAgain(
        conversation=_with_blocks(conversation, "user", [_text(f"{NOT_CARRIED_OUT}: {why}")])
    )


def _ask_again(conversation: Conversation, reply: ModelReply, why: str) -> AskAgain:
    """Keep the reply, answer each of its calls with `why`, and say it in words where it had none."""
    refused = tuple(_refuse(use, why) for use in reply.tool_uses)
    results = [_result(call.tool_use_id, call.outcome) for call in refused]
    return AskAgain(
        conversation=_with_blocks(
            _with_reply(conversation, reply), "user", results or [_text(why)]
        ),
        refused=refused,
    )


def _refuse(use: ToolUse, why: str) -> AnsweredCall:
    outcome = ToolOutcome(content=f"{NOT_CARRIED_OUT}: {why}", is_error=True)
    return AnsweredCall(tool_use_id=use.id, name=use.name, outcome=outcome)


def _stop(conversation: Conversation, end: LoopEnd, reason: str) -> Stop:
    return Stop(conversation=conversation, end=end, reason=reason)


def _ids_are_reused(conversation: Conversation, reply: ModelReply) -> bool:
    ids = [use.id for use in reply.tool_uses]
    return len(set(ids)) < len(ids) or not conversation.seen_ids.isdisjoint(ids)


def _fingerprint(use: ToolUse) -> str:
    return f"{use.name} {canonical_json(use.input)}"


def _asked_after(asked: Mapping[str, int], succeeded: set[str], rules: Rules) -> Mapping[str, int]:
    if rules.acting_tools.isdisjoint(succeeded):
        return asked
    return {
        call: times for call, times in asked.items() if call.split(" ", 1)[0] in rules.acting_tools
    }


def _with_reply(conversation: Conversation, reply: ModelReply) -> Conversation:
    content = [*map(_sendable, _kept_blocks(reply))]
    ids = conversation.seen_ids.union(use.id for use in reply.tool_uses)
    if all(block.get("type") in _THINKING for block in content):  # alone, the provider refuses it
        return replace(conversation, seen_ids=ids)
    return _with_blocks(replace(conversation, seen_ids=ids), "assistant", content)


_THINKING = frozenset({"thinking", "redacted_thinking"})


def _kept_blocks(reply: ModelReply) -> tuple[Json, ...]:
    return tuple(block for block in content_blocks(reply.raw) if _is_accepted_back(block))


def _is_accepted_back(block: Json) -> bool:
    """Leave out what the provider sends but refuses to take: empty text, thinking cut off unsigned."""
    match block:
        case {"type": "text", "text": str(text)}:
            return bool(text.strip())
        case {"type": "thinking"}:
            return bool(block.get("signature"))
        case _:
            return True


def _sendable(block: Json) -> Json:
    if block.get("type") == "tool_use" and not isinstance(block.get("input"), Mapping):
        return {**block, "input": {}}
    return block


def _with_blocks(conversation: Conversation, role: str, blocks: list[Json]) -> Conversation:
    """Add blocks to the last message where it has the same role, since roles have to alternate."""
    *before, last = conversation.messages
    if last["role"] != role:
        message: Json = {"role": role, "content": blocks}
        return replace(conversation, messages=(*conversation.messages, message))
    longer = {**last, "content": [*content_blocks(last), *blocks]}
    return replace(conversation, messages=(*before, longer))


def _result(tool_use_id: str, outcome: ToolOutcome) -> Json:
    return {
        "type": "tool_result",
        "tool_use_id": tool_use_id,
        "content": _well_formed(outcome.content) or "(empty)",
        "is_error": outcome.is_error,
    }


def _text(text: str) -> Json:
    return {"type": "text", "text": _well_formed(text)}


def _well_formed(text: str) -> str:
    """Replace halves of surrogate pairs, which foreign text can hold and JSON in UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _last_replies_warning(left: int) -> str:
    replies = "1 reply is" if left == 1 else f"{left} replies are"
    return f"Only {replies} left in this cycle: log your decision with {DECISION_TOOL} now."
