"""Alpaca's market data as a live feed, in batches: nothing that is asked for again is read twice in vain.

Completed minutes, daily history and the list of stocks are kept; quotes never are: each one is handed out
once. Symbols that were asked about come along with the next question, so that thirty questions about one
symbol each are a few requests. What cannot be read is FeedUnavailable, or, where the rest of a batch can
be, left out and logged; it is never 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from market import alpaca_wire as wire
from market.alpaca_minutes import SYMBOLS_PER_REQUEST, Minutes, Window, trading_parts, within
from market.alpaca_requests import Requests
from market.base import Baseline, FeedDescription
from market.calendar import Calendar
from shared import log
from shared.clock import Clock
from shared.errors import FeedUnavailable
from shared.models import Bar, Headline, Quote, QuoteSource, utc

logger = log.get(__name__)

MOST_ACTIVE = 50
MOVERS = 20
"""Gainers, and as many losers."""
READ_AHEAD_FOR = timedelta(seconds=1)
"""How long a quote that came along with others may wait for its question."""
MOST_AHEAD = timedelta(seconds=1)
"""Quotes that are further ahead of our clock are not shown; nearer ones are waited for."""
_INSTANT = timedelta(milliseconds=1)
_LABELS = {
    "iex": "Alpaca's market data; quotes, bars and volumes of IEX alone",
    "sip": "Alpaca's market data; quotes, bars and volumes of all US exchanges",
}
_NOT_KNOWN = Baseline(previous_close=None, previous_change_pct=None, average_daily_volume=None)


@dataclass(slots=True, kw_only=True)
class _Ahead:
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


@dataclass(slots=True, kw_only=True)
class _Baselines:
    """What was known before one date's session."""

    session_date: date
    known: dict[str, Baseline] = field(default_factory=dict[str, Baseline])


class AlpacaFeed:
    """Implements market.base.Feed over Alpaca's data API and the clock it is given."""

    def __init__(
        self,
        requests: Requests,
        clock: Clock,
        *,
        calendar: Calendar,
        listed: Collection[str],
        stocks: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        """Ask through `requests`; `listed` are configured symbols, `stocks` says which can be traded."""
        self._requests: Requests = requests
        self._clock: Clock = clock
        self._calendar: Calendar = calendar
        self._listed: frozenset[str] = frozenset(listed)
        self._stocks: Callable[[], Awaitable[Collection[str]]] = stocks
        self._asked: dict[str, None] = {}
        """Symbols that were asked about and known, the latest question last."""
        self._ahead: _Ahead | None = None
        self._minutes: Minutes = Minutes(calendar)
        self._baselines: _Baselines | None = None
        self._one_at_a_time: asyncio.Lock = asyncio.Lock()

    @property
    def description(self) -> FeedDescription:
        """What this feed is."""
        return FeedDescription(
            label=_LABELS[self._requests.source],
            quotes=QuoteSource.QUOTED,
            has_news=True,
            has_baseline=True,
        )

    async def symbols(self) -> tuple[str, ...]:
        """The most active stocks, the largest movers and the configured lists, as far as they can be traded.

        Activity and movements are those of all exchanges whatever the feed, and before the open those
        of the day before. Raises FeedUnavailable when any of it cannot be read.
        """
        active = await self._requests.most_active(MOST_ACTIVE)
        moving = await self._requests.movers(MOVERS)
        found = {*active, *moving, *self._listed}
        return tuple(sorted(found.intersection(await self._stocks())))

    async def quotes(self, symbols: Collection[str]) -> Mapping[str, Quote]:
        """Latest quote of each symbol, never one that was handed out before. Raises FeedUnavailable."""
        asked = tuple(dict.fromkeys(symbols))
        async with self._one_at_a_time:
            found = self._ahead.take(asked, self._clock.now()) if self._ahead else None
            if found is None:
                found = await self._read_quotes(asked)
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    async def bars(
        self, symbols: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, tuple[Bar, ...]]:
        """Completed minutes of the sessions between start and min(end, now), adjusted for splits.

        A symbol whose bars cannot be read is left out, one without bars has none. Raises FeedUnavailable.
        """
        now = self._clock.now()
        first, last = _next_minute(utc(start)), _minute(min(utc(end), now))
        asked = tuple(dict.fromkeys(symbols))
        if first >= last:
            return dict.fromkeys(asked, ())
        async with self._one_at_a_time:
            if last <= self._midnight(self._calendar.exchange_date(now)):
                return await self._read_past(asked, first, last)
            await self._bring_up_to(asked, first, last)
        found = {symbol: self._minutes.between(symbol, first, last) for symbol in asked}
        return {symbol: bars for symbol, bars in found.items() if bars is not None}

    async def headlines(
        self, symbols: Collection[str] | None, *, since: datetime
    ) -> tuple[Headline, ...]:
        """News published from then to now, oldest first. Raises FeedUnavailable."""
        since, now = utc(since), self._clock.now()
        if since > now or (symbols is not None and not symbols):
            return ()
        found: dict[str, Headline] = {}
        for batch in (None,) if symbols is None else _batches(symbols):
            for article in await self._requests.news(batch, start=since, end=now):
                headline = self._headline(article, now)
                if headline is not None and headline.at >= since and _is_about(headline, batch):
                    found[headline.headline_id] = headline
        return tuple(sorted(found.values(), key=lambda one: (one.at, one.headline_id)))

    async def baselines(self, symbols: Collection[str]) -> Mapping[str, Baseline]:
        """What was known before the session of the exchange's present date. Raises FeedUnavailable."""
        day = self._calendar.exchange_date(self._clock.now())
        async with self._one_at_a_time:
            if self._baselines is None or self._baselines.session_date != day:
                self._baselines = _Baselines(session_date=day)
            known = self._baselines.known
            missing = [symbol for symbol in dict.fromkeys(symbols) if symbol not in known]
            if missing:
                others = [symbol for symbol in self._others(missing) if symbol not in known]
                known.update(await self._read_baselines(missing, others, day))
            return {symbol: known.get(symbol, _NOT_KNOWN) for symbol in symbols}

    async def close(self) -> None:
        """Forget what was read; the connection belongs to whoever opened it."""
        self._ahead, self._baselines = None, None
        self._minutes = Minutes(self._calendar)

    async def _read_quotes(self, asked: Sequence[str]) -> dict[str, Quote | None]:
        read_at = self._clock.now()
        found: dict[str, Quote | None] = {}
        unreadable: dict[str, str] = {}
        for batch in _batches([*asked, *self._others(asked)]):
            body = await self._requests.snapshots(batch)
            now = await self._caught_up(body)
            for symbol in batch:
                try:
                    found[symbol] = wire.quote(
                        symbol, body.get(symbol), now=now, calendar=self._calendar
                    )
                except wire.Unreadable as error:
                    unreadable[symbol] = str(error)
        _require_something(asked, unreadable)
        self._remember(symbol for symbol in asked if found.get(symbol) is not None)
        answer = {symbol: found.pop(symbol, None) for symbol in asked}
        self._ahead = _Ahead(read_at=read_at, quotes=found)
        return answer

    async def _caught_up(self, snapshots: Mapping[str, object]) -> datetime:
        """Wait until our clock is where the market's is, if it is a little behind, and return the time."""
        now = self._clock.now()
        ahead = [at - now for content in snapshots.values() if (at := wire.quoted_at(content))]
        near = [lead for lead in ahead if timedelta() < lead <= MOST_AHEAD]
        if near:
            await self._clock.sleep((max(near) + _INSTANT).total_seconds())
        return self._clock.now()

    async def _bring_up_to(self, asked: Sequence[str], start: datetime, end: datetime) -> None:
        unreadable: dict[str, str] = {}
        for window in self._minutes.missing(asked, self._others(asked), start=start, end=end):
            read, faults = await self._read_minutes(window)
            self._minutes.add(window, read)
            unreadable.update(faults)
            self._remember(symbol for symbol in asked if read.get(symbol))
        _require_something(asked, unreadable)

    async def _read_past(
        self, asked: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, tuple[Bar, ...]]:
        """Days that are over are read for one purpose, once, and are too many to keep."""
        found: dict[str, tuple[Bar, ...]] = {}
        unreadable: dict[str, str] = {}
        for batch in _batches(asked):
            read, faults = await self._read_minutes(Window(symbols=batch, start=start, end=end))
            found.update(read)
            unreadable.update(faults)
        _require_something(asked, unreadable)
        return found

    async def _read_minutes(
        self, window: Window
    ) -> tuple[dict[str, tuple[Bar, ...]], dict[str, str]]:
        rows = await self._requests.bars(
            window.symbols, wire.MINUTE, start=window.start, end=window.end - wire.MINUTE
        )
        read, unreadable = _each(window.symbols, rows, wire.minute_bars)
        parts = trading_parts(self._calendar, window.start, window.end)
        return {symbol: within(bars, parts) for symbol, bars in read.items()}, unreadable

    async def _read_baselines(
        self, missing: Sequence[str], others: Sequence[str], day: date
    ) -> dict[str, Baseline]:
        found: dict[str, Baseline] = {}
        faults: dict[str, str] = {}
        for batch in _batches([*missing, *others]):
            rows = await self._requests.bars(
                batch,
                wire.DAY,
                start=self._midnight(day - wire.BASELINE_DAYS),
                end=self._midnight(day) - timedelta(seconds=1),
            )
            read, unreadable = _each(batch, rows, wire.daily_bars)
            faults.update(unreadable)
            for symbol, days in read.items():
                found[symbol] = wire.baseline(days, day, self._calendar)
        _require_something(missing, faults)
        return found

    def _headline(self, article: object, now: datetime) -> Headline | None:
        try:
            return wire.headline(article, now=now)
        except wire.Unreadable as error:
            logger.warning("unreadable_headline", why=str(error))
            return None

    def _others(self, asked: Collection[str]) -> list[str]:
        """Symbols that come along with a question: the latest asked about before."""
        room = max(0, SYMBOLS_PER_REQUEST - len(asked))
        others = [symbol for symbol in reversed(self._asked) if symbol not in asked]
        return others[:room]

    def _remember(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            self._asked.pop(symbol, None)
            self._asked[symbol] = None
        for symbol in tuple(self._asked)[:-SYMBOLS_PER_REQUEST]:
            del self._asked[symbol]

    def _midnight(self, day: date) -> datetime:
        return utc(datetime.combine(day, time(), self._calendar.timezone))


def _each(
    symbols: Iterable[str],
    rows: Mapping[str, Sequence[object]],
    read: Callable[[str, Sequence[object]], tuple[Bar, ...]],
) -> tuple[dict[str, tuple[Bar, ...]], dict[str, str]]:
    """Read each symbol's bars, those that can be read, and say why the others cannot."""
    found: dict[str, tuple[Bar, ...]] = {}
    unreadable: dict[str, str] = {}
    for symbol in symbols:
        try:
            found[symbol] = read(symbol, rows.get(symbol, ()))
        except wire.Unreadable as error:
            unreadable[symbol] = str(error)
    return found, unreadable


def _require_something(asked: Collection[str], unreadable: Mapping[str, str]) -> None:
    """Log what could not be read; raise when that is all that was asked for."""
    for symbol, why in unreadable.items():
        logger.warning("unreadable_market_data", symbol=symbol, why=why)
    if asked and unreadable.keys() >= set(asked):
        raise FeedUnavailable(f"Alpaca's answer cannot be read: {unreadable[next(iter(asked))]}")


def _is_about(headline: Headline, symbols: Collection[str] | None) -> bool:
    return symbols is None or not set(headline.symbols).isdisjoint(symbols)


def _batches(symbols: Iterable[str]) -> Iterator[tuple[str, ...]]:
    every = tuple(dict.fromkeys(symbols))
    for first in range(0, len(every), SYMBOLS_PER_REQUEST):
        yield every[first : first + SYMBOLS_PER_REQUEST]


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _next_minute(moment: datetime) -> datetime:
    return moment if moment == _minute(moment) else _minute(moment) + wire.MINUTE
