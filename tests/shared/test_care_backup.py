"""Backups of real databases: whole, of one moment, private, and never half a file under the final name."""

import asyncio
import os
import signal
import sys
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from uuid import UUID

import pytest

from shared import trading_state
from shared.care.archive import open_archive
from shared.care.backup import backups, make_backup
from shared.care.databases import open_connections
from shared.care.manifest import Manifest
from shared.clock import ManualClock
from shared.database.accounts import database_identity, start_halt
from shared.database.connection import Connection
from shared.database.fences import Role
from shared.errors import ConfigError
from shared.journal.file import LocalJournal
from shared.journal.stops import remember_stops
from shared.lock import hold
from shared.operate.place import Place
from shared.sql import DatabaseKind
from tests.fixtures.care import (
    PASSWORD,
    PlayedBackup,
    care,
    process,
    remote,
    remote_environ,
    remote_project,
    rows,
    with_password,
)
from tests.fixtures.databases import open_connection
from tests.fixtures.mail import Web
from tests.fixtures.processes import PATIENCE_SECONDS

AT = datetime(2026, 6, 15, 14, 0, tzinfo=UTC)
TRADING, RESEARCH = DatabaseKind.TRADING, DatabaseKind.RESEARCH


@pytest.fixture
def place(tmp_path: Path, trading_database_url: str, research_database_url: str) -> Place:
    """An agent with two migrated databases of its own."""
    return remote(tmp_path, trading_database_url, research_database_url)


@pytest.fixture
async def at_the_database(trading_database_url: str) -> AsyncIterator[Connection]:
    """Somebody else's connection to the trading database."""
    connection = await open_connection(trading_database_url)
    yield connection
    await connection.close()


async def backed_up(place: Place, at: datetime = AT) -> tuple[Path, Manifest]:
    async with open_connections(place) as connections:
        made = await make_backup(place, connections, at)
    return made.path, made.manifest


async def blocked(connection: Connection) -> None:
    """Wait until somebody waits for a lock in this database."""
    deadline = monotonic() + PATIENCE_SECONDS
    while not await connection.fetchval(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE NOT l.granted AND d.datname = current_database()"
    ):
        assert monotonic() < deadline, "nobody waits"


async def halt(connection: Connection, reason: str) -> None:
    await start_halt(connection, agent_id="rehearsal", reason=reason, started_by="me", at=AT)


def test_a_backup_says_what_it_holds_and_is_for_its_owner_alone(played: PlayedBackup) -> None:
    with open_archive(played.path) as archive:
        manifest = archive.manifest
    trading, research = manifest.database(TRADING), manifest.database(RESEARCH)

    assert manifest.agent_id == "rehearsal"
    assert {t.name: t.piece.lines for t in trading.tables} == {
        name: len(found) for name, found in played.trading.items()
    }
    assert {t.name: t.piece.lines for t in research.tables} == {
        name: len(found) for name, found in played.research.items()
    }
    assert trading.piece_of("orders").lines > 3
    assert trading.sequences == played.numbers
    assert f"({trading.identity}," in played.trading["database_identity"][0]
    assert played.path.stat().st_mode & 0o777 == 0o600
    assert played.path.parent.stat().st_mode & 0o777 == 0o700
    assert not list(played.path.parent.glob(".*"))


async def test_what_is_written_meanwhile_is_in_all_tables_or_in_none(
    place: Place, at_the_database: Connection, trading_database_url: str
) -> None:
    await halt(at_the_database, "before")
    before = await rows(trading_database_url)
    blocker = await open_connection(trading_database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE agent_locks IN ACCESS EXCLUSIVE MODE")
        made = asyncio.create_task(backed_up(place))
        await blocked(at_the_database)
        await halt(at_the_database, "meanwhile")
    path, manifest = await made
    await blocker.close()

    with open_archive(path) as archive:
        copied = archive.content(manifest.database(TRADING).piece_of("halts"))
    assert before["halts"]
    assert b"before" in copied
    assert b"meanwhile" not in copied


async def test_no_password_is_in_the_file_or_in_what_is_said(
    place: Place, tmp_path: Path, trading_database_url: str, research_database_url: str
) -> None:
    path, _ = await backed_up(place)
    project = remote_project(tmp_path)
    away = trading_database_url.replace("/test_", "/nowhere_")
    said = await asyncio.to_thread(
        process,
        tmp_path,
        "backup",
        project=project,
        environ=remote_environ(away, research_database_url),
    )

    assert with_password(trading_database_url) != trading_database_url
    with zipfile.ZipFile(path) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    assert len(contents) > 20
    assert not any(PASSWORD.encode() in one for one in (path.read_bytes(), *contents))
    assert said.code == 1
    assert "cannot be reached" in said.err
    assert said.err.splitlines()[-1].startswith("rehearsal backup: failed: database 'nowhere_")
    assert PASSWORD not in said.out + said.err


async def test_only_the_newest_backups_of_the_agent_are_kept(
    tmp_path: Path, trading_database_url: str, research_database_url: str
) -> None:
    place = remote(tmp_path, trading_database_url, research_database_url, backups_kept=2)
    paths = [(await backed_up(place, AT + timedelta(days=day)))[0] for day in range(2)]
    others = [paths[0].with_name(name) for name in ("other-1.zip", "rehearsal-mine.zip")]
    for other in others:
        other.touch()
    newest, _ = await backed_up(place, AT + timedelta(days=2))

    assert list(backups(place)) == [paths[1], newest]
    assert all(other.exists() for other in others)


async def test_killed_in_the_middle_it_leaves_no_file_under_the_final_name(
    tmp_path: Path,
    trading_database_url: str,
    research_database_url: str,
    at_the_database: Connection,
) -> None:
    project, folder = remote_project(tmp_path), tmp_path / "backups"
    environ = remote_environ(trading_database_url, research_database_url)
    async with at_the_database.transaction():
        await at_the_database.execute("LOCK TABLE trading_cycles IN ACCESS EXCLUSIVE MODE")
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shared.care", "backup"),
            cwd=project,
            env={"CATALYST_HOME": str(tmp_path), "PATH": os.environ["PATH"], **environ},
            stderr=asyncio.subprocess.DEVNULL,
        )
        await blocked(at_the_database)
        started.send_signal(signal.SIGKILL)
        await started.wait()
    left = [path.name for path in folder.iterdir()]
    again = await asyncio.to_thread(
        process, tmp_path, "backup", "--json", project=project, environ=environ
    )

    assert len(left) == 1
    assert left[0].startswith(".rehearsal-")
    assert left[0].endswith(".unfinished")
    assert again.code == 0, again.err
    assert list(folder.iterdir()) == [Path(again.json["backup"])]


async def test_asked_to_end_it_takes_its_half_file_with_it(
    place: Place, at_the_database: Connection, tmp_path: Path
) -> None:
    async with at_the_database.transaction():
        await at_the_database.execute("LOCK TABLE trading_cycles IN ACCESS EXCLUSIVE MODE")
        made = asyncio.create_task(backed_up(place))
        await blocked(at_the_database)
        assert len(list((tmp_path / "backups").iterdir())) == 1
        made.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made

    assert list((tmp_path / "backups").iterdir()) == []


def test_a_full_disk_leaves_nothing_and_says_so_in_one_sentence(played: PlayedBackup) -> None:
    before = sorted(played.path.parent.iterdir())
    little = ("sh", "-c", 'ulimit -f 16; exec "$@"', "sh")
    # Python may keep half a file of bytecode where a file cannot grow
    environ = {"PYTHONDONTWRITEBYTECODE": "1"}
    said = process(played.machine.home, "backup", before=little, environ=environ)

    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        f"rehearsal backup: failed: the backup in {played.path.parent} cannot be written:"
        " File too large"
    )
    assert sorted(played.path.parent.iterdir()) == before


def test_two_backups_at_once_are_one(played: PlayedBackup) -> None:
    lock = played.machine.home / "locks" / "rehearsal.care.lock"
    with hold(lock, agent_id="rehearsal", mode="backup", clock=ManualClock(AT)):
        said = care(played.machine.home, "backup")

    assert said.code == 1
    assert "busy: another run of rehearsal holds the lock: mode backup" in said.err


async def test_what_was_never_migrated_is_nothing_to_back_up(
    tmp_path: Path, empty_database_url: str
) -> None:
    place = remote(tmp_path, empty_database_url, empty_database_url)
    with pytest.raises(ConfigError, match="no database was ever migrated"):
        await backed_up(place)

    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_database_newer_than_the_code_is_not_backed_up_in_part(
    place: Place, at_the_database: Connection
) -> None:
    await at_the_database.execute("INSERT INTO schema_migrations VALUES ('9999_new.sql', 'x')")
    with pytest.raises(ConfigError, match=r"has 9999_new\.sql, which this code does not know"):
        await backed_up(place)


async def test_a_table_of_somebody_else_is_not_copied(
    place: Place, at_the_database: Connection
) -> None:
    await at_the_database.execute("CREATE TABLE foreign_table AS SELECT 1 AS one")
    _, manifest = await backed_up(place)

    names = {table.name for table in manifest.database(TRADING).tables}
    assert "foreign_table" not in names
    assert "orders" in names


async def test_what_lies_beside_the_databases_goes_along(
    place: Place, tmp_path: Path, at_the_database: Connection
) -> None:
    identity = await database_identity(at_the_database)
    remember_stops(tmp_path, "rehearsal", (), AT, database=identity)
    await trading_state.halt(
        None, agent_id="rehearsal", home=tmp_path, why="a storm", by="me", at=AT
    )
    journal = LocalJournal(home=tmp_path, agent_id="rehearsal", database=identity).path
    journal.parent.mkdir()
    journal.write_bytes(b"a line\n")
    of_monitor = LocalJournal(
        home=tmp_path, agent_id="rehearsal", database=identity, role=Role.MONITOR
    ).path
    of_monitor.write_bytes(b"a sale\n")
    journal.with_suffix(".replayed-1").write_bytes(b"known\n")
    journal.with_name(f"other-{UUID(int=1)}.jsonl").write_bytes(b"not ours\n")
    path, manifest = await backed_up(place)

    with open_archive(path) as archive:
        kept = {file.path: archive.content(file.piece) for file in manifest.files}
    assert set(kept) == {
        "state/rehearsal.json",
        "state/rehearsal-stops.json",
        f"journal/{journal.name}",
        f"journal/{of_monitor.name}",
    }
    assert kept[f"journal/{journal.name}"] == b"a line\n"
    assert kept[f"journal/{of_monitor.name}"] == b"a sale\n"
    assert b"a storm" in kept["state/rehearsal.json"]


def test_a_persons_command_says_nothing_to_who_watches_the_runs_and_crons_does(
    played: PlayedBackup, web: Web
) -> None:
    environ = {"PING_URL": f"{web.url}/abc"}
    assert care(played.machine.home, "restore", environ=environ).code == 2
    assert web.paths == []
    assert care(played.machine.home, "prune", environ=environ).code == 0
    assert web.paths == ["/abc"]
