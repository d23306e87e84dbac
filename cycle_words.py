"""What a cycle says about how it went, and about the market, in sentences."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, tzinfo

from shared.agent_loop import LoopResult
from shared.conversation import LoopEnd
from shared.errors import LockLost
from shared.models import SessionHours
from shared.outcome import Status

_FAILED_ENDS = {
    LoopEnd.MODEL_UNAVAILABLE,
    LoopEnd.TRUNCATED,
    LoopEnd.CONTEXT_WINDOW,
    LoopEnd.UNKNOWN_STOP_REASON,
    LoopEnd.UNUSABLE_REPLY,
}


def verdict(result: LoopResult, decisions: Sequence[str]) -> tuple[Status, str]:
    """Say what the talk with Claude came to; its last decision is the reason where there is one."""
    if result.end in _FAILED_ENDS:
        return Status.FAILED, f"the talk with Claude ended with {result.end}: {result.reason}"
    if result.end is LoopEnd.BUDGET:
        return Status.NOTHING_TO_DO, f"the budget ended the cycle: {result.reason}"
    if not decisions:
        return (
            Status.DONE,
            f"no decision was logged; the talk ended with {result.end}: {result.text}",
        )
    how = "" if result.end is LoopEnd.FINISHED else f" (ended with {result.end})"
    return Status.DONE, decisions[-1] + how


def ended_early(ended: asyncio.CancelledError) -> tuple[Status, str]:
    """Say why the run was cancelled; who watches its lock gives a reason."""
    match ended.args:
        case (LockLost() as lost,):
            return Status.FAILED, str(lost)
        case _:
            return Status.INTERRUPTED, "the run was ended from outside"


def closed_market(session: SessionHours, now: datetime, zone: tzinfo) -> str:
    """Say that the exchange is closed, and when it trades."""
    return f"the market is closed: {market_state(session, now, zone)}"


def market_state(session: SessionHours, now: datetime, zone: tzinfo) -> str:
    """Say what time it is in a session, and its hours, in the exchange's own time."""
    opens, closes = session.opens_at.astimezone(zone), session.closes_at.astimezone(zone)
    hours = f"{session.exchange} trades {opens:%H:%M} to {closes:%H:%M} on {session.session_date}"
    if session.is_open(now):
        left = int((session.closes_at - now).total_seconds() // 60)
        return f"open, {left} minutes left; {hours}"
    return f"it is {now.astimezone(zone):%H:%M}; {hours}"
