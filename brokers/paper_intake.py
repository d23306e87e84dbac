"""The paper exchange's intake: judges a request against the books and the market, and enters it.

It moves no money and matches nothing.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from brokers.matching import BookOrder, MarketReplay, Role
from brokers.paper_floor import Floor
from brokers.paper_ledger import Ledger
from brokers.paper_rules import (
    Standing,
    first_reason_against,
    price_to_reserve,
    reason_against_replacing,
)
from shared.errors import OrderRejected
from shared.models import (
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Quote,
    Reason,
    Side,
    TimeInForce,
)


class Intake:
    """Turns requests into orders of the book."""

    def __init__(self, replay: MarketReplay, floor: Floor) -> None:
        """Take the market, and the floor that knows when a day order ends."""
        self._replay: MarketReplay = replay
        self._floor: Floor = floor

    def accept(
        self,
        ledger: Ledger,
        request: OrderRequest,
        now: datetime,
        *,
        id_known: bool,
        fill_cap: int | None,
        old: BookOrder | None = None,
    ) -> BookOrder:
        """Enter the order, in the place of `old` where one is given, and return it as it rests.

        Raises OrderRejected with a code of `RejectCode`; the books are as before then.
        """
        quote = self._replay.quote(request.symbol, now)
        reason = self._reason_against(ledger, request, now, quote=quote, id_known=id_known, old=old)
        if reason is not None:
            raise OrderRejected(reason.text, code=reason.code)
        order = self._new_order(ledger, request, now, quote, fill_cap)
        if old is not None:
            return _enter_replacement(ledger, order, old)
        ledger.put(order)
        for leg in _legs(ledger, request, order):
            ledger.put(leg)
        return order

    def _reason_against(
        self,
        ledger: Ledger,
        request: OrderRequest,
        now: datetime,
        *,
        quote: Quote | None,
        id_known: bool,
        old: BookOrder | None,
    ) -> Reason | None:
        if old is not None:
            legs = [o for o in ledger.members(old) if o.parent_order_id == old.broker_order_id]
            reason = reason_against_replacing(request, old, legs)
            if reason is not None:
                return reason
        group = () if old is None else ledger.members(old)
        price = price_to_reserve(request, quote)
        standing = Standing(
            currency=ledger.money.currency,
            instrument=self._replay.instrument(request.symbol),
            quote=quote,
            resting=tuple(
                o for o in ledger.open_orders(request.symbol) if o.is_working and o not in group
            ),
            available=ledger.available(request.symbol, without=old),
            buying_power=ledger.buying_power(without=old),
            cost=_cost(ledger, request, price, now),
            client_order_id_known=id_known,
            waits_for_parent=old is not None and old.status is OrderStatus.HELD,
        )
        return first_reason_against(request, standing)

    def _new_order(
        self,
        ledger: Ledger,
        request: OrderRequest,
        now: datetime,
        quote: Quote | None,
        fill_cap: int | None,
    ) -> BookOrder:
        sequence, order_id = ledger.next_ids()
        is_buy, is_oco = request.side is Side.BUY, request.order_class is OrderClass.OCO
        is_day = request.time_in_force is TimeInForce.DAY
        return BookOrder(
            sequence=sequence,
            broker_order_id=order_id,
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            order_type=request.order_type,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            status=OrderStatus.ACCEPTED,
            submitted_at=now,
            updated_at=now,
            active_from=now,
            role=_ROLES[request.order_class],
            group_id=None if request.order_class is OrderClass.SIMPLE else order_id,
            limit_price=request.take_profit if is_oco else request.limit_price,
            stop_price=request.stop_price,
            reserve_price=price_to_reserve(request, quote) if is_buy else None,
            expires_at=self._floor.day_order_ends_at(now) if is_day else None,
            fill_cap=fill_cap,
        )


_ROLES = {
    OrderClass.SIMPLE: Role.SINGLE,
    OrderClass.BRACKET: Role.ENTRY,
    OrderClass.OCO: Role.TARGET,
}


def _cost(
    ledger: Ledger, request: OrderRequest, price: Decimal | None, now: datetime
) -> Decimal | None:
    if price is None or not price.is_finite() or request.side is Side.SELL:
        return None
    return ledger.cost_to_buy(request.quantity, price, now)


def _legs(ledger: Ledger, request: OrderRequest, first: BookOrder) -> list[BookOrder]:
    """Return the orders that come with a bracket's entry or an OCO's target."""
    legs: list[BookOrder] = []
    if first.role is Role.ENTRY:
        target = _leg(ledger, first, Role.TARGET, OrderType.LIMIT)
        legs.append(replace(target, limit_price=request.take_profit))
    if first.role is not Role.SINGLE:
        stop = _leg(ledger, first, Role.STOP, OrderType.STOP)
        legs.append(replace(stop, stop_price=request.stop_loss))
    return legs


def _leg(ledger: Ledger, first: BookOrder, role: Role, order_type: OrderType) -> BookOrder:
    sequence, order_id = ledger.next_ids()
    return replace(
        first,
        sequence=sequence,
        broker_order_id=order_id,
        client_order_id=order_id,
        side=Side.SELL,
        order_type=order_type,
        status=OrderStatus.HELD if first.role is Role.ENTRY else OrderStatus.ACCEPTED,
        role=role,
        parent_order_id=first.broker_order_id,
        limit_price=None,
        stop_price=None,
        reserve_price=None,
        fill_cap=None,
    )


def _enter_replacement(ledger: Ledger, order: BookOrder, old: BookOrder) -> BookOrder:
    """Let the new order inherit its place in the group, and close the old one."""
    in_group = old.group_id is not None
    new = replace(
        order,
        status=OrderStatus.HELD if old.status is OrderStatus.HELD else OrderStatus.ACCEPTED,
        role=old.role,
        group_id=old.group_id,
        parent_order_id=old.parent_order_id,
        time_in_force=old.time_in_force if in_group else order.time_in_force,
        expires_at=old.expires_at if in_group else order.expires_at,
    )
    for leg in ledger.members(old):
        if leg.parent_order_id == old.broker_order_id:
            ledger.put(_adopted(leg, new, old))
    gone = old.closed(OrderStatus.REPLACED, order.submitted_at)
    ledger.put(replace(gone, replaced_by=new.broker_order_id))
    ledger.put(new)
    return new


def _adopted(leg: BookOrder, new: BookOrder, old: BookOrder) -> BookOrder:
    """Move a leg to its new parent; it guards what the entry's parts will have filled together."""
    grown = new.quantity - old.remaining_quantity if old.role is Role.ENTRY else 0
    return replace(leg, parent_order_id=new.broker_order_id, quantity=leg.quantity + grown)
