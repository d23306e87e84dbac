"""An upgrade: the agent to itself, a backup, every database brought up or none, and everything let go again."""

import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared import migrate
from shared.agent_lock import hold_advisory
from shared.care.archive import open_archive
from shared.care.quiet import Patience, quiet
from shared.clock import ManualClock, SystemClock
from shared.database.fences import Role
from shared.errors import Busy
from shared.lock import hold
from shared.operate.place import Place
from shared.sql import DatabaseKind
from tests.fixtures.care import care, process, remote, remote_environ, remote_project, rows
from tests.fixtures.databases import open_connection
from tests.fixtures.operate import Said
from tests.fixtures.processes import Child, child, until
from tests.fixtures.rehearsal import Machine

AT = datetime(2026, 6, 15, 14, 0, tzinfo=UTC)
TRADING = DatabaseKind.TRADING
BEFORE, NOW = (one.name.removesuffix(".sql") for one in migrate.known(TRADING)[-2:])
Say = Callable[[Any], None]


class Droplet:
    """A machine with a checkout and an agent whose trading database is one migration behind."""

    def __init__(self, folder: Path, trading: str, research: str) -> None:
        self.home: Path = folder
        self.trading: str = trading
        self.research: str = research
        self.project: Path = remote_project(folder)

    @property
    def place(self) -> Place:
        """The agent."""
        return remote(self.home, self.trading, self.research)

    def upgrade(self, *arguments: str) -> Said:
        """Start the program as a person does."""
        environ = remote_environ(self.trading, self.research)
        return process(self.home, "upgrade", *arguments, project=self.project, environ=environ)

    def set(self, name: str, value: str) -> None:
        """Change a setting."""
        config = self.project / "config" / "rehearsal.yaml"
        text, changes = re.subn(rf"{name}: [\d.]+", f"{name}: {value}", config.read_text())
        assert changes == 1
        config.write_text(text)

    def write_migration(self, name: str, sql: str, kind: DatabaseKind = TRADING) -> None:
        """Give the checkout one more migration."""
        (self.project / "sql" / kind / "migrations" / name).write_text(sql)

    async def version(self) -> str:
        """The last migration that the trading database has."""
        connection = await open_connection(self.trading)
        applied = await migrate.applied(connection)
        await connection.close()
        return applied[-1][0].removesuffix(".sql")

    def is_let_go(self) -> bool:
        """Whether both locks of the agent can be taken at once."""
        with quiet(self.place, "trade", Patience()):
            return True


@pytest.fixture
async def droplet(tmp_path: Path, empty_database_url: str, research_database_url: str) -> Droplet:
    """One migration behind, with a row that has to be kept."""
    connection = await open_connection(empty_database_url)
    await migrate.apply(connection, migrate.known(TRADING)[:-1])
    await connection.execute("INSERT INTO budget_days VALUES ('a', '2026-06-15', 1, 0, 0, 0)")
    await connection.close()
    return Droplet(tmp_path, empty_database_url, research_database_url)


def monitor(home: Path, *, obeys: bool = True) -> Callable[[Say], None]:
    """What holds the lock as the position monitor does, until it is asked to end."""

    def work(say: Say) -> None:
        def end(*_: object) -> None:
            say("asked")
            if obeys:
                raise SystemExit(0)

        lock = home / "locks" / "rehearsal.monitor.lock"
        with hold(lock, agent_id="rehearsal", mode="monitor", clock=SystemClock()):
            signal.signal(signal.SIGTERM, end)
            say("watching")
            while True:
                signal.pause()

    return work


def watching(one: Child) -> Child:
    assert one.hear() == "watching"
    return one


async def test_from_one_migration_to_the_next_while_a_monitor_was_at_work(
    droplet: Droplet,
) -> None:
    with child(monitor(droplet.home)) as started:
        watching(started)
        said = droplet.upgrade("--json")
        asked, code = started.hear(), started.wait()
        pid = started.pid

    assert said.code == 0, said.err
    assert (asked, code) == ("asked", 0)
    assert said.json["status"] == "done"
    assert said.json["monitors_ended"] == [pid]
    assert said.json["databases"]["trading"] == {"before": BEFORE, "after": NOW}
    assert said.json["applied"] == {"trading": [f"{NOW}.sql"], "research": []}
    assert said.err.splitlines()[-1] == (
        f"rehearsal upgrade: done: trading went from {BEFORE} to {NOW};"
        f" research is at 0001_initial already; backup in {said.json['backup']};"
        f" the position monitor (pid {pid}) was ended, and cron starts it again within a minute"
    )
    with open_archive(Path(said.json["backup"])) as archive:
        part = archive.manifest.database(TRADING)
    assert part.schema_version == BEFORE
    assert part.piece_of("budget_days").lines == 1
    assert await droplet.version() == NOW
    assert len((await rows(droplet.trading))["budget_days"]) == 1
    assert droplet.is_let_go()


async def test_a_second_upgrade_finds_nothing_to_do_and_makes_no_backup(droplet: Droplet) -> None:
    first, second = droplet.upgrade("--no-backup", "--json"), droplet.upgrade("--json")

    assert first.json["status"] == "done"
    assert first.json["backup"] is None
    assert second.code == 0
    assert second.json["status"] == "nothing_to_do"
    assert second.json["reason"] == (
        f"trading is at {NOW} already; research is at 0001_initial already"
    )
    assert not (droplet.home / "backups").exists()


async def test_a_monitor_that_does_not_end_is_not_killed_and_nothing_is_changed(
    droplet: Droplet,
) -> None:
    droplet.set("monitor_seconds", "0.5")
    with child(monitor(droplet.home, obeys=False)) as started:
        watching(started)
        said = droplet.upgrade()
        assert started.hear() == "asked"
        is_alive = started.is_alive()

    assert is_alive
    assert said.code == 1
    assert f"holds the lock: mode monitor, pid {started.pid}" in said.err
    assert "; it was asked to end 0.5 s ago and has not, and it is not killed\n" in said.err
    assert await droplet.version() == BEFORE


async def test_a_failed_migration_leaves_every_database_as_it_was_and_nothing_held(
    droplet: Droplet,
) -> None:
    droplet.write_migration("0098_good.sql", "CREATE TABLE good (n integer);")
    droplet.write_migration("0099_broken.sql", "CREATE TABLE bad (n integer); SELECT 1 / 0;")
    droplet.write_migration(
        "0099_good.sql", "CREATE TABLE good (n integer);", DatabaseKind.RESEARCH
    )
    before = await rows(droplet.trading), await rows(droplet.research)
    with child(monitor(droplet.home)) as started:
        watching(started)
        said = droplet.upgrade("--json")
        started.wait()

    assert said.code == 1
    assert said.json["status"] == "failed"
    assert said.json["reason"] == (
        "0099_broken.sql failed and was undone: division by zero; every database is as it was;"
        f" a backup is in {said.json['backup']}"
    )
    assert (await rows(droplet.trading), await rows(droplet.research)) == before
    assert droplet.is_let_go()


async def test_what_fails_in_the_second_database_undoes_the_first(droplet: Droplet) -> None:
    droplet.write_migration("0099_broken.sql", "SELECT 1 / 0;", DatabaseKind.RESEARCH)
    said = droplet.upgrade()

    assert said.code == 1
    assert await droplet.version() == BEFORE


async def test_a_database_newer_than_the_code_is_the_operators(droplet: Droplet) -> None:
    connection = await open_connection(droplet.research)
    await connection.execute("INSERT INTO schema_migrations VALUES ('9999_future.sql', 'x')")
    await connection.close()
    said = droplet.upgrade()

    assert said.code == 2
    assert "has 9999_future.sql, which this code does not know: use the newer code" in said.err
    assert await droplet.version() == BEFORE


async def test_databases_without_a_table_are_set_up_and_not_backed_up(
    tmp_path: Path, empty_database_url: str, research_database_url: str
) -> None:
    said = Droplet(tmp_path, empty_database_url, research_database_url).upgrade("--json")

    assert said.code == 0, said.err
    assert said.json["databases"]["trading"] == {"before": "nothing", "after": NOW}
    assert said.json["backup"] is None


async def test_a_run_on_another_machine_is_not_disturbed(droplet: Droplet) -> None:
    droplet.set("release_seconds", "0.2")
    connection = await open_connection(droplet.trading)
    async with hold_advisory(connection, "rehearsal", Role.MONITOR):
        said = droplet.upgrade()
    await connection.close()

    assert said.code == 1
    assert "busy: another run of rehearsal holds the database's lock: pid " in said.err
    assert await droplet.version() == BEFORE


def test_a_run_at_work_is_waited_for_and_not_asked_to_end(tmp_path: Path) -> None:
    place = remote(tmp_path, "postgresql://a@b/c", "postgresql://a@b/c")
    go_on = tmp_path / "go on"

    def run(say: Say) -> None:
        def asked(*_: object) -> None:
            say("asked to end")

        signal.signal(signal.SIGTERM, asked)
        lock = tmp_path / "locks" / "rehearsal.lock"
        with hold(lock, agent_id="rehearsal", mode="trade", clock=SystemClock()):
            say("trading")
            until(go_on.exists)
        say("done")

    with child(run) as started:
        assert started.hear() == "trading"
        with (
            pytest.raises(Busy, match=r"mode trade, pid \d+, .*; it was waited for 0.2 s"),
            quiet(place, "upgrade", Patience(run_seconds=0.2, monitor_seconds=1)),
        ):
            pass
        go_on.touch()
        with quiet(place, "upgrade", Patience(run_seconds=30, monitor_seconds=1)) as silence:
            assert started.hear() == "done"

    assert silence.asked == ()


def test_no_run_starts_while_the_agent_is_kept_quiet(tmp_path: Path) -> None:
    place = remote(tmp_path, "postgresql://a@b/c", "postgresql://a@b/c")
    with quiet(place, "upgrade", Patience()):
        for name in ("rehearsal.lock", "rehearsal.monitor.lock"):
            with (
                pytest.raises(Busy, match="mode upgrade"),
                hold(
                    tmp_path / "locks" / name,
                    agent_id="rehearsal",
                    mode="trade",
                    clock=ManualClock(AT),
                ),
            ):
                pass


def test_an_upgrade_may_last_longer_than_a_run_before_it_counts_as_hanging(
    tmp_path: Path,
) -> None:
    place = remote(tmp_path, "postgresql://a@b/c", "postgresql://a@b/c")
    with quiet(place, "upgrade", Patience()):
        said = (tmp_path / "locks" / "rehearsal.lock").read_text()
    since, ends = re.findall(r'"(?:since|lease_ends)": "([^"]+)Z"', said)

    lease = datetime.fromisoformat(ends) - datetime.fromisoformat(since)
    assert lease.total_seconds() == place.settings.care.longest_run_seconds == 3600


def test_a_rehearsal_is_upgraded_like_any_agent(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    said = care(new_rehearsal.home, "upgrade")

    assert said.code == 0
    assert f"rehearsal upgrade: nothing to do: trading is at {NOW} already" in said.err
