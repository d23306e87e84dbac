import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.agent_lock import advisory_key, hold_advisory, hold_agent, tell_of_ended
from shared.clock import ManualClock
from shared.database.connection import Connection, connect
from shared.database.fences import Role, require_newest
from shared.embedded_postgres import Server
from shared.errors import Busy, DatabaseUnavailable, LockLost
from shared.lease import Cause, Ended, holder_now
from shared.lock import HeldFile, hold

PROJECT = Path(__file__).resolve().parents[2]
CLOCK = ManualClock(datetime(2026, 6, 15, 14, 0, 5, tzinfo=UTC))


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
        async with hold_advisory(first, "rehearsal", Role.CYCLE):
            with pytest.raises(Busy) as caught:
                async with hold_advisory(second, "rehearsal", Role.CYCLE):
                    pytest.fail("the lock was given twice")
            async with hold_advisory(second, "another_agent", Role.CYCLE):
                pass

        assert str(caught.value).startswith(
            f"another run of rehearsal holds the database's lock: pid {first.get_server_pid()}"
        )
        async with hold_advisory(second, "rehearsal", Role.CYCLE):
            pass

    async def test_a_connection_that_is_lost_lets_it_go(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        async with hold_advisory(first, "rehearsal", Role.CYCLE):
            await second.execute("SELECT pg_terminate_backend($1)", first.get_server_pid())
            async with asyncio.timeout(10):
                while await second.fetchval(
                    "SELECT true FROM pg_stat_activity WHERE pid = $1", first.get_server_pid()
                ):
                    pass
            async with hold_advisory(second, "rehearsal", Role.CYCLE):
                pass

    async def test_an_error_inside_lets_it_go_and_passes(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        with pytest.raises(LookupError):
            async with hold_advisory(first, "rehearsal", Role.CYCLE):
                raise LookupError
        async with hold_advisory(second, "rehearsal", Role.CYCLE):
            pass

    async def test_a_closed_connection_is_an_unavailable_database(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, _ = connections
        await first.close()
        with pytest.raises(DatabaseUnavailable):
            async with hold_advisory(first, "rehearsal", Role.CYCLE):
                pytest.fail("there was nobody to give the lock")

    async def test_a_monitor_runs_beside_cycles(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        async with (
            hold_advisory(first, "rehearsal", Role.CYCLE),
            hold_advisory(second, "rehearsal", Role.MONITOR),
        ):
            with pytest.raises(Busy):
                async with hold_advisory(first, "rehearsal", Role.MONITOR):
                    pytest.fail("the lock was given twice")

    async def test_one_that_is_about_to_be_free_is_waited_for(
        self, connections: tuple[Connection, Connection]
    ) -> None:
        first, second = connections
        got = asyncio.Event()

        async def succeed() -> None:
            async with hold_advisory(second, "rehearsal", Role.CYCLE, wait_seconds=30):
                got.set()

        async with hold_advisory(first, "rehearsal", Role.CYCLE):
            waiting = asyncio.create_task(succeed())
            while not await first.fetchval(
                "SELECT query LIKE '%try_advisory%' FROM pg_stat_activity WHERE pid = $1",
                second.get_server_pid(),
            ):
                pass
            assert not got.is_set()
        await waiting

        assert got.is_set()


def test_the_advisory_key_is_the_same_on_every_machine_and_fits_a_bigint() -> None:
    program = (
        "from shared.agent_lock import advisory_key; from shared.database.fences import Role;"
        " print(advisory_key('rehearsal', Role.CYCLE))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    key = advisory_key("rehearsal", Role.CYCLE)

    assert int(elsewhere.stdout) == key == -3603678004888134892
    assert key != advisory_key("dev_claude", Role.CYCLE)
    assert key != advisory_key("rehearsal", Role.MONITOR)
    assert -(2**63) <= key < 2**63


@pytest.fixture
async def lock_connection(trading_database_url: str) -> AsyncIterator[Connection]:
    """A connection for the lock alone, beside the one that everything else uses."""
    connection = await connect(
        trading_database_url, application_name="test lock", command_timeout_seconds=10
    )
    yield connection
    connection.terminate()


class Run:
    """What a run does under the lock: nothing, until it is ended."""

    def __init__(self, lock: Connection, file: HeldFile | None = None) -> None:
        self.lock = lock
        self.file = file
        self.holds = asyncio.Event()
        self.why: tuple[object, ...] = ()

    async def play(self, *, swallows: bool = False) -> str:
        async with hold_agent(
            self.lock,
            agent_id="rehearsal",
            role=Role.CYCLE,
            mode="trade",
            clock=CLOCK,
            file=self.file,
        ):
            self.holds.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                self.why = error.args
                if not swallows:
                    raise
            return "its end is written"


class TestWatch:
    async def test_a_run_whose_lock_connection_is_terminated_ends(
        self, lock_connection: Connection, trading_connection: Connection
    ) -> None:
        run = Run(lock_connection)
        playing = asyncio.create_task(run.play())
        await run.holds.wait()
        pid = lock_connection.get_server_pid()
        await trading_connection.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(LockLost) as caught:
            async with asyncio.timeout(20):
                await playing

        assert str(caught.value) == (
            "the lock of rehearsal was lost: the connection that held it has ended"
        )

    @pytest.mark.parametrize("way", ["removed", "replaced"])
    async def test_a_run_whose_lock_file_is_taken_away_ends(
        self, way: str, lock_connection: Connection, tmp_path: Path
    ) -> None:
        path = tmp_path / "rehearsal.lock"
        with hold(path, agent_id="rehearsal", mode="trade", clock=CLOCK) as file:
            run = Run(lock_connection, file)
            playing = asyncio.create_task(run.play())
            await run.holds.wait()
            path.unlink()
            if way == "replaced":
                path.touch()
            with pytest.raises(LockLost, match=f"rehearsal.lock was {way} while"):
                async with asyncio.timeout(20):
                    await playing

    async def test_who_is_ended_is_told_why_and_may_write_its_end(
        self, lock_connection: Connection, trading_connection: Connection
    ) -> None:
        run = Run(lock_connection)
        playing = asyncio.create_task(run.play(swallows=True))
        await run.holds.wait()
        pid = lock_connection.get_server_pid()
        await trading_connection.execute("SELECT pg_terminate_backend($1)", pid)
        async with asyncio.timeout(20):
            ended_with = await playing

        assert ended_with == "its end is written"
        assert [type(why) for why in run.why] == [LockLost]

    async def test_a_server_that_does_not_answer_any_more_ends_the_run(
        self, trading_database_url: str, trading_connection: Connection
    ) -> None:
        lock = await connect(
            trading_database_url, application_name="test lock", command_timeout_seconds=0.5
        )
        run = Run(lock)
        playing = asyncio.create_task(run.play())
        await run.holds.wait()
        pid = lock.get_server_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(LockLost, match="the database went away"):
                async with asyncio.timeout(30):
                    await playing
        finally:
            os.kill(pid, signal.SIGCONT)
            lock.terminate()

    async def test_a_cancellation_from_outside_stays_one(self, lock_connection: Connection) -> None:
        run = Run(lock_connection)
        playing = asyncio.create_task(run.play())
        await run.holds.wait()
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing

        assert run.why == ()

    async def test_an_end_in_peace_lets_go_and_fences_nobody_off(
        self, lock_connection: Connection, trading_connection: Connection
    ) -> None:
        tokens: list[int] = []
        for _ in range(2):
            async with hold_agent(
                lock_connection, agent_id="rehearsal", role=Role.CYCLE, mode="scan", clock=CLOCK
            ) as sender:
                await require_newest(trading_connection, agent_id="rehearsal", sender=sender)
                tokens.append(sender.token)

        assert tokens == [1, 2]
        assert not lock_connection.is_closed()

    async def test_the_roles_have_tokens_of_their_own(
        self, lock_connection: Connection, trading_connection: Connection
    ) -> None:
        async with (
            hold_agent(
                lock_connection, agent_id="rehearsal", role=Role.CYCLE, mode="scan", clock=CLOCK
            ) as cycle,
            hold_agent(
                trading_connection, agent_id="rehearsal", role=Role.MONITOR, mode="x", clock=CLOCK
            ) as monitor,
        ):
            assert (cycle.token, monitor.token) == (1, 1)


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (Cause.EXPIRED, [("a trade run hung and was ended", "warning")]),
        (Cause.PREEMPTED, []),
    ],
)
async def test_a_person_is_told_once_of_a_run_that_hung(
    cause: Cause, told: list[tuple[str, str]], trading_connection: Connection, tmp_path: Path
) -> None:
    holder = holder_now(
        pid=77, ticks=5, mode="trade", lease_seconds=600, now=CLOCK.now(), since_boot=None
    )
    ended = Ended(holder=holder, cause=cause, was_killed=False)
    file = HeldFile(
        path=tmp_path / "a.lock", descriptor=-1, mode="trade", lease_seconds=600, ended=(ended,)
    )
    for _ in range(2):
        await tell_of_ended(trading_connection, file, agent_id="rehearsal", at=CLOCK.now())
    rows = await trading_connection.fetch("SELECT subject, severity, body FROM alerts")

    assert [(row["subject"], row["severity"]) for row in rows] == told
    assert all("its lease ended 2026-06-15T14:10:05Z" in row["body"] for row in rows)
