"""What stands in a lock file: who holds it, and until when. Whether that has run out is decided here.

Knows neither the file nor the process.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import cast

from shared.clock import BootMoment


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that wrote itself into a lock file."""

    pid: int
    process_started_ticks: int | None
    mode: str
    since: str
    """Its clock's time, for people: nothing is decided by it."""
    lease_ends: str
    """The same."""
    ends_at: BootMoment | None
    """When its lease ends, by a clock that nobody can set; None where the machine has none."""

    def has_expired(self, now: BootMoment | None) -> bool:
        """Whether its lease is over; never, by a clock that cannot be compared with its own."""
        ends_at = self.ends_at
        if ends_at is None or now is None or ends_at.boot_id != now.boot_id:
            return False
        return now.seconds >= ends_at.seconds

    def is_process_of(self, other: "Holder") -> bool:
        """Whether both are the same process, however often it renewed its lease."""
        return (self.pid, self.process_started_ticks) == (other.pid, other.process_started_ticks)

    def as_json(self) -> bytes:
        """Return what is written into the file."""
        ends_at = self.ends_at
        return json.dumps(
            {
                "pid": self.pid,
                "process_started_ticks": self.process_started_ticks,
                "mode": self.mode,
                "since": self.since,
                "lease_ends": self.lease_ends,
                "boot_id": None if ends_at is None else ends_at.boot_id,
                "lease_ends_boot_seconds": None if ends_at is None else round(ends_at.seconds, 3),
            }
        ).encode()

    def __str__(self) -> str:
        return f"mode {self.mode}, pid {self.pid}, since {self.since}"


class Cause(StrEnum):
    """Why a run may be ended by another one."""

    EXPIRED = "its lease had ended"
    PREEMPTED = "close mode needed the lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that had to let go of its lock."""

    holder: Holder
    cause: Cause
    was_killed: bool
    """It did not end by itself when it was asked to."""

    @property
    def is_alarming(self) -> bool:
        """Whether a person should know: everything but a run that made room for close as it should."""
        return self.was_killed or self.cause is Cause.EXPIRED

    def __str__(self) -> str:
        how = "was killed" if self.was_killed else "was ended"
        return f"the run in {self.holder} {how}: {self.cause}"


def holder_now(
    *,
    pid: int,
    ticks: int | None,
    mode: str,
    lease_seconds: float,
    now: datetime,
    since_boot: BootMoment | None,
) -> Holder:
    """Describe a process that holds the lock from now on."""
    ends_at = since_boot and BootMoment(
        boot_id=since_boot.boot_id, seconds=since_boot.seconds + lease_seconds
    )
    return Holder(
        pid=pid,
        process_started_ticks=ticks,
        mode=mode,
        since=_text(now),
        lease_ends=_text(now + timedelta(seconds=lease_seconds)),
        ends_at=ends_at,
    )


def holder_in(content: bytes) -> Holder | None:
    """Read what a holder wrote; None where that is missing or torn."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return _holder(cast("dict[str, object]", found))


def _holder(found: Mapping[str, object]) -> Holder | None:
    pid, ticks, mode = (found.get(name) for name in ("pid", "process_started_ticks", "mode"))
    if not isinstance(pid, int) or not isinstance(mode, str) or pid <= 0:
        return None
    return Holder(
        pid=pid,
        process_started_ticks=ticks if isinstance(ticks, int) else None,
        mode=mode,
        since=str(found.get("since")),
        lease_ends=str(found.get("lease_ends")),
        ends_at=_ends_at(found.get("boot_id"), found.get("lease_ends_boot_seconds")),
    )


def _ends_at(boot_id: object, seconds: object) -> BootMoment | None:
    if not isinstance(boot_id, str) or not isinstance(seconds, int | float):
        return None
    return BootMoment(boot_id=boot_id, seconds=seconds)


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
