"""Whether the order fits the account: value, shares of equity, number, exposure, risk, cash.

What is pending counts as if it had filled; what somebody else holds in the account counts too.
"""

from collections.abc import Iterator
from decimal import Decimal

from rules.case import Case, pending_buys, pending_value, reason
from rules.codes import Code
from shared.models import OrderStatus, Position, Reason, Side


def no_sale_rests(case: Case) -> Iterator[Reason]:
    """A broker takes a purchase against one's own resting sale for a wash trade."""
    for order in case.snapshot.open_orders:
        if (
            order.symbol == case.request.symbol
            and order.side is Side.SELL
            and order.status.is_open
            and order.status is not OrderStatus.HELD
        ):
            yield reason(
                Code.OPPOSITE_ORDER,
                f"a sale of {order.remaining_quantity} {order.symbol} rests already",
            )
            return


def nothing_is_added_without_a_stop(case: Case) -> Iterator[Reason]:
    """Where no stop rests a position has one level, that of its first entry: more would not have its own."""
    if case.snapshot.stops_rest_at_broker:
        return
    held, symbol = case.snapshot.position(case.request.symbol), case.request.symbol
    if (held is not None and held.quantity) or pending_buys(case, symbol):
        yield reason(
            Code.ALREADY_HELD, f"{symbol} is held or on order, and is not added to at this broker"
        )


def position_value_is_within(case: Case) -> Iterator[Reason]:
    """In money, and as a share of equity."""
    if case.price is None:
        return
    symbol, limits, equity = case.request.symbol, case.limits, case.snapshot.account.equity
    held = case.snapshot.position(symbol)
    value = case.request.quantity * case.price + pending_value(case, symbol)
    if held is not None:
        value += held.quantity * max(case.price, _dearest(held))
    if value > limits.max_position_value:
        yield reason(
            Code.POSITION_VALUE,
            f"the position in {symbol} may be worth at most {limits.max_position_value}"
            f" {limits.currency}, would be {value}",
        )
    if value > equity * limits.max_position_equity_pct / 100:
        yield reason(
            Code.POSITION_SHARE,
            f"the position in {symbol} may be {limits.max_position_equity_pct} % of the equity"
            f" {equity}, would be {value}",
        )


def position_count_is_within(case: Case) -> Iterator[Reason]:
    """Symbols held or on order, this one included."""
    symbols = {held.symbol for held in case.snapshot.positions if held.quantity}
    symbols |= {order.symbol for order in pending_buys(case)}
    symbols.add(case.request.symbol)
    if len(symbols) > case.limits.max_positions:
        yield reason(
            Code.POSITION_COUNT,
            f"at most {case.limits.max_positions} positions may be open or on order, would be"
            f" {len(symbols)}",
        )


def gross_exposure_is_within(case: Case) -> Iterator[Reason]:
    """Everything held and on order, whoever bought it, against equity."""
    if case.price is None:
        return
    limits, equity = case.limits, case.snapshot.account.equity
    held = sum((abs(p.quantity) * _dearest(p) for p in case.snapshot.positions), Decimal(0))
    exposure = held + pending_value(case) + case.request.quantity * case.price
    if exposure > equity * limits.max_gross_exposure_pct / 100:
        yield reason(
            Code.GROSS_EXPOSURE,
            f"everything held and on order may be {limits.max_gross_exposure_pct} % of the equity"
            f" {equity}, would be {exposure}",
        )


def trade_risk_is_within(case: Case) -> Iterator[Reason]:
    """What is lost if the stop is hit, against equity."""
    price, stop = case.price, case.request.stop_loss
    if price is None or stop is None or stop >= price:
        return
    risk, equity = case.request.quantity * (price - stop), case.snapshot.account.equity
    if risk > equity * case.limits.max_trade_risk_pct / 100:
        yield reason(
            Code.TRADE_RISK,
            f"the loss at the stop may be {case.limits.max_trade_risk_pct} % of the equity"
            f" {equity}, would be {risk}",
        )


def cash_suffices(case: Case) -> Iterator[Reason]:
    """Cash after pending purchases; no margin."""
    if case.price is None:
        return
    account = case.snapshot.account
    available = min(account.cash - pending_value(case), account.buying_power)
    cost = case.request.quantity * case.price
    if cost > available:
        yield reason(
            Code.CASH,
            f"{cost} {account.currency} is needed, {available} is free after open buy orders",
        )


def _dearest(held: Position) -> Decimal:
    return max(held.average_price, held.market_price or Decimal(0))
