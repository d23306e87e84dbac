"""How long shares were held at moomoo without a look at their price, read from the simulator's own books.

There is no stop at the broker, so what guards a position is that somebody looks: the monitor, or a run.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from shared.models import Order, Side
from tests.simulators.opend.market import symbol_of
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol

LOOK_HOLDS = timedelta(seconds=60)
"""After a look that much time may go by: without a check within it, nothing is entered either."""

Looks = Mapping[str, Sequence[datetime]]


def answered_looks(venue: OpenDVenue) -> Looks:
    """Return when each stock's price was asked for and truly answered."""
    looks: dict[str, list[datetime]] = {}
    for asked in venue.requests():
        if asked["protocol"] == Protocol.GET_SECURITY_SNAPSHOT and asked["answered"]:
            at = datetime.fromisoformat(asked["at"])
            for stock in asked["c2s"]["securityList"]:
                looks.setdefault(symbol_of(stock["code"]), []).append(at)
    return looks


def unguarded_seconds(orders: Iterable[Order], looks: Looks, until: datetime) -> float:
    """Count the seconds in which something of these orders was held, and its last look was over a minute ago."""
    fills = sorted((fill for one in orders for fill in one.fills), key=lambda fill: fill.at)
    total = 0.0
    for symbol in {fill.symbol for fill in fills}:
        own = [fill for fill in fills if fill.symbol == symbol]
        held = 0
        for fill, ends in zip(own, [*(fill.at for fill in own[1:]), until], strict=True):
            held += fill.quantity if fill.side is Side.BUY else -fill.quantity
            if held > 0:
                total += _unseen(fill.at, ends, looks.get(symbol, ()))
    return round(total, 3)


def _unseen(since: datetime, until: datetime, looks: Sequence[datetime]) -> float:
    """Count the seconds from one moment to another that no look reaches."""
    reached, unseen = since, timedelta(0)
    for at in sorted(looks):
        unseen += max(timedelta(0), min(at, until) - reached)
        reached = max(reached, at + LOOK_HOLDS)
    return (unseen + max(timedelta(0), until - reached)).total_seconds()
