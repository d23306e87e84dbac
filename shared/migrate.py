"""Brings a database to the schema that this code knows: the files under sql/*/migrations, forward only.

Each file is one transaction under an advisory lock, so that several processes may migrate at once and a
killed one leaves nothing behind. A database that knows other or newer files than this code is refused.
"""

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.database.connection import Connection, connect, execute, fetch, fetch_one, transaction
from shared.errors import CatalystError, ConfigError, MigrationFailed
from shared.sql import ROOT, DatabaseKind, load

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file that changes the schema."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Fingerprint of what the file says."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(connection: Connection, kind: DatabaseKind) -> tuple[str, ...]:
    """Apply what is missing and return the names of what this call applied.

    Raises ConfigError when the database knows an edited or a newer migration, and MigrationFailed when one
    fails; what was applied before that stays, unless the caller's own transaction ends with it. Raises
    DatabaseUnavailable.
    """
    return await apply(connection, known(kind))


async def check(connection: Connection, kind: DatabaseKind) -> None:
    """Raise ConfigError unless the database has exactly the schema that this code knows."""
    pending = pending_of(known(kind), await applied(connection))
    if pending:
        names = ", ".join(migration.name for migration in pending)
        msg = (
            f"the {kind} database lacks {names}: type "
            f"`python -m shared.migrate --{kind}-url-env NAME`, "
            "where NAME is the variable that holds its URL"
        )
        raise ConfigError(msg)


def known(kind: DatabaseKind) -> tuple[Migration, ...]:
    """Read the migrations of a database, in order."""
    files = sorted((ROOT / kind / "migrations").glob("*.sql"))
    return tuple(_read(path) for path in files)


async def applied(connection: Connection) -> tuple[tuple[str, str], ...]:
    """Return name and fingerprint of what the database has, in order."""
    if not (await fetch_one(connection, _query("has_migrations")))["found"]:
        return ()
    rows = await fetch(connection, _query("applied_migrations"))
    return tuple((row["name"], row["sha256"]) for row in rows)


def pending_of(
    migrations: Sequence[Migration], applied: Sequence[tuple[str, str]]
) -> tuple[Migration, ...]:
    """Return what is missing; what is applied has to be the beginning of what is known."""
    for number, (name, sha256) in enumerate(applied):
        if number >= len(migrations):
            msg = f"the database has {name}, which this code does not know: use the newer code"
            raise ConfigError(msg)
        if name != migrations[number].name:
            msg = f"the database has {name} where this code has {migrations[number].name}"
            raise ConfigError(msg)
        if sha256 != migrations[number].sha256:
            msg = (
                f"{name} was edited after it had been applied: "
                "restore the file, and put the change into a new one"
            )
            raise ConfigError(msg)
    return tuple(migrations[len(applied) :])


async def apply(connection: Connection, migrations: Sequence[Migration]) -> tuple[str, ...]:
    """Apply those of the given migrations that are missing, one transaction each."""
    names: list[str] = []
    while True:
        async with transaction(connection):
            await execute(connection, _query("lock_migrations"))
            pending = pending_of(migrations, await applied(connection))
            if not pending:
                return tuple(names)
            await _apply_one(connection, pending[0])
        names.append(pending[0].name)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Migrate or check the databases whose URLs the named variables hold; return the exit code."""
    options = _parser().parse_args(arguments)
    named = {
        DatabaseKind.TRADING: options.trading_url_env,
        DatabaseKind.RESEARCH: options.research_url_env,
    }
    try:
        for kind, variable in named.items():
            if variable is not None:
                url = _url(variable, environ)
                sys.stdout.write(asyncio.run(_run(kind, url, only_check=options.check)) + "\n")
    except CatalystError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


async def _run(kind: DatabaseKind, url: str, *, only_check: bool) -> str:
    connection = await connect(
        url, application_name="catalyst migrate", command_timeout_seconds=TIMEOUT_SECONDS
    )
    try:
        if only_check:
            await check(connection, kind)
            return f"{kind}: up to date"
        names = await migrate(connection, kind)
    finally:
        await connection.close()
    return f"{kind}: applied {', '.join(names)}" if names else f"{kind}: up to date"


async def _apply_one(connection: Connection, migration: Migration) -> None:
    try:
        await execute(connection, (migration.sql,))
    except asyncpg.PostgresError as e:
        msg = f"{migration.name} failed and was undone: {e}"
        raise MigrationFailed(msg) from e
    record = load(ROOT / "both")["record_migration"]
    await execute(connection, record.bind(name=migration.name, sha256=migration.sha256))


def _query(name: str) -> tuple[str, *tuple[object, ...]]:
    return load(ROOT / "both")[name].bind()


def _read(path: Path) -> Migration:
    return Migration(name=path.name, sql=path.read_text(encoding="utf-8"))


def _url(variable: str, environ: Mapping[str, str]) -> str:
    url = environ.get(variable)
    if not url:
        msg = f"{variable} is not set; it has to hold the database's URL"
        raise ConfigError(msg)
    return url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shared.migrate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    parser.add_argument("--trading-url-env", metavar="NAME", help="variable with the trading URL")
    parser.add_argument("--research-url-env", metavar="NAME", help="variable with the research URL")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
