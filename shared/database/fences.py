"""Advisory locks of a session, and fencing: only the newest holder of an agent's lock may write an intent.

The token outlives a holder who does not know yet that it lost the lock.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.database.connection import Connection, execute, fetch_one, fetch_row
from shared.errors import LockLost
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


class Role(StrEnum):
    """Who may send orders of an agent; each role has a lock and tokens of its own."""

    CYCLE = "cycle"
    """A cycle, a command of a person, the startup monitor: one at a time."""
    MONITOR = "monitor"
    """The position monitor, beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Under which lock a process sends orders."""

    role: Role
    token: int


async def take_token(
    connection: Connection,
    *,
    agent_id: str,
    role: Role,
    mode: str,
    host: str,
    pid: int,
    at: datetime,
) -> Sender:
    """Return the next token; whoever had one before writes no intent any more. Call it under the lock."""
    statement = Q["take_token"].bind(
        agent_id=agent_id, role=role, mode=mode, host=host, pid=pid, at=at
    )
    return Sender(role=role, token=(await fetch_one(connection, statement))["token"])


async def require_newest(connection: Connection, *, agent_id: str, sender: Sender) -> None:
    """Keep the token from growing until the transaction ends. Raises LockLost when it has grown."""
    statement = Q["newest_token"].bind(agent_id=agent_id, role=sender.role)
    row = await fetch_row(connection, statement)
    newest = None if row is None else row["token"]
    if newest != sender.token:
        msg = (
            f"the lock of {agent_id} has gone on to another run: token {sender.token} was taken,"
            f" {newest} is the newest"
        )
        raise LockLost(msg)


async def try_lock(connection: Connection, key: int) -> bool:
    """Take a lock for this session and say whether that went; a pooler would lose it."""
    return (await fetch_one(connection, Q["try_lock"].bind(key=key)))["is_ours"]


async def unlock(connection: Connection, key: int) -> None:
    """Give the lock back."""
    await execute(connection, Q["unlock"].bind(key=key))


async def lock_holder(connection: Connection, key: int) -> str | None:
    """Describe the session that has a lock; None when none has, or it may not be known."""
    row = await fetch_row(connection, Q["lock_holder"].bind(key=key))
    return None if row is None else row["holder"]


async def answers(connection: Connection) -> None:
    """Ask the server for a sign of life. Raises DatabaseUnavailable."""
    await execute(connection, Q["answer"].bind())
