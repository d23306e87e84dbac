"""Keeps what must not be lost: in the database, or, when that is gone, in the local journal.

The loss of the database still ends the run; nothing here hides it.
"""

from pathlib import Path
from typing import TypeVar
from uuid import UUID

from shared import log
from shared.clock import Clock
from shared.database import accounts
from shared.database.connection import Connection
from shared.database.fences import Role
from shared.errors import DatabaseUnavailable
from shared.journal.entries import Entry
from shared.journal.file import LocalJournal

logger = log.get(__name__)

Written = TypeVar("Written")


class Books:
    """The database of one run, and the journal beside it."""

    def __init__(self, *, connection: Connection, journal: LocalJournal, clock: Clock) -> None:
        """Bring both together; `open_books` finds them."""
        self.connection: Connection = connection
        self._journal: LocalJournal = journal
        self._clock: Clock = clock

    @property
    def journal(self) -> LocalJournal:
        """Where the lines go."""
        return self._journal

    @property
    def database(self) -> UUID:
        """Identity of the database."""
        return self._journal.database

    async def keep(self, entry: Entry[Written]) -> Written:
        """Write an entry into the database.

        Raises DatabaseUnavailable when it is gone; the entry is in the journal then, or the text says that
        it is not.
        """
        try:
            return await entry.write(self.connection)
        except DatabaseUnavailable as lost:
            problem = self.note(entry)
            if problem is not None:
                msg = f"{lost}; and {problem}"
                raise DatabaseUnavailable(msg) from lost
            raise

    def note(self, entry: Entry[object]) -> str | None:
        """Put an entry into the journal alone; return why that did not work, None when it did."""
        try:
            self._journal.append(entry, self._clock.now())
        except OSError as error:
            logger.exception("journal_not_written", kind=entry.kind)
            return f"{self._journal.path} cannot be written: {error.strerror}"
        logger.warning("kept_in_the_journal", kind=entry.kind, path=str(self._journal.path))
        return None


async def open_books(
    connection: Connection,
    *,
    home: Path,
    agent_id: str,
    clock: Clock,
    role: Role = Role.CYCLE,
) -> Books:
    """Find the journal that belongs to this database and this writer. Raises DatabaseUnavailable."""
    database = await accounts.database_identity(connection)
    journal = LocalJournal(home=home, agent_id=agent_id, database=database, role=role)
    return Books(connection=connection, journal=journal, clock=clock)
