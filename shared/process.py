"""One process of this machine, known by its pid and by when it started: no signal ever hits another one.

Knows neither locks nor agents.
"""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def started_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot, which tells it from a reused pid.

    None where it is not running or this machine does not say (proc_pid_stat(5), field 22).
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
        return int(after_name.split()[19])
    except (OSError, IndexError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was found to be the one meant; the descriptor stays its own when its pid is reused."""

    descriptor: int

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended. Raises PermissionError for another user's process."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return


@contextmanager
def same_process(pid: int, ticks: int | None) -> Generator[Process | None]:
    """Get hold of the process of that pid that started then; None when there is none any more."""
    descriptor = _descriptor(pid)
    if descriptor is None:
        yield None
        return
    try:
        # read after the descriptor was opened: what has this start now, had this pid then
        is_the_one = ticks is not None and started_ticks(pid) == ticks
        yield Process(descriptor) if is_the_one else None
    finally:
        os.close(descriptor)


def _descriptor(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
