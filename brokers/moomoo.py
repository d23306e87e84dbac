"""The adapter for moomoo: Hong Kong's stocks through OpenD, paper accounts only.

It translates and decides nothing. There are limit and market orders for the day and nothing else: no stops,
no brackets, no list of executions, no fees. So fills are what an order's totals grew by, and charges are
worked out. An order is known by its remark, which OpenD does not keep unique; what OpenD does not say
clearly is BrokerUnavailable for a read and OrderOutcomeUnknown for a write; no write is sent twice.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import TypeVar

from brokers import moomoo_errors, moomoo_wire
from brokers.approval import approved_cancel, approved_request
from brokers.base import Capabilities
from brokers.moomoo_books import MoomooBooks
from brokers.moomoo_requests import (
    MOOMOO_CAPABILITIES,
    cancel_body,
    order_body,
    paper_header,
    require_sendable,
)
from brokers.moomoo_stocks import MoomooStocks
from brokers.moomoo_wire import HONG_KONG, Message, PaperAccount
from brokers.paper_rules import RejectCode
from safety import ApprovedCancel, ApprovedOrder
from shared.clock import Clock
from shared.config_brokers import MoomooSettings
from shared.errors import BrokerUnavailable, ConfigError, OrderOutcomeUnknown, OrderRejected
from shared.models import (
    Account,
    Instrument,
    MarketClock,
    Order,
    OrderRequest,
    OrderStatus,
    Position,
    TradingDay,
)
from shared.opend import GLOBAL_STATE, CallFailed, OpenD
from shared.unreadable import Unreadable

ACCOUNTS, FUNDS, POSITIONS, PLACE, MODIFY, TRADE_DATES = 2001, 2101, 2102, 2202, 2205, 3219

_HK_TRADE_DATES = 1

_Answer = TypeVar("_Answer")


class MoomooBroker:
    """Implements `brokers.base.Broker` on one paper account at moomoo."""

    def __init__(
        self, opend: OpenD, settings: MoomooSettings, clock: Clock, *, currency: str = "HKD"
    ) -> None:
        """Take the process's connection, which its market feed uses too; nothing is asked before the first call."""
        self._opend: OpenD = opend
        self._settings: MoomooSettings = settings
        self._clock: Clock = clock
        self._currency: str = currency
        self._stocks: MoomooStocks = MoomooStocks(
            opend, clock, currency=currency, at_once=settings.symbols_per_snapshot
        )
        self._books: MoomooBooks = MoomooBooks(opend, self._stocks, currency=currency)
        self._known: PaperAccount | None = None
        self._days: dict[date, TradingDay] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What a paper account at moomoo can do."""
        return MOOMOO_CAPABILITIES

    async def account(self) -> Account:
        """Read the account. Raises ConfigError where the login has not exactly one that fits."""

        async def read() -> Account:
            known = await self._account()
            said = await self._cached(FUNDS, known)
            return moomoo_wire.account(said, known, currency=self._currency, at=self._clock.now())

        return await _read(read)

    async def positions(self) -> tuple[Position, ...]:
        """Read every holding that is not zero."""

        async def read() -> tuple[Position, ...]:
            known = await self._account()
            said = await self._cached(POSITIONS, known)
            return moomoo_wire.positions(said, known, currency=self._currency)

        return await _read(read)

    async def orders(self, *, only_open: bool, since: datetime | None = None) -> tuple[Order, ...]:
        """Read orders of today and, where `since` goes further back, of up to 90 days."""

        async def read() -> tuple[Order, ...]:
            known, now = await self._account(), self._clock.now()
            return await self._books.orders(known, now=now, only_open=only_open, since=since)

        return await _read(read)

    async def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Look one order up by its remark; None only when no order of 90 days has it.

        Raises BrokerUnavailable, also where two orders have it and both trade or traded.
        """

        async def read() -> Order | None:
            known, now = await self._account(), self._clock.now()
            return await self._books.by_remark(known, client_order_id, now)

        return await _read(read)

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that OpenD knows."""
        return await _read(lambda: self._stocks.instruments(symbols))

    async def market_clock(self) -> MarketClock:
        """Ask whether the exchange trades, what time it is there, and how much of the day it trades."""

        async def read() -> MarketClock:
            said = await self._opend.ask(GLOBAL_STATE, {})
            if not (said.qotLogined and said.trdLogined):
                raise Unreadable("OpenD is not logged in to moomoo's servers: log it in there")
            today = moomoo_wire.server_time(said).astimezone(HONG_KONG).date()
            return moomoo_wire.market_clock(said, await self._day(today))

        return await _read(read)

    async def place_order(self, approved: ApprovedOrder) -> Order:
        """Send an order once, and look at it. Raises TypeError for anything that safety did not approve."""
        request = approved_request(approved)
        require_sendable(request)
        known = await _read(self._account)
        said = await self._written(PLACE, order_body(request, known.account_id), known)
        order_id = said.orderIDEx or (str(said.orderID) if said.orderID else "")
        if not order_id:
            msg = f"OpenD took order {request.client_order_id} and named no order"
            raise OrderOutcomeUnknown(msg)
        found = await self._seen(known, order_id)
        if found is None:
            return _as_sent(request, order_id, self._clock.now())
        if found.client_order_id != request.client_order_id:
            msg = f"OpenD says that {request.client_order_id} is {order_id}, which is another order"
            raise OrderOutcomeUnknown(msg)
        return found

    async def replace_order(self, approved: ApprovedOrder) -> Order:
        """Refuse: an order that OpenD changes keeps its id and its remark, and so is no new one."""
        request = approved_request(approved)
        msg = f"order {request.replaces} cannot be replaced at moomoo: cancel it first"
        raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)

    async def cancel_order(self, approved: ApprovedCancel) -> Order:
        """Cancel an order, and look at it. Raises TypeError for anything that safety did not approve."""
        order_id = approved_cancel(approved)
        known = await _read(self._account)
        await self._written(MODIFY, cancel_body(order_id, known.account_id), known)
        found = await self._seen(known, order_id)
        if found is None:
            msg = f"the cancel of {order_id} was taken, and the order could not be read after it"
            raise OrderOutcomeUnknown(msg)
        is_asked_for = found.status.is_open
        return replace(found, status=OrderStatus.CANCEL_PENDING) if is_asked_for else found

    async def disconnect(self) -> None:
        """Cut every call off and close the connection, the feed's too; safe to call twice."""
        await self._opend.close()

    async def _account(self) -> PaperAccount:
        """Find the account, by what OpenD says of each. Raises CallFailed, Unreadable, ConfigError."""
        if self._known is None:
            said = await self._opend.ask(ACCOUNTS, {"userID": 0})
            if not said.accList:
                raise Unreadable("OpenD lists no account at all: see that it is logged in")
            self._known = _chosen(
                moomoo_wire.paper_accounts(said.accList), self._settings.account_id
            )
        return self._known

    async def _cached(self, protocol: int, known: PaperAccount) -> Message:
        """Read from moomoo's servers where there is a turn, else what OpenD was told since."""
        is_fresh = self._opend.has_turn(protocol)
        body = {"header": paper_header(known.account_id), "refreshCache": is_fresh}
        return await self._opend.ask(protocol, body, limited=is_fresh)

    async def _day(self, on: date) -> TradingDay | None:
        """Return how much of a date is traded; None where OpenD does not say.

        It is asked again then, and where it lists nothing: an empty list forbids a day's entries.
        """
        if self._days.get(on) in {None, TradingDay.NONE}:
            body = {
                "market": _HK_TRADE_DATES,
                "beginTime": on.isoformat(),
                "endTime": on.isoformat(),
            }
            try:
                self._days[on] = moomoo_wire.trading_day(
                    await self._opend.ask(TRADE_DATES, body), on
                )
            except CallFailed:
                return None
        return self._days[on]

    async def _written(
        self, protocol: int, body: moomoo_wire.Message, known: PaperAccount
    ) -> Message:
        """Send a write and understand its answer; one that makes no sense proves nothing."""
        try:
            said = await self._opend.ask(protocol, body, writes=True)
            moomoo_wire.require_account(said, known.account_id)
        except CallFailed as error:
            raise moomoo_errors.of_write(error) from error
        except Unreadable as error:
            raise OrderOutcomeUnknown(str(error)) from error
        return said

    async def _seen(self, known: PaperAccount, order_id: str) -> Order | None:
        """Look at an order after a write; None where it cannot be seen, which says nothing against it."""
        try:
            return await self._books.one(known, order_id)
        except (CallFailed, Unreadable):
            return None


def _chosen(fitting: tuple[PaperAccount, ...], wanted: str | None) -> PaperAccount:
    ids = ", ".join(str(one.account_id) for one in fitting) or "none"
    found = [one for one in fitting if wanted in {None, str(one.account_id)}]
    if len(found) == 1:
        return found[0]
    if wanted is None:
        msg = (
            f"the login has {len(fitting)} paper accounts for Hong Kong's stocks ({ids}):"
            " name one in broker.moomoo.account_id"
        )
        raise ConfigError(msg)
    msg = (
        f"broker.moomoo.account_id {wanted} is no paper account for Hong Kong's stocks"
        f" of this login, which has: {ids}"
    )
    raise ConfigError(msg)


def _as_sent(request: OrderRequest, order_id: str, at: datetime) -> Order:
    """Return an order that OpenD has taken and that could not be looked at: it works, and nothing has filled."""
    return Order(
        broker_order_id=order_id,
        client_order_id=request.client_order_id,
        symbol=request.symbol,
        side=request.side,
        order_type=request.order_type,
        time_in_force=request.time_in_force,
        quantity=request.quantity,
        status=OrderStatus.ACCEPTED,
        submitted_at=at,
        updated_at=at,
        limit_price=request.limit_price,
    )


async def _read(read: Callable[[], Awaitable[_Answer]]) -> _Answer:
    try:
        return await read()
    except CallFailed as error:
        raise moomoo_errors.of_read(error) from error
    except Unreadable as error:
        raise BrokerUnavailable(str(error)) from error
