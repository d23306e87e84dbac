import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.database.connection import Connection, connect
from shared.embedded_postgres import Server
from shared.errors import Busy, ConfigError, DatabaseUnavailable
from shared.lock import advisory_key, hold, hold_advisory

PROJECT = Path(__file__).resolve().parents[2]
CLOCK = ManualClock(datetime(2026, 6, 15, 14, 0, 5, tzinfo=UTC))
HOLDER = """\
import subprocess, sys, time
from datetime import UTC, datetime
from pathlib import Path
from shared.clock import ManualClock
from shared.lock import hold
clock = ManualClock(datetime(2026, 6, 15, 13, 30, tzinfo=UTC))
with hold(Path(sys.argv[1]), agent_id="rehearsal", mode="trade", clock=clock):
    if len(sys.argv) > 2:
        child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(path: Path, *more: str) -> Generator[subprocess.Popen[str]]:
    """Run another process that holds the lock until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), *more],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def hold_here(path: Path) -> contextlib.AbstractContextManager[None]:
    return hold(path, agent_id="rehearsal", mode="scan", clock=CLOCK)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "rehearsal.lock"


class TestLockFile:
    def test_another_process_is_told_who_holds_the_lock(self, path: Path) -> None:
        with holder(path) as process:
            assert line_of(process) == "held"
            with pytest.raises(Busy) as caught, hold_here(path):
                pytest.fail("the lock was given twice")

        assert str(caught.value) == (
            "another run of rehearsal holds the lock: "
            f"mode trade, pid {process.pid}, since 2026-06-15T13:30:00Z"
        )

    def test_the_same_process_cannot_take_it_twice(self, path: Path) -> None:
        with hold_here(path):
            with pytest.raises(Busy, match=f"mode scan, pid {os.getpid()}, since"), hold_here(path):
                pytest.fail("the lock was given twice")
            with pytest.raises(Busy), hold_here(path):
                pytest.fail("the failed attempt let it go")

    def test_it_can_be_taken_again_after_the_end_and_after_an_error(self, path: Path) -> None:
        with pytest.raises(LookupError), hold_here(path):
            raise LookupError
        inode = path.stat().st_ino
        with hold_here(path):
            pass

        assert path.stat().st_ino == inode
        assert path.read_bytes() == b""

    def test_a_killed_process_lets_it_go_and_its_name_is_not_used_again(self, path: Path) -> None:
        with holder(path) as process:
            assert line_of(process) == "held"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert b'"mode": "trade"' in path.read_bytes()
            with hold_here(path), pytest.raises(Busy, match="mode scan"), hold_here(path):
                pytest.fail("the lock was given twice")

    def test_a_child_that_outlives_its_parent_does_not_keep_it(self, path: Path) -> None:
        with holder(path, "with a child") as process:
            child = int(line_of(process))
            try:
                assert line_of(process) == "held"
                process.send_signal(signal.SIGKILL)
                process.wait()
                os.kill(child, 0)
                with hold_here(path):
                    pass
            finally:
                os.kill(child, signal.SIGKILL)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            '{"pid": ',
            "[]",
            "null",
            "\x00\x00",
            '{"pid": 1}',
            '{"pid": "x", "mode": "trade", "since": "?"}',
            '{"pid": 999999999, "process_started_ticks": 1, "mode": "trade", "since": "?"}',
        ],
    )
    def test_a_torn_file_still_gives_a_sentence(self, path: Path, text: str) -> None:
        with hold_here(path):
            path.write_text(text)
            with pytest.raises(Busy) as caught, hold_here(path):
                pytest.fail("the lock was given twice")

        assert (
            str(caught.value) == "another run of rehearsal holds the lock, and has not said which"
        )

    def test_a_file_that_cannot_be_opened_is_for_the_operator(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ConfigError, match="cannot be opened: Is a directory"),
            hold_here(tmp_path),
        ):
            pytest.fail("a directory is no lock")

    def test_a_full_disk_costs_only_the_description(self, path: Path) -> None:
        program = HOLDER.replace(
            "with hold", "import resource, signal\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
            "with hold"
        )  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert line_of(process) == "held"
            with pytest.raises(Busy, match="has not said which"), hold_here(path):
                pytest.fail("the lock was given twice")
            process.communicate()

        assert process.returncode == 0

    def test_of_many_that_start_at_once_one_runs(self, path: Path) -> None:
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(holder(path)) for _ in range(6)]
            for process in running:
                assert process.stdin
            said = [line_of(process) for process in running]

        assert sorted(said) == ["", "", "", "", "", "held"]


@pytest.fixture
async def connections(postgres_server: Server) -> AsyncIterator[tuple[Connection, Connection]]:
    url = postgres_server.dsn("postgres")
    pair = [
        await connect(url, application_name="test_lock", command_timeout_seconds=10)
        for _ in range(2)
    ]
    yield pair[0], pair[1]
    for connection in pair:
        connection.terminate()


class TestAdvisoryLock:
    async def test_a_second_session_is_told_who_holds_it(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        async with hold_advisory(first, "rehearsal"):
            with pytest.raises(Busy) as caught:
                async with hold_advisory(second, "rehearsal"):
                    pytest.fail("the lock was given twice")
            async with hold_advisory(second, "another_agent"):
                pass

        assert str(caught.value).startswith(
            f"another run of rehearsal holds the database's lock: pid {first.get_server_pid()}"
        )
        async with hold_advisory(second, "rehearsal"):
            pass

    async def test_a_connection_that_is_lost_lets_it_go(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        async with hold_advisory(first, "rehearsal"):
            await second.execute("SELECT pg_terminate_backend($1)", first.get_server_pid())
            async with asyncio.timeout(10):
                while await second.fetchval(
                    "SELECT true FROM pg_stat_activity WHERE pid = $1", first.get_server_pid()
                ):
                    pass
            async with hold_advisory(second, "rehearsal"):
                pass

    async def test_an_error_inside_lets_it_go_and_passes(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        with pytest.raises(LookupError):
            async with hold_advisory(first, "rehearsal"):
                raise LookupError
        async with hold_advisory(second, "rehearsal"):
            pass

    async def test_a_closed_connection_is_an_unavailable_database(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, _ = connections
        await first.close()
        with pytest.raises(DatabaseUnavailable):
            async with hold_advisory(first, "rehearsal"):
                pytest.fail("there was nobody to give the lock")


def test_the_advisory_key_is_the_same_on_every_machine_and_fits_a_bigint() -> None:
    program = "from shared.lock import advisory_key; print(advisory_key('rehearsal'))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(elsewhere.stdout) == advisory_key("rehearsal") == -3603678004888134892
    assert advisory_key("rehearsal") != advisory_key("dev_claude")
    assert -(2**63) <= advisory_key("rehearsal") < 2**63
