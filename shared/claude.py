"""The way to Claude: what a model is to the loop, and the Messages API behind Anthropic's SDK.

It asks once and translates what happens; it retries nothing, counts no money and runs no tool.
The SDK takes about a second to import and is imported only when a model is made.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from pydantic import SecretStr

from shared.claude_messages import (
    Block,
    Json,
    ModelReply,
    ModelRequest,
    OtherBlock,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    UnreadableReply,
    Usage,
    parse_reply,
    request_body,
)
from shared.errors import CatalystError, ConfigError, CreditExhausted, ModelUnavailable

if TYPE_CHECKING:
    import anthropic
    import httpx2
    from anthropic.types import (
        Message,
        MessageParam,
        OutputConfigParam,
        TextBlockParam,
        ToolParam,
    )

__all__ = [
    "ANTHROPIC_URL",
    "AnthropicModel",
    "Block",
    "Json",
    "Model",
    "ModelReply",
    "ModelRequest",
    "OtherBlock",
    "StopReason",
    "Text",
    "Thinking",
    "ToolUse",
    "Usage",
]

ANTHROPIC_URL = "https://api.anthropic.com"
_CONNECT_TIMEOUT_SECONDS = 5.0


class Model(Protocol):
    """Anything that answers a request the way Claude does."""

    async def reply(self, request: ModelRequest) -> ModelReply:
        """Ask once.

        Raises ModelUnavailable (says whether it may have been billed), CreditExhausted, and ConfigError
        for what an operator has to correct: the key, the model's name, a request the provider refuses.
        """
        ...


class AnthropicModel:
    """Claude through the anthropic SDK, without the SDK's own retries.

    Those obey Retry-After without a limit and would spend money that was not reserved.
    """

    def __init__(
        self,
        *,
        api_key: SecretStr,
        base_url: str = ANTHROPIC_URL,
        http_client: "httpx2.AsyncClient | None" = None,
        strict_response_validation: bool = False,
    ) -> None:
        """Import the SDK and make a client whose key and address the environment cannot change."""
        import anthropic

        self._client: anthropic.AsyncAnthropic = anthropic.AsyncAnthropic(
            api_key=api_key.get_secret_value(),
            base_url=base_url,
            max_retries=0,
            http_client=http_client,
            open_telemetry=False,
            _strict_response_validation=strict_response_validation,
        )

    async def reply(self, request: ModelRequest) -> ModelReply:
        """Send one request and read its reply; the whole takes at most the request's timeout."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                message = await self._create(request)
        except TimeoutError as e:
            msg = f"Claude did not answer within {request.timeout_seconds:g} s"
            raise ModelUnavailable(msg) from e
        return _read(message)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _create(self, request: ModelRequest) -> object:
        import anthropic
        import httpx2

        body = request_body(request)
        try:
            return await self._client.messages.create(
                model=body["model"],
                max_tokens=body["max_tokens"],
                system=cast("list[TextBlockParam]", body["system"]),
                tools=cast("list[ToolParam]", body["tools"]) or anthropic.omit,
                messages=cast("list[MessageParam]", body["messages"]),
                output_config=cast("OutputConfigParam", body["output_config"])
                if "output_config" in body
                else anthropic.omit,
                timeout=httpx2.Timeout(request.timeout_seconds, connect=_CONNECT_TIMEOUT_SECONDS),
            )
        except anthropic.APIStatusError as e:
            raise _refused(e) from e
        except anthropic.APIConnectionError as e:
            raise _unreachable(e) from e
        except (anthropic.APIError, ValueError) as e:  # ValueError: a body that is no JSON
            msg = f"Claude's answer could not be read: {e}"
            raise ModelUnavailable(msg) from e


def _read(message: object) -> ModelReply:
    from anthropic.types import Message

    if not isinstance(message, Message):  # the SDK hands a body of another content type on as text
        msg = f"Claude's answer could not be read: {str(message)[:200]!r}"
        raise ModelUnavailable(msg)
    try:
        body = message.to_dict(mode="json", warnings=False)
        return parse_reply(body, request_id=_request_id(message))
    except UnreadableReply as e:
        raise ModelUnavailable(str(e)) from e


def _request_id(message: "Message") -> str | None:
    return message._request_id  # noqa: SLF001  # documented by the SDK as public in spite of its name


def _refused(error: "anthropic.APIStatusError") -> CatalystError:
    sentence = f"Claude answered {error.status_code}: {error.api_message or error.message}"
    if _is_about_money(error):
        return CreditExhausted(sentence)
    if error.status_code in _REFUSED_BEFORE_WORK:
        return ModelUnavailable(
            sentence, maybe_billed=False, retry_after_seconds=_retry_after_seconds(error)
        )
    if error.status_code in _MAYBE_WORKED_ON or error.status_code >= 500:
        return ModelUnavailable(sentence, retry_after_seconds=_retry_after_seconds(error))
    return ConfigError(sentence)


_REFUSED_BEFORE_WORK = frozenset({429, 529})
_MAYBE_WORKED_ON = frozenset({408, 409, 499})
_SPEND_LIMITS = frozenset(
    {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
    }
)


def _is_about_money(error: "anthropic.APIStatusError") -> bool:
    return (
        error.status_code == 402
        or error.type == "billing_error"
        or error.error_code in _SPEND_LIMITS
        # Without credit the API answers a plain 400 that has no code of its own (seen until September
        # 2026), so there is nothing but the wording to go by.
        or "credit balance is too low" in (error.api_message or "").lower()
    )


def _retry_after_seconds(error: "anthropic.APIStatusError") -> float | None:
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:  # absent, or a date: our own growing wait will do
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _unreachable(error: "anthropic.APIConnectionError") -> ModelUnavailable:
    import httpx2

    cause = error.__cause__
    never_sent = isinstance(
        cause,
        httpx2.ConnectError
        | httpx2.ConnectTimeout
        | httpx2.PoolTimeout
        | httpx2.UnsupportedProtocol,
    )
    sentence = f"Claude could not be reached: {type(cause).__name__}: {cause}"
    return ModelUnavailable(sentence, maybe_billed=not never_sent)
