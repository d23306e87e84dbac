"""What Alpaca's assets are, kept for a while: a few are asked for one by one, many by its whole list."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import quote

from brokers import alpaca_wire
from shared.clock import Clock
from shared.models import Instrument

KEPT = timedelta(minutes=15)
"""Whether a symbol can be traded changes seldom, and Alpaca refuses what cannot."""
ASKED_ONE_BY_ONE = 8
"""For more symbols than these the whole list is read: one request, and some megabytes."""

Ask = Callable[[str, Mapping[str, str] | None], Awaitable[object | None]]
"""Reads a path; None where Alpaca says that it knows no such thing."""


class AlpacaAssets:
    """The assets that one process asked for."""

    def __init__(self, ask: Ask, clock: Clock) -> None:
        """Nothing is asked before the first question."""
        self._ask: Ask = ask
        self._clock: Clock = clock
        self._asked: set[str] = set()
        self._listed: dict[str, Instrument] = {}
        self._since: datetime = clock.now()

    async def instrument(self, symbol: str) -> Instrument | None:
        """Describe a symbol, or None when Alpaca does not know it."""
        now = self._clock.now()
        if not timedelta(0) <= now - self._since <= KEPT:
            self._listed, self._asked, self._since = {}, set(), now
        if not self._listed and len(self._asked | {symbol}) > ASKED_ONE_BY_ONE:
            await self._read_list()
        if symbol in self._listed:
            return self._listed[symbol]
        body = await self._ask(f"/assets/{quote(symbol, safe='')}", None)
        self._asked.add(symbol)
        return None if body is None else alpaca_wire.instrument(body)

    async def _read_list(self) -> None:
        """Take the list of what can be traded; what is not in it is asked for by itself."""
        query = {"status": "active", "asset_class": "us_equity"}
        found = map(alpaca_wire.instrument, alpaca_wire.rows(await self._ask("/assets", query)))
        self._listed = {one.symbol: one for one in found}
