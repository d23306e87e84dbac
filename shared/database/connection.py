"""Opens a connection to one of the databases and runs bound statements on it.

The only place where errors of asyncpg and the operating system become ours.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from shared.database import codec
from shared.errors import ConfigError, DatabaseUnavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Row: TypeAlias = asyncpg.Record
Statement: TypeAlias = tuple[str, *tuple[object, ...]]
"""What Query.bind returns."""

_SCHEMES = frozenset({"postgresql", "postgres"})
_UNREADABLE = (
    "a database's URL cannot be read: it must look like postgresql://user:password@host/database, "
    "with reserved characters of the password percent-encoded"
)

_GONE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    # what asyncpg raises when the server's last word reaches it before the end of the connection
    asyncpg.InternalClientError,
)
_REFUSED = (
    *_GONE,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InterfaceError,
)


async def connect(
    url: str,
    *,
    application_name: str,
    command_timeout_seconds: float,
    connect_timeout_seconds: float | None = None,
) -> Connection:
    """Open a connection in UTC with JSON codecs, straight to the server.

    Connecting may take as long as a command unless it is said otherwise. Raises DatabaseUnavailable when the server refuses, is not there or does not know the database,
    and ConfigError for a URL that is none and for a pooler in between.
    """
    place = _place(url)
    try:
        connection = await asyncpg.connect(
            url,
            timeout=connect_timeout_seconds or command_timeout_seconds,
            command_timeout=command_timeout_seconds,
            server_settings={"application_name": application_name, "timezone": "UTC"},
        )
    except (asyncpg.ClientConfigurationError, ValueError) as e:
        # asyncpg may repeat parts of the URL, the password among them, so its text goes no further
        msg = f"the URL of {place} cannot be used ({type(e).__name__})"
        raise ConfigError(msg) from None
    except _REFUSED as e:
        msg = f"{place} cannot be reached: {_first_line(e)}"
        raise DatabaseUnavailable(msg) from e
    try:
        with translated():
            await _refuse_pooler(connection, place)
            await codec.register(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


@contextmanager
def translated() -> Generator[None]:
    """Turn a lost server, a timeout and a closed connection into DatabaseUnavailable.

    A COMMIT that was under way when the server went may have happened. Everything else, such as a
    violated constraint, passes unchanged.
    """
    try:
        yield
    except _GONE as e:
        msg = f"the database went away: {_first_line(e)}"
        raise DatabaseUnavailable(msg) from e
    except asyncpg.InterfaceError as e:
        # asyncpg has no class of its own for a connection that was lost before the call
        if "closed" not in str(e):
            raise
        msg = f"the database went away: {_first_line(e)}"
        raise DatabaseUnavailable(msg) from e


async def fetch(connection: Connection, statement: Statement) -> list[Row]:
    """Run a statement and return its rows. Raises DatabaseUnavailable."""
    with translated():
        return await connection.fetch(*statement)


async def fetch_row(connection: Connection, statement: Statement) -> Row | None:
    """Run a statement and return its first row, if there is one. Raises DatabaseUnavailable."""
    with translated():
        return await connection.fetchrow(*statement)


async def fetch_one(connection: Connection, statement: Statement) -> Row:
    """Run a statement that always gives a row. Raises DatabaseUnavailable."""
    row = await fetch_row(connection, statement)
    if row is None:
        msg = f"no row came back from {statement[0]!r}"
        raise LookupError(msg)
    return row


async def execute(connection: Connection, statement: Statement) -> None:
    """Run a statement for its effect. Raises DatabaseUnavailable."""
    with translated():
        await connection.execute(*statement)


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncGenerator[None]:
    """Commit what happens inside, or nothing of it; inside another one it is a savepoint.

    Raises DatabaseUnavailable; errors of the block pass unchanged.
    """
    with translated():
        scope = connection.transaction()
        await scope.start()
    try:
        yield
    except BaseException:
        # a server that is gone has undone it already, and the block's own error says more
        with suppress(DatabaseUnavailable), translated():
            await scope.rollback()
        raise
    with translated():
        await scope.commit()


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncGenerator[None]:
    """Read only, and everything as it was at the first read. Raises DatabaseUnavailable."""
    with translated():
        scope = connection.transaction(isolation="repeatable_read", readonly=True)
        await scope.start()
    try:
        yield
    finally:
        # there is nothing to commit, and a server that is gone has ended it already
        with suppress(DatabaseUnavailable), translated():
            await scope.rollback()


async def _refuse_pooler(connection: Connection, place: str) -> None:
    """Raise ConfigError unless one server process answers every statement of this connection."""
    # PgBouncer invents the key data it hands to clients, and may switch servers between statements:
    # session locks would then be held by nobody in particular.
    try:
        answering_pid: object = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.fetchval("SELECT set_config('catalyst.session', $1, false)", "kept")
        kept: object = await connection.fetchval("SELECT current_setting('catalyst.session', true)")
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        answering_pid, kept = None, None
    if answering_pid == connection.get_server_pid() and kept == "kept":
        return
    msg = (
        f"{place} is behind a connection pooler, which cannot hold session locks: "
        "use the URL of the server itself"
    )
    raise ConfigError(msg)


def _place(url: str) -> str:
    """Name database and host for an error text, without user or password. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        host = query.get("host", [parts.hostname or "the local socket"])[0]
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise ConfigError(_UNREADABLE) from None
    # a reserved character in the password moves the @, and what looks like a host may be part of it
    if parts.scheme not in _SCHEMES or "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(_UNREADABLE)
    name = query.get("dbname", query.get("database", [unquote(parts.path.lstrip("/"))]))[0]
    return f"database {name!r} at {host}{port}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
