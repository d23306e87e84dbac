"""Runs: their rows from start to end, the day they belong to, and what was said in them."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import asyncpg

from shared.database.connection import (
    Connection,
    Row,
    execute,
    fetch,
    fetch_one,
    fetch_row,
    transaction,
)
from shared.errors import Busy, ConfigError
from shared.models import Mode
from shared.sql import DatabaseKind, Json, Queries

ABANDONED = "the process ended without finishing"

Q = Queries(DatabaseKind.TRADING)


class CycleStatus(StrEnum):
    """Where a run stands, or how it ended."""

    RUNNING = "running"
    DONE = "done"
    NOTHING_TO_DO = "nothing_to_do"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleStart:
    """What is known of a run when it begins."""

    cycle_id: str
    agent_id: str
    mode: Mode
    session_date: date | None
    """Exchange day; None on a day without a session."""
    slot_at: datetime | None
    """The slot that the run is for; None outside every slot."""
    started_at: datetime
    forced: bool
    dry_run: bool
    brain: str
    """Who decides: a model, or what stands in for one."""
    config_hash: str
    prompt_hash: str | None
    code_version: str | None
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleEnd:
    """What is known of a run when it is over."""

    cycle_id: str
    ended_at: datetime
    status: CycleStatus
    reason: str
    summary: str | None
    equity: Decimal | None
    session_pnl: Decimal | None
    iterations: int
    tools_called: tuple[str, ...]
    orders_placed: int
    refusals: int
    cost_usd: Decimal
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    duration_seconds: float


async def start_cycle(connection: Connection, start: CycleStart) -> None:
    """Write the run down as running.

    Raises Busy when the run would be the second one for an entry slot, or bears a known id.
    """
    try:
        await execute(connection, Q["start_cycle"].bind(**asdict(start)))
    except asyncpg.UniqueViolationError as e:
        if start.slot_at is not None and e.constraint_name == "trading_cycles_entry_slot_once":
            slot = f"the {start.mode} slot of {start.slot_at:%Y-%m-%d %H:%M} UTC"
            msg = f"{slot} has been run already, and a slot that may open positions runs once"
        else:
            msg = f"cycle {start.cycle_id} has been run already"
        raise Busy(msg) from e


async def finish_cycle(connection: Connection, end: CycleEnd) -> None:
    """Complete the run's row. Raises LookupError when that run is not running."""
    arguments = asdict(end) | {"duration_seconds": seconds(end.duration_seconds)}
    row = await fetch_row(connection, Q["finish_cycle"].bind(**arguments))
    _require_running(row, end.cycle_id)


async def cycle_exists(connection: Connection, cycle_id: str) -> bool:
    """Say whether a run of that id was ever written down."""
    return (await fetch_row(connection, Q["cycle_exists"].bind(cycle_id=cycle_id))) is not None


async def record_prompt_hash(connection: Connection, *, cycle_id: str, prompt_hash: str) -> None:
    """Note which prompts a running cycle uses. Raises LookupError when that run is not running."""
    statement = Q["record_prompt_hash"].bind(cycle_id=cycle_id, prompt_hash=prompt_hash)
    _require_running(await fetch_row(connection, statement), cycle_id)


async def slot_has_run(
    connection: Connection, *, agent_id: str, mode: Mode, slot_at: datetime
) -> bool:
    """Say whether a slot is used up.

    A trade slot is used up by any run that began in earnest, even one that failed or vanished, since it
    may have placed orders; the slots of other modes only by a run that was done. Dry runs and runs
    that found nothing to do use up nothing.
    """
    statement = Q["slot_has_run"].bind(agent_id=agent_id, mode=mode, slot_at=slot_at)
    return bool((await fetch_one(connection, statement))["has_run"])


async def slot_was_asked(
    connection: Connection, *, agent_id: str, mode: Mode, slot_at: datetime, besides: str
) -> bool:
    """Say whether another run of a slot than that one began to talk with Claude."""
    statement = Q["slot_was_asked"].bind(
        agent_id=agent_id, mode=mode, slot_at=slot_at, besides=besides
    )
    return bool((await fetch_one(connection, statement))["was_asked"])


async def start_session(
    connection: Connection,
    *,
    agent_id: str,
    session_date: date,
    exchange: str,
    currency: str,
    equity: Decimal,
    at: datetime,
) -> Decimal:
    """Return the equity that the day's loss is measured from: the first one given that day.

    Raises ConfigError when the day began in another currency or on another exchange.
    """
    insert = Q["insert_session"].bind(
        agent_id=agent_id,
        session_date=session_date,
        exchange=exchange,
        currency=currency,
        equity=equity,
        at=at,
    )
    await execute(connection, insert)
    row = await fetch_one(
        connection, Q["session_start"].bind(agent_id=agent_id, session_date=session_date)
    )
    if (row["exchange"], row["currency"]) != (exchange, currency):
        msg = (
            f"the session of {session_date} began on {row['exchange']} in {row['currency']}, "
            f"now {exchange} in {currency} is configured"
        )
        raise ConfigError(msg)
    return row["starting_capital"]


async def starting_cash(
    connection: Connection, *, agent_id: str, session_date: date, cash: Decimal
) -> Decimal | None:
    """Return the cash that the day began with: the first one given; None while the day has no row."""
    statement = Q["keep_starting_cash"].bind(
        agent_id=agent_id, session_date=session_date, cash=cash
    )
    row = await fetch_row(connection, statement)
    return None if row is None else row["starting_cash"]


async def record_transcript(
    connection: Connection,
    *,
    cycle_id: str,
    sequence: int,
    kind: str,
    content: object,
    at: datetime,
) -> None:
    """Keep one piece of what was said, as JSON; `sequence` orders the pieces of a run."""
    statement = Q["record_transcript"].bind(
        cycle_id=cycle_id, sequence=sequence, kind=kind, content=Json(content), at=at
    )
    await execute(connection, statement)


async def running_cycle(connection: Connection, agent_id: str) -> str | None:
    """Return the id of the agent's run that has not ended, if there is one."""
    row = await fetch_row(connection, Q["running_cycle"].bind(agent_id=agent_id))
    return None if row is None else row["cycle_id"]


async def mark_abandoned_cycles(
    connection: Connection, agent_id: str, at: datetime, *, of_monitor: bool = False
) -> tuple[str, ...]:
    """Close the rows of runs that ended without a word, and return their ids.

    Call it only while holding the agent's lock, and before the present run is written down. The monitor has
    a lock of its own, and closes only its own rows.
    """
    async with transaction(connection):
        rows = await fetch(
            connection,
            Q["mark_abandoned_cycles"].bind(
                agent_id=agent_id, at=at, reason=ABANDONED, of_monitor=of_monitor
            ),
        )
    return tuple(row["cycle_id"] for row in rows)


def seconds(duration: float) -> Decimal:
    """Keep a measured duration to the millisecond."""
    return Decimal(duration).quantize(Decimal("0.001"))


def _require_running(row: Row | None, cycle_id: str) -> None:
    if row is None:
        msg = f"cycle {cycle_id} is not running"
        raise LookupError(msg)
