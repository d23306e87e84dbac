"""Notices slots that nobody served: a row each, and one word to a person.

What a late run should still do is not decided here; `shared.due` knows when a slot is over.
"""

from collections.abc import Sequence
from datetime import datetime

from market.calendar import Calendar
from shared import due, log
from shared.config import ScheduleSettings, Settings
from shared.database import cycles, missed_slots, records
from shared.database.connection import Connection, transaction
from shared.database.cycles import CycleStatus
from shared.database.missed_slots import SlotRun
from shared.due import HasRun, Missed
from shared.due import missed_slots as over_without_a_run
from shared.models import Mode, SessionHours
from shared.schedule import Slot, slots
from stage import Stage

logger = log.get(__name__)

_CAME_TO_AN_END = frozenset({CycleStatus.DONE, CycleStatus.NOTHING_TO_DO})


async def note_missed_slots(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    schedule: ScheduleSettings,
    calendar: Calendar,
    session: SessionHours,
    now: datetime,
) -> tuple[Missed, ...]:
    """Keep the slots that are over without a run, of this session and of the agent's last one before it.

    The last one too, since nothing runs after a session's last slot to miss it. What came before the agent's first
    run of all was never due.
    """
    began = await missed_slots.began(connection, agent_id, session.session_date)
    if began.first_run_at is None:
        return ()
    before = None if began.session_before is None else calendar.session_on(began.session_before)
    found: list[Missed] = []
    async with transaction(connection):
        for hours in (before, session):
            if hours is None:
                continue
            date = hours.session_date
            runs = await missed_slots.runs_of_slots(connection, agent_id, date)
            since = began.first_run_at
            found += await missed_slots.note_missed_slots(
                connection,
                over_without_a_run(
                    [slot for slot in slots(schedule, hours) if slot.at >= since],
                    now,
                    grace_minutes=schedule.grace_minutes,
                    has_run=served_by(runs),
                ),
                agent_id=agent_id,
                session_date=date,
                at=now,
            )
        if found:
            await _tell(connection, found, agent_id=agent_id, cycle_id=cycle_id, now=now)
    return tuple(found)


async def nothing_due(
    connection: Connection, settings: Settings, stage: Stage, mode: Mode
) -> str | None:
    """Say why a run for a slot has nothing to do after all; None where the slot is due and not used up.

    A slot that it comes too late for is kept as missed at once. A rehearsal goes from slot to slot by itself.
    """
    if settings.rehearsal is not None or stage.slot is None:
        return None
    agent_id, schedule = settings.agent.id, settings.schedule
    session, now = stage.session, stage.clock.now()
    if stage.slot.is_due(now, schedule.grace_minutes):
        is_used = await cycles.slot_has_run(
            connection, agent_id=agent_id, mode=mode, slot_at=stage.slot.at
        )
    else:
        runs = await missed_slots.runs_of_slots(connection, agent_id, session.session_date)
        is_used = served_by(runs)(stage.slot)
    found = due.verdict(
        slots(schedule, session),
        mode,
        now,
        grace_minutes=schedule.grace_minutes,
        has_run=lambda _: is_used,
    )
    match found:
        case due.Due():
            return None
        case due.NotDue(why=why):
            return why
        case due.Missed(why=why):
            await note_missed_slots(
                connection,
                agent_id=agent_id,
                cycle_id=None,
                schedule=schedule,
                calendar=stage.calendar,
                session=session,
                now=now,
            )
            return why


def served_by(runs: Sequence[SlotRun]) -> HasRun:
    """Say which slots were served: an entry slot by any run, since it runs once; others by one that did not fail.

    A run that rightly found nothing to do came in time, so its slot was not missed.
    """
    served = {
        (run.mode, run.slot_at)
        for run in runs
        if run.mode is Mode.TRADE or run.status in _CAME_TO_AN_END
    }

    def has_run(slot: Slot) -> bool:
        return (slot.mode, slot.at) in served

    return has_run


async def _tell(
    connection: Connection,
    found: Sequence[Missed],
    *,
    agent_id: str,
    cycle_id: str | None,
    now: datetime,
) -> None:
    first = found[0].slot
    subject = "a slot was missed" if len(found) == 1 else f"{len(found)} slots were missed"
    body = "; ".join(f"{one.slot.at:%Y-%m-%d}: {one.why}" for one in found)
    logger.warning("slots_missed", slots=body)
    await records.queue_alert(
        connection,
        agent_id=agent_id,
        cycle_id=cycle_id,
        severity="warning",
        subject=subject,
        body=f"{body}. They are not made up for.",
        dedupe_key=f"missed-{first.mode}-{first.at:%Y%m%dT%H%M}",
        at=now,
    )
