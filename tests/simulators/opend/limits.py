"""How often a client may ask within half a minute of the simulator's clock, as the vendor documents it."""

from collections import defaultdict, deque
from datetime import datetime, timedelta
from typing import Any

from tests.simulators.opend.messages import Refused
from tests.simulators.opend.wire import Protocol, Request

WINDOW_SECONDS = 30
LIMITS = {
    Protocol.PLACE_ORDER: 15,
    Protocol.MODIFY_ORDER: 20,
    Protocol.GET_FUNDS: 10,
    Protocol.GET_POSITION_LIST: 10,
    Protocol.GET_ORDER_LIST: 10,
    Protocol.GET_HISTORY_ORDER_LIST: 10,
    Protocol.GET_MAX_TRD_QTYS: 10,
    Protocol.GET_SECURITY_SNAPSHOT: 60,
    Protocol.REQUEST_HISTORY_KL: 60,
    Protocol.GET_MARKET_STATE: 10,
    Protocol.GET_STATIC_INFO: 10,
    Protocol.STOCK_FILTER: 10,
    Protocol.REQUEST_TRADE_DATE: 30,
}
"""Trading counts for each account; static information, filter and trade dates from memory."""
ONLY_REFRESHED = frozenset(
    {Protocol.GET_FUNDS, Protocol.GET_POSITION_LIST, Protocol.GET_ORDER_LIST}
)
"""What OpenD answers from its own memory costs nothing."""


class RateLimits:
    """What was asked in the last half minute."""

    def __init__(self) -> None:
        self.enforced: bool = True
        self._asked: defaultdict[tuple[int, int], deque[datetime]] = defaultdict(deque)

    def take(self, request: Request, now: datetime) -> None:
        """Count a request; raise Refused for one too many, which counts too."""
        most = _most(request)
        if most is None or not self.enforced:
            return
        asked = self._asked[request.protocol, _account(request.c2s)]
        asked.append(now)
        while asked[0] <= now - timedelta(seconds=WINDOW_SECONDS):
            asked.popleft()
        if len(asked) > most:
            raise Refused(
                f"This request is too frequent, please try again later. At most {most} requests"
                f" every {WINDOW_SECONDS} seconds"
            )


def _most(request: Request) -> int | None:
    if request.protocol in ONLY_REFRESHED and not request.c2s.refreshCache:
        return None
    if request.protocol == Protocol.REQUEST_HISTORY_KL and request.c2s.HasField("nextReqKey"):
        return None
    return LIMITS.get(Protocol(request.protocol))


def _account(c2s: Any) -> int:
    return c2s.header.accID if hasattr(c2s, "header") and hasattr(c2s.header, "accID") else 0
