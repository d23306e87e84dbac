"""What passes between a client and the simulated OpenD: frames, and how an answer can go wrong."""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from tests.simulators.scripted import Scripted

HEADER = struct.Struct("<1s1sI2B2I20s8s")
"""'F', 'T', protocol, format, version, serial, length of the body, SHA-1 of the plain body, reserved."""
PROTOBUF = 0


class Protocol(IntEnum):
    """The protocols that are served, or refused for a reason, by their numbers."""

    INIT_CONNECT = 1001
    GET_GLOBAL_STATE = 1002
    NOTIFY = 1003
    KEEP_ALIVE = 1004
    GET_ACC_LIST = 2001
    UNLOCK_TRADE = 2005
    SUB_ACC_PUSH = 2008
    GET_FUNDS = 2101
    GET_POSITION_LIST = 2102
    GET_MAX_TRD_QTYS = 2111
    GET_ORDER_LIST = 2201
    PLACE_ORDER = 2202
    MODIFY_ORDER = 2205
    UPDATE_ORDER = 2208
    GET_ORDER_FILL_LIST = 2211
    GET_HISTORY_ORDER_LIST = 2221
    GET_HISTORY_ORDER_FILL_LIST = 2222
    GET_ORDER_FEE = 2225
    GET_FLOW_SUMMARY = 2226
    SUB = 3001
    GET_BASIC_QOT = 3004
    REQUEST_HISTORY_KL = 3103
    GET_STATIC_INFO = 3202
    GET_SECURITY_SNAPSHOT = 3203
    STOCK_FILTER = 3215
    REQUEST_TRADE_DATE = 3219
    GET_MARKET_STATE = 3223


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first 44 bytes."""

    protocol: int
    serial: int
    length: int
    sha1: bytes

    @classmethod
    def read(cls, text: bytes) -> "Head":
        """Take them apart; ValueError for what no client sends."""
        first, second, protocol, form, version, serial, length, sha1, _ = HEADER.unpack(text)
        if (first, second, form, version) != (b"F", b"T", PROTOBUF, 0):
            msg = f"no frame of OpenD: {text.hex()}"
            raise ValueError(msg)
        return cls(protocol=protocol, serial=serial, length=length, sha1=sha1)


def frame(protocol: int, serial: int, plain: bytes, body: bytes, *, sound: bool = True) -> bytes:
    """Return a whole message; `body` is `plain`, encrypted or not. Unsound, its checksum is wrong."""
    sha1 = hashlib.sha1(plain, usedforsecurity=False).digest()
    if not sound:
        sha1 = sha1[::-1]
    head = HEADER.pack(b"F", b"T", protocol, PROTOBUF, 0, serial, len(body), sha1, bytes(8))
    return head + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message as it arrived."""

    protocol: int
    serial: int
    c2s: Any
    """The message of the protocol's own definition."""
    connection: int


class Wire(StrEnum):
    """How an answer goes wrong on its way."""

    REFUSE = "refuse"
    """The answer that the request failed, with `reason`."""
    DROP = "drop"
    """The connection ends in order, without an answer."""
    RESET = "reset"
    """The connection is reset, without an answer."""
    DIE = "die"
    """OpenD is gone: every connection is reset, and the port refuses until it listens again."""
    SILENCE = "silence"
    """Nothing comes, and the connection stays."""
    LATE = "late"
    """The true answer, `seconds` late, while other requests are answered."""
    SLOW = "slow"
    """The true answer byte by byte, `seconds` apart."""
    CUT = "cut"
    """Half of the true answer, then a reset."""
    CORRUPT = "corrupt"
    """Success, and the rest of the body cannot be read."""
    HOLLOW = "hollow"
    """Success, and nothing else."""
    BAD_CHECKSUM = "bad_checksum"
    """The true answer under another one's checksum."""
    CHANGE = "change"
    """The true answer, with `fields` in the place of its own wherever they stand; None leaves one out."""
    EMPTY = "empty"
    """Success, and an empty list."""
    STALE = "stale"
    """The answer that the same question got the last time it went well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFault(Scripted[Request]):
    """The nth request that matches, and those after it, get their answer so."""

    wire: Wire
    protocol: int | None = None
    """None for any."""
    reason: str = "injected fault"
    ret_type: int = -1
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def matches(self, request: Request) -> bool:
        """Whether the request is one that it counts."""
        return self.protocol in {None, request.protocol}

    @property
    def needs_the_true_answer(self) -> bool:
        """Whether the broker has to be asked."""
        return self.executes or self.wire in _TRUE_ANSWERS


_TRUE_ANSWERS = frozenset(
    {Wire.LATE, Wire.SLOW, Wire.CUT, Wire.BAD_CHECKSUM, Wire.CHANGE, Wire.STALE, Wire.EMPTY}
)
