"""Which US stocks can be traded at Alpaca, from its own list: one answer, read once a day and process."""

import re
from datetime import date

from market import alpaca_wire as wire
from market.alpaca_requests import Reader
from market.calendar import Calendar
from shared.clock import Clock

_COMMON = re.compile(r"[A-Z]{1,5}(\.[A-Z])?")
"""A symbol, and a class of shares; preferred shares, units and when-issued ones have longer endings."""
_NO_SHARES = re.compile(r"\b(warrants?|rights?)\b", re.IGNORECASE)


class TradableStocks:
    """Says which symbols are shares or funds that are listed on a US exchange and can be traded now.

    The list does not tell shares from funds, so funds are among them. Warrants and rights are told by
    their names, and securities that trade over the counter by their exchange.
    """

    def __init__(self, reader: Reader, clock: Clock, calendar: Calendar) -> None:
        """Read from the trading host, where the list of assets is."""
        self._reader: Reader = reader
        self._clock: Clock = clock
        self._calendar: Calendar = calendar
        self._read_on: date | None = None
        self._symbols: frozenset[str] = frozenset()

    async def __call__(self) -> frozenset[str]:
        """Return the symbols. Raises FeedUnavailable."""
        today = self._calendar.exchange_date(self._clock.now())
        if self._read_on != today:
            params = {"status": "active", "asset_class": "us_equity"}
            assets = await self._reader.read("/assets", params, wire.assets)
            self._symbols = frozenset(asset.symbol for asset in assets if is_a_stock(asset))
            self._read_on = today
        return self._symbols


def is_a_stock(asset: wire.Asset) -> bool:
    """Whether an asset is a listed share or fund that can be traded."""
    return (
        asset.is_tradable
        and asset.exchange != "OTC"
        and _COMMON.fullmatch(asset.symbol) is not None
        and _NO_SHARES.search(asset.name) is None
    )
