"""Which mode is due when: slots measured from a session's own open and close.

Knows no clock and no calendar: settings and one session's hours go in, moments in UTC come out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from shared.config import ScheduleSettings, Settings
from shared.models import Mode, SessionHours, require_aware

LONGEST_PART_MINUTES = {"XNYS": 390, "XHKG": 180}
"""Of a regular session: the whole of it in New York, the afternoon in Hong Kong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One moment at which one mode should run."""

    mode: Mode
    at: datetime
    until: datetime | None = None
    """A close stays due up to, and without, this end of its part; None where the grace decides."""

    def __post_init__(self) -> None:
        require_aware(self.at, "at")

    def is_due(self, now: datetime, grace_minutes: int) -> bool:
        """Whether a run that starts at `now` still serves this slot."""
        if self.until is not None:
            return self.at <= now < self.until
        return self.at <= now <= self.at + _minutes(grace_minutes)


def slots(schedule: ScheduleSettings, hours: SessionHours) -> tuple[Slot, ...]:
    """Every slot of one session in time order.

    Each part of a session has its own trades and its own close, so that nothing is bought shortly before
    lunch, nothing just after it, and what is to be sold before lunch is; on a half day there is one part
    and one close. An early close moves the last trade, the close and the heartbeat with it. A close slot
    that would come before its part's open is left out.
    """
    scan_at = hours.opens_at - _minutes(schedule.scan_minutes_before_open)
    heartbeat_at = hours.closes_at + _minutes(schedule.heartbeat_minutes_after_close)
    return (
        Slot(mode=Mode.SCAN, at=scan_at),
        *(slot for part in hours.parts for slot in _during(schedule, part)),
        Slot(mode=Mode.HEARTBEAT, at=heartbeat_at),
    )


def startup_at(schedule: ScheduleSettings, hours: SessionHours) -> datetime:
    """When the startup monitor brings broker and records level, before anything else of that session."""
    return hours.opens_at - _minutes(schedule.startup_minutes_before_open)


def due_slot(slots: Sequence[Slot], mode: Mode, now: datetime, grace_minutes: int) -> Slot | None:
    """The latest slot of that mode that is due, or None: then nothing is."""
    due = [slot for slot in slots if slot.mode is mode and slot.is_due(now, grace_minutes)]
    return max(due, key=lambda slot: slot.at, default=None)


def next_slot(slots: Sequence[Slot], after: datetime, mode: Mode | None = None) -> Slot | None:
    """The first slot later than `after`, of that mode when one is given; None when there is none left."""
    later = [slot for slot in slots if slot.at > after and mode in {None, slot.mode}]
    return min(later, key=lambda slot: slot.at, default=None)


def may_hold_past(
    schedule: ScheduleSettings, hours: SessionHours, part: tuple[datetime, datetime]
) -> bool:
    """Whether positions may outlive that part of a session: over lunch, or overnight after its last one."""
    is_last = part == hours.parts[-1]
    return schedule.may_hold_overnight if is_last else schedule.may_hold_over_lunch


def problems(schedule: ScheduleSettings, exchange: Literal["XNYS", "XHKG"]) -> tuple[str, ...]:
    """Everything about these settings that cannot work on a regular day there, one sentence each."""
    return tuple(_problems(schedule, LONGEST_PART_MINUTES[exchange]))


def impossible_schedule(settings: Settings) -> Sequence[tuple[tuple[str | int, ...], str]]:
    """List what cannot work about an agent's schedule, for the loading of its configuration."""
    found = problems(settings.schedule, settings.market.exchange)
    return [(("schedule",), sentence) for sentence in found]


def _during(schedule: ScheduleSettings, part: tuple[datetime, datetime]) -> tuple[Slot, ...]:
    opens, closes = part
    close_at = closes - _minutes(schedule.close_minutes_before_close)
    found = [Slot(mode=Mode.TRADE, at=at) for at in _trade_times(schedule, part)]
    if close_at >= opens:
        found.append(Slot(mode=Mode.CLOSE, at=close_at, until=closes))
    return tuple(sorted(found, key=lambda slot: slot.at))


def _problems(schedule: ScheduleSettings, longest_part: int) -> Iterator[str]:
    first, last = schedule.first_trade_minutes_after_open, schedule.last_trade_minutes_before_close
    close, grace = schedule.close_minutes_before_close, schedule.grace_minutes
    if first + last > longest_part:
        yield (
            f"{longest_part} minutes of trading on end have no trade slot when the first is {first} "
            f"minutes after the open and the last {last} minutes before the close"
        )
    if close >= last:
        yield (
            f"close_minutes_before_close must be less than last_trade_minutes_before_close, "
            f"was {close} against {last}"
        )
    startup, scan = schedule.startup_minutes_before_open, schedule.scan_minutes_before_open
    if startup - grace < scan:
        yield (
            f"startup_minutes_before_open less grace_minutes must not be less than "
            f"scan_minutes_before_open, was {startup} less {grace} against {scan}: the scan could "
            f"come before the books are level"
        )
    if grace >= schedule.trade_every_minutes:
        yield (
            f"grace_minutes must be less than trade_every_minutes, was {grace} against "
            f"{schedule.trade_every_minutes}: two trade slots would be due at once"
        )


def _trade_times(schedule: ScheduleSettings, part: tuple[datetime, datetime]) -> Iterator[datetime]:
    opens, closes = part
    at = opens + _minutes(schedule.first_trade_minutes_after_open)
    last = closes - _minutes(schedule.last_trade_minutes_before_close)
    while at <= last:
        yield at
        at += _minutes(schedule.trade_every_minutes)


def _minutes(count: int) -> timedelta:
    return timedelta(minutes=count)
