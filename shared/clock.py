"""The one seam through which Catalyst learns the time."""

from datetime import UTC, datetime
from typing import Protocol

from shared.models import utc


class Clock(Protocol):
    """Anything that can say what time it is."""

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)


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
