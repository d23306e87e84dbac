"""Takes over what an earlier run could only keep in its journal; each line counts once, however often it is read."""

from datetime import datetime

import asyncpg

from shared import log
from shared.database import journal_replays, records
from shared.database.connection import Connection, transaction
from shared.database.orders import order_by_client_id
from shared.errors import InvalidTransition
from shared.journal.books import Books
from shared.journal.entries import IntentWritten, UnreadableEntry
from shared.journal.file import Line

logger = log.get(__name__)


async def replay(books: Books, *, at: datetime) -> int:
    """Write what the database has not heard of and set the file aside; return how many lines were news.

    Call it under the agent's lock, before anything else. Sales stand in the journal before the database
    hears of them, so a file of sales that are all known is no news and is removed. What contradicts what is
    known, and what cannot be read, is alerted, and stays in the file that is kept. Raises
    DatabaseUnavailable; the file stays then.
    """
    journal, connection = books.journal, books.connection
    problems: list[str] = []
    news = 0
    for line in journal.lines():
        if isinstance(line, UnreadableEntry):
            problem: str | None = str(line)
        elif await _is_known_sale(connection, line):
            continue
        else:
            problem = await _take_over(connection, line, agent_id=journal.agent_id, at=at)
        news += 1
        problems += () if problem is None else (problem,)
    if not news:
        journal.remove()
        return 0
    aside = journal.set_aside(at)
    logger.info("journal_replayed", lines=news, problems=len(problems), kept=str(aside))
    await _tell(connection, journal.agent_id, news, problems, aside=str(aside), at=at)
    return news


async def _is_known_sale(connection: Connection, line: Line) -> bool:
    entry = line.entry
    return isinstance(entry, IntentWritten) and (
        await order_by_client_id(connection, entry.request.client_order_id) is not None
    )


async def _take_over(
    connection: Connection, line: Line, *, agent_id: str, at: datetime
) -> str | None:
    """Write one line and the row that says so, both or neither; return what stands against it."""
    try:
        async with transaction(connection):
            if not await journal_replays.begin(
                connection,
                entry_id=line.entry_id,
                agent_id=agent_id,
                kind=line.entry.kind,
                noted_at=line.noted_at,
                at=at,
            ):
                return None
            result = await line.entry.write_again(connection)
            await journal_replays.finish(connection, entry_id=line.entry_id, result=result)
    except (InvalidTransition, LookupError, asyncpg.IntegrityConstraintViolationError) as error:
        logger.warning("journal_line_contradicts", kind=line.entry.kind, error=str(error))
        return f"{line.entry.kind} of {line.noted_at.isoformat()}: {error}"
    return None


async def _tell(
    connection: Connection,
    agent_id: str,
    count: int,
    problems: list[str],
    *,
    aside: str,
    at: datetime,
) -> None:
    said = "; ".join(problems) or "All of them fit what is known."
    await records.queue_alert(
        connection,
        agent_id=agent_id,
        cycle_id=None,
        severity="critical" if problems else "warning",
        subject=f"an earlier run lost its database; {count} lines of its journal were taken over",
        body=f"The lines are kept in {aside}. {said}",
        dedupe_key=f"journal-{at.isoformat()}",
        at=at,
    )
