"""Starts and stops the server under a file lock; imported only when something has to be done."""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.embedded_postgres.account import Account, require_entry, server_account
from shared.embedded_postgres.binaries import Binaries, find_binaries, usable_by
from shared.embedded_postgres.creation import (
    create_data,
    create_directory,
    last_lines,
    require_version,
    socket_directory,
)
from shared.embedded_postgres.processes import command_line, is_postmaster
from shared.embedded_postgres.server import (
    SOCKET_NAME,
    Layout,
    PidFile,
    Server,
    attach,
    is_listening,
    read_pid_file,
)
from shared.errors import DatabaseUnavailable

_POLL_SECONDS = 0.01
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "16MB",
    "max_connections": "20",
    "jit": "off",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "autovacuum_max_workers": "1",
    "max_parallel_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
"""For a droplet with 1 GB and one core: 10 MB at rest, six processes, nothing by TCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launch:
    """Everything one start needs to know."""

    layout: Layout
    account: Account
    sockets: Path
    command: tuple[str, ...]


def start(
    layout: Layout, *, environ: Mapping[str, str], durable: bool, timeout_seconds: float
) -> Server:
    """Return the running server, created and started unless another process did so meanwhile."""
    deadline = time.monotonic() + timeout_seconds
    create_directory(layout.directory)
    with _locked(layout, deadline) as lock:
        server = attach(layout)
        if server is not None:
            return server
        account = server_account(layout.data)
        require_entry(account, layout.directory)
        binaries = usable_by(account, find_binaries(environ), layout.binaries)
        if not layout.data.exists():
            create_data(
                layout,
                binaries,
                account,
                durable=durable,
                timeout_seconds=deadline - time.monotonic(),
                lock=lock,
            )
        require_version(layout, binaries)
        sockets = socket_directory(layout, account)
        command = _command(layout, binaries, sockets, durable=durable)
        launch = _Launch(layout=layout, account=account, sockets=sockets, command=command)
        return _bring_up(launch, deadline)


def stop(layout: Layout, *, timeout_seconds: float) -> bool:
    """Stop the server if it runs and wait for its end; True if it ran."""
    deadline = time.monotonic() + timeout_seconds
    if not layout.data.exists():
        return False
    with _locked(layout, deadline):
        claim = _living(layout)
        if claim is None:
            return False
        os.kill(claim.pid, signal.SIGINT)
        while is_postmaster(claim.pid, layout.data):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(_sentence(layout, "did not stop in time"))
            time.sleep(_POLL_SECONDS)
    return True


@contextmanager
def _locked(layout: Layout, deadline: float) -> Generator[int]:
    handle = os.open(layout.lock, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        while not _take(handle):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"another process held {layout.lock} for too long")
            time.sleep(_POLL_SECONDS)
        yield handle
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command(
    layout: Layout, binaries: Binaries, sockets: Path, *, durable: bool
) -> tuple[str, ...]:
    quoted = str(sockets).replace('"', '""')
    settings = {**_SETTINGS, "unix_socket_directories": f'"{quoted}"'}
    if binaries.version >= 18:
        settings["io_method"] = "sync"
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return (str(binaries.directory / "postgres"), "-D", str(layout.data), *options)


def _bring_up(launch: _Launch, deadline: float) -> Server:
    launched: int | None = None
    while time.monotonic() < deadline:
        server = attach(launch.layout)
        if server is not None:
            return server
        claim = _living(launch.layout)
        if claim is not None:
            _end_if_unreachable(claim)
        elif launched is None or not command_line(launched):
            if launched is not None:
                _require_another_attempt(launch.layout)
            _remove_stale_locks(launch)
            launched = _start_process(launch)
        time.sleep(_POLL_SECONDS)
    raise DatabaseUnavailable(_sentence(launch.layout, "did not start in time"))


def _living(layout: Layout) -> PidFile | None:
    claim = read_pid_file(layout.data / "postmaster.pid")
    return claim if claim is not None and is_postmaster(claim.pid, layout.data) else None


def _end_if_unreachable(claim: PidFile) -> None:
    """Stop a server whose socket was deleted under it: nobody new can ever reach it."""
    sockets = claim.socket_directory
    if claim.ready and sockets is not None and not is_listening(sockets):
        os.kill(claim.pid, signal.SIGINT)


def _remove_stale_locks(launch: _Launch) -> None:
    """Remove lock files of a server that is gone, whose number some other process may have by now.

    PostgreSQL would believe such a number. Backends that outlive their postmaster still keep a new one
    away, by the shared memory whose key is the data directory's inode (sysv_shmem.c, PostgreSQL 12).
    """
    pid_file = launch.layout.data / "postmaster.pid"
    claim = read_pid_file(pid_file)
    recorded = claim.socket_directory if claim is not None else None
    for directory in (launch.sockets, recorded or launch.sockets):
        if is_listening(directory):
            raise DatabaseUnavailable(
                f"a PostgreSQL that is none of this machine's processes listens in {directory}; "
                f"stop it where it runs before {launch.layout.data} is used here"
            )
    pid_file.unlink(missing_ok=True)
    (launch.sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _start_process(launch: _Launch) -> int:
    """Start the server as init's child and return its process id.

    By way of a shell that ends at once, because a child of ours would be a zombie when it dies first.
    """
    command = ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *launch.command]
    with launch.account.open_log(launch.layout.log) as log:
        shell = launch.account.run(command, errors=log, timeout_seconds=30)
    if shell.returncode != 0:
        raise DatabaseUnavailable(_sentence(launch.layout, "could not be started"))
    return int(shell.stdout)


def _require_another_attempt(layout: Layout) -> None:
    """Raise DatabaseUnavailable unless the server died only because old backends are still leaving."""
    if "is still in use" not in _tail(layout.log):
        raise DatabaseUnavailable(_sentence(layout, "ended while it was starting"))
    time.sleep(10 * _POLL_SECONDS)


def _sentence(layout: Layout, what: str) -> str:
    free = shutil.disk_usage(layout.directory).free // 1_000_000
    said = _tail(layout.log)
    return f"PostgreSQL in {layout.data} {what} ({free} MB of disk are free); its log ends: {said}"


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 2000))
        return last_lines(stream.read())
