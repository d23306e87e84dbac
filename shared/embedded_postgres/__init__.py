"""A PostgreSQL of our own, for machines that have none: started on first use, left running after.

Knows processes, directories and empty databases; knows nothing of what is stored in them.
"""

from shared.embedded_postgres.binaries import Binaries, find_binaries
from shared.embedded_postgres.databases import (
    create_database,
    database_names,
    drop_database,
    rename_database,
)
from shared.embedded_postgres.lifecycle import ensure_running, status, stop
from shared.embedded_postgres.server import Server

__all__ = [
    "Binaries",
    "Server",
    "create_database",
    "database_names",
    "drop_database",
    "ensure_running",
    "find_binaries",
    "rename_database",
    "status",
    "stop",
]
