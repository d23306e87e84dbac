"""Sets the stage of an agent with a real broker: the wall's clock, the calendar's session, its slots.

Knows no database: whether a slot that is due was served before is asked when the database is open.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from market.base import Feed
from market.calendar import Calendar
from shared import due
from shared.clock import Clock
from shared.config import Configuration
from shared.config_brokers import BrokerName
from shared.errors import ConfigError
from shared.models import Mode, SessionHours
from shared.schedule import Slot, slots
from stage import NotDue, Setting, Watch

if TYPE_CHECKING:
    from brokers.base import Broker


class Way(Protocol):
    """How one process reaches broker and market."""

    def broker(self, clock: Clock) -> "Broker":
        """Open the account."""
        ...

    def feed(self, clock: Clock, calendar: Calendar) -> Feed:
        """Open the market data."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStage:
    """One run of an agent with a real broker."""

    configuration: Configuration
    home: Path
    clock: Clock
    calendar: Calendar
    session: SessionHours
    slot: Slot | None
    way: Way

    @property
    def database_names(self) -> tuple[str, str]:
        """None: the databases are given by URL."""
        return ("", "")

    @property
    def data_label(self) -> str:
        """What Claude is told about where the market data come from."""
        return self.feed().description.label

    def feed(self) -> Feed:
        """Open the market data up to the clock."""
        return self.way.feed(self.clock, self.calendar)

    def broker(self) -> "Broker":
        """Open the account."""
        return self.way.broker(self.clock)


def for_slot(
    setting: Setting, calendar: Calendar, mode: Mode, *, force: bool
) -> LiveStage | NotDue:
    """Set the stage for the slot of a mode that is due, or was: only the database knows who served it.

    With force it is no slot, and on a day without a session the next one.
    """
    now = setting.clock.now()
    today = calendar.session_on(calendar.exchange_date(now))
    if force:
        return _stage(setting, calendar, today or _next(setting, calendar), None, mode)
    if today is None:
        return NotDue(why=f"{calendar.exchange} has no session today")
    schedule = setting.configuration.settings.schedule
    match due.verdict(
        slots(schedule, today),
        mode,
        now,
        grace_minutes=schedule.grace_minutes,
        has_run=lambda _: False,
    ):
        case due.NotDue(why=why):
            return NotDue(why=why)
        case due.Due(slot=slot) | due.Missed(slot=slot):
            return _stage(setting, calendar, today, slot, mode)


def ahead(setting: Setting, calendar: Calendar) -> LiveStage:
    """Set the stage before today's session, or before the next one where today's is over or none."""
    today = calendar.session_on(calendar.exchange_date(setting.clock.now()))
    is_over = today is None or setting.clock.now() >= today.closes_at
    session = _next(setting, calendar) if today is None or is_over else today
    return _stage(setting, calendar, session, None, None)


def watch_now(setting: Setting, calendar: Calendar) -> Watch | NotDue:
    """Give today's session from a few minutes before its open to a few after its close."""
    now, settings = setting.clock.now(), setting.configuration.settings
    margin = timedelta(minutes=settings.monitor.minutes_before_open)
    today = calendar.session_on(calendar.exchange_date(now))
    if today is None:
        return NotDue(why=f"{calendar.exchange} has no session today")
    if not today.opens_at - margin <= now < today.closes_at + margin:
        hours = f"{today.opens_at - margin:%H:%M} to {today.closes_at + margin:%H:%M} UTC"
        return NotDue(why=f"there is something to watch from {hours}, it is {now:%H:%M}")
    stage = _stage(setting, calendar, today, None, Mode.MONITOR)
    return Watch(stage=stage, until=today.closes_at + margin)


def _next(setting: Setting, calendar: Calendar) -> SessionHours:
    return calendar.next_session(calendar.exchange_date(setting.clock.now()))


def _stage(
    setting: Setting,
    calendar: Calendar,
    session: SessionHours,
    slot: Slot | None,
    mode: Mode | None,
) -> LiveStage:
    return LiveStage(
        configuration=setting.configuration,
        home=setting.home,
        clock=setting.clock,
        calendar=calendar,
        session=session,
        slot=slot,
        way=_way(setting.configuration, mode),
    )


def _way(configuration: Configuration, mode: Mode | None) -> Way:
    """Choose by the broker's name; nothing of the others is imported."""
    match configuration.settings.broker.name:
        case BrokerName.ALPACA:
            from live_alpaca import Alpaca

            return Alpaca.of(configuration, mode)
        case BrokerName.MOOMOO:
            from live_moomoo import Moomoo

            return Moomoo.of(configuration, mode)
        case BrokerName.PAPER:
            raise ConfigError("the paper exchange has no live stage: its time is a rehearsal's")
