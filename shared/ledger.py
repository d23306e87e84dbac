"""Positions as they follow from fills: long only, moving average cost.

Pure. Sums of price times quantity are exact; averages, and the cost of shares sold while others are kept,
are rounded half-even to 8 decimals. Selling the last share leaves no remainder, so that a closed
position's profit is exactly what came in less what went out. Fees count when they are paid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from shared.errors import CatalystError
from shared.models import Fee, Fill, Order, Side

ZERO = Decimal(0)
PRECISION = Decimal("0.00000001")


class Oversold(CatalystError):
    """A sell is larger than the position that it would reduce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionState:
    """One holding from its first buy to its last sell; amounts in the position's currency."""

    symbol: str
    quantity: int
    """Shares held; 0 once closed."""
    bought_quantity: int
    bought_value: Decimal
    sold_quantity: int
    sold_value: Decimal
    fees: Decimal
    """Paid so far on buys and sells."""
    opened_at: datetime
    closed_at: datetime | None
    basis_quantity: int
    """Shares that the average is taken over: those held after the last buy."""
    basis_value: Decimal
    """What those shares cost."""
    settled_cost: Decimal
    """Cost of the shares sold before the last buy."""
    adjusted_value: Decimal = ZERO
    """By how much a person's word changed what the shares held cost; no cash moved."""

    @property
    def is_open(self) -> bool:
        """Whether shares are held."""
        return self.quantity > 0

    @property
    def average_entry_price(self) -> Decimal:
        """Average cost of a share held, or last held, without fees."""
        return _rounded(self.basis_value / self.basis_quantity)

    @property
    def average_exit_price(self) -> Decimal | None:
        """Average price of the shares sold; None before the first."""
        return _rounded(self.sold_value / self.sold_quantity) if self.sold_quantity else None

    @property
    def remaining_cost(self) -> Decimal:
        """What the shares still held cost."""
        return self.bought_value + self.adjusted_value - self.cost_of_sold

    @property
    def realized_pnl_gross(self) -> Decimal:
        """Profit on the shares sold, before fees."""
        return self.sold_value - self.cost_of_sold

    @property
    def realized_pnl(self) -> Decimal:
        """Profit on the shares sold, less every fee paid so far."""
        return self.realized_pnl_gross - self.fees

    @property
    def cash_flow(self) -> Decimal:
        """What the fills did to the account's cash."""
        return self.sold_value - self.bought_value - self.fees

    @property
    def cost_of_sold(self) -> Decimal:
        """What the shares sold so far had cost."""
        if not self.quantity:
            return self.settled_cost + self.basis_value
        sold_since_basis = self.basis_quantity - self.quantity
        return self.settled_cost + _rounded(
            self.basis_value * sold_since_basis / self.basis_quantity
        )


def apply_fill(position: PositionState | None, fill: Fill) -> PositionState:
    """Return the position after one more fill; None or a closed one is where a buy begins anew.

    Raises Oversold for a sell of more than is held, ValueError for a fill of another symbol.
    """
    if position is not None and position.symbol != fill.symbol:
        msg = f"a fill of {fill.symbol} does not belong to a position in {position.symbol}"
        raise ValueError(msg)
    held = position if position is not None and position.is_open else None
    match fill.side:
        case Side.BUY:
            return _open(fill) if held is None else _bought(held, fill)
        case Side.SELL:
            return _sold(held, fill)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """What a person said a position comes to where fills cannot say it: no fill, no profit."""

    quantity_after: int
    entry_price_after: Decimal
    at: datetime


def apply_adjustment(position: PositionState, adjustment: Adjustment) -> PositionState:
    """Return the position with other shares at another average, and the profit that it had.

    Raises ValueError for a closed position and for a quantity below 0.
    """
    quantity = adjustment.quantity_after
    if not position.is_open or quantity < 0:
        msg = f"{position.quantity} {position.symbol} cannot become {quantity}"
        raise ValueError(msg)
    cost = position.cost_of_sold
    if quantity == 0:
        return replace(
            position,
            quantity=0,
            settled_cost=cost - position.basis_value,
            adjusted_value=cost - position.bought_value,
            closed_at=adjustment.at,
        )
    value = adjustment.entry_price_after * quantity
    return replace(
        position,
        quantity=quantity,
        bought_quantity=position.bought_quantity + max(0, quantity - position.quantity),
        basis_quantity=quantity,
        basis_value=value,
        settled_cost=cost,
        adjusted_value=value + cost - position.bought_value,
    )


def money_from_outside(
    *, starting_cash: Decimal, cash_now: Decimal, fills: Iterable[Fill]
) -> Decimal:
    """Return the change of cash that trading does not explain: dividends, interest, deposits, fees.

    `fills` are all since `starting_cash`, whoever traded, with their fees.
    """
    return cash_now - starting_cash - sum((cash_flow(fill) for fill in fills), ZERO)


def cash_flow(fill: Fill) -> Decimal:
    """Return what a fill did to the account's cash."""
    value = fill.price * fill.quantity
    return (value if fill.side is Side.SELL else -value) - fill.total_fees


def unlisted_fill(
    order: Order,
    *,
    known_quantity: int,
    known_value: Decimal,
    known_fees: Mapping[str, Decimal] | None = None,
) -> Fill | None:
    """Derive the fill that a broker reports only as totals of its order, or None if there is none.

    Quantity, price and charges are what the totals grew by; the id is made of the order's id and its new
    total, so that the same report gives the same fill. Raises ValueError for a total without an average
    price.
    """
    quantity = order.filled_quantity - known_quantity
    if order.fills or quantity <= 0:
        return None
    if order.average_fill_price is None:
        msg = f"order {order.broker_order_id} is filled without an average price"
        raise ValueError(msg)
    value = order.average_fill_price * order.filled_quantity - known_value
    return Fill(
        fill_id=f"{order.broker_order_id}:{order.filled_quantity}",
        broker_order_id=order.broker_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=quantity,
        price=_rounded(value / quantity),
        at=order.updated_at,
        fees=tuple(_grown(order.fees, known_fees or {})),
    )


def _grown(fees: Iterable[Fee], known: Mapping[str, Decimal]) -> Iterable[Fee]:
    """Return what each charge has grown by; one that has not costs nothing."""
    for fee in fees:
        amount = fee.amount - known.get(fee.name, ZERO)
        if amount > 0:
            yield replace(fee, amount=amount)


def _open(fill: Fill) -> PositionState:
    value = fill.price * fill.quantity
    return PositionState(
        symbol=fill.symbol,
        quantity=fill.quantity,
        bought_quantity=fill.quantity,
        bought_value=value,
        sold_quantity=0,
        sold_value=ZERO,
        fees=fill.total_fees,
        opened_at=fill.at,
        closed_at=None,
        basis_quantity=fill.quantity,
        basis_value=value,
        settled_cost=ZERO,
    )


def _bought(held: PositionState, fill: Fill) -> PositionState:
    value = fill.price * fill.quantity
    return replace(
        held,
        quantity=held.quantity + fill.quantity,
        bought_quantity=held.bought_quantity + fill.quantity,
        bought_value=held.bought_value + value,
        fees=held.fees + fill.total_fees,
        basis_quantity=held.quantity + fill.quantity,
        basis_value=held.remaining_cost + value,
        settled_cost=held.cost_of_sold,
    )


def _sold(held: PositionState | None, fill: Fill) -> PositionState:
    if held is None or fill.quantity > held.quantity:
        msg = f"{fill.quantity} {fill.symbol} were sold, {held.quantity if held else 0} are held"
        raise Oversold(msg)
    left = held.quantity - fill.quantity
    return replace(
        held,
        quantity=left,
        sold_quantity=held.sold_quantity + fill.quantity,
        sold_value=held.sold_value + fill.price * fill.quantity,
        fees=held.fees + fill.total_fees,
        closed_at=None if left else fill.at,
    )


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(PRECISION, rounding=ROUND_HALF_EVEN)
