"""How briskly a symbol trades for the time of day, against its entry; knows no feed and no clock.

Trading time is counted without the lunch break. The last completed minutes are compared with the same
minutes of earlier sessions, so that neither a quiet noon nor a growing day's total looks like a change.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from market.scanner import expected_volume_share
from shared.models import Bar, SessionHours
from shared.watch import Baseline, VolumePace

FEWEST_SESSIONS = 5
"""With fewer earlier sessions a usual volume is not measured but modelled."""
SHORTEST = timedelta(minutes=15)
"""Trading time without which there is nothing to compare."""
LATEST = timedelta(minutes=15)
"""Minutes that ended longer ago do not reach the present: it is not known whether nothing was traded."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualVolume:
    """What a symbol usually trades, by minute of trading time."""

    sessions: int
    by_minute: tuple[int, ...]
    """Shares of all those sessions together up to each minute; the first is 0."""

    def between(self, start: int, end: int) -> Decimal:
        """Mean shares of one session between two minutes of trading time."""
        last = len(self.by_minute) - 1
        return Decimal(self.by_minute[min(end, last)] - self.by_minute[min(start, last)]) / (
            self.sessions
        )


def usual_volume(bars: Sequence[Bar], sessions: Sequence[SessionHours]) -> UsualVolume | None:
    """Measure minute bars of one symbol, oldest first, over earlier sessions; None with too few.

    Early closes are left out, and so are sessions without a bar. Bars outside the sessions do not count.
    """
    of_each = [(session, _inside(bars, session)) for session in sessions if not session.early_close]
    traded = [(session, found) for session, found in of_each if any(bar.volume for bar in found)]
    if len(traded) < FEWEST_SESSIONS:
        return None
    minutes = [0] * max(_minute_at(session, session.closes_at) for session, _ in traded)
    for session, found in traded:
        for bar in found:
            minutes[_minute_at(session, bar.start)] += bar.volume
    return UsualVolume(sessions=len(traded), by_minute=tuple(accumulate(minutes, initial=0)))


def volume_pace(
    bars: Sequence[Bar],
    *,
    usual: UsualVolume | None,
    sessions: Sequence[SessionHours],
    opened_at: datetime,
    now: datetime,
    window: timedelta,
) -> VolumePace | None:
    """Compare the last `window` of trading with the one up to the entry, each against its usual volume.

    `bars` are complete minutes of one symbol from the open of the entry's session on. A window does not
    reach back before its session's open; an entry in the first quarter of an hour is taken at its end,
    and before it nothing is known of the present either. Without `usual` the modelled day of the scanner stands in. None where either side
    is not known, or nothing was traded there.
    """
    entered = _session_of(sessions, opened_at)
    present = _session_of(sessions, now)
    if entered is None or present is None:
        return None
    at_entry = max(opened_at, _after_trading(entered, SHORTEST))
    if _minute_at(present, now) * _MINUTE < SHORTEST or at_entry > now:
        return None
    then = _relative(bars, usual, entered, at_entry, window)
    today = _relative(bars, usual, present, now, window)
    if not then or today is None:
        return None
    return VolumePace(
        of_entry_pct=(today / then * 100).quantize(Decimal("0.1")),
        baseline=Baseline.MODELLED if usual is None else Baseline.MEASURED,
        sessions=0 if usual is None else usual.sessions,
    )


def _relative(
    bars: Sequence[Bar],
    usual: UsualVolume | None,
    session: SessionHours,
    at: datetime,
    window: timedelta,
) -> Decimal | None:
    """Shares of the window that ends at `at`, over what it usually has; None if either is not known."""
    end = at.replace(second=0, microsecond=0)
    traded = _minute_at(session, end)
    start = _after_trading(session, max(traded * _MINUTE - window, timedelta()))
    found = [bar for bar in bars if start <= bar.start and bar.end <= end]
    if not found or end - found[-1].end > LATEST:
        return None
    expected = (
        expected_volume_share(session, end) - expected_volume_share(session, start)
        if usual is None
        else usual.between(_minute_at(session, start), traded)
    )
    return sum(bar.volume for bar in found) / expected if expected > 0 else None


def _inside(bars: Sequence[Bar], session: SessionHours) -> list[Bar]:
    first = bisect_left(bars, session.opens_at, key=_start)
    end = bisect_left(bars, session.closes_at, key=_start)
    return [bar for bar in bars[first:end] if session.is_open(bar.start)]


def _start(bar: Bar) -> datetime:
    return bar.start


def _session_of(sessions: Sequence[SessionHours], at: datetime) -> SessionHours | None:
    return next((hours for hours in sessions if hours.opens_at <= at < hours.closes_at), None)


def _minute_at(session: SessionHours, at: datetime) -> int:
    """Whole minutes of trading from the open up to `at`."""
    gone = sum(
        (min(at, closes) - opens for opens, closes in session.parts if at > opens), timedelta()
    )
    return gone // _MINUTE


def _after_trading(session: SessionHours, time: timedelta) -> datetime:
    """The moment at which the session has traded for `time`; its close, if it never does."""
    for opens, closes in session.parts:
        if time < closes - opens:
            return opens + time
        time -= closes - opens
    return session.closes_at
