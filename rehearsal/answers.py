"""Reads what a request holds: the tools on offer, the form of the reply, the answers to earlier calls. Pure.

It is tolerant: a number may be a string, and what cannot be read is None, never 0.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from shared.claude_messages import Json, canonical_json, content_blocks, is_json_object, is_list
from shared.conversation import NOT_CARRIED_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One call of the past, and what came of it."""

    asked: tuple[str, str]
    """The tool's name and its canonical arguments."""
    body: Json | None
    """The answer's JSON object; None where it holds none."""
    is_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason against an order, and the amount of money it leaves, where it says one."""

    code: str
    limit: Decimal | None


def offered_tools(request: Json) -> frozenset[str]:
    """Return the names of the tools that may be called."""
    return frozenset(str(tool.get("name")) for tool in _objects(request.get("tools")))


def wanted_properties(request: Json) -> frozenset[str]:
    """Return what the words of the reply must hold, where they must be a JSON object; else nothing."""
    schema: object = request
    for key in ("output_config", "format", "schema", "properties"):
        schema = schema.get(key) if is_json_object(schema) else None
    return frozenset(schema) if is_json_object(schema) else frozenset()


def text_of_first_message(request: Json) -> str:
    """Return the words that the cycle was opened with."""
    first = _objects(request.get("messages"))[:1]
    blocks = (block for message in first for block in content_blocks(message))
    return "\n".join(str(block.get("text", "")) for block in blocks)


def history(request: Json) -> list[Answer]:
    """Return the calls that were carried out, with their answers, in order."""
    answers: list[Answer] = []
    asked: dict[object, tuple[str, str]] = {}
    for message in _objects(request.get("messages")):
        for block in content_blocks(message):
            match block:
                case {"type": "tool_use", "id": tool_use_id, "name": str(name)}:
                    asked[tool_use_id] = (name, canonical_json(block.get("input")))
                case {"type": "tool_result", "tool_use_id": tool_use_id}:
                    text = "".join(_texts(block))
                    if tool_use_id in asked and not text.startswith(NOT_CARRIED_OUT):
                        answers.append(_answer(asked[tool_use_id], block, text))
                case _:
                    pass
    return answers


def objects(answer: Answer | None, key: str) -> list[Json]:
    """Return the JSON objects in a list of the answer; none where there is no such list."""
    return _objects(answer.body.get(key)) if answer is not None and answer.body is not None else []


def refusals(answer: Answer) -> list[Refusal]:
    """Return the reasons why an order was refused."""
    return [
        Refusal(code=str(reason.get("code", "")), limit=_limit(reason))
        for reason in objects(answer, "refused")
    ]


def object_in(text: str) -> Json | None:
    """Read the JSON object in a text, whatever is wrapped around it."""
    start, end = text.find("{"), text.rfind("}")
    try:
        parsed: object = json.loads(text[start : end + 1])
    except json.JSONDecodeError:
        return None
    return parsed if is_json_object(parsed) else None


def number(value: object) -> Decimal | None:
    """Read a number, or a string that is one; None for anything else, NaN and infinity included."""
    if not isinstance(value, str | int | float | Decimal) or isinstance(value, bool):
        return None
    try:
        parsed = Decimal(str(value).replace(",", ""))
    except InvalidOperation:
        return None
    return parsed if parsed.is_finite() else None


def _answer(asked: tuple[str, str], block: Json, text: str) -> Answer:
    return Answer(asked=asked, body=object_in(text), is_error=bool(block.get("is_error")))


_AMOUNT = re.compile(
    r"(?:limit|at most|maximum|max|only|allow(?:s|ed)?|cash|available)\D{0,24}?(\d[\d,]*(?:\.\d+)?)"
    r"|(\d[\d,]*(?:\.\d+)?)(?: [A-Z]{3})? is (?:free|left|available)",
    re.IGNORECASE,
)


def _limit(reason: Json) -> Decimal | None:
    if (said := number(reason.get("limit"))) is not None:
        return said
    found = _AMOUNT.finditer(str(reason.get("text", "")))
    amounts = [number(match.group(1) or match.group(2)) for match in found]
    return min((amount for amount in amounts if amount is not None), default=None)


def _texts(block: Json) -> Iterator[str]:
    for part in content_blocks(block):
        yield str(part.get("text", ""))


def _objects(value: object) -> list[Json]:
    return [*filter(is_json_object, value)] if is_list(value) else []
