import asyncio
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigError, DatabaseUnavailable
from shared.migrate import Migration, apply, check, known, main, migrate
from shared.sql import DatabaseKind
from tests.fixtures.databases import open_connection

PROJECT = Path(__file__).resolve().parent.parent.parent
TRADING = DatabaseKind.TRADING
FIRST = known(TRADING)[0].name

ONE = Migration(
    name="0001_one.sql",
    sql="""
    CREATE TABLE schema_migrations (
        name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz DEFAULT now()
    );
    CREATE TABLE one (n integer);
    """,
)
TWO = Migration(name="0002_two.sql", sql="CREATE TABLE two (n integer); ")
BROKEN = Migration(name="0003_broken.sql", sql="CREATE TABLE three (n integer); SELECT 1 / 0;")


async def test_a_new_database_gets_everything_and_then_nothing(empty_database_url: str) -> None:
    connection = await open_connection(empty_database_url)
    first = await migrate(connection, TRADING)
    second = await migrate(connection, TRADING)
    await check(connection, TRADING)
    await connection.close()

    assert first == tuple(migration.name for migration in known(TRADING))
    assert second == ()


async def test_a_database_that_is_behind_is_told_what_to_type(empty_database_url: str) -> None:
    connection = await open_connection(empty_database_url)
    with pytest.raises(
        ConfigError,
        match=rf"trading database lacks {FIRST}.*python -m shared\.migrate --trading-url-env NAME",
    ):
        await check(connection, TRADING)
    await connection.close()


async def test_an_edited_migration_is_refused(trading_database_url: str) -> None:
    connection = await open_connection(trading_database_url)
    await connection.execute("UPDATE schema_migrations SET sha256 = 'something else'")
    for act in (check, migrate):
        with pytest.raises(ConfigError, match=f"{FIRST} was edited after it had been applied"):
            await act(connection, TRADING)
    await connection.close()


async def test_a_database_newer_than_the_code_is_refused(trading_database_url: str) -> None:
    connection = await open_connection(trading_database_url)
    await connection.execute("INSERT INTO schema_migrations VALUES ('9999_future.sql', 'x')")
    for act in (check, migrate):
        with pytest.raises(ConfigError, match=r"has 9999_future\.sql, which this code does not"):
            await act(connection, TRADING)
    await connection.close()


async def test_a_database_of_another_history_is_refused(trading_database_url: str) -> None:
    connection = await open_connection(trading_database_url)
    await connection.execute(
        "UPDATE schema_migrations SET name = '0001_other.sql' WHERE name = $1", FIRST
    )
    with pytest.raises(ConfigError, match=rf"has 0001_other\.sql where this code has {FIRST}"):
        await check(connection, TRADING)
    await connection.close()


async def test_the_research_database_is_not_taken_for_the_trading_one(
    research_database_url: str,
) -> None:
    connection = await open_connection(research_database_url)
    with pytest.raises(ConfigError):
        await check(connection, TRADING)
    await connection.close()


async def test_a_failing_migration_is_undone_and_those_before_it_stay(
    empty_database_url: str,
) -> None:
    connection = await open_connection(empty_database_url)
    with pytest.raises(ConfigError, match=r"0003_broken\.sql failed and was undone: division"):
        await apply(connection, (ONE, TWO, BROKEN))
    row = await connection.fetchrow(
        "SELECT to_regclass('one') IS NOT NULL, to_regclass('two') IS NOT NULL,"
        " to_regclass('three') IS NOT NULL"
    )
    names = [row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")]
    await connection.close()

    assert row is not None
    assert tuple(row) == (True, True, False)
    assert names == [ONE.name, TWO.name]


async def test_a_killed_migration_holds_nobody_up_and_leaves_nothing_behind(
    empty_database_url: str,
) -> None:
    first, second = [await open_connection(empty_database_url) for _ in range(2)]
    await apply(first, (ONE,))
    suicide = Migration(
        name="0002_suicide.sql",
        sql="CREATE TABLE gone (n integer); SELECT pg_terminate_backend(pg_backend_pid());",
    )
    with pytest.raises(DatabaseUnavailable):
        await apply(first, (ONE, suicide))
    names = await apply(second, (ONE, TWO))
    found = await second.fetchval("SELECT to_regclass('gone')")
    await second.close()

    assert names == (TWO.name,)
    assert found is None


async def test_four_processes_at_once_apply_everything_exactly_once(
    empty_database_url: str,
) -> None:
    command = [sys.executable, "-m", "shared.migrate", "--trading-url-env", "URL"]
    processes = [
        await asyncio.create_subprocess_exec(
            *command,
            cwd=PROJECT,
            env={"URL": empty_database_url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    answers = [await process.communicate() for process in processes]
    applied = [out.decode().strip().partition("applied ")[2] for out, _ in answers]
    names = [name for said in applied if said for name in said.split(", ")]

    assert [err for _, err in answers] == [b""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(names) == [migration.name for migration in known(TRADING)]


def test_the_command_line_checks_without_changing_anything(
    empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"TRADING": empty_database_url}
    arguments = ["--trading-url-env", "TRADING"]
    behind = main(["--check", *arguments], environ)
    complaint = capsys.readouterr().err
    applied = main(arguments, environ)
    after = main(["--check", *arguments], environ)

    assert (behind, applied, after) == (2, 0, 0)
    assert "lacks" in complaint
    assert capsys.readouterr().out.endswith("trading: up to date\n")


def test_a_variable_that_is_not_set_is_the_operators(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--research-url-env", "RESEARCH"], {}) == 2
    assert "RESEARCH is not set" in capsys.readouterr().err


def test_a_database_that_is_away_is_a_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"TRADING": "postgresql://agent@127.0.0.1:1/catalyst"}

    assert main(["--trading-url-env", "TRADING"], environ) == 1
    assert "cannot be reached" in capsys.readouterr().err
