"""What is sent to OpenD for a request of ours.

Pure. Prices travel as doubles; one with more decimals than OpenD keeps is refused here, since OpenD would
cut it off, and rounding would be a decision.
"""

from collections.abc import Mapping
from decimal import Decimal

from brokers.base import Capabilities
from brokers.moomoo_wire import MARKET_HK, PRICE_STEP, SECURITIES_HK, SIMULATE
from brokers.paper_rules import RejectCode
from shared.errors import OrderRejected
from shared.models import (
    Environment,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
)
from shared.opend_symbols import wire_code

Body = Mapping[str, object]

MOOMOO_CAPABILITIES = Capabilities(
    name="moomoo",
    environment=Environment.PAPER,
    order_types=frozenset({OrderType.LIMIT, OrderType.MARKET}),
    order_classes=frozenset({OrderClass.SIMPLE}),
    times_in_force=frozenset({TimeInForce.DAY}),
    can_replace=False,  # a changed order keeps its id and its remark: it would be no new order
    legs_active_after="complete_fill",  # there are no legs
    resting_orders_hold_shares=True,
    reports_fills=False,
    client_order_id_max_length=64,
    client_order_ids_unique=False,
)

_CANCEL = 2
_DAY = 0
_SIDES = {Side.BUY: 1, Side.SELL: 2}
_ORDER_TYPES = {OrderType.LIMIT: 1, OrderType.MARKET: 2}
_PRICE_OF_A_MARKET_ORDER = 1.0
"""OpenD wants one, and has no use for it."""


def paper_header(account_id: int) -> Body:
    """Return the header of every message about trading: paper, this account, Hong Kong."""
    return {"trdEnv": SIMULATE, "accID": account_id, "trdMarket": MARKET_HK}


def order_body(request: OrderRequest, account_id: int) -> Body:
    """Return a new order. Raises OrderRejected for what a paper account does not have."""
    return {
        "header": paper_header(account_id),
        "trdSide": _SIDES[request.side],
        "orderType": _ORDER_TYPES[request.order_type],
        "code": wire_code(request.symbol),
        "qty": float(request.quantity),
        "price": _PRICE_OF_A_MARKET_ORDER
        if request.limit_price is None
        else float(request.limit_price),
        "adjustPrice": False,
        "secMarket": SECURITIES_HK,
        "remark": request.client_order_id,
        "timeInForce": _DAY,
    }


def cancel_body(broker_order_id: str, account_id: int) -> Body:
    """Return the cancel of one order; OpenD has its id as text and as a number."""
    is_number = broker_order_id.isascii() and broker_order_id.isdecimal()
    if not is_number or int(broker_order_id) >= 1 << 64:
        msg = f"OpenD has no order {broker_order_id}: its ids are numbers"
        raise OrderRejected(msg, code=RejectCode.ORDER_NOT_FOUND)
    return {
        "header": paper_header(account_id),
        "orderID": int(broker_order_id),
        "orderIDEx": broker_order_id,
        "modifyOrderOp": _CANCEL,
        "forAll": False,
    }


def require_sendable(request: OrderRequest) -> None:
    """Refuse what OpenD would refuse, and what it would take for something else. Raises OrderRejected."""
    _require_kind(request)
    limit, length = (
        MOOMOO_CAPABILITIES.client_order_id_max_length,
        len(request.client_order_id.encode()),
    )
    if not 1 <= length <= limit:
        msg = f"client_order_id must have 1 to {limit} bytes, had {length}"
        raise OrderRejected(msg, code=RejectCode.CLIENT_ORDER_ID_LENGTH)
    if request.quantity <= 0:
        msg = f"quantity must be above 0, was {request.quantity}"
        raise OrderRejected(msg, code=RejectCode.INVALID_QUANTITY)
    try:
        wire_code(request.symbol)
    except ValueError as error:
        raise OrderRejected(str(error), code=RejectCode.UNKNOWN_SYMBOL) from None


def _require_kind(request: OrderRequest) -> None:
    can = MOOMOO_CAPABILITIES
    for what, wanted, known in (
        ("order class", request.order_class, can.order_classes),
        ("order type", request.order_type, can.order_types),
        ("time in force", request.time_in_force, can.times_in_force),
    ):
        if wanted not in known:
            msg = f"a paper account at moomoo has no {what} {wanted}"
            raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)
    # an entry's levels are for whoever watches: they stay here
    levels = () if request.purpose is OrderPurpose.ENTRY else ("stop_loss", "take_profit")
    for name in ("stop_price", "replaces", *levels):
        if getattr(request, name) is not None:
            msg = f"a paper account at moomoo has no use for {name} {getattr(request, name)}"
            raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)
    _require_price(request)


def _require_price(request: OrderRequest) -> None:
    price = request.limit_price
    if (price is None) == (request.order_type is OrderType.LIMIT):
        msg = f"{request.order_type} orders and limit_price {price} do not go together"
        raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)
    if price is None:
        return
    if (
        not price.is_finite()
        or price <= 0
        or price % PRICE_STEP
        or Decimal(repr(float(price))) != price
    ):
        msg = f"limit_price must be above 0 and have three decimals, was {price}"
        raise OrderRejected(msg, code=RejectCode.INVALID_PRICE)
