"""Gets an agent to itself on this machine: no run and no position monitor is at work while the block runs.

A run is waited for and never ended, unless it hangs. The monitor is asked to end, which it does between two
passes, and is never killed: its pass may be selling. Cron starts it again when its lock is free.
"""

import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from shared import log
from shared.clock import SystemClock
from shared.config import LockSettings
from shared.errors import Busy
from shared.lease import Holder, holder_in
from shared.lock import hold
from shared.operate.place import Place
from shared.process import same_process

logger = log.get(__name__)

MONITOR = "monitor"
"""The position monitor's mode in its lock file."""

_LOOKED_AGAIN_AFTER_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long others are waited for."""

    run_seconds: float = 0.0
    monitor_seconds: float | None = None
    """None asks no monitor to end."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """What it took."""

    asked: tuple[Holder, ...]
    """Monitors that were asked to end and have."""


@contextmanager
def quiet(place: Place, mode: str, patience: Patience) -> Generator[Quiet]:
    """Hold the agent's two lock files. Raises Busy when somebody keeps one of them.

    The run comes first: while it is waited for, the monitor still guards the positions.
    """
    with ExitStack() as stack:
        _take(stack, place, mode, lock_file(place), seconds=patience.run_seconds)
        asked = _take_from_monitor(stack, place, mode, patience)
        yield Quiet(asked)


@contextmanager
def only_care(place: Place, mode: str) -> Generator[None]:
    """Let no two commands of care write backups, or cut files, at once. Raises Busy."""
    with ExitStack() as stack:
        _take(stack, place, mode, place.home / "locks" / f"{place.agent_id}.care.lock")
        yield


def lock_file(place: Place) -> Path:
    """Return the lock file of the agent's runs."""
    return place.home / "locks" / f"{place.agent_id}.lock"


def monitor_lock_file(place: Place) -> Path:
    """Return the lock file of the agent's position monitor."""
    return place.home / "locks" / f"{place.agent_id}.{MONITOR}.lock"


def _take(stack: ExitStack, place: Place, mode: str, path: Path, *, seconds: float = 0.0) -> None:
    """Take a lock file as soon as it is free. Raises Busy when it has not become so in time."""
    deadline = monotonic() + seconds
    while True:
        try:
            _enter(stack, place, mode, path)
        except Busy as busy:
            if monotonic() < deadline:
                sleep(_LOOKED_AGAIN_AFTER_SECONDS)
                continue
            waited = f"; it was waited for {seconds:g} s" if seconds else ""
            raise Busy(f"{busy}{waited}") from busy
        return


def _take_from_monitor(
    stack: ExitStack, place: Place, mode: str, patience: Patience
) -> tuple[Holder, ...]:
    """Take the monitor's lock file; ask whoever holds it to end, also one that cron has just started."""
    path = monitor_lock_file(place)
    if patience.monitor_seconds is None:
        _take(stack, place, mode, path)
        return ()
    deadline = monotonic() + patience.monitor_seconds
    asked: list[Holder] = []
    while True:
        try:
            _enter(stack, place, mode, path)
        except Busy as busy:
            holder = _holder(path)
            is_new = holder is not None and not any(map(holder.is_process_of, asked))
            if holder is not None and holder.mode == MONITOR and is_new:
                _ask_to_end(holder, busy)
                asked.append(holder)
            if monotonic() >= deadline:
                seconds = f"{patience.monitor_seconds:g} s"
                what = (
                    f"{busy}; it was asked to end {seconds} ago and has not, and it is not killed"
                )
                raise Busy(what) from busy
            sleep(_LOOKED_AGAIN_AFTER_SECONDS)
            continue
        return tuple(asked)


def _enter(stack: ExitStack, place: Place, mode: str, path: Path) -> None:
    held = hold(path, agent_id=place.agent_id, mode=mode, clock=SystemClock(), locks=_locks(place))
    stack.enter_context(held)


def _locks(place: Place) -> LockSettings:
    """Give care a lease of its own: a backup may take longer than any run."""
    seconds = place.settings.care.longest_run_seconds
    return place.settings.locks.model_copy(update={"longest_run_seconds": seconds})


def _ask_to_end(holder: Holder, busy: Busy) -> None:
    with same_process(holder.pid, holder.process_started_ticks) as process:
        if process is None:
            return
        try:
            process.send(signal.SIGTERM)
        except PermissionError:
            what = f"{busy}; it belongs to another user and cannot be asked to end from here"
            raise Busy(what) from None
    logger.info("monitor_asked_to_end", holder=str(holder))


def _holder(path: Path) -> Holder | None:
    try:
        return holder_in(path.read_bytes())
    except OSError:
        return None
