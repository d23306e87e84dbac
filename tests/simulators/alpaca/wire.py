"""What passes between a client and the simulator: a request, an answer, and how an answer can go wrong."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from tests.simulators.scripted import Scripted

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""

    @classmethod
    def read(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> "Request":
        """Take a request line's target apart; of a parameter that is given twice the last counts."""
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        lower = {name.lower(): value for name, value in headers.items()}
        return cls(method=method, path=unquote(url.path), query=query, headers=lower, body=body)

    def json(self) -> Any:
        """Return the body, numbers as Decimal; ValueError where it is no JSON."""
        return json.loads(self.body, parse_float=Decimal)

    def flag(self, name: str) -> bool:
        """Return a boolean parameter; the client writes "True", the documentation "true"."""
        return self.query.get(name, "").lower() == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status with a JSON body, another text, or nothing."""

    status: int = 200
    body: Any = None
    text: str | None = None
    """Sent as it is in the place of JSON."""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def content(self) -> bytes:
        """The body as it goes out."""
        if self.text is not None:
            return self.text.encode()
        return b"" if self.body is None else json.dumps(self.body).encode()


class Wire(StrEnum):
    """How an answer goes wrong on its way."""

    ANSWER = "answer"
    """Another answer: `status`, and `body` as it is, or the broker's own error body where that is None."""
    DROP = "drop"
    """The connection ends in order, without an answer."""
    RESET = "reset"
    """The connection is reset, without an answer."""
    SILENCE = "silence"
    """Nothing comes, and the connection stays."""
    LATE = "late"
    """The true answer, `seconds` late."""
    SLOW_HEADER = "slow_header"
    """The true answer, its head byte by byte, `seconds` apart."""
    SLOW_BODY = "slow_body"
    """The true answer, its body byte by byte, `seconds` apart; the head where there is no body."""
    RESET_IN_BODY = "reset_in_body"
    """Half of the true body, then a reset."""
    GARBAGE = "garbage"
    """Status 200 and a body that is no JSON."""
    CHANGE = "change"
    """The true answer, with `fields` in the place of its own, in every object of a list."""
    EMPTY = "empty"
    """An empty list, or not found where one thing was asked for."""
    STALE = "stale"
    """The answer that the same question got the last time it went well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFault(Scripted[Request]):
    """The nth request that matches, and those after it, get their answer so."""

    wire: Wire
    path: str = "*"
    """Pattern with *, such as "/v2/orders*"."""
    method: str = "*"
    status: int = 200
    body: str | None = None
    content_type: str = "application/json"
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    begins_outage: bool = False
    """Whether every request after it is reset, until the wire is healed."""

    def matches(self, request: Request) -> bool:
        """Whether the request is one that it counts."""
        return fnmatchcase(request.method, self.method) and fnmatchcase(request.path, self.path)

    @property
    def needs_the_true_answer(self) -> bool:
        """Whether the broker has to be asked."""
        return self.executes or self.wire in _TRUE_ANSWERS


_TRUE_ANSWERS = frozenset(
    {
        Wire.LATE,
        Wire.SLOW_HEADER,
        Wire.SLOW_BODY,
        Wire.RESET_IN_BODY,
        Wire.CHANGE,
        Wire.STALE,
    }
)


def html(status: int) -> str:
    """Return what a load balancer says in the broker's place."""
    phrase = f"{status} {HTTPStatus(status).phrase}"
    return f"<html>\r\n<head><title>{phrase}</title></head>\r\n<body>nginx</body>\r\n</html>\r\n"


def changed(body: Any, fields: Mapping[str, Any]) -> Any:
    """Return a body with other values in it."""
    if isinstance(body, list):
        return [changed(part, fields) for part in cast("list[Any]", body)]
    return {**cast("Json", body), **fields} if isinstance(body, dict) else body
