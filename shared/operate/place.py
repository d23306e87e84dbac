"""Puts together what a command works with: whose agent, what time it is there, and its database.

In a rehearsal the time is where the bookmark stands.
"""

import os
import pwd
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from market import calendar as calendars
from market.calendar import Calendar
from rehearsal import bookmark as bookmarks
from rehearsal.bookmark import Bookmark
from shared.clock import Clock, ManualClock, SystemClock
from shared.config import Configuration, Settings
from shared.database.connection import Connection
from shared.database.opening import open_trading
from shared.errors import Busy, CatalystError
from shared.log import LogOutcome
from shared.models import Mode
from stage import NotDue, Setting, Stage


class NoRehearsal(CatalystError):
    """Nothing was ever played, so there is nothing to ask and nothing to sell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One agent on this machine."""

    configuration: Configuration
    environ: Mapping[str, str]
    home: Path
    bookmark: Bookmark | None
    """Where the rehearsal stands; None where none was begun, and for a real agent."""
    wall: Clock = field(default_factory=SystemClock)
    """What a real agent goes by."""
    logged: LogOutcome | None = None
    """Where the log goes; None for what changes nothing."""

    @property
    def settings(self) -> Settings:
        """The agent's settings."""
        return self.configuration.settings

    @property
    def agent_id(self) -> str:
        """The agent's name."""
        return self.settings.agent.id

    @property
    def folder(self) -> Path:
        """Where rehearsals are kept."""
        return rehearsals(self.home)

    @property
    def clock(self) -> Clock:
        """The agent's clock."""
        return self.wall if self.bookmark is None else ManualClock(self.bookmark.clock)

    def calendar(self) -> Calendar:
        """Open the exchange's calendar."""
        return calendars.load(self.settings.market.exchange)

    def session_began_at(self) -> datetime:
        """From when on things count as today's: the session's open, or now on a day without one."""
        calendar, now = self.calendar(), self.clock.now()
        session = calendar.session_on(calendar.exchange_date(now))
        return now if session is None else session.opens_at

    def begun(self) -> Bookmark:
        """Return where the rehearsal stands. Raises NoRehearsal."""
        if self.bookmark is None:
            msg = (
                f"no rehearsal of {self.agent_id} was begun in {self.folder}: `make run` begins one"
            )
            raise NoRehearsal(msg)
        return self.bookmark

    @property
    def database_names(self) -> tuple[str, str]:
        """The two databases where they are embedded, else empty. Raises NoRehearsal."""
        if self.settings.database.kind != "embedded":
            return ("", "")
        bookmark = self.begun()
        return (bookmark.database_name, bookmark.research_database_name)

    def stage(self, mode: Mode) -> Stage:
        """Set the stage where the agent stands, for what no slot is for. Raises NoRehearsal and Busy."""
        if self.settings.rehearsal is not None:
            self.begun()
        setting = Setting(configuration=self.configuration, home=self.home, clock=self.wall)
        stage = setting.for_slot(self.calendar(), mode, force=True)
        if isinstance(stage, NotDue):
            raise Busy(stage.why)
        return stage

    async def trading(self, stack: AsyncExitStack) -> Connection:
        """Open the trading database; the stack closes it. Raises DatabaseUnavailable and NoRehearsal."""
        return await open_trading(
            stack,
            self.configuration,
            environ=self.environ,
            home=self.home,
            embedded_name=self.database_names[0],
        )


def find_place(
    configuration: Configuration,
    environ: Mapping[str, str],
    home: Path,
    logged: LogOutcome | None = None,
    *,
    wall: Clock | None = None,
) -> Place:
    """Look where the agent stands. Raises ConfigError for a bookmark that cannot be read."""
    bookmark = None
    if configuration.settings.rehearsal is not None:
        bookmark = bookmarks.read(rehearsals(home))
    return Place(
        configuration=configuration,
        environ=environ,
        home=home,
        bookmark=bookmark,
        wall=wall or SystemClock(),
        logged=logged,
    )


def rehearsals(home: Path) -> Path:
    """Return where rehearsals are kept."""
    return home / "rehearsal"


def operator_name(environ: Mapping[str, str]) -> str:
    """Name who gives the command: the account of this process, and who became it by sudo."""
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"uid {number}"
    behind = environ.get("SUDO_USER")
    return f"{name} (sudo by {behind})" if behind else name
