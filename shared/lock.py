"""Keeps two runs of one agent apart on this machine: a lock file that says who holds it and until when.

The kernel lets it go when its holder dies, however it dies. A holder that hangs is ended by its successor.
"""

import fcntl
import os
import signal
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from shared import log
from shared.clock import Clock, boot_moment
from shared.config import LockSettings
from shared.errors import Busy, ConfigError
from shared.lease import Cause, Ended, Holder, holder_in, holder_now
from shared.process import Process, same_process, started_ticks

logger = log.get(__name__)

GIVES_WAY_TO_CLOSE = frozenset({"trade", "scan", "heartbeat"})
"""Modes that are ended when close mode needs the lock."""

_LOOKED_AGAIN_AFTER_SECONDS = 0.02
_SILENCE_SECONDS = 0.1
"""How long a holder may take to say who it is."""
_ENDED_AT_MOST = 3
"""How many runs one successor ends before it gives up."""
_OPENED_AT_MOST = 10
_DEFAULTS = LockSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A lock file that is held, and what was done to get it."""

    path: Path
    descriptor: int
    mode: str
    lease_seconds: float
    ended: tuple[Ended, ...] = ()
    """Runs that had to let go first."""

    def renew(self, clock: Clock) -> None:
        """Begin the lease anew: whoever holds the lock for longer than one says so before it ends."""
        _write(self.descriptor, mode=self.mode, lease_seconds=self.lease_seconds, clock=clock)

    def problem(self) -> str | None:
        """Say what became of the file, if anything did: another run may then hold a new one."""
        try:
            is_ours = _is_at(self.path, self.descriptor)
        except FileNotFoundError:
            return f"the lock file {self.path} was removed while the run held it"
        except OSError as e:
            return f"the lock file {self.path} cannot be looked at: {e.strerror}"
        return None if is_ours else f"the lock file {self.path} was replaced while the run held it"


@contextmanager
def hold(
    path: Path,
    *,
    agent_id: str,
    mode: str,
    clock: Clock,
    locks: LockSettings = _DEFAULTS,
    preempts: Collection[str] = (),
) -> Generator[HeldFile]:
    """Hold the lock file for as long as the block runs; its directory is made when it is missing.

    The file stays; in it stands who holds it. A holder whose lease has ended, or whose mode is one of
    `preempts`, is asked to end and then killed. Raises Busy when another run holds the lock and may, or
    cannot be ended, and ConfigError when the file cannot be opened.
    """
    claim = _Claim(agent_id=agent_id, mode=mode, locks=locks, preempts=preempts)
    held = _taken(path, claim)
    try:
        held.renew(clock)
        try:
            yield held
        finally:
            _erase(held.descriptor)
    finally:
        os.close(held.descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """Who wants the lock, and whom it may end for that."""

    agent_id: str
    mode: str
    locks: LockSettings
    preempts: Collection[str]

    def against(self, holder: Holder) -> Cause | None:
        """Say why the holder has to go; None if it may stay."""
        if holder.pid == os.getpid():
            return None
        if holder.has_expired(boot_moment()):
            return Cause.EXPIRED
        return Cause.PREEMPTED if holder.mode in self.preempts else None

    def grace_seconds(self, cause: Cause) -> float:
        """Say how long a holder gets to end by itself."""
        is_expired = cause is Cause.EXPIRED
        return self.locks.expired_grace_seconds if is_expired else self.locks.preempt_grace_seconds

    def busy(self, holder: Holder | None, what: str = "") -> Busy:
        """Say who holds the lock."""
        sentence = f"another run of {self.agent_id} holds the lock"
        if holder is None:
            return Busy(f"{sentence}, and has not said which")
        return Busy(f"{sentence}: {holder}{what}")


def _taken(path: Path, claim: _Claim) -> HeldFile:
    """Open and lock the file that is at the path now, not one that was taken away meanwhile."""
    ended: tuple[Ended, ...] = ()
    for _ in range(_OPENED_AT_MOST):
        descriptor = _opened(path)
        try:
            ended += _locked(descriptor, claim)
            with suppress(FileNotFoundError):
                if _is_at(path, descriptor):
                    return HeldFile(
                        path=path,
                        descriptor=descriptor,
                        mode=claim.mode,
                        lease_seconds=claim.locks.longest_seconds(claim.mode),
                        ended=ended,
                    )
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    msg = f"the lock file {path} is taken away again and again"
    raise ConfigError(msg)


def _locked(descriptor: int, claim: _Claim) -> tuple[Ended, ...]:
    """Lock the file, and say who had to let go for that. Raises Busy."""
    ended: list[Ended] = []
    for _ in range(_ENDED_AT_MOST):
        if _try(descriptor):
            return tuple(ended)
        holder = _said_by_holder(descriptor)
        cause = None if holder is None else claim.against(holder)
        if holder is None or cause is None:
            break
        with same_process(holder.pid, holder.process_started_ticks) as process:
            if process is not None:
                ended.append(_end(process, descriptor, holder, cause, claim))
    if _try(descriptor):
        return tuple(ended)
    raise claim.busy(_said_by_holder(descriptor))


def _end(process: Process, descriptor: int, holder: Holder, cause: Cause, claim: _Claim) -> Ended:
    """Ask the holder to end, kill it when it does not, and wait until it has let go. Raises Busy."""
    logger.warning("holder_is_ended", holder=str(holder), cause=str(cause))
    try:
        process.send(signal.SIGTERM)
        was_killed = not _lets_go(descriptor, holder, seconds=claim.grace_seconds(cause))
        if was_killed:
            logger.warning("holder_is_killed", holder=str(holder))
            process.send(signal.SIGKILL)
    except PermissionError:
        what = f"; {cause}, but it belongs to another user and cannot be ended from here"
        raise claim.busy(holder, what) from None
    if was_killed and not _lets_go(descriptor, holder, seconds=claim.locks.release_seconds):
        raise claim.busy(holder, "; it was killed and has not let go")
    return Ended(holder=holder, cause=cause, was_killed=was_killed)


def _lets_go(descriptor: int, holder: Holder, *, seconds: float) -> bool:
    """Wait until the lock is ours or somebody else's than this holder's."""
    deadline = monotonic() + seconds
    while not _try(descriptor):
        found = _read(descriptor)
        if found is not None and not found.is_process_of(holder):
            return True
        if monotonic() >= deadline:
            return False
        sleep(_LOOKED_AGAIN_AFTER_SECONDS)
    return True


def _said_by_holder(descriptor: int) -> Holder | None:
    """Return what the holder says of itself; a moment is given to one that has just taken the lock."""
    deadline = monotonic() + _SILENCE_SECONDS
    while True:
        holder = _read(descriptor)
        if holder is not None and started_ticks(holder.pid) == holder.process_started_ticks:
            return holder
        if _try(descriptor) or monotonic() >= deadline:
            return None
        sleep(_LOOKED_AGAIN_AFTER_SECONDS)


def _try(descriptor: int) -> bool:
    """Lock the file unless another has; asking again when it is ours changes nothing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    there, ours = path.stat(), os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise ConfigError(f"the lock file {path} cannot be opened: {e.strerror}") from e


def _write(descriptor: int, *, mode: str, lease_seconds: float, clock: Clock) -> None:
    holder = holder_now(
        pid=os.getpid(),
        ticks=started_ticks(os.getpid()),
        mode=mode,
        lease_seconds=lease_seconds,
        now=clock.now(),
        since_boot=boot_moment(),
    )
    content = holder.as_json()
    # On a full disk the lock holds all the same; only its description is missing.
    with suppress(OSError):
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))


def _erase(descriptor: int) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)


def _read(descriptor: int) -> Holder | None:
    try:
        return holder_in(os.pread(descriptor, 4096, 0))
    except OSError:
        return None
