"""The matching core of the paper exchange: at which price an order trades, and how much of it.

Pure and deterministic. It knows no money, no store and no clock; a market reaches it as quotes and bars.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, assert_never

from shared.models import (
    Bar,
    Instrument,
    OrderStatus,
    OrderType,
    Quote,
    SessionHours,
    Side,
    TimeInForce,
)


class MarketReplay(Protocol):
    """The market as the exchange sees it; nothing after `at` or `end` can be read, the calendar excepted."""

    def symbols(self) -> tuple[str, ...]:
        """Every symbol that has data, sorted."""
        ...

    def instrument(self, symbol: str) -> Instrument | None:
        """Describe a symbol, or None when there is none of that name."""
        ...

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        """Return what is known at `at`; a halt is a flag on it, and bid or ask may be None."""
        ...

    def bars(self, symbol: str, start: datetime, end: datetime) -> Sequence[Bar]:
        """Return one-minute bars with start <= bar.start and bar.end <= end, in order."""
        ...

    def session(self, at: datetime) -> SessionHours | None:
        """Return the session of the exchange date that contains `at`, past or to come, or None."""
        ...

    def is_closed(self, at: datetime) -> bool:
        """Whether the exchange is closed at `at` though its calendar has a session: a storm, mourning."""
        ...


class Role(StrEnum):
    """What an order is to the others of its group."""

    SINGLE = "single"
    ENTRY = "entry"
    """Parent of a bracket."""
    TARGET = "target"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class BookOrder:
    """An order in the exchange's own book, with what matching needs to know beyond what it shows."""

    sequence: int
    broker_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: int
    status: OrderStatus
    submitted_at: datetime
    updated_at: datetime
    active_from: datetime
    """No bar that began before this can fill the order: what traded before it rested is not its market."""
    role: Role = Role.SINGLE
    group_id: str | None = None
    """Shared by the members of one bracket or OCO, through every replacement."""
    parent_order_id: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    reserve_price: Decimal | None = None
    """Price per share at which an open buy holds cash back; None for a sell, and once a buy outran it."""
    filled_quantity: int = 0
    filled_value: Decimal = Decimal(0)
    """Sum of price times quantity over the fills."""
    triggered: bool = False
    """Whether a stop has been touched, and is a market order since."""
    expires_at: datetime | None = None
    """Close at which a DAY order ends; None for GTC, or while no coming session is known."""
    replaced_by: str | None = None
    reject_reason: str | None = None
    fill_cap: int | None = None
    """Most that may ever fill: an injected fault, None in health."""
    late_fill_quantity: int = 0
    """Shares that will still fill although the order was cancelled: an injected fault, 0 in health."""

    @property
    def remaining_quantity(self) -> int:
        """Shares not yet filled."""
        return self.quantity - self.filled_quantity

    @property
    def fillable_quantity(self) -> int:
        """Shares that may fill now."""
        if self.fill_cap is None:
            return self.remaining_quantity
        return max(0, min(self.remaining_quantity, self.fill_cap - self.filled_quantity))

    @property
    def is_working(self) -> bool:
        """Whether it is in the market: open, and not a leg that waits for its parent."""
        return self.status.is_open and self.status is not OrderStatus.HELD

    def after_fill(self, execution: "Execution", at: datetime) -> "BookOrder":
        """Return the order with one more execution."""
        filled = self.filled_quantity + execution.quantity
        return replace(
            self,
            filled_quantity=filled,
            filled_value=self.filled_value + execution.price * execution.quantity,
            triggered=self.triggered or self.order_type is OrderType.STOP,
            status=self._status_when_filled(filled),
            updated_at=at,
        )

    def closed(
        self, status: OrderStatus, at: datetime, *, reason: str | None = None
    ) -> "BookOrder":
        """Return the order as it is once it can trade no more."""
        return replace(self, status=status, updated_at=at, reject_reason=reason)

    def _status_when_filled(self, filled: int) -> OrderStatus:
        if filled >= self.quantity:
            return OrderStatus.FILLED
        keeps = not self.status.is_open or self.status is OrderStatus.CANCEL_PENDING
        return self.status if keeps else OrderStatus.PARTIALLY_FILLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A price and the number of shares that trade at it."""

    price: Decimal
    quantity: int


def volume_share(volume: int, share_pct: Decimal, lot_size: int) -> int:
    """Return the shares of a minute's volume that one order may have: whole lots, one at least if any traded."""
    if volume <= 0:
        return 0
    lots = int(volume * share_pct / 100) // lot_size
    return max(lots, 1) * lot_size


def execution_at_quote(order: BookOrder, quote: Quote, share: int) -> Execution | None:
    """Return what a new order gets at once, paying the ask or taking the bid; None where nothing trades.

    Only market orders and limits through the quote trade so, up to `share` shares. Stops wait for bars.
    """
    price = quote.ask if order.side is Side.BUY else quote.bid
    if price is None or quote.halted or not _is_marketable(order, price):
        return None
    return _execution(order, price, share)


def execution_in_bar(order: BookOrder, bar: Bar, share: int) -> Execution | None:
    """Return what a resting order gets out of one bar, up to `share` shares; None where nothing trades.

    Prices are prices at which somebody really dealt in that bar, so no spread is added: a limit trades at
    its limit, or at the open where that is better; a stop at its trigger, or at the open where the price
    gapped through it; a market order, and what is left of a triggered stop, at the open.
    """
    price = _price_in_bar(order, bar)
    return None if price is None else _execution(order, price, share)


def in_matching_order(orders: Iterable[BookOrder]) -> tuple[BookOrder, ...]:
    """Sort orders for one bar: stops first, since a bar that touches both legs counts as the loss."""
    return tuple(sorted(orders, key=lambda o: (o.order_type is not OrderType.STOP, o.sequence)))


def _is_marketable(order: BookOrder, price: Decimal) -> bool:
    match order.order_type:
        case OrderType.MARKET:
            return True
        case OrderType.STOP:
            return False
        case OrderType.LIMIT:
            limit = _required(order.limit_price, order, "limit price")
            return price <= limit if order.side is Side.BUY else price >= limit
        case _:
            assert_never(order.order_type)


def _price_in_bar(order: BookOrder, bar: Bar) -> Decimal | None:
    match order.order_type:
        case OrderType.MARKET:
            return bar.open
        case OrderType.STOP if order.triggered:
            return bar.open
        case OrderType.STOP:
            return _stop_in_bar(order.side, _required(order.stop_price, order, "stop price"), bar)
        case OrderType.LIMIT:
            return _limit_in_bar(
                order.side, _required(order.limit_price, order, "limit price"), bar
            )
        case _:
            assert_never(order.order_type)


def _limit_in_bar(side: Side, limit: Decimal, bar: Bar) -> Decimal | None:
    if side is Side.BUY:
        return min(limit, bar.open) if bar.low <= limit else None
    return max(limit, bar.open) if bar.high >= limit else None


def _stop_in_bar(side: Side, stop: Decimal, bar: Bar) -> Decimal | None:
    if side is Side.BUY:
        return max(stop, bar.open) if bar.high >= stop else None
    return min(stop, bar.open) if bar.low <= stop else None


def _execution(order: BookOrder, price: Decimal, share: int) -> Execution | None:
    quantity = min(order.fillable_quantity, share)
    return Execution(price=price, quantity=quantity) if quantity > 0 else None


def _required(price: Decimal | None, order: BookOrder, name: str) -> Decimal:
    if price is None:
        msg = f"a {order.order_type} order needs a {name}, {order.broker_order_id} has none"
        raise ValueError(msg)
    return price
