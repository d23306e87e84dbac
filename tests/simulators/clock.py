"""The clock of a simulated broker."""

from datetime import datetime

from shared.clock import ManualClock, RunningClock


class SimulatorClock:
    """Stands still until it is moved, or runs from where it was let go."""

    def __init__(self, start: datetime) -> None:
        self._clock: ManualClock | RunningClock = ManualClock(start)

    def now(self) -> datetime:
        """Return where it stands."""
        return self._clock.now()

    def move_to(self, moment: datetime) -> None:
        """Move forward; a running clock runs on from there."""
        if isinstance(self._clock, ManualClock):
            self._clock.move_to(moment)
        else:
            self._clock = RunningClock(moment)

    def let_run(self) -> None:
        """Go at the wall's pace from now on."""
        self._clock = RunningClock(self.now())

    async def sleep(self, seconds: float) -> None:
        """Wait as a clock of this kind does."""
        await self._clock.sleep(seconds)
