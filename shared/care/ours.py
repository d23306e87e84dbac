"""What in a database is Catalyst's: the tables and functions that its migrations create, by their names."""

import re

from shared import migrate
from shared.sql import DatabaseKind

SEEDED = frozenset({"schema_migrations", "database_identity", "exchanges", "order_transitions"})
"""Tables that have rows in a database which was migrated and never used."""

_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_FUNCTION = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION (\w+)", re.MULTILINE)


def tables(kind: DatabaseKind) -> frozenset[str]:
    """Name every table."""
    return _names(kind, _TABLE)


def functions(kind: DatabaseKind) -> frozenset[str]:
    """Name every function."""
    return _names(kind, _FUNCTION)


def _names(kind: DatabaseKind, pattern: re.Pattern[str]) -> frozenset[str]:
    return frozenset(
        name for migration in migrate.known(kind) for name in pattern.findall(migration.sql)
    )
