"""Holds the session and our clock against what the broker says, and tells a person where they disagree.

Decides nothing about orders: that entries, and in a closure sales, are refused then is a matter of safety.
"""

from lookout import Workplace
from shared import trading_day
from shared.models import SessionHours
from silence import what_guards
from tool_executor import ToolExecutor


async def unscheduled_closure(
    executor: ToolExecutor, place: Workplace, session: SessionHours
) -> str | None:
    """Say that the broker knows of a closure that the calendar does not; None where it knows of none.

    Nothing can be traded then and nothing has failed; a person is told once of what is held into it.
    """
    reading = await executor.lookout.clock.reading()
    if reading.is_open is not False or not session.is_open(place.clock.now()):
        return None
    why = f"the broker says that {session.exchange} is closed, which by its calendar is open"
    held = ", ".join(await executor.lookout.positions_of_ours())
    if not held:
        return why
    has_stops = place.broker.capabilities.has_stops
    rest = "; stops and targets rest." if has_stops else f". {what_guards(has_stops=False)}"
    await executor.orders.alert(
        f"held while {session.exchange} is closed unplanned: {held}",
        f"At {reading.read_at:%H:%M} UTC {why}. Nothing is sold before it opens{rest}",
        key=closure_key(session),
        severity="warning" if has_stops else "critical",
    )
    return f"{why}; held: {held}"


def closure_key(session: SessionHours) -> str:
    """Name the alert about what is held into a session's closure."""
    return f"closure-{session.exchange}-{session.session_date}"


async def tell_of_other_hours(executor: ToolExecutor, session: SessionHours) -> None:
    """A broker that trades another part of the day than the calendar knows: close and monitor go by the calendar."""
    reading = await executor.lookout.clock.reading()
    # hours about a session lie, in UTC, within its own date
    if reading.read_at.date() != session.session_date:
        return
    why = trading_day.differs(session, reading.day)
    if why is None:
        return
    held = ", ".join(await executor.lookout.positions_of_ours())
    await executor.orders.alert(
        f"calendar and broker disagree about {session.session_date}",
        f"{why[0].upper()}{why[1:]}. No positions are opened on that day; the close and the monitor go by the"
        f" calendar. Held: {held or 'nothing'}.",
        key=f"hours-{session.exchange}-{session.session_date}",
    )


async def tell_of_drift(executor: ToolExecutor, place: Workplace, session: SessionHours) -> None:
    """A clock that is wrong makes every session, quote and cool-down wrong: a person has to set it."""
    drift = (await executor.lookout.clock.reading()).drift_seconds
    most = place.settings.limits.max_clock_drift_seconds
    if drift is None or abs(drift) <= most:
        return
    where = "behind" if drift > 0 else "ahead of"
    await executor.orders.alert(
        f"this machine's clock is {abs(drift):.1f} seconds {where} the broker's",
        f"{most:g} seconds are allowed. No positions are opened until it is right; stops, exits and closing"
        " go on. See that the machine keeps its time by NTP.",
        key=f"clock-{session.session_date}",
    )
