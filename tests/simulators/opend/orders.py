"""What a client asks to be bought or sold, as a request to the exchange; the limits of paper trading."""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Any

from brokers.paper_rules import RejectCode
from shared.errors import OrderRejected
from shared.models import Instrument, OrderPurpose, OrderRequest, OrderType, Side, TimeInForce
from tests.simulators.market import on_tick
from tests.simulators.opend.accounts import OPTION, REAL, TradingAccount, account_of
from tests.simulators.opend.book import ShownOrder, client_id
from tests.simulators.opend.market import symbol_of
from tests.simulators.opend.messages import Refused
from tests.simulators.opend.simulation import Simulation

MOST_REMARK_BYTES = 64
_ORDER_TYPES = {1: OrderType.LIMIT, 2: OrderType.MARKET}
_SIDES = {1: Side.BUY, 2: Side.SELL}
_DAY = 0
_STEP = Decimal("0.001")
_TEXTS = {
    RejectCode.UNKNOWN_SYMBOL: "Unknown stock",
    RejectCode.INVALID_QUANTITY: "The quantity is not a whole multiple of the lot size",
    RejectCode.INSUFFICIENT_QTY: "Insufficient positions to sell, short selling is not supported in paper trading",
    RejectCode.INSUFFICIENT_BUYING_POWER: "Insufficient buying power",
    RejectCode.INVALID_PRICE: "The price does not match the price spread",
}


def trading_account(header: Any) -> TradingAccount:
    """Return the account that orders go to; raise Refused for every one that stocks are not traded in here."""
    account = account_of(header)
    if account.environment == REAL:
        raise Refused("Please unlock the trade first")
    if account.simulated_kind == OPTION or account.held is not None:
        raise Refused("This paper account does not support trading this product")
    return account


def refuse_replay(simulation: Simulation, packet: Any) -> None:
    """Remember a write, and refuse one that came before on its connection."""
    key = packet.connID, packet.serialNo
    if key in simulation.packets:
        raise Refused("Duplicate packet")
    simulation.packets.add(key)


def read_order(simulation: Simulation, c2s: Any) -> OrderRequest:
    """Return what is asked for; raise Refused for what paper trading does not have."""
    order_type, side = _ORDER_TYPES.get(c2s.orderType), _SIDES.get(c2s.trdSide)
    if order_type is None:
        raise Refused("Paper trading does not support this order type")
    if side is None:
        raise Refused("Paper trading does not support this trading direction")
    if c2s.timeInForce != _DAY:
        raise Refused("Paper trading supports only orders for the day")
    if len(c2s.remark.encode()) > MOST_REMARK_BYTES:
        raise Refused(f"The remark has more than {MOST_REMARK_BYTES} bytes")
    symbol = symbol_of(c2s.code)
    described = simulation.market.instrument(symbol)
    if described is None:
        raise Refused(f"Unknown stock {c2s.code}")
    limit = read_price(c2s, described) if order_type is OrderType.LIMIT else None
    number = len(simulation.exchange._store.orders(None)) + 1
    return OrderRequest(
        client_order_id=client_id(number, 0, c2s.remark),
        symbol=symbol,
        side=side,
        quantity=int(c2s.qty),
        order_type=order_type,
        purpose=OrderPurpose.ENTRY if side is Side.BUY else OrderPurpose.EXIT,
        time_in_force=TimeInForce.DAY,
        limit_price=limit,
    )


def read_change(simulation: Simulation, c2s: Any, old: ShownOrder) -> OrderRequest:
    """Return the order that takes the old one's place; its quantity counts what filled before."""
    described = simulation.market.instrument(old.last.symbol)
    assert described is not None
    if old.last.order_type is not OrderType.LIMIT:
        raise Refused("Only limit orders can be modified")
    number = old.parts[0].client_order_id.partition(".")[0]
    return OrderRequest(
        client_order_id=client_id(int(number), len(old.parts), old.remark),
        symbol=old.last.symbol,
        side=old.last.side,
        quantity=int(c2s.qty) - old.dealt,
        order_type=old.last.order_type,
        purpose=OrderPurpose.ENTRY if old.last.side is Side.BUY else OrderPurpose.EXIT,
        time_in_force=TimeInForce.DAY,
        limit_price=read_price(c2s, described),
        replaces=old.last.broker_order_id,
    )


def read_price(c2s: Any, described: Instrument) -> Decimal:
    """Return the price, cut after three decimals, and moved to a price that exists if so wished."""
    price = Decimal(repr(c2s.price)).quantize(_STEP, rounding=ROUND_DOWN)
    if price <= 0:
        raise Refused("The price has to be more than 0")
    if not c2s.adjustPrice:
        return price
    upwards = c2s.adjustSideAndLimit > 0
    moved = on_tick(described, price, ROUND_CEILING if upwards else ROUND_FLOOR)
    if abs(moved - price) > price * abs(Decimal(repr(c2s.adjustSideAndLimit))):
        raise Refused("The price cannot be adjusted within the limit")
    return moved


def refusal(rejected: OrderRejected) -> Refused:
    """Return how OpenD says what the exchange objects to."""
    text = _TEXTS.get(RejectCode(rejected.code)) if rejected.code else None
    return Refused(text or str(rejected))
