"""Hong Kong's market data over OpenD as a live feed, with as few questions as its limits ask for.

Quotes come in batches; candles are one question a symbol, counted in every half minute and, by different
stocks, in every month. So minutes and days that are known are not asked for again, and of a question about
many symbols those are left out for which there is no turn now. What cannot be read is FeedUnavailable, or,
where the rest can be, left out and logged; it is never 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from market import moomoo_wire as wire
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
from market.moomoo_history import OWNER, History, Refusals, Round, is_symbol
from market.moomoo_requests import CANDLES_PER_PAGE, MOST_DESCRIBED, Candle, Requests
from shared import log
from shared.clock import Clock
from shared.config_brokers import MoomooSettings
from shared.models import Bar, Headline, Quote, QuoteSource, utc
from shared.opend import OpenD
from shared.unreadable import Unreadable

logger = log.get(__name__)


class MoomooFeed:
    """Implements market.base.Feed over OpenD and the clock it is given."""

    def __init__(
        self,
        opend: OpenD,
        clock: Clock,
        *,
        calendar: Calendar,
        settings: MoomooSettings,
        listed: Collection[str],
        release: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Ask through a connection; `listed` are configured symbols, `release` closes what was opened for it alone."""
        self._requests: Requests = Requests(opend, patience_seconds=settings.call_timeout_seconds)
        self._release: Callable[[], Awaitable[None]] | None = release
        self._clock: Clock = clock
        self._calendar: Calendar = calendar
        self._settings: MoomooSettings = settings
        self._listed: frozenset[str] = frozenset(filter(is_symbol, listed))
        self._asked: Asked = Asked(settings.symbols_per_snapshot)
        self._ahead: Ahead | None = None
        self._minutes: Minutes = self._nothing_read()
        self._baselines: Baselines | None = None
        self._tradable: tuple[date, dict[str, bool]] | None = None
        self._most_traded: tuple[str, ...] = ()
        self._unknown: Refusals = Refusals(clock)
        self._history: History = History(self._requests, clock, self._unknown)
        self._odd_statuses: set[tuple[str, int]] = set()
        self._one_at_a_time: asyncio.Lock = asyncio.Lock()

    @property
    def description(self) -> FeedDescription:
        """What this feed is."""
        return FeedDescription(
            label="moomoo's market data of the Hong Kong exchange through OpenD; it has no news",
            quotes=QuoteSource.QUOTED,
            has_news=False,
            has_baseline=True,
            bars_are_scarce=True,
        )

    async def symbols(self) -> tuple[str, ...]:
        """The stocks with the largest turnover of the latest day and the configured lists.

        Of both, shares and funds that are listed in Hong Kong. Raises FeedUnavailable when any of it
        cannot be read.
        """
        count = self._settings.most_active
        async with self._one_at_a_time:
            if count:
                self._most_traded = await self._requests.most_traded(count)
            found = {*self._most_traded, *self._listed}
            return tuple(sorted(found.intersection(await self._tradable_of(sorted(found)))))

    async def quotes(self, symbols: Collection[str]) -> Mapping[str, Quote]:
        """Latest quote of each symbol, never one that was handed out before. Raises FeedUnavailable."""
        async with self._one_at_a_time:
            asked = tuple(s for s in dict.fromkeys(symbols) if self._unknown.may_be_asked(s))
            if not asked:
                return {}
            found = self._ahead.take(asked, self._clock.now()) if self._ahead else None
            if found is None:
                found = await self._read_quotes(asked)
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    async def bars(
        self, symbols: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, tuple[Bar, ...]]:
        """Completed minutes of the sessions between start and min(end, now), adjusted as seen from today.

        A symbol whose bars cannot be read is left out, one without bars has none. Raises FeedUnavailable.
        """
        now = self._clock.now()
        first, last = next_minute(utc(start)), minute(min(utc(end), now))
        asked = tuple(dict.fromkeys(symbols))
        if first >= last or not trading_parts(self._calendar, first, last):
            return dict.fromkeys(asked, ())
        async with self._one_at_a_time:
            if last <= self._day_of(now):
                return await self._read_past(asked, first, last)
            await self._bring_up_to(asked, first, last)
        found = {symbol: self._minutes.between(symbol, first, last) for symbol in asked}
        return {symbol: bars for symbol, bars in found.items() if bars is not None}

    async def headlines(
        self, symbols: Collection[str] | None, *, since: datetime
    ) -> tuple[Headline, ...]:
        """Nothing: OpenD has no news."""
        del symbols
        utc(since)
        return ()

    async def baselines(self, symbols: Collection[str]) -> Mapping[str, Baseline]:
        """What was known before the session of the exchange's present date. Raises FeedUnavailable.

        Of many symbols those that were traded most come first, and for the last there may be no turn:
        nothing is known of them until they are asked about again.
        """
        day = self._calendar.exchange_date(self._clock.now())
        async with self._one_at_a_time:
            if self._baselines is None or self._baselines.session_date != day:
                self._baselines = Baselines(session_date=day)
            known = self._baselines.known
            await self._read_baselines(tuple(dict.fromkeys(symbols)), day, known)
            return {symbol: known.get(symbol, NOT_KNOWN) for symbol in symbols}

    async def close(self) -> None:
        """Forget what was read, and close what was opened for it."""
        self._ahead, self._baselines, self._tradable = None, None, None
        self._minutes = self._nothing_read()
        if self._release is not None:
            await self._release()

    async def _tradable_of(self, symbols: Sequence[str]) -> set[str]:
        """Those that are shares or funds of Hong Kong; what a symbol is gets asked once a day."""
        today = self._calendar.exchange_date(self._clock.now())
        if self._tradable is None or self._tradable[0] != today:
            self._tradable = (today, {})
        known = self._tradable[1]
        for batch in batches((s for s in symbols if s not in known), MOST_DESCRIBED):
            answers = await self._requests.descriptions(batch)
            known.update({s: wire.is_tradable(basic) for s, basic in answers.found.items()})
            known.update(dict.fromkeys(answers.unknown, False))
            require_something(OWNER, batch, answers.unknown | answers.refused)
        return {symbol for symbol in symbols if known.get(symbol, False)}

    async def _read_quotes(self, asked: Sequence[str]) -> dict[str, Quote | None]:
        read_at = self._clock.now()
        found: dict[str, Quote | None] = {}
        faults: dict[str, str] = {}
        for batch in batches(
            [*asked, *self._asked.others(asked)], self._settings.symbols_per_snapshot
        ):
            answers = await self._requests.snapshots(batch)
            faults.update(answers.refused)
            for symbol, why in answers.unknown.items():
                self._unknown.note(symbol, why)
            await caught_up(
                self._clock,
                (wire.quoted_at(row, self._calendar) for row in answers.found.values()),
            )
            read, unreadable = each(answers.found, answers.found, self._quote, missing=None)
            found.update(read)
            faults.update(unreadable)
        require_something(OWNER, asked, faults)
        self._asked.remember(symbol for symbol in asked if found.get(symbol) is not None)
        answer = {symbol: found.pop(symbol, None) for symbol in asked}
        self._ahead = Ahead(read_at=read_at, quotes=found)
        return answer

    def _quote(self, symbol: str, snapshot: Any) -> Quote | None:
        status = snapshot.basic.secStatus
        if (
            wire.standing_of(snapshot) is wire.Standing.UNKNOWN
            and (symbol, status) not in self._odd_statuses
        ):
            self._odd_statuses.add((symbol, status))
            logger.warning("unknown_security_status", symbol=symbol, status=status)
        return wire.quote(symbol, snapshot, now=self._clock.now(), calendar=self._calendar)

    async def _bring_up_to(self, asked: Sequence[str], start: datetime, end: datetime) -> None:
        """Read what is missing, from the beginning of its day: OpenD is asked for whole days."""
        windows = self._minutes.missing(asked, (), start=self._day_of(start), end=end)
        the_round = Round(may_wait=len(windows) == len(asked))
        for missing in windows:
            [symbol] = missing.symbols
            window = replace(missing, start=self._day_of(missing.start))
            bars = await self._minutes_of(symbol, window, the_round)
            if bars is not None:
                self._minutes.add(window, {symbol: bars})
        the_round.end(asked)

    async def _read_past(
        self, asked: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, tuple[Bar, ...]]:
        """Days that are over are read for one purpose, once, and are too many to keep."""
        found: dict[str, tuple[Bar, ...]] = {}
        the_round = Round()
        for symbol in asked:
            window = Window(symbols=(symbol,), start=start, end=end)
            bars = await self._minutes_of(symbol, window, the_round)
            if bars is not None:
                found[symbol] = bars
        the_round.end(asked)
        return found

    async def _minutes_of(
        self, symbol: str, window: Window, the_round: Round
    ) -> tuple[Bar, ...] | None:
        first, last = (self._calendar.exchange_date(at) for at in (window.start, window.end))
        candles = await self._history.candles(symbol, Candle.MINUTE, (first, last), the_round)
        if candles is None:
            return None
        try:
            bars = wire.minute_bars(symbol, candles, self._calendar)
        except Unreadable as error:
            the_round.faults[symbol] = str(error)
            return None
        return within(bars, trading_parts(self._calendar, window.start, window.end))

    async def _read_baselines(
        self, asked: Sequence[str], day: date, known: dict[str, Baseline]
    ) -> None:
        missing = self._by_rank(symbol for symbol in asked if symbol not in known)
        the_round = Round(may_wait=len(missing) == len(asked))
        dates = (day - BASELINE_DAYS, day - timedelta(days=1))
        for symbol in missing:
            candles = await self._history.candles(symbol, Candle.DAY, dates, the_round)
            if candles is None:
                continue
            try:
                days = wire.daily_bars(symbol, candles, self._calendar)
            except Unreadable as error:
                the_round.faults[symbol] = str(error)
            else:
                if days:
                    known[symbol] = baseline(days, day, self._calendar)
        the_round.end(asked)

    def _day_of(self, moment: datetime) -> datetime:
        return midnight(self._calendar, self._calendar.exchange_date(moment))

    def _by_rank(self, symbols: Iterable[str]) -> list[str]:
        """Order symbols by what was traded of them, then by how they were asked for."""
        ranks = {symbol: rank for rank, symbol in enumerate(self._most_traded)}
        return sorted(symbols, key=lambda symbol: ranks.get(symbol, len(ranks)))

    def _nothing_read(self) -> Minutes:
        return Minutes(self._calendar, bars_per_page=CANDLES_PER_PAGE, symbols_per_request=1)
