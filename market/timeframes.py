"""Longer bars from shorter ones, aligned to the exchange's session; knows no feed and no clock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType

from market.bars import require_sound
from shared.models import Bar, SessionHours, require_aware


class Timeframe(StrEnum):
    """How long a bar is."""

    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    HOUR = "1h"
    DAY = "1d"
    """One whole session."""


LENGTHS: Mapping[Timeframe, timedelta] = MappingProxyType(
    {
        Timeframe.FIVE_MINUTES: timedelta(minutes=5),
        Timeframe.FIFTEEN_MINUTES: timedelta(minutes=15),
        Timeframe.HOUR: timedelta(hours=1),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """Bars of one timeframe; only `complete` is fit for indicators and patterns."""

    timeframe: Timeframe
    complete: tuple[Bar, ...]
    """Oldest first. A slot in which nothing was traded has no bar."""
    forming: Bar | None
    """The last bar as far as it is known, ending where knowledge ends; never one of the complete."""
    outside_sessions: int
    """Bars given that lie in no session and were left out."""
    cut_off: int
    """Bars given that were left out because their slot began before knowledge did."""


@dataclass(frozen=True, slots=True)
class _Slot:
    start: datetime
    end: datetime


def aggregate(
    bars: Sequence[Bar],
    timeframe: Timeframe,
    *,
    sessions: Iterable[SessionHours],
    known_from: datetime,
    known_until: datetime,
) -> Aggregation:
    """Join bars of one symbol, such as minutes, into bars of `timeframe`.

    Each part of a session is divided from its opening on, so that the last slot before lunch or the
    close may be shorter and no slot spans a break; a day is the session as a whole. `known_from` and
    `known_until` bound what was asked of the feed: a slot is complete when it lies between them, for
    minutes without trades have no bar and their absence says nothing. Raises ValueError for bars that
    are not sound, reach past `known_until` or lie across the edge of a slot.
    """
    require_sound(bars)
    require_aware(known_from, "known_from")
    require_aware(known_until, "known_until")
    if bars and bars[-1].end > known_until:
        ends = bars[-1].end.isoformat()
        raise ValueError(f"a bar ends at {ends}, after {known_until.isoformat()}")
    slotted = list(_slotted(bars, timeframe, sessions))
    joined = [
        (slot, _joined([bar for _, bar in group], slot))
        for slot, group in groupby(slotted, key=lambda pair: pair[0])
        if slot.start >= known_from
    ]
    complete = tuple(bar for slot, bar in joined if slot.end <= known_until)
    rest = [bar for slot, bar in joined if slot.end > known_until]
    return Aggregation(
        timeframe=timeframe,
        complete=complete,
        forming=replace(rest[-1], end=known_until) if rest else None,
        outside_sessions=len(bars) - len(slotted),
        cut_off=sum(slot.start < known_from for slot, _ in slotted),
    )


def _slotted(
    bars: Sequence[Bar], timeframe: Timeframe, sessions: Iterable[SessionHours]
) -> Iterator[tuple[_Slot, Bar]]:
    hours = sorted(sessions, key=lambda session: session.opens_at)
    at = 0
    for bar in bars:
        while at < len(hours) and hours[at].closes_at <= bar.start:
            at += 1
        slot = _slot(bar, timeframe, hours[at]) if at < len(hours) else None
        if slot is not None:
            yield slot, bar


def _slot(bar: Bar, timeframe: Timeframe, session: SessionHours) -> _Slot | None:
    part = next((part for part in session.parts if part[0] <= bar.start < part[1]), None)
    if part is None:
        return None
    if timeframe is Timeframe.DAY:
        return _Slot(session.opens_at, session.closes_at)
    opens, closes = part
    length = LENGTHS[timeframe]
    start = opens + (bar.start - opens) // length * length
    slot = _Slot(start, min(start + length, closes))
    if bar.end > slot.end:
        edge = slot.end.isoformat()
        raise ValueError(
            f"the bar of {bar.symbol} at {bar.start.isoformat()} lies across the edge at {edge}"
        )
    return slot


def _joined(bars: Sequence[Bar], slot: _Slot) -> Bar:
    return Bar(
        symbol=bars[0].symbol,
        start=slot.start,
        end=slot.end,
        open=bars[0].open,
        high=max(bar.high for bar in bars),
        low=min(bar.low for bar in bars),
        close=bars[-1].close,
        volume=sum(bar.volume for bar in bars),
    )
