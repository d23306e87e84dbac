"""Whether a run that cron has started serves a slot, and which slots nobody served.

Knows no clock, no calendar and no database: the slots of one session, a moment, and what has been run
come in. Cron fires at every UTC minute at which a slot can fall; here it is decided which of them count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.config import ScheduleSettings
from shared.models import Mode, SessionHours
from shared.schedule import Slot, due_slot, next_slot, startup_at

HasRun = Callable[[Slot], bool]
"""Whether a slot is used up: an entry slot by any run that began in earnest, a close slot by a run that
left nothing to sell, the others by a run that was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The run is for this slot."""

    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDue:
    """There is rightly nothing to do; the sentence says why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A slot has gone by without a run; it is not made up for, and a person is told why."""

    slot: Slot
    why: str


Verdict = Due | NotDue | Missed


def verdict(
    slots: Sequence[Slot], mode: Mode, now: datetime, *, grace_minutes: int, has_run: HasRun
) -> Verdict:
    """Judge a run of that mode that starts at `now`; `slots` are the session's, none on a day without one.

    A slot that has been run is never due again. A close slot stays due until its part of the session ends,
    so that a close is repeated until nothing is held.
    """
    if not slots:
        return NotDue(why="the exchange has no session today")
    due = due_slot(slots, mode, now, grace_minutes)
    if due is not None:
        return NotDue(why=f"the {_name(due)} has been run") if has_run(due) else Due(slot=due)
    begun = [slot for slot in slots if slot.mode is mode and slot.at <= now]
    latest = max(begun, key=lambda slot: slot.at, default=None)
    if latest is not None and not has_run(latest):
        return Missed(slot=latest, why=_too_late(latest, now))
    following = next_slot(slots, now, mode)
    if following is None:
        return NotDue(why=f"no {mode} slot is left in this session")
    return NotDue(why=f"the next {_name(following)} has not come")


def missed_slots(
    slots: Sequence[Slot], now: datetime, *, grace_minutes: int, has_run: HasRun
) -> tuple[Missed, ...]:
    """Find every slot of the session, of whatever mode, that is over without having been run."""
    over = (slot for slot in slots if slot.at <= now and not slot.is_due(now, grace_minutes))
    return tuple(Missed(slot=slot, why=_too_late(slot, now)) for slot in over if not has_run(slot))


def startup_is_due(schedule: ScheduleSettings, hours: SessionHours | None, now: datetime) -> bool:
    """Whether a startup monitor that cron started at `now` belongs to today's session, if there is one.

    Cron fires it at the hours of summer and of winter time, and only one of the two is right.
    """
    if hours is None:
        return False
    at = startup_at(schedule, hours)
    return at <= now <= at + timedelta(minutes=schedule.grace_minutes)


def _too_late(slot: Slot, now: datetime) -> str:
    late = int((now - slot.at).total_seconds() // 60)
    if slot.until is not None:
        return f"the {_name(slot)} was not served before {slot.until:%H:%M} UTC, when trading ended"
    return f"the {_name(slot)} was not run in time: it is {late} minutes late"


def _name(slot: Slot) -> str:
    return f"{slot.mode} slot of {slot.at:%H:%M} UTC"
