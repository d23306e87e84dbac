"""Turns a log record into one line, for machines or for people, with every secret taken out."""

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, time
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from shared.clock import Clock

VALUES = "_values"
"""Attribute of a record that holds its key-values, so that no key can collide with logging's own."""

MAX_DEPTH = 8
MAX_TEXT = 20_000


@dataclass(slots=True, kw_only=True)
class Context:
    """What every line of one run says; a run learns its cycle and that cycle\'s clock as it goes."""

    agent: str
    mode: str
    cycle_id: str | None
    clock: "Clock"
    redact: Callable[[str], str]


class JsonLine(JsonFormatter):
    """One JSON object per record; `timestamp` is the machine's time and `now` the run's own clock."""

    def __init__(self, context: Context) -> None:
        # The library annotates its arguments with a bare Callable.
        super().__init__(json_ensure_ascii=False)  # pyright: ignore[reportUnknownMemberType]
        self._context = context

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Put the fields of every line first, then the record's key-values, then its exception."""
        log_data["timestamp"] = datetime.fromtimestamp(record.created, UTC)
        log_data["level"] = record.levelname
        log_data["event"] = record.message
        log_data["agent"] = self._context.agent
        log_data["mode"] = self._context.mode
        log_data["cycle_id"] = self._context.cycle_id
        log_data["now"] = self._context.clock.now()
        log_data["logger"] = record.name
        for key, value in {**_key_values(record), **message_dict}.items():
            log_data[f"{key}_" if key in log_data else key] = value

    def process_log_record(self, log_data: LogData) -> LogData:
        """Reduce every value to what JSON has, without secrets."""
        return {
            self._context.redact(key): plain(value, self._context.redact)
            for key, value in log_data.items()
        }


class ReadableLine(logging.Formatter):
    """`2026-06-15T14:00:00Z INFO order_refused symbol=AAPL reason="..."`, by the run's own clock."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback where there is one."""
        moment = self._context.clock.now().astimezone(UTC)
        words = [f"{moment:%Y-%m-%dT%H:%M:%SZ}", f"{record.levelname:<7}"]
        words.append(_unbroken(self._context.redact(record.getMessage())))
        for key, value in _key_values(record).items():
            words.append(f"{_unbroken(self._context.redact(key))}={self._shown(value)}")
        line = " ".join(words)
        if record.exc_info:
            line += "\n" + self._context.redact(self.formatException(record.exc_info))
        return line

    def _shown(self, value: object) -> str:
        reduced = plain(value, self._context.redact)
        if not isinstance(reduced, str):
            return json.dumps(reduced)
        is_a_word = reduced.isprintable() and not any(mark in reduced for mark in ' "=')
        return reduced if reduced and is_a_word else json.dumps(reduced)


def plain(value: object, redact: Callable[[str], str], depth: int = 0) -> object:
    """Reduce a value to dict, list, str, int, float, bool or None, with every text redacted.

    Decimal becomes text, so that no digit is lost.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    inside = _inside(value) if depth < MAX_DEPTH else None
    match inside:
        case dict():
            return {redact(key): plain(item, redact, depth + 1) for key, item in inside.items()}
        case list():
            return [plain(item, redact, depth + 1) for item in inside]
        case None:
            return redact(_text(value))[:MAX_TEXT]


def _inside(value: object) -> dict[str, object] | list[object] | None:
    """Return the parts of a value that has parts."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return list(cast("Iterable[object]", value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _text(value: object) -> str:
    match value:
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case _:
            return str(value)


def _key_values(record: logging.LogRecord) -> dict[str, object]:
    given = record.__dict__
    own = cast("dict[str, object]", given.get(VALUES, {}))
    extras = {key: given[key] for key in given if key not in _RESERVED and key[:1] != "_"}
    return {**extras, **own}


_RESERVED = frozenset({*RESERVED_ATTRS, "taskName"})


def _unbroken(text: str) -> str:
    """Keep one record on one line, and terminals unharmed, whatever the text holds."""
    return text if text.isprintable() else json.dumps(text)[1:-1]
