"""Which lines of a local journal were taken over."""

from datetime import datetime
from uuid import UUID

from shared.database.connection import Connection, execute, fetch_row
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


async def begin(
    connection: Connection,
    *,
    entry_id: UUID,
    agent_id: str,
    kind: str,
    noted_at: datetime,
    at: datetime,
) -> bool:
    """Note that a line is being taken over; False when it was before."""
    statement = Q["begin_replay"].bind(
        entry_id=entry_id, agent_id=agent_id, kind=kind, noted_at=noted_at, at=at
    )
    return await fetch_row(connection, statement) is not None


async def finish(connection: Connection, *, entry_id: UUID, result: str) -> None:
    """Note what came of it."""
    await execute(connection, Q["finish_replay"].bind(entry_id=entry_id, result=result))
