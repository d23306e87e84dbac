"""What the Messages API refuses with 400, as far as Catalyst could run into it. Pure.

A stand-in that accepts what the provider refuses would let a rehearsal pass and the real run fail.
"""

import re
from collections.abc import Callable, Collection, Iterator

from shared.claude_messages import Json, canonical_json, content_blocks, is_json_object, is_list

MAX_BREAKPOINTS = 4
_TOP_LEVEL = frozenset(
    {
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "cache_control",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "thinking",
        "output_config",
        "diagnostics",
        "container",
        "inference_geo",
        "service_tier",
        "speed",
    }
)
_TOOL_KEYS = frozenset(
    {
        "name",
        "description",
        "input_schema",
        "cache_control",
        "strict",
        "type",
        "input_examples",
        "defer_loading",
        "allowed_callers",
        "eager_input_streaming",
    }
)
_UNBOUNDED = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    }
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def refusal_of(body: object, *, resumable: Collection[str] = ()) -> str | None:
    """Return the first reason to refuse a request, or None.

    `resumable` holds the canonical JSON of contents that ended in pause_turn: only these may end a
    request as the assistant's message, since current models take no other prefill.
    """
    if not is_json_object(body):
        return "the body must be a JSON object"
    reasons = (reason for rule in _RULES for reason in rule(body))
    return next(reasons, None) or next(_open_end(body, resumable), None)


def _known_keys(body: Json) -> Iterator[str]:
    for key in body:
        if key not in _TOP_LEVEL:
            yield f"{key}: Extra inputs are not permitted"
    for key in ("model", "max_tokens", "messages"):
        if key not in body:
            yield f"{key}: Field required"


def _sane_values(body: Json) -> Iterator[str]:
    max_tokens = body.get("max_tokens")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        yield f"max_tokens: Input should be a positive integer, was {max_tokens!r}"
    for key, default in (("temperature", 1), ("top_p", None), ("top_k", None)):
        if body.get(key, default) != default:
            yield f"{key}: may only be set to its default on this model"
    choice = body.get("tool_choice")
    if is_json_object(choice) and choice.get("type") in {"any", "tool"}:
        yield "tool_choice: forcing tool use is not supported on this model"
    if body.get("stream"):
        yield "stream: the stand-in does not stream"


def _tools(body: Json) -> Iterator[str]:
    names: set[object] = set()
    for index, tool in enumerate(_objects(body.get("tools"))):
        name = tool.get("name")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            yield f"tools.{index}.name: String should match pattern, was {name!r}"
        if name in names:
            yield f"tools: Tool names must be unique, {name!r} is not"
        names.add(name)
        for key in tool:
            if key not in _TOOL_KEYS:
                yield f"tools.{index}.{key}: Extra inputs are not permitted"
        schema = tool.get("input_schema")
        if not is_json_object(schema) or schema.get("type") != "object":
            yield f"tools.{index}.input_schema.type: Field required"
        elif tool.get("strict"):
            yield from _strict_schema(schema, f"tools.{index}.input_schema")


def _answer_format(body: Json) -> Iterator[str]:
    config = body.get("output_config")
    wanted = config.get("format") if is_json_object(config) else None
    if wanted is None:
        return
    schema = wanted.get("schema") if is_json_object(wanted) else None
    if not is_json_object(wanted) or wanted.get("type") != "json_schema":
        yield "output_config.format.type: Input should be 'json_schema'"
    elif not is_json_object(schema):
        yield "output_config.format.schema: Field required"
    else:
        yield from _strict_schema(schema, "output_config.format.schema")


def _strict_schema(schema: Json, where: str) -> Iterator[str]:
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    for key in _UNBOUNDED.intersection(schema):
        yield f"{where}: For this type, property '{key}' is not supported"
    for key in ("properties", "$defs"):
        parts = schema.get(key)
        for name, part in parts.items() if is_json_object(parts) else ():
            if is_json_object(part):
                yield from _strict_schema(part, f"{where}.{key}.{name}")
    for part in (*_objects(schema.get("anyOf")), *_objects([schema.get("items")])):
        yield from _strict_schema(part, where)


def _breakpoints(body: Json) -> Iterator[str]:
    system = {"content": body.get("system")}
    blocks = [*_objects(body.get("tools")), *content_blocks(system)]
    blocks += [block for message in _messages(body) for block in content_blocks(message)]
    marked = [block for block in (body, *blocks) if block.get("cache_control")]
    if len(marked) > MAX_BREAKPOINTS:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {len(marked)}."
    for block in marked:
        if block.get("type") in {"thinking", "redacted_thinking"}:
            yield "thinking blocks cannot have cache_control"


def _alternation(body: Json) -> Iterator[str]:
    messages = _messages(body)
    if not messages:
        yield "messages: at least one message is required"
    for index, message in enumerate(messages):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.get("role") != expected:
            yield f"messages.{index}: roles must alternate, beginning with user"
        if not content_blocks(message):
            yield f"messages.{index}: all messages must have non-empty content"


def _blocks(body: Json) -> Iterator[str]:
    for index, message in enumerate(_messages(body)):
        for block in content_blocks(message):
            match block:
                case {"type": "text", "text": str(text)} if text.strip():
                    pass
                case {"type": "text"}:
                    yield f"messages.{index}: text content blocks must be non-empty"
                case {"type": "tool_use", "input": dict()} | {"type": "tool_result"}:
                    pass
                case {"type": "thinking", "signature": str(signature)} if signature:
                    pass
                case {"type": "redacted_thinking" | "server_tool_use"}:
                    pass
                case _:
                    yield f"messages.{index}: invalid content block {str(block)[:100]}"


def _tool_results(body: Json) -> Iterator[str]:
    """Every tool_use is answered in the very next message, before any other block, and only once."""
    seen: set[object] = set()
    asked: list[object] = []
    for index, message in enumerate(_messages(body)):
        blocks = content_blocks(message)
        answered = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        if not set(answered) <= set(asked) or len(set(answered)) < len(answered):
            yield f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks"
        if not set(asked) <= set(answered):
            yield f"messages.{index - 1}: `tool_use` ids without `tool_result` blocks after them"
        if any(block["type"] != "tool_result" for block in blocks[: len(answered)]):
            yield f"messages.{index}: `tool_result` blocks must come first"
        asked = [block.get("id") for block in blocks if block["type"] == "tool_use"]
        if len({*asked}) < len(asked) or seen.intersection(asked):
            yield f"messages.{index}: `tool_use` ids must be unique"
        seen.update(asked)


def _open_end(body: Json, resumable: Collection[str]) -> Iterator[str]:
    last = _messages(body)[-1]
    if last.get("role") == "assistant" and canonical_json(last.get("content")) not in resumable:
        yield "This model does not support assistant message prefill."


_RULES: tuple[Callable[[Json], Iterator[str]], ...] = (
    _known_keys,
    _sane_values,
    _alternation,
    _tools,
    _answer_format,
    _breakpoints,
    _blocks,
    _tool_results,
)


def _messages(body: Json) -> list[Json]:
    return _objects(body.get("messages"))


def _objects(value: object) -> list[Json]:
    return [*filter(is_json_object, value)] if is_list(value) else []
