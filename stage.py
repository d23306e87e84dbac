"""Where a run plays: whose time it is, which session, which market and which broker.

A rehearsal sets it from its bookmark and its recording, an agent with a real broker from the wall's clock.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from market.base import Feed
from market.calendar import Calendar
from shared.clock import Clock
from shared.config import Configuration
from shared.models import Mode, SessionHours
from shared.schedule import Slot

if TYPE_CHECKING:
    from brokers.base import Broker


class Stage(Protocol):
    """One run's surroundings, ready to be played on."""

    @property
    def home(self) -> Path:
        """The data directory."""
        ...

    @property
    def clock(self) -> Clock:
        """What time it is."""
        ...

    @property
    def calendar(self) -> Calendar:
        """The exchange's calendar."""
        ...

    @property
    def session(self) -> SessionHours:
        """The session that the run belongs to; it may not have begun, or be over."""
        ...

    @property
    def slot(self) -> Slot | None:
        """The slot that the run is for; None for one that nobody scheduled."""
        ...

    @property
    def database_names(self) -> tuple[str, str]:
        """The trading and the research database, where they are embedded; else empty."""
        ...

    @property
    def data_label(self) -> str:
        """What Claude is told about where the market data come from."""
        ...

    def feed(self) -> Feed:
        """Open the market data up to the clock."""
        ...

    def broker(self) -> "Broker":
        """Open the account."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDue:
    """There is nothing to play; the sentence says what there is instead."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A time in one session in which the position monitor watches."""

    stage: Stage
    until: datetime
    """The last moment of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a stage is set from."""

    configuration: Configuration
    home: Path
    clock: Clock
    """The wall's; a rehearsal goes by its own."""

    @property
    def is_rehearsal(self) -> bool:
        """Whether time, market and broker are played."""
        return self.configuration.settings.rehearsal is not None

    @property
    def _rehearsals(self) -> Path:
        return self.home / "rehearsal"

    def for_slot(
        self, calendar: Calendar, mode: Mode, *, force: bool, dry_run: bool = False
    ) -> Stage | NotDue:
        """Set the stage for the slot of a mode that is due; with force, for where the time stands.

        Raises ConfigError, and CalendarExhausted on a day that the calendar does not know.
        """
        if self.is_rehearsal:
            from rehearsal.stage import set_stage

            settings = self.configuration.settings
            return set_stage(
                settings, self._rehearsals, calendar, mode, force=force, dry_run=dry_run
            )
        import live_stage

        return live_stage.for_slot(self, calendar, mode, force=force)

    def ahead(self, calendar: Calendar) -> Stage | NotDue:
        """Set the stage where the time stands, before anything of the session to come."""
        if self.is_rehearsal:
            from rehearsal.stage import before_session

            return before_session(self.configuration.settings, self._rehearsals, calendar)
        import live_stage

        return live_stage.ahead(self, calendar)

    def watch(self, calendar: Calendar, *, at_the_walls_pace: bool) -> Watch | NotDue:
        """Give the time that is to be watched from now on."""
        if self.is_rehearsal:
            from rehearsal.stage import watch_now

            return watch_now(
                self.configuration.settings,
                self._rehearsals,
                calendar,
                at_the_walls_pace=at_the_walls_pace,
            )
        import live_stage

        return live_stage.watch_now(self, calendar)


def keep_time(stage: Stage) -> None:
    """Let a rehearsal stand where a run that waited came to; the wall needs nobody for that."""
    from rehearsal.stage import Stage as Rehearsed
    from rehearsal.stage import keep_time as keep

    if isinstance(stage, Rehearsed):
        keep(stage)
