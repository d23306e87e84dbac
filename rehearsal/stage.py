"""Sets a rehearsal's stage: the session, its clock, the recorded feed, the paper exchange, the databases.

Plays the part that an exchange, a data vendor and a wall clock play for a real agent.
"""

import asyncio
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from market.calendar import Calendar
from market.recorded import RecordedFeed
from market.recording import Recording
from rehearsal import bookmark as bookmarks
from rehearsal.bookmark import DATABASE_PREFIX, Bookmark
from shared import trading_state
from shared.clock import Clock, ManualClock, RunningClock
from shared.config import RehearsalSettings, Settings
from shared.embedded_postgres import Server, database_names, drop_database
from shared.errors import ConfigError
from shared.models import Mode, QuoteSource, SessionHours
from shared.schedule import Slot, next_slot, slots
from stage import NotDue, Watch

if TYPE_CHECKING:
    from brokers.base import Broker

_INSTANT = timedelta(seconds=1)
"""So long before a slot the time of waiting for it ends."""

KEPT_REHEARSALS = 2
"""Databases and exchanges of this many rehearsals are kept, the present one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One slot of a rehearsal, ready to be played."""

    settings: Settings
    folder: Path
    bookmark: Bookmark
    clock: Clock
    calendar: Calendar
    session: SessionHours
    slot: Slot | None
    recording: Recording

    @property
    def home(self) -> Path:
        """The data directory."""
        return self.folder.parent

    @property
    def database_names(self) -> tuple[str, str]:
        """The trading and the research database of this rehearsal."""
        return (self.bookmark.database_name, self.bookmark.research_database_name)

    @property
    def data_label(self) -> str:
        """What Claude is told about where the market data come from."""
        return self.recording.description.label

    def feed(self) -> RecordedFeed:
        """Open the session's market data up to the clock."""
        return RecordedFeed(self.recording, self.clock)

    def broker(self) -> "Broker":
        """Open the paper exchange."""
        from brokers.paper import PaperBroker

        return PaperBroker(
            self.folder / f"exchange-{self.bookmark.number}.sqlite",
            self.recording,
            self.clock,
            account_id=f"PAPER-REHEARSAL-{self.bookmark.number}",
            currency=self.settings.market.currency,
            starting_cash=self.settings.broker.starting_cash,
            volume_share_pct=self.settings.broker.volume_share_pct,
        )


def begin(
    settings: Settings,
    folder: Path,
    calendar: Calendar,
    *,
    data: Path | None = None,
    instruments: Path | None = None,
    session: date | None = None,
) -> Bookmark:
    """Begin a new rehearsal before the first slot of its first session.

    Raises ConfigError when the data or the calendar has no such session.
    """
    earlier = bookmarks.read_number(folder)
    if earlier:
        # what a person said about an account that is gone; said before the first one, it still holds
        trading_state.forget(folder.parent, settings.agent.id)
    bookmark = Bookmark(
        number=earlier + 1,
        token=secrets.token_hex(2),
        session_date=session or _first_session(settings, calendar, data, instruments),
        clock=datetime.fromisoformat("2000-01-01T00:00:00+00:00"),
        played=True,
        data=data,
        instruments=instruments,
        only_session=session is not None,
    )
    hours = _hours(calendar, bookmark.session_date)
    if (
        data is not None
        and bookmark.session_date not in _recorded(settings, calendar, bookmark).sessions()
    ):
        msg = f"{data} has no bars of {bookmark.session_date}"
        raise ConfigError(msg)
    first = slots(settings.schedule, hours)[0]
    bookmark = replace(bookmark, clock=first.at - timedelta(minutes=1))
    bookmarks.write(folder, bookmark)
    _forget_old_exchanges(folder, bookmark.number)
    return bookmark


def set_stage(
    settings: Settings,
    folder: Path,
    calendar: Calendar,
    mode: Mode,
    *,
    force: bool,
    dry_run: bool = False,
) -> Stage | NotDue:
    """Move the rehearsal to the next slot of this mode; with force, stay where it stands.

    A dry run goes to that slot too, and leaves it to be played. A session whose last slot has been played is followed by the next one.
    """
    bookmark = bookmarks.read(folder) or begin(settings, folder, calendar)
    if force:
        return _stage(settings, folder, calendar, bookmark, None)
    found = _upcoming(settings, calendar, bookmark, mode)
    if isinstance(found, NotDue):
        return found
    hours, slot = found
    bookmark = bookmark.at(hours.session_date, slot.at, played=not dry_run)
    bookmarks.write(folder, bookmark)
    return _stage(settings, folder, calendar, bookmark, slot)


def watches_before_slot(
    settings: Settings, folder: Path, calendar: Calendar, mode: Mode
) -> tuple[Watch, ...]:
    """Give the times that pass before the next slot of a mode begins, one for each session."""
    bookmark = bookmarks.read(folder)
    if bookmark is None:
        return ()
    found = _upcoming(settings, calendar, bookmark, mode)
    if isinstance(found, NotDue):
        return ()
    days = dict.fromkeys((bookmark.session_date, found[0].session_date))
    until = found[1].at - _INSTANT
    watches = (_watch(settings, folder, calendar, bookmark, day, until) for day in days)
    return tuple(watch for watch in watches if watch is not None)


def watch_now(
    settings: Settings, folder: Path, calendar: Calendar, *, at_the_walls_pace: bool
) -> Watch | NotDue:
    """Give the time from where the rehearsal stands to its next slot of whatever mode.

    At the pace of the wall it is a whole session, through all of its slots, as it is for a real agent.
    """
    bookmark = bookmarks.read(folder) or begin(settings, folder, calendar)
    hours = _hours(calendar, bookmark.session_date)
    slot = next_slot(slots(settings.schedule, hours), bookmark.after)
    until = hours.closes_at + _margin(settings)
    if slot is not None and not at_the_walls_pace:
        until = slot.at - _INSTANT
    return _watch(
        settings,
        folder,
        calendar,
        bookmark,
        hours.session_date,
        until,
        at_the_walls_pace=at_the_walls_pace,
    ) or NotDue(why=f"there is nothing to watch before {until:%Y-%m-%d %H:%M} UTC")


def keep_time(stage: Stage) -> None:
    """Let the rehearsal stand where a run that waited came to: time does not go back at its exchange."""
    if stage.bookmark.played and stage.clock.now() > stage.bookmark.clock:
        there = stage.bookmark.at(stage.bookmark.session_date, stage.clock.now())
        bookmarks.write(stage.folder, there)


def before_session(settings: Settings, folder: Path, calendar: Calendar) -> Stage:
    """Set the stage where the rehearsal stands, for the session that its next slot belongs to."""
    bookmark = bookmarks.read(folder) or begin(settings, folder, calendar)
    stage = _stage(settings, folder, calendar, bookmark, None)
    return replace(stage, session=_session_ahead(stage))


def _session_ahead(stage: Stage) -> SessionHours:
    """Return the session that the rehearsal's next slot belongs to; the last one when none is left."""
    if next_slot(slots(stage.settings.schedule, stage.session), stage.bookmark.after) is not None:
        return stage.session
    following = _following_session(stage.settings, stage.calendar, stage.bookmark)
    return stage.session if following is None else _hours(stage.calendar, following)


def sessions_to_play(
    settings: Settings, calendar: Calendar, bookmark: Bookmark
) -> tuple[date, ...]:
    """List the sessions of a rehearsal from its bookmark on: all of a recording, one generated day."""
    if bookmark.data is None or bookmark.only_session:
        return (bookmark.session_date,)
    recorded = _recorded(settings, calendar, bookmark).sessions()
    return tuple(day for day in recorded if day >= bookmark.session_date)


def describe(settings: Settings, folder: Path, calendar: Calendar, bookmark: Bookmark) -> str:
    """Say what data a rehearsal plays, and what of it is modelled; a session is made if need be."""
    recording = _recording(settings, folder, calendar, bookmark)
    sentences = [f"Market data: {recording.description.label}"]
    if recording.description.quotes is QuoteSource.MODELLED:
        sentences.append("bid and ask are modelled from the bars")
    if recording.left_out:
        sentences.append(f"{recording.left_out} bars outside trading hours are left out")
    return "; ".join(sentences) + "."


def forget_other_databases(server: Server, kept: Collection[Bookmark]) -> None:
    """Drop the databases of all rehearsals but these."""
    names = {name for one in kept for name in (one.database_name, one.research_database_name)}

    async def drop() -> None:
        for name in await database_names(server, DATABASE_PREFIX):
            if name not in names:
                await drop_database(server, name)

    asyncio.run(drop())


def _upcoming(
    settings: Settings, calendar: Calendar, bookmark: Bookmark, mode: Mode
) -> tuple[SessionHours, Slot] | NotDue:
    """Find the next slot of a mode, in the following session where the present one has none of any."""
    hours = _hours(calendar, bookmark.session_date)
    if next_slot(slots(settings.schedule, hours), bookmark.after) is None:
        following = _following_session(settings, calendar, bookmark)
        if following is None:
            return NotDue(why=f"the rehearsal ended with the session of {bookmark.session_date}")
        bookmark = bookmark.at(following, bookmark.clock, played=True)
        hours = _hours(calendar, following)
    slot = next_slot(slots(settings.schedule, hours), bookmark.after, mode)
    if slot is None:
        upcoming = next_slot(slots(settings.schedule, hours), bookmark.after)
        return NotDue(why=_nothing_left(mode, hours, upcoming, calendar))
    return hours, slot


def _watch(
    settings: Settings,
    folder: Path,
    calendar: Calendar,
    bookmark: Bookmark,
    day: date,
    until: datetime,
    *,
    at_the_walls_pace: bool = False,
) -> Watch | None:
    """Give what of a session there is to watch up to then; None where that is nothing."""
    hours, margin = _hours(calendar, day), _margin(settings)
    since = max(bookmark.clock, hours.opens_at - margin)
    until = min(until, hours.closes_at + margin)
    if since >= until:
        return None
    stage = _stage(
        settings, folder, calendar, bookmark.at(day, since, played=bookmark.played), None
    )
    if at_the_walls_pace:
        stage = replace(stage, clock=RunningClock(since))
    return Watch(stage=stage, until=until)


def _margin(settings: Settings) -> timedelta:
    return timedelta(minutes=settings.monitor.minutes_before_open)


def _recording(
    settings: Settings, folder: Path, calendar: Calendar, bookmark: Bookmark
) -> Recording:
    if bookmark.data is None:
        return _generated(settings, folder, calendar, bookmark.session_date)
    return _recorded(settings, calendar, bookmark)


def _stage(
    settings: Settings, folder: Path, calendar: Calendar, bookmark: Bookmark, slot: Slot | None
) -> Stage:
    return Stage(
        settings=settings,
        folder=folder,
        bookmark=bookmark,
        clock=ManualClock(bookmark.clock),
        calendar=calendar,
        session=_hours(calendar, bookmark.session_date),
        slot=slot,
        recording=_recording(settings, folder, calendar, bookmark),
    )


def _generated(settings: Settings, folder: Path, calendar: Calendar, on: date) -> Recording:
    """Open the generated session of a day, making it first if it is not there yet."""
    from rehearsal.generator import generate

    wanted = _rehearsal(settings)
    path = folder / "sessions" / f"{settings.market.exchange}-{wanted.seed}-{wanted.symbols}-{on}"
    if not path.is_dir():
        generate(path, seed=wanted.seed, hours=_hours(calendar, on), symbols=wanted.symbols)
    return Recording.open(
        path,
        exchange=settings.market.exchange,
        currency=settings.market.currency,
        calendar=calendar,
    )


def _recorded(settings: Settings, calendar: Calendar, bookmark: Bookmark) -> Recording:
    if bookmark.data is None:
        msg = "a generated rehearsal has no recording"
        raise ValueError(msg)
    return Recording.open(
        bookmark.data,
        exchange=settings.market.exchange,
        currency=settings.market.currency,
        calendar=calendar,
        instruments_path=bookmark.instruments,
    )


def _first_session(
    settings: Settings, calendar: Calendar, data: Path | None, instruments: Path | None
) -> date:
    if data is None:
        return date.fromisoformat(_rehearsal(settings).first_session)
    recording = Recording.open(
        data,
        exchange=settings.market.exchange,
        currency=settings.market.currency,
        calendar=calendar,
        instruments_path=instruments,
    )
    return recording.sessions()[0]


def _following_session(settings: Settings, calendar: Calendar, bookmark: Bookmark) -> date | None:
    if bookmark.only_session:
        return None
    if bookmark.data is None:
        return calendar.next_session(bookmark.session_date).session_date
    later = (
        day
        for day in _recorded(settings, calendar, bookmark).sessions()
        if day > bookmark.session_date
    )
    return min(later, default=None)


def _rehearsal(settings: Settings) -> RehearsalSettings:
    if settings.rehearsal is None:
        msg = f"agent {settings.agent.id} has no rehearsal section, so nothing can be rehearsed"
        raise ConfigError(msg)
    return settings.rehearsal


def _hours(calendar: Calendar, on: date) -> SessionHours:
    hours = calendar.session_on(on)
    if hours is None:
        msg = f"there is no session on {on}; choose another day"
        raise ConfigError(msg)
    return hours


def _nothing_left(
    mode: Mode, hours: SessionHours, upcoming: Slot | None, calendar: Calendar
) -> str:
    if upcoming is None:
        return f"no slot is left in the session of {hours.session_date}"
    local = upcoming.at.astimezone(calendar.timezone)
    return (
        f"no {mode} slot is left in the session of {hours.session_date};"
        f" the next slot is {upcoming.mode} at {local:%H:%M}"
    )


def _forget_old_exchanges(folder: Path, number: int) -> None:
    for path in folder.glob("exchange-*.sqlite*"):
        if int(path.name.split("-")[1].split(".")[0]) <= number - KEPT_REHEARSALS:
            path.unlink()
