import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import asyncpg
import pytest

from shared.database.connection import (
    connect,
    execute,
    fetch,
    fetch_one,
    fetch_row,
    transaction,
    translated,
)
from shared.embedded_postgres import Server
from shared.errors import ConfigError, DatabaseUnavailable
from tests.fixtures.databases import open_connection
from tests.fixtures.postgres import traversable_directory

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


async def connected(url: str, *, seconds: float = 30) -> None:
    connection = await connect(url, application_name="test", command_timeout_seconds=seconds)
    await connection.close()


async def test_a_connection_speaks_utc_and_says_who_it_is(trading_database_url: str) -> None:
    connection = await connect(
        trading_database_url, application_name="catalyst rehearsal", command_timeout_seconds=30
    )
    row = await connection.fetchrow(
        "SELECT current_setting('timezone') AS zone, current_setting('application_name') AS name"
    )
    await connection.close()

    assert row is not None
    assert tuple(row) == ("UTC", "catalyst rehearsal")


async def test_json_comes_back_as_what_went_in(trading_database_url: str) -> None:
    connection = await open_connection(trading_database_url)
    value = {"list": [1, 2.5, None, True], "text": "é"}
    kept = await connection.fetchval("SELECT $1::jsonb", value)
    await connection.close()

    assert kept == value


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://agent:s3cret@127.0.0.1:1/catalyst", "database 'catalyst' at 127.0.0.1:1"),
        ("postgresql://agent:s3cret@/catalyst?host=/nowhere", "database 'catalyst' at /nowhere"),
    ],
    ids=["tcp", "socket"],
)
async def test_a_server_that_is_not_there_is_named_without_the_password(
    url: str, place: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match=f"{place} cannot be reached") as caught:
        await connected(url)

    assert "s3cret" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_named(postgres_server: Server) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"'no_such_database'.*does not exist"):
        await connected(postgres_server.dsn("no_such_database"))


async def test_a_role_that_may_not_connect_is_refused(postgres_server: Server) -> None:
    url = postgres_server.dsn("postgres").replace("//postgres@", "//nobody_known:s3cret@")

    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
        await connected(url)

    assert "s3cret" not in str(caught.value)


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    clients: list[asyncio.StreamWriter] = []

    def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(DatabaseUnavailable, match="cannot be reached: TimeoutError"):
            await connected(f"postgresql://agent@127.0.0.1:{port}/catalyst", seconds=0.3)
    finally:
        for writer in clients:
            writer.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://agent:s3cret@db/catalyst",
        "postgresql://agent:s3cret/x@db/catalyst",
        "postgresql://agent:12#s3cret@db/catalyst",
        "postgresql://agent:s3cret@db:port/catalyst",
        "s3cret",
    ],
)
async def test_a_url_that_is_none_is_the_operators_and_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="a database's URL cannot be read") as caught:
        await connected(url)

    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_a_statement_that_takes_too_long_is_unavailability(
    trading_database_url: str,
) -> None:
    connection = await connect(
        trading_database_url, application_name="test", command_timeout_seconds=0.3
    )
    with pytest.raises(DatabaseUnavailable, match="the database went away"):
        await execute(connection, ("SELECT pg_sleep(20)",))
    await connection.close()


async def test_a_connection_that_is_cut_is_unavailability_then_and_afterwards(
    trading_database_url: str, postgres_server: Server
) -> None:
    connection = await open_connection(trading_database_url)
    killer = await asyncpg.connect(postgres_server.dsn("postgres"))
    await killer.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    await killer.close()
    with pytest.raises(DatabaseUnavailable):
        await fetch(connection, ("SELECT 1",))
    with pytest.raises(DatabaseUnavailable):
        await fetch_row(connection, ("SELECT 1",))
    with pytest.raises(DatabaseUnavailable):
        async with transaction(connection):
            pass


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError(
            "cannot switch to state 11; another operation (2) is in progress"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_says_that_the_server_is_gone_becomes_unavailability(error: Exception) -> None:
    with (
        pytest.raises(DatabaseUnavailable, match=r"the database went away: .") as caught,
        translated(),
    ):
        raise error

    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        lambda: asyncpg.UniqueViolationError("twice"),
        lambda: asyncpg.InterfaceError("the server expects 2 arguments, 1 was passed"),
        lambda: ValueError("ours"),
    ],
    ids=["constraint", "misuse", "ours"],
)
def test_other_errors_pass_unchanged(error: Callable[[], Exception]) -> None:
    raised = error()
    with pytest.raises(type(raised)) as caught, translated():
        raise raised

    assert caught.value is raised


async def test_a_row_that_has_to_be_there_is_missed(trading_database_url: str) -> None:
    connection = await open_connection(trading_database_url)
    with pytest.raises(LookupError, match="no row came back"):
        await fetch_one(connection, ("SELECT 1 WHERE false",))
    await connection.close()


async def test_a_transaction_that_fails_leaves_nothing(trading_database_url: str) -> None:
    connection = await open_connection(trading_database_url)

    async def fail_halfway() -> None:
        async with transaction(connection):
            await execute(connection, ("CREATE TABLE half (done boolean)",))
            await execute(connection, ("SELECT 1 / 0",))

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail_halfway()
    found = await connection.fetchval("SELECT to_regclass('half')")
    await connection.close()

    assert found is None


@pytest.mark.parametrize("error", [TimeoutError("the broker"), ValueError("ours")], ids=repr)
async def test_an_error_inside_a_transaction_is_not_taken_for_the_databases(
    error: Exception, trading_database_url: str
) -> None:
    connection = await open_connection(trading_database_url)

    async def fail() -> None:
        async with transaction(connection):
            raise error

    with pytest.raises(type(error)) as caught:
        await fail()
    await connection.close()

    assert caught.value is error


@pytest.fixture(params=["transaction", "session"])
def pooler_directory(request: pytest.FixtureRequest, postgres_server: Server) -> Iterator[Path]:
    """A running PgBouncer in front of the test server; the directory of its socket, port 6432."""
    if PGBOUNCER is None:
        reason = "pgbouncer is not installed, so it cannot be shown that a pooler is refused"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with traversable_directory() as directory:
        (directory / "pgbouncer.ini").write_text(
            f"""
            [databases]
            * = host={postgres_server.socket_directory} port=5432 user=postgres
            [pgbouncer]
            pool_mode = {request.param}
            auth_type = any
            listen_port = 6432
            unix_socket_dir = {directory}
            """,
            encoding="utf-8",
        )
        process = _start(PGBOUNCER, directory)
        try:
            _wait_for(directory / ".s.PGSQL.6432", process)
            yield directory
        finally:
            process.terminate()
            process.wait(timeout=10)


async def test_a_pooler_in_between_is_refused(
    pooler_directory: Path, trading_database_url: str
) -> None:
    database = trading_database_url.split("@/")[1].split("?")[0]
    url = f"postgresql://postgres@/{database}?host={pooler_directory}&port=6432"

    with pytest.raises(ConfigError, match=f"'{database}' at .* is behind a connection pooler"):
        await connected(url)


def _start(program: str, directory: Path) -> "subprocess.Popen[bytes]":
    """Start it as nobody where we are root, which it refuses to be."""
    command = [program, str(directory / "pgbouncer.ini")]
    if os.getuid() != 0:
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)
    account = pwd.getpwnam("nobody")
    os.chown(directory, account.pw_uid, account.pw_gid)
    return subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )


def _wait_for(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = monotonic() + 10
    while not socket.exists():
        assert process.poll() is None, "pgbouncer ended at once"
        assert monotonic() < deadline, "pgbouncer opened no socket"
        sleep(0.02)
