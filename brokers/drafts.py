"""Builds the requests that the desk submits, and reads from a snapshot what they have to cover.

Pure. A draft has no client order id yet; the desk names it when it knows which attempt it is.
"""

from dataclasses import replace
from decimal import Decimal

from brokers.base import Capabilities
from shared.models import (
    Order,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    Snapshot,
    TimeInForce,
)

EXIT_PRICE_ALLOWANCE_PCT = Decimal(1)
"""How far below the bid an exit's limit is set: it fills like a market order, but not at any price."""

_WORKING = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})


def entry_request(
    *,
    symbol: str,
    quantity: int,
    limit_price: Decimal | None,
    stop_loss: Decimal | None,
    take_profit: Decimal | None,
    capabilities: Capabilities,
) -> OrderRequest:
    """Build an entry with its protective legs; they outlive the day so that no position loses them.

    Where the broker takes no bracket it is a simple order for the day, and stop and target are levels
    that the monitor guards.
    """
    brings_legs = capabilities.has_brackets
    return OrderRequest(
        client_order_id="",
        symbol=symbol,
        side=Side.BUY,
        quantity=quantity,
        order_type=OrderType.MARKET if limit_price is None else OrderType.LIMIT,
        purpose=OrderPurpose.ENTRY,
        time_in_force=TimeInForce.GTC if brings_legs else TimeInForce.DAY,
        order_class=OrderClass.BRACKET if brings_legs else OrderClass.SIMPLE,
        limit_price=limit_price,
        stop_loss=stop_loss,
        take_profit=take_profit,
    )


def protection_request(
    *, symbol: str, quantity: int, stop_loss: Decimal | None, take_profit: Decimal | None
) -> OrderRequest:
    """Build a stop and a target, one cancelling the other, for shares that are held already."""
    return OrderRequest(
        client_order_id="",
        symbol=symbol,
        side=Side.SELL,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        purpose=OrderPurpose.STOP_LOSS,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.OCO,
        stop_loss=stop_loss,
        take_profit=take_profit,
    )


def exit_requests(symbol: str, quantity: int, snapshot: Snapshot) -> list[OrderRequest] | None:
    """Build the sales of a position: each resting target moved to a marketable price, so that its stop
    stays until the shares are sold, and a market order for shares that no target covers.

    A quantity below what the targets cover, or above what is held, becomes one market order, for
    safety to refuse. None when the targets hold the shares and no bid is known to move them to.
    """
    held, targets = snapshot.position(symbol), _resting_targets(symbol, snapshot)
    covered = sum(target.remaining_quantity for target in targets)
    if held is None or not covered <= quantity <= held.quantity:
        targets = []
    price = _marketable_price(symbol, snapshot)
    if targets and price is None:
        return None
    market = market_exit(symbol, quantity - sum(target.remaining_quantity for target in targets))
    moved = [
        replace(
            market,
            quantity=target.remaining_quantity,
            order_type=OrderType.LIMIT,
            limit_price=price,
            time_in_force=target.time_in_force,
            replaces=target.broker_order_id,
        )
        for target in targets
    ]
    return [*moved, market] if market.quantity > 0 or not moved else moved


def market_exit(symbol: str, quantity: int) -> OrderRequest:
    """Build a sale at the market of shares that no order holds."""
    return OrderRequest(
        client_order_id="",
        symbol=symbol,
        side=Side.SELL,
        quantity=quantity,
        order_type=OrderType.MARKET,
        purpose=OrderPurpose.EXIT,
    )


def is_open_entry(order: Order, symbol: str | None = None) -> bool:
    """Whether an order is a purchase that can still fill, in this symbol or in any."""
    return (
        order.side is Side.BUY
        and order.status.is_open
        and (symbol is None or order.symbol == symbol)
    )


def active_stops(symbol: str, snapshot: Snapshot) -> list[Order]:
    """List the stops that would sell now.

    A HELD leg is healthy and in force, unless it still waits for an entry to fill completely.
    """
    entries = {o.broker_order_id for o in snapshot.open_orders if o.side is Side.BUY}
    return [
        order
        for order in snapshot.open_orders
        if order.symbol == symbol
        and order.side is Side.SELL
        and order.order_type is OrderType.STOP
        and (order.status is not OrderStatus.HELD or order.parent_order_id not in entries)
    ]


def protecting_orders(symbol: str, snapshot: Snapshot) -> list[Order]:
    """List the sales that came with orders of ours, stops first; what a person laid down is left alone."""
    found = [
        order
        for order in snapshot.open_orders
        if order.symbol == symbol
        and order.side is Side.SELL
        and (order.client_order_id is not None or order.parent_order_id is not None)
    ]
    return sorted(found, key=lambda order: order.order_type is not OrderType.STOP)


def naked_quantity(symbol: str, ours: int, snapshot: Snapshot) -> int:
    """Shares of a position of ours, as far as the broker has them, that no active stop covers."""
    held = snapshot.position(symbol)
    if held is None:
        return 0
    covered = sum(stop.remaining_quantity for stop in active_stops(symbol, snapshot))
    return max(0, min(int(held.quantity), ours) - covered)


def known_bid(symbol: str, snapshot: Snapshot) -> Decimal | None:
    """Return what is bid for a symbol, where that can be a price at all."""
    quote = snapshot.quotes.get(symbol)
    return None if quote is None else _as_price(quote.bid)


def is_through(stop_loss: Decimal | None, symbol: str, snapshot: Snapshot) -> bool:
    """Whether the price is at or below a stop by the feed's bid and by the broker's own price.

    One of them alone can be a bad tick, and sells nothing.
    """
    said = _prices(symbol, snapshot)
    return stop_loss is not None and len(said) > 1 and max(said) <= stop_loss


def may_be_through(stop_loss: Decimal | None, symbol: str, snapshot: Snapshot) -> bool:
    """Whether one of the two says so: enough where a broker has just refused to let the stop rest."""
    said = _prices(symbol, snapshot)
    return stop_loss is not None and bool(said) and min(said) <= stop_loss


def is_left_behind(limit_price: Decimal | None, symbol: str, snapshot: Snapshot) -> bool:
    """Whether the market has fallen below the limit of a sale, so that it would only wait for a rise."""
    quote, bid = snapshot.quotes.get(symbol), known_bid(symbol, snapshot)
    if limit_price is None or quote is None or quote.halted or bid is None:
        return False
    return bid < limit_price


def targets_without_stop(symbol: str, snapshot: Snapshot) -> list[Order]:
    """List the targets of ours whose own stop is gone: they protect nothing, and hold their shares."""
    guarded = {stop.parent_order_id for stop in active_stops(symbol, snapshot)} - {None}
    return [
        order
        for order in protecting_orders(symbol, snapshot)
        if order.order_type is OrderType.LIMIT
        and order.status is not OrderStatus.HELD
        and not guarded & {order.broker_order_id, order.parent_order_id}
    ]


def _prices(symbol: str, snapshot: Snapshot) -> list[Decimal]:
    """What feed and broker say that a share would bring, where they say anything that can be true."""
    held = snapshot.position(symbol)
    said = (known_bid(symbol, snapshot), _as_price(held.market_price if held else None))
    return [price for price in said if price is not None]


def _as_price(value: Decimal | None) -> Decimal | None:
    return value if value is not None and value.is_finite() and value > 0 else None


def _resting_targets(symbol: str, snapshot: Snapshot) -> list[Order]:
    """Targets that came with an order of ours; a sale that a person laid down by hand is left alone."""
    return [
        order
        for order in snapshot.open_orders
        if order.symbol == symbol
        and (order.client_order_id is not None or order.parent_order_id is not None)
        and order.side is Side.SELL
        and order.order_type is OrderType.LIMIT
        and order.status in _WORKING
    ]


def _marketable_price(symbol: str, snapshot: Snapshot) -> Decimal | None:
    bid, instrument = known_bid(symbol, snapshot), snapshot.instruments.get(symbol)
    if bid is None or instrument is None:
        return None
    price = bid * (100 - EXIT_PRICE_ALLOWANCE_PCT) / 100
    tick = instrument.tick_at(price)
    return price // tick * tick
