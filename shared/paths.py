"""Where the project lies and where Catalyst keeps its data on this machine."""

import os
from collections.abc import Mapping
from pathlib import Path

from shared.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: the directory that holds unified_agent.py."""


def data_directory(environ: Mapping[str, str], *, user_id: int | None = None) -> Path:
    """Return the absolute directory for everything that outlives a run; it need not exist yet.

    `CATALYST_HOME` where it is set, else `/var/lib/catalyst` for root (whose home other users cannot
    enter), else the user's data directory by the XDG base directory specification or its equivalent.
    `user_id` is the process's effective one unless it is given; 0 is root.
    Raises ConfigError when `CATALYST_HOME` is not absolute.
    """
    chosen = environ.get("CATALYST_HOME")
    if chosen:
        return _absolute(chosen)
    if (os.geteuid() if user_id is None else user_id) == 0:
        return Path("/var/lib/catalyst")
    base = environ.get("XDG_DATA_HOME", "")
    if base.startswith("/"):
        return Path(base) / "catalyst"
    import platformdirs  # costs as much as all else that a run with nothing to do imports here

    return platformdirs.user_data_path("catalyst", appauthor=False)


def log_base(environ: Mapping[str, str]) -> Path:
    """Return what `logging.directory` is relative to: the project, or `CATALYST_HOME` where it is set."""
    return data_directory(environ) if environ.get("CATALYST_HOME") else PROJECT


def _absolute(chosen: str) -> Path:
    try:
        path = Path(chosen).expanduser()
    except RuntimeError as e:
        raise ConfigError(f"CATALYST_HOME names a home that does not exist: {chosen!r}") from e
    if not path.is_absolute():
        raise ConfigError(f"CATALYST_HOME must be an absolute path, was {chosen!r}")
    return path
