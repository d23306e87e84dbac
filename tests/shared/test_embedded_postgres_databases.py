import asyncio
from pathlib import Path

import asyncpg
import pytest

from shared.embedded_postgres import (
    Server,
    create_database,
    drop_database,
    ensure_running,
    rename_database,
    stop,
)
from shared.errors import DatabaseUnavailable


async def ask(server: Server, query: str, database: str = "postgres") -> object:
    connection = await asyncpg.connect(server.dsn(database), timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_of_many_who_create_a_database_one_did(postgres_server: Server) -> None:
    created = await asyncio.gather(*(create_database(postgres_server, "wanted") for _ in range(5)))

    assert sorted(created) == [False] * 4 + [True]
    await drop_database(postgres_server, "wanted")
    await drop_database(postgres_server, "wanted")
    assert await create_database(postgres_server, "wanted")
    await drop_database(postgres_server, "wanted")


async def test_a_database_is_copied_from_a_template(postgres_server: Server) -> None:
    await create_database(postgres_server, "mould")
    await ask(postgres_server, "create table t as select 7 as n", "mould")
    for file_copy in (False, True):
        await create_database(postgres_server, "cast", template="mould", file_copy=file_copy)

        assert await ask(postgres_server, "select n from t", "cast") == 7
        await drop_database(postgres_server, "cast")
    await drop_database(postgres_server, "mould")


async def test_a_database_is_renamed_unless_the_name_is_taken(postgres_server: Server) -> None:
    await create_database(postgres_server, "first")
    await create_database(postgres_server, "second")

    assert not await rename_database(postgres_server, "first", "second")
    await drop_database(postgres_server, "second")
    assert await rename_database(postgres_server, "first", "second")
    with pytest.raises(DatabaseUnavailable, match='"first" does not exist'):
        await rename_database(postgres_server, "first", "third")
    await drop_database(postgres_server, "second")


async def test_a_database_in_use_is_dropped_all_the_same(postgres_server: Server) -> None:
    await create_database(postgres_server, "busy")
    connection = await asyncpg.connect(postgres_server.dsn("busy"), timeout=10)
    await drop_database(postgres_server, "busy")

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("select 1")


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
async def test_a_name_that_postgresql_would_bend_is_refused(
    postgres_server: Server, name: str
) -> None:
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        await create_database(postgres_server, name)


async def test_a_server_that_went_away_is_a_database_unavailable(home: Path) -> None:
    server = ensure_running(home, environ={})
    stop(home)

    with pytest.raises(DatabaseUnavailable, match="postgres-socket"):
        await create_database(server, "late")
