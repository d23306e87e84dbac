"""Which slots were run, and which nobody served, as rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from shared.database.connection import Connection, fetch, fetch_one, fetch_row
from shared.database.cycles import CycleStatus
from shared.due import Missed
from shared.models import Mode
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """Since when an agent runs."""

    first_run_at: datetime | None
    """None before its first run that was no dry run."""
    session_before: date | None
    """The session before the one asked about in which it ran last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRun:
    """One run that was for a slot."""

    mode: Mode
    slot_at: datetime
    status: CycleStatus


async def began(connection: Connection, agent_id: str, session_date: date) -> Began:
    """Say since when an agent runs."""
    statement = Q["agent_began"].bind(agent_id=agent_id, session_date=session_date)
    return Began(**await fetch_one(connection, statement))


async def runs_of_slots(
    connection: Connection, agent_id: str, session_date: date
) -> tuple[SlotRun, ...]:
    """List the runs that were for a slot of a session; dry runs serve none."""
    statement = Q["runs_of_slots"].bind(agent_id=agent_id, session_date=session_date)
    return tuple(
        SlotRun(mode=Mode(row["mode"]), slot_at=row["slot_at"], status=CycleStatus(row["status"]))
        for row in await fetch(connection, statement)
    )


async def note_missed_slots(
    connection: Connection,
    missed: Sequence[Missed],
    *,
    agent_id: str,
    session_date: date,
    at: datetime,
) -> tuple[Missed, ...]:
    """Keep slots that nobody served, and return those that were not known to be missed."""
    new: list[Missed] = []
    for one in missed:
        statement = Q["note_missed_slot"].bind(
            agent_id=agent_id,
            mode=one.slot.mode,
            slot_at=one.slot.at,
            session_date=session_date,
            at=at,
            why=one.why,
        )
        if await fetch_row(connection, statement) is not None:
            new.append(one)
    return tuple(new)
