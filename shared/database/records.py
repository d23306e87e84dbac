"""What happened besides orders: decisions, refusals, tool calls, scans, and alerts for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from shared.database.connection import (
    Connection,
    execute,
    fetch,
    fetch_one,
    fetch_row,
    transaction,
)
from shared.database.cycles import seconds
from shared.models import Reason
from shared.sql import DatabaseKind, Json, Queries

Q = Queries(DatabaseKind.TRADING)


Severity = Literal["info", "warning", "critical"]
"""How soon a person should read an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRow:
    """One candidate of a scan; None is "not known"."""

    symbol: str
    rank: int
    price: Decimal
    volume: int
    change_pct: Decimal | None
    relative_volume: Decimal | None
    score: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedAlert:
    """An alert that nobody has been sent yet."""

    alert_id: int
    cycle_id: str | None
    severity: Severity
    subject: str
    body: str
    queued_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    """Not tried before; None is at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDecision:
    """What was decided in an earlier cycle, in the words of then."""

    decision: str
    symbol: str | None
    reasoning: str
    created_at: datetime


async def recent_decisions(
    connection: Connection, agent_id: str, *, limit: int
) -> tuple[PastDecision, ...]:
    """Return the agent's latest decisions, newest first."""
    statement = Q["recent_decisions"].bind(agent_id=agent_id, limit=limit)
    return tuple(PastDecision(**row) for row in await fetch(connection, statement))


async def is_told(connection: Connection, *, agent_id: str, key: str) -> bool:
    """Say whether an alert of that key was ever queued."""
    statement = Q["alert_is_told"].bind(agent_id=agent_id, dedupe_key=key)
    return bool((await fetch_one(connection, statement))["is_told"])


async def record_decision(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str,
    decision: str,
    symbol: str | None,
    reasoning: str,
    confidence: Decimal | None,
    model: str | None,
    at: datetime,
) -> int:
    """Keep a decision and return its id.

    `decision` is trade, skip, close, emergency or observation; `confidence` lies between 0 and 1.
    """
    statement = Q["record_decision"].bind(
        agent_id=agent_id,
        cycle_id=cycle_id,
        decision=decision,
        symbol=symbol,
        reasoning=reasoning,
        confidence=confidence,
        model=model,
        at=at,
    )
    return (await fetch_one(connection, statement))["decision_id"]


async def decision_exists(
    connection: Connection, *, cycle_id: str, reasoning: str, at: datetime
) -> bool:
    """Say whether that decision was kept before."""
    statement = Q["decision_exists"].bind(cycle_id=cycle_id, reasoning=reasoning, at=at)
    return bool((await fetch_one(connection, statement))["is_there"])


async def refusal_exists(
    connection: Connection,
    *,
    cycle_id: str | None,
    request: Mapping[str, object],
    at: datetime,
) -> bool:
    """Say whether that refusal was kept before."""
    statement = Q["refusal_exists"].bind(cycle_id=cycle_id, request=Json(request), at=at)
    return bool((await fetch_one(connection, statement))["is_there"])


async def record_refusal(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    tool: str,
    request: Mapping[str, object],
    reasons: tuple[Reason, ...],
    at: datetime,
) -> None:
    """Keep a refused request with every reason; there has to be one."""
    statement = Q["record_refusal"].bind(
        agent_id=agent_id,
        cycle_id=cycle_id,
        tool=tool,
        request=Json(request),
        codes=tuple(reason.code for reason in reasons),
        texts=tuple(reason.text for reason in reasons),
        at=at,
    )
    await execute(connection, statement)


async def record_tool_call(
    connection: Connection,
    *,
    cycle_id: str,
    sequence: int,
    tool_use_id: str,
    name: str,
    arguments: object,
    result: object,
    is_error: bool,
    started_at: datetime,
    duration_seconds: float,
) -> None:
    """Keep one tool call with its answer; `sequence` orders the calls of a run."""
    statement = Q["record_tool_call"].bind(
        cycle_id=cycle_id,
        sequence=sequence,
        tool_use_id=tool_use_id,
        name=name,
        arguments=Json(arguments),
        result=Json(result),
        is_error=is_error,
        started_at=started_at,
        duration_seconds=seconds(duration_seconds),
    )
    await execute(connection, statement)


async def record_scan(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str,
    candidates: Sequence[ScanRow],
    at: datetime,
) -> None:
    """Keep what a scan offered, all of it or nothing."""
    async with transaction(connection):
        for candidate in candidates:
            statement = Q["record_candidate"].bind(
                agent_id=agent_id, cycle_id=cycle_id, at=at, **asdict(candidate)
            )
            await execute(connection, statement)


async def queue_alert(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    severity: Severity,
    subject: str,
    body: str,
    dedupe_key: str,
    at: datetime,
) -> int | None:
    """Put an alert into the outbox and return its id; None when the key is there already that UTC day."""
    statement = Q["queue_alert"].bind(
        agent_id=agent_id,
        cycle_id=cycle_id,
        severity=severity,
        subject=subject,
        body=body,
        dedupe_key=dedupe_key,
        at=at,
    )
    row = await fetch_row(connection, statement)
    return None if row is None else row["alert_id"]


async def queued_alerts(
    connection: Connection, agent_id: str, *, limit: int = 20
) -> tuple[QueuedAlert, ...]:
    """Return alerts that have not been sent, oldest first."""
    rows = await fetch(connection, Q["queued_alerts"].bind(agent_id=agent_id, limit=limit))
    return tuple(QueuedAlert(**row) for row in rows)


async def count_due_alerts(connection: Connection, agent_id: str, at: datetime) -> int:
    """Count the alerts that may be tried at that moment."""
    row = await fetch_one(connection, Q["count_due_alerts"].bind(agent_id=agent_id, at=at))
    return row["due"]


async def claim_alert(
    connection: Connection, agent_id: str, *, at: datetime, leased_until: datetime
) -> QueuedAlert | None:
    """Take the most pressing alert that is due; nobody else gets it before the lease ends."""
    statement = Q["claim_alert"].bind(agent_id=agent_id, at=at, leased_until=leased_until)
    row = await fetch_row(connection, statement)
    return None if row is None else QueuedAlert(**row)


async def mark_alert_sent(
    connection: Connection,
    *,
    alert_id: int,
    accepted_by: tuple[str, ...],
    error: str | None,
    at: datetime,
) -> None:
    """Note which channels took the alert; `error` is what another one said."""
    statement = Q["mark_alert_sent"].bind(
        alert_id=alert_id, accepted_by=accepted_by, error=error, at=at
    )
    await execute(connection, statement)


async def mark_alert_failed(
    connection: Connection,
    *,
    alert_id: int,
    error: str,
    leased_until: datetime,
    next_attempt_at: datetime,
) -> None:
    """Note a failed attempt; the alert stays queued. Does nothing when the lease is another's by now."""
    statement = Q["mark_alert_failed"].bind(
        alert_id=alert_id,
        error=error,
        leased_until=leased_until,
        next_attempt_at=next_attempt_at,
    )
    await execute(connection, statement)
