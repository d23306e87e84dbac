"""What every rule looks at, and how it says no."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from rules.codes import Code
from shared.config import LimitSettings
from shared.models import Instrument, Order, OrderRequest, Quote, Reason, Side, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What every rule looks at: one request in one picture of the world."""

    request: OrderRequest
    snapshot: Snapshot
    limits: LimitSettings
    now: datetime

    @property
    def instrument(self) -> Instrument | None:
        """The instrument asked for, if known."""
        return self.snapshot.instruments.get(self.request.symbol)

    @property
    def quote(self) -> Quote | None:
        """Its quote, if there is one."""
        return self.snapshot.quotes.get(self.request.symbol)

    @property
    def price(self) -> Decimal | None:
        """What a share of this order may cost at most: its limit, or the ask for a market order."""
        if self.request.limit_price is not None:
            return self.request.limit_price
        return self.quote.ask if self.quote else None


Rule = Callable[[Case], Iterator[Reason]]


def reason(code: Code, text: str) -> Reason:
    """Say why, under a stable code."""
    return Reason(code=code.value, text=text)


def pending_buys(case: Case, symbol: str | None = None) -> list[Order]:
    """List the purchases that can still fill, in this symbol or in all."""
    return [
        order
        for order in case.snapshot.open_orders
        if order.side is Side.BUY
        and order.status.is_open
        and (symbol is None or order.symbol == symbol)
        and order.broker_order_id != case.request.replaces
    ]


def pending_value(case: Case, symbol: str | None = None) -> Decimal:
    """Value open purchases at their limits; at the ask where there is none, or at more than there is."""
    return sum((_value(order, case) for order in pending_buys(case, symbol)), Decimal(0))


def _value(order: Order, case: Case) -> Decimal:
    quote = case.snapshot.quotes.get(order.symbol)
    price = order.limit_price or (quote.ask if quote else None)
    if price is None or not price.is_finite():
        return case.limits.max_position_value + case.snapshot.account.cash
    return order.remaining_quantity * price
