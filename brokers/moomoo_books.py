"""Reads OpenD's lists of orders: those of the day, and those that have ended."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from brokers import moomoo_wire
from brokers.moomoo_requests import paper_header
from brokers.moomoo_stocks import MoomooStocks
from brokers.moomoo_wire import HONG_KONG, Fields, Message, PaperAccount
from shared import log
from shared.models import Order
from shared.opend import OpenD
from shared.unreadable import Unreadable

TODAYS_ORDERS, HISTORY = 2201, 2221
LOOKED_BACK = timedelta(days=90)
"""How far back orders that have ended are read; OpenD keeps no more of them than that ready."""

_DAY = timedelta(days=1)
_UPDATED = ("updateTimestamp", "updateTime")

logger = log.get(__name__)


class MoomooBooks:
    """The orders of one account."""

    def __init__(self, opend: OpenD, stocks: MoomooStocks, *, currency: str) -> None:
        """Take the connection, and what knows which kind a stock is."""
        self._opend: OpenD = opend
        self._stocks: MoomooStocks = stocks
        self._currency: str = currency
        self._past: tuple[datetime, list[Message]] | None = None
        """Orders that have ended, as they were read on one date, which is given by its beginning."""

    async def orders(
        self, account: PaperAccount, *, now: datetime, only_open: bool, since: datetime | None
    ) -> tuple[Order, ...]:
        """Read orders as `Broker.orders` has it. Raises CallFailed and Unreadable."""
        read = await self._read(await self._today(account))
        if not only_open and (since is None or _date(since) < _date(now)):
            read += await self._read(await self._history(account, now), needed_since=since)
        return tuple(order for order in _merged(read) if _is_wanted(order, only_open, since))

    async def by_remark(self, account: PaperAccount, remark: str, now: datetime) -> Order | None:
        """Look for an order in both lists; None only when both were read whole. Raises CallFailed, Unreadable."""
        rows = await self._today(account, must_be_fresh=True)
        rows += await self._history(account, now, must_be_fresh=True)
        named = [row for row in rows if row.remark == remark]
        found = _merged(await self._read(named))
        counted = [order for order in found if order.status.is_open or order.filled_quantity]
        if len(counted) > 1:
            ids = " and ".join(order.broker_order_id for order in counted)
            raise Unreadable(f"OpenD has more than one order {remark} that trades or traded: {ids}")
        return next(iter(counted or found[-1:]), None)

    async def one(self, account: PaperAccount, broker_order_id: str) -> Order | None:
        """Read one of today's orders; None where it is not listed. Raises CallFailed and Unreadable."""
        rows = [
            row
            for row in await self._today(account, broker_order_id)
            if row.orderIDEx == broker_order_id
        ]
        return next(iter(await self._read(rows)), None)

    async def _today(
        self,
        account: PaperAccount,
        broker_order_id: str | None = None,
        *,
        must_be_fresh: bool = False,
    ) -> list[Message]:
        """Read the list of the day: from moomoo's servers where there is a turn, else as OpenD was told it."""
        is_fresh = must_be_fresh or self._opend.has_turn(TODAYS_ORDERS)
        body: dict[str, object] = {
            "header": paper_header(account.account_id),
            "refreshCache": is_fresh,
        }
        if broker_order_id is not None:
            body["filterConditions"] = {"orderIDExList": [broker_order_id]}
        said = await self._opend.ask(TODAYS_ORDERS, body, limited=is_fresh)
        moomoo_wire.require_account(said, account.account_id)
        return list(said.orderList)

    async def _history(
        self, account: PaperAccount, now: datetime, *, must_be_fresh: bool = False
    ) -> list[Message]:
        """Read orders that have ended; those of earlier days, which the day's list lacks, change no more."""
        today = _date(now)
        if not must_be_fresh and self._past is not None and self._past[0] == today:
            return list(self._past[1])
        body = {
            "header": paper_header(account.account_id),
            "filterConditions": {
                "beginTime": _written(now - LOOKED_BACK),
                "endTime": _written(now + _DAY),
            },
        }
        said = await self._opend.ask(HISTORY, body)
        moomoo_wire.require_account(said, account.account_id)
        self._past = (today, list(said.orderList))
        return list(said.orderList)

    async def _read(
        self, rows: Iterable[Message], *, needed_since: datetime | None = None
    ) -> list[Order]:
        """Read every row.

        One that cannot be read is left out where nobody wants an order so old, and where a person placed it
        in moomoo's app, so that it has no remark: it may be of a kind that we do not know, and keeps nobody
        from selling.
        """
        found: list[Order] = []
        for row in rows:
            try:
                order = moomoo_wire.order(row, currency=self._currency)
            except Unreadable as error:
                if row.remark and _is_needed(row, needed_since):
                    raise
                logger.warning("order_not_read", order=row.orderIDEx, why=str(error))
                continue
            if order.filled_quantity:
                kind = await self._stocks.kind(order.symbol)
                order = moomoo_wire.order(row, currency=self._currency, kind=kind)
            found.append(order)
        return found


def _is_needed(row: Message, since: datetime | None) -> bool:
    return since is None or Fields("order", row).moment(*_UPDATED) >= since


def _merged(orders: Iterable[Order]) -> list[Order]:
    """Put two lists together, oldest first; of an order that is in both the later state counts."""
    latest: dict[str, Order] = {}
    for order in orders:
        known = latest.get(order.broker_order_id)
        if known is None or order.updated_at > known.updated_at:
            latest[order.broker_order_id] = order
    return sorted(latest.values(), key=lambda o: (o.submitted_at, o.broker_order_id))


def _is_wanted(order: Order, only_open: bool, since: datetime | None) -> bool:
    return order.status.is_open or (not only_open and (since is None or order.updated_at >= since))


def _date(moment: datetime) -> datetime:
    local = moment.astimezone(HONG_KONG)
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def _written(moment: datetime) -> str:
    return moment.astimezone(HONG_KONG).strftime("%Y-%m-%d %H:%M:%S")
