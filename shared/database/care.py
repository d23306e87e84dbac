"""What must not be believed after a restore. Callers own the transaction."""

from datetime import datetime
from uuid import UUID

from shared.database.connection import Connection, execute, fetch_one
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


async def renew_identity(connection: Connection) -> UUID:
    """Make this another database than the one its rows come from, and return its new id."""
    return (await fetch_one(connection, Q["renew_identity"].bind()))["identity"]


async def raise_tokens(connection: Connection, *, by: int) -> None:
    """Put the next token of every lock that far above the last one that is known."""
    await execute(connection, Q["raise_tokens"].bind(by=by))


async def void_verdicts(connection: Connection, *, why: str, at: datetime) -> None:
    """Let no comparison of before allow an entry; each session has to be compared anew."""
    await execute(connection, Q["void_verdicts"].bind(why=why, at=at))
