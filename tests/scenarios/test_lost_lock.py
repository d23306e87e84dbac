"""What happens to a run in the midst of its cycle when its lock is taken, lost or overdue."""

import io
import json
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import unified_agent
from tests.fixtures.operate import change_rows
from tests.fixtures.processes import PATIENCE_SECONDS, Child, child, has_pending, is_stopped, until
from tests.fixtures.rehearsal import Machine

CONNECTIONS = (
    "SELECT split_part(application_name, ' ', 3), count(*) FROM pg_stat_activity"
    " WHERE application_name LIKE 'catalyst rehearsal % {pid}' GROUP BY 1 ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A trade cycle that has asked Claude and gets no answer."""

    process: Child
    lock: Path

    def ends(self) -> tuple[int, dict[str, Any]]:
        """Return its exit code and what it said."""
        said = json.loads(self.process.hear())
        return self.process.wait(), said


@contextmanager
def asking(machine: Machine) -> Generator[Cycle]:
    """Run a trade cycle up to where it waits for Claude."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        host, port = silent.getsockname()
        environ = machine.environ | {
            "ANTHROPIC_API_KEY": "nobody's",
            "ANTHROPIC_BASE_URL": f"http://{host}:{port}",
        }

        def work(say: Callable[[Any], None]) -> None:
            out = io.StringIO()
            arguments = ["--mode", "trade", "--brain", "claude", "--json"]
            code = unified_agent.main(arguments, environ=environ, stdout=out, stderr=io.StringIO())
            say(out.getvalue().splitlines()[-1])
            raise SystemExit(code)

        with child(work) as process:
            asked, _ = silent.accept()
            with asked:
                yield Cycle(process=process, lock=machine.home / "locks" / "rehearsal.lock")


def rows(machine: Machine) -> list[tuple[Any, ...]]:
    """The runs of slots; the monitor watches in the time before each."""
    return machine.query(
        "SELECT mode, status, reason FROM trading_cycles WHERE mode <> 'monitor' ORDER BY started_at"
    )


def test_a_run_has_three_connections_each_for_its_purpose(new_rehearsal: Machine) -> None:
    with asking(new_rehearsal) as cycle:
        found = new_rehearsal.query(CONNECTIONS.format(pid=cycle.process.pid))

    # the one for research is to another database of the same server
    assert found == [("lock", 1), ("research", 1), ("trading", 1)]


def test_close_ends_a_trade_cycle_whose_row_says_so(new_rehearsal: Machine) -> None:
    with asking(new_rehearsal) as trade:
        trade.process.send(signal.SIGSTOP)
        until(lambda: is_stopped(trade.process.pid))

        def work(say: Callable[[Any], None]) -> None:
            say(new_rehearsal.run("--mode", "close").said)

        with child(work) as close:
            until(lambda: has_pending(trade.process.pid, signal.SIGTERM))
            trade.process.send(signal.SIGCONT)
            code, said = trade.ends()
            closed = close.hear()

    assert (code, said["status"]) == (1, "interrupted")
    assert closed["status"] == "nothing_to_do"
    assert rows(new_rehearsal) == [
        ("trade", "failed", "the run was ended from outside"),
        ("close", "nothing_to_do", "nothing is held, so nothing has to be closed"),
    ]
    assert new_rehearsal.query("SELECT subject FROM alerts") == [("11 slots were missed",)]


def test_a_dry_close_ends_nobody(new_rehearsal: Machine) -> None:
    with asking(new_rehearsal) as trade:
        dry = new_rehearsal.run("--mode", "close", "--dry-run")

        assert dry.said["status"] == "busy"
        assert trade.process.is_alive()


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_a_run_whose_lock_file_is_taken_away_ends_and_says_so(
    new_rehearsal: Machine, way: str
) -> None:
    with asking(new_rehearsal) as trade:
        trade.lock.unlink()
        if way == "replaced":
            trade.lock.touch()
        code, said = trade.ends()
    sentence = f"the lock of rehearsal was lost: the lock file {trade.lock} was {way} while the run held it"

    assert (code, said["status"], said["reason"]) == (1, "failed", sentence)
    assert said["cycle_id"].endswith("-trade")
    assert rows(new_rehearsal) == [("trade", "failed", sentence)]


def test_a_run_whose_lock_connection_is_terminated_ends_and_says_so(new_rehearsal: Machine) -> None:
    with asking(new_rehearsal) as trade:
        change_rows(
            new_rehearsal,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608 (a number)
            f" WHERE application_name = 'catalyst rehearsal lock {trade.process.pid}'",
        )
        code, said = trade.ends()
    sentence = "the lock of rehearsal was lost: the connection that held it has ended"

    assert (code, said["status"], said["reason"]) == (1, "failed", sentence)
    assert rows(new_rehearsal) == [("trade", "failed", sentence)]


def test_a_run_that_hangs_past_its_lease_is_killed_and_told_of(new_rehearsal: Machine) -> None:
    with asking(new_rehearsal) as trade:
        trade.process.send(signal.SIGSTOP)
        until(lambda: is_stopped(trade.process.pid))
        refused = new_rehearsal.run("--mode", "trade")
        written = json.loads(trade.lock.read_text())
        trade.lock.write_text(json.dumps(written | {"lease_ends_boot_seconds": 0}))
        after = new_rehearsal.run("--mode", "trade")
        code = trade.process.wait()
    told = {subject for (subject,) in new_rehearsal.query("SELECT subject FROM alerts")}

    assert refused.said["status"] == "busy"
    assert written["mode"] == "trade"
    assert code == -signal.SIGKILL
    assert after.said["status"] == "done"
    assert "a trade run hung and was ended" in told
    assert [row[:2] for row in rows(new_rehearsal)] == [("trade", "failed"), ("trade", "done")]
