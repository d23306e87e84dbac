import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.clock import ManualClock
from shared.config import LockSettings
from shared.errors import Busy, ConfigError
from shared.lock import GIVES_WAY_TO_CLOSE, HeldFile, hold
from shared.process import started_ticks
from tests.fixtures.postgres import traversable_directory
from tests.fixtures.processes import Child, child, is_stopped, until

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


def hold_here(path: Path) -> contextlib.AbstractContextManager[HeldFile]:
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


HANGS_AT_ONCE = LockSettings(longest_run_seconds=0.001)
IMPATIENT = LockSettings(expired_grace_seconds=0.2, preempt_grace_seconds=0.2, release_seconds=20)
PATIENT = LockSettings(expired_grace_seconds=20, preempt_grace_seconds=20, release_seconds=20)
LONG_AGO = ManualClock(datetime(1999, 1, 1, tzinfo=UTC))
FAR_AHEAD = ManualClock(datetime(2099, 1, 1, tzinfo=UTC))


@contextlib.contextmanager
def running(
    path: Path,
    mode: str,
    *,
    locks: LockSettings = PATIENT,
    clock: ManualClock = CLOCK,
    ignores_term: bool = False,
    forge: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Generator[Child]:
    """Run a process that holds the lock and then does nothing more."""

    def work(say: Callable[[Any], None]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if ignores_term else signal.SIG_DFL)
        with hold(path, agent_id="rehearsal", mode=mode, clock=clock, locks=locks):
            if forge is not None:
                path.write_text(json.dumps(forge(json.loads(path.read_text()))))
            say("held")
            while True:
                signal.pause()

    with child(work) as process:
        assert process.hear() == "held"
        yield process


@contextlib.contextmanager
def bystander() -> Generator[Child]:
    """Run a process that has nothing to do with any lock."""

    def work(say: Callable[[Any], None]) -> None:
        say("there")
        while True:
            signal.pause()

    with child(work) as process:
        assert process.hear() == "there"
        yield process


def succeed(
    path: Path,
    mode: str = "scan",
    *,
    locks: LockSettings = IMPATIENT,
    preempts: Collection[str] = (),
) -> contextlib.AbstractContextManager[HeldFile]:
    return hold(path, agent_id="rehearsal", mode=mode, clock=CLOCK, locks=locks, preempts=preempts)


def close(
    path: Path, locks: LockSettings = IMPATIENT
) -> contextlib.AbstractContextManager[HeldFile]:
    return succeed(path, "close", locks=locks, preempts=GIVES_WAY_TO_CLOSE)


class TestExpiredHolder:
    def test_it_is_asked_to_end_and_its_successor_goes_on(self, path: Path) -> None:
        with running(path, "trade", locks=HANGS_AT_ONCE) as before:
            with succeed(path, locks=PATIENT) as held:
                (ended,) = held.ended

            assert before.wait() == -signal.SIGTERM
        assert ended.holder.pid == before.pid
        assert not ended.was_killed
        assert str(ended).endswith("was ended: its lease had ended")

    def test_one_that_hangs_on_is_killed(self, path: Path) -> None:
        with running(path, "trade", locks=HANGS_AT_ONCE, ignores_term=True) as before:
            with succeed(path) as held:
                assert [ended.was_killed for ended in held.ended] == [True]

            assert before.wait() == -signal.SIGKILL

    def test_one_that_is_stopped_is_killed(self, path: Path) -> None:
        with running(path, "trade", locks=HANGS_AT_ONCE) as before:
            before.send(signal.SIGSTOP)
            until(lambda: is_stopped(before.pid))
            with succeed(path) as held:
                assert [ended.was_killed for ended in held.ended] == [True]

            assert before.wait() == -signal.SIGKILL

    def test_of_many_successors_one_goes_on(self, path: Path) -> None:
        def work(say: Callable[[Any], None]) -> None:
            try:
                with succeed(path):
                    say("held")
                    while True:
                        signal.pause()
            except Busy as error:
                say(str(error))

        with (
            running(path, "trade", locks=HANGS_AT_ONCE, ignores_term=True),
            contextlib.ExitStack() as stack,
        ):
            successors = [stack.enter_context(child(work)) for _ in range(5)]
            said = sorted(one.hear() for one in successors)

        assert said.count("held") == 1
        assert all("another run of rehearsal holds the lock" in text for text in said[:4])

    @pytest.mark.parametrize("clock", [LONG_AGO, FAR_AHEAD], ids=["long ago", "far ahead"])
    def test_a_wall_clock_that_jumps_kills_no_healthy_one(
        self, path: Path, clock: ManualClock
    ) -> None:
        with running(path, "trade", clock=clock) as healthy:
            with pytest.raises(Busy, match=f"mode trade, pid {healthy.pid}"), succeed(path):
                pytest.fail("the lock was given twice")

            assert healthy.is_alive()

    @pytest.mark.parametrize("clock", [LONG_AGO, FAR_AHEAD], ids=["long ago", "far ahead"])
    def test_a_wall_clock_that_jumps_keeps_no_expired_one(
        self, path: Path, clock: ManualClock
    ) -> None:
        with (
            running(path, "trade", clock=clock, locks=HANGS_AT_ONCE),
            succeed(path) as held,
        ):
            assert len(held.ended) == 1

    def test_a_lease_of_an_earlier_boot_says_nothing(self, path: Path) -> None:
        with running(
            path, "trade", locks=HANGS_AT_ONCE, forge=lambda said: said | {"boot_id": "earlier"}
        ) as holder:
            with pytest.raises(Busy), succeed(path):
                pytest.fail("the lock was given twice")

            assert holder.is_alive()

    def test_a_process_that_only_has_its_number_is_not_hit(self, path: Path) -> None:
        with (
            bystander() as other,
            running(path, "trade", locks=HANGS_AT_ONCE, forge=lambda said: said | {"pid": other.pid})
            as holder,
        ):  # fmt: skip
            with pytest.raises(Busy, match="has not said which"), succeed(path):
                pytest.fail("the lock was given twice")

            assert other.is_alive()
            assert holder.is_alive()

    def test_a_file_that_names_somebody_who_does_not_hold_it_hits_nobody(self, path: Path) -> None:
        with succeed(path, locks=HANGS_AT_ONCE):
            said = json.loads(path.read_text())
        with bystander() as other:
            ticks = started_ticks(other.pid)
            path.write_text(json.dumps(said | {"pid": other.pid, "process_started_ticks": ticks}))
            with succeed(path) as held:
                assert held.ended == ()

            assert other.is_alive()

    def test_a_process_does_not_kill_itself(self, path: Path) -> None:
        with (
            succeed(path, locks=HANGS_AT_ONCE),
            pytest.raises(Busy, match=f"pid {os.getpid()}"),
            succeed(path),
        ):
            pytest.fail("the lock was given twice")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_another_users_process_is_left_to_a_person(self, open_path: Path) -> None:
        def work(say: Callable[[Any], None]) -> None:
            os.setuid(65534)
            try:
                with succeed(open_path):
                    say("held")
            except Busy as error:
                say(str(error))

        with running(open_path, "trade", locks=HANGS_AT_ONCE) as holder:
            open_path.chmod(0o666)
            with child(work) as successor:
                said = successor.hear()

            assert holder.is_alive()
        assert said.endswith(
            "its lease had ended, but it belongs to another user and cannot be ended from here"
        )


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A lock file where every user can reach it."""
    with traversable_directory() as directory:
        yield directory / "rehearsal.lock"


class TestPreemption:
    @pytest.mark.parametrize("mode", sorted(GIVES_WAY_TO_CLOSE))
    def test_close_asks_who_gives_way_to_end(self, path: Path, mode: str) -> None:
        with running(path, mode) as before:
            with close(path, PATIENT) as held:
                (ended,) = held.ended

            assert before.wait() == -signal.SIGTERM
        assert str(ended).endswith("was ended: close mode needed the lock")

    def test_close_kills_who_does_not_end_in_time(self, path: Path) -> None:
        with running(path, "trade", ignores_term=True) as before:
            with close(path) as held:
                assert [ended.was_killed for ended in held.ended] == [True]

            assert before.wait() == -signal.SIGKILL

    @pytest.mark.parametrize("mode", ["close", "flatten", "startup"])
    def test_close_does_not_end_what_does_not_give_way(self, path: Path, mode: str) -> None:
        with running(path, mode) as holder:
            with pytest.raises(Busy, match=f"mode {mode}"), close(path):
                pytest.fail("the lock was given twice")

            assert holder.is_alive()

    @pytest.mark.parametrize("mode", ["trade", "scan", "heartbeat", "flatten"])
    def test_nothing_else_ends_anybody(self, path: Path, mode: str) -> None:
        with running(path, "trade") as holder:
            with pytest.raises(Busy, match="mode trade"), succeed(path, mode):
                pytest.fail("the lock was given twice")

            assert holder.is_alive()


class TestWhatBecomesOfTheFile:
    def test_while_it_is_held_nothing(self, path: Path) -> None:
        with hold_here(path) as held:
            assert held.problem() is None

    def test_a_removed_one_is_noticed(self, path: Path) -> None:
        with hold_here(path) as held:
            path.unlink()

            assert held.problem() == f"the lock file {path} was removed while the run held it"

    def test_a_replaced_one_is_noticed_also_when_another_holds_it(self, path: Path) -> None:
        with hold_here(path) as held:
            path.unlink()
            with hold_here(path) as other:
                assert other.problem() is None
                assert held.problem() == f"the lock file {path} was replaced while the run held it"
            assert other.path.stat().st_size == 0

    def test_a_directory_that_cannot_be_looked_into_is_noticed(self, path: Path) -> None:
        with hold_here(path) as held:
            moved = path.parent.rename(path.parent.with_name("moved"))
            path.parent.write_text("no directory")
            problem = held.problem()
            path.parent.unlink()
            moved.rename(path.parent)

        assert problem == f"the lock file {path} cannot be looked at: Not a directory"
