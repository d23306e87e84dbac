"""Which database and which broker account this is, and whether the agent may trade."""

from datetime import datetime
from uuid import UUID

from shared.database.connection import Connection, execute, fetch, fetch_one, fetch_row
from shared.errors import ConfigError
from shared.models import Environment
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


async def start_halt(
    connection: Connection,
    *,
    agent_id: str,
    reason: str,
    started_by: str,
    at: datetime,
    expires_at: datetime | None = None,
) -> int:
    """Stop the agent from taking new risk, and return the halt's id; without an end only a person lifts it."""
    statement = Q["start_halt"].bind(
        agent_id=agent_id, reason=reason, started_by=started_by, at=at, expires_at=expires_at
    )
    return (await fetch_one(connection, statement))["halt_id"]


async def lift_halt(connection: Connection, *, halt_id: int, lifted_by: str, at: datetime) -> None:
    """Let the agent trade again. Raises LookupError when that halt was lifted before."""
    statement = Q["lift_halt"].bind(halt_id=halt_id, lifted_by=lifted_by, at=at)
    if await fetch_row(connection, statement) is None:
        msg = f"halt {halt_id} is not in force"
        raise LookupError(msg)


async def active_halts(connection: Connection, agent_id: str, at: datetime) -> tuple[str, ...]:
    """Return why the agent may not take new risk, oldest reason first; empty when it may."""
    rows = await fetch(connection, Q["active_halts"].bind(agent_id=agent_id, at=at))
    return tuple(row["reason"] for row in rows)


async def database_identity(connection: Connection) -> UUID:
    """Return the id that this database was born with."""
    return (await fetch_one(connection, Q["database_identity"].bind()))["identity"]
