"""Is it up, bring it up, take it down: safe from many processes at once, and after any crash.

What is slow to import waits until a server really has to be started or stopped.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.embedded_postgres.server import Layout, Server, attach
from shared.errors import ConfigError, DatabaseUnavailable

_LOG_BYTES = 8_000_000


def ensure_running(
    directory: Path,
    *,
    environ: Mapping[str, str],
    durable: bool = True,
    timeout_seconds: float = 100.0,
) -> Server:
    """Return the server of this directory, started (and created) if need be; it outlives the caller.

    `environ` is asked for CATALYST_POSTGRES_BIN only. `durable=False` turns fsync off, for tests; a
    server that already runs is returned as it is.
    Raises ConfigError where the operator must act and DatabaseUnavailable for all else.
    """
    layout = Layout(directory=directory.resolve())
    with _translated(layout):
        server = attach(layout)
        if server is None:
            from shared.embedded_postgres import (
                supervisor,
            )  # subprocess and the like, rarely needed

            server = supervisor.start(
                layout, environ=environ, durable=durable, timeout_seconds=timeout_seconds
            )
        _bound(layout.log)
    return server


def status(directory: Path) -> Server | None:
    """Return the server if it runs and accepts connections, else None; starts nothing."""
    layout = Layout(directory=directory.resolve())
    with _translated(layout):
        return attach(layout)


def stop(directory: Path, *, timeout_seconds: float = 60.0) -> bool:
    """Stop the server, ending its connections, and wait for it; False if it was not running.

    Raises DatabaseUnavailable when it is still there at the end of the time.
    """
    from shared.embedded_postgres import supervisor

    layout = Layout(directory=directory.resolve())
    with _translated(layout):
        return supervisor.stop(layout, timeout_seconds=timeout_seconds)


def _bound(log: Path) -> None:
    """Empty an overlong log; the server appends, so it goes on at the beginning."""
    if log.exists() and log.lstat().st_size > _LOG_BYTES:
        os.close(os.open(log, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))


@contextmanager
def _translated(layout: Layout) -> Generator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as e:
        raise ConfigError(f"PostgreSQL in {layout.directory} is not for us to run: {e}") from e
    except OSError as e:
        raise DatabaseUnavailable(f"PostgreSQL in {layout.directory} cannot be run: {e}") from e
