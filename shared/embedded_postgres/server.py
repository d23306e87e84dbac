"""A running server, and the proof that it runs: what `postmaster.pid` says is never simply believed.

Imports nothing slow, since every run of every agent passes through here.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from shared.embedded_postgres.processes import is_postmaster

SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A PostgreSQL that accepted a connection a moment ago."""

    socket_directory: Path
    version: int
    """Major version, for example 18."""
    pid: int
    """Process id of the postmaster."""

    def dsn(self, database: str) -> str:
        """Return a URL for asyncpg and libpq that leaves nothing for PG* variables to decide."""
        options = {
            "host": str(self.socket_directory),
            "port": "5432",
            "sslmode": "disable",
            "target_session_attrs": "any",
            "gsslib": "gssapi",
            "passfile": str(self.socket_directory / "no-passwords"),
        }
        return f"postgresql://postgres@/{quote(database, safe='')}?{urlencode(options, quote_via=quote)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where one embedded server keeps its things."""

    directory: Path
    """Resolved, so that every process writes the same path on the postmaster's command line."""

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.directory / "postgres"

    @property
    def lock(self) -> Path:
        """Held while the server is created, started or stopped, and never by the server."""
        return self.directory / "postgres.lock"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "postgres.log"

    @property
    def binaries(self) -> Path:
        """Copies of binaries that the server's account could not read where they were installed."""
        return self.directory / "postgres-binaries"


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What `postmaster.pid` claims."""

    pid: int
    socket_directory: Path | None
    ready: bool


def read_pid_file(path: Path) -> PidFile | None:
    """Return what a lock file of PostgreSQL claims; None when it is missing, empty or garbage.

    Lines as in PostgreSQL's src/include/utils/pidfile.h: process id, data directory, start time,
    port, socket directory, listen address, shared memory key, status.
    """
    try:
        lines = os.fsdecode(path.read_bytes()).splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdecimal():
        return None
    return PidFile(
        pid=int(lines[0]),
        socket_directory=Path(lines[4]) if len(lines) > 4 and lines[4] else None,
        ready=len(lines) > 7 and lines[7].strip() == "ready",
    )


def attach(layout: Layout) -> Server | None:
    """Return the server if it is up and proven to be ours, else None; takes no lock."""
    claim = read_pid_file(layout.data / "postmaster.pid")
    if claim is None or not claim.ready or claim.socket_directory is None:
        return None
    if not is_postmaster(claim.pid, layout.data) or not is_listening(claim.socket_directory):
        return None
    version = int((layout.data / "PG_VERSION").read_text(encoding="ascii"))
    return Server(socket_directory=claim.socket_directory, version=version, pid=claim.pid)


def is_listening(socket_directory: Path) -> bool:
    """Tell whether some process accepts connections on the socket in this directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(socket_directory / SOCKET_NAME))
        except BlockingIOError:
            return True  # a full backlog: somebody listens, and is busy
        except OSError:
            return False
    return True
