"""The position monitor as cron has it: a process that is started, doubled, killed, hung, updated, and told to end."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import position_monitor
from shared.paths import PROJECT
from tests.fixtures.rehearsal import Machine

SCRIPT = str(PROJECT / "position_monitor.py")


@contextmanager
def started(machine: Machine, *arguments: str) -> Generator["Watching"]:
    """Start a monitor whose time passes as on the wall; it is ended with the block."""
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--real-time", *arguments],
        env=machine.environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Watching(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


class Watching:
    """A monitor that was started."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process: subprocess.Popen[str] = process
        self.said: str = ""

    def until(self, words: str) -> str:
        """Read what it says until it says that; fail when it ends before."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if words in line:
                return line
        raise AssertionError(f"it ended without {words!r}: {self.said}")

    def ended(self) -> int:
        """Wait for its end and return its exit code."""
        assert self.process.stderr is not None
        self.said += self.process.stderr.read()
        return self.process.wait(timeout=60)


def once(machine: Machine, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Call main as a person does."""
    out = io.StringIO()
    code = position_monitor.main(
        [*arguments, "--json"], environ=machine.environ, stdout=out, stderr=io.StringIO()
    )
    return code, json.loads(out.getvalue().splitlines()[-1])


@pytest.fixture
def open_session(new_rehearsal: Machine) -> Machine:
    """A rehearsal in the middle of its session, with positions."""
    new_rehearsal.run("--mode", "scan")
    for _ in range(2):
        assert new_rehearsal.run("--mode", "trade").exit_code == 0
    return new_rehearsal


@pytest.fixture
def watching(open_session: Machine) -> Iterator[Watching]:
    """A monitor that has made its first pass."""
    with started(open_session) as monitor:
        monitor.until("watching ")
        yield monitor


def test_in_a_rehearsal_a_run_lets_it_watch_through_the_time_before_its_slot(
    open_session: Machine,
) -> None:
    said = open_session.run("--mode", "trade").said["watched"]
    (beat,) = open_session.query("SELECT beat_at, passes FROM monitor_heartbeats")
    (last,) = open_session.query("SELECT max(slot_at) FROM trading_cycles")

    assert said["passes"] == 30
    assert said["naked_seconds"] == 0
    assert (last[0] - beat[0]).total_seconds() == 1
    assert beat[1] >= 90


def test_one_pass_by_hand_says_what_it_saw(open_session: Machine) -> None:
    code, said = once(open_session, "--once")
    health = open_session.query("SELECT DISTINCT health FROM v_monitor_health")

    assert code == 0
    assert (said["mode"], said["status"], said["passes"]) == ("monitor", "done", 1)
    assert said["reason"].startswith("1 passes; one pass was wanted")
    assert health == [("STALE",)]  # by the wall's clock: the rehearsal's stands in another year


def test_time_that_was_watched_by_hand_has_passed_for_the_next_run(open_session: Machine) -> None:
    code, said = once(open_session)
    again = open_session.run("--mode", "trade").said

    assert (code, said["passes"]) == (0, 30)
    assert "watched" not in again
    assert again["status"] == "done"


def test_a_second_start_finds_the_first_at_work_and_says_nothing(
    open_session: Machine, watching: Watching
) -> None:
    second = subprocess.run(
        [sys.executable, SCRIPT, "--real-time"],
        env=open_session.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert watching.process.poll() is None


def test_a_start_that_finds_one_at_work_imports_nothing_heavy(
    open_session: Machine, watching: Watching
) -> None:
    probe = (
        "import sys, position_monitor\n"
        "code = position_monitor.main([])\n"
        "heavy = {'anthropic', 'asyncpg', 'jinja2', 'numpy', 'stamina', 'sqlite3', 'guard', 'market'}\n"
        "print(code, sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        env=open_session.environ,
        cwd=PROJECT,
        check=True,
    )

    assert watching.process.poll() is None
    assert (done.stdout.strip(), done.stderr) == ("0 []", "")


def test_a_killed_monitor_is_followed_by_the_next_start(
    open_session: Machine, watching: Watching
) -> None:
    watching.process.kill()
    watching.process.wait()
    with started(open_session) as successor:
        successor.until("watching ")
    rows = open_session.query(
        "SELECT status, reason FROM trading_cycles WHERE mode = 'monitor' AND ended_at IS NOT NULL"
        " ORDER BY started_at DESC LIMIT 1"
    )

    assert rows == [("failed", "the process ended without finishing")]


def test_a_hung_monitor_is_replaced_when_its_lease_has_ended(
    open_session: Machine, watching: Watching
) -> None:
    watching.process.send_signal(signal.SIGSTOP)
    expire(open_session.home / "locks" / "rehearsal.monitor.lock")
    with started(open_session) as successor:
        successor.until("watching ")

    assert watching.process.wait() == -signal.SIGKILL
    alerts = [subject for (subject,) in open_session.query("SELECT subject FROM alerts")]
    assert "a monitor run hung and was ended" in alerts


def test_one_that_is_told_to_end_ends_between_two_passes_and_says_so(
    open_session: Machine, watching: Watching
) -> None:
    watching.process.terminate()

    assert watching.ended() == 0
    assert "it was told to end" in watching.said
    rows = open_session.query(
        "SELECT status FROM trading_cycles WHERE mode = 'monitor' ORDER BY started_at DESC LIMIT 1"
    )
    assert rows == [("done",)]


def test_cron_can_start_a_successor_although_its_flock_was_inherited(
    open_session: Machine, tmp_path: Path
) -> None:
    lock = tmp_path / f"rehearsal{position_monitor.CRON_LOCK_SUFFIX}"
    line = ["/usr/bin/flock", "-E", "0", "-n", "-F", str(lock), sys.executable, SCRIPT]
    process = subprocess.Popen(
        [*line, "--real-time"],
        env=open_session.environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    first = Watching(process)
    try:
        first.until("watching ")
        free = subprocess.run(["/usr/bin/flock", "-n", str(lock), "true"], check=False)
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()

    assert free.returncode == 0


def test_a_process_that_gives_no_sign_of_life_ends_itself_and_says_where_it_stood() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import time, position_monitor\n"
            "position_monitor._watchdog(0.2)\n"
            "def hangs():\n    time.sleep(600)\n"
            "hangs()",
        ],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )

    assert done.returncode == 1
    assert "in hangs" in done.stderr


def expire(lock: Path) -> None:
    """Put the end of the lease that stands in a lock file into the past."""
    said = json.loads(lock.read_bytes())
    said["lease_ends_boot_seconds"] = 1.0
    descriptor = os.open(lock, os.O_WRONLY)
    content = json.dumps(said).encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))
    os.close(descriptor)
