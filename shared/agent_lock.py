"""Holds an agent in its database: the advisory lock of a role, and the token that fences off its predecessors.

While it is held it is watched: a run that loses the lock's connection or file is ended.
"""

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from time import monotonic

from shared import log
from shared.clock import Clock
from shared.database.connection import Connection
from shared.database.fences import (
    Role,
    Sender,
    answers,
    lock_holder,
    take_token,
    try_lock,
    unlock,
)
from shared.database.records import queue_alert
from shared.errors import Busy, DatabaseUnavailable, LockLost
from shared.lock import HeldFile

logger = log.get(__name__)

_ASKED_AGAIN_AFTER_SECONDS = 0.05
_LOOKED_AT_EVERY_SECONDS = 0.5
_LOOKS_PER_QUESTION = 10
"""The file is looked at every time, the server is asked for a sign of life every tenth time."""


@asynccontextmanager
async def hold_agent(
    connection: Connection,
    *,
    agent_id: str,
    role: Role,
    mode: str,
    clock: Clock,
    file: HeldFile | None = None,
    wait_seconds: float = 0.0,
) -> AsyncGenerator[Sender]:
    """Hold the agent for as long as the block runs, and say under which token orders are sent.

    The connection is the lock's own: nobody else may use it meanwhile. When it ends, or the lock file
    is removed or replaced, the task that runs the block is cancelled, with a LockLost as the reason, and
    LockLost is raised where the block passes that on. A lock that its last holder's server process has
    not let go yet is waited for. Raises Busy when another session keeps it, on whatever machine, and
    DatabaseUnavailable.
    """
    async with hold_advisory(connection, agent_id, role, wait_seconds=wait_seconds):
        sender = await take_token(
            connection,
            agent_id=agent_id,
            role=role,
            mode=mode,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=clock.now(),
        )
        async with _watched(connection, file, agent_id):
            yield sender


@asynccontextmanager
async def hold_advisory(
    connection: Connection, agent_id: str, role: Role, *, wait_seconds: float = 0.0
) -> AsyncGenerator[None]:
    """Hold the advisory lock on this connection's session for as long as the block runs.

    Raises Busy when another session has it all that time, on whatever machine, and DatabaseUnavailable.
    """
    key = advisory_key(agent_id, role)
    deadline = monotonic() + wait_seconds
    while not await try_lock(connection, key):
        if monotonic() >= deadline:
            holder = await lock_holder(connection, key)
            raise Busy(
                f"another run of {agent_id} holds the database's lock: {holder or 'not known which'}"
            )
        await asyncio.sleep(_ASKED_AGAIN_AFTER_SECONDS)
    try:
        yield
    finally:
        if not connection.is_closed():
            # the session ends now, and its lock with it
            with suppress(DatabaseUnavailable):
                await unlock(connection, key)


def advisory_key(agent_id: str, role: Role) -> int:
    """Return the lock number of an agent's role, a signed 64-bit integer, the same on every machine."""
    of_role = "" if role is Role.CYCLE else f":{role}"
    digest = hashlib.sha256(f"catalyst:{agent_id}{of_role}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def tell_of_ended(
    trading: Connection, file: HeldFile, *, agent_id: str, at: datetime
) -> None:
    """Queue an alert for every run that had to be ended and should have ended by itself."""
    for ended in file.ended:
        if ended.is_alarming:
            holder = ended.holder
            await queue_alert(
                trading,
                agent_id=agent_id,
                cycle_id=None,
                severity="warning",
                subject=f"a {holder.mode} run hung and was ended",
                body=f"{ended}; its lease ended {holder.lease_ends}.",
                dedupe_key=f"ended-{holder.pid}-{holder.process_started_ticks}",
                at=at,
            )


@asynccontextmanager
async def _watched(
    connection: Connection, file: HeldFile | None, agent_id: str
) -> AsyncGenerator[None]:
    watch = _Watch(connection, file, agent_id)
    try:
        async with watch:
            yield
    except asyncio.CancelledError:
        if watch.lost is None:
            raise
        watch.take_back()
        raise watch.lost from None


class _Watch:
    """Cancels the task that began it when the lock is lost; once, so that the task can write its end."""

    def __init__(self, connection: Connection, file: HeldFile | None, agent_id: str) -> None:
        self.lost: LockLost | None = None
        self._connection: Connection = connection
        self._file: HeldFile | None = file
        self._agent_id: str = agent_id
        self._over: asyncio.Event = asyncio.Event()
        self._run: asyncio.Task[object] | None = asyncio.current_task()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._connection.add_termination_listener(self._connection_ended)
        self._looking = asyncio.create_task(self._look())

    async def __aexit__(self, *_: object) -> None:
        self._connection.remove_termination_listener(self._connection_ended)
        self._over.set()
        if self._looking is not None:
            # not cancelled: a question under way would be taken back over a connection of its own
            await self._looking

    def take_back(self) -> None:
        """Undo the cancellation's count, as its error goes no further."""
        if self._run is not None:
            self._run.uncancel()

    def _connection_ended(self, _connection: object) -> None:
        self._lose("the connection that held it has ended")

    def _lose(self, why: str) -> None:
        if self.lost is not None or self._over.is_set():
            return
        self.lost = LockLost(f"the lock of {self._agent_id} was lost: {why}")
        logger.error("lock_lost", why=why)
        if self._run is not None:
            self._run.cancel(self.lost)

    async def _look(self) -> None:
        looks = 0
        while self.lost is None and not self._over.is_set():
            looks += 1
            problem = None if self._file is None else self._file.problem()
            if problem is None and looks % _LOOKS_PER_QUESTION == 0:
                problem = await self._silence()
            if problem is not None:
                self._lose(problem)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOKED_AT_EVERY_SECONDS):
                    await self._over.wait()

    async def _silence(self) -> str | None:
        """Ask the server for a sign of life; say what is wrong where there is none."""
        try:
            await answers(self._connection)
        except DatabaseUnavailable as error:
            return str(error)
        return None
