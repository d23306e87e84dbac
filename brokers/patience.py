"""A broker whose reads are tried again for a while, and whose writes are sent once."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import TypeVar

import stamina

from brokers.base import Broker, Capabilities
from safety import ApprovedCancel, ApprovedOrder
from shared.config import OrderSettings
from shared.errors import BrokerUnavailable
from shared.models import Account, Instrument, MarketClock, Order, Position

_Answer = TypeVar("_Answer")

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0


class PatientBroker:
    """Implements `brokers.base.Broker` before another one."""

    def __init__(self, broker: Broker, settings: OrderSettings) -> None:
        """Take the broker, and how patient to be."""
        self._broker: Broker = broker
        self._retrying: stamina.BoundAsyncRetryingCaller = stamina.AsyncRetryingCaller(
            attempts=settings.read_attempts,
            timeout=settings.read_timeout_seconds,
            wait_initial=_FIRST_PAUSE_SECONDS,
            wait_max=_LONGEST_PAUSE_SECONDS,
        ).on(_pause_after)

    @property
    def capabilities(self) -> Capabilities:
        """What the broker behind can do."""
        return self._broker.capabilities

    async def account(self) -> Account:
        """Read the account."""
        return await self._read(self._broker.account)

    async def positions(self) -> tuple[Position, ...]:
        """Read every holding that is not zero."""
        return await self._read(self._broker.positions)

    async def orders(self, *, only_open: bool, since: datetime | None = None) -> tuple[Order, ...]:
        """Read orders, parents before their legs."""
        return await self._read(lambda: self._broker.orders(only_open=only_open, since=since))

    async def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Look one order up."""
        return await self._read(lambda: self._broker.order_by_client_id(client_order_id))

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that are known."""
        return await self._read(lambda: self._broker.instruments(symbols))

    async def market_clock(self) -> MarketClock:
        """Ask whether the exchange trades, and what time it is there."""
        return await self._read(self._broker.market_clock)

    async def place_order(self, approved: ApprovedOrder) -> Order:
        """Send an order once."""
        return await self._broker.place_order(approved)

    async def replace_order(self, approved: ApprovedOrder) -> Order:
        """Replace an order once."""
        return await self._broker.replace_order(approved)

    async def cancel_order(self, approved: ApprovedCancel) -> Order:
        """Ask for a cancel once."""
        return await self._broker.cancel_order(approved)

    async def disconnect(self) -> None:
        """Close every connection; safe to call twice."""
        await self._broker.disconnect()

    async def _read(self, read: Callable[[], Awaitable[_Answer]]) -> _Answer:
        return await self._retrying(read)


def _pause_after(error: Exception) -> bool | float:
    """Say whether to try again, and how long to wait where the broker says so itself."""
    if not isinstance(error, BrokerUnavailable):
        return False
    return True if error.retry_after_seconds is None else error.retry_after_seconds
