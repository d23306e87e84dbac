"""Alpaca's market data as a live feed, in batches: nothing that is asked for again is read twice in vain.

Completed minutes, daily history and the list of stocks are kept; quotes never are: each one is handed out
once. Symbols that were asked about come along with the next question, so that thirty questions about one
symbol each are a few requests. What cannot be read is FeedUnavailable, or, where the rest of a batch can
be, left out and logged; it is never 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

from market import alpaca_wire as wire
from market.alpaca_requests import PAGE_OF_BARS, SYMBOLS_PER_REQUEST, Requests
from market.asking import (
    Ahead,
    Asked,
    Baselines,
    batches,
    caught_up,
    each,
    midnight,
    minute,
    next_minute,
    require_something,
)
from market.base import Baseline, FeedDescription
from market.calendar import Calendar
from market.daily import BASELINE_DAYS, NOT_KNOWN, baseline
from market.minutes import Minutes, Window, trading_parts, within
from shared import log
from shared.clock import Clock
from shared.models import Bar, Headline, Quote, QuoteSource, utc
from shared.unreadable import Unreadable

logger = log.get(__name__)

OWNER = "Alpaca's"
MOST_ACTIVE = 50
MOVERS = 20
"""Gainers, and as many losers."""
_LABELS = {
    "iex": "Alpaca's market data; quotes, bars and volumes of IEX alone",
    "sip": "Alpaca's market data; quotes, bars and volumes of all US exchanges",
}


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
        release: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Ask through `requests`; `listed` are configured symbols, `stocks` says which can be traded.

        `release` closes what was opened for it alone.
        """
        self._requests: Requests = requests
        self._release: Callable[[], Awaitable[None]] | None = release
        self._clock: Clock = clock
        self._calendar: Calendar = calendar
        self._listed: frozenset[str] = frozenset(listed)
        self._stocks: Callable[[], Awaitable[Collection[str]]] = stocks
        self._asked: Asked = Asked(SYMBOLS_PER_REQUEST)
        self._ahead: Ahead | None = None
        self._minutes: Minutes = self._nothing_read()
        self._baselines: Baselines | None = None
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
        first, last = next_minute(utc(start)), minute(min(utc(end), now))
        asked = tuple(dict.fromkeys(symbols))
        if first >= last:
            return dict.fromkeys(asked, ())
        async with self._one_at_a_time:
            if last <= midnight(self._calendar, self._calendar.exchange_date(now)):
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
        for batch in (None,) if symbols is None else batches(symbols, SYMBOLS_PER_REQUEST):
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
                self._baselines = Baselines(session_date=day)
            known = self._baselines.known
            missing = [symbol for symbol in dict.fromkeys(symbols) if symbol not in known]
            if missing:
                others = [symbol for symbol in self._asked.others(missing) if symbol not in known]
                known.update(await self._read_baselines(missing, others, day))
            return {symbol: known.get(symbol, NOT_KNOWN) for symbol in symbols}

    async def close(self) -> None:
        """Forget what was read, and close what was opened for it."""
        self._ahead, self._baselines = None, None
        self._minutes = self._nothing_read()
        if self._release is not None:
            await self._release()

    async def _read_quotes(self, asked: Sequence[str]) -> dict[str, Quote | None]:
        read_at = self._clock.now()
        found: dict[str, Quote | None] = {}
        unreadable: dict[str, str] = {}
        for batch in batches([*asked, *self._asked.others(asked)], SYMBOLS_PER_REQUEST):
            body = await self._requests.snapshots(batch)
            now = await caught_up(self._clock, map(wire.quoted_at, body.values()))
            for symbol in batch:
                try:
                    found[symbol] = wire.quote(
                        symbol, body.get(symbol), now=now, calendar=self._calendar
                    )
                except Unreadable as error:
                    unreadable[symbol] = str(error)
        require_something(OWNER, asked, unreadable)
        self._asked.remember(symbol for symbol in asked if found.get(symbol) is not None)
        answer = {symbol: found.pop(symbol, None) for symbol in asked}
        self._ahead = Ahead(read_at=read_at, quotes=found)
        return answer

    async def _bring_up_to(self, asked: Sequence[str], start: datetime, end: datetime) -> None:
        unreadable: dict[str, str] = {}
        for window in self._minutes.missing(asked, self._asked.others(asked), start=start, end=end):
            read, faults = await self._read_minutes(window)
            self._minutes.add(window, read)
            unreadable.update(faults)
            self._asked.remember(symbol for symbol in asked if read.get(symbol))
        require_something(OWNER, asked, unreadable)

    async def _read_past(
        self, asked: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, tuple[Bar, ...]]:
        """Days that are over are read for one purpose, once, and are too many to keep."""
        found: dict[str, tuple[Bar, ...]] = {}
        unreadable: dict[str, str] = {}
        for batch in batches(asked, SYMBOLS_PER_REQUEST):
            read, faults = await self._read_minutes(Window(symbols=batch, start=start, end=end))
            found.update(read)
            unreadable.update(faults)
        require_something(OWNER, asked, unreadable)
        return found

    async def _read_minutes(
        self, window: Window
    ) -> tuple[dict[str, tuple[Bar, ...]], dict[str, str]]:
        rows = await self._requests.bars(
            window.symbols, wire.MINUTE, start=window.start, end=window.end - wire.MINUTE
        )
        read, unreadable = each(window.symbols, rows, wire.minute_bars, missing=())
        parts = trading_parts(self._calendar, window.start, window.end)
        return {symbol: within(bars, parts) for symbol, bars in read.items()}, unreadable

    async def _read_baselines(
        self, missing: Sequence[str], others: Sequence[str], day: date
    ) -> dict[str, Baseline]:
        found: dict[str, Baseline] = {}
        faults: dict[str, str] = {}
        for batch in batches([*missing, *others], SYMBOLS_PER_REQUEST):
            rows = await self._requests.bars(
                batch,
                wire.DAY,
                start=midnight(self._calendar, day - BASELINE_DAYS),
                end=midnight(self._calendar, day) - timedelta(seconds=1),
            )
            read, unreadable = each(batch, rows, wire.daily_bars, missing=())
            faults.update(unreadable)
            for symbol, days in read.items():
                found[symbol] = baseline(days, day, self._calendar)
        require_something(OWNER, missing, faults)
        return found

    def _headline(self, article: object, now: datetime) -> Headline | None:
        try:
            return wire.headline(article, now=now)
        except Unreadable as error:
            logger.warning("unreadable_headline", why=str(error))
            return None

    def _nothing_read(self) -> Minutes:
        return Minutes(
            self._calendar, bars_per_page=PAGE_OF_BARS, symbols_per_request=SYMBOLS_PER_REQUEST
        )


def _is_about(headline: Headline, symbols: Collection[str] | None) -> bool:
    return symbols is None or not set(headline.symbols).isdisjoint(symbols)
