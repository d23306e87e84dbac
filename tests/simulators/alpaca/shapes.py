"""How Alpaca writes what the exchange knows: money and shares as text, times with nanoseconds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import NAMESPACE_DNS, uuid5

from brokers.matching import BookOrder, Role
from shared.models import Account, Fill, Instrument, OrderStatus, Position, Side
from tests.simulators.alpaca.market import SimulatedMarket
from tests.simulators.alpaca.wire import Json

NEVER_REACHED = Decimal("199999.99")
NEVER_FALLEN_TO = Decimal("0.0001")
"""Prices of the leg that an OTO order has not, and the exchange's bracket needs."""
GTC_LIFE = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Book:
    """Every order of the account, and what they are to each other."""

    orders: tuple[BookOrder, ...]
    fills: Mapping[str, tuple[Fill, ...]]
    market: SimulatedMarket
    now: datetime
    is_open: bool

    @property
    def visible(self) -> tuple[BookOrder, ...]:
        """Every order that the broker knows, oldest first."""
        return tuple(order for order in self.orders if not is_hidden(order))

    def by_id(self, order_id: str) -> BookOrder | None:
        """Return an order by the broker's id."""
        return next((o for o in self.visible if o.broker_order_id == order_id), None)

    def by_client_id(self, client_order_id: str) -> BookOrder | None:
        """Return an order by its sender's id."""
        return next((o for o in self.visible if o.client_order_id == client_order_id), None)

    def group(self, order: BookOrder) -> tuple[BookOrder, ...]:
        """Return the members of its group, hidden ones too."""
        if order.group_id is None:
            return ()
        return tuple(other for other in self.orders if other.group_id == order.group_id)

    def legs(self, order: BookOrder) -> tuple[BookOrder, ...]:
        """Return its present legs."""
        return tuple(
            other
            for other in self.visible
            if other.parent_order_id == order.broker_order_id
            and other.status is not OrderStatus.REPLACED
        )

    def status(self, order: BookOrder) -> str:
        """Return Alpaca's word: a stop beside a target that works is held, though it protects."""
        if order.status is not OrderStatus.ACCEPTED:
            return _STATUSES[order.status]
        if order.role is Role.STOP and not order.triggered and self._has_working_target(order):
            return "held"
        began = self.is_open or self.market.next_open(order.submitted_at) <= self.now
        return "new" if began else "accepted"

    def _has_working_target(self, order: BookOrder) -> bool:
        return any(
            other.role is Role.TARGET and other.is_working and not is_hidden(other)
            for other in self.group(order)
        )

    def order(self, order: BookOrder, *, nested: bool) -> Json:
        """Write an order, with its legs in it where they are asked for."""
        legs = self.legs(order) if nested else ()
        return self._flat(order) | {
            "legs": [self._flat(leg) | {"legs": None} for leg in legs] or None
        }

    def _flat(self, order: BookOrder) -> Json:
        fills = self.fills.get(order.broker_order_id, ())
        average = order.filled_value / order.filled_quantity if order.filled_quantity else None
        is_filled = order.status is OrderStatus.FILLED
        return {
            "id": order.broker_order_id,
            "client_order_id": order.client_order_id,
            "created_at": moment(order.submitted_at),
            "updated_at": moment(order.updated_at),
            "submitted_at": moment(order.submitted_at),
            "filled_at": moment(fills[-1].at) if is_filled and fills else None,
            "expired_at": self._when(order, OrderStatus.EXPIRED),
            "expires_at": moment(self._expires(order)),
            "canceled_at": self._when(order, OrderStatus.CANCELED),
            "failed_at": self._when(order, OrderStatus.REJECTED),
            "replaced_at": self._when(order, OrderStatus.REPLACED),
            "replaced_by": order.replaced_by,
            "replaces": self._replaces(order),
            "asset_id": asset_id(order.symbol),
            "symbol": order.symbol,
            "asset_class": "us_equity",
            "notional": None,
            "qty": number(order.quantity),
            "filled_qty": number(order.filled_quantity),
            "filled_avg_price": None if average is None else number(average),
            "order_type": str(order.order_type),
            "type": str(order.order_type),
            "side": str(order.side),
            "time_in_force": str(order.time_in_force),
            "limit_price": _price(order.limit_price),
            "stop_price": _price(order.stop_price),
            "status": self.status(order),
            "extended_hours": False,
            "trail_percent": None,
            "trail_price": None,
            "hwm": None,
            "position_intent": "buy_to_open" if order.side is Side.BUY else "sell_to_close",
            **self._group(order),
        }

    def _group(self, order: BookOrder) -> Json:
        if order.group_id is None:
            return {"order_class": ""}
        return {
            "order_class": order_class(self.group(order)),
            "group_id": order.group_id,
            "group_role": _GROUP_ROLES[order.role],
        }

    def _when(self, order: BookOrder, status: OrderStatus) -> str | None:
        return moment(order.updated_at) if order.status is status else None

    def _expires(self, order: BookOrder) -> datetime:
        return order.expires_at or order.submitted_at + GTC_LIFE

    def _replaces(self, order: BookOrder) -> str | None:
        own = order.broker_order_id
        return next((o.broker_order_id for o in self.orders if o.replaced_by == own), None)


_STATUSES = {
    OrderStatus.HELD: "held",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCEL_PENDING: "pending_cancel",
    OrderStatus.CANCELED: "canceled",
    OrderStatus.EXPIRED: "expired",
    OrderStatus.REPLACED: "replaced",
    OrderStatus.REJECTED: "rejected",
}
OPEN_STATUSES = frozenset(
    {"new", "partially_filled", "accepted", "pending_new", "pending_cancel", "pending_replace"}
)
"""Held is none of them: such a leg is not listed as open."""
_GROUP_ROLES = {Role.ENTRY: "entry", Role.TARGET: "take_profit", Role.STOP: "stop_loss"}


def is_hidden(order: BookOrder) -> bool:
    """Whether it is the leg that an OTO order has not."""
    return order.parent_order_id is not None and (
        order.limit_price == NEVER_REACHED or order.stop_price == NEVER_FALLEN_TO
    )


def order_class(group: Iterable[BookOrder]) -> str:
    """Return Alpaca's word for a group."""
    members = tuple(group)
    if any(is_hidden(order) for order in members):
        return "oto"
    return "bracket" if any(order.role is Role.ENTRY for order in members) else "oco"


def account(known: Account, positions: Iterable[Position], account_id: str, flags: Json) -> Json:
    """Write the account; `flags` replace what the broker says otherwise."""
    held = sum((p.quantity * (p.market_price or p.average_price) for p in positions), Decimal(0))
    cash, equity = number(known.cash), number(known.equity)
    return {
        "id": account_id,
        "account_number": "PA3SIMULATED",
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": known.currency,
        "cash": cash,
        "portfolio_value": equity,
        "equity": equity,
        "last_equity": equity,
        "buying_power": number(known.buying_power),
        "regt_buying_power": number(known.buying_power),
        "non_marginable_buying_power": number(known.buying_power),
        "options_buying_power": number(known.buying_power),
        "multiplier": "1",
        "initial_margin": "0",
        "maintenance_margin": "0",
        "last_maintenance_margin": "0",
        "long_market_value": number(held),
        "short_market_value": "0",
        "sma": "0",
        "accrued_fees": "0",
        "intraday_adjustments": "0",
        "balance_asof": f"{known.at.date() - timedelta(days=1)}",
        "created_at": "2026-01-05T15:04:05.123456Z",
        "shorting_enabled": False,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "options_approved_level": 0,
        "options_trading_level": 0,
        **flags,
    }


def position(held: Position, market: SimulatedMarket, now: datetime) -> Json:
    """Write a holding."""
    price = held.market_price or held.average_price
    day = market.previous_day(held.symbol, now)
    yesterday = price if day is None else day.close
    cost, value = held.average_price * held.quantity, price * held.quantity
    today = (price - yesterday) * held.quantity
    return {
        "asset_id": asset_id(held.symbol),
        "symbol": held.symbol,
        "exchange": "NASDAQ",
        "asset_class": "us_equity",
        "asset_marginable": False,
        "avg_entry_price": number(held.average_price),
        "qty": number(held.quantity),
        "qty_available": number(held.available),
        "side": "long" if held.quantity > 0 else "short",
        "market_value": number(value),
        "cost_basis": number(cost),
        "unrealized_pl": number(value - cost),
        "unrealized_plpc": number((value - cost) / cost),
        "unrealized_intraday_pl": number(today),
        "unrealized_intraday_plpc": number(today / value),
        "current_price": number(price),
        "lastday_price": number(yesterday),
        "change_today": number((price - yesterday) / yesterday),
    }


def asset(known: Instrument) -> Json:
    """Write an instrument."""
    return {
        "id": asset_id(known.symbol),
        "class": "us_equity",
        "exchange": known.exchange,
        "symbol": known.symbol,
        "name": known.name,
        "status": "active" if known.tradable else "inactive",
        "tradable": known.tradable,
        "marginable": False,
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": False,
        "attributes": [],
    }


def activity(fill: Fill, order: BookOrder, cumulative: int) -> Json:
    """Write one execution."""
    leaves = order.quantity - cumulative
    stamp = fill.at.strftime("%Y%m%d%H%M%S") + f"{fill.at.microsecond // 1000:03}"
    return {
        "id": f"{stamp}::{uuid5(NAMESPACE_DNS, fill.fill_id)}",
        "activity_type": "FILL",
        "transaction_time": moment(fill.at),
        "type": "partial_fill" if leaves > 0 else "fill",
        "price": number(fill.price),
        "qty": number(fill.quantity),
        "side": str(fill.side),
        "symbol": fill.symbol,
        "leaves_qty": number(leaves),
        "order_id": fill.broker_order_id,
        "cum_qty": number(cumulative),
        "order_status": "partially_filled" if leaves > 0 else "filled",
    }


def asset_id(symbol: str) -> str:
    """Return an asset's id, the same in every run."""
    return str(uuid5(NAMESPACE_DNS, f"asset/{symbol}"))


def number(value: Decimal | int) -> str:
    """Write money, a price or shares: plain, without zeros at the end."""
    text = format(Decimal(value), "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def moment(at: datetime) -> str:
    """Write a time in UTC, with nanoseconds that no Python time can hold."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "417Z"


def _price(price: Decimal | None) -> str | None:
    return None if price is None else number(price)
