"""The adapter for Alpaca: US stocks, paper accounts only.

It translates and decides nothing. Bracket legs protect only when the entry has filled completely, a resting
stop holds its shares, one time in force is that of an entry and its legs, and a client order id is never
free again. What Alpaca does not say clearly is BrokerUnavailable for a read and OrderOutcomeUnknown for a
write; no write is sent twice.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote, urlsplit

from brokers import alpaca_errors, alpaca_wire
from brokers.alpaca_assets import AlpacaAssets
from brokers.alpaca_books import PAGE, AlpacaBooks
from brokers.alpaca_requests import ALPACA_CAPABILITIES, order_body, replacement_body
from brokers.approval import approved_cancel, approved_request
from brokers.base import Capabilities
from safety import ApprovedCancel, ApprovedOrder
from shared.alpaca_http import AlpacaHttp, AlpacaKeys, CallFailed, Json, RequestShare
from shared.clock import Clock
from shared.config_brokers import AlpacaSettings
from shared.config_checks import LIVE_KEY, PAPER_HOSTS
from shared.errors import BrokerUnavailable, ConfigError, OrderOutcomeUnknown, OrderRejected
from shared.models import (
    Account,
    Environment,
    Instrument,
    MarketClock,
    Order,
    Position,
)
from shared.unreadable import Unreadable

_Answer = TypeVar("_Answer")


class AlpacaBroker:
    """Implements `brokers.base.Broker` on one Alpaca paper account."""

    def __init__(
        self,
        settings: AlpacaSettings,
        keys: AlpacaKeys,
        share: RequestShare,
        clock: Clock,
        *,
        page_size: int = PAGE,
    ) -> None:
        """Take how to reach it; nothing is connected before the first call.

        `share` is the process's own, the same that its market feed takes from. Raises ConfigError for
        anything but a paper host and a paper key, whatever the configuration let pass.
        """
        host = urlsplit(settings.trading_url).hostname
        if host not in PAPER_HOSTS:
            raise ConfigError(f"live trading is refused: {host} is no host for paper trading")
        if keys.api_key.get_secret_value().upper().startswith(LIVE_KEY):
            raise ConfigError(f"live trading is refused: {settings.api_key_env} holds a live key")
        self._settings: AlpacaSettings = settings
        self._clock: Clock = clock
        self._http: AlpacaHttp = AlpacaHttp(settings, keys, settings.trading_url, share)
        self._books: AlpacaBooks = AlpacaBooks(self._http, page_size=page_size)
        self._assets: AlpacaAssets = AlpacaAssets(self._found, clock)

    @property
    def capabilities(self) -> Capabilities:
        """What Alpaca can do."""
        return ALPACA_CAPABILITIES

    async def account(self) -> Account:
        """Read the account; one that may not trade is blocked."""

        async def read() -> Account:
            body = await self._http.get("/account")
            return alpaca_wire.account(body, environment=Environment.PAPER, at=self._clock.now())

        return await self._read(read)

    async def positions(self) -> tuple[Position, ...]:
        """Read every holding that is not zero."""

        async def read() -> tuple[Position, ...]:
            bodies = alpaca_wire.rows(await self._http.get("/positions"))
            held = (alpaca_wire.position(body) for body in bodies)
            return tuple(position for position in held if position.quantity)

        return await self._read(read)

    async def orders(self, *, only_open: bool, since: datetime | None = None) -> tuple[Order, ...]:
        """Read orders, parents before their legs, each leg also as an element of its own."""
        now = self._clock.now()
        return await self._read(
            lambda: self._books.orders(now=now, only_open=only_open, since=since)
        )

    async def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Look one order up; None only when Alpaca itself says that it knows no such id."""

        async def read() -> Order | None:
            query = {"client_order_id": client_order_id}
            body = await self._found("/orders:by_client_order_id", query)
            if body is None:
                return None
            if alpaca_wire.Fields.of("order", body).text("client_order_id") != client_order_id:
                raise Unreadable(f"asked for order {client_order_id}, Alpaca showed another one")
            return await self._books.one(body)

        return await self._read(read)

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that Alpaca knows."""
        return await self._read(lambda: self._assets.instruments(symbols))

    async def market_clock(self) -> MarketClock:
        """Ask whether the exchange trades, and what time it is there."""

        async def read() -> MarketClock:
            return alpaca_wire.market_clock(await self._http.get("/clock"))

        return await self._read(read)

    async def place_order(self, approved: ApprovedOrder) -> Order:
        """Send an order once. Raises TypeError for anything that safety did not approve."""
        request = approved_request(approved)
        body = order_body(request)
        return await self._written(lambda: self._http.post("/orders", body))

    async def replace_order(self, approved: ApprovedOrder) -> Order:
        """Replace a resting order. Raises TypeError for anything that safety did not approve."""
        request = approved_request(approved)
        if request.replaces is None:
            msg = f"order {request.client_order_id} names none that it would replace"
            raise OrderRejected(msg)
        path, body = f"/orders/{quote(request.replaces, safe='')}", replacement_body(request)
        return await self._written(lambda: self._http.patch(path, body))

    async def cancel_order(self, approved: ApprovedCancel) -> Order:
        """Cancel an order and with it its group; the order is then read, since the answer is empty.

        Raises TypeError for anything that safety did not approve.
        """
        path = f"/orders/{quote(approved_cancel(approved), safe='')}"
        try:
            await self._http.delete(path)
        except CallFailed as error:
            raise alpaca_errors.of_write(error, self._settings) from error
        try:
            return await self._books.one(await self._http.get(path, {"nested": "true"}))
        except (CallFailed, Unreadable) as error:
            msg = f"the cancel was taken, and the order could not be read after it: {error}"
            raise OrderOutcomeUnknown(msg) from error

    async def disconnect(self) -> None:
        """Cut every call off and close every connection; safe to call twice."""
        await self._http.close()

    async def _found(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Read one thing; None where Alpaca says that there is none."""
        try:
            return await self._http.get(path, query)
        except CallFailed as error:
            if alpaca_errors.is_not_found(error):
                return None
            raise

    async def _read(self, read: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            return await read()
        except CallFailed as error:
            raise alpaca_errors.of_read(error, self._settings) from error
        except Unreadable as error:
            raise BrokerUnavailable(str(error)) from error

    async def _written(self, write: Callable[[], Awaitable[Json]]) -> Order:
        """Send a write and understand its answer; one that makes no sense proves nothing."""
        try:
            return self._books.as_far_as_known(await write())
        except CallFailed as error:
            raise alpaca_errors.of_write(error, self._settings) from error
        except Unreadable as error:
            raise OrderOutcomeUnknown(str(error)) from error
