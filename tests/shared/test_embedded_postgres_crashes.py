import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from shared.embedded_postgres import Server, create_database, ensure_running, status, stop
from shared.embedded_postgres.account import server_account
from shared.embedded_postgres.processes import _command_line_by_ps, command_line, is_postmaster
from shared.embedded_postgres.server import read_pid_file
from shared.errors import DatabaseUnavailable
from shared.paths import PROJECT

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
START_AND_WAIT = """
import sys
from pathlib import Path
from shared.embedded_postgres import ensure_running
ensure_running(Path(sys.argv[1]), environ={})
sys.stdout.write("started\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with PostgreSQL."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def start_process(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "shared.embedded_postgres", "start", "--directory", str(directory)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_at_once(directory: Path, count: int) -> set[str]:
    """Start from many processes at once and return the different things they said."""
    processes = [start_process(directory) for _ in range(count)]
    said = {process.communicate(timeout=120)[0] for process in processes}

    assert [process.returncode for process in processes] == [0] * count, said
    return said


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    while any(command_line(pid) for pid in pids):
        time.sleep(0.001)


def claim_pid(directory: Path, pid: int) -> None:
    """Leave the lock files that a crash leaves, with a process id that somebody else has now."""
    for path in (
        directory / "postgres" / "postmaster.pid",
        directory / "postgres-socket" / ".s.PGSQL.5432.lock",
    ):
        _, _, rest = path.read_text().partition("\n")
        path.write_text(f"{pid}\n{rest}")


async def remember(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=10)
    await connection.execute("create table kept as select 42 as n")
    await connection.close()


async def recall(server: Server) -> object:
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=10)
    try:
        return await connection.fetchval("select n from kept")
    finally:
        await connection.close()


def test_eight_processes_that_need_a_new_server_get_the_same(empty_home: Path) -> None:
    assert len(start_at_once(empty_home, 8)) == 1
    assert not list(empty_home.glob("postgres-unfinished-*"))


def test_thirty_processes_that_find_it_stopped_get_the_same(home: Path) -> None:
    assert len(start_at_once(home, 30)) == 1


@LINUX
async def test_committed_rows_survive_the_killing_of_every_process(home: Path) -> None:
    server = ensure_running(home, environ={})
    await remember(server)
    kill(server.pid, *children(server.pid))

    assert status(home) is None
    again = ensure_running(home, environ={})
    assert again.pid != server.pid
    assert await recall(again) == 42


@LINUX
@pytest.mark.parametrize("stranger", ["a bystander", "init", "ourselves"])
async def test_a_process_id_that_others_have_by_now_is_not_believed(
    home: Path, bystander: subprocess.Popen[bytes], stranger: str
) -> None:
    server = ensure_running(home, environ={})
    await remember(server)
    kill(server.pid, *children(server.pid))
    claim_pid(home, {"a bystander": bystander.pid, "init": 1, "ourselves": os.getpid()}[stranger])

    assert status(home) is None
    assert not stop(home)
    assert await recall(ensure_running(home, environ={})) == 42
    assert bystander.poll() is None


@LINUX
def test_a_dead_postmaster_that_nobody_reaped_is_not_believed(home: Path) -> None:
    account = server_account(home / "postgres")
    server = ensure_running(home, environ={})
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    stop(home)
    with (home / "postgres.log").open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, **account._identity())
    while (server := status(home)) is None:
        assert child.poll() is None
    assert server.pid == child.pid
    kill(child.pid, *children(child.pid))
    os.kill(child.pid, 0)

    assert status(home) is None
    assert ensure_running(home, environ={}).pid != child.pid
    child.wait()


@LINUX
@pytest.mark.parametrize("content", [b"", b"\n", b"\0\xff\xfe", b"abc\n", b"-5\n", b"9" * 30])
def test_a_garbled_pid_file_is_replaced(home: Path, content: bytes) -> None:
    (home / "postgres" / "postmaster.pid").write_bytes(content)

    assert status(home) is None
    assert ensure_running(home, environ={}) == status(home)


@LINUX
async def test_a_backend_that_outlives_its_postmaster_keeps_a_new_server_away(home: Path) -> None:
    server = ensure_running(home, environ={})
    await remember(server)
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=10)
    backend = await connection.fetchval("select pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    try:
        kill(server.pid)
        with pytest.raises(DatabaseUnavailable, match=r"did not start in time .*is still in use"):
            ensure_running(home, environ={}, timeout_seconds=1)
    finally:
        os.kill(backend, signal.SIGCONT)

    assert await recall(ensure_running(home, environ={})) == 42
    connection.terminate()


def test_what_a_broken_off_creation_left_behind_is_removed(empty_home: Path) -> None:
    leftover = empty_home / "postgres-unfinished-x7"
    (leftover / "base").mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18\n")
    ensure_running(empty_home, environ={}, durable=False)

    assert not leftover.exists()


@LINUX
def test_a_starter_killed_during_creation_leaves_nothing_half_made(empty_home: Path) -> None:
    with start_process(empty_home) as starter:
        while not list(empty_home.glob("postgres-unfinished-*/PG_VERSION")):
            assert starter.poll() is None
        starter.kill()
    assert not (empty_home / "postgres").exists()

    assert ensure_running(empty_home, environ={}, durable=False) == status(empty_home)
    assert not list(empty_home.glob("postgres-unfinished-*"))


def test_interrupting_the_process_that_started_it_leaves_the_server_up(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(home)],
        cwd=PROJECT,
        process_group=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        os.killpg(starter.pid, signal.SIGINT)
        assert starter.wait(timeout=10) != 0
    server = status(home)

    assert server is not None
    assert asyncio.run(create_database(server, "after"))


async def test_a_server_whose_socket_was_deleted_is_replaced(home: Path) -> None:
    server = ensure_running(home, environ={})
    await remember(server)
    (server.socket_directory / ".s.PGSQL.5432").unlink()

    assert status(home) is None
    again = ensure_running(home, environ={})
    assert again.pid != server.pid
    assert await recall(again) == 42


def test_a_server_that_is_none_of_our_processes_is_left_alone(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    server = ensure_running(home, environ={})
    stop(home)
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind(str(server.socket_directory / ".s.PGSQL.5432"))
        elsewhere.listen()
        pid_file = home / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{bystander.pid}\n\n0\n5432\n{server.socket_directory}\n\n\nready\n")
        with pytest.raises(DatabaseUnavailable, match="none of this machine's processes"):
            ensure_running(home, environ={})

        assert pid_file.exists()


def test_another_data_directorys_postmaster_is_not_ours(home: Path) -> None:
    server = ensure_running(home, environ={})

    assert is_postmaster(server.pid, home / "postgres")
    assert not is_postmaster(server.pid, home / "postgre")
    assert not is_postmaster(server.pid, home / "postgres2")
    assert not is_postmaster(os.getpid(), home / "postgres")


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="/bin/ps does not exist")
def test_without_proc_the_process_list_says_the_same(
    bystander: subprocess.Popen[bytes],
) -> None:
    assert _command_line_by_ps(bystander.pid) == "sleep 60" == command_line(bystander.pid)
    os.kill(bystander.pid, signal.SIGKILL)
    os.waitid(os.P_PID, bystander.pid, os.WEXITED | os.WNOWAIT)

    assert _command_line_by_ps(bystander.pid) == "" == command_line(bystander.pid)


def test_a_pid_file_still_being_written_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "postmaster.pid"
    whole = "17\n/data\n1700000000\n5432\n/sockets\n\n 123 456\nready   \n"
    for length in range(len(whole) - len("ready   \n")):
        path.write_text(whole[:length])
        claim = read_pid_file(path)
        assert claim is None or not claim.ready
    path.write_text(whole)
    claim = read_pid_file(path)

    assert claim is not None
    assert claim.ready
    assert (claim.pid, claim.socket_directory) == (17, Path("/sockets"))
