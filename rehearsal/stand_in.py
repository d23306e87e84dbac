"""Stands in for Claude: answers the Messages API from a policy, behind the SDK's own transport.

Requests, replies, usage and errors have the provider's form, so everything above the transport is the
real thing. No model is asked, and every reply says so.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TypeAlias

import httpx2
from pydantic import SecretStr

from rehearsal.answers import wanted_properties
from rehearsal.loopback import refuse_unless_rehearsal
from rehearsal.policy import NOTICE, decide
from rehearsal.request_rules import refusal_of
from rehearsal.usage import PromptCache, tokens_of, usage_json
from shared.claude import AnthropicModel
from shared.claude_messages import Json, canonical_json, content_blocks, is_json_object, is_list
from shared.config import Settings

__all__ = [
    "NOTICE",
    "Fault",
    "FaultKind",
    "Policy",
    "StandInTransport",
    "open_stand_in",
    "refuse_unless_rehearsal",
]

_THOUGHT = "This is a fixed rule at work, not thought."

Policy: TypeAlias = Callable[[Json], Sequence[Json]]
"""From a request's body to the blocks of the reply: text, and tool_use (its id is added)."""


class FaultKind(StrEnum):
    """What can go wrong on demand."""

    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_CUT = "connection_cut"
    """The request arrives, the connection breaks before the answer."""
    SILENCE = "silence"
    GARBAGE_BODY = "garbage_body"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    BAD_KEY = "bad_key"
    UNKNOWN_MODEL = "unknown_model"
    CREDIT_EXHAUSTED = "credit_exhausted"
    SPEND_LIMIT = "spend_limit"
    TRUNCATED = "truncated"
    """max_tokens is reached in the middle of the last block."""
    REFUSAL = "refusal"
    PAUSE_TURN = "pause_turn"
    CONTEXT_WINDOW = "context_window"
    UNKNOWN_STOP_REASON = "unknown_stop_reason"
    EMPTY = "empty"
    """A reply without any block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, with the nth request to arrive (counted from 1)."""

    nth: int
    kind: FaultKind
    retry_after: str | None = None


class StandInTransport(httpx2.AsyncBaseTransport):
    """The provider's end of POST /v1/messages, in this process."""

    def __init__(
        self,
        policy: Policy = decide,
        faults: Sequence[Fault] = (),
        *,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Answer by `policy`; `seconds` is the clock that cache entries age on."""
        self._policy: Policy = policy
        self._faults: dict[int, Fault] = {fault.nth: fault for fault in faults}
        self._cache: PromptCache = PromptCache(seconds)
        self._paused: set[str] = set()
        self._tool_uses: int = 0
        self.bodies: list[Json] = []
        """Every request that arrived, in order."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request, or fail in the way that is planned for it."""
        body: object = json.loads(await request.aread())
        self.bodies.append(body if is_json_object(body) else {})
        fault = self._faults.get(len(self.bodies))
        if fault is not None and (failed := await _failure(fault, request)) is not None:
            return self._with_request_id(failed)
        return self._with_request_id(self._answer(request, body, fault.kind if fault else None))

    def _answer(
        self, request: httpx2.Request, body: object, fault: FaultKind | None
    ) -> httpx2.Response:
        if request.method != "POST" or request.url.path != "/v1/messages":
            return _error(404, "not_found_error", f"no {request.method} {request.url.path} here")
        if not {"authorization", "x-api-key"} & set(request.headers):
            return _error(401, "authentication_error", "an API key is required")
        reason = refusal_of(body, resumable=self._paused) or _forged_thinking(body)
        if reason is not None or not is_json_object(body):
            return _error(400, "invalid_request_error", reason or "the body must be an object")
        return httpx2.Response(200, json=self._message(body, fault))

    def _message(self, body: Json, fault: FaultKind | None) -> Json:
        content, stop_reason = self._content(body, fault)
        if stop_reason == "pause_turn":
            self._paused.add(canonical_json([*_open_turn(body), *content]))
        output = body["max_tokens"] if stop_reason == "max_tokens" else tokens_of(content)
        usage = self._cache.usage(body, output_tokens=int(str(output)))
        return {
            "id": f"msg_stand_in_{len(self.bodies):04d}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage_json(usage),
        }

    def _content(self, body: Json, fault: FaultKind | None) -> tuple[list[Json], str]:
        match fault:
            case FaultKind.EMPTY:
                return [], "end_turn"
            case FaultKind.REFUSAL:
                return [_text("")], "refusal"
            case FaultKind.PAUSE_TURN:
                return [_text("")], "pause_turn"
            case _:
                pass
        content = self._blocks(body)
        asks = any(block["type"] == "tool_use" for block in content)
        match fault:
            case FaultKind.TRUNCATED:
                return [*content[:-1], _cut_short(content[-1])], "max_tokens"
            case FaultKind.CONTEXT_WINDOW:
                return content, "model_context_window_exceeded"
            case FaultKind.UNKNOWN_STOP_REASON:
                return content, "a_reason_of_the_future"
            case _:
                return content, "tool_use" if asks else "end_turn"

    def _blocks(self, body: Json) -> list[Json]:
        """Complete the policy's blocks: the notice first, ids where they are missing.

        Words in a form that the request sets are left as they are; the policy has the notice in them.
        """
        blocks = list(self._policy(body))
        if wanted_properties(body):
            return [_thinking(_THOUGHT), *blocks]
        words = [str(block["text"]) for block in blocks if block["type"] == "text"]
        calls = [block for block in blocks if block["type"] != "text"]
        thinking = [_thinking(_THOUGHT)] if calls else []
        return [*thinking, _text(" ".join(words)), *map(self._identified, calls)]

    def _identified(self, block: Json) -> Json:
        self._tool_uses += 1
        return {"id": f"toolu_stand_in_{self._tool_uses:04d}", **block}

    def _with_request_id(self, response: httpx2.Response) -> httpx2.Response:
        response.headers["request-id"] = f"req_stand_in_{len(self.bodies):04d}"
        return response


def open_stand_in(
    settings: Settings,
    endpoints: Sequence[str] = (),
    *,
    policy: Policy = decide,
    faults: Sequence[Fault] = (),
    strict_response_validation: bool = True,
    seconds: Callable[[], float] = lambda: 0.0,
) -> AnthropicModel:
    """Open a model that answers by `policy` through the anthropic SDK.

    `endpoints` are all addresses that this run reaches. Raises ConfigError where something real could
    be traded on what no model decided. Strict validation holds every reply against the SDK's own types;
    a reply with a stop reason they do not know is then unreadable.
    """
    refuse_unless_rehearsal(settings, endpoints)
    transport = StandInTransport(policy, faults, seconds=seconds)
    return AnthropicModel(
        api_key=SecretStr("stand-in"),
        base_url="http://stand-in.invalid",
        http_client=httpx2.AsyncClient(transport=transport),
        strict_response_validation=strict_response_validation,
    )


async def _failure(fault: Fault, request: httpx2.Request) -> httpx2.Response | None:
    """Fail before the policy is asked; None for a fault in the reply itself."""
    match fault.kind:
        case FaultKind.CONNECTION_REFUSED:
            msg = "[Errno 111] Connection refused"
            raise httpx2.ConnectError(msg, request=request)
        case FaultKind.CONNECTION_CUT:
            msg = "the connection was closed before the answer"
            raise httpx2.ReadError(msg, request=request)
        case FaultKind.SILENCE:
            await asyncio.Event().wait()
            return None
        case FaultKind.GARBAGE_BODY:
            garbage = b'{"type": "message", "content": [{"type": "te'
            return httpx2.Response(
                200, content=garbage, headers={"content-type": "application/json"}
            )
        case _:
            return _error_answer(fault)


def _error_answer(fault: Fault) -> httpx2.Response | None:
    """Return the provider's error for a fault; None where the reply itself is at fault."""
    match fault.kind:
        case FaultKind.RATE_LIMITED:
            return _error(429, "rate_limit_error", "Number of requests is over your limit", fault)
        case FaultKind.SERVER_ERROR:
            return _error(500, "api_error", "Internal server error", fault)
        case FaultKind.OVERLOADED:
            return _error(529, "overloaded_error", "Overloaded", fault)
        case FaultKind.BAD_KEY:
            return _error(401, "authentication_error", "invalid x-api-key")
        case FaultKind.UNKNOWN_MODEL:
            return _error(404, "not_found_error", "model: claude-of-the-past")
        case FaultKind.CREDIT_EXHAUSTED:
            words = "Your credit balance is too low to access the Anthropic API."
            return _error(400, "invalid_request_error", words)
        case FaultKind.SPEND_LIMIT:
            words = "Your organization has reached its monthly limit."
            return _error(429, "rate_limit_error", words, code="enforced_spend_limit_reached")
        case _:
            return None


def _error(
    status: int, kind: str, message: str, fault: Fault | None = None, *, code: str | None = None
) -> httpx2.Response:
    error: dict[str, object] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    headers = {"retry-after": fault.retry_after} if fault and fault.retry_after else {}
    return httpx2.Response(status, json={"type": "error", "error": error}, headers=headers)


def _open_turn(body: Json) -> list[Json]:
    """Return the content that a request ends with as the assistant's, which the reply continues."""
    messages = body.get("messages")
    last = messages[-1] if is_list(messages) else None
    if not is_json_object(last) or last.get("role") != "assistant":
        return []
    return [*content_blocks(last)]


def _text(words: str) -> Json:
    return {"type": "text", "text": f"{NOTICE} {words}".rstrip()}


def _thinking(words: str) -> Json:
    return {"type": "thinking", "thinking": words, "signature": _signature(words)}


def _signature(words: object) -> str:
    return sha256(f"stand-in {words}".encode()).hexdigest()


def _forged_thinking(body: object) -> str | None:
    """Refuse thinking that does not come back as it was given."""
    messages = body.get("messages") if is_json_object(body) else None
    for message in filter(is_json_object, messages) if is_list(messages) else ():
        for block in content_blocks(message):
            given = block.get("signature")
            if block.get("type") == "thinking" and given != _signature(block.get("thinking")):
                return "Invalid `signature` in `thinking` block"
    return None


def _cut_short(block: Json) -> Json:
    """Cut a block where a reply that reaches max_tokens would be cut: a call keeps part of its input."""
    if block["type"] == "text":
        return {**block, "text": str(block["text"])[: len(NOTICE)]}
    arguments = block.get("input")
    kept = dict(list(arguments.items())[:-1]) if is_json_object(arguments) else {}
    return {**block, "input": kept}
