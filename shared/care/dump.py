"""Copies one database into an archive as it was at one moment, however much is written meanwhile."""

from shared import migrate
from shared.care import ours
from shared.care.archive import ArchiveWriter
from shared.care.manifest import DatabasePart, TablePart
from shared.database import accounts, catalog
from shared.database.catalog import Table
from shared.database.connection import Connection, snapshot
from shared.errors import DatabaseUnavailable
from shared.sql import DatabaseKind


async def dump(connection: Connection, kind: DatabaseKind, writer: ArchiveWriter) -> DatabasePart:
    """Write every table of ours and say what the database was.

    Raises ConfigError for a database that is newer than this code, and DatabaseUnavailable.

    One transaction reads everything; it changes nothing and keeps nobody from writing. A sequence is read
    last, as it goes by no transaction: it may be ahead of the rows, never behind them.
    """
    async with snapshot(connection):
        await catalog.write_plainly(connection)
        applied = await migrate.applied(connection)
        migrate.pending_of(migrate.known(kind), applied)
        is_trading = kind is DatabaseKind.TRADING and bool(applied)
        identity = await accounts.database_identity(connection) if is_trading else None
        tables = tuple(
            [
                await _copied(connection, kind, table, writer)
                for table in await catalog.tables(connection)
                if table.name in ours.tables(kind)
            ]
        )
        numberings = await catalog.sequences(connection)
    return DatabasePart(
        kind=kind,
        identity=identity,
        server_version=".".join(map(str, connection.get_server_version()[:2])),
        migrations=applied,
        tables=tables,
        sequences={one.name: one.last_value for one in numberings},
    )


async def _copied(
    connection: Connection, kind: DatabaseKind, table: Table, writer: ArchiveWriter
) -> TablePart:
    with writer.member(f"{kind}/{table.name}.copy") as member:
        rows = await catalog.copy_out(connection, table, member.write)
    piece = member.piece
    if piece.lines != rows:
        msg = f"the server gave {rows} rows of {table.name}, and {piece.lines} arrived"
        raise DatabaseUnavailable(msg)
    return TablePart(name=table.name, columns=table.columns, piece=piece)
