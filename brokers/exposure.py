"""How long shares were held without a stop in force, read from a broker's own orders and fills.

Pure. Whose orders they are is for the caller to say: it leaves out what is not to be counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from shared.models import Fill, Order, OrderStatus, OrderType, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class NakedSpell:
    """A time without a break in which more shares were held than stops would have sold."""

    symbol: str
    began_at: datetime
    ended_at: datetime | None
    """None while it lasts."""
    quantity: int
    """The most shares that were without a stop at once."""

    def seconds(self, until: datetime) -> float:
        """Return how long it lasted, up to `until` at most."""
        return ((self.ended_at or until) - self.began_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    """A stop, from when to when it was in force, and the fills that made its shares fewer."""

    stop: Order
    began_at: datetime
    ended_at: datetime | None
    rivals: tuple[Fill, ...]
    """Sales by the orders of its group; a broker takes them off the stop's quantity."""

    def covers(self, at: datetime) -> int:
        """Return the shares that it would have sold at `at`."""
        if at < self.began_at or (self.ended_at is not None and at >= self.ended_at):
            return 0
        taken_off_later = sum(
            fill.quantity
            for fill in self.rivals
            if at < fill.at and (self.ended_at is None or fill.at < self.ended_at)
        )
        return self.stop.quantity + taken_off_later - _filled(self.stop.fills, at)


def naked_spells(orders: Sequence[Order], until: datetime) -> tuple[NakedSpell, ...]:
    """List the times in which held shares exceeded those that a stop in force covered, by symbol.

    `orders` has legs as elements of their own, and reaches back to when nothing was held. A bracket's leg
    comes into force when its parent has filled completely, any other stop when it is accepted; a replaced
    one hands over without a gap.
    """
    by_symbol = sorted(orders, key=lambda order: order.symbol)
    spells: list[NakedSpell] = []
    for symbol, group in groupby(by_symbol, key=lambda order: order.symbol):
        spells += _spells_of(symbol, tuple(group), until)
    return tuple(spells)


def _spells_of(symbol: str, orders: Sequence[Order], until: datetime) -> list[NakedSpell]:
    orders = tuple(map(_with_fills, orders))
    fills = sorted((f for o in orders for f in o.fills if f.at <= until), key=lambda fill: fill.at)
    guards = _guards(orders)
    spells: list[NakedSpell] = []
    began_at, most = None, 0
    for at in _moments(fills, guards, until):
        naked = _held(fills, at) - sum(guard.covers(at) for guard in guards)
        if naked > 0:
            began_at, most = began_at or at, max(most, naked)
        elif began_at is not None:
            spells.append(NakedSpell(symbol=symbol, began_at=began_at, ended_at=at, quantity=most))
            began_at, most = None, 0
    if began_at is not None:
        spells.append(NakedSpell(symbol=symbol, began_at=began_at, ended_at=None, quantity=most))
    return spells


def _with_fills(order: Order) -> Order:
    """Give an order whose broker does not list executions one fill for what is not listed."""
    unlisted = order.filled_quantity - sum(fill.quantity for fill in order.fills)
    if unlisted <= 0 or order.average_fill_price is None:
        return order
    derived = Fill(
        fill_id=f"{order.broker_order_id}-unlisted",
        broker_order_id=order.broker_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=unlisted,
        price=order.average_fill_price,
        at=order.updated_at,
    )
    return replace(order, fills=(*order.fills, derived))


def _moments(fills: Iterable[Fill], guards: Iterable[_Guard], until: datetime) -> list[datetime]:
    """List when anything changes, in order."""
    ends = {guard.ended_at for guard in guards if guard.ended_at is not None}
    moments = {fill.at for fill in fills} | {guard.began_at for guard in guards} | ends
    return sorted(at for at in moments if at <= until)


def _held(fills: Iterable[Fill], at: datetime) -> int:
    """Add the fills up; what was held before the first of them is not known and does not count."""
    held = 0
    for fill in fills:
        if fill.at <= at:
            held = max(0, held + (fill.quantity if fill.side is Side.BUY else -fill.quantity))
    return held


def _filled(fills: Iterable[Fill], at: datetime) -> int:
    return sum(fill.quantity for fill in fills if fill.at <= at)


def _guards(orders: Sequence[Order]) -> tuple[_Guard, ...]:
    known = {order.broker_order_id: order for order in orders}
    found = (_guard(order, known) for order in orders if _is_stop(order))
    return tuple(guard for guard in found if guard is not None)


def _guard(stop: Order, known: Mapping[str, Order]) -> _Guard | None:
    began_at = _in_force_since(stop, known)
    if began_at is None:
        return None
    group = _group(stop, known)
    rivals = tuple(
        fill
        for other in known.values()
        if other.side is Side.SELL and other is not stop and _group(other, known) == group
        for fill in other.fills
    )
    return _Guard(stop=stop, began_at=began_at, ended_at=_ended_at(stop, known), rivals=rivals)


def _is_stop(order: Order) -> bool:
    return order.side is Side.SELL and order.order_type is OrderType.STOP


def _in_force_since(stop: Order, known: Mapping[str, Order]) -> datetime | None:
    """Return when a stop began to protect; None for one that never did."""
    if stop.status is OrderStatus.REJECTED:
        return None
    parent = known.get(stop.parent_order_id or "")
    if parent is None or parent.side is Side.SELL:
        return stop.submitted_at
    if parent.status is not OrderStatus.FILLED:
        return None
    filled_at = max((fill.at for fill in parent.fills), default=parent.updated_at)
    return max(filled_at, stop.submitted_at)


def _ended_at(stop: Order, known: Mapping[str, Order]) -> datetime | None:
    """Return when a stop ceased to protect; None while it does."""
    if stop.status.is_open:
        return None
    heir = known.get(stop.replaced_by or "")
    if heir is None:
        return stop.updated_at
    return _in_force_since(heir, known) or stop.updated_at


def _group(order: Order, known: Mapping[str, Order]) -> str:
    """Return the broker's id of the order that a group of orders has in common, replaced ones included."""
    common = order.parent_order_id or order.broker_order_id
    # as often as an order can have been replaced, so that no report can keep us here
    for _ in known:
        common = (known[common].replaced_by if common in known else None) or common
    return common
