"""What the conformance suite needs of an adapter's market, and the orders that it sends there."""

import itertools
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import pytest

from brokers.base import Broker
from brokers.faults import Fault, Faults, Operation
from shared.models import (
    Order,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from tests.brokers.approvals import approved

_numbers = itertools.count(1)


class Breakage(StrEnum):
    """How an answer can go wrong between a broker and its adapter, whatever their wire is."""

    HTTP_400 = "400"
    HTTP_401 = "401"
    HTTP_403 = "403"
    HTTP_404 = "404"
    HTTP_422 = "422"
    HTTP_429 = "429"
    HTTP_500 = "500"
    HTTP_502 = "502"
    HTTP_503 = "503"
    HTTP_504 = "504"
    HUNG_UP = "hung up"
    RESET = "reset"
    RESET_IN_BODY = "reset in body"
    SILENT = "silent"
    SLOW_HEADER = "slow header"
    SLOW_BODY = "slow body"
    HTML = "html"
    GARBAGE = "garbage"
    """Not of the broker's form at all."""
    NULL_FIELDS = "null fields"
    """Of its form, with nothing where something has to be."""
    UNKNOWN_WORD = "unknown word"
    """An order is in a state that no version of the adapter has heard of."""

    @property
    def is_status(self) -> bool:
        """Whether it is an answer with an error's status."""
        return self.value.isdecimal()


class Venue(Protocol):
    """An adapter connected to a market that the suite moves.

    At the start the session is open with hours to go, the symbol last traded at 100 with bid and ask less
    than half away, the account is paper, holds nothing and can buy a hundred lots.
    """

    @property
    def broker(self) -> Broker:
        """The adapter under test."""
        ...

    @property
    def symbol(self) -> str:
        """A stock whose tick divides 1."""
        ...

    @property
    def lot_size(self) -> int:
        """Its board lot."""
        ...

    @property
    def currency(self) -> str:
        """The account's currency."""
        ...

    @property
    def faults(self) -> Faults | None:
        """The script that the simulator behind the adapter obeys; None where faults cannot be injected."""
        ...

    async def minute(self, *prices: int, lots: int = 1000) -> None:
        """Let one minute go by with these prices (open, high, low, close, or one for all) and volume.

        One order may have at least a hundredth of the volume and at most a fifth; a minute of the default
        volume fills every order of this suite.
        """
        ...

    @property
    def many(self) -> int:
        """More orders than the adapter lists at once; a harness may let it list few, to be quick."""
        ...

    async def next_session(self) -> None:
        """Let this session end and the next one begin, without a trade."""
        ...

    @property
    def call_seconds(self) -> float:
        """What one call of the adapter may take, whatever the broker does."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may stand in no log and no error."""
        ...

    def breaks(self, operation: Operation, how: Breakage, *, carried_out: bool) -> bool:
        """Let the answer to the next such call go wrong; False where that cannot be done here.

        `carried_out` says whether the broker does what was asked for before.
        """
        ...

    def refuses_connections(self, *, refuses: bool) -> bool:
        """Close the broker's port, or open it again; False where there is none."""
        ...


def next_id(client: str) -> str:
    return f"contract-{client}-{next(_numbers)}"


def limit(
    venue: Venue,
    price: int,
    *,
    lots: int = 1,
    side: Side = Side.BUY,
    replaces: str | None = None,
    client: str = "limit",
    client_order_id: str | None = None,
) -> OrderRequest:
    return OrderRequest(
        client_order_id=client_order_id or next_id(client),
        symbol=venue.symbol,
        side=side,
        quantity=lots * venue.lot_size,
        order_type=OrderType.LIMIT,
        purpose=OrderPurpose.ENTRY if side is Side.BUY else OrderPurpose.EXIT,
        limit_price=Decimal(price),
        replaces=replaces,
    )


def market(venue: Venue, side: Side, *, lots: int) -> OrderRequest:
    return OrderRequest(
        client_order_id=next_id("market"),
        symbol=venue.symbol,
        side=side,
        quantity=lots * venue.lot_size,
        order_type=OrderType.MARKET,
        purpose=OrderPurpose.ENTRY if side is Side.BUY else OrderPurpose.EXIT,
    )


def stop(venue: Venue, price: int, *, lots: int) -> OrderRequest:
    return OrderRequest(
        client_order_id=next_id("stop"),
        symbol=venue.symbol,
        side=Side.SELL,
        quantity=lots * venue.lot_size,
        order_type=OrderType.STOP,
        purpose=OrderPurpose.STOP_LOSS,
        stop_price=Decimal(price),
    )


def bracket(venue: Venue, price: int, *, lots: int = 5) -> OrderRequest:
    return OrderRequest(
        client_order_id=next_id("bracket"),
        symbol=venue.symbol,
        side=Side.BUY,
        quantity=lots * venue.lot_size,
        order_type=OrderType.LIMIT,
        purpose=OrderPurpose.ENTRY,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.BRACKET,
        limit_price=Decimal(price),
        take_profit=Decimal(110),
        stop_loss=Decimal(90),
    )


async def hold(venue: Venue, *, lots: int) -> Order:
    """Buy at the market, and let a minute go by for what does not fill at once."""
    placed = await venue.broker.place_order(approved(market(venue, Side.BUY, lots=lots)))
    await venue.minute(100)
    return await look_up(venue, placed)


async def hold_with_bracket(venue: Venue) -> Order:
    placed = await venue.broker.place_order(approved(bracket(venue, 101)))
    await venue.minute(100)
    return await look_up(venue, placed)


async def look_up(venue: Venue, order: Order) -> Order:
    """Read an order as it is now, among all that there are."""
    listed = await venue.broker.orders(only_open=False)
    return next(found for found in listed if found.broker_order_id == order.broker_order_id)


async def leg_statuses(venue: Venue, entry: Order) -> set[OrderStatus]:
    return {
        order.status
        for order in await venue.broker.orders(only_open=False)
        if order.parent_order_id == entry.broker_order_id
    }


def are_in_force(pair: Sequence[Order]) -> bool:
    """Whether a target works with a stop beside it, which some brokers show as HELD until it is triggered."""
    statuses = {order.order_type: order.status for order in pair}
    return (
        len(pair) == 2
        and statuses.get(OrderType.LIMIT) is OrderStatus.ACCEPTED
        and statuses.get(OrderType.STOP) in {OrderStatus.ACCEPTED, OrderStatus.HELD}
    )


def needs(venue: Venue, ability: OrderType | OrderClass) -> None:
    can = venue.broker.capabilities
    if ability not in can.order_types | can.order_classes:
        pytest.skip(f"{can.name} has no {ability} orders")


def needs_replace(venue: Venue) -> None:
    if not venue.broker.capabilities.can_replace:
        pytest.skip("resting orders cannot be replaced")


def inject(venue: Venue, fault: Fault) -> None:
    if venue.faults is None:
        pytest.skip("faults cannot be injected here")
    venue.faults.add(fault)
