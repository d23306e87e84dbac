"""What OpenD's messages say, in our own words.

Pure. Nothing is assumed: a field that is not there is never 0, and a number that stands for a word that is
not known is Unreadable. Fractions arrive as doubles and become the decimal that was meant.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from brokers.fees import fees_for_fill
from shared.models import (
    Account,
    Environment,
    Fee,
    InstrumentKind,
    MarketClock,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Side,
    TimeInForce,
    TradingDay,
)
from shared.opend_symbols import canonical_symbol
from shared.unreadable import Unreadable

Message = Any
"""A protobuf message of OpenD's definitions, whole."""

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
SIMULATE, MARKET_HK, SECURITIES_HK = 0, 1, 1
PRICE_STEP = Decimal("0.001")
"""OpenD's own precision for prices and money; it cuts off what is behind."""

_STOCKS = frozenset({1, 4})
"""Kinds of paper accounts that hold stocks."""
_DISABLED = 1
_SHORT = 1
_CURRENCIES = {1: "HKD", 2: "USD", 3: "CNH", 4: "JPY", 5: "SGD", 6: "AUD", 7: "CAD", 8: "MYR"}
_SIDES = {1: Side.BUY, 2: Side.SELL, 3: Side.SELL, 4: Side.BUY}
_ORDER_TYPES = {
    1: OrderType.LIMIT,
    2: OrderType.MARKET,
    **dict.fromkeys((5, 7, 8, 9), OrderType.LIMIT),
    6: OrderType.MARKET,
    **dict.fromkeys((10, 11), OrderType.STOP),
}
_TIMES_IN_FORCE = {0: TimeInForce.DAY, 1: TimeInForce.GTC}
_STATUSES = {
    # Not known, not sent, waiting, being sent, timed out, sent. OpenD does not know what became of the first
    # and of one that timed out: it may be at the exchange, so it counts as working until OpenD says more.
    **dict.fromkeys((-1, 0, 1, 2, 4, 5), OrderStatus.ACCEPTED),
    **dict.fromkeys((3, 21), OrderStatus.REJECTED),
    10: OrderStatus.PARTIALLY_FILLED,
    11: OrderStatus.FILLED,
    **dict.fromkeys((12, 13), OrderStatus.CANCEL_PENDING),
    **dict.fromkeys((14, 15, 23), OrderStatus.CANCELED),
    22: OrderStatus.EXPIRED,
    24: OrderStatus.CANCELED,
}
_FILL_CANCELLED = 24
_CONTINUOUS = frozenset({3, 5})
_LAST_MARKET_STATE = 37
_DAYS = {0: TradingDay.WHOLE, 1: TradingDay.MORNING, 2: TradingDay.AFTERNOON}


@dataclass(frozen=True, slots=True)
class Fields:
    """One message, read field by field; what is not there is None only where that is asked for."""

    what: str
    message: Message

    def has(self, name: str) -> bool:
        """Whether a field is there."""
        return bool(self.message.HasField(name))

    def number(self, name: str) -> Decimal:
        """Return a finite number, with the digits that its double was written with."""
        value = self._value(name)
        if not math.isfinite(value):
            raise self.wrong(name)
        return Decimal(repr(value))

    def optional_number(self, name: str) -> Decimal | None:
        """Return a number, or None where there is none."""
        return self.number(name) if self.has(name) else None

    def money(self, name: str) -> Decimal:
        """Return an amount or a price, to OpenD's precision."""
        return self.number(name).quantize(PRICE_STEP)

    def shares(self, name: str) -> int:
        """Return a number of shares, which is whole and not below 0."""
        value = self.number(name)
        if value < 0 or value != value.to_integral_value():
            raise self.wrong(name)
        return int(value)

    def text(self, name: str) -> str:
        """Return text that is there."""
        value = str(self._value(name))
        if not value.strip() or value == "N/A":
            raise self.wrong(name)
        return value

    def optional_text(self, name: str) -> str | None:
        """Return text, or None where there is none."""
        return (str(getattr(self.message, name)) or None) if self.has(name) else None

    def moment(self, name: str, written: str) -> datetime:
        """Return a time from its timestamp, or from the exchange's time as it is written."""
        stamp = self.optional_number(name)
        try:
            if stamp:
                return datetime.fromtimestamp(float(stamp), UTC)
            local = datetime.fromisoformat(self.text(written))
            return local.replace(tzinfo=HONG_KONG).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            raise self.wrong(written) from None

    def symbol(self) -> str:
        """Return the symbol of a code."""
        try:
            return canonical_symbol(self.text("code"))
        except ValueError:
            raise self.wrong("code") from None

    def wrong(self, name: str) -> Unreadable:
        """Say that a field cannot be what it is."""
        shown = repr(getattr(self.message, name))[:60] if self.has(name) else "nothing"
        return Unreadable(f"{name} of OpenD's {self.what} cannot be {shown}")

    def _value(self, name: str) -> Any:
        if not self.has(name):
            raise self.wrong(name)
        return getattr(self.message, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperAccount:
    """The account that is traded in."""

    account_id: int
    blocked: bool


def paper_accounts(rows: Iterable[Message]) -> tuple[PaperAccount, ...]:
    """Return every account for Hong Kong's stocks on paper, by what OpenD says of each and never by its place."""
    return tuple(
        PaperAccount(account_id=row.accID, blocked=row.accStatus == _DISABLED)
        for row in rows
        if row.trdEnv == SIMULATE
        and row.HasField("simAccType")
        and row.simAccType in _STOCKS
        and MARKET_HK in row.trdMarketAuthList
    )


def require_account(said: Message, account_id: int) -> None:
    """Refuse an answer about another account than the one that was asked for."""
    header = said.header
    if (header.trdEnv, header.accID, header.trdMarket) != (SIMULATE, account_id, MARKET_HK):
        raise Unreadable(
            f"asked for paper account {account_id}, OpenD answered for {header.accID}"
            f" in environment {header.trdEnv} and market {header.trdMarket}"
        )


def account(said: Message, known: PaperAccount, *, currency: str, at: datetime) -> Account:
    """Return the account."""
    require_account(said, known.account_id)
    if not said.HasField("funds"):
        raise Unreadable("OpenD's answer about money has none")
    funds = Fields("money", said.funds)
    _require_currency(funds, currency)
    return Account(
        account_id=str(known.account_id),
        environment=Environment.PAPER,
        currency=currency,
        cash=funds.money("cash"),
        equity=funds.money("totalAssets"),
        buying_power=funds.money("power"),
        at=at,
        blocked=known.blocked,
    )


def positions(said: Message, known: PaperAccount, *, currency: str) -> tuple[Position, ...]:
    """Return every holding; OpenD keeps a row of 0 shares for each that was sold."""
    require_account(said, known.account_id)
    rows = (Fields("position", row) for row in said.positionList)
    return tuple(_position(row, currency) for row in rows if row.number("qty"))


def order(row: Message, *, currency: str, kind: InstrumentKind = InstrumentKind.STOCK) -> Order:
    """Return an order with the charges on what has filled, worked out: OpenD states none on paper."""
    fields = Fields("order", row)
    _require_hong_kong(fields)
    number, order_type = row.orderStatus, _ORDER_TYPES.get(row.orderType)
    side, status = _SIDES.get(row.trdSide), _STATUSES.get(number)
    if side is None:
        raise fields.wrong("trdSide")
    if order_type is None:
        raise fields.wrong("orderType")
    if status is None:
        raise fields.wrong("orderStatus")
    quantity, filled = fields.shares("qty"), fields.shares("fillQty")
    submitted_at = fields.moment("createTimestamp", "createTime")
    average = _average_price(fields, filled)
    found = Order(
        broker_order_id=fields.text("orderIDEx"),
        client_order_id=fields.optional_text("remark"),
        symbol=fields.symbol(),
        side=side,
        order_type=order_type,
        time_in_force=_time_in_force(fields),
        quantity=quantity,
        status=_with_fills(status, filled, fields, quantity),
        submitted_at=submitted_at,
        updated_at=max(submitted_at, fields.moment("updateTimestamp", "updateTime")),
        limit_price=_price(fields, "price") if order_type is OrderType.LIMIT else None,
        stop_price=_price(fields, "auxPrice") if order_type is OrderType.STOP else None,
        filled_quantity=filled,
        average_fill_price=average,
        reject_reason=_reason(fields, number),
    )
    if average is None:
        return found
    on = submitted_at.astimezone(HONG_KONG).date()
    return replace(found, fees=_fees(currency, found, average, on, kind))


def market_clock(said: Message, day: TradingDay | None) -> MarketClock:
    """Return whether continuous trading goes on: not in lunch, and in no auction."""
    state = said.marketHK
    if not 0 <= state <= _LAST_MARKET_STATE:
        raise Unreadable(f"marketHK of OpenD's state cannot be {state}")
    return MarketClock(is_open=state in _CONTINUOUS, at=server_time(said), day=day)


def server_time(said: Message) -> datetime:
    """Return the time at moomoo."""
    try:
        if said.time > 0:
            return datetime.fromtimestamp(said.time, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Unreadable(f"time of OpenD's state cannot be {said.time}")


def trading_day(said: Message, on: date) -> TradingDay:
    """Return how much of a date is traded; one that is not listed is not traded."""
    rows = [row for row in said.tradeDateList if row.time[:10] == on.isoformat()]
    if not rows:
        return TradingDay.NONE
    fields = Fields("trade date", rows[0])
    found = _DAYS.get(rows[0].tradeDateType) if fields.has("tradeDateType") else None
    if found is None:
        raise fields.wrong("tradeDateType")
    return found


def _position(fields: Fields, currency: str) -> Position:
    _require_hong_kong(fields)
    _require_currency(fields, currency)
    sign = -1 if fields.message.positionSide == _SHORT else 1
    quantity = fields.number("qty") * sign
    cost = fields.optional_number("dilutedCostPrice")
    cost = fields.optional_number("costPrice") if cost is None else cost
    if cost is None:
        raise fields.wrong("dilutedCostPrice")
    price = fields.money("price")
    return Position(
        symbol=fields.symbol(),
        quantity=_plain(quantity),
        available=_plain(fields.number("canSellQty")),
        average_price=cost,
        currency=currency,
        market_price=price if price > 0 else None,
    )


def _average_price(fields: Fields, filled: int) -> Decimal | None:
    """Return what a share cost; the double is near a sum of prices of three decimals, which is taken."""
    if not filled:
        return None
    average = fields.number("fillAvgPrice")
    if average <= 0:
        raise fields.wrong("fillAvgPrice")
    return (average * filled).quantize(PRICE_STEP) / filled


def _with_fills(status: OrderStatus, filled: int, fields: Fields, quantity: int) -> OrderStatus:
    """Hold a status against what has filled: one that contradicts it is not believed."""
    is_contradicted = (
        filled > quantity
        or (status is OrderStatus.FILLED and filled != quantity)
        or (status is OrderStatus.PARTIALLY_FILLED and not filled)
    )
    if is_contradicted:
        raise fields.wrong("fillQty")
    if status is OrderStatus.ACCEPTED and filled:
        return OrderStatus.PARTIALLY_FILLED
    return OrderStatus.CANCELED if status is OrderStatus.REJECTED and filled else status


def _fees(
    currency: str, found: Order, average: Decimal, on: date, kind: InstrumentKind
) -> tuple[Fee, ...]:
    return fees_for_fill(
        currency,
        side=found.side,
        quantity=found.filled_quantity,
        price=average,
        on=on,
        kind=kind,
    )


def _time_in_force(fields: Fields) -> TimeInForce:
    if not fields.has("timeInForce"):
        return TimeInForce.DAY  # a paper account has no other
    found = _TIMES_IN_FORCE.get(fields.message.timeInForce)
    if found is None:
        raise fields.wrong("timeInForce")
    return found


def _price(fields: Fields, name: str) -> Decimal:
    price = fields.money(name)
    if price <= 0:
        raise fields.wrong(name)
    return price


def _reason(fields: Fields, status: int) -> str | None:
    said = fields.optional_text("lastErrMsg")
    if status != _FILL_CANCELLED:
        return said
    return f"the exchange took its fill back{': ' if said else ''}{said or ''}"


def _require_hong_kong(fields: Fields) -> None:
    for name, wanted in (("secMarket", SECURITIES_HK), ("trdMarket", MARKET_HK)):
        if fields.has(name) and getattr(fields.message, name) != wanted:
            raise fields.wrong(name)


def _require_currency(fields: Fields, currency: str) -> None:
    """Refuse money of another currency; an account that has only one need not say it."""
    number = fields.message.currency if fields.has("currency") else 0
    if number and _CURRENCIES.get(number) != currency:
        said = _CURRENCIES.get(number, f"currency {number}")
        raise Unreadable(f"OpenD's {fields.what} is in {said}, this account is kept in {currency}")


def _plain(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value
