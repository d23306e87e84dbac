"""A database as tables, whatever they mean: what there is, every row out of it, every row into it.

Rows travel as PostgreSQL's own COPY text, which servers of all versions write and read.
"""

from collections.abc import AsyncIterable, Callable, Collection, Coroutine
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import asyncpg

from shared.database.connection import Connection, execute, fetch, translated
from shared.errors import ConfigError
from shared.sql import ROOT, load

COPY_TIMEOUT_SECONDS = 1800.0
"""What copying one table may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table and its columns, in order."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbering:
    """What numbers rows, and the last number it gave; None while it has given none."""

    name: str
    last_value: int | None


async def tables(connection: Connection) -> tuple[Table, ...]:
    """List the tables, each after all that its rows refer to."""
    rows = await fetch(connection, _query("tables"))
    found = {row["name"]: Table(name=row["name"], columns=tuple(row["columns"])) for row in rows}
    order = TopologicalSorter[str](dict.fromkeys(found, ()))
    for row in await fetch(connection, _query("references")):
        order.add(row["child"], row["parent"])
    return tuple(found[name] for name in order.static_order())


async def sequences(connection: Connection) -> tuple[Numbering, ...]:
    """List the sequences by name."""
    rows = await fetch(connection, _query("sequences"))
    return tuple(Numbering(name=row["name"], last_value=row["last_value"]) for row in rows)


async def write_plainly(connection: Connection) -> None:
    """Until the transaction ends, let the server write values as every other one reads them."""
    await execute(connection, _query("plain_output"))


async def copy_out(
    connection: Connection, table: Table, write: Callable[[bytes], Coroutine[Any, Any, None]]
) -> int:
    """Hand over every row of a table, one a line, and return how many the server says it gave."""
    with translated():
        said = await connection.copy_from_table(
            table.name, columns=table.columns, output=write, timeout=COPY_TIMEOUT_SECONDS
        )
    return _count(said)


async def copy_in(connection: Connection, table: Table, lines: AsyncIterable[bytes]) -> int:
    """Add rows as `copy_out` gave them, and return how many the server says it took."""
    with translated():
        said = await connection.copy_to_table(
            table.name, columns=table.columns, source=lines, timeout=COPY_TIMEOUT_SECONDS
        )
    return _count(said)


async def set_sequence(connection: Connection, sequence: Numbering) -> None:
    """Let a sequence go on after the last number that it gave."""
    if sequence.last_value is not None:
        statement = load(ROOT / "both")["set_sequence"].bind(
            name=sequence.name, last_value=sequence.last_value
        )
        await execute(connection, statement)


async def require_sequences_ahead(connection: Connection) -> None:
    """Raise ConfigError where a sequence would give a number that a row has."""
    try:
        await execute(connection, _query("require_sequences_ahead"))
    except asyncpg.ObjectNotInPrerequisiteStateError as e:
        msg = f"{e} has numbers above the last one that its sequence gave"
        raise ConfigError(msg) from e


async def table_with_rows(connection: Connection, names: Collection[str]) -> str | None:
    """Name one of these tables that has a row; None where all that exist are empty."""
    await _name(connection, names, ())
    try:
        # a savepoint, since the answer that one has rows is an error
        async with connection.transaction():
            await execute(connection, _query("require_no_rows"))
    except asyncpg.ObjectNotInPrerequisiteStateError as e:
        return str(e)
    return None


async def drop(connection: Connection, names: Collection[str], functions: Collection[str]) -> None:
    """Drop these tables with their views and constraints, and these functions, where they exist."""
    await _name(connection, names, functions)
    await execute(connection, _query("drop_ours"))


async def empty(connection: Connection, names: Collection[str]) -> None:
    """Take every row out of these tables, at least one of which has to exist."""
    await _name(connection, names, ())
    await execute(connection, _query("empty_ours"))


async def _name(connection: Connection, names: Collection[str], functions: Collection[str]) -> None:
    statement = load(ROOT / "both")["name_ours"].bind(
        tables=",".join(sorted(names)), functions=",".join(sorted(functions))
    )
    await execute(connection, statement)


def _query(name: str) -> tuple[str, *tuple[object, ...]]:
    return load(ROOT / "both")[name].bind()


def _count(said: str) -> int:
    """Read how many rows a COPY was of, from `COPY 12`."""
    return int(said.rpartition(" ")[2])
