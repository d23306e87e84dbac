"""The local journal: one line for each entry that the database could not take, on the disk before it counts.

Knows nothing of what an entry means; a torn or corrupt line is reported, never skipped in silence.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from shared.database import codec
from shared.database.fences import Role
from shared.journal.entries import KINDS, Entry, UnreadableEntry
from shared.models import utc

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KEPT_FILES = 20
"""Journals that were taken over are kept for a person, this many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry as it lies in the file."""

    entry_id: UUID
    noted_at: datetime
    entry: Entry[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalJournal:
    """The journal of one agent, one database, and one kind of writer."""

    home: Path
    """The data directory."""
    agent_id: str
    database: UUID
    """Whose entries these are: another database must not take them over."""
    role: Role = Role.CYCLE
    """Who writes: a file has one writer at a time, which holds the lock of that role."""

    @property
    def path(self) -> Path:
        """Where the lines are."""
        of_role = "" if self.role is Role.CYCLE else f".{self.role}"
        return self.home / "journal" / f"{self.agent_id}{of_role}-{self.database}.jsonl"

    def append(self, entry: Entry[object], at: datetime) -> None:
        """Put an entry on the disk, directory included. Raises OSError."""
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            # a line that a full disk tore must not run into this one
            _write(descriptor, b"\n" + _encoded(entry, at) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            _sync_directory(self.path.parent)

    def lines(self) -> Iterator[Line | UnreadableEntry]:
        """Give every entry in order, and an error for each line that is none."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        for number, line in enumerate(content.split(b"\n"), start=1):
            if line.strip():
                yield self._decoded(line, number)

    def set_aside(self, at: datetime) -> Path | None:
        """Rename the file once it is taken over, and forget the oldest ones; None where there is none."""
        if not self.path.exists():
            return None
        aside = self.path.with_suffix(f".replayed-{at:%Y%m%dT%H%M%S%f}")
        self.path.rename(aside)
        _sync_directory(self.path.parent)
        replayed = sorted(self.path.parent.glob(f"{self.path.stem}.replayed-*"))
        for old in replayed[:-KEPT_FILES]:
            old.unlink()
        return aside

    def remove(self) -> None:
        """Forget the file, which said nothing that is not known."""
        self.path.unlink(missing_ok=True)

    def _decoded(self, line: bytes, number: int) -> Line | UnreadableEntry:
        try:
            said = json.loads(line)
            body: dict[str, Any] = said["body"]
            if _checksum(body) != said["sha256"]:
                return UnreadableEntry(f"line {number} of {self.path} is not what was written")
            return Line(
                entry_id=UUID(body["id"]),
                noted_at=utc(datetime.fromisoformat(body["noted_at"])),
                entry=_entry(body["kind"], body["payload"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            what = f"{type(error).__name__}: {error}"
            return UnreadableEntry(f"line {number} of {self.path} cannot be read ({what})")


def _encoded(entry: Entry[object], at: datetime) -> bytes:
    body = json.loads(
        codec.encode(
            {
                "id": uuid4(),
                "noted_at": at,
                "kind": entry.kind,
                "payload": asdict(cast("DataclassInstance", entry)),
            }
        )
    )
    return json.dumps({"body": body, "sha256": _checksum(body)}, ensure_ascii=False).encode()


def _checksum(body: object) -> str:
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _entry(kind: str, payload: object) -> Entry[object]:
    from pydantic import TypeAdapter  # only what is taken over has to be parsed

    known = {one.kind: one for one in KINDS}
    return TypeAdapter(known[kind]).validate_python(payload)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
