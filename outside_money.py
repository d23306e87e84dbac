"""Tells money that came from outside from what trading earned: dividends, interest, deposits, fees.

The day's cash is measured from what it began with, less what the broker says was traded, by whoever.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal

from brokers.base import Broker
from shared import log
from shared.database import cycles, positions
from shared.database.connection import Connection
from shared.errors import BrokerUnavailable
from shared.ledger import ZERO, cash_flow, money_from_outside, unlisted_fill
from shared.models import Fill, Order

logger = log.get(__name__)

_TRIES = 3


async def money_since_start(
    connection: Connection,
    broker: Broker,
    *,
    agent_id: str,
    session_date: date,
    zone: tzinfo,
) -> Decimal:
    """Return what the session's cash gained from outside; the session's first call sets the mark.

    The mark is the cash before the day's fills, so that it does not matter when in the day it is set.
    Zero where the broker cannot be read without something being traded meanwhile: nothing is excused
    by what is not known.
    """
    began_at = datetime.combine(session_date, time.min, zone).astimezone(UTC)
    try:
        read = await _cash_and_orders(broker, began_at)
    except BrokerUnavailable as error:
        logger.warning("money_from_outside_not_known", why=str(error))
        return ZERO
    if read is None:
        return ZERO
    cash, orders = read
    known = await positions.fills_since(connection, agent_id, began_at)
    fills = fills_of_the_day(orders, known, began_at)
    before = cash - sum((cash_flow(fill) for fill in fills), ZERO)
    start = await cycles.starting_cash(
        connection, agent_id=agent_id, session_date=session_date, cash=before
    )
    if start is None:
        return ZERO
    return money_from_outside(starting_cash=start, cash_now=cash, fills=fills)


def fills_of_the_day(
    orders: Iterable[Order], known: Iterable[Fill], began_at: datetime
) -> tuple[Fill, ...]:
    """Return each fill since then once: as the broker lists it, else as we know it.

    Of an order whose fills the broker does not list, what its total has beyond those known is one more.
    """
    found = {fill.fill_id: fill for fill in known}
    recorded = tuple(found.values())
    for order in orders:
        for fill in order.fills:
            if fill.at >= began_at:
                found[fill.fill_id] = fill
        if order.updated_at >= began_at and order.average_fill_price is not None:
            of_order = [one for one in recorded if one.broker_order_id == order.broker_order_id]
            total = unlisted_fill(
                order,
                known_quantity=sum(one.quantity for one in of_order),
                known_value=sum((one.price * one.quantity for one in of_order), ZERO),
                known_fees=_charged(of_order),
            )
            found |= {} if total is None else {total.fill_id: total}
    return tuple(found.values())


def _charged(fills: Iterable[Fill]) -> dict[str, Decimal]:
    charged: dict[str, Decimal] = {}
    for fill in fills:
        for fee in fill.fees:
            charged[fee.name] = charged.get(fee.name, ZERO) + fee.amount
    return charged


async def _cash_and_orders(
    broker: Broker, began_at: datetime
) -> tuple[Decimal, tuple[Order, ...]] | None:
    """Read cash and orders of one moment; None where that did not work out."""
    for _ in range(_TRIES):
        before = await broker.account()
        orders = await broker.orders(only_open=False, since=began_at)
        after = await broker.account()
        if before.cash.is_finite() and before.cash == after.cash:
            return after.cash, orders
    return None
