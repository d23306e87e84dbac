"""Reads from a feed what a watch over open positions needs of each symbol; decides nothing.

What a feed does not give, or gives in a form that no formula may see, is not known, and says why.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from market.base import Feed
from market.indicators import Technicals, technicals
from market.timeframes import Timeframe, aggregate
from market.volume_pace import UsualVolume, usual_volume, volume_pace
from shared.models import Bar, SessionHours
from shared.watch import VolumePace

SESSIONS_NEEDED = 3
"""How many of the latest sessions settle the indicators, the present one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one symbol's bars say at one moment; None is "not known"."""

    technicals: Technicals | None
    volume: VolumePace | None
    why: str | None = None
    """A sentence where bars were given and could not be used."""


async def usual_volumes(
    feed: Feed, symbols: Collection[str], *, earlier: Sequence[SessionHours]
) -> Mapping[str, UsualVolume | None]:
    """Measure what each symbol usually trades by minute; asked for once a session, a symbol at a time.

    `earlier` are the sessions before the present one, oldest first. Raises FeedUnavailable.
    """
    if not earlier:
        return dict.fromkeys(symbols)
    start, end = earlier[0].opens_at, earlier[-1].closes_at
    measured: dict[str, UsualVolume | None] = {}
    for symbol in symbols:
        bars = await feed.bars((symbol,), start=start, end=end)
        measured[symbol] = usual_volume(bars.get(symbol, ()), earlier)
    return measured


async def look(
    feed: Feed,
    opened_at: Mapping[str, datetime | None],
    *,
    sessions: Sequence[SessionHours],
    usual: Mapping[str, UsualVolume | None],
    now: datetime,
    window: timedelta,
) -> Mapping[str, Seen]:
    """Look at every symbol held; `opened_at` names them with the time of their entry, None if not known.

    `sessions` are the latest ones up to the present, oldest first: three of them settle the indicators.
    Raises FeedUnavailable.
    """
    bars = await feed.bars(tuple(opened_at), start=sessions[0].opens_at, end=now)
    return {
        symbol: seen(
            bars.get(symbol, ()),
            sessions=sessions,
            usual=usual.get(symbol),
            opened_at=opened,
            now=now,
            window=window,
        )
        for symbol, opened in opened_at.items()
    }


def seen(
    bars: Sequence[Bar],
    *,
    sessions: Sequence[SessionHours],
    usual: UsualVolume | None,
    opened_at: datetime | None,
    now: datetime,
    window: timedelta,
) -> Seen:
    """Work out one symbol's indicators on five minutes, its VWAP of the latest session, and its pace."""
    try:
        five = aggregate(
            bars,
            Timeframe.FIVE_MINUTES,
            sessions=sessions,
            known_from=sessions[0].opens_at,
            known_until=now,
        )
        found = technicals(five.complete, session=sessions[-1])
    except ValueError as e:
        return Seen(technicals=None, volume=None, why=str(e))
    pace = (
        volume_pace(
            bars, usual=usual, sessions=sessions, opened_at=opened_at, now=now, window=window
        )
        if opened_at is not None
        else None
    )
    return Seen(technicals=found, volume=pace)
