"""Which database and which broker account this is, and whether the agent may trade."""

from datetime import datetime
from typing import Any
from uuid import UUID

from shared.database.connection import Connection, Row, execute, fetch, fetch_one, fetch_row
from shared.errors import ConfigError
from shared.halts import Halt, HaltKind
from shared.models import Environment, TradingState
from shared.reconciliation_views import Pin
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


async def pin_account(
    connection: Connection,
    *,
    agent_id: str,
    broker: str,
    environment: Environment,
    account_id: str,
    at: datetime,
) -> None:
    """Tie the agent to this account the first time, and compare every time after.

    Raises ConfigError when it is tied to another one, and for an account that is not paper.
    """
    if environment is not Environment.PAPER:
        msg = f"only paper accounts are traded, {account_id} at {broker} is {environment}"
        raise ConfigError(msg)
    insert = Q["insert_pin"].bind(
        agent_id=agent_id, broker=broker, environment=environment, account_id=account_id, at=at
    )
    await execute(connection, insert)
    pin = await fetch_one(connection, Q["account_pin"].bind(agent_id=agent_id))
    if (pin["broker"], pin["account_id"]) != (broker, account_id):
        msg = (
            f"{agent_id} belongs to account {pin['account_id']} at {pin['broker']}, "
            f"the broker connected now is account {account_id} at {broker}: "
            "use a database of its own for another account"
        )
        raise ConfigError(msg)


async def pinned_account(connection: Connection, agent_id: str) -> Pin | None:
    """Return the account that the agent is tied to; None before its first start."""
    row = await fetch_row(connection, Q["account_pin"].bind(agent_id=agent_id))
    return None if row is None else Pin(broker=row["broker"], account_id=row["account_id"])


async def start_halt(
    connection: Connection,
    *,
    agent_id: str,
    reason: str,
    started_by: str,
    at: datetime,
    expires_at: datetime | None = None,
    state: TradingState = TradingState.HALTED,
    kind: HaltKind = HaltKind.PERSON,
) -> int | None:
    """Keep the agent from taking new risk, and return the halt's id.

    None when a daily-loss halt with the same end holds already; other halts have no end.
    """
    statement = Q["start_halt"].bind(
        agent_id=agent_id,
        state=state,
        kind=kind,
        reason=reason,
        started_by=started_by,
        at=at,
        expires_at=expires_at,
    )
    row = await fetch_row(connection, statement)
    return None if row is None else row["halt_id"]


async def lift_halts(
    connection: Connection, *, agent_id: str, lifted_by: str, why: str, at: datetime
) -> tuple[Halt, ...]:
    """Let the agent trade again as far as this database goes, and return what kept it from that."""
    statement = Q["lift_halts"].bind(agent_id=agent_id, lifted_by=lifted_by, why=why, at=at)
    return tuple(_halt(row) for row in await fetch(connection, statement))


async def halts_in_force(connection: Connection, agent_id: str, at: datetime) -> tuple[Halt, ...]:
    """Return what keeps the agent from taking new risk, oldest first; empty when nothing does."""
    rows = await fetch(connection, Q["halts_in_force"].bind(agent_id=agent_id, at=at))
    return tuple(_halt(row) for row in rows)


async def database_identity(connection: Connection) -> UUID:
    """Return the id that this database was born with."""
    return (await fetch_one(connection, Q["database_identity"].bind()))["identity"]


def _halt(row: Row) -> Halt:
    values: dict[str, Any] = {
        **row,
        "state": TradingState(row["state"]),
        "kind": HaltKind(row["kind"]),
    }
    return Halt(**values)
