"""OpenD's protobuf messages, of the client's own definitions: made from fields, and read strictly.

Importing this module imports that client.
"""

import sys
from collections.abc import Mapping
from typing import Any, cast

from google.protobuf.message import DecodeError

from shared.opend import CallFailed, Refused
from shared.opend_import import UTILS

Message = Any
"""A protobuf message of the client's own definition."""

_SUCCEEDED, _FAILED = 0, -1


def request_of(protocol: int, c2s: Mapping[str, object]) -> Message:
    """Return a request with these fields. Raises ValueError or AttributeError for what the message has not."""
    made = _module(protocol).Request()
    made.c2s.SetInParent()
    _fill(made.c2s, c2s)
    return made


def environment_of(request: Message) -> int | None:
    """Return the trading environment that a message names; None for one about something else."""
    fields = request.c2s.DESCRIPTOR.fields_by_name
    if "header" not in fields or "trdEnv" not in fields["header"].message_type.fields_by_name:
        return None
    return int(request.c2s.header.trdEnv)


def read(protocol: int, body: bytes) -> Message:
    """Return a good answer, whole and of the right kind. Raises Refused, CallFailed."""
    answer = _module(protocol).Response()
    try:
        answer.ParseFromString(body)
    except DecodeError:
        is_whole = False
    else:
        is_whole = bool(answer.IsInitialized()) and bool(answer.HasField("retType"))
    if not is_whole:
        msg = "answered with a body that cannot be read"
        raise CallFailed(msg, may_have_arrived=True)
    if answer.retType == _FAILED:
        raise Refused(str(answer.retMsg).strip())
    if answer.retType != _SUCCEEDED:
        msg = f"does not know what came of it ({answer.retType} {answer.retMsg})"
        raise CallFailed(msg, may_have_arrived=True)
    if not answer.HasField("s2c"):
        msg = "answered with a success that says nothing"
        raise CallFailed(msg, may_have_arrived=True)
    return answer


def _module(protocol: int) -> Any:
    name: str = UTILS.pb_map[protocol].DESCRIPTOR.file.name
    return sys.modules[f"moomoo.common.pb.{name.removesuffix('.proto')}_pb2"]


def _fill(message: Message, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            part = getattr(message, name)
            part.SetInParent()
            _fill(part, cast("Mapping[str, object]", value))
        elif isinstance(value, list | tuple):
            _extend(getattr(message, name), cast("list[object]", value))
        else:
            setattr(message, name, value)


def _extend(field: Any, values: list[object]) -> None:
    for value in values:
        if isinstance(value, Mapping):
            _fill(field.add(), cast("Mapping[str, object]", value))
        else:
            field.append(value)
