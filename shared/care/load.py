"""Fills an empty database from a backup: the schema it was made at, every row, every sequence, then upwards.

Everything happens in the caller's transaction; an error anywhere leaves the database as it was.
"""

from collections.abc import Sequence

import asyncpg

from shared import migrate
from shared.care import ours
from shared.care.archive import Archive
from shared.care.manifest import DatabasePart, TablePart
from shared.database import catalog
from shared.database.catalog import Numbering, Table
from shared.database.connection import Connection
from shared.errors import CatalystError, ConfigError
from shared.migrate import Migration
from shared.sql import DatabaseKind


class RestoreFailed(CatalystError):
    """The rows of a backup did not go in; all of it was undone."""


def migrations_of(part: DatabasePart) -> Sequence[Migration]:
    """Return the migrations that lead to the schema of the backup. Raises ConfigError for other ones."""
    known = migrate.known(part.kind)
    try:
        pending = migrate.pending_of(known, part.migrations)
    except ConfigError as error:
        what = f"the backup of the {part.kind} database cannot be restored by this code: {error}"
        raise ConfigError(what) from error
    return known[: len(known) - len(pending)]


async def require_room(connection: Connection, kind: DatabaseKind) -> None:
    """Raise ConfigError unless the database is empty, or was migrated and never used."""
    there = {table.name for table in await catalog.tables(connection)}
    foreign = sorted(there - ours.tables(kind))
    if foreign:
        msg = f"the {kind} database has tables that are not Catalyst's, such as {foreign[0]}"
        raise ConfigError(msg)
    used = await catalog.table_with_rows(connection, ours.tables(kind) - ours.SEEDED)
    if used is not None:
        msg = f"the {kind} database is not empty: {used} has rows; restore into a new database"
        raise ConfigError(msg)


async def load(connection: Connection, part: DatabasePart, archive: Archive) -> None:
    """Make the database what the backup says, at the schema of this code; call it in a transaction.

    Raises RestoreFailed, MigrationFailed and DatabaseUnavailable, after which the caller has to roll back.
    """
    tables = ours.tables(part.kind)
    migrations = migrations_of(part)
    try:
        await catalog.drop(connection, tables, ours.functions(part.kind))
        if migrations:
            await migrate.apply(connection, migrations)
            await catalog.empty(connection, tables)
            await _fill(connection, part, archive)
        await migrate.migrate(connection, part.kind)
    except asyncpg.PostgresError as error:
        said = str(error).splitlines()[0]
        raise RestoreFailed(f"the {part.kind} database refused the backup: {said}") from error


async def _fill(connection: Connection, part: DatabasePart, archive: Archive) -> None:
    there = {(t.name, frozenset(t.columns)) for t in await catalog.tables(connection)}
    wanted = {(t.name, frozenset(t.columns)) for t in part.tables}
    if there != wanted:
        names = ", ".join(sorted({name for name, _ in there ^ wanted}))
        raise RestoreFailed(f"the backup's tables are not those of its schema: {names}")
    for table in part.tables:
        await _fill_table(connection, table, archive)
    for name, last_value in part.sequences.items():
        await catalog.set_sequence(connection, Numbering(name=name, last_value=last_value))
    await catalog.require_sequences_ahead(connection)


async def _fill_table(connection: Connection, table: TablePart, archive: Archive) -> None:
    rows = await catalog.copy_in(
        connection,
        Table(name=table.name, columns=table.columns),
        archive.lines(table.piece),
    )
    if rows != table.piece.lines:
        msg = f"{table.name} took {rows} rows, the backup has {table.piece.lines}"
        raise RestoreFailed(msg)
