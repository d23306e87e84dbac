"""The file of a backup: a ZIP archive that is written in one go, sealed, and not believed until it was read.

Rows are copied by the connections that the runs use and not by pg_dump: what the embedded PostgreSQL brings
along cannot speak TLS, which a managed database insists on, and a pg_dump is refused by newer servers.
The last 64 bytes of the file, its ZIP comment, are the SHA-256 of all bytes before them, so that no byte
can change unnoticed. Any program that knows ZIP unpacks it; every table is a text file.
"""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, Self

from shared.care.manifest import Manifest, Piece, decoded, encoded
from shared.errors import ConfigError

MANIFEST = "manifest.json"

_SEAL_BYTES = 64
_CHUNK_BYTES = 1 << 18
_COMPRESSION = 6
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)


class Intake:
    """One member that is being written: counts and fingerprints what goes through."""

    def __init__(self, member: str, target: IO[bytes]) -> None:
        """Nothing has gone through yet."""
        self._member: str = member
        self._target: IO[bytes] = target
        self._hash = hashlib.sha256()
        self._size: int = 0
        self._lines: int = 0

    async def write(self, data: bytes) -> None:
        """Take the next bytes in; awaitable, as asyncpg wants it."""
        self.write_now(data)

    def write_now(self, data: bytes) -> None:
        """Take the next bytes in."""
        self._target.write(data)
        self._hash.update(data)
        self._size += len(data)
        self._lines += data.count(b"\n")

    @property
    def piece(self) -> Piece:
        """What went through."""
        return Piece(
            member=self._member,
            size=self._size,
            sha256=self._hash.hexdigest(),
            lines=self._lines,
        )


class ArchiveWriter:
    """Writes members one after the other into an open file, and ends with the manifest and the seal."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin at the file's start; it has to be open for reading too."""
        self._file: BinaryIO = file
        self._zip = zipfile.ZipFile(
            file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=_COMPRESSION
        )
        self._zip.comment = b"0" * _SEAL_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # after a failure: the file is thrown away, and only its handle has to be let go
        with suppress(OSError, ValueError):
            self._zip.close()

    @contextmanager
    def member(self, name: str) -> Generator[Intake]:
        """Begin a member; it is complete when the block is."""
        described = zipfile.ZipInfo(name)
        described.compress_type = zipfile.ZIP_DEFLATED
        described.external_attr = 0o600 << 16
        with self._zip.open(described, "w", force_zip64=True) as target:
            yield Intake(name, target)

    def close(self, manifest: Manifest) -> None:
        """Write the manifest and the seal, and put everything on the disk."""
        with self.member(MANIFEST) as member:
            member.write_now(encoded(manifest))
        self._zip.close()
        self._file.flush()
        size = self._file.seek(0, io.SEEK_END)
        seal = _digest(self._file, size - _SEAL_BYTES)
        self._file.seek(size - _SEAL_BYTES)
        self._file.write(seal)
        self._file.flush()
        os.fsync(self._file.fileno())


class Archive:
    """A backup that was read from its first byte to its last and is what was written."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        """Use `open_archive`."""
        self._zip: zipfile.ZipFile = archive
        self.manifest: Manifest = manifest

    def content(self, piece: Piece) -> bytes:
        """Return a small member whole."""
        return self._zip.read(piece.member)

    async def lines(self, piece: Piece) -> AsyncIterator[bytes]:
        """Yield a member in chunks, as asyncpg wants it."""
        with self._zip.open(piece.member) as source:
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk


@contextmanager
def open_archive(path: Path) -> Generator[Archive]:
    """Open a backup after every byte of it was checked. Raises ConfigError for one that is damaged."""
    try:
        file = path.open("rb")
    except OSError as e:
        raise ConfigError(f"{path} cannot be opened: {e.strerror}") from e
    with file:
        yield checked(file, path)


def checked(file: BinaryIO, path: Path) -> Archive:
    """Read an archive from its first byte to its last. Raises ConfigError for one that is damaged."""
    try:
        _require_seal(file)
        archive = zipfile.ZipFile(file)
        manifest = decoded(archive.read(MANIFEST))
        _require_pieces(archive, manifest)
    except ConfigError as error:
        raise ConfigError(f"{path} is no whole backup: {error}") from error
    except _UNREADABLE as error:
        what = f"{path} is no whole backup: it cannot be unpacked ({type(error).__name__})"
        raise ConfigError(what) from error
    return Archive(archive, manifest)


def _require_seal(file: BinaryIO) -> None:
    size = file.seek(0, io.SEEK_END)
    if size <= _SEAL_BYTES:
        raise ConfigError(f"it has only {size} bytes")
    file.seek(size - _SEAL_BYTES)
    seal = file.read()
    if seal != _digest(file, size - _SEAL_BYTES):
        raise ConfigError("its checksum does not fit, so it was cut off or changed")


def _require_pieces(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    there = sorted(archive.namelist())
    wanted = sorted([MANIFEST, *(piece.member for piece in manifest.pieces())])
    if there != wanted:
        raise ConfigError("it does not hold what its manifest lists")
    for piece in manifest.pieces():
        if _read(archive, piece.member) != piece:
            raise ConfigError(f"{piece.member} is not what was written")


def _read(archive: zipfile.ZipFile, name: str) -> Piece:
    with archive.open(name) as source, io.BytesIO() as nowhere:
        read = Intake(name, nowhere)
        while chunk := source.read(_CHUNK_BYTES):
            read.write_now(chunk)
            nowhere.seek(0)
        return read.piece


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256 of the file's first bytes, in hex."""
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, _CHUNK_BYTES))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()
