"""Places at which a process can die: every commit, and every call of the broker before and after.

Proxies that are handed in as connection and as broker; neither knows what is done at a point.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from brokers.base import Broker, Capabilities
from safety import ApprovedCancel, ApprovedOrder
from shared.database.connection import Connection
from shared.models import Account, Instrument, MarketClock, Order, Position

Answer = TypeVar("Answer")

_WRITE = re.compile(r"^(?:\s|--[^\n]*\n)*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", re.IGNORECASE)


def never() -> None:
    """Live on."""


@dataclass
class Points:
    """Counts the points that a process passes; does `act` at the one of that number, from 0."""

    at: int | None = None
    act: Callable[[], None] = never
    names: list[str] = field(default_factory=list[str])

    def reach(self, name: str) -> None:
        """Be at a point."""
        self.names.append(name)
        if len(self.names) - 1 == self.at:
            self.act()

    async def around(self, name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Have a point before a call and one after it."""
        self.reach(f"before {name}")
        answer = await call()
        self.reach(f"after {name}")
        return answer


def watched_connection(connection: Connection, points: Points) -> Connection:
    """Return a connection that has a point before and after every commit."""
    return cast("Connection", _WatchedConnection(connection, points))


class _WatchedConnection:
    """A connection of asyncpg, as far as the program uses one."""

    def __init__(self, connection: Connection, points: Points) -> None:
        self._connection: Connection = connection
        self._points: Points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, query: str, *arguments: object) -> Any:
        return await self._run(query, lambda: self._connection.execute(query, *arguments))

    async def fetch(self, query: str, *arguments: object) -> Any:
        return await self._run(query, lambda: self._connection.fetch(query, *arguments))

    async def fetchrow(self, query: str, *arguments: object) -> Any:
        return await self._run(query, lambda: self._connection.fetchrow(query, *arguments))

    async def fetchval(self, query: str, *arguments: object) -> Any:
        return await self._run(query, lambda: self._connection.fetchval(query, *arguments))

    def transaction(self, **options: Any) -> "_WatchedTransaction":
        outermost = not self._is_inside()
        return _WatchedTransaction(
            self._connection.transaction(**options), self._points if outermost else Points()
        )

    async def _run(self, query: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run a statement; a write outside every transaction is a commit of its own."""
        write = _WRITE.match(query)
        if write is None or self._is_inside():
            return await call()
        return await self._points.around(f"{write[1].lower()} {write[2]}", call)

    def _is_inside(self) -> bool:
        """Whether a transaction is under way; asyncpg cannot say so of a connection that is gone."""
        return not self._connection.is_closed() and self._connection.is_in_transaction()


class _WatchedTransaction:
    def __init__(self, inner: Any, points: Points) -> None:
        self._inner: Any = inner
        self._points: Points = points

    async def start(self) -> None:
        await self._inner.start()

    async def commit(self) -> None:
        await self._points.around("the commit", self._inner.commit)

    async def rollback(self) -> None:
        await self._inner.rollback()


class WatchedBroker:
    """A broker that has a point before every call is sent, and one after its answer is received."""

    def __init__(self, broker: Broker, points: Points) -> None:
        self._broker: Broker = broker
        self._points: Points = points

    @property
    def capabilities(self) -> Capabilities:
        return self._broker.capabilities

    async def account(self) -> Account:
        return await self._points.around("reading the account", self._broker.account)

    async def positions(self) -> tuple[Position, ...]:
        return await self._points.around("reading positions", self._broker.positions)

    async def orders(self, *, only_open: bool, since: datetime | None = None) -> tuple[Order, ...]:
        return await self._points.around(
            "reading orders", lambda: self._broker.orders(only_open=only_open, since=since)
        )

    async def order_by_client_id(self, client_order_id: str) -> Order | None:
        return await self._points.around(
            "looking an order up", lambda: self._broker.order_by_client_id(client_order_id)
        )

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        return await self._points.around(
            "reading instruments", lambda: self._broker.instruments(symbols)
        )

    async def market_clock(self) -> MarketClock:
        return await self._points.around("reading the clock", self._broker.market_clock)

    async def place_order(self, approved: ApprovedOrder) -> Order:
        return await self._points.around("placing", lambda: self._broker.place_order(approved))

    async def replace_order(self, approved: ApprovedOrder) -> Order:
        return await self._points.around("replacing", lambda: self._broker.replace_order(approved))

    async def cancel_order(self, approved: ApprovedCancel) -> Order:
        return await self._points.around("cancelling", lambda: self._broker.cancel_order(approved))

    async def disconnect(self) -> None:
        await self._broker.disconnect()
