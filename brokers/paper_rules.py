"""What the paper exchange accepts: every reason for which it refuses an order, in the real brokers' words.

Pure. A refusal has a stable code, so that a simulator can say the same thing in its own broker's shape.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from brokers.matching import BookOrder, Role
from shared.models import (
    Instrument,
    InstrumentKind,
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Quote,
    Reason,
    Side,
)

CLIENT_ORDER_ID_MAX_LENGTH = 128


class RejectCode(StrEnum):
    """Why the exchange said no."""

    UNKNOWN_SYMBOL = "unknown_symbol"
    NOT_TRADABLE = "not_tradable"
    CLIENT_ORDER_ID_LENGTH = "client_order_id_length"
    DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
    INVALID_QUANTITY = "invalid_quantity"
    INVALID_PRICE = "invalid_price"
    UNSUPPORTED = "unsupported"
    BRACKET_PRICES = "bracket_prices"
    STOP_PRICE_SIDE = "stop_price_side"
    WASH_TRADE = "wash_trade"
    NO_MARKET_DATA = "no_market_data"
    INSUFFICIENT_QTY = "insufficient_qty"
    INSUFFICIENT_BUYING_POWER = "insufficient_buying_power"
    ORDER_NOT_FOUND = "order_not_found"
    NOT_CANCELABLE = "not_cancelable"
    NOT_REPLACEABLE = "not_replaceable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a request is judged against, the order it replaces already taken out."""

    currency: str
    instrument: Instrument | None
    quote: Quote | None
    resting: tuple[BookOrder, ...]
    """Working orders of the same symbol, without those of the replaced order's group."""
    available: int
    """Shares not held by resting sells."""
    buying_power: Decimal
    cost: Decimal | None
    """What a buy would hold back, modelled fees included; None where no price is known."""
    client_order_id_known: bool
    waits_for_parent: bool = False
    """Whether it takes the place of a leg that is HELD, and so sells nothing yet."""

    @property
    def last_price(self) -> Decimal | None:
        """Price that a trigger is compared with."""
        if self.quote is None:
            return None
        return self.quote.last or self.quote.mid or self.quote.previous_close


Rule = Callable[[OrderRequest, Standing], Reason | None]


def first_reason_against(request: OrderRequest, standing: Standing) -> Reason | None:
    """Return the first reason for which the exchange refuses; None when it accepts."""
    return next((reason for rule in RULES if (reason := rule(request, standing))), None)


def reason_against_replacing(
    request: OrderRequest, old: BookOrder, legs: Sequence[BookOrder]
) -> Reason | None:
    """Return why `old` cannot be replaced so; `legs` are its own, and only they can change their prices."""
    if not old.status.is_open:
        return _because(RejectCode.NOT_REPLACEABLE, f'order is already in "{old.status}" state')
    if old.status is OrderStatus.CANCEL_PENDING or old.triggered:
        text = "order is being cancelled" if not old.triggered else "stop is already triggered"
        return _because(RejectCode.NOT_REPLACEABLE, text)
    wanted = (request.symbol, request.side, request.order_type)
    if wanted != (old.symbol, old.side, old.order_type):
        text = f"a replacement keeps symbol, side and type, was {' '.join(wanted)}"
        return _because(RejectCode.NOT_REPLACEABLE, text)
    if old.role in {Role.TARGET, Role.STOP} and request.quantity != old.remaining_quantity:
        text = f"a leg's quantity is what remains, {old.remaining_quantity}, was {request.quantity}"
        return _because(RejectCode.NOT_REPLACEABLE, text)
    kept = {None, *(leg.limit_price for leg in legs), *(leg.stop_price for leg in legs)}
    if not {request.stop_loss, request.take_profit} <= kept:
        text = "a leg's price is changed by replacing the leg"
        return _because(RejectCode.UNSUPPORTED, text)
    return None


def price_to_reserve(request: OrderRequest, quote: Quote | None) -> Decimal | None:
    """Return the price per share at which a buy holds cash back; None where no price is known.

    A market order reserves the ask. If the price runs away before it has filled, it fills less.
    """
    stated = request.limit_price or request.stop_price
    if stated is not None or quote is None:
        return stated
    return quote.ask or quote.last or quote.previous_close


def _symbol(request: OrderRequest, standing: Standing) -> Reason | None:
    found = standing.instrument
    if found is None:
        return _because(RejectCode.UNKNOWN_SYMBOL, f"asset {request.symbol} not found")
    if found.kind is InstrumentKind.INDEX or not found.tradable:
        return _because(RejectCode.NOT_TRADABLE, f"asset {request.symbol} is not tradable")
    if found.currency != standing.currency:
        text = f"asset {request.symbol} trades in {found.currency}, the account is in {standing.currency}"
        return _because(RejectCode.NOT_TRADABLE, text)
    return None


def _client_order_id(request: OrderRequest, standing: Standing) -> Reason | None:
    length = len(request.client_order_id)
    if not 1 <= length <= CLIENT_ORDER_ID_MAX_LENGTH:
        text = (
            f"client_order_id must have 1 to {CLIENT_ORDER_ID_MAX_LENGTH} characters, had {length}"
        )
        return _because(RejectCode.CLIENT_ORDER_ID_LENGTH, text)
    if standing.client_order_id_known:
        return _because(RejectCode.DUPLICATE_CLIENT_ORDER_ID, "client_order_id must be unique")
    return None


def _quantity(request: OrderRequest, standing: Standing) -> Reason | None:
    lot = 1 if standing.instrument is None else standing.instrument.lot_size
    if request.quantity <= 0 or request.quantity % lot:
        text = f"quantity must be a positive multiple of {lot}, was {request.quantity}"
        return _because(RejectCode.INVALID_QUANTITY, text)
    return None


def _shape(request: OrderRequest, standing: Standing) -> Reason | None:
    """A price that does not belong to the order is refused: dropped silently, it would be a lost stop."""
    del standing
    wrong = next(_shape_faults(request), None)
    return None if wrong is None else _because(RejectCode.UNSUPPORTED, wrong)


def _shape_faults(request: OrderRequest) -> Iterator[str]:
    order_type, order_class = request.order_type, request.order_class
    is_oco = order_class is OrderClass.OCO
    if (request.limit_price is not None) != (order_type is OrderType.LIMIT) and not is_oco:
        yield f"{order_type} orders and limit_price {request.limit_price} do not go together"
    if (request.stop_price is not None) != (order_type is OrderType.STOP):
        yield f"{order_type} orders and stop_price {request.stop_price} do not go together"
    if is_oco and (order_type is not OrderType.LIMIT or request.side is not Side.SELL):
        yield f"an oco is a limit order to sell, was {order_type} to {request.side}"
    if is_oco and request.limit_price not in {None, request.take_profit}:
        yield f"an oco's limit is its take_profit, was {request.limit_price}"
    if order_class is OrderClass.BRACKET and request.side is not Side.BUY:
        yield "a bracket begins with a buy: short selling is not allowed"
    legs = {request.stop_loss is not None, request.take_profit is not None}
    if legs != {order_class is not OrderClass.SIMPLE} and request.replaces is None:
        yield f"{order_class} orders need both of stop_loss and take_profit, or neither"


def _prices(request: OrderRequest, standing: Standing) -> Reason | None:
    instrument = standing.instrument
    for name in ("limit_price", "stop_price", "take_profit", "stop_loss"):
        price: Decimal | None = getattr(request, name)
        if price is None or instrument is None:
            continue
        if not price.is_finite() or price <= 0:
            return _because(RejectCode.INVALID_PRICE, f"{name} must be > 0, was {price}")
        tick = instrument.tick_at(price)
        if price % tick:
            text = f"invalid {name} {price}. it must be a multiple of {tick}"
            return _because(RejectCode.INVALID_PRICE, text)
    return None


def _legs_around_entry(request: OrderRequest, standing: Standing) -> Reason | None:
    stop_loss, take_profit = request.stop_loss, request.take_profit
    if stop_loss is None or take_profit is None:
        return None
    between = price_to_reserve(request, standing.quote)
    if request.order_class is OrderClass.OCO or between is None:
        inside, text = stop_loss < take_profit, f"{stop_loss} < {take_profit}"
    else:
        inside = stop_loss < between < take_profit
        text = f"{stop_loss} < {between} < {take_profit}"
    if inside:
        return None
    return _because(
        RejectCode.BRACKET_PRICES, f"stop_loss, entry and take_profit must rise, were {text}"
    )


def _stop_side(request: OrderRequest, standing: Standing) -> Reason | None:
    is_oco = request.order_class is OrderClass.OCO
    stop, price = request.stop_loss if is_oco else request.stop_price, standing.last_price
    if stop is None or price is None:
        return None
    if request.side is Side.SELL and stop >= price:
        return _because(RejectCode.STOP_PRICE_SIDE, "stop price must be less than current price")
    if request.side is Side.BUY and stop <= price:
        return _because(RejectCode.STOP_PRICE_SIDE, "stop price must be greater than current price")
    return None


def _wash_trade(request: OrderRequest, standing: Standing) -> Reason | None:
    """Refuse to trade with oneself: two sides that could meet, or a stop or market order on either."""
    for order in standing.resting:
        if order.side is not request.side and _could_meet(request, order):
            text = f"potential wash trade detected. use complex orders (existing order {order.broker_order_id})"
            return _because(RejectCode.WASH_TRADE, text)
    return None


def _could_meet(request: OrderRequest, order: BookOrder) -> bool:
    limit = request.take_profit if request.order_class is OrderClass.OCO else request.limit_price
    has_stop = request.order_class is OrderClass.OCO
    if has_stop or limit is None or order.limit_price is None:
        return True
    return limit >= order.limit_price if request.side is Side.BUY else limit <= order.limit_price


def _cash(request: OrderRequest, standing: Standing) -> Reason | None:
    if request.side is Side.SELL:
        return None
    if standing.cost is None:
        return _because(RejectCode.NO_MARKET_DATA, f"no price is known for {request.symbol}")
    if standing.cost > standing.buying_power:
        text = (
            f"insufficient buying power (buying_power: {standing.buying_power},"
            f" cost_basis: {standing.cost})"
        )
        return _because(RejectCode.INSUFFICIENT_BUYING_POWER, text)
    return None


def _shares(request: OrderRequest, standing: Standing) -> Reason | None:
    """Nothing is sold short: more than what is free is refused, whatever holds the rest."""
    if request.side is Side.BUY or standing.waits_for_parent:
        return None
    if request.quantity > standing.available:
        text = (
            "insufficient qty available for order"
            f" (requested: {request.quantity}, available: {standing.available})"
        )
        return _because(RejectCode.INSUFFICIENT_QTY, text)
    return None


RULES: tuple[Rule, ...] = (
    _symbol,
    _client_order_id,
    _quantity,
    _shape,
    _prices,
    _legs_around_entry,
    _stop_side,
    _wash_trade,
    _cash,
    _shares,
)
"""In the order in which they are asked; the first that objects is the answer, as at a real broker."""


def _because(code: RejectCode, text: str) -> Reason:
    return Reason(code=code.value, text=text)
