"""A size-rotated log file that several processes may write at once, and that never stops a run.

Each record is one append, so lines do not mix. A process that finds the file rotated by another follows
to the new one. What cannot be written is said once on stderr; the next record tries again.
"""

import fcntl
import io
import logging
import os
import stat
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import BinaryIO, cast


class LogFile(RotatingFileHandler):
    """Appends records to a file in a directory that is made when it is missing."""

    def __init__(self, path: Path, *, max_bytes: int, keep_files: int) -> None:
        """Open nothing yet."""
        super().__init__(
            path, maxBytes=max_bytes, backupCount=keep_files, encoding="utf-8", delay=True
        )
        self._path = path
        self.problem: str | None = None
        """The first reason why records did not reach the file; None while all did."""

    def try_open(self) -> None:
        """Find out now whether the file can be opened."""
        try:
            self.stream = self._open()
        except OSError as e:
            self._complain(e)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Whether the file is full; a file that another process has moved away is followed first."""
        if not self._is_current():
            self._let_go()
        if self.stream is None:
            self.stream = self._open()
        status = os.fstat(self.stream.fileno())
        return stat.S_ISREG(status.st_mode) and status.st_size >= self.maxBytes

    def doRollover(self) -> None:  # noqa: N802
        """Rotate, unless another process is just doing so or has done so."""
        if self.stream is None:
            return
        held = os.dup(self.stream.fileno())
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                super().doRollover()
        except BlockingIOError:
            return
        except OSError as e:
            self._complain(e, "rotated")
        finally:
            os.close(held)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say what went wrong in one sentence, and only once while it lasts."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._complain(error)
        else:
            _say(f"the record {record.msg!r:.60} cannot be logged: {type(error).__name__}")

    def close(self) -> None:
        """Close the file; it holds nothing back that could still fail."""
        self._let_go()
        super().close()

    def _open(self) -> io.TextIOWrapper:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return _WholeLines(cast("BinaryIO", self._path.open("ab", buffering=0)), encoding="utf-8")

    def _is_current(self) -> bool:
        if self.stream is None:
            return False
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self.stream.fileno()))
        except FileNotFoundError:
            return False

    def _let_go(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = None

    def _complain(self, error: OSError, what_fails: str = "written") -> None:
        if self.problem is None:
            self.problem = (
                f"the log file {self._path} cannot be {what_fails}: {error.strerror or error}; "
                "this run goes on, its records are in the database"
            )
            _say(self.problem)


def _say(sentence: str) -> None:
    # When stderr is gone too, there is nobody left to tell.
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()


class _WholeLines(io.TextIOWrapper):
    """Hands each text to the kernel in one append, and keeps nothing in a buffer that could fail later."""

    _torn = False
    """Whether the last append ended in the middle of a line, as it does when the disk fills up."""

    def write(self, s: str, /) -> int:
        data = s.encode("utf-8", "backslashreplace")
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            rest = rest[os.write(self.fileno(), rest) :]
            self._torn = bool(rest)
        return len(s)
