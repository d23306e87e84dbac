"""Brings the databases of an agent to the schema of this code while nothing else works with them."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from shared import log, migrate
from shared.care.databases import Connections
from shared.database.connection import transaction
from shared.sql import DatabaseKind

logger = log.get(__name__)

NOTHING = "nothing"
"""The version of a database without any table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of one database."""

    kind: DatabaseKind
    before: str
    after: str

    @property
    def is_new(self) -> bool:
        """Whether anything was, or is to be, applied."""
        return self.before != self.after

    def sentence(self) -> str:
        """Say it in a line."""
        if not self.is_new:
            return f"{self.kind} is at {self.after} already"
        return f"{self.kind} went from {self.before} to {self.after}"


async def planned(connections: Connections) -> tuple[Step, ...]:
    """Say what is to be applied. Raises ConfigError where a database is newer than this code."""
    return tuple([await _planned(connections, kind) for kind in connections])


async def migrate_all(connections: Connections) -> Mapping[DatabaseKind, tuple[str, ...]]:
    """Apply what is missing: to all databases everything, or to none anything.

    Only a server that goes away between the commits of two databases leaves one ahead; the next upgrade
    brings the other one up. Raises MigrationFailed, ConfigError and DatabaseUnavailable.
    """
    applied: dict[DatabaseKind, tuple[str, ...]] = {}
    async with AsyncExitStack() as stack:
        for kind, connection in connections.items():
            await stack.enter_async_context(transaction(connection))
            applied[kind] = await migrate.migrate(connection, kind)
    for kind, names in applied.items():
        if names:
            logger.info("migrated", database=str(kind), applied=list(names))
    return applied


async def _planned(connections: Connections, kind: DatabaseKind) -> Step:
    known, applied = migrate.known(kind), await migrate.applied(connections[kind])
    migrate.pending_of(known, applied)
    return Step(
        kind=kind,
        before=_version(applied[-1][0]) if applied else NOTHING,
        after=_version(known[-1].name),
    )


def _version(name: str) -> str:
    return name.removesuffix(".sql")
