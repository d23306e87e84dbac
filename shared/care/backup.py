"""Makes a backup: both databases, each as it was at one moment, and the files beside them, in one archive.

It counts only when it has its name, and it gets that when it is on the disk and was read back whole.
"""

import os
import re
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from shared import log
from shared.care import beside
from shared.care.archive import ArchiveWriter, checked
from shared.care.databases import Connections
from shared.care.dump import dump
from shared.care.manifest import FilePart, Manifest
from shared.errors import CatalystError, ConfigError
from shared.operate.place import Place
from shared.paths import PROJECT
from shared.version import code_version

logger = log.get(__name__)

_UNFINISHED = ".unfinished"


class BackupFailed(CatalystError):
    """No backup was made; those of before are as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made and read back."""

    path: Path
    manifest: Manifest
    forgotten: tuple[Path, ...]
    """Older ones that were deleted for it."""

    def sentence(self) -> str:
        """Say in a line what it is and where."""
        return f"{self.manifest.sentence()}, in {self.path}"


async def make_backup(place: Place, connections: Connections, at: datetime) -> Backup:
    """Make a backup and forget old ones; hold the lock of care meanwhile.

    Files beside the databases are copied first: a journal that is taken over a moment later is then in both,
    which counts once, and not in neither. Raises BackupFailed, ConfigError and DatabaseUnavailable.
    """
    directory = backup_directory(place)
    try:
        _prepare(directory, place.agent_id)
        path = directory / f"{place.agent_id}-{at:%Y%m%dT%H%M%S%f}Z.zip"
        with _put_in_place(path) as file:
            manifest = await _written(place, connections, file, at)
            checked(file, path)
        forgotten = forget_old(place)
    except OSError as error:
        what = f"the backup in {directory} cannot be written: {error.strerror}"
        raise BackupFailed(what) from error
    logger.info("backup_made", path=str(path), rows=sum(d.rows for d in manifest.databases))
    return Backup(path=path, manifest=manifest, forgotten=forgotten)


def backup_directory(place: Place) -> Path:
    """Return where the agent's backups lie."""
    return place.home / Path(place.settings.care.backup_directory).expanduser()


def backups(place: Place) -> Sequence[Path]:
    """Return the agent's backups, oldest first; a copy that a person named otherwise is not one."""
    names = re.compile(rf"{re.escape(place.agent_id)}-\d{{8}}T\d{{12}}Z\.zip")
    found = backup_directory(place).glob(f"{place.agent_id}-*.zip")
    return sorted(path for path in found if names.fullmatch(path.name))


def superfluous(place: Place) -> Sequence[Path]:
    """Return the backups that are more than the configuration keeps, oldest first."""
    return backups(place)[: -place.settings.care.backups_kept]


def forget_old(place: Place) -> tuple[Path, ...]:
    """Delete the backups that are more than the configuration keeps."""
    old = tuple(superfluous(place))
    for path in old:
        path.unlink()
    return old


async def _written(
    place: Place, connections: Connections, file: BinaryIO, at: datetime
) -> Manifest:
    with ArchiveWriter(file) as writer:
        files = tuple(
            [_copied(place.home, path, writer) for path in beside.files(place.home, place.agent_id)]
        )
        databases = tuple(
            [await dump(connection, kind, writer) for kind, connection in connections.items()]
        )
        if not any(part.migrations for part in databases):
            raise ConfigError("no database was ever migrated, so there is nothing to back up")
        manifest = Manifest(
            agent_id=place.agent_id,
            made_at=at,
            host=socket.gethostname(),
            code_version=code_version(PROJECT),
            databases=databases,
            files=files,
        )
        writer.close(manifest)
    return manifest


def _copied(home: Path, path: Path, writer: ArchiveWriter) -> FilePart:
    relative = str(path.relative_to(home))
    with writer.member(f"files/{relative}") as member:
        member.write_now(path.read_bytes())
    return FilePart(path=relative, piece=member.piece)


def _prepare(directory: Path, agent_id: str) -> None:
    """Make the directory, and clear away what a backup that was killed left behind."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for unfinished in directory.glob(f".{agent_id}-*{_UNFINISHED}"):
        unfinished.unlink()


@contextmanager
def _put_in_place(path: Path) -> Generator[BinaryIO]:
    """Open a file for its owner alone that gets its name when the block is done, and is gone otherwise."""
    unfinished = path.with_name(f".{path.name}{_UNFINISHED}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield cast("BinaryIO", file)
        unfinished.rename(path)
        beside.sync_directory(path.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
