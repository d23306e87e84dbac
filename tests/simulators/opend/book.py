"""Orders as OpenD shows them: one id for life, though the exchange behind takes a new order for every change.

What the exchange knows as the client's id carries everything that OpenD remembers of an order: a number that
all parts of one order share, the part's place, and the remark, which need not be unique.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from brokers.matching import BookOrder
from shared.models import OrderStatus, OrderType, Side
from tests.simulators.opend.accounts import HK
from tests.simulators.opend.market import HongKong, wire_code
from tests.simulators.opend.messages import trading

_FIRST_ID = 6_912_345_678_901_234_001
"""Beyond what a double holds: read as a number, neighbours become one."""
_ID_STEP = 7
WAITING_SUBMIT, SUBMITTED, TIMED_OUT = 1, 5, 4
FILLED_PART, FILLED_ALL = 10, 11
CANCELLING_PART, CANCELLING_ALL, CANCELLED_PART, CANCELLED_ALL = 12, 13, 14, 15
FAILED, FILL_CANCELLED = 21, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOrder:
    """An order with all that it was before it was changed."""

    parts: tuple[BookOrder, ...]
    """Oldest first; only the last can be open."""
    remark: str

    @property
    def order_id(self) -> str:
        """The number, as text, by which OpenD knows it."""
        return str(_FIRST_ID + _ID_STEP * self.parts[0].sequence)

    @property
    def last(self) -> BookOrder:
        """What the exchange has of it now."""
        return self.parts[-1]

    @property
    def dealt(self) -> int:
        """Shares filled in all parts."""
        return sum(part.filled_quantity for part in self.parts)

    @property
    def quantity(self) -> int:
        """Shares in all, filled ones included."""
        return self.last.quantity + self.dealt - self.last.filled_quantity

    @property
    def average_price(self) -> Decimal:
        """Price per share that was filled; 0 where none was, as on the wire."""
        value = sum((part.filled_value for part in self.parts), Decimal(0))
        return value / self.dealt if self.dealt else Decimal(0)

    def status(self, market: HongKong, now: datetime) -> int:
        """Return the state by `Trd_Common.OrderStatus`; expired counts as cancelled."""
        is_part = self.dealt > 0
        match self.last.status:
            case OrderStatus.FILLED:
                return FILLED_ALL
            case OrderStatus.CANCEL_PENDING:
                return CANCELLING_PART if is_part else CANCELLING_ALL
            case OrderStatus.CANCELED | OrderStatus.EXPIRED | OrderStatus.REPLACED:
                return CANCELLED_PART if is_part else CANCELLED_ALL
            case OrderStatus.REJECTED:
                return FAILED
            case _ if is_part:
                return FILLED_PART
            case _:
                has_waited = market.has_been_open(self.last.submitted_at, now)
                return SUBMITTED if has_waited else WAITING_SUBMIT

    def message(self, market: HongKong, now: datetime, status: int | None) -> Any:
        """Return it as OpenD sends it; another status than the true one where one is given."""
        first, last = self.parts[0], self.last
        described = market.instrument(first.symbol)
        return trading.Order(
            trdSide=1 if first.side is Side.BUY else 2,
            orderType=1 if first.order_type is OrderType.LIMIT else 2,
            orderStatus=self.status(market, now) if status is None else status,
            orderID=int(self.order_id),
            orderIDEx=self.order_id,
            code=wire_code(first.symbol),
            name=described.name if described else first.symbol,
            qty=float(self.quantity),
            price=float(last.limit_price or 0),
            createTime=local_time(market, first.submitted_at),
            updateTime=local_time(market, last.updated_at),
            fillQty=float(self.dealt),
            fillAvgPrice=float(self.average_price),
            lastErrMsg=last.reject_reason or "",
            secMarket=1,
            createTimestamp=first.submitted_at.timestamp(),
            updateTimestamp=last.updated_at.timestamp(),
            remark=self.remark,
            timeInForce=0,
            fillOutsideRTH=False,
            currency=1,
            trdMarket=HK,
        )


def client_id(number: int, part: int, remark: str) -> str:
    """Return the id by which the exchange knows a part of an order."""
    return f"{number}.{part}|{remark}"


def number_of(order: BookOrder) -> str:
    """Return what all parts of an order share; an order that nobody sent here has its own id for it."""
    return order.client_order_id.partition("|")[0].partition(".")[0]


def shown(orders: Iterable[BookOrder]) -> list[ShownOrder]:
    """Put the parts of each order together; oldest order first."""
    parts: dict[str, list[BookOrder]] = {}
    for order in sorted(orders, key=lambda order: order.sequence):
        parts.setdefault(number_of(order), []).append(order)
    return [
        ShownOrder(parts=tuple(own), remark=own[0].client_order_id.partition("|")[2])
        for own in parts.values()
    ]


def local_time(market: HongKong, moment: datetime) -> str:
    """Return a moment as OpenD writes it, in the exchange's time."""
    return moment.astimezone(market.calendar.timezone).strftime("%Y-%m-%d %H:%M:%S")
