"""The one seam through which Catalyst learns the time, and waits."""

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from shared.models import utc


class Clock(Protocol):
    """Anything that can say what time it is."""

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait until this clock is that much further."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        import asyncio  # the log needs a clock and no event loop

        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved, and only moves forward."""

    def __init__(self, start: datetime) -> None:
        """Begin at `start`."""
        self._now: datetime = utc(start)

    def now(self) -> datetime:
        """Return where the clock stands."""
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Move forward to `moment`; going back is an error."""
        moment = utc(moment)
        if moment < self._now:
            msg = f"a clock cannot go back from {self._now.isoformat()} to {moment.isoformat()}"
            raise ValueError(msg)
        self._now = moment

    async def sleep(self, seconds: float) -> None:
        """Move that much forward; nobody has to wait for it."""
        import asyncio

        self.move_to(self._now + timedelta(seconds=seconds))
        await asyncio.sleep(0)


class RunningClock:
    """A clock that was set once and goes at the pace of the wall since, whatever becomes of that one."""

    def __init__(self, start: datetime) -> None:
        """Begin at `start`."""
        self._start: datetime = utc(start)
        self._since: float = time.monotonic()

    def now(self) -> datetime:
        """Return how far it is."""
        return self._start + timedelta(seconds=time.monotonic() - self._since)

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await SystemClock().sleep(seconds)


def drift_seconds(there: datetime, *, asked_at: datetime, answered_at: datetime) -> float:
    """How far another clock is ahead of ours, below 0 behind, by what it said between two of our moments.

    What fits between question and answer is no drift, however long the answer took.
    """
    if there > answered_at:
        return (there - answered_at).total_seconds()
    return min(0.0, (there - asked_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class BootMoment:
    """A moment as this machine counts it since it was started, asleep or awake; nobody can set it."""

    boot_id: str
    """Which start of the machine; moments of different ones cannot be compared."""
    seconds: float


def boot_moment() -> BootMoment | None:
    """Return the present moment since the machine's start; None where the machine does not say."""
    if sys.platform != "linux":
        return None
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return BootMoment(boot_id=boot_id, seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
