"""What is said to Claude and what comes back, as frozen values, and their form on the wire.

Pure: it knows the Messages API's JSON and its caching rules, but neither the network nor the SDK.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NotRequired, TypeAlias, TypedDict, TypeGuard

Json: TypeAlias = Mapping[str, object]

MAX_NON_STREAMING_TOKENS = 21_333
"""The SDK refuses to ask for more in one piece, since the reply could take over ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words meant for the reader."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """Thinking, readable or redacted; `raw` goes back unchanged, or the provider answers 400."""

    raw: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """One tool that Claude asks for. `input` is None where what came was not a JSON object."""

    id: str
    name: str
    input: Json | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherBlock:
    """A kind of block that Catalyst does not act on; `raw` goes back unchanged."""

    raw: Json


Block: TypeAlias = Text | Thinking | ToolUse | OtherBlock


class StopReason(StrEnum):
    """Why a reply ended; anything the provider adds later is UNKNOWN until it is looked at."""

    END_TURN = "end_turn"
    STOP_SEQUENCE = "stop_sequence"
    TOOL_USE = "tool_use"
    MAX_TOKENS = "max_tokens"
    PAUSE_TURN = "pause_turn"
    REFUSAL = "refusal"
    CONTEXT_WINDOW = "model_context_window_exceeded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens one reply is charged for; the four are disjoint."""

    input: int = 0
    """Prompt tokens neither read from nor written to the cache."""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def __post_init__(self) -> None:
        if min(self.input, self.output, self.cache_read, self.cache_write) < 0:
            msg = f"token counts cannot be negative, were {self}"
            raise ValueError(msg)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
        )

    @property
    def prompt(self) -> int:
        """All prompt tokens, however charged."""
        return self.input + self.cache_read + self.cache_write


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One question: the same system and tools all through a cycle, and the messages so far."""

    model: str
    system: str
    tools: tuple[Json, ...]
    messages: tuple[Json, ...]
    max_output_tokens: int
    timeout_seconds: float
    answer_schema: Json | None = None
    """JSON schema that the words of the reply have to fit; None for free words."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_output_tokens < MAX_NON_STREAMING_TOKENS:
            limit = MAX_NON_STREAMING_TOKENS
            msg = f"max_output_tokens must be below {limit}, was {self.max_output_tokens}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """One answer, read tolerantly, and its content exactly as it came."""

    blocks: tuple[Block, ...]
    stop_reason: StopReason
    raw_stop_reason: str
    """The provider's own word, for the record."""
    usage: Usage
    request_id: str | None
    model: str
    raw: Json
    """The whole body."""

    @property
    def text(self) -> str:
        """All text blocks, a line each."""
        return "\n".join(block.text for block in self.blocks if isinstance(block, Text))

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        """The tools asked for, in order."""
        return tuple(block for block in self.blocks if isinstance(block, ToolUse))


class RequestBody(TypedDict):
    """The body of POST /v1/messages, complete."""

    model: str
    max_tokens: int
    system: list[Json]
    tools: list[Json]
    messages: list[Json]
    output_config: NotRequired[Json]


class UnreadableReply(ValueError):
    """A body that is not a Messages API reply; nothing in it may be acted upon."""


def request_body(request: ModelRequest) -> RequestBody:
    """Build the body: static parts first, so that each call of a cycle is a prefix of the next.

    Caching rules of the provider ("Prompt caching"): at most 4 breakpoints; what lies before one must
    be byte-identical to be read; an earlier entry is found only up to 20 blocks before a breakpoint.
    So one breakpoint closes tools and system, one the newest user message, and one the user message
    before it, where the call before left its entry, however many blocks the last reply had. No
    temperature, no top_p and no tool_choice: current models answer 400 to them. What has to come in one
    form is asked for by a schema instead ("Structured outputs").
    """
    body = RequestBody(
        model=request.model,
        max_tokens=request.max_output_tokens,
        system=[{"type": "text", "text": request.system, "cache_control": _EPHEMERAL}],
        tools=[strict_tool(tool) for tool in request.tools],
        messages=_with_rolling_breakpoints(request.messages),
    )
    if request.answer_schema is not None:
        schema = _strict_schema(request.answer_schema)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def request_bytes(body: RequestBody) -> int:
    """Return the size of the body as compact UTF-8 JSON; a token is never less than one byte of it."""
    return len(canonical_json(body).encode())


def canonical_json(value: object) -> str:
    """Write JSON the one way that makes equal values equal texts."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def strict_tool(tool: Json) -> Json:
    """Make a tool strict: the provider then guarantees that its input fits the schema.

    Strict schemas know no bounds and no open objects ("Structured outputs", JSON Schema limitations):
    bounds are said in the description instead, and every object is closed.
    """
    return {**tool, "input_schema": _strict_schema(tool["input_schema"]), "strict": True}


def parse_reply(body: object, *, request_id: str | None) -> ModelReply:
    """Read a reply's body. Raises UnreadableReply when its outer form is not the Messages API's."""
    if not is_json_object(body) or body.get("type") != "message":
        msg = f"the reply is not a message: {str(body)[:200]}"
        raise UnreadableReply(msg)
    _require_sendable(body)
    raw_stop_reason = body.get("stop_reason")
    return ModelReply(
        blocks=tuple(_parse_block(block) for block in _content_of(body)),
        stop_reason=_parse_stop_reason(raw_stop_reason),
        raw_stop_reason=str(raw_stop_reason),
        usage=_parse_usage(body.get("usage")),
        request_id=request_id,
        model=str(body.get("model")),
        raw=body,
    )


def is_json_object(value: object) -> TypeGuard[Json]:
    """Whether a decoded JSON value is an object."""
    return isinstance(value, Mapping)


_EPHEMERAL: Json = {"type": "ephemeral"}
_CLOSED_KEYS = frozenset({"type", "enum", "const", "description", "title", "required", "$ref"})
"""Schema keywords that a strict schema may have and whose value is not a schema itself."""

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)


def _strict_schema(schema: object) -> Json:
    if not is_json_object(schema):
        msg = f"a JSON schema must be an object, was {schema!r}"
        raise TypeError(msg)
    strict = {key: value for key, value in schema.items() if _is_supported(key, value)}
    for key in ("properties", "$defs"):
        if is_json_object(named := schema.get(key)):
            strict[key] = {name: _strict_schema(part) for name, part in named.items()}
    for key in ("anyOf", "oneOf", "allOf"):
        if is_list(variants := schema.get(key)):
            strict["anyOf" if key == "oneOf" else key] = [_strict_schema(part) for part in variants]
    if "items" in schema:
        strict["items"] = _strict_schema(schema["items"])
    if schema.get("type") == "object":
        strict["additionalProperties"] = False
    return _with_bounds_described(strict, schema)


def _is_supported(key: str, value: object) -> bool:
    return (
        key in _CLOSED_KEYS
        or (key == "format" and value in _FORMATS)
        or (key == "minItems" and value in (0, 1))
    )


def _with_bounds_described(strict: dict[str, object], schema: Json) -> Json:
    handled = {*strict, "properties", "$defs", "oneOf", "items", "additionalProperties"}
    bounds = ", ".join(f"{key}: {value}" for key, value in schema.items() if key not in handled)
    if not bounds:
        return strict
    description = strict.get("description")
    said = f"{description}\n\n{{{bounds}}}" if description else f"{{{bounds}}}"
    return {**strict, "description": said}


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether a decoded JSON value is an array."""
    return isinstance(value, list)


def _with_rolling_breakpoints(messages: tuple[Json, ...]) -> list[Json]:
    user_turns = [index for index, message in enumerate(messages) if message["role"] == "user"]
    marked = set(user_turns[-2:])
    return [
        _with_breakpoint(message) if index in marked else message
        for index, message in enumerate(messages)
    ]


def _with_breakpoint(message: Json) -> Json:
    blocks = list(content_blocks(message))
    return {**message, "content": [*blocks[:-1], {**blocks[-1], "cache_control": _EPHEMERAL}]}


def content_blocks(message: Json) -> tuple[Json, ...]:
    """Return a message's content as blocks; a plain string is short for one text block."""
    content = message.get("content")
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    return tuple(filter(is_json_object, content)) if is_list(content) else ()


def _require_sendable(body: Json) -> None:
    try:
        canonical_json(body).encode()
    except ValueError as e:  # half a surrogate pair, or NaN: it could never be sent back
        msg = f"the reply cannot be written as JSON again: {e}"
        raise UnreadableReply(msg) from e


def _content_of(body: Json) -> Iterable[Json]:
    content = body.get("content")
    if not is_list(content) or not all(is_json_object(block) for block in content):
        msg = f"the reply's content is not a list of blocks: {str(content)[:200]}"
        raise UnreadableReply(msg)
    return filter(is_json_object, content)


def _parse_block(raw: Json) -> Block:
    match raw:
        case {"type": "text", "text": str(text)}:
            return Text(text=text)
        case {"type": "thinking" | "redacted_thinking"}:
            return Thinking(raw=raw)
        case {"type": "tool_use", "id": str(tool_use_id), "name": str(name)}:
            arguments = raw.get("input")
            return ToolUse(
                id=tool_use_id, name=name, input=arguments if is_json_object(arguments) else None
            )
        case {"type": "tool_use"}:
            msg = f"a tool_use block has no id or no name: {str(raw)[:200]}"
            raise UnreadableReply(msg)
        case _:
            return OtherBlock(raw=raw)


def _parse_stop_reason(raw: object) -> StopReason:
    try:
        return StopReason(str(raw))
    except ValueError:
        return StopReason.UNKNOWN


def _parse_usage(raw: object) -> Usage:
    if not is_json_object(raw):
        msg = f"the reply has no usage: {raw!r}"
        raise UnreadableReply(msg)
    return Usage(
        input=_tokens(raw, "input_tokens", required=True),
        output=_tokens(raw, "output_tokens", required=True),
        cache_read=_tokens(raw, "cache_read_input_tokens", required=False),
        cache_write=_tokens(raw, "cache_creation_input_tokens", required=False),
    )


def _tokens(usage: Json, key: str, *, required: bool) -> int:
    match usage.get(key):
        case None if (
            not required
        ):  # the provider leaves the cache fields out, or null, without caching
            return 0
        case bool():
            pass
        case int(count) if count >= 0:
            return count
        case _:
            pass
    msg = f"the reply's usage has no count of {key}: {usage.get(key)!r}"
    raise UnreadableReply(msg)
