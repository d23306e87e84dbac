"""Counts tokens the way the provider bills them: what was read from the cache, written to it, or neither.

Token counts are an estimate of one token per 4 characters of canonical JSON; the rules of the cache are
the documented ones. It knows nothing of prices.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate

from shared.claude_messages import (
    Json,
    Usage,
    canonical_json,
    content_blocks,
    is_json_object,
    is_list,
)

CHARACTERS_PER_TOKEN = 4
MINIMUM_CACHEABLE_TOKENS = 1_024
"""Shorter prefixes are not cached ("Prompt caching", the limit documented for Sonnet models)."""
LOOK_BACK_BLOCKS = 20
"""An entry is found at most this many blocks before a breakpoint."""
TIME_TO_LIVE_SECONDS = 300.0
"""A 5-minute entry, counted from when it was last used."""
TOOL_PROMPT_TOKENS = 346
"""What the provider adds to explain tools; its documented count for Claude Sonnet 4."""


@dataclass(frozen=True, slots=True)
class _Prefix:
    key: str
    tokens: int
    is_breakpoint: bool


class PromptCache:
    """The provider's cache of prompt prefixes, for one account."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        """Begin empty; `seconds` is the clock that entries age on."""
        self._seconds: Callable[[], float] = seconds
        self._used_at: dict[str, float] = {}

    def usage(self, body: Json, *, output_tokens: int) -> Usage:
        """Bill one request, and remember the prefixes that it asks to have cached."""
        prefixes = tuple(_prefixes(body))
        total = prefixes[-1].tokens
        read = max((p.tokens for p in prefixes if self._is_found(p, prefixes)), default=0)
        written_up_to = max((p.tokens for p in prefixes if _is_cacheable(p)), default=0)
        self._remember(prefixes)
        cached = max(read, written_up_to)
        return Usage(
            input=total - cached, output=output_tokens, cache_read=read, cache_write=cached - read
        )

    def _is_found(self, prefix: _Prefix, prefixes: tuple[_Prefix, ...]) -> bool:
        index = prefixes.index(prefix)
        in_reach = prefixes[index : index + LOOK_BACK_BLOCKS + 1]
        return self._is_alive(prefix.key) and any(p.is_breakpoint for p in in_reach)

    def _is_alive(self, key: str) -> bool:
        used_at = self._used_at.get(key)
        return used_at is not None and self._seconds() - used_at <= TIME_TO_LIVE_SECONDS

    def _remember(self, prefixes: tuple[_Prefix, ...]) -> None:
        for prefix in prefixes:
            if _is_cacheable(prefix) or self._is_alive(prefix.key):
                self._used_at[prefix.key] = self._seconds()


def tokens_of(value: object) -> int:
    """Estimate the tokens of a JSON value, at least one."""
    return -(-len(canonical_json(value)) // CHARACTERS_PER_TOKEN)


def _is_cacheable(prefix: _Prefix) -> bool:
    return prefix.is_breakpoint and prefix.tokens >= MINIMUM_CACHEABLE_TOKENS


def _prefixes(body: Json) -> Iterator[_Prefix]:
    """Yield every prefix that ends with a block: tools, then system, then messages."""
    blocks = [*_tools(body), *_system(body), *_messages(body)]
    if body.get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": body["cache_control"]}
    plain = [canonical_json({**block, "cache_control": None}) for block in blocks]
    added = TOOL_PROMPT_TOKENS if _tools(body) else 0
    digest = sha256(str(body.get("model")).encode())
    for block, text, length in zip(blocks, plain, accumulate(map(len, plain)), strict=True):
        digest.update(text.encode())
        tokens = -(-length // CHARACTERS_PER_TOKEN) + added
        yield _Prefix(digest.hexdigest(), tokens, bool(block.get("cache_control")))


def _tools(body: Json) -> list[Json]:
    tools = body.get("tools")
    return [*filter(is_json_object, tools)] if is_list(tools) else []


def _system(body: Json) -> list[Json]:
    system = body.get("system")
    return [*content_blocks({"content": system})] if system else []


def _messages(body: Json) -> list[Json]:
    messages = body.get("messages")
    return [
        {**block, "of": message.get("role")}
        for message in (filter(is_json_object, messages) if is_list(messages) else ())
        for block in content_blocks(message)
    ]


def usage_json(usage: Usage) -> Mapping[str, object]:
    """Write usage the way the Messages API does."""
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "service_tier": "standard",
    }
