"""The paper broker: the adapter for an exchange of our own, with a store of its own.

What is modelled and what is not stands at `PaperExchange`.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from brokers.approval import approved_cancel, approved_request
from brokers.base import Capabilities
from brokers.faults import Fault, Faults, Operation, carry_out
from brokers.matching import MarketReplay
from brokers.paper_exchange import PaperExchange
from brokers.paper_rules import CLIENT_ORDER_ID_MAX_LENGTH
from safety import ApprovedCancel, ApprovedOrder
from shared.clock import Clock
from shared.errors import BrokerUnavailable, OrderOutcomeUnknown
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

_Answer = TypeVar("_Answer")

PAPER_CAPABILITIES = Capabilities(
    name="paper",
    environment=Environment.PAPER,
    order_types=frozenset(OrderType),
    order_classes=frozenset(OrderClass),
    times_in_force=frozenset(TimeInForce),
    can_replace=True,
    legs_active_after="complete_fill",
    resting_orders_hold_shares=True,
    reports_fills=True,
    client_order_id_max_length=CLIENT_ORDER_ID_MAX_LENGTH,
    client_order_ids_unique=True,
)


class PaperBroker:
    """`brokers.base.Broker` on a paper exchange in this process, faults included.

    Calls do not leave the event loop: they take milliseconds, and none can be cancelled half done.
    """

    def __init__(
        self,
        store: Path,
        replay: MarketReplay,
        clock: Clock,
        *,
        account_id: str,
        currency: str,
        starting_cash: Decimal,
        volume_share_pct: Decimal,
        faults: Faults | None = None,
    ) -> None:
        """Open the exchange; see `PaperExchange`."""
        self._faults: Faults = faults or Faults()
        self._connected: bool = True
        self._exchange: PaperExchange = PaperExchange(
            store,
            replay,
            clock,
            account_id=account_id,
            currency=currency,
            starting_cash=starting_cash,
            volume_share_pct=volume_share_pct,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the paper exchange can do."""
        return PAPER_CAPABILITIES

    async def account(self) -> Account:
        """Read the account."""
        exchange = self._exchange
        return await self._call(Operation.ACCOUNT, lambda fault: exchange.account(fault=fault))

    async def positions(self) -> tuple[Position, ...]:
        """Read every holding that is not zero."""
        exchange = self._exchange
        return await self._call(Operation.POSITIONS, lambda fault: exchange.positions(fault=fault))

    async def orders(self, *, only_open: bool, since: datetime | None = None) -> tuple[Order, ...]:
        """Read orders, parents before their legs, each leg also as an element of its own."""
        return await self._call(
            Operation.ORDERS,
            lambda fault: self._exchange.orders(only_open=only_open, since=since, fault=fault),
        )

    async def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Look one order up; None when the exchange knows no such id."""
        return await self._call(
            Operation.ORDER_BY_CLIENT_ID,
            lambda fault: self._exchange.order_by_client_id(client_order_id, fault=fault),
        )

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that are known."""
        return await self._call(
            Operation.INSTRUMENT, lambda fault: self._exchange.instruments(symbols, fault=fault)
        )

    async def market_clock(self) -> MarketClock:
        """Ask whether the exchange trades, and what time it is there."""
        return await self._call(Operation.MARKET_CLOCK, lambda _: self._exchange.market_clock())

    async def place_order(self, approved: ApprovedOrder) -> Order:
        """Send an order once. Raises TypeError for anything that safety did not approve."""
        request = approved_request(approved)
        return await self._call(
            Operation.PLACE, lambda fault: self._exchange.place(request, fault=fault)
        )

    async def replace_order(self, approved: ApprovedOrder) -> Order:
        """Replace a resting order. Raises TypeError for anything that safety did not approve."""
        request = approved_request(approved)
        return await self._call(
            Operation.REPLACE, lambda fault: self._exchange.replace(request, fault=fault)
        )

    async def cancel_order(self, approved: ApprovedCancel) -> Order:
        """Cancel an order and its group. Raises TypeError for anything that safety did not approve."""
        order_id = approved_cancel(approved)
        return await self._call(
            Operation.CANCEL, lambda fault: self._exchange.cancel(order_id, fault=fault)
        )

    async def disconnect(self) -> None:
        """Close the store; safe to call twice."""
        self._connected = False
        self._exchange.close()

    async def _call(self, operation: Operation, act: Callable[[Fault | None], _Answer]) -> _Answer:
        if not self._connected:
            msg = f"the paper broker is disconnected, {operation} was not sent"
            raise BrokerUnavailable(msg)
        try:
            return await carry_out(operation, self._faults.take(operation), act)
        except OrderOutcomeUnknown as e:
            if operation.writes:
                raise
            raise BrokerUnavailable(str(e)) from e
