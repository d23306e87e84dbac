import os
import shutil
import subprocess
from pathlib import Path

import asyncpg
import pytest

from shared.embedded_postgres import Server
from shared.embedded_postgres.binaries import find_binaries
from shared.migrate import known, migrate
from shared.sql import ROOT, DatabaseKind
from tests.fixtures.databases import drop_database, new_database, open_connection


@pytest.mark.parametrize("kind", list(DatabaseKind))
async def test_migrations_lead_to_exactly_the_schema_that_is_written_down(
    kind: DatabaseKind, postgres_server: Server
) -> None:
    described = await new_database(postgres_server)
    migrated = await new_database(postgres_server)
    connection = await asyncpg.connect(postgres_server.dsn(described))
    await connection.execute((ROOT / kind / "schema.sql").read_text(encoding="utf-8"))
    await connection.close()
    connection = await open_connection(postgres_server.dsn(migrated))
    await migrate(connection, kind)
    await connection.close()
    try:
        from_schema = _dump(postgres_server.dsn(described))
        from_migrations = _dump(postgres_server.dsn(migrated))
    finally:
        await drop_database(postgres_server, described)
        await drop_database(postgres_server, migrated)

    assert "CREATE TABLE" in from_schema
    assert from_migrations == from_schema


@pytest.mark.parametrize("kind", list(DatabaseKind))
def test_migrations_are_numbered_without_a_gap_and_leave_transactions_to_the_runner(
    kind: DatabaseKind,
) -> None:
    names = [migration.name for migration in known(kind)]
    words = {word.upper() for migration in known(kind) for word in migration.sql.split()}

    assert [name[:5] for name in names] == [f"{n:04}_" for n in range(1, len(names) + 1)]
    assert words.isdisjoint({"COMMIT;", "BEGIN;", "ROLLBACK;", "CONCURRENTLY"})


def _dump(url: str) -> str:
    completed = subprocess.run(
        [_pg_dump(), "--schema-only", "--no-owner", "--no-privileges", "--dbname", url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # pg_dump puts a random key into its \restrict lines
    lines = completed.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


def _pg_dump() -> Path:
    """pg_dump of the server's own version; it refuses to read a newer server."""
    beside = find_binaries(os.environ).directory / "pg_dump"
    elsewhere = shutil.which("pg_dump")
    return beside if beside.is_file() or elsewhere is None else Path(elsewhere)
