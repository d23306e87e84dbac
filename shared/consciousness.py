"""The shared memory of all agents, in the research database: who is awake, and letters between them.

What an agent wrote is data to whoever reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, assert_never

from shared.database.connection import (
    Connection,
    Row,
    Statement,
    execute,
    fetch,
    fetch_one,
    fetch_row,
)
from shared.errors import ConfigError
from shared.models import Mode
from shared.sql import DatabaseKind, Json, Queries

Q = Queries(DatabaseKind.RESEARCH)


class AgentMode(StrEnum):
    """What an agent is doing."""

    SLEEPING = "sleeping"
    AWAKE = "awake"
    THINKING = "thinking"
    TRADING = "trading"
    RESEARCHING = "researching"
    ERROR = "error"


class MessageType(StrEnum):
    """What a letter is for."""

    MESSAGE = "message"
    SIGNAL = "signal"
    QUESTION = "question"
    TASK = "task"
    RESPONSE = "response"
    ALERT = "alert"


class Priority(StrEnum):
    """How soon a letter should be read."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """One row of claude_state; money in USD."""

    agent_id: str
    current_mode: AgentMode
    last_wake_at: datetime | None
    last_think_at: datetime | None
    last_action_at: datetime | None
    last_poll_at: datetime | None
    daily_budget: Decimal
    api_spend_day: date | None
    """Exchange day that api_spend_today belongs to."""
    api_spend_today: Decimal
    api_spend_month: Decimal
    current_schedule: str | None
    next_scheduled_wake: datetime | None
    status_message: str | None
    error_count_today: int
    """Errors on the UTC day of last_error_at."""
    last_error: str | None
    last_error_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A letter as its reader sees it; subject, body and data are untrusted."""

    id: int
    from_agent: str
    to_agent: str
    msg_type: MessageType
    priority: Priority
    subject: str
    body: str
    data: object
    reply_to_id: int | None
    created_at: datetime
    expires_at: datetime | None
    requires_response: bool


async def wake_up(
    connection: Connection, agent_id: str, mode: Mode, daily_budget_usd: Decimal, at: datetime
) -> AgentState:
    """Note that the agent is awake, what for, and what it may spend a day; the first time adds it."""
    statement = Q["wake_up"].bind(
        agent_id=agent_id, current_mode=_agent_mode(mode), daily_budget=daily_budget_usd, at=at
    )
    return _as_state(await fetch_one(connection, statement))


async def sleep(
    connection: Connection, agent_id: str, status_message: str, at: datetime
) -> AgentState:
    """Note that the agent sleeps, and its last word. Raises ConfigError if it never woke up."""
    statement = Q["sleep"].bind(agent_id=agent_id, status_message=status_message, at=at)
    return await _changed(connection, agent_id, statement)


async def record_error(
    connection: Connection, agent_id: str, message: str, at: datetime
) -> AgentState:
    """Note what went wrong and count it. Raises ConfigError if the agent never woke up."""
    statement = Q["record_error"].bind(agent_id=agent_id, message=message, at=at)
    return await _changed(connection, agent_id, statement)


async def record_api_spend(
    connection: Connection, agent_id: str, cost_usd: Decimal, day: date, at: datetime
) -> AgentState:
    """Add to what the agent has spent on that exchange day and in its month.

    A new day begins at 0 by itself, and so does a new month. Raises ConfigError if it never woke up.
    """
    statement = Q["record_api_spend"].bind(agent_id=agent_id, cost_usd=cost_usd, day=day, at=at)
    return await _changed(connection, agent_id, statement)


async def unread_messages(
    connection: Connection, agent_id: str, at: datetime, limit: int = 10
) -> tuple[Message, ...]:
    """Return unread letters that have not expired, most urgent first, then oldest."""
    statement = Q["unread_messages"].bind(agent_id=agent_id, at=at, limit=limit)
    return tuple(_as_message(row) for row in await fetch(connection, statement))


async def mark_read(
    connection: Connection, agent_id: str, message_ids: Sequence[int], at: datetime
) -> None:
    """Note that the agent has read these letters; those to others are left alone."""
    statement = Q["mark_read"].bind(agent_id=agent_id, message_ids=tuple(message_ids), at=at)
    await execute(connection, statement)


async def send_message(
    connection: Connection,
    *,
    from_agent: str,
    to_agent: str,
    subject: str,
    body: str,
    at: datetime,
    msg_type: MessageType = MessageType.MESSAGE,
    priority: Priority = Priority.NORMAL,
    data: Mapping[str, object] | None = None,
    reply_to_id: int | None = None,
    requires_response: bool = False,
    expires_at: datetime | None = None,
) -> int:
    """Leave a letter for an agent and return its id; the subject has 1 to 500 characters."""
    statement = Q["send_message"].bind(
        from_agent=from_agent,
        to_agent=to_agent,
        subject=subject,
        body=body,
        msg_type=msg_type,
        priority=priority,
        data=None if data is None else Json(data),
        reply_to_id=reply_to_id,
        requires_response=requires_response,
        expires_at=expires_at,
        at=at,
    )
    return (await fetch_one(connection, statement))["id"]


async def _changed(connection: Connection, agent_id: str, statement: Statement) -> AgentState:
    row = await fetch_row(connection, statement)
    if row is None:
        msg = f"agent {agent_id!r} has never woken up in this research database"
        raise ConfigError(msg)
    return _as_state(row)


def _agent_mode(mode: Mode) -> AgentMode:
    match mode:
        case Mode.SCAN:
            return AgentMode.RESEARCHING
        case Mode.TRADE | Mode.CLOSE:
            return AgentMode.TRADING
        case Mode.HEARTBEAT | Mode.MONITOR:
            return AgentMode.AWAKE
        case _:
            assert_never(mode)


def _as_state(row: Row) -> AgentState:
    values: dict[str, Any] = {**row, "current_mode": AgentMode(row["current_mode"])}
    return AgentState(**values)


def _as_message(row: Row) -> Message:
    values: dict[str, Any] = {
        **row,
        "msg_type": MessageType(row["msg_type"]),
        "priority": Priority(row["priority"]),
    }
    return Message(**values)
