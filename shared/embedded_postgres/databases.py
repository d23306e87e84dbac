"""Makes, drops and renames empty databases; safe when several processes want the same at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from shared.embedded_postgres.server import Server


async def create_database(
    server: Server, name: str, *, template: str = "template0", file_copy: bool = False
) -> bool:
    """Create a database unless it exists; True if this call created it.

    Nobody may be connected to the template. `file_copy` is quicker than the write-ahead log where fsync
    is off, and slower where it is on. Raises DatabaseUnavailable.
    """
    import asyncpg

    async with _connection(server) as connection:
        try:
            await connection.execute(
                f"CREATE DATABASE {_identifier(name)} TEMPLATE {_identifier(template)} "
                f"STRATEGY {'FILE_COPY' if file_copy else 'WAL_LOG'}"
            )
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return False
    return True


async def database_names(server: Server, prefix: str) -> tuple[str, ...]:
    """List the databases whose name begins with `prefix`, sorted; raises DatabaseUnavailable."""
    async with _connection(server) as connection:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1) ORDER BY datname",
            prefix,
        )
    return tuple(row["datname"] for row in rows)


async def drop_database(server: Server, name: str) -> None:
    """Drop a database if it exists, ending its connections; raises DatabaseUnavailable."""
    async with _connection(server) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")


async def rename_database(server: Server, old: str, new: str) -> bool:
    """Rename a database that nobody is connected to; False if `new` exists already, and `old` stays.

    Raises DatabaseUnavailable, also when `old` does not exist or is in use.
    """
    import asyncpg

    async with _connection(server) as connection:
        try:
            await connection.execute(
                f"ALTER DATABASE {_identifier(old)} RENAME TO {_identifier(new)}"
            )
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return False
    return True


@asynccontextmanager
async def _connection(server: Server) -> AsyncGenerator[asyncpg.Connection]:
    import asyncpg  # 0.1 s, and not needed to find the server running

    try:
        connection = await asyncpg.connect(server.dsn("postgres"), timeout=10, command_timeout=60)
        try:
            yield connection
        finally:
            await connection.close(timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        raise DatabaseUnavailable(f"PostgreSQL in {server.socket_directory} refused: {e}") from e


def _identifier(name: str) -> str:
    if not 0 < len(name.encode()) < 64 or "\0" in name:
        raise ValueError(f"a database name has 1 to 63 bytes and no NUL, was {name!r}")
    return '"' + name.replace('"', '""') + '"'
