"""Reads Alpaca's lists whole: every page of the orders, what belongs to what, and each order's executions.

Alpaca's list of open orders lacks the stops that are held beside a working target, and rolled up it lacks
the legs of an entry that has filled. So every order is read, flat, and what is open is picked out here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from brokers import alpaca_wire
from brokers.alpaca_wire import Row
from shared.alpaca_http import AlpacaHttp
from shared.models import Fill, Order, OrderStatus
from shared.unreadable import Unreadable

PAGE = 500
"""Orders that Alpaca lists at once, at most."""
FILL_PAGE = 100

LOOKED_BACK = timedelta(days=7)
"""How far before the time in question orders are read; older ones that are open still are found as well."""

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_FEW = 2
"""So many orders are asked for their fills one by one; for more, all fills of the time are read."""


class AlpacaBooks:
    """The orders and fills of one account."""

    def __init__(self, http: AlpacaHttp, *, page_size: int = PAGE) -> None:
        """Take the connection, and how many orders to ask for at once."""
        self._http: AlpacaHttp = http
        self._page: int = min(page_size, PAGE)
        self._fill_page: int = min(page_size, FILL_PAGE)
        self._fills: dict[str, tuple[Fill, ...]] = {}

    async def orders(
        self, *, now: datetime, only_open: bool, since: datetime | None
    ) -> tuple[Order, ...]:
        """Read orders as `Broker.orders` has it. Raises CallFailed and Unreadable."""
        from_ = now if only_open else since
        after = None if from_ is None else from_ - LOOKED_BACK
        open_ones = () if after is None else await self._open_ones()
        rows = await self._every_row(after, open_ones)
        parents = await self._parents(rows, after)
        related = _related(rows.values(), parents)
        wanted = [one for one in related if _is_wanted(one.order, only_open, since)]
        filled = await self._with_fills(wanted)
        return tuple(_with_legs(filled))

    async def one(self, body: object) -> Order:
        """Complete one order that was just read, with its legs and fills. Raises CallFailed, Unreadable."""
        row = alpaca_wire.row(body)
        may_have_legs = row.is_first or row.group_id is None
        if may_have_legs and not (row.is_simple or row.legs):
            path = f"/orders/{row.order.broker_order_id}"
            row = alpaca_wire.row(await self._http.get(path, {"nested": "true"}))
        first, *legs = await self._with_fills([replace(row, legs=()), *row.legs])
        return replace(first, legs=tuple(legs))

    def as_far_as_known(self, body: object) -> Order:
        """Read an order from the answer to a write, without asking anything more. Raises Unreadable."""
        row = alpaca_wire.row(body)
        first, *legs = [_with_known(one, self._known(one)) for one in (row, *row.legs)]
        return replace(first, legs=tuple(legs))

    async def _open_ones(self) -> tuple[Row, ...]:
        rows: dict[str, Row] = {}
        await self._read_pages(rows, {"status": "open"}, until=None)
        return tuple(rows.values())

    async def _every_row(self, after: datetime | None, open_ones: Iterable[Row]) -> dict[str, Row]:
        """Read every order from a time on, and further back for as long as something open needs it."""
        rows: dict[str, Row] = {}
        query = {"status": "all"} | ({} if after is None else {"after": _written(after)})
        await self._read_pages(rows, query, until=None)
        lacking = [one for one in open_ones if not _is_explained(one, rows)]
        if lacking and after is not None:
            await self._read_pages(rows, {"status": "all"}, until=after + _SECOND, lacking=lacking)
        for one in lacking:
            rows.setdefault(one.order.broker_order_id, one)
        return rows

    async def _read_pages(
        self,
        rows: dict[str, Row],
        query: Mapping[str, str],
        *,
        until: datetime | None,
        lacking: Sequence[Row] = (),
    ) -> None:
        """Read a list to its end, newest first, or until nothing is lacking any more."""
        while True:
            page = {"limit": str(self._page), "direction": "desc", "nested": "false", **query}
            if until is not None:
                page["until"] = _written(until)
            found = [alpaca_wire.row(o) for o in alpaca_wire.rows(await self._get_orders(page))]
            known = len(rows)
            for row in found:
                rows.setdefault(row.order.broker_order_id, row)
            is_enough = lacking and all(_is_explained(one, rows) for one in lacking)
            if len(found) < self._page or is_enough:
                return
            if len(rows) == known:
                raise Unreadable(
                    f"Alpaca's list of orders has more than {self._page} of one moment"
                )
            # those of the same moment come again, since the end of a page can fall between them
            until = min(row.order.submitted_at for row in found) + _MICROSECOND

    async def _get_orders(self, query: Mapping[str, str]) -> object:
        return await self._http.get("/orders", query)

    async def _parents(self, rows: Mapping[str, Row], after: datetime | None) -> dict[str, str]:
        """Return the parent of each leg, by id; of orders that share a group it is the first one."""
        firsts: dict[str, str] = {}
        for row in sorted(rows.values(), key=_age):
            if row.is_first and row.group_id is not None and _leads(row, rows):
                firsts[row.group_id] = row.order.broker_order_id
        parents = {
            order_id: firsts[row.group_id]
            for order_id, row in rows.items()
            if not row.is_first and row.group_id in firsts
        }
        if any(not row.is_simple and row.group_id is None for row in rows.values()):
            parents |= await self._nested_parents(after)
        return parents

    async def _nested_parents(self, after: datetime | None) -> dict[str, str]:
        """Learn from the rolled up list what belongs to what, where orders do not name their group."""
        query = {"limit": str(PAGE), "direction": "desc", "nested": "true", "status": "all"}
        if after is not None:
            query["after"] = _written(after)
        nested = [alpaca_wire.row(o) for o in alpaca_wire.rows(await self._get_orders(query))]
        return {
            leg.order.broker_order_id: row.order.broker_order_id
            for row in nested
            for leg in row.legs
        }

    async def _with_fills(self, rows: Sequence[Row]) -> list[Order]:
        needy = [row for row in rows if not self._is_complete(row)]
        if len(needy) <= _FEW:
            for row in needy:
                await self._read_fills({"order_id": row.order.broker_order_id})
        else:
            oldest = min(row.order.submitted_at for row in needy)
            await self._read_fills({"after": _written(oldest - _SECOND)})
        return [_with_known(row, self._known(row)) for row in rows]

    async def _read_fills(self, query: Mapping[str, str]) -> None:
        found: dict[str, Fill] = {}
        page = {"direction": "asc", "page_size": str(self._fill_page), **query}
        while True:
            bodies = alpaca_wire.rows(await self._http.get("/account/activities/FILL", page))
            fills = [fill for body in bodies if (fill := alpaca_wire.fill(body)) is not None]
            known = len(found)
            found |= {fill.fill_id: fill for fill in fills}
            if len(bodies) < self._fill_page:
                break
            if len(found) == known:
                raise Unreadable("Alpaca's list of fills does not go on")
            page["page_token"] = alpaca_wire.Fields.of("fill", bodies[-1]).text("id")
        self._keep(found.values())

    def _keep(self, fills: Iterable[Fill]) -> None:
        by_order: dict[str, dict[str, Fill]] = {}
        for fill in fills:
            by_order.setdefault(fill.broker_order_id, {})[fill.fill_id] = fill
        for order_id, new in by_order.items():
            kept = {fill.fill_id: fill for fill in self._fills.get(order_id, ())} | new
            self._fills[order_id] = tuple(sorted(kept.values(), key=lambda f: (f.at, f.fill_id)))

    def _is_complete(self, row: Row) -> bool:
        return not _has_whole_fills(row) or _total(self._known(row)) >= row.filled

    def _known(self, row: Row) -> tuple[Fill, ...]:
        return self._fills.get(row.order.broker_order_id, ())


def _with_known(row: Row, known: Sequence[Fill]) -> Order:
    """Show an order as far as its fills are known one by one.

    Alpaca's list of fills can lag behind its list of orders. What has filled without standing there yet has
    not filled yet, and the order is not over before it does: otherwise the same shares would be counted once
    from the order's total and again from the list.
    """
    order = row.order
    if not _has_whole_fills(row):
        return replace(order, legs=())
    fills = _up_to(row.filled, known)
    filled = int(_total(fills))
    if filled == row.filled:
        return replace(order, fills=fills, legs=())
    value = sum((fill.price * fill.quantity for fill in fills), Decimal(0))
    return replace(
        order,
        fills=fills,
        filled_quantity=filled,
        average_fill_price=value / filled if filled else None,
        status=_not_over(order.status, filled),
        legs=(),
    )


def _not_over(status: OrderStatus, filled: int) -> OrderStatus:
    match status:
        case OrderStatus.CANCELED | OrderStatus.EXPIRED | OrderStatus.CANCEL_PENDING:
            return OrderStatus.CANCEL_PENDING
        case _:
            return OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED


def _has_whole_fills(row: Row) -> bool:
    return row.filled > 0 and row.filled == row.filled.to_integral_value()


def _up_to(filled: Decimal, fills: Sequence[Fill]) -> tuple[Fill, ...]:
    """Leave out fills that came after the order was read."""
    taken: list[Fill] = []
    for fill in fills:
        if _total(taken) + fill.quantity <= filled:
            taken.append(fill)
    return tuple(taken)


def _total(fills: Iterable[Fill]) -> Decimal:
    return Decimal(sum(fill.quantity for fill in fills))


def _related(rows: Iterable[Row], parents: Mapping[str, str]) -> list[Row]:
    """Order rows by age, each with its parent, every parent before its legs."""
    found = [
        replace(
            row,
            order=replace(row.order, parent_order_id=parents.get(row.order.broker_order_id)),
            legs=(),
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: (*_age(row), row.order.parent_order_id is not None))


def _with_legs(orders: Sequence[Order]) -> list[Order]:
    """Put each order's legs into it, and behind it."""
    legs: dict[str, list[Order]] = {}
    there = {order.broker_order_id for order in orders}
    for order in orders:
        if order.parent_order_id in there:
            legs.setdefault(order.parent_order_id, []).append(order)
    found: list[Order] = []
    for order in orders:
        if order.parent_order_id not in there:
            own = legs.get(order.broker_order_id, [])
            present = (leg for leg in own if leg.status is not OrderStatus.REPLACED)
            found += [replace(order, legs=tuple(present)), *own]
    return found


def _is_wanted(order: Order, only_open: bool, since: datetime | None) -> bool:
    return order.status.is_open or (not only_open and (since is None or order.updated_at >= since))


def _is_explained(row: Row, rows: Mapping[str, Row]) -> bool:
    """Whether an order is there, and with it the first of its group, so that its other legs are too."""
    if row.order.broker_order_id not in rows:
        return False
    if row.group_id is None:
        return row.replaces is None or row.replaces in rows
    return any(
        other.group_id == row.group_id and other.is_first and other.replaces is None
        for other in rows.values()
    )


def _leads(row: Row, rows: Mapping[str, Row]) -> bool:
    """Whether it is the present first of its group: not replaced by another that is here."""
    return row.order.replaced_by is None or row.order.replaced_by not in rows


def _age(row: Row) -> tuple[datetime, str]:
    return (row.order.submitted_at, "" if row.is_first else row.order.broker_order_id)


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
