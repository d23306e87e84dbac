"""The Messages API's form, and how its errors are told apart."""

import asyncio
from dataclasses import replace

import httpx2
import pytest
from anthropic import transform_schema
from pydantic import SecretStr

from rehearsal.request_rules import refusal_of
from rehearsal.stand_in import Fault, FaultKind, StandInTransport
from shared.claude import (
    AnthropicModel,
    ModelReply,
    ModelRequest,
    OtherBlock,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from shared.claude_messages import (
    Json,
    UnreadableReply,
    parse_reply,
    request_body,
    request_bytes,
    strict_tool,
)
from shared.errors import CatalystError, ConfigError, CreditExhausted, ModelUnavailable
from tests.fixtures.claude import TOOLS, model_over

MESSAGE: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


def request(*messages: Json, timeout_seconds: float = 5.0) -> ModelRequest:
    return ModelRequest(
        model="claude-sonnet-5-5",
        system="You trade.",
        tools=TOOLS,
        messages=messages or ({"role": "user", "content": "hello"},),
        max_output_tokens=1000,
        timeout_seconds=timeout_seconds,
    )


async def reply_to(answer: httpx2.Response | Exception, *, strict: bool = False) -> ModelReply:
    def handle(_: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    model = model_over(httpx2.MockTransport(handle), strict=strict)
    try:
        return await model.reply(request())
    finally:
        await model.aclose()


async def failure_of(answer: httpx2.Response | Exception, *, strict: bool = False) -> CatalystError:
    with pytest.raises(CatalystError) as caught:
        await reply_to(answer, strict=strict)
    return caught.value


def error(status: int, kind: str, message: str = "no", **headers: str) -> httpx2.Response:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return httpx2.Response(status, json=body, headers=headers)


async def test_a_reply_is_read_with_its_request_id() -> None:
    answer = httpx2.Response(200, json=MESSAGE, headers={"request-id": "req_7"})
    reply = await reply_to(answer, strict=True)

    assert reply.request_id == "req_7"
    assert reply.text == "hello"
    assert reply.usage == Usage(input=10, output=5)
    assert reply.model == "claude-sonnet-5-5"


@pytest.mark.parametrize("kind", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout])
async def test_a_request_that_never_left_is_not_billed(kind: type[httpx2.TransportError]) -> None:
    failure = await failure_of(kind("nobody there"))

    assert isinstance(failure, ModelUnavailable)
    assert not failure.maybe_billed


@pytest.mark.parametrize(
    "kind", [httpx2.ReadTimeout, httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError]
)
async def test_a_request_that_may_have_arrived_may_be_billed(
    kind: type[httpx2.TransportError],
) -> None:
    failure = await failure_of(kind("gone"))

    assert isinstance(failure, ModelUnavailable)
    assert failure.maybe_billed


@pytest.mark.parametrize(
    ("status", "kind", "billed"),
    [
        (429, "rate_limit_error", False),
        (529, "overloaded_error", False),
        (500, "api_error", True),
        (503, "api_error", True),
        (504, "timeout_error", True),
        (408, "timeout_error", True),
    ],
)
async def test_a_passing_fault_says_whether_it_may_be_billed(
    status: int, kind: str, *, billed: bool
) -> None:
    failure = await failure_of(error(status, kind))

    assert isinstance(failure, ModelUnavailable)
    assert failure.maybe_billed is billed


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
    ],
)
async def test_retry_after_is_handed_on_where_it_is_a_number_of_seconds(
    value: str, seconds: float | None
) -> None:
    failure = await failure_of(error(529, "overloaded_error", **{"retry-after": value}))

    assert isinstance(failure, ModelUnavailable)
    assert failure.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
    ],
)
async def test_what_an_operator_has_to_correct_is_a_configuration_error_in_the_provider_s_words(
    status: int, kind: str
) -> None:
    failure = await failure_of(error(status, kind, "the provider's sentence"))

    assert isinstance(failure, ConfigError)
    assert str(failure) == f"Claude answered {status}: the provider's sentence"


@pytest.mark.parametrize(
    "answer",
    [
        error(402, "billing_error"),
        error(403, "billing_error"),
        error(400, "invalid_request_error", "Your credit balance is too low to access the API."),
        httpx2.Response(
            429,
            json={
                "type": "error",
                "error": {
                    "type": "rate_limit_error",
                    "message": "no",
                    "details": {"error_code": "contract_spend_limit_reached"},
                },
            },
        ),
    ],
    ids=["402", "billing_error", "wording", "spend limit"],
)
async def test_missing_money_is_told_apart(answer: httpx2.Response) -> None:
    assert isinstance(await failure_of(answer), CreditExhausted)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}),
        httpx2.Response(200, content=b"<html>", headers={"content-type": "text/html"}),
        httpx2.Response(200, json=["not", "an", "object"]),
        httpx2.Response(200, json={"type": "completion"}),
        httpx2.Response(200, json={**MESSAGE, "usage": None}),
        httpx2.Response(200, json={**MESSAGE, "usage": {"input_tokens": -1, "output_tokens": 1}}),
        httpx2.Response(200, json={**MESSAGE, "content": "hello"}),
        httpx2.Response(200, json={**MESSAGE, "content": [{"type": "tool_use", "name": "x"}]}),
    ],
    ids=["cut", "html", "array", "other type", "no usage", "negative", "no blocks", "no id"],
)
@pytest.mark.parametrize("strict", [False, True])
async def test_garbage_is_no_reply_and_may_be_billed(
    answer: httpx2.Response, *, strict: bool
) -> None:
    failure = await failure_of(answer, strict=strict)

    assert isinstance(failure, ModelUnavailable)
    assert failure.maybe_billed


async def test_silence_is_not_waited_out_beyond_the_request_s_own_timeout() -> None:
    transport = StandInTransport(faults=[Fault(nth=1, kind=FaultKind.SILENCE)])
    model = model_over(transport)
    async with asyncio.timeout(1):
        with pytest.raises(ModelUnavailable, match=r"within 0\.05 s") as caught:
            await model.reply(request(timeout_seconds=0.05))
    await model.aclose()

    assert caught.value.maybe_billed


def test_blocks_are_read_each_in_its_way() -> None:
    thinking: Json = {"type": "thinking", "thinking": "hm", "signature": "abc", "new_field": 1}
    server: Json = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}
    body: Json = {
        **MESSAGE,
        "content": [
            thinking,
            {"type": "text", "text": "hello"},
            {"type": "tool_use", "id": "t1", "name": "get_quote", "input": {"symbol": "ABC"}},
            {"type": "tool_use", "id": "t2", "name": "get_quote", "input": "ABC"},
            server,
        ],
    }

    assert parse_reply(body, request_id=None).blocks == (
        Thinking(raw=thinking),
        Text(text="hello"),
        ToolUse(id="t1", name="get_quote", input={"symbol": "ABC"}),
        ToolUse(id="t2", name="get_quote", input=None),
        OtherBlock(raw=server),
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("tool_use", StopReason.TOOL_USE),
        ("model_context_window_exceeded", StopReason.CONTEXT_WINDOW),
        ("a_reason_of_the_future", StopReason.UNKNOWN),
        (None, StopReason.UNKNOWN),
    ],
)
def test_a_stop_reason_that_is_not_known_is_unknown(raw: object, expected: StopReason) -> None:
    assert parse_reply({**MESSAGE, "stop_reason": raw}, request_id=None).stop_reason is expected


def test_a_reply_that_cannot_be_sent_back_is_not_read() -> None:
    body = {**MESSAGE, "content": [{"type": "text", "text": "\ud83d"}]}

    with pytest.raises(UnreadableReply, match="JSON"):
        parse_reply(body, request_id=None)


def test_breakpoints_close_the_static_part_and_the_last_two_user_messages() -> None:
    turns: list[Json] = [{"role": "user", "content": f"q{n}"} for n in range(3)]
    answers: list[Json] = [{"role": "assistant", "content": f"a{n}"} for n in range(2)]
    body = request_body(request(turns[0], answers[0], turns[1], answers[1], turns[2]))

    assert "cache_control" in body["system"][-1]
    marked = ["cache_control" in str(message) for message in body["messages"]]
    assert marked == [False, False, True, False, True]
    assert refusal_of(dict(body)) is None


def test_a_request_without_its_breakpoints_is_a_prefix_of_the_next_one() -> None:
    first = request({"role": "user", "content": "q0"})
    second = request(*first.messages, {"role": "assistant", "content": "a0"})

    assert second.messages[: len(first.messages)] == first.messages
    assert request_body(first)["tools"] == request_body(second)["tools"]
    assert request_body(first)["system"] == request_body(second)["system"]


def test_the_size_of_a_request_is_that_of_its_utf_8() -> None:
    plain = request({"role": "user", "content": "aaaa"})
    wide = request({"role": "user", "content": "港"})

    assert request_bytes(request_body(plain)) == request_bytes(request_body(wide)) + 1


@pytest.mark.parametrize("tokens", [0, 21_333])
def test_a_reply_longer_than_the_sdk_waits_for_cannot_be_asked_for(tokens: int) -> None:
    with pytest.raises(ValueError, match=f"was {tokens}"):
        ModelRequest(
            model="m",
            system="s",
            tools=(),
            messages=(),
            max_output_tokens=tokens,
            timeout_seconds=1,
        )


SCHEMA = {
    "type": "object",
    "description": "An order.",
    "properties": {
        "quantity": {"type": "integer", "minimum": 1, "description": "Shares."},
        "price": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
        "side": {"enum": ["buy", "sell"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3},
        "leg": {"$ref": "#/$defs/Leg"},
        "day": {"type": "string", "format": "date", "default": "2026-11-20"},
    },
    "required": ["quantity"],
    "$defs": {"Leg": {"type": "object", "properties": {"stop": {"type": "number"}}}},
}


def test_a_strict_schema_is_the_one_that_the_sdk_would_make() -> None:
    tool = strict_tool({"name": "order", "description": "d", "input_schema": SCHEMA})

    assert tool["strict"] is True
    assert tool["input_schema"] == transform_schema(SCHEMA)


def test_words_in_a_form_are_asked_for_by_a_schema_that_the_sdk_would_make() -> None:
    plain = request()
    formed = replace(plain, answer_schema=SCHEMA)
    body = request_body(formed)

    assert "output_config" not in request_body(plain)
    assert body.get("output_config") == {
        "format": {"type": "json_schema", "schema": transform_schema(SCHEMA)}
    }
    assert refusal_of(dict(body)) is None
    assert request_bytes(body) > request_bytes(request_body(plain)) + len(str(SCHEMA)) / 2


async def test_what_is_sent_has_a_form_or_tools_only_where_the_request_has() -> None:
    transport = StandInTransport()
    model = model_over(transport)
    await model.reply(request())
    await model.reply(replace(request(), tools=(), answer_schema=SCHEMA))
    await model.aclose()
    with_tools, with_form = transport.bodies

    assert with_tools.keys() - with_form.keys() == {"tools"}
    assert with_form.keys() - with_tools.keys() == {"output_config"}


def test_bounds_that_a_strict_schema_cannot_hold_are_said_in_words() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    tool = strict_tool({"name": "order", "input_schema": schema})

    assert "{minimum: 1}" in str(tool)


async def test_the_environment_does_not_choose_another_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://elsewhere.invalid")
    model = AnthropicModel(api_key=SecretStr("test"))

    assert str(model._client.base_url) == "https://api.anthropic.com"
    await model.aclose()


def test_token_counts_are_never_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Usage(input=-1)
