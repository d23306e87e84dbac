"""What feeds share that ask a broker's server in batches: what was asked before, and what came along.

Nothing that came along is handed out twice: whoever asks twice gets two readings.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TypeVar

from market.base import Baseline
from market.calendar import Calendar
from shared import log
from shared.clock import Clock
from shared.errors import FeedUnavailable
from shared.models import Quote, utc
from shared.unreadable import Unreadable

logger = log.get(__name__)

MINUTE = timedelta(minutes=1)
READ_AHEAD_FOR = timedelta(seconds=1)
"""How long a quote that came along with others may wait for its question."""
MOST_AHEAD = timedelta(seconds=1)
"""Quotes that are further ahead of our clock are not shown; nearer ones are waited for."""
_INSTANT = timedelta(milliseconds=1)
_Content = TypeVar("_Content")
_Read = TypeVar("_Read")


@dataclass(slots=True, kw_only=True)
class Ahead:
    """Quotes that were read in one batch and have not been handed out."""

    read_at: datetime
    quotes: dict[str, Quote | None]

    def take(self, symbols: Sequence[str], now: datetime) -> dict[str, Quote | None] | None:
        """Hand quotes out, each only once; None unless all of them are there and fresh."""
        if not timedelta() <= now - self.read_at <= READ_AHEAD_FOR:
            return None
        if not self.quotes.keys() >= set(symbols):
            return None
        return {symbol: self.quotes.pop(symbol) for symbol in symbols}


class Asked:
    """Symbols that were asked about and known: they will be asked about again."""

    def __init__(self, most: int) -> None:
        """Remember at most so many, which is also what one question has room for."""
        self._most: int = most
        self._symbols: dict[str, None] = {}
        """The latest question last."""

    def others(self, asked: Collection[str]) -> list[str]:
        """Symbols that come along with a question: the latest asked about before."""
        room = max(0, self._most - len(asked))
        others = [symbol for symbol in reversed(self._symbols) if symbol not in asked]
        return others[:room]

    def remember(self, symbols: Iterable[str]) -> None:
        """Take in what was asked about."""
        for symbol in symbols:
            self._symbols.pop(symbol, None)
            self._symbols[symbol] = None
        for symbol in tuple(self._symbols)[: -self._most]:
            del self._symbols[symbol]


@dataclass(slots=True, kw_only=True)
class Baselines:
    """What was known before one date's session."""

    session_date: date
    known: dict[str, Baseline] = field(default_factory=dict[str, Baseline])


async def caught_up(clock: Clock, quoted: Iterable[datetime | None]) -> datetime:
    """Wait until our clock is where the market's is, if it is a little behind, and return the time."""
    now = clock.now()
    ahead = [at - now for at in quoted if at is not None]
    near = [lead for lead in ahead if timedelta() < lead <= MOST_AHEAD]
    if near:
        await clock.sleep((max(near) + _INSTANT).total_seconds())
    return clock.now()


def each(
    symbols: Iterable[str],
    contents: Mapping[str, _Content],
    read: Callable[[str, _Content], _Read],
    *,
    missing: _Content,
) -> tuple[dict[str, _Read], dict[str, str]]:
    """Read what there is of each symbol, as far as it can be read, and say why the others cannot."""
    found: dict[str, _Read] = {}
    unreadable: dict[str, str] = {}
    for symbol in symbols:
        try:
            found[symbol] = read(symbol, contents.get(symbol, missing))
        except Unreadable as error:
            unreadable[symbol] = str(error)
    return found, unreadable


def require_something(
    whose: str,
    asked: Collection[str],
    unreadable: Mapping[str, str],
    *,
    told: Collection[str] = (),
) -> None:
    """Log what could not be read, but for what was told before; raise FeedUnavailable when that is all."""
    for symbol, why in unreadable.items():
        if symbol not in told:
            logger.warning("unreadable_market_data", symbol=symbol, why=why)
    if asked and unreadable.keys() >= set(asked):
        raise FeedUnavailable(f"{whose} answer cannot be read: {unreadable[next(iter(asked))]}")


def batches(symbols: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Name each symbol once, so many at a time."""
    every = tuple(dict.fromkeys(symbols))
    for first in range(0, len(every), size):
        yield every[first : first + size]


def minute(moment: datetime) -> datetime:
    """Return the whole minute at or before a moment."""
    return moment.replace(second=0, microsecond=0)


def next_minute(moment: datetime) -> datetime:
    """Return the whole minute at or after a moment."""
    return moment if moment == minute(moment) else minute(moment) + MINUTE


def midnight(calendar: Calendar, day: date) -> datetime:
    """Return when a date of the exchange begins."""
    return utc(datetime.combine(day, time(), calendar.timezone))
