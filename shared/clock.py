"""The one seam through which Catalyst learns the time, and waits."""

import asyncio
from datetime import UTC, datetime, timedelta
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
        self.move_to(self._now + timedelta(seconds=seconds))
        await asyncio.sleep(0)
