"""What a backup says about itself: whose it is, when it was made, and what every piece of it must be.

Pure. Nothing in it is secret: no URL, no user, no password.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shared.errors import ConfigError
from shared.sql import DatabaseKind


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(_Part):
    """One member of the archive, and what reading it must come to."""

    member: str
    size: int
    """In bytes, unpacked."""
    sha256: str
    lines: int


class TablePart(_Part):
    """The rows of one table, one a line as COPY writes them."""

    name: str
    columns: tuple[str, ...]
    piece: Piece


class DatabasePart(_Part):
    """One database at one moment."""

    kind: DatabaseKind
    identity: UUID | None
    """Of a trading database."""
    server_version: str
    migrations: tuple[tuple[str, str], ...]
    """Name and fingerprint of what had been applied."""
    tables: tuple[TablePart, ...]
    """Each after all that its rows refer to."""
    sequences: dict[str, int | None]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.piece.lines for table in self.tables)

    def piece_of(self, table: str) -> Piece:
        """Return the rows of one table. Raises KeyError."""
        return {one.name: one.piece for one in self.tables}[table]

    @property
    def schema_version(self) -> str:
        """The last migration that had been applied."""
        return self.migrations[-1][0].removesuffix(".sql") if self.migrations else "nothing"


class FilePart(_Part):
    """A file that lay beside the databases."""

    path: Annotated[str, Field(pattern=r"^(state|journal)/[\w-][\w.-]*$")]
    """Relative to the data directory, and in one of these two folders of it."""
    piece: Piece


class Manifest(_Part):
    """The whole backup."""

    format: Literal[1] = 1
    agent_id: str
    made_at: AwareDatetime
    host: str
    code_version: str | None
    databases: tuple[DatabasePart, ...]
    files: tuple[FilePart, ...]

    def database(self, kind: DatabaseKind) -> DatabasePart:
        """Return one of the databases. Raises ConfigError."""
        for part in self.databases:
            if part.kind is kind:
                return part
        msg = f"the backup has no {kind} database"
        raise ConfigError(msg)

    def pieces(self) -> Iterator[Piece]:
        """Yield what every member of the archive must be, but for the manifest itself."""
        yield from (table.piece for part in self.databases for table in part.tables)
        yield from (file.piece for file in self.files)

    def sentence(self) -> str:
        """Say in a line what it is."""
        held = ", ".join(
            f"{part.kind} at {part.schema_version} with {part.rows} rows" for part in self.databases
        )
        return f"{self.agent_id} of {self.made_at:%Y-%m-%d %H:%M:%S} UTC: {held}"


def encoded(manifest: Manifest) -> bytes:
    """Write it down with its own checksum."""
    body = manifest.model_dump(mode="json")
    return json.dumps({"body": body, "sha256": _checksum(body)}, indent=1).encode()


def decoded(content: bytes) -> Manifest:
    """Read it. Raises ConfigError when it is not what was written, or of a later version of this code."""
    try:
        said = json.loads(content)
        body: object = said["body"]
        if _checksum(body) != said["sha256"]:
            raise ConfigError("the manifest is not what was written")
        return Manifest.model_validate_json(json.dumps(body))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        msg = f"the manifest cannot be read ({type(error).__name__})"
        raise ConfigError(msg) from error


def _checksum(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
