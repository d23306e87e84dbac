"""What Alpaca's assets are: a few are asked for one by one, many by its whole list, which is kept for a while."""

from collections.abc import Awaitable, Callable, Collection, Mapping
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
        self._listed: dict[str, Instrument] = {}
        self._since: datetime = clock.now()

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that Alpaca knows."""
        now = self._clock.now()
        if not timedelta(0) <= now - self._since <= KEPT:
            self._listed, self._since = {}, now
        if not self._listed and len(set(symbols)) > ASKED_ONE_BY_ONE:
            await self._read_list()
        found: dict[str, Instrument] = {}
        for symbol in dict.fromkeys(symbols):
            known = self._listed.get(symbol) or await self._asked(symbol)
            if known is not None:
                found[symbol] = known
        return found

    async def _asked(self, symbol: str) -> Instrument | None:
        body = await self._ask(f"/assets/{quote(symbol, safe='')}", None)
        return None if body is None else alpaca_wire.instrument(body)

    async def _read_list(self) -> None:
        """Take the list of what can be traded; what is not in it is asked for by itself."""
        query = {"status": "active", "asset_class": "us_equity"}
        found = map(alpaca_wire.instrument, alpaca_wire.rows(await self._ask("/assets", query)))
        self._listed = {one.symbol: one for one in found}
