"""What the position monitor writes: its heartbeat, and how each open position looks."""

from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.database.connection import Connection, execute, fetch, fetch_one, fetch_row
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The monitor's last sign of life."""

    agent_id: str
    cycle_id: str | None
    host: str
    pid: int
    started_at: datetime
    beat_at: datetime
    passed_at: datetime | None
    """End of the last pass that could look at everything; None before the first."""
    passes: int
    positions: int
    """Open positions at that pass."""
    problem: str | None
    """Why the last pass could not do all of its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """What is known of a position from earlier looks."""

    best_price: Decimal | None
    """The highest price that two readings agreed on."""
    reviews: int
    """How often a model was asked about it."""
    reviewed_at: datetime | None
    """When it was asked last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look at one position; None is "not known"."""

    position_id: int
    symbol: str
    status: str
    """running, or error."""
    next_check_at: datetime
    last_price: Decimal | None
    high_watermark: Decimal | None
    current_pnl_pct: Decimal | None
    last_rsi: Decimal | None
    last_macd_signal: str | None
    last_vwap_position: str | None
    last_ema20_position: str | None
    hold_signals: tuple[str, ...]
    exit_signals: tuple[str, ...]
    signal_strength: str | None
    recommendation: str | None
    recommendation_reason: str | None
    reviews: int
    """How often a model was asked in this look: 0 or 1."""
    last_review: str | None
    review_cost_usd: Decimal
    error: str | None


async def beat(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    host: str,
    pid: int,
    started_at: datetime,
    at: datetime,
    passed: bool,
    positions: int,
    problem: str | None,
) -> None:
    """Note a sign of life, and whether a pass has just ended."""
    statement = Q["beat"].bind(
        agent_id=agent_id,
        cycle_id=cycle_id,
        host=host,
        pid=pid,
        started_at=started_at,
        at=at,
        passed=passed,
        positions=positions,
        problem=problem,
    )
    await execute(connection, statement)


async def note_trouble(connection: Connection, *, agent_id: str, problem: str) -> None:
    """Note why a pass could not be made; the monitor counts as silent meanwhile."""
    await execute(connection, Q["note_trouble"].bind(agent_id=agent_id, problem=problem))


async def last_beat(connection: Connection, agent_id: str) -> Beat | None:
    """Return the last sign of life, or None where the monitor never ran."""
    row = await fetch_row(connection, Q["last_beat"].bind(agent_id=agent_id))
    return None if row is None else Beat(**row)


async def record_check(
    connection: Connection, check: Check, *, agent_id: str, pid: int, at: datetime
) -> None:
    """Write down what was seen of a position."""
    statement = Q["record_check"].bind(**asdict(check), agent_id=agent_id, pid=pid, at=at)
    await execute(connection, statement)


async def watch_state(connection: Connection, position_id: int) -> WatchState:
    """Return what earlier looks at a position left behind."""
    row = await fetch_row(connection, Q["monitor_status"].bind(position_id=position_id))
    if row is None:
        return WatchState(best_price=None, reviews=0, reviewed_at=None)
    return WatchState(
        best_price=row["high_watermark"],
        reviews=row["haiku_calls"],
        reviewed_at=row["last_review_at"],
    )


async def end_watch(connection: Connection, *, agent_id: str, at: datetime) -> None:
    """Note that closed positions are not watched any more."""
    await execute(connection, Q["end_watch"].bind(agent_id=agent_id, at=at))


async def rest_watch(
    connection: Connection, *, agent_id: str, at: datetime, until: datetime
) -> None:
    """Note that what is still open is not looked at before `until`, when the exchange opens."""
    await execute(connection, Q["rest_watch"].bind(agent_id=agent_id, at=at, until=until))


async def health(connection: Connection, agent_id: str) -> tuple[dict[str, Any], ...]:
    """Return the open positions with how well they are watched, for a person."""
    return tuple(
        dict(row) for row in await fetch(connection, Q["monitor_health"].bind(agent_id=agent_id))
    )


async def naked_seconds(
    connection: Connection, agent_id: str, *, since: datetime, now: datetime
) -> float:
    """Return for how many seconds since then shares had no stop in force, all such times together."""
    statement = Q["naked_since"].bind(agent_id=agent_id, since=since, now=now)
    return float((await fetch_one(connection, statement))["seconds"])
