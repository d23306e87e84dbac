"""Reads an agent's past for a person: plain records, as the queries name their columns; changes nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from shared.database.connection import Connection, Statement, fetch
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)

Record: TypeAlias = dict[str, Any]
"""One row by its columns' names: money as Decimal, times aware."""

_PARTS = (
    "candidates_of_cycle",
    "decisions_of_cycle",
    "tool_calls_of_cycle",
    "refusals_of_cycle",
    "alerts_of_cycle",
    "claude_calls_of_cycle",
)


async def latest_cycles(
    connection: Connection, agent_id: str, *, limit: int = 5
) -> tuple[Record, ...]:
    """Return the last runs, latest first."""
    return await _records(connection, Q["latest_cycles"].bind(agent_id=agent_id, limit=limit))


async def latest_equity(connection: Connection, agent_id: str) -> Record | None:
    """Return what the last run that looked at the account saw: cycle_id, at, equity, session_pnl."""
    found = await _records(connection, Q["latest_equity"].bind(agent_id=agent_id))
    return next(iter(found), None)


async def latest_actions(
    connection: Connection, agent_id: str, *, limit: int = 5
) -> tuple[Record, ...]:
    """Return what persons did last, what was never completed first."""
    statement = Q["latest_operator_actions"].bind(agent_id=agent_id, limit=limit)
    return await _records(connection, statement)


async def cycle(connection: Connection, agent_id: str, cycle_id: str) -> Record | None:
    """Return one run with all that was seen and done in it; None when the agent has no such run."""
    row = await _records(connection, Q["cycle_of_agent"].bind(agent_id=agent_id, cycle_id=cycle_id))
    if not row:
        return None
    asked = await _records(connection, Q["orders_of_cycle"].bind(cycle_id=cycle_id))
    parts = {
        name.removesuffix("_of_cycle"): await _records(connection, Q[name].bind(cycle_id=cycle_id))
        for name in _PARTS
    }
    return {"cycle": row[0], **parts, "orders": await _with_history(connection, asked)}


async def orders(
    connection: Connection, agent_id: str, since: datetime | None
) -> tuple[Record, ...]:
    """Return orders with their events and fills, oldest first.

    Those that are not over and those that changed since then; None asks for all.
    """
    statement = Q["orders_of_agent"].bind(agent_id=agent_id, since=since)
    return await _with_history(connection, await _records(connection, statement))


async def _with_history(connection: Connection, found: Sequence[Record]) -> tuple[Record, ...]:
    ids = tuple(order["order_id"] for order in found)
    events = await _records(connection, Q["events_of_orders"].bind(order_ids=ids))
    fills = await _records(connection, Q["fills_of_orders"].bind(order_ids=ids))
    return tuple(
        {
            **order,
            "events": [one for one in events if one["order_id"] == order["order_id"]],
            "fills": [one for one in fills if one["order_id"] == order["order_id"]],
        }
        for order in found
    )


async def _records(connection: Connection, statement: Statement) -> tuple[Record, ...]:
    return tuple(dict(row) for row in await fetch(connection, statement))
