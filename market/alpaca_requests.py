"""Which questions Alpaca's data host is asked, in which words, until the last page. Keeps nothing."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import stamina

from market import alpaca_wire as wire
from shared.alpaca_http import CallFailed, Refused
from shared.config import OrderSettings
from shared.errors import FeedUnavailable
from shared.unreadable import Unreadable

PAGE_OF_BARS = 10_000
"""The most bars that Alpaca gives at once."""
PAGE_OF_NEWS = 50
SYMBOLS_PER_REQUEST = 200
MOST_PAGES = 100
"""Of one answer; more is a question that should not have been asked."""
_TIMEFRAMES = {wire.MINUTE: "1Min", wire.DAY: "1Day"}
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = range(500, 600)
_Read = TypeVar("_Read")
_Part = TypeVar("_Part")


class Connection(Protocol):
    """One of Alpaca's hosts; shared.alpaca_http.AlpacaHttp is one."""

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, *, version: str = "v2"
    ) -> object:
        """Read one answer's JSON. Raises CallFailed."""
        ...


class Reader:
    """Reads answers from one host, tries again for a while, and takes them apart."""

    def __init__(self, connection: Connection, patience: OrderSettings) -> None:
        """Take the connection, and how patient to be."""
        self._connection: Connection = connection
        self._retrying: stamina.BoundAsyncRetryingCaller = stamina.AsyncRetryingCaller(
            attempts=patience.read_attempts,
            timeout=patience.read_timeout_seconds,
            wait_initial=_FIRST_PAUSE_SECONDS,
            wait_max=_LONGEST_PAUSE_SECONDS,
        ).on(_pause_after)

    async def read(
        self,
        path: str,
        params: Mapping[str, str],
        take: Callable[[object], _Read],
        *,
        version: str = "v2",
    ) -> _Read:
        """Read one answer in the form that `take` knows. Raises FeedUnavailable."""
        try:
            body = await self._retrying(lambda: self._connection.get(path, params, version=version))
        except CallFailed as error:
            raise FeedUnavailable(f"{path} cannot be read: {error}") from error
        try:
            return take(body)
        except Unreadable as error:
            raise FeedUnavailable(f"Alpaca's answer to {path} cannot be read: {error}") from error


class Requests:
    """The questions, for one source of trades and quotes: iex or sip. Each raises FeedUnavailable."""

    def __init__(self, reader: Reader, source: str) -> None:
        """Ask through a reader of the data host."""
        self._reader: Reader = reader
        self.source: str = source

    async def most_active(self, count: int) -> tuple[str, ...]:
        """Ask for the stocks with the largest volume; before the open that of the day before."""
        path, params = "/screener/stocks/most-actives", {"by": "volume", "top": str(count)}
        return await self._reader.read(path, params, wire.most_active, version="v1beta1")

    async def movers(self, count: int) -> tuple[str, ...]:
        """Ask for the stocks that rose most, and as many that fell most."""
        path, params = "/screener/stocks/movers", {"top": str(count)}
        return await self._reader.read(path, params, wire.movers, version="v1beta1")

    async def snapshots(self, symbols: Sequence[str]) -> Mapping[str, object]:
        """Ask for latest quote, latest trade and daily bars of each symbol; an unknown one is absent."""
        params = {"symbols": ",".join(symbols), "feed": self.source}
        return await self._reader.read("/stocks/snapshots", params, wire.snapshots)

    async def bars(
        self, symbols: Sequence[str], length: timedelta, *, start: datetime, end: datetime
    ) -> Mapping[str, Sequence[object]]:
        """Rows by symbol from bars that begin from `start` to `end`, both included, of all pages."""
        params = {
            "symbols": ",".join(symbols),
            "timeframe": _TIMEFRAMES[length],
            "start": _stamp(start),
            "end": _stamp(end),
            "limit": str(PAGE_OF_BARS),
            "adjustment": "split",
            "feed": self.source,
            "sort": "asc",
        }
        rows: dict[str, list[object]] = {}
        async for series in self._pages("/stocks/bars", params, wire.bars_page):
            for symbol, more in series.items():
                rows.setdefault(symbol, []).extend(more)
        return rows

    async def news(
        self, symbols: Sequence[str] | None, *, start: datetime, end: datetime
    ) -> list[object]:
        """Ask for articles changed from `start` to `end`, without their content; None asks for all."""
        params = {
            "start": _stamp(start),
            "end": _stamp(end),
            "limit": str(PAGE_OF_NEWS),
            "include_content": "false",
            "sort": "asc",
            **({} if symbols is None else {"symbols": ",".join(symbols)}),
        }
        pages = self._pages("/news", params, wire.news_page, version="v1beta1")
        return [article async for articles in pages for article in articles]

    async def _pages(
        self,
        path: str,
        params: Mapping[str, str],
        take: Callable[[object], tuple[_Part, str | None]],
        *,
        version: str = "v2",
    ) -> AsyncIterator[_Part]:
        """Yield every page; one that is missing makes the whole answer unavailable."""
        tokens: set[str] = set()
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            asked = {**params, **more}
            part, token = await self._reader.read(path, asked, take, version=version)
            yield part
            if token is None:
                return
            if token in tokens:
                raise FeedUnavailable(f"Alpaca names a page of {path} twice, {token}")
            tokens.add(token)
            more = {"page_token": token}
        raise FeedUnavailable(f"Alpaca's answer to {path} has more than {MOST_PAGES} pages")


def _pause_after(error: Exception) -> bool | float:
    """Say whether to try again, and how long to wait where Alpaca, or our share, says so itself."""
    if not isinstance(error, CallFailed):
        return False
    if isinstance(error, Refused) and not _may_pass(error.status):
        return False
    if error.retry_after_seconds is None:
        return True
    return min(error.retry_after_seconds, _LONGEST_PAUSE_SECONDS)


def _may_pass(status: int) -> bool:
    return status == _TOO_MANY_REQUESTS or status in _SERVER_ERRORS


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
