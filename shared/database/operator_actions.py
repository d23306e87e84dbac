"""What a person ordered by command: written down before it is done, completed after."""

from collections.abc import Mapping
from datetime import datetime

from shared.database.connection import Connection, fetch_one, fetch_row
from shared.sql import DatabaseKind, Json, Queries

Q = Queries(DatabaseKind.TRADING)


async def begin_action(
    connection: Connection,
    *,
    agent_id: str,
    operator: str,
    command: str,
    arguments: Mapping[str, object],
    why: str,
    pid: int,
    at: datetime,
) -> int:
    """Write down what a person wants, and return the row's id; it stays begun if this process dies."""
    statement = Q["begin_operator_action"].bind(
        agent_id=agent_id,
        operator=operator,
        command=command,
        arguments=Json(arguments),
        why=why,
        pid=pid,
        at=at,
    )
    return (await fetch_one(connection, statement))["action_id"]


async def end_action(
    connection: Connection,
    *,
    action_id: int,
    status: str,
    result: str,
    cycle_id: str | None,
    at: datetime,
) -> None:
    """Complete a row: done, nothing_to_do or failed, in a sentence. Raises LookupError if it is complete."""
    statement = Q["end_operator_action"].bind(
        action_id=action_id, status=status, result=result, cycle_id=cycle_id, at=at
    )
    if await fetch_row(connection, statement) is None:
        msg = f"operator action {action_id} is complete already"
        raise LookupError(msg)
