"""The command line: what a person types, the sentence they read, the code that cron sees."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from shared.clock import ManualClock
from shared.lock import hold
from shared.paths import PROJECT
from tests.fixtures.rehearsal import Machine

LEFT_OUT = shutil.ignore_patterns(
    ".*", "logs", "tests", "benchmarks", "__pycache__", "*.md", "requirements*"
)
SECRET = "sk-ant-api03-not-a-real-key-0123456789"  # noqa: S105 (it opens nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A finished process."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the program, to be configured wrongly."""
    return Path(shutil.copytree(PROJECT, tmp_path / "catalyst", ignore=LEFT_OUT))


def agent(
    machine: Machine,
    *arguments: str,
    project: Path = PROJECT,
    environ: Mapping[str, str] | None = None,
    cwd: str = "/",
) -> Process:
    """Start unified_agent.py as cron does: absolute path, hardly any environment, another directory."""
    done = subprocess.run(
        [sys.executable, str(project / "unified_agent.py"), *arguments],
        capture_output=True,
        text=True,
        env=machine.environ | dict(environ or {}),
        cwd=cwd,
        timeout=120,
        check=False,
    )
    return Process(code=done.returncode, out=done.stdout, err=done.stderr)


def test_one_slot_of_each_mode_runs_as_a_process_of_its_own(new_rehearsal: Machine) -> None:
    for mode in ("scan", "trade", "close", "heartbeat"):
        process = agent(new_rehearsal, "--mode", mode, "--json")
        said = json.loads(process.out.splitlines()[-1])

        assert process.code == 0, process.err
        assert said["mode"] == mode
        assert said["status"] in {"done", "nothing_to_do"}
        assert set(said) >= {
            "agent", "mode", "status", "reason", "cycle_id", "tools_called", "orders", "cost_usd",
            "duration_seconds",
        }  # fmt: skip


def test_a_rehearsal_goes_on_at_the_next_slot_and_then_at_the_next_session(
    new_rehearsal: Machine,
) -> None:
    times = [new_rehearsal.run("--mode", "trade").said["at"] for _ in range(2)]
    left_out = new_rehearsal.run("--mode", "scan").said
    new_rehearsal.run("--mode", "heartbeat")
    next_day = new_rehearsal.run("--mode", "scan").said

    assert times == ["2026-06-15T14:00:00Z", "2026-06-15T14:30:00Z"]
    assert left_out["status"] == "nothing_to_do"
    assert "no scan slot is left in the session of 2026-06-15" in left_out["reason"]
    assert "next slot is trade at 11:00" in left_out["reason"]
    assert next_day["at"] == "2026-06-16T13:00:00Z"


def test_a_closed_market_is_no_failure_and_force_does_not_open_it(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    forced = new_rehearsal.run("--mode", "trade", "--force")

    assert forced.exit_code == 0
    assert forced.said["status"] == "nothing_to_do"
    assert "the market is closed: it is 09:00; XNYS trades 09:30 to 16:00" in forced.said["reason"]


def test_a_dry_run_goes_through_everything_and_places_nothing(new_rehearsal: Machine) -> None:
    dry = new_rehearsal.run("--mode", "trade", "--dry-run")

    assert dry.exit_code == 0
    assert dry.said["orders"] == dry.said["positions"] == 0
    assert new_rehearsal.query("SELECT order_id FROM orders") == []
    assert new_rehearsal.query("SELECT refusal_id FROM refusals")
    assert new_rehearsal.query("SELECT FROM tool_calls WHERE result::text LIKE '%dry_run%'")


def test_a_second_run_ends_well_and_says_who_is_at_work(new_rehearsal: Machine) -> None:
    lock = new_rehearsal.home / "locks" / "rehearsal.lock"
    clock = ManualClock(datetime(2026, 6, 15, 14, 0, tzinfo=UTC))
    with hold(lock, agent_id="rehearsal", mode="trade", clock=clock):
        second = agent(new_rehearsal, "--mode", "scan", "--json")

    assert second.code == 0
    assert f"mode trade, pid {os.getpid()}, since 2026-06-15" in second.err
    assert json.loads(second.out)["status"] == "busy"


def test_a_misspelt_key_is_shown_with_its_line_and_what_was_meant(
    machine: Machine, project: Path
) -> None:
    config = project / "config" / "rehearsal.yaml"
    config.write_text(config.read_text().replace("max_positions:", "max_postions:"))
    process = agent(machine, "--mode", "scan", project=project)

    assert process.code == 2
    assert "config/rehearsal.yaml:" in process.err
    assert "max_postions" in process.err
    assert "did you mean max_positions" in process.err
    assert "Traceback" not in process.err


def test_a_limit_that_is_looser_than_the_hard_floor_is_refused(
    machine: Machine, project: Path
) -> None:
    config = project / "config" / "rehearsal.yaml"
    config.write_text(
        config.read_text().replace("max_position_value: 5000", "max_position_value: 10001")
    )
    process = agent(machine, "--mode", "scan", project=project)

    assert process.code == 2
    assert "max_position_value is looser than the hard limit 10000, was 10001" in process.err


def test_live_trading_is_refused(machine: Machine, project: Path) -> None:
    config = project / "config" / "rehearsal.yaml"
    config.write_text(config.read_text().replace("environment: paper", "environment: live"))
    process = agent(machine, "--mode", "scan", project=project)

    assert process.code == 2
    assert "live trading is refused" in process.err.lower()


def test_an_agent_that_does_not_exist_is_answered_with_those_that_do(machine: Machine) -> None:
    process = agent(machine, "--mode", "scan", "--agent", "rehersal")

    assert process.code == 2
    assert "rehearsal" in process.err


def test_an_unknown_mode_is_a_usage_error(machine: Machine) -> None:
    process = agent(machine, "--mode", "gamble")

    assert process.code == 2
    assert "gamble" in process.err


def test_claude_without_a_key_is_a_configuration_error(machine: Machine) -> None:
    run = machine.run("--mode", "scan", "--brain", "claude")

    assert run.exit_code == 2
    assert "ANTHROPIC_API_KEY is not set" in run.said["reason"]


def test_a_database_that_is_not_there_fails_in_a_sentence(
    new_rehearsal: Machine, project: Path
) -> None:
    config = project / "config" / "rehearsal.yaml"
    config.write_text(
        config.read_text().replace(
            "kind: embedded ",
            "kind: url\n  trading_url_env: TRADING_DATABASE_URL\n"
            "  research_url_env: RESEARCH_DATABASE_URL #",
        )
    )
    variables = {"AGENT_ID": "rehearsal"} | dict.fromkeys(
        ("TRADING_DATABASE_URL", "RESEARCH_DATABASE_URL"),
        "postgresql://someone:hunter2secret@127.0.0.1:9/nowhere",
    )
    process = agent(new_rehearsal, "--mode", "scan", project=project, environ=variables)

    assert process.code == 1, process.err
    assert "cannot be reached" in process.err
    assert "hunter2secret" not in process.err + process.out


@pytest.mark.parametrize("way", ["full disk", "a directory"])
def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(
    new_rehearsal: Machine, way: str
) -> None:
    file = new_rehearsal.home / "logs" / "rehearsal.jsonl"
    shutil.rmtree(file.parent, ignore_errors=True)
    file.parent.mkdir()
    if way == "full disk":
        file.symlink_to("/dev/full")
    else:
        file.mkdir()
    try:
        process = agent(new_rehearsal, "--mode", "trade", "--json")
    finally:
        shutil.rmtree(file.parent)
    said = json.loads(process.out)

    assert process.code == 0, process.err
    assert process.err.count("cannot be written") == 1
    assert said["status"] == "done"
    assert any("cannot be written" in note for note in said["notes"])


def test_a_log_that_cannot_be_written_is_alerted(new_rehearsal: Machine) -> None:
    file = new_rehearsal.home / "logs" / "rehearsal.jsonl"
    shutil.rmtree(file.parent, ignore_errors=True)
    file.parent.mkdir()
    file.symlink_to("/dev/full")
    try:
        agent(new_rehearsal, "--mode", "scan")
    finally:
        shutil.rmtree(file.parent)

    assert new_rehearsal.query("SELECT subject FROM alerts") == [("the log cannot be written",)]


def test_a_heartbeat_with_nothing_to_do_imports_nothing_heavy(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    probe = (
        "import sys, unified_agent\n"
        "code = unified_agent.main(['--mode', 'heartbeat', '--force'])\n"
        "heavy = {'anthropic', 'alpaca', 'moomoo', 'pandas', 'numpy', 'httpx2', 'sqlite3', 'rich'}\n"
        "print(code, sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        env=new_rehearsal.environ,
        cwd=PROJECT,
        check=True,
    )

    assert done.stdout.strip() == "0 []"
    assert "no messages, no open orders, no open positions" in done.stderr


def test_no_secret_reaches_log_database_prompt_or_output(new_rehearsal: Machine) -> None:
    process = agent(
        new_rehearsal, "--mode", "trade", "--json", environ={"ANTHROPIC_API_KEY": SECRET}
    )
    tables = new_rehearsal.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    kept = [
        str(row)
        for (table,) in tables
        for row in new_rehearsal.query(f'SELECT t::text FROM "{table}" t')  # noqa: S608 (our own names)
    ]
    log = (new_rehearsal.home / "logs" / "rehearsal.jsonl").read_text()

    assert process.code == 0
    assert len(kept) > 20
    assert len(log) > 500
    assert SECRET not in process.out + process.err + log + "".join(kept)


def test_a_run_that_is_killed_leaves_nothing_in_the_way(new_rehearsal: Machine) -> None:
    started = subprocess.Popen(
        [sys.executable, str(PROJECT / "unified_agent.py"), "--mode", "trade"],
        env=new_rehearsal.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    for line in started.stderr:
        if "cycle_started" in line:
            break
    started.kill()
    started.stderr.close()
    started.wait()
    after = new_rehearsal.run("--mode", "trade")

    assert after.exit_code == 0
    assert after.said["status"] == "done"


def test_a_run_that_is_told_to_end_says_so_in_its_row(new_rehearsal: Machine) -> None:
    started = subprocess.Popen(
        [sys.executable, str(PROJECT / "unified_agent.py"), "--mode", "trade"],
        env=new_rehearsal.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    begun = 0
    for line in started.stderr:
        begun += "cycle_started" in line
        if begun == 2:  # the monitor's, which watched until the slot, and the run's own
            break
    started.send_signal(signal.SIGTERM)
    rest = started.stderr.read()
    started.stderr.close()
    code = started.wait()

    assert code == 1
    assert "ended from outside" in rest
    rows = new_rehearsal.query("SELECT mode, status, reason FROM trading_cycles ORDER BY mode")
    assert rows[1] == ("trade", "failed", "the run was ended from outside")
    assert rows[0][:2] == ("monitor", "done")


def test_a_run_that_is_told_to_end_while_time_passes_never_begins(new_rehearsal: Machine) -> None:
    started = subprocess.Popen(
        [sys.executable, str(PROJECT / "unified_agent.py"), "--mode", "close"],
        env=new_rehearsal.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    for line in started.stderr:
        if "cycle_started" in line:
            break
    started.send_signal(signal.SIGTERM)
    rest = started.stderr.read()
    started.stderr.close()

    assert started.wait() == 1
    assert "ended from outside" in rest
    assert new_rehearsal.query("SELECT mode, status FROM trading_cycles") == [("monitor", "done")]


def test_a_killed_database_is_brought_back(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    pid = int((new_rehearsal.home / "postgres" / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid)
    processes = [*server.children(recursive=True), server]
    for process in reversed(processes):  # the server first: it would end its children by itself
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)
    after = new_rehearsal.run("--mode", "trade")

    assert after.exit_code == 0, after.said
    assert after.said["status"] == "done"
