"""OpenD's limits on requests, and what one process may use of them.

OpenD counts, for each account, in every half minute; what it refuses counts too. It cannot tell one
process from another, so each has a fixed share, and the shares together stay below the whole.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

WINDOW_SECONDS = 30.0
_MARGIN_SECONDS = 0.5
"""What two requests may come closer together at OpenD than they left here."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests of one protocol in half a minute, and how far apart at least."""

    most: int
    gap_seconds: float = 0.0


LIMITS: Mapping[int, Limit] = {
    2101: Limit(10),
    2102: Limit(10),
    2111: Limit(10),
    2201: Limit(10),
    2202: Limit(15, gap_seconds=0.02),
    2205: Limit(20, gap_seconds=0.04),
    2221: Limit(10),
    3103: Limit(60),
    3202: Limit(10),
    3203: Limit(60),
    3215: Limit(10),
    3219: Limit(30),
    3223: Limit(10),
}
"""By protocol; of 2101, 2102 and 2201 only what OpenD has to ask its servers for, of 3103 only first pages."""


class OpenDShare:
    """The share of OpenD's limits of this process; its broker and its feed use one."""

    def __init__(self, pct: int) -> None:
        """Take the share in per cent; every protocol has at least one request."""
        self._pct: int = pct
        self._sent: dict[int, deque[float]] = {protocol: deque() for protocol in LIMITS}

    def most(self, protocol: int) -> int | None:
        """Return how many requests half a minute has; None without a limit."""
        limit = LIMITS.get(protocol)
        return None if limit is None else max(1, limit.most * self._pct // 100)

    def seconds_to_wait(self, protocol: int, now: float | None = None) -> float:
        """Return how long the next request has to wait; 0 when it may go."""
        most = self.most(protocol)
        if most is None:
            return 0.0
        now = monotonic() if now is None else now
        sent, window = self._sent[protocol], WINDOW_SECONDS + _MARGIN_SECONDS
        while sent and sent[0] <= now - window:
            sent.popleft()
        gap = sent[-1] + LIMITS[protocol].gap_seconds - now if sent else 0.0
        full = sent[len(sent) - most] + window - now if len(sent) >= most else 0.0
        return max(gap, full, 0.0)

    def note(self, protocol: int, now: float | None = None) -> None:
        """Count a request that goes now."""
        if protocol in self._sent:
            self._sent[protocol].append(monotonic() if now is None else now)
