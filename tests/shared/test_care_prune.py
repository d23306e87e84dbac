"""What is kept no longer: transcripts of cycles that are over, old logs, old journals, surplus backups."""

import asyncio
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from shared import log
from shared.care.logs import cut_down
from shared.care.prune import cron_log, prune
from shared.clock import SystemClock
from shared.crontab.block import command
from shared.crontab.command import installation
from shared.crontab.firings import Job
from shared.database.connection import Connection
from shared.database.cycles import record_transcript
from shared.errors import DatabaseUnavailable
from shared.operate.place import Place
from shared.paths import PROJECT
from tests.fixtures.care import AGENT, care, process, remote, remote_environ, remote_project
from tests.fixtures.databases import open_connection
from tests.fixtures.rehearsal import Machine

NOW = SystemClock().now()
LONG_AGO = NOW - timedelta(days=91)
LATELY = NOW - timedelta(days=89)


@pytest.fixture
def place(tmp_path: Path, trading_database_url: str, research_database_url: str) -> Place:
    return remote(tmp_path, trading_database_url, research_database_url)


async def cycle(
    connection: Connection, cycle_id: str, ended_at: datetime | None, *, agent: str = AGENT
) -> None:
    """Write a cycle in which two things were said, whether it ended or not."""
    started = (ended_at or LONG_AGO) - timedelta(minutes=5)
    await connection.execute(
        """
        INSERT INTO trading_cycles (
            cycle_id, agent_id, mode, status, started_at, ended_at, reason, forced, dry_run, brain,
            config_hash, pid
        ) VALUES ($1, $2, 'heartbeat', $3, $4, $5, $6, false, false, 'b', 'c', 1)
        """,
        cycle_id,
        agent,
        "running" if ended_at is None else "done",
        started,
        ended_at,
        None if ended_at is None else "over",
    )
    for number in range(2):
        await record_transcript(
            connection,
            cycle_id=cycle_id,
            sequence=number,
            kind="said",
            content={"text": "a word"},
            at=started,
        )


async def told(connection: Connection) -> list[tuple[str, int]]:
    rows = await connection.fetch(
        "SELECT cycle_id, count(*) FROM cycle_transcripts GROUP BY cycle_id ORDER BY cycle_id"
    )
    return [(row[0], row[1]) for row in rows]


async def test_what_was_said_in_cycles_that_are_long_over_is_forgotten_and_nothing_else(
    place: Place, trading_connection: Connection
) -> None:
    for number in range(45):  # more than one statement takes
        await cycle(trading_connection, f"old-{number}", LONG_AGO)
    await cycle(trading_connection, "new", LATELY)
    await cycle(trading_connection, "never-ended", None)
    await cycle(trading_connection, "another's", LONG_AGO, agent="other")
    tried = await prune(place, NOW, dry_run=True)
    before = await told(trading_connection)
    done = await prune(place, NOW, dry_run=False)
    again = await prune(place, NOW, dry_run=False)
    cycles = await trading_connection.fetchval("SELECT count(*) FROM trading_cycles")

    assert (tried.transcripts.pieces, tried.transcripts.cycles) == (90, 45)
    assert len(before) == 48
    assert done == tried
    assert again.is_nothing
    assert await told(trading_connection) == [("another's", 2), ("never-ended", 2), ("new", 2)]
    assert cycles == 48


def aged(path: Path, days: float, content: str = "x\n") -> Path:
    """Write a file that was changed last so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (at, at))
    return path


def name(*, month: int, day: int) -> str:
    return f"rehearsal-2026{month:02}{day:02}T000000000000Z.zip"


async def test_old_files_go_and_what_is_in_use_or_anothers_stays(
    place: Place, tmp_path: Path
) -> None:
    logs, journal = tmp_path / "logs", tmp_path / "journal"
    one = UUID(int=1)
    old = [
        aged(logs / "rehearsal.jsonl.3", 31),
        aged(journal / f"rehearsal-{one}.replayed-20200101T000000000000", 91),
        aged(journal / f"rehearsal-{one}.superseded-20200101T000000000000", 91),
        aged(journal / f"rehearsal.monitor-{one}.replayed-20200101T000000000000", 91),
        aged(tmp_path / "state" / "rehearsal-stops.superseded-20200101T000000000000", 91),
        *(aged(tmp_path / "backups" / name(month=1, day=day), 1) for day in (1, 2)),
    ]
    kept = [
        aged(logs / "rehearsal.jsonl", 400),
        aged(logs / "rehearsal.jsonl.1", 29),
        aged(logs / "other.jsonl.1", 400),
        aged(journal / f"rehearsal-{one}.jsonl", 400),
        aged(journal / f"rehearsal.monitor-{one}.jsonl", 400),
        aged(journal / f"rehearsal-{one}.replayed-20260101T000000000000", 89),
        aged(journal / f"other-{one}.replayed-20200101T000000000000", 400),
        aged(tmp_path / "state" / "rehearsal-stops.json", 400),
        *(aged(tmp_path / "backups" / name(month=2, day=day), 400) for day in range(1, 8)),
        aged(tmp_path / "backups" / name(month=1, day=1).replace("rehearsal", "other"), 400),
        aged(tmp_path / "backups" / "rehearsal-before-the-storm.zip", 400),
    ]
    tried = await prune(place, NOW, dry_run=True)
    assert all(path.exists() for path in old)
    done = await prune(place, NOW, dry_run=False)

    assert set(tried.files) == set(done.files) == set(old)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)


async def test_what_cron_printed_is_cut_down_to_its_end_when_it_is_too_much(
    tmp_path: Path, trading_database_url: str, research_database_url: str
) -> None:
    place = remote(tmp_path, trading_database_url, research_database_url, cron_log_max_bytes=10_000)
    path = cron_log(place)
    lines = [f"line {number}\n" for number in range(2000)]
    path.parent.mkdir()
    path.write_text("".join(lines[:900]))
    small = await prune(place, NOW, dry_run=False)
    path.write_text("".join(lines))
    tried = await prune(place, NOW, dry_run=True)
    assert path.read_text() == "".join(lines)
    await prune(place, NOW, dry_run=False)
    left = path.read_text()

    assert small.cut == ()
    assert tried.cut == (path,)
    assert 4900 < len(left) <= 5000
    assert "".join(lines).endswith(left)
    assert left.startswith("line ")


@pytest.mark.parametrize(
    ("content", "keep", "left"),
    [
        (b"", 5, b""),
        (b"a\nb\n", 5, b"a\nb\n"),
        (b"a\nb\n", 4, b"a\nb\n"),
        (b"aa\nbb\ncc\n", 6, b"bb\ncc\n"),
        (b"aa\nbb\ncc\n", 5, b"cc\n"),
        (b"aa\nbb\ncc", 4, b"cc"),
        (b"one line without an end", 6, b"an end"),
    ],
)
def test_a_file_keeps_its_last_whole_lines(
    content: bytes, keep: int, left: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(content)
    cut_down(path, keep)

    assert path.read_bytes() == left


def test_who_has_the_file_open_goes_on_at_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 999_999 + b"\n" + b"kept\n")
    with path.open("ab", buffering=0) as writer:
        cut_down(path, 1000)
        writer.write(b"after\n")

    assert path.read_bytes() == b"kept\nafter\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "precious", tmp_path / "a.log"
    target.write_bytes(b"x\n" * 1000)
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        cut_down(link, 10)

    assert target.stat().st_size == 2000


def test_the_files_are_those_that_log_and_crontab_write(place: Place, tmp_path: Path) -> None:
    cron = installation({"CATALYST_HOME": str(tmp_path)}, PROJECT)
    outcome = log.set_up(
        place.settings.logging,
        project=tmp_path,
        secrets=(),
        agent_id=AGENT,
        mode="prune",
        cycle_id=None,
        clock=SystemClock(),
    )
    log.tear_down()

    assert f">>{cron_log(place)} " in command(cron, AGENT, Job.PRUNE)
    assert outcome.path == tmp_path / "logs" / f"{AGENT}.jsonl"


async def test_without_its_database_files_go_all_the_same_and_the_failure_is_said(
    tmp_path: Path, research_database_url: str
) -> None:
    old = aged(tmp_path / "logs" / "rehearsal.jsonl.3", 31)
    place = remote(tmp_path, "postgresql://postgres@127.0.0.1:9/nowhere", research_database_url)
    with pytest.raises(DatabaseUnavailable):
        await prune(place, NOW, dry_run=False)

    assert not old.exists()


async def test_the_line_of_the_crontab_does_it_from_wherever_cron_starts_it(
    tmp_path: Path, trading_database_url: str, research_database_url: str
) -> None:
    connection = await open_connection(trading_database_url)
    await cycle(connection, "old", LONG_AGO)
    old = aged(tmp_path / "logs" / "rehearsal.jsonl.3", 31)
    project = remote_project(tmp_path)
    (project / ".venv").symlink_to(sys.prefix)
    environ = remote_environ(trading_database_url, research_database_url)
    (project / ".env").write_text("".join(f"{name}={value}\n" for name, value in environ.items()))
    tried = process(tmp_path, "prune", "--dry-run", "--json", project=project)
    assert old.exists()
    line = command(installation({"CATALYST_HOME": str(tmp_path)}, project), AGENT, Job.PRUNE)
    shell = ("/bin/sh", "-c", line)
    done = await asyncio.to_thread(subprocess.run, shell, env={}, cwd="/", check=False)
    left = await told(connection)
    await connection.close()

    said = "2 pieces of what was said in 1 cycles, 1 files"
    assert tried.json["reason"] == f"would go: {said}"
    assert tried.json["transcripts"] == 2
    assert tried.json["files"] == [str(old)]
    assert done.returncode == 0
    printed = (tmp_path / "logs" / "cron-rehearsal.log").read_text().splitlines()
    assert f"rehearsal prune: done: went: {said}" in printed
    assert str(old) in printed
    assert left == []
    assert not old.exists()


def test_a_rehearsal_that_was_never_begun_has_nothing_to_prune(tmp_path: Path) -> None:
    said = care(tmp_path, "prune")

    assert said.code == 1
    assert "no rehearsal of rehearsal was begun" in said.err


def test_a_rehearsal_goes_by_its_own_time(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    said = care(new_rehearsal.home, "prune")
    [(pieces,)] = new_rehearsal.query("SELECT count(*) FROM cycle_transcripts")

    assert said.code == 0
    assert said.err.endswith("rehearsal prune: nothing to do: nothing is too old\n")
    assert pieces > 0
