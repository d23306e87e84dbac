"""Sets up the log: JSON lines in a file for machines, one readable line on stderr for people.

A record is an event's name and key-values: `log = get(__name__)`, `log.info("order_refused", symbol=s)`.
The log is never a reason to stop: a file that cannot be written costs one sentence. No secret gets in.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from shared.clock import Clock
from shared.log_file import LogFile
from shared.log_format import VALUES, Context, JsonLine, ReadableLine
from shared.redaction import redactor

if TYPE_CHECKING:
    from shared.config import LoggingSettings

_TALKATIVE = (
    "alpaca", "anthropic", "asyncio", "asyncpg", "dotenv", "httpcore", "httpcore2", "httpx", "httpx2",
    "moomoo", "stamina", "urllib3",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Log:
    """A module's way to record events; made by `get`."""

    logger: logging.Logger

    def debug(self, event: str, /, **values: object) -> None:
        """Record what only a developer wants to see."""
        self._record(logging.DEBUG, event, values)

    def info(self, event: str, /, **values: object) -> None:
        """Record what happened as it should."""
        self._record(logging.INFO, event, values)

    def warning(self, event: str, /, **values: object) -> None:
        """Record what somebody should look at some day."""
        self._record(logging.WARNING, event, values)

    def error(self, event: str, /, **values: object) -> None:
        """Record what failed."""
        self._record(logging.ERROR, event, values)

    def exception(self, event: str, /, **values: object) -> None:
        """Record what failed, with the exception being handled and its traceback."""
        self._record(logging.ERROR, event, values, with_traceback=True)

    def _record(
        self, level: int, event: str, values: dict[str, object], *, with_traceback: bool = False
    ) -> None:
        self.logger.log(level, event, extra={VALUES: values}, exc_info=with_traceback, stacklevel=3)


def get(name: str) -> Log:
    """Return the log of a module, by its `__name__`."""
    return Log(logging.getLogger(name))


@dataclass(frozen=True, slots=True)
class LogOutcome:
    """Where the log goes, and whether that works."""

    path: Path
    problem: Callable[[], str | None]
    """Says, as of now, why records do not reach the file: one sentence, or None."""
    context: Context

    def enter_cycle(self, cycle_id: str, clock: Clock) -> None:
        """Put the cycle's id on every line from here on, and go by its clock."""
        self.context.cycle_id, self.context.clock = cycle_id, clock


def set_up(
    settings: "LoggingSettings",
    *,
    project: Path,
    secrets: Sequence[str],
    agent_id: str,
    mode: str,
    cycle_id: str | None,
    clock: Clock,
) -> LogOutcome:
    """Send the records of this process to `<directory>/<agent>.jsonl` and to stderr.

    May be called again in the same process: what the call before set up is closed and replaced. Several
    processes may write to the same file. Never raises because of the file.
    """
    tear_down()
    context = Context(
        agent=agent_id, mode=mode, cycle_id=cycle_id, clock=clock, redact=redactor(secrets)
    )
    path = project / Path(settings.directory).expanduser() / f"{agent_id}.jsonl"
    file = LogFile(path, max_bytes=settings.max_bytes, keep_files=settings.keep_files)
    file.setFormatter(JsonLine(context))
    people = _Stderr()
    people.setFormatter(ReadableLine(context))
    root = logging.getLogger()
    root.setLevel(settings.level)
    for handler in (file, people):
        root.addHandler(handler)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    file.try_open()
    return LogOutcome(path, lambda: file.problem, context)


def tear_down() -> None:
    """Close and remove what `set_up` set up; harmless without it."""
    root = logging.getLogger()
    for handler in tuple(root.handlers):
        if isinstance(handler, LogFile | _Stderr):
            root.removeHandler(handler)
            handler.close()


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the moment; when that is gone there is nobody to tell."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        return
