"""What must be true after a restore: nothing old is believed, and nothing is bought before a person looked."""

import asyncio
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from shared import trading_state
from shared.care.archive import open_archive
from shared.care.load import RestoreFailed
from shared.clock import ManualClock, SystemClock
from shared.database import accounts
from shared.database.fences import Role, take_token
from shared.database.reconciliations import latest_verdict
from shared.embedded_postgres import drop_database, ensure_running
from shared.halts import HaltKind
from shared.identity import client_order_id
from shared.journal.books import open_books
from shared.journal.entries import AlertQueued
from shared.journal.file import LocalJournal
from shared.journal.replay import replay
from shared.journal.stops import read_stops, stop_file
from shared.lock import hold
from shared.models import TradingState, Verdict
from shared.operate.place import Place
from shared.sql import DatabaseKind
from tests.fixtures.care import (
    AT,
    LATER,
    PlayedBackup,
    backed_up,
    care,
    remote,
    restored,
    rows,
)
from tests.fixtures.databases import open_connection
from tests.fixtures.operate import operate
from tests.fixtures.rehearsal import Machine, begin_rehearsal

TRADING = DatabaseKind.TRADING


async def test_it_is_another_database_that_stands_for_the_same_account(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str]
) -> None:
    done = await restored(new_place, played.path)
    connection = await open_connection(empty_urls[0])
    identity = await accounts.database_identity(connection)
    pin = await accounts.pinned_account(connection, "rehearsal")
    await connection.close()
    with open_archive(played.path) as archive:
        old = archive.manifest.database(TRADING).identity

    assert old is not None
    assert done.identity == identity != old
    assert pin is not None
    assert pin.account_id in played.trading["account_pins"][0]
    ids = [
        client_order_id(database=one, agent_id="rehearsal", cycle="c", decision="d")
        for one in (old, identity)
    ]
    assert ids[0] != ids[1]


async def test_nothing_is_bought_until_a_person_has_looked_and_all_was_compared_anew(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str], tmp_path: Path
) -> None:
    sessions = {re.findall(r"2026-06-\d\d", row)[0] for row in played.trading["reconciliations"]}
    await restored(new_place, played.path)
    connection = await open_connection(empty_urls[0])
    days = [datetime.fromisoformat(day).date() for day in sessions]
    verdicts = {await latest_verdict(connection, "rehearsal", day) for day in days}
    now = new_place.clock.now()
    both = await trading_state.current(connection, "rehearsal", tmp_path, now)
    [halt] = await accounts.halts_in_force(connection, "rehearsal", now)
    alert = await connection.fetchrow(
        "SELECT severity, subject, body FROM alerts ORDER BY alert_id DESC"
    )
    await connection.close()
    alone = await trading_state.current(None, "rehearsal", tmp_path, now)

    assert verdicts == {Verdict.UNREADABLE}
    assert both.state is alone.state is TradingState.HALTED
    assert halt.kind is HaltKind.UNRESOLVED
    assert halt.reason.startswith("restored from the backup of 20")
    assert alert is not None
    assert alert["severity"] == "critical"
    assert halt.reason in alert["subject"]
    assert "Only a person lifts it" in alert["body"]


async def test_no_process_of_before_has_the_newest_token(
    played: PlayedBackup, new_place: Place, empty_urls: tuple[str, str]
) -> None:
    before = int(re.findall(r"rehearsal,cycle,(\d+)", played.trading["agent_locks"][0])[0])
    await restored(new_place, played.path)
    connection = await open_connection(empty_urls[0])
    sender = await take_token(
        connection, agent_id="rehearsal", role=Role.CYCLE, mode="t", host="h", pid=1, at=AT
    )
    await connection.close()

    assert sender.token > before + 100_000


async def test_a_new_machine_takes_over_the_lines_that_waited_when_the_backup_was_made(
    tmp_path: Path,
    empty_urls: tuple[str, str],
    trading_database_url: str,
    research_database_url: str,
) -> None:
    connection = await open_connection(trading_database_url)
    old = await accounts.database_identity(connection)
    await connection.close()
    for role in Role:
        noted(tmp_path / "old", old, f"of the {role}", role)
    path = await backed_up(remote(tmp_path / "old", trading_database_url, research_database_url))

    done = await restored(remote(tmp_path / "new", *empty_urls), path)

    assert done.identity is not None
    found = {one.name: one for one in (tmp_path / "new" / "journal").iterdir()}
    assert set(found) == {
        f"rehearsal-{done.identity}.jsonl",
        f"rehearsal.monitor-{done.identity}.jsonl",
    }
    assert b"of the cycle" in found[f"rehearsal-{done.identity}.jsonl"].read_bytes()
    assert b"of the monitor" in found[f"rehearsal.monitor-{done.identity}.jsonl"].read_bytes()
    assert {one.stat().st_mode & 0o777 for one in found.values()} == {0o600}


async def test_a_file_that_cannot_be_put_back_leaves_everything_as_it_was(
    tmp_path: Path,
    empty_urls: tuple[str, str],
    trading_database_url: str,
    research_database_url: str,
) -> None:
    old_home, home = tmp_path / "old", tmp_path / "new"
    connection = await open_connection(trading_database_url)
    noted(old_home, await accounts.database_identity(connection), "in the backup")
    await connection.close()
    await trading_state.halt(None, agent_id="rehearsal", home=old_home, why="w", by="me", at=AT)
    path = await backed_up(remote(old_home, trading_database_url, research_database_url))
    home.mkdir()
    (home / "journal").write_text("where a folder should be")

    with pytest.raises(RestoreFailed, match=r"cannot be written: .*; nothing was restored"):
        await restored(remote(home, *empty_urls), path)

    assert not stop_file(home, "rehearsal").exists()
    assert not trading_state.state_file(home, "rehearsal").exists()
    assert await rows(empty_urls[0]) == {}


async def test_lines_that_waited_for_the_old_database_go_on_to_the_new_one(
    tmp_path: Path,
    empty_urls: tuple[str, str],
    trading_database_url: str,
    research_database_url: str,
) -> None:
    old_home, home = tmp_path / "old", tmp_path / "new"
    connection = await open_connection(trading_database_url)
    old = await accounts.database_identity(connection)
    await connection.close()
    noted(old_home, old, "in the backup")
    path = await backed_up(remote(old_home, trading_database_url, research_database_url))
    shutil.copytree(old_home / "journal", home / "journal")
    noted(home, old, "noted since")

    done = await restored(remote(home, *empty_urls), path)
    connection = await open_connection(empty_urls[0])
    books = await open_books(connection, home=home, agent_id="rehearsal", clock=ManualClock(LATER))
    taken_over = await replay(books, at=LATER)
    said = {row["subject"] for row in await connection.fetch("SELECT subject FROM alerts")}
    await connection.close()

    assert taken_over == 2
    assert {"in the backup", "noted since"} < said
    assert done.identity is not None
    old_path = LocalJournal(home=home, agent_id="rehearsal", database=old).path
    assert not old_path.exists()
    [aside] = old_path.parent.glob(f"{old_path.stem}.superseded-*")
    assert b"noted since" in aside.read_bytes()


def noted(home: Path, database: UUID, subject: str, role: Role = Role.CYCLE) -> None:
    journal = LocalJournal(home=home, agent_id="rehearsal", database=database, role=role)
    entry = AlertQueued(
        agent_id="rehearsal",
        cycle_id=None,
        severity="info",
        subject=subject,
        body="b",
        dedupe_key=subject,
        at=AT,
    )
    journal.append(entry, AT)


@pytest.mark.parametrize("is_new_machine", [False, True])
async def test_a_trading_state_is_put_back_only_where_the_machine_has_none(
    is_new_machine: bool,
    tmp_path: Path,
    empty_urls: tuple[str, str],
    trading_database_url: str,
    research_database_url: str,
) -> None:
    old_home, home = tmp_path / "old", tmp_path / "new"
    for folder, why in ((old_home, "said before"), (home, "said since")):
        if folder == old_home or not is_new_machine:
            await trading_state.halt(
                None, agent_id="rehearsal", home=folder, why=why, by="me", at=AT
            )
    path = await backed_up(remote(old_home, trading_database_url, research_database_url))

    done = await restored(remote(home, *empty_urls), path)
    found = trading_state.read_file(home, "rehearsal")

    assert isinstance(found, tuple)
    kept = "said before" if is_new_machine else "said since"
    assert [one.reason.split(" from")[0] for one in found] == [kept, "restored"]
    assert done.files == ((trading_state.state_file(home, "rehearsal"),) if is_new_machine else ())


async def test_stops_that_only_this_machine_knows_are_kept_for_whoever_settles_it(
    tmp_path: Path,
    empty_urls: tuple[str, str],
    trading_database_url: str,
    research_database_url: str,
) -> None:
    path = await backed_up(remote(tmp_path, trading_database_url, research_database_url))
    stops = stop_file(tmp_path, "rehearsal")
    stops.parent.mkdir()
    stops.write_text("bought since")

    done = await restored(remote(tmp_path, *empty_urls), path)
    known = read_stops(tmp_path, "rehearsal")

    [aside] = stops.parent.glob("rehearsal-stops.superseded-*")
    assert aside.read_text() == "bought since"
    assert known is not None
    assert known.database == done.identity
    assert known.stops == ()


async def test_what_cannot_be_settled_afterwards_does_not_undo_what_is_there(
    tmp_path: Path,
    empty_urls: tuple[str, str],
    trading_database_url: str,
    research_database_url: str,
) -> None:
    path = await backed_up(remote(tmp_path, trading_database_url, research_database_url))
    stop_file(tmp_path, "rehearsal").mkdir(parents=True)

    done = await restored(remote(tmp_path, *empty_urls), path)

    assert done.identity is not None
    assert (await rows(empty_urls[0]))["halts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A rehearsal that was backed up, bought more, and lost its databases."""

    machine: Machine
    path: Path
    """The backup."""
    known: set[str]
    """Symbols that the backup has a position in."""
    bought_since: set[str]
    """Symbols that it has none in."""


@pytest.fixture
def lost(machine: Machine) -> Lost:
    """A rehearsal with positions, of which the backup knows only some."""
    begin_rehearsal(machine)
    machine.run("--mode", "scan")
    assert machine.run("--mode", "trade").said["positions"] > 0
    path = Path(care(machine.home, "backup", "--json").json["backup"])
    known = set(machine.query("SELECT symbol FROM positions"))
    assert machine.run("--mode", "trade").said["positions"] > len(known)
    since = {symbol for (symbol,) in {*machine.query("SELECT symbol FROM positions")} - known}
    server, bookmark = ensure_running(machine.home, environ={}), machine.bookmark
    for name in (bookmark.database_name, bookmark.research_database_name):
        asyncio.run(drop_database(server, name))
    return Lost(
        machine=machine,
        path=path,
        known={symbol for (symbol,) in known},
        bought_since=since,
    )


def test_the_program_restores_and_the_agent_buys_again_when_a_person_says_so(lost: Lost) -> None:
    machine, path = lost.machine, lost.path
    asked = care(machine.home, "restore", str(path))
    done = care(machine.home, "restore", "--yes", "--json")
    stops = read_stops(machine.home, "rehearsal")
    again = care(machine.home, "restore", "--yes")
    halted = machine.run("--mode", "trade").said
    verdict = machine.query("SELECT verdict FROM reconciliations ORDER BY reconciliation_id DESC")
    locked = {symbol for (symbol,) in machine.query("SELECT symbol FROM symbol_locks")}
    operate(machine.home, "resume", "--why", "looked")
    resumed = machine.run("--mode", "trade").said

    assert asked.code == 2
    assert f"{path} holds rehearsal of 20" in asked.err
    assert "--yes fills the empty trading and research database" in asked.err
    assert done.code == 0, done.err
    assert done.json["backup"] == str(path)
    assert "the agent is halted" in done.json["reason"]
    assert stops is not None
    assert {stop.symbol for stop in stops.stops} == lost.known
    assert str(stops.database) == done.json["identity"]
    assert again.code == 2
    assert "is not empty: account_pins has rows" in again.err
    assert "TRADING_STATE" in halted["refusals"]
    assert halted["orders"] == 0
    assert verdict[0] == ("locked",)
    assert locked >= lost.bought_since != set()
    assert "TRADING_STATE" not in resumed["refusals"]


def test_a_damaged_backup_is_refused_before_the_first_write(lost: Lost) -> None:
    machine, path = lost.machine, lost.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = path.with_name("damaged.zip")
    damaged.write_bytes(content)
    said = care(machine.home, "restore", str(damaged), "--yes")

    assert said.code == 2
    assert f"{damaged} is no whole backup: its checksum does not fit" in said.err
    assert said.err.count("\n") == 1
    assert not trading_state.state_file(machine.home, "rehearsal").exists()
    damaged.unlink()
    assert care(machine.home, "restore", str(path), "--yes").code == 0


@contextmanager
def held(machine: Machine, name: str, mode: str) -> Generator[None]:
    lock = machine.home / "locks" / name
    with hold(lock, agent_id="rehearsal", mode=mode, clock=SystemClock()):
        yield


@pytest.mark.parametrize(
    ("name", "mode"), [("rehearsal.lock", "trade"), ("rehearsal.monitor.lock", "monitor")]
)
def test_nothing_is_restored_while_a_run_or_a_monitor_is_at_work(
    name: str, mode: str, lost: Lost
) -> None:
    machine, path = lost.machine, lost.path
    with held(machine, name, mode):
        said = care(machine.home, "restore", str(path), "--yes")

    assert said.code == 1
    assert f"busy: another run of rehearsal holds the lock: mode {mode}" in said.err


def test_without_a_backup_there_is_one_sentence(tmp_path: Path) -> None:
    said = care(tmp_path, "restore", "--yes")

    assert said.code == 2
    assert said.err == (
        f"rehearsal restore: usage: there is no backup of rehearsal in {tmp_path / 'backups'}\n"
    )
