"""The stand-in: what it refuses, how it counts, and that the SDK takes its replies for real ones."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, BadRequestError

from rehearsal.request_rules import refusal_of
from rehearsal.stand_in import NOTICE, Fault, FaultKind, StandInTransport, open_stand_in
from rehearsal.usage import MINIMUM_CACHEABLE_TOKENS, TIME_TO_LIVE_SECONDS, PromptCache, tokens_of
from shared.claude import ModelRequest, StopReason
from shared.claude_messages import Json, content_blocks, request_body
from shared.errors import ConfigError
from tests.fixtures.claude import PAPER, REAL, TOOLS, call, model_over, say, scripted

Body = dict[str, Any]


def request(*messages: Json, system: str = "You trade.") -> ModelRequest:
    return ModelRequest(
        model="claude-sonnet-5-5",
        system=system,
        tools=TOOLS,
        messages=messages or ({"role": "user", "content": "hello"},),
        max_output_tokens=1000,
        timeout_seconds=5,
    )


def valid_body() -> Body:
    """A request in the middle of a cycle, which the rules accept."""
    ask: Json = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "tool_use", "id": "t1", "name": "get_quote", "input": {"symbol": "ABC"}},
        ],
    }
    told: Json = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "{}"}],
    }
    body: Body = {**request_body(request({"role": "user", "content": "hello"}, ask, told))}
    return copy.deepcopy(body)


def test_a_body_that_keeps_the_rules_is_accepted() -> None:
    assert refusal_of(valid_body()) is None


def _set(key: str, value: object) -> Callable[[Body], None]:
    return lambda body: body.update({key: value})


def _pop(key: str) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        del body[key]

    return change


def _drop_result(body: Body) -> None:
    body["messages"][-1]["content"] = [{"type": "text", "text": "no result"}]


def _text_first(body: Body) -> None:
    body["messages"][-1]["content"].insert(0, {"type": "text", "text": "before"})


def _answer_another(body: Body) -> None:
    result = {"type": "tool_result", "tool_use_id": "t9", "content": "{}"}
    body["messages"][-1]["content"].append(result)


def _answer_twice(body: Body) -> None:
    body["messages"][-1]["content"] *= 2


def _same_id_twice(body: Body) -> None:
    body["messages"] += copy.deepcopy(body["messages"][1:])


def _two_users(body: Body) -> None:
    body["messages"].append({"role": "user", "content": "and"})


def _prefill(body: Body) -> None:
    body["messages"].append({"role": "assistant", "content": "I will"})


def _empty_text(body: Body) -> None:
    body["messages"][0]["content"] = [{"type": "text", "text": ""}]


def _marks(body: Body) -> None:
    for tool in body["tools"]:
        tool["cache_control"] = {"type": "ephemeral"}


def _mark_thinking(body: Body) -> None:
    body["messages"][1]["content"][0]["cache_control"] = {"type": "ephemeral"}


def _tool(key: str, value: object) -> Callable[[Body], None]:
    return lambda body: body["tools"][0].update({key: value})


def _twin_tools(body: Body) -> None:
    body["tools"] *= 2


def _form(**form: object) -> Callable[[Body], None]:
    return _set("output_config", {"format": form})


def _open_schema(body: Body) -> None:
    del body["tools"][0]["input_schema"]["additionalProperties"]


def _bounded_schema(body: Body) -> None:
    body["tools"][1]["input_schema"]["properties"]["limit"]["minimum"] = 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_pop("max_tokens"), "max_tokens: Field required"),
        (_pop("model"), "model: Field required"),
        (_pop("messages"), "messages: Field required"),
        (_set("max_tokens", 0), "max_tokens"),
        (_set("max_tokens", True), "max_tokens"),
        (_set("temperature", 0.2), "temperature"),
        (_set("top_p", 0.9), "top_p"),
        (_set("tool_choice", {"type": "tool", "name": "get_quote"}), "tool_choice"),
        (_set("tool_choice", {"type": "any"}), "tool_choice"),
        (_set("stream", True), "stream"),
        (_set("mood", "bold"), "mood: Extra inputs"),
        (_set("messages", []), "at least one message"),
        (_drop_result, "without `tool_result`"),
        (_text_first, "must come first"),
        (_answer_another, "unexpected `tool_use_id`"),
        (_answer_twice, "unexpected `tool_use_id`"),
        (_same_id_twice, "roles must alternate|must be unique"),
        (_two_users, "roles must alternate"),
        (_prefill, "prefill"),
        (_empty_text, "non-empty"),
        (_marks, "maximum of 4"),
        (_mark_thinking, "thinking"),
        (_tool("colour", "red"), "colour: Extra inputs"),
        (_tool("name", "no spaces please"), "name"),
        (_tool("input_schema", {"type": "string"}), "input_schema"),
        (_twin_tools, "unique"),
        (_open_schema, "additionalProperties"),
        (_bounded_schema, "minimum"),
        (_form(type="text"), "output_config.format.type"),
        (_form(type="json_schema"), "output_config.format.schema: Field required"),
        (_form(type="json_schema", schema={"type": "object"}), "additionalProperties"),
    ],
)
def test_what_the_provider_refuses_is_refused(
    change: Callable[[Body], None], sentence: str
) -> None:
    body = valid_body()
    change(body)
    reason = refusal_of(body)

    assert reason is not None
    assert any(part in reason for part in sentence.split("|"))


async def test_a_refusal_reaches_the_sdk_as_its_own_error() -> None:
    client = AsyncAnthropic(
        api_key="test",
        base_url="http://stand-in.invalid",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=StandInTransport(scripted([say("hi")]))),
    )
    with pytest.raises(BadRequestError, match="tool_choice"):
        await client.messages.create(
            model="claude-sonnet-5-5",
            max_tokens=10,
            messages=[{"role": "user", "content": "hello"}],
            tool_choice={"type": "any"},
        )
    await client.close()


async def test_altered_thinking_is_refused() -> None:
    transport = StandInTransport(scripted([call("get_quote", {"symbol": "A"}, id="t1")]))
    model = model_over(transport)
    first = await model.reply(request())
    thinking, *others = content_blocks(first.raw)
    told: Json = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "{}"}],
    }
    altered = [{**thinking, "thinking": "something else"}, *others]
    with pytest.raises(ConfigError, match="signature"):
        await model.reply(
            request(
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": altered},
                told,
            )
        )
    await model.aclose()


async def test_every_reply_says_that_no_model_was_asked() -> None:
    model = model_over(StandInTransport(scripted([call("get_portfolio")], [say("done")])))
    first, second = await model.reply(request()), await model.reply(request())
    await model.aclose()

    assert first.stop_reason is StopReason.TOOL_USE
    assert first.text == NOTICE
    assert second.stop_reason is StopReason.END_TURN
    assert second.text == f"{NOTICE} done"
    assert second.model == "claude-sonnet-5-5"
    assert second.request_id == "req_stand_in_0002"


async def test_words_in_a_set_form_are_left_as_they_are_and_come_after_thinking() -> None:
    formed = replace(request(), tools=(), answer_schema={"type": "object", "properties": {"n": {}}})
    model = model_over(StandInTransport(scripted([say('{"n":1}')])))
    reply = await model.reply(formed)
    await model.aclose()

    assert [block["type"] for block in content_blocks(reply.raw)] == ["thinking", "text"]
    assert (reply.text, reply.stop_reason) == ('{"n":1}', StopReason.END_TURN)


async def test_a_truncated_call_keeps_only_a_part_of_its_input_and_uses_all_tokens() -> None:
    asked = call("execute_trade", {"symbol": "ABC", "quantity": 100})
    transport = StandInTransport(scripted([asked]), [Fault(nth=1, kind=FaultKind.TRUNCATED)])
    model = model_over(transport)
    reply = await model.reply(request())
    await model.aclose()

    assert reply.stop_reason is StopReason.MAX_TOKENS
    assert reply.tool_uses[0].input == {"symbol": "ABC"}
    assert reply.usage.output == 1000


async def test_the_same_requests_get_the_same_replies() -> None:
    async def play() -> list[Json]:
        model = model_over(StandInTransport(scripted([call("get_portfolio")], [say("done")])))
        replies = [(await model.reply(request())).raw for _ in range(2)]
        await model.aclose()
        return replies

    assert await play() == await play()


def test_it_opens_for_the_paper_exchange_and_for_nothing_that_is_real() -> None:
    open_stand_in(PAPER)

    with pytest.raises(ConfigError, match="alpaca"):
        open_stand_in(REAL, ["https://paper-api.alpaca.markets"])


LONG = "x" * 4 * MINIMUM_CACHEABLE_TOKENS


def body(system: str, *messages: str, marked: bool = True) -> Body:
    control = {"cache_control": {"type": "ephemeral"}} if marked else {}
    turns = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": words}
        for n, words in enumerate(messages)
    ]
    return {
        "model": "m",
        "max_tokens": 10,
        "system": [{"type": "text", "text": system, **control}],
        "messages": turns,
    }


def test_what_is_marked_is_written_once_and_read_from_then_on() -> None:
    cache = PromptCache()
    first = cache.usage(body(LONG, "hello"), output_tokens=1)
    second = cache.usage(body(LONG, "hello", "hi", "and?"), output_tokens=1)

    assert first.cache_write > MINIMUM_CACHEABLE_TOKENS
    assert first.cache_read == 0
    assert second.cache_read == first.cache_write
    assert second.cache_write == 0
    assert second.input > first.input > 0


def test_nothing_is_cached_that_is_not_marked() -> None:
    cache = PromptCache()
    both = [cache.usage(body(LONG, "hello", marked=False), output_tokens=1) for _ in range(2)]

    assert all(usage.cache_read == usage.cache_write == 0 for usage in both)


def test_a_prefix_below_the_minimum_is_not_cached() -> None:
    cache = PromptCache()
    both = [cache.usage(body("short", "hello"), output_tokens=1) for _ in range(2)]

    assert all(usage.cache_read == usage.cache_write == 0 for usage in both)


def test_one_changed_character_in_the_prefix_misses_the_cache() -> None:
    cache = PromptCache()
    cache.usage(body(LONG, "hello"), output_tokens=1)

    assert cache.usage(body(LONG + "y", "hello"), output_tokens=1).cache_read == 0


def test_another_model_has_another_cache() -> None:
    cache = PromptCache()
    cache.usage(body(LONG, "hello"), output_tokens=1)

    assert cache.usage({**body(LONG, "hello"), "model": "n"}, output_tokens=1).cache_read == 0


@pytest.mark.parametrize(
    ("seconds", "found"), [(TIME_TO_LIVE_SECONDS, True), (TIME_TO_LIVE_SECONDS + 1, False)]
)
def test_an_entry_lives_five_minutes_from_its_last_use(seconds: float, *, found: bool) -> None:
    now = [0.0]
    cache = PromptCache(lambda: now[0])
    cache.usage(body(LONG, "hello"), output_tokens=1)
    now[0] = seconds

    assert (cache.usage(body(LONG, "hello"), output_tokens=1).cache_read > 0) is found


@pytest.mark.parametrize(("blocks", "found"), [(20, True), (21, False)])
def test_an_entry_is_found_at_most_twenty_blocks_before_a_breakpoint(
    blocks: int, *, found: bool
) -> None:
    marked = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    fillers: list[Json] = [{"type": "text", "text": f"{n}"} for n in range(blocks)]
    fillers[-1] = {**fillers[-1], "cache_control": {"type": "ephemeral"}}
    plain = {"type": "text", "text": LONG}
    first: Json = {"model": "m", "messages": [{"role": "user", "content": [marked]}]}
    second: Json = {"model": "m", "messages": [{"role": "user", "content": [plain, *fillers]}]}
    cache = PromptCache()
    cache.usage(first, output_tokens=1)

    assert (cache.usage(second, output_tokens=1).cache_read > 0) is found


def test_automatic_caching_marks_the_last_block() -> None:
    asked = {**body(LONG, "hello", marked=False), "cache_control": {"type": "ephemeral"}}
    cache = PromptCache()
    first = cache.usage(asked, output_tokens=1)

    assert first.input == 0
    assert cache.usage(asked, output_tokens=1).cache_read == first.cache_write


def test_a_token_is_four_characters_rounded_up() -> None:
    assert [tokens_of("x" * n) for n in (1, 2, 3, 6)] == [1, 1, 2, 2]  # two more are the quotes
