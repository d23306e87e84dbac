"""Keeps two runs of one agent apart: a lock file on this machine, an advisory lock in the database.

Both are let go by the kernel or the server when their holder dies, however it dies.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Protocol, cast

from shared.clock import Clock
from shared.errors import Busy, ConfigError


@contextmanager
def hold(path: Path, *, agent_id: str, mode: str, clock: Clock) -> Generator[None]:
    """Hold the lock file for as long as the block runs; its directory is made when it is missing.

    The file stays; in it stands who holds it. Raises Busy when another run does, ConfigError when the
    file cannot be opened.
    """
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(_holder_sentence(agent_id, _read(descriptor))) from None
        _write(descriptor, mode=mode, clock=clock)
        try:
            yield
        finally:
            _erase(descriptor)
    finally:
        os.close(descriptor)


class Connection(Protocol):
    """What an advisory lock needs of a direct asyncpg connection; a pooler would lose the lock."""

    async def fetchval(self, query: str, *args: object) -> object:
        """Return the first column of the first row."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        ...


@asynccontextmanager
async def hold_advisory(conn: Connection, agent_id: str) -> AsyncGenerator[None]:
    """Hold the agent's advisory lock on this connection's session for as long as the block runs.

    Raises Busy when another session has it, on whatever machine, and DatabaseUnavailable.
    """
    key = advisory_key(agent_id)
    if not await _fetchval(conn, "SELECT pg_try_advisory_lock($1)", key):
        holder = await _fetchval(conn, _ADVISORY_HOLDER, key)
        raise Busy(
            f"another run of {agent_id} holds the database's lock: {holder or 'not known which'}"
        )
    try:
        yield
    finally:
        if not conn.is_closed():
            await _fetchval(conn, "SELECT pg_advisory_unlock($1)", key)


def advisory_key(agent_id: str) -> int:
    """Return the agent's lock number, a signed 64-bit integer that is the same on every machine."""
    digest = hashlib.sha256(f"catalyst:{agent_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# pg_locks shows a 64-bit key as two halves (PostgreSQL manual, 53.13).
_ADVISORY_HOLDER = """
    SELECT format('pid %s%s, connected since %s', a.pid, ' from ' || host(a.client_addr),
                  to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
"""


async def _fetchval(conn: Connection, query: str, key: int) -> object:
    # Whoever has a connection has paid for this import already.
    from shared.database.connection import translated

    with translated():
        return await conn.fetchval(query, key)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise ConfigError(f"the lock file {path} cannot be opened: {e.strerror}") from e


def _write(descriptor: int, *, mode: str, clock: Clock) -> None:
    pid = os.getpid()
    holder = {
        "pid": pid,
        "process_started_ticks": _started_ticks(pid),
        "mode": mode,
        "since": f"{clock.now():%Y-%m-%dT%H:%M:%SZ}",
    }
    # On a full disk the lock holds all the same; only its description is missing.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _erase(descriptor: int) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)


def _read(descriptor: int) -> Mapping[str, object]:
    """Return what the holder wrote; nothing where that is missing, torn, or a dead process's."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    if not isinstance(holder, dict):
        return {}
    known = cast("dict[str, object]", holder)
    pid = known.get("pid")
    is_the_writer = isinstance(pid, int) and _started_ticks(pid) == known.get(
        "process_started_ticks"
    )
    return known if is_the_writer else {}


def _holder_sentence(agent_id: str, holder: Mapping[str, object]) -> str:
    sentence = f"another run of {agent_id} holds the lock"
    if not {"mode", "pid", "since"} <= holder.keys():
        return f"{sentence}, and has not said which"
    return f"{sentence}: mode {holder['mode']}, pid {holder['pid']}, since {holder['since']}"


def _started_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot, which tells it from a reused pid.

    None where it is not running or this machine does not say (proc_pid_stat(5), field 22).
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
        return int(after_name.split()[19])
    except (OSError, IndexError, ValueError):
        return None
