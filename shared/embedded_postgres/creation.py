"""Creates what a server needs on disk: its directory, its data, and a place for its socket."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from shared.embedded_postgres.account import Account
from shared.embedded_postgres.binaries import Binaries
from shared.embedded_postgres.server import SOCKET_NAME, Layout
from shared.errors import ConfigError, DatabaseUnavailable

_SOCKET_PATH_BYTES = 107
"""The longest path in Linux's sockaddr_un, without its final NUL; macOS has 103."""


def create_directory(directory: Path) -> None:
    """Create what is missing so that another account may pass through; what exists is left alone."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)


def create_data(
    layout: Layout,
    binaries: Binaries,
    account: Account,
    *,
    durable: bool,
    timeout_seconds: float,
    lock: int,
) -> None:
    """Run initdb beside the data directory's place and move the result there when it is complete.

    initdb inherits the lock, so that nobody clears up under it when we are killed before it ends.
    Raises DatabaseUnavailable with what initdb said.
    """
    for abandoned in layout.directory.glob("postgres-unfinished-*"):
        shutil.rmtree(abandoned)
    unfinished = Path(tempfile.mkdtemp(prefix="postgres-unfinished-", dir=layout.directory))
    account.give(unfinished)
    try:
        command = _initdb(binaries, unfinished, durable=durable)
        result = account.run(
            command,
            errors=subprocess.STDOUT,
            timeout_seconds=timeout_seconds,
            inherited=(lock,),
        )
        if result.returncode != 0:
            free = shutil.disk_usage(layout.directory).free // 1_000_000
            raise DatabaseUnavailable(
                f"initdb could not create {layout.data} ({free} MB of disk are free), "
                f"it said: {last_lines(result.stdout)}"
            )
        unfinished.rename(layout.data)
        _make_lasting(layout.directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_version(layout: Layout, binaries: Binaries) -> None:
    """Raise ConfigError when another major version, or something else, made the data directory."""
    try:
        version = (layout.data / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError as e:
        raise ConfigError(f"{layout.data} exists, but PostgreSQL did not make it") from e
    if version != str(binaries.version):
        raise ConfigError(
            f"{layout.data} was made by PostgreSQL {version}, and {binaries.directory} holds "
            f"{binaries.version}; set CATALYST_POSTGRES_BIN to a PostgreSQL {version}"
        )


def socket_directory(layout: Layout, account: Account) -> Path:
    """Return an existing directory that only the account and root may enter.

    Beside the data, or in /tmp when that path is too long for a socket; not in $XDG_RUNTIME_DIR, which
    cron does not have and which vanishes under a running server at logout. Raises ConfigError when
    somebody else sits on the name.
    """
    directory = layout.directory / "postgres-socket"
    path = os.fsencode(directory / SOCKET_NAME)
    if len(path) > _SOCKET_PATH_BYTES or b"," in path:
        digest = hashlib.sha256(os.fsencode(layout.data)).hexdigest()
        directory = Path("/tmp") / f"catalyst-{digest[:16]}"  # noqa: S108 -- its owner is verified
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        _require_private(directory, account)
    else:
        account.give(directory)
    return directory


def last_lines(output: bytes) -> str:
    """Return the end of a program's output, to stand in one sentence."""
    return " | ".join(output.decode(errors="replace").splitlines()[-8:])


def _initdb(binaries: Binaries, data: Path, *, durable: bool) -> tuple[str, ...]:
    return (
        str(binaries.directory / "initdb"),
        f"--pgdata={data}",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
        *(() if durable else ("--no-sync",)),
    )


def _make_lasting(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require_private(directory: Path, account: Account) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise ConfigError(
            f"{directory} must be a directory of user {account.uid} that nobody else may enter, "
            f"and is not; remove it"
        )
