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

    def __post_init__(self) -> None:
        require_aware(self.at, "at")


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


def due_slot(slots: Sequence[Slot], mode: Mode, now: datetime, grace_minutes: int) -> Slot | None:
    """The latest slot of that mode that began at most `grace_minutes` ago, or None: then nothing is due."""
    grace = _minutes(grace_minutes)
    begun = [slot for slot in slots if slot.mode is mode and slot.at <= now <= slot.at + grace]
    return max(begun, key=lambda slot: slot.at, default=None)


def next_slot(slots: Sequence[Slot], after: datetime, mode: Mode | None = None) -> Slot | None:
    """The first slot later than `after`, of that mode when one is given; None when there is none left."""
    later = [slot for slot in slots if slot.at > after and mode in {None, slot.mode}]
    return min(later, key=lambda slot: slot.at, default=None)


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
        found.append(Slot(mode=Mode.CLOSE, at=close_at))
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
    if grace >= close:
        yield (
            f"grace_minutes must be less than close_minutes_before_close, was {grace} against {close}: "
            f"the close run could start after the close"
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
