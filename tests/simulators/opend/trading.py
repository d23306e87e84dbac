"""The trading protocols: money, holdings, orders, and what a paper account does not have."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zlib import crc32

from brokers.faults import Fault
from brokers.fees import fees_for_fill
from shared.errors import OrderRejected
from shared.models import Position, Side
from tests.simulators.opend.accounts import HK, PAPER, TradingAccount, account_of
from tests.simulators.opend.book import ShownOrder
from tests.simulators.opend.market import symbol_of, wire_code
from tests.simulators.opend.messages import Refused, response
from tests.simulators.opend.messages import trading as messages
from tests.simulators.opend.orders import (
    read_change,
    read_order,
    refusal,
    refuse_replay,
    trading_account,
)
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Protocol, Request

_NORMAL, _CANCEL = 1, 2


def get_funds(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2101: the currency is left out, as for every account that has only one."""
    account, answer = account_of(request.c2s.header), response(Protocol.GET_FUNDS)
    answer.s2c.header.CopyFrom(request.c2s.header)
    known = simulation.exchange.account(fault=fault)
    is_ours = account == PAPER
    cash = float(known.cash) if is_ours else account.cash
    held = float(known.equity - known.cash) if is_ours else 0.0
    power = float(known.buying_power) if is_ours else account.cash
    funds = answer.s2c.funds
    funds.power = funds.netCashPower = funds.avlWithdrawalCash = power
    funds.cash, funds.marketVal, funds.longMv = cash, held, held
    funds.totalAssets, funds.securitiesAssets = cash + held, cash + held
    funds.frozenCash, funds.debtCash, funds.shortMv = cash - power, 0.0, 0.0
    return answer


def get_position_list(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2102: what was sold out stays in the list with a quantity of 0, and without much else."""
    c2s, answer = request.c2s, response(Protocol.GET_POSITION_LIST)
    account = account_of(c2s.header)
    answer.s2c.header.CopyFrom(c2s.header)
    rows = _ours(simulation, fault) if account == PAPER else _somebodys(account)
    codes = set(c2s.filterConditions.codeList)
    answer.s2c.positionList.extend(row for row in rows if not codes or row.code in codes)
    return answer


def get_order_list(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2201: what is open, and what was sent on this day."""
    del fault
    today = simulation.market.calendar.exchange_date(simulation.clock.now())

    def is_listed(order: ShownOrder) -> bool:
        sent = simulation.market.calendar.exchange_date(order.parts[0].submitted_at)
        return order.last.status.is_open or sent == today

    return _listed(simulation, request, Protocol.GET_ORDER_LIST, is_listed)


def get_history_order_list(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2221: what has ended, of whatever day."""
    del fault
    protocol = Protocol.GET_HISTORY_ORDER_LIST
    return _listed(simulation, request, protocol, lambda order: not order.last.status.is_open)


def place_order(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2202."""
    c2s = request.c2s
    refuse_replay(simulation, c2s.packetID)
    trading_account(c2s.header)
    asked = read_order(simulation, c2s)
    with simulation.writing():
        try:
            placed = simulation.exchange.place(asked, fault=fault)
        except OrderRejected as e:
            raise refusal(e) from e
    found = next(o for o in simulation.book() if o.last.broker_order_id == placed.broker_order_id)
    return _written(Protocol.PLACE_ORDER, c2s.header, found.order_id)


def modify_order(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2205: change or cancel one order, which keeps its id, or cancel all."""
    c2s = request.c2s
    refuse_replay(simulation, c2s.packetID)
    trading_account(c2s.header)
    if c2s.modifyOrderOp not in {_NORMAL, _CANCEL}:
        raise Refused("Paper trading supports only to modify and to cancel")
    if c2s.forAll:
        _cancel(simulation, [o for o in simulation.book() if o.last.status.is_open], fault)
        return _written(Protocol.MODIFY_ORDER, c2s.header, "0")
    order = _named(simulation, c2s)
    if not order.last.status.is_open:
        raise Refused("The order cannot be modified or cancelled in its present status")
    if c2s.modifyOrderOp == _CANCEL:
        _cancel(simulation, [order], fault)
    else:
        _change(simulation, c2s, order, fault)
    return _written(Protocol.MODIFY_ORDER, c2s.header, order.order_id)


def get_max_trd_qtys(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2111: whole lots, fees included."""
    del fault
    c2s, answer = request.c2s, response(Protocol.GET_MAX_TRD_QTYS)
    trading_account(c2s.header)
    described = simulation.market.instrument(symbol_of(c2s.code))
    if described is None:
        raise Refused(f"Unknown stock {c2s.code}")
    power, price = simulation.exchange.account().buying_power, Decimal(repr(c2s.price))
    lots = int(power / price) // described.lot_size
    while lots and _cost(lots * described.lot_size, price, simulation.clock.now()) > power:
        lots -= 1
    held = [p for p in simulation.exchange.positions() if p.symbol == described.symbol]
    answer.s2c.header.CopyFrom(c2s.header)
    most = answer.s2c.maxTrdQtys
    most.maxCashBuy = most.maxCashAndMarginBuy = float(lots * described.lot_size)
    most.maxPositionSell = float(sum(p.available for p in held))
    return answer


def not_on_paper(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2005, 2211, 2222, 2225, 2226: what only real accounts have."""
    del simulation, request, fault
    raise Refused("Paper trading does not support this request")


def _ours(simulation: Simulation, fault: Fault | None) -> list[Any]:
    held = simulation.exchange.positions(fault=fault)
    rows = [_row(simulation, position) for position in held]
    gone = {order.last.symbol for order in simulation.book() if order.dealt}
    return rows + [
        messages.Position(
            positionID=_position_id(symbol),
            positionSide=0,
            code=wire_code(symbol),
            name=f"Stock {symbol}",
            qty=0.0,
            canSellQty=0.0,
            price=0.0,
            val=0.0,
            plVal=0.0,
            secMarket=1,
            trdMarket=HK,
        )
        for symbol in sorted(gone - {position.symbol for position in held})
    ]


def _row(simulation: Simulation, position: Position) -> Any:
    """Return one holding; a ratio goes over the wire as a fraction, the client makes per cent of it."""
    described = simulation.market.instrument(position.symbol)
    quantity, cost = position.quantity, position.average_price
    price = position.market_price or cost
    profit = (price - cost) * quantity
    return messages.Position(
        positionID=_position_id(position.symbol),
        positionSide=0,
        code=wire_code(position.symbol),
        name=described.name if described else position.symbol,
        qty=float(quantity),
        canSellQty=float(position.available),
        price=float(price),
        costPrice=float(cost),
        dilutedCostPrice=float(cost),
        val=float(price * quantity),
        plVal=float(profit),
        plRatio=float((price - cost) / cost),
        secMarket=1,
        trdMarket=HK,
        currency=1,
    )


def _somebodys(account: TradingAccount) -> list[Any]:
    market = account.markets[0]
    return [
        messages.Position(
            positionID=_position_id(code),
            positionSide=0,
            code=code,
            name=code,
            qty=float(quantity),
            canSellQty=float(quantity),
            price=100.0,
            costPrice=90.0,
            val=100.0 * quantity,
            plVal=10.0 * quantity,
            secMarket=market,
            trdMarket=market,
        )
        for code, quantity in (account.held or {}).items()
    ]


def _position_id(symbol: str) -> int:
    return 5_000_000_000_000_000_000 + crc32(symbol.encode())


def _listed(
    simulation: Simulation,
    request: Request,
    protocol: Protocol,
    is_listed: Callable[[ShownOrder], bool],
) -> Any:
    c2s, answer = request.c2s, response(protocol)
    account = account_of(c2s.header)
    answer.s2c.header.CopyFrom(c2s.header)
    for order in reversed(simulation.book() if account == PAPER else []):
        message = simulation.order_message(order)
        if is_listed(order) and _is_asked_for(message, c2s):
            answer.s2c.orderList.append(message)
    return answer


def _is_asked_for(message: Any, c2s: Any) -> bool:
    wanted = c2s.filterConditions
    return (
        (not wanted.codeList or message.code in wanted.codeList)
        and (not wanted.orderIDExList or message.orderIDEx in wanted.orderIDExList)
        and (not wanted.idList or message.orderID in wanted.idList)
        and (not wanted.beginTime or message.createTime >= wanted.beginTime)
        and (not wanted.endTime or message.createTime <= wanted.endTime)
        and wanted.filterMarket in {0, HK}
        and (not c2s.filterStatusList or message.orderStatus in c2s.filterStatusList)
    )


def _named(simulation: Simulation, c2s: Any) -> ShownOrder:
    wanted = c2s.orderIDEx or str(c2s.orderID)
    found = [order for order in simulation.book() if order.order_id == wanted]
    if not found:
        raise Refused(f"The order {wanted} does not exist")
    return found[0]


def _change(simulation: Simulation, c2s: Any, order: ShownOrder, fault: Fault | None) -> None:
    asked = read_change(simulation, c2s, order)
    with simulation.writing():
        try:
            simulation.exchange.replace(asked, fault=fault)
        except OrderRejected as e:
            raise refusal(e) from e


def _cancel(simulation: Simulation, orders: list[ShownOrder], fault: Fault | None) -> None:
    with simulation.writing():
        for order in orders:
            try:
                simulation.exchange.cancel(order.last.broker_order_id, fault=fault)
            except OrderRejected as e:
                raise refusal(e) from e


def _written(protocol: Protocol, header: Any, order_id: str) -> Any:
    answer = response(protocol)
    answer.s2c.header.CopyFrom(header)
    answer.s2c.orderID, answer.s2c.orderIDEx = int(order_id), order_id
    return answer


def _cost(quantity: int, price: Decimal, now: datetime) -> Decimal:
    fees = fees_for_fill("HKD", side=Side.BUY, quantity=quantity, price=price, on=now.date())
    return price * quantity + sum((fee.amount for fee in fees), Decimal(0))
