"""What is forgotten in time, and what must not be believed after a restore. Callers own the transaction."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.database.connection import Connection, execute, fetch_one
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcripts:
    """How much of what was said."""

    pieces: int
    cycles: int


async def count_old_transcripts(
    connection: Connection, *, agent_id: str, before: datetime
) -> Transcripts:
    """Count what was said in cycles that ended before a time."""
    statement = Q["count_old_transcripts"].bind(agent_id=agent_id, before=before)
    row = await fetch_one(connection, statement)
    return Transcripts(pieces=row["pieces"], cycles=row["cycles"])


async def forget_transcripts(
    connection: Connection, *, agent_id: str, before: datetime, cycles: int
) -> Transcripts:
    """Forget what was said in at most so many of those cycles, each of them whole."""
    statement = Q["forget_transcripts"].bind(agent_id=agent_id, before=before, cycles=cycles)
    row = await fetch_one(connection, statement)
    return Transcripts(pieces=row["pieces"], cycles=row["cycles"])


async def renew_identity(connection: Connection) -> UUID:
    """Make this another database than the one its rows come from, and return its new id."""
    return (await fetch_one(connection, Q["renew_identity"].bind()))["identity"]


async def raise_tokens(connection: Connection, *, by: int) -> None:
    """Put the next token of every lock that far above the last one that is known."""
    await execute(connection, Q["raise_tokens"].bind(by=by))


async def void_verdicts(connection: Connection, *, why: str, at: datetime) -> None:
    """Let no comparison of before allow an entry; each session has to be compared anew."""
    await execute(connection, Q["void_verdicts"].bind(why=why, at=at))
