"""What every broker can be asked, whatever its wire looks like.

An adapter translates; it decides nothing, retries no write, and turns every failure into one of
BrokerUnavailable (a read failed, or the write provably never left), OrderRejected (the broker said no)
and OrderOutcomeUnknown (anything else that happened to a write).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from safety import ApprovedCancel, ApprovedOrder
from shared.models import (
    Account,
    Environment,
    Instrument,
    MarketClock,
    Order,
    OrderClass,
    OrderType,
    Position,
    TimeInForce,
)

DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
"""Code of an OrderRejected that says the id was seen before: the order may be there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a broker can do, as data: callers ask this, never the broker's name."""

    name: str
    environment: Environment
    order_types: frozenset[OrderType]
    order_classes: frozenset[OrderClass]
    times_in_force: frozenset[TimeInForce]
    can_replace: bool
    """Whether a resting order can be replaced without being cancelled first."""
    legs_active_after: str
    """"complete_fill" or "first_fill": when a bracket's legs start to protect."""
    resting_orders_hold_shares: bool
    """Whether shares under a resting sell order are unavailable to another one."""
    reports_fills: bool
    """Whether orders list their executions one by one."""
    client_order_id_max_length: int
    client_order_ids_unique: bool
    """Whether the broker itself refuses a client order id it has seen before."""

    @property
    def has_stops(self) -> bool:
        """Whether a stop can rest at the broker."""
        return OrderType.STOP in self.order_types

    @property
    def has_brackets(self) -> bool:
        """Whether an entry brings its stop and target along as orders of their own."""
        return OrderClass.BRACKET in self.order_classes


class Broker(Protocol):
    """One account at one broker. There is no other way to trade, and no shortcut to close a position."""

    @property
    def capabilities(self) -> Capabilities:
        """What this broker can do."""
        ...

    async def account(self) -> Account:
        """Read the account. Raises BrokerUnavailable."""
        ...

    async def positions(self) -> tuple[Position, ...]:
        """Read every holding that is not zero. Raises BrokerUnavailable; never an empty answer instead."""
        ...

    async def orders(self, *, only_open: bool, since: datetime | None = None) -> tuple[Order, ...]:
        """Read orders, parents before their legs, each leg also as an element of its own.

        `since` leaves out orders that were closed before it. Raises BrokerUnavailable.
        """
        ...

    async def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Look one order up; None only when the broker says that it knows no such id.

        Raises BrokerUnavailable.
        """
        ...

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe symbols; one that the broker does not know is absent. Raises BrokerUnavailable."""
        ...

    async def market_clock(self) -> MarketClock:
        """Ask whether the exchange trades, and what time it is there. Raises BrokerUnavailable.

        An unscheduled closure shows here and in no calendar.
        """
        ...

    async def place_order(self, approved: ApprovedOrder) -> Order:
        """Send an order once. Raises OrderRejected, OrderOutcomeUnknown, BrokerUnavailable (never left).

        Where no bracket can be sent, an entry is a simple order that names stop_loss and take_profit all
        the same: levels for the monitor, which the adapter does not send.
        """
        ...

    async def replace_order(self, approved: ApprovedOrder) -> Order:
        """Put an order in the place of the one its request names in `replaces`; return the new order.

        Raises OrderRejected (the old one still rests, or is already closed), OrderOutcomeUnknown,
        BrokerUnavailable (never left).
        """
        ...

    async def cancel_order(self, approved: ApprovedCancel) -> Order:
        """Ask for a cancel and return the order as it then is; it may be CANCEL_PENDING, or filled.

        Raises OrderRejected (already closed), OrderOutcomeUnknown, BrokerUnavailable (never left).
        """
        ...

    async def disconnect(self) -> None:
        """Close every connection; safe to call twice.

        When it returns, nothing that was asked for can still reach the broker: a write that is under way
        in another thread is waited for, or its connection is cut.
        """
        ...
