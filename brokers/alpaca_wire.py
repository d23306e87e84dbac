"""What Alpaca's JSON says, in our own words.

Pure. Nothing is assumed: a field that is missing, null where it may not be, or of a value that is not
known is Unreadable. Prices and money arrive as text and become Decimal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar, cast
from uuid import UUID

from shared.models import (
    Account,
    Environment,
    Fill,
    Instrument,
    InstrumentKind,
    MarketClock,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Side,
    TickBand,
    TimeInForce,
    utc,
)
from shared.unreadable import Unreadable

_Word = TypeVar("_Word")

CURRENCY = "USD"
"""Of every US equity; orders, positions and assets do not say it themselves."""

TICKS = (
    TickBand(from_price=Decimal(0), tick=Decimal("0.0001")),
    TickBand(from_price=Decimal(1), tick=Decimal("0.01")),
)
"""The steps of rule 612, which Alpaca enforces and no asset states."""


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, read field by field."""

    what: str
    values: Mapping[str, object]

    @classmethod
    def of(cls, what: str, body: object) -> "Fields":
        """Take a body that has to be an object."""
        if not isinstance(body, dict):
            raise Unreadable(f"Alpaca's {what} is no object")
        return cls(what, cast("Mapping[str, object]", body))

    def text(self, name: str) -> str:
        """Return text that is there."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name)
        return value

    def optional_text(self, name: str) -> str | None:
        """Return text, or None where there is none."""
        return None if self.values.get(name) in {None, ""} else self.text(name)

    def number(self, name: str) -> Decimal:
        """Return a finite number, which Alpaca writes as text and in places as a number."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise self._wrong(name)
        try:
            found = Decimal(value)
        except InvalidOperation:
            raise self._wrong(name) from None
        if not found.is_finite():
            raise self._wrong(name)
        return found

    def optional_number(self, name: str) -> Decimal | None:
        """Return a number, or None where there is none."""
        return None if self.values.get(name) is None else self.number(name)

    def flag(self, name: str) -> bool:
        """Return yes or no."""
        value = self.values.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def moment(self, name: str) -> datetime:
        """Return a time in UTC, to the microsecond."""
        try:
            return utc(datetime.fromisoformat(self.text(name)))
        except ValueError:
            raise self._wrong(name) from None

    def _wrong(self, name: str) -> Unreadable:
        value = self.values.get(name)
        shown = "nothing" if value is None else repr(value)[:60]
        return Unreadable(f"{name} of Alpaca's {self.what} cannot be {shown}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One order as Alpaca lists it, and what it is to others."""

    order: Order
    is_simple: bool
    group_id: str | None
    """Shared by all orders that came together, and by those that replaced them."""
    is_first: bool
    """Whether the others of its group are its legs."""
    replaces: str | None
    filled: Decimal
    """What Alpaca says has filled, fractions included."""
    legs: tuple["Row", ...] = ()


def rows(body: object) -> Sequence[object]:
    """Return a body that has to be a list."""
    if not isinstance(body, list):
        raise Unreadable("Alpaca answered with something that is no list")
    return cast("list[object]", body)


def account(body: object, *, environment: Environment, at: datetime) -> Account:
    """Read GET /v2/account; a status that does not clearly trade is a blocked account."""
    said = Fields.of("account", body)
    suspended = said.values.get("trade_suspended_by_user") is True
    return Account(
        account_id=said.text("id"),
        environment=environment,
        currency=said.text("currency"),
        cash=said.number("cash"),
        equity=said.number("equity"),
        buying_power=said.number("buying_power"),
        at=at,
        blocked=suspended
        or said.flag("account_blocked")
        or said.flag("trading_blocked")
        or said.text("status") not in _TRADING_STATUSES,
    )


def position(body: object) -> Position:
    """Read one holding; short ones are negative."""
    said = Fields.of("position", body)
    sign = {"long": 1, "short": -1}.get(said.text("side"))
    if sign is None:
        raise Unreadable(f"side of Alpaca's position cannot be {said.text('side')!r}")
    return Position(
        symbol=said.text("symbol"),
        quantity=sign * abs(said.number("qty")),
        available=sign * abs(said.number("qty_available")),
        average_price=said.number("avg_entry_price"),
        currency=CURRENCY,
        market_price=said.optional_number("current_price"),
    )


def market_clock(body: object) -> MarketClock:
    """Read GET /v2/clock."""
    said = Fields.of("clock", body)
    return MarketClock(is_open=said.flag("is_open"), at=said.moment("timestamp"))


def instrument(body: object) -> Instrument:
    """Read one asset; only US equities can be traded here."""
    said = Fields.of("asset", body)
    kind = said.text("class")
    is_equity = kind == "us_equity"
    return Instrument(
        symbol=said.text("symbol"),
        name=said.text("name"),
        exchange=said.text("exchange"),
        currency=CURRENCY,
        kind=InstrumentKind.INDEX if kind == "us_index" else InstrumentKind.STOCK,
        lot_size=1,
        ticks=TICKS,
        tradable=is_equity and said.flag("tradable") and said.text("status") == "active",
    )


def fill(body: object) -> Fill | None:
    """Read one execution; None for a part of a share, which no order of ours can have."""
    said = Fields.of("fill", body)
    quantity = said.number("qty")
    if quantity != quantity.to_integral_value():
        return None
    return Fill(
        fill_id=said.text("id"),
        broker_order_id=said.text("order_id"),
        symbol=said.text("symbol"),
        side=_side(said),
        quantity=int(quantity),
        price=said.number("price"),
        at=said.moment("transaction_time"),
    )


def row(body: object, parent_order_id: str | None = None) -> Row:
    """Read one order with the legs that stand in it."""
    said = Fields.of("order", body)
    is_simple = said.optional_text("order_class") in {None, "simple"}
    order_id, role = said.text("id"), said.optional_text("group_role")
    filled = said.number("filled_qty")
    legs = tuple(row(leg, order_id) for leg in rows(said.values.get("legs") or []))
    order = Order(
        broker_order_id=order_id,
        client_order_id=_client_order_id(said, is_simple=is_simple),
        symbol=said.text("symbol"),
        side=_side(said),
        order_type=_known(said, "type", _TYPES),
        time_in_force=_known(said, "time_in_force", _TIMES),
        quantity=_whole_quantity(said, filled),
        status=status_of(said, filled),
        submitted_at=said.moment(_first_of(said, "submitted_at", "created_at")),
        updated_at=said.moment(_first_of(said, "updated_at", "submitted_at")),
        limit_price=said.optional_number("limit_price"),
        stop_price=said.optional_number("stop_price"),
        filled_quantity=math.floor(filled),
        average_fill_price=said.optional_number("filled_avg_price"),
        parent_order_id=parent_order_id,
        replaced_by=said.optional_text("replaced_by"),
        reject_reason=_reject_reason(said),
    )
    is_top = parent_order_id is None and role in {None, "entry", "take_profit"}
    return Row(
        order=replace(order, legs=tuple(leg.order for leg in legs)),
        is_simple=is_simple,
        group_id=said.optional_text("group_id"),
        is_first=role == "entry" or (is_top and said.optional_text("order_class") == "oco"),
        replaces=said.optional_text("replaces"),
        filled=filled,
        legs=legs,
    )


def status_of(said: Fields, filled: Decimal) -> OrderStatus:
    """Translate a status; what has filled in part says so in whichever open state Alpaca has it."""
    word = said.text("status")
    status = _STATUSES.get(word)
    if word == "calculated" and filled == said.optional_number("qty"):
        return OrderStatus.FILLED
    if status is None:
        order_id = said.text("id")
        raise Unreadable(f"Alpaca says of order {order_id} that it is {word!r}: not a known status")
    if status is OrderStatus.ACCEPTED and filled > 0:
        return OrderStatus.PARTIALLY_FILLED
    return status


_STATUSES = {
    "new": OrderStatus.ACCEPTED,
    "accepted": OrderStatus.ACCEPTED,
    "pending_new": OrderStatus.ACCEPTED,
    "accepted_for_bidding": OrderStatus.ACCEPTED,
    "pending_review": OrderStatus.ACCEPTED,
    "pending_replace": OrderStatus.ACCEPTED,
    "stopped": OrderStatus.ACCEPTED,
    "suspended": OrderStatus.ACCEPTED,
    # it trades no more today; how it ended, or that it goes on tomorrow, Alpaca says later
    "done_for_day": OrderStatus.ACCEPTED,
    "calculated": OrderStatus.ACCEPTED,
    "held": OrderStatus.HELD,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "pending_cancel": OrderStatus.CANCEL_PENDING,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
    "replaced": OrderStatus.REPLACED,
    "rejected": OrderStatus.REJECTED,
}
"""Every status of Alpaca's; one that is not here makes the whole answer unreadable."""

_TYPES = {
    "market": OrderType.MARKET,
    "limit": OrderType.LIMIT,
    "stop": OrderType.STOP,
    # only a person orders these; the first rests as a limit when it is triggered and may never sell
    "stop_limit": OrderType.LIMIT,
    "trailing_stop": OrderType.STOP,
}

_TIMES = {
    "day": TimeInForce.DAY,
    "gtc": TimeInForce.GTC,
    # only a person orders these, and they end with the day
    "opg": TimeInForce.DAY,
    "cls": TimeInForce.DAY,
    "ioc": TimeInForce.DAY,
    "fok": TimeInForce.DAY,
}

_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}

_TRADING_STATUSES = frozenset({"ACTIVE", "PAPER_ONLY"})


def _side(said: Fields) -> Side:
    return _known(said, "side", _SIDES)


def _known(said: Fields, name: str, words: Mapping[str, _Word]) -> _Word:
    found = words.get(said.text(name))
    if found is None:
        raise Unreadable(f"{name} of Alpaca's {said.what} cannot be {said.text(name)!r}")
    return found


def _first_of(said: Fields, *names: str) -> str:
    return next((name for name in names if said.values.get(name) is not None), names[0])


def _client_order_id(said: Fields, *, is_simple: bool) -> str | None:
    """Return the id that the sender gave: an order sent without one has a UUID of Alpaca's making."""
    given = said.text("client_order_id")
    return None if is_simple and _is_uuid(given) else given


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _whole_quantity(said: Fields, filled: Decimal) -> int:
    """Return the shares; parts of one, and orders for an amount of money, are rounded up."""
    quantity = said.optional_number("qty")
    return math.ceil(quantity) if quantity is not None else max(1, math.ceil(filled))


def _reject_reason(said: Fields) -> str | None:
    return "Alpaca gives no reason" if said.text("status") == "rejected" else None
