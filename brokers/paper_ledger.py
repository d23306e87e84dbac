"""The exchange's books while one operation is at work: money, holdings, orders, and how orders hang together.

A unit of work: it notes what changed, so that the store writes those rows and no others. It knows no
market, no clock and no file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import NAMESPACE_OID, uuid5

from brokers.fees import fees_for_fill
from brokers.matching import BookOrder, Execution, Role
from shared.models import Fee, Fill, OrderStatus, SessionHours, Side

_COST_STEP = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Shares of one symbol and what was paid for them, fees apart."""

    symbol: str
    quantity: int
    cost: Decimal

    @property
    def average_price(self) -> Decimal:
        """Cost per share, to a millionth."""
        return (self.cost / self.quantity).quantize(_COST_STEP)

    def bought(self, quantity: int, price: Decimal) -> "Holding":
        """Return the holding with more shares."""
        return replace(self, quantity=self.quantity + quantity, cost=self.cost + price * quantity)

    def cost_of(self, quantity: int) -> Decimal:
        """Return the share of the cost that leaves with `quantity` shares; all of it with the last one."""
        if quantity == self.quantity:
            return self.cost
        return (self.cost * quantity / self.quantity).quantize(_COST_STEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The account in figures, and how far the exchange has come.

    At all times cash + cost of holdings + fees_paid == starting cash + realised, exactly, as long as no
    money comes from outside.
    """

    account_id: str
    currency: str
    cash: Decimal
    realised: Decimal
    """Proceeds of sales less the cost of what was sold, fees apart."""
    fees_paid: Decimal
    advanced_to: datetime
    """Every bar that ended by then has been matched."""
    next_sequence: int


class Ledger:
    """Everything one operation may change, and what it has changed."""

    def __init__(
        self,
        *,
        money: Money,
        holdings: Iterable[Holding],
        orders: Iterable[BookOrder],
        fills: Iterable[Fill],
    ) -> None:
        """Take the account, every holding, every order that can still trade, and those orders' fills."""
        self.money: Money = money
        self.holdings: dict[str, Holding] = {held.symbol: held for held in holdings}
        self.orders: dict[str, BookOrder] = {order.broker_order_id: order for order in orders}
        self._fills: list[Fill] = list(fills)
        self._stored_fills: int = len(self._fills)
        self._stored_money: Money = money
        self._changed_orders: dict[str, None] = {}
        self._changed_symbols: dict[str, None] = {}

    @property
    def changed_orders(self) -> tuple[BookOrder, ...]:
        """Orders to write, in the order in which they first changed."""
        return tuple(self.orders[order_id] for order_id in self._changed_orders)

    @property
    def changed_holdings(self) -> tuple[tuple[str, Holding | None], ...]:
        """Symbols whose holding is to be written; None where nothing is held any more."""
        return tuple((symbol, self.holdings.get(symbol)) for symbol in self._changed_symbols)

    @property
    def new_fills(self) -> tuple[Fill, ...]:
        """Fills to write."""
        return tuple(self._fills[self._stored_fills :])

    @property
    def money_changed(self) -> bool:
        """Whether the account's row is to be written."""
        return self.money != self._stored_money

    def saved(self) -> None:
        """Note that the store has taken every change."""
        self._stored_fills = len(self._fills)
        self._stored_money = self.money
        self._changed_orders.clear()
        self._changed_symbols.clear()

    def open_orders(self, symbol: str | None = None) -> tuple[BookOrder, ...]:
        """Return orders that can still trade, oldest first, of one symbol or of all."""
        found = (o for o in self.orders.values() if o.status.is_open and symbol in {None, o.symbol})
        return tuple(sorted(found, key=lambda order: order.sequence))

    def members(self, order: BookOrder) -> tuple[BookOrder, ...]:
        """Return the open orders of its group, itself included where it is open."""
        if order.group_id is None:
            return (order,) if order.status.is_open else ()
        return tuple(o for o in self.open_orders() if o.group_id == order.group_id)

    def sibling(self, leg: BookOrder) -> BookOrder | None:
        """Return the other leg of a bracket or OCO, while it is open."""
        other = {Role.TARGET: Role.STOP, Role.STOP: Role.TARGET}.get(leg.role)
        return next((o for o in self.members(leg) if o.role is other), None)

    def position(self, symbol: str) -> int:
        """Return the shares held."""
        held = self.holdings.get(symbol)
        return 0 if held is None else held.quantity

    def available(self, symbol: str, *, without: BookOrder | None = None) -> int:
        """Return the shares that no working sell order holds; `without` and its group count as gone.

        Two legs that cancel each other hold the same shares once.
        """
        held: dict[str, int] = {}
        for order in self.open_orders(symbol):
            if order.side is Side.SELL and order.is_working and not _same_group(order, without):
                key = order.group_id or order.broker_order_id
                held[key] = max(held.get(key, 0), order.remaining_quantity)
        return self.position(symbol) - sum(held.values())

    def buying_power(self, *, without: BookOrder | None = None) -> Decimal:
        """Return cash less what open buys hold back, their modelled fees included; no margin."""
        held_back = sum(
            (self._held_back(o) for o in self.open_orders() if not _is_same(o, without)), Decimal(0)
        )
        return self.money.cash - held_back

    def cost_to_buy(self, quantity: int, price: Decimal, at: datetime) -> Decimal:
        """Return price times quantity, and the modelled fees of a buy."""
        fees = fees_for_fill(
            self.money.currency, side=Side.BUY, quantity=quantity, price=price, on=at.date()
        )
        return price * quantity + _total(fees)

    def next_ids(self) -> tuple[int, str]:
        """Take the next sequence number, and the order id made from it: a UUID, the same in every replay."""
        sequence = self.money.next_sequence
        self.money = replace(self.money, next_sequence=sequence + 1)
        return sequence, str(uuid5(NAMESPACE_OID, f"{self.money.account_id}/{sequence}"))

    def put(self, order: BookOrder) -> None:
        """Enter a new order, or the new state of one."""
        self.orders[order.broker_order_id] = order
        self._changed_orders[order.broker_order_id] = None

    def move_to(self, now: datetime) -> None:
        """Note that the market has been matched up to `now`."""
        self.money = replace(self.money, advanced_to=now)

    def receive(self, amount: Decimal) -> None:
        """Book money that comes from outside, or, below 0, goes there."""
        self.money = replace(self.money, cash=self.money.cash + amount)

    def split(self, symbol: str, new: int, old: int) -> None:
        """Make `new` shares of every `old` at the same cost; what is left of a share is dropped.

        Raises ValueError where nothing is held, or no whole share would be left.
        """
        quantity = self.position(symbol) * new // old
        if quantity <= 0:
            msg = f"{self.position(symbol)} {symbol} cannot be split {new} for {old}"
            raise ValueError(msg)
        self.holdings[symbol] = replace(self.holdings[symbol], quantity=quantity)
        self._changed_symbols[symbol] = None

    def close_group(self, order: BookOrder, status: OrderStatus, at: datetime) -> None:
        """Close an order and every open member of its group: no leg outlives the others unfilled."""
        for member in self.members(order):
            self.put(member.closed(status, at))

    def fill(
        self, order_id: str, execution: Execution, *, at: datetime, session: SessionHours
    ) -> None:
        """Book one execution: the order, the money, the shares, the fees, and what follows for its group."""
        order = self.orders[order_id]
        number = sum(fill.broker_order_id == order_id for fill in self._fills) + 1
        fill = Fill(
            fill_id=f"{order_id}:{number}",
            broker_order_id=order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=execution.quantity,
            price=execution.price,
            at=at,
            fees=self._fees(order, execution, session),
        )
        self._fills.append(fill)
        self._book(fill)
        self.put(order.after_fill(execution, at))
        self._settle_group(self.orders[order_id], execution.quantity, at)

    def _held_back(self, order: BookOrder) -> Decimal:
        if order.reserve_price is None:
            return Decimal(0)
        return self.cost_to_buy(order.remaining_quantity, order.reserve_price, order.submitted_at)

    def _fees(
        self, order: BookOrder, execution: Execution, session: SessionHours
    ) -> tuple[Fee, ...]:
        today = [
            fill
            for fill in self._fills
            if fill.broker_order_id == order.broker_order_id and fill.at >= session.opens_at
        ]
        return fees_for_fill(
            self.money.currency,
            side=order.side,
            quantity=execution.quantity,
            price=execution.price,
            on=session.session_date,
            earlier_quantity=sum(fill.quantity for fill in today),
            earlier_value=sum((fill.price * fill.quantity for fill in today), Decimal(0)),
        )

    def _book(self, fill: Fill) -> None:
        held = self.holdings.get(fill.symbol) or Holding(
            symbol=fill.symbol, quantity=0, cost=Decimal(0)
        )
        value = fill.price * fill.quantity
        self._changed_symbols[fill.symbol] = None
        if fill.side is Side.BUY:
            self.holdings[fill.symbol] = held.bought(fill.quantity, fill.price)
            self._pay(-value - fill.total_fees, fill.total_fees, Decimal(0))
            return
        cost = held.cost_of(fill.quantity)
        self._pay(value - fill.total_fees, fill.total_fees, value - cost)
        left = replace(held, quantity=held.quantity - fill.quantity, cost=held.cost - cost)
        if left.quantity:
            self.holdings[fill.symbol] = left
        else:
            del self.holdings[fill.symbol]

    def _pay(self, cash: Decimal, fees: Decimal, realised: Decimal) -> None:
        self.money = replace(
            self.money,
            cash=self.money.cash + cash,
            fees_paid=self.money.fees_paid + fees,
            realised=self.money.realised + realised,
        )

    def _settle_group(self, order: BookOrder, quantity: int, at: datetime) -> None:
        if order.role is Role.ENTRY and order.status is OrderStatus.FILLED:
            self._activate_legs(order, at)
        sibling = self.sibling(order)
        if sibling is None:
            return
        if order.status is OrderStatus.FILLED:
            self.put(sibling.closed(OrderStatus.CANCELED, at))
        else:
            self.put(replace(sibling, quantity=sibling.quantity - quantity, updated_at=at))

    def _activate_legs(self, entry: BookOrder, at: datetime) -> None:
        """Let the legs work, for no more than is free: part of what filled may have been sold meanwhile."""
        free = self.available(entry.symbol)
        for leg in self.members(entry):
            working = replace(
                leg,
                status=OrderStatus.ACCEPTED,
                quantity=min(leg.quantity, free),
                active_from=at,
                updated_at=at,
            )
            self.put(working if free > 0 else leg.closed(OrderStatus.CANCELED, at))


def _is_same(order: BookOrder, other: BookOrder | None) -> bool:
    return other is not None and order.broker_order_id == other.broker_order_id


def _same_group(order: BookOrder, other: BookOrder | None) -> bool:
    if other is None:
        return False
    return _is_same(order, other) or (
        order.group_id is not None and order.group_id == other.group_id
    )


def _total(fees: Iterable[Fee]) -> Decimal:
    return sum((fee.amount for fee in fees), Decimal(0))
