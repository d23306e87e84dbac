"""The safety layer: decides whether an order may be sent, and is the only maker of an ApprovedOrder.

Pure: a request, one snapshot, the limits and the time go in; an approval or every reason against it
comes out. Claude reaches none of it. Rules look only at what they are given: a value that is missing
or not finite is a reason to refuse, never a reason to skip a rule.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import final

from shared.config import LimitSettings, Settings
from shared.models import (
    Environment,
    Instrument,
    Mode,
    Order,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Quote,
    Reason,
    Refusal,
    Side,
    Snapshot,
)

_SEAL = object()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedOrder:
    """An order that passed every rule; brokers accept nothing else, and only this module can make one."""

    request: OrderRequest
    approved_at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        _require_seal(seal)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedCancel:
    """Leave to cancel one order, protective stops included; only this module can give it."""

    broker_order_id: str
    why: str
    approved_at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        _require_seal(seal)


class Code(StrEnum):
    """Why safety refuses: stable names, written to the database and shown to Claude."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> "Code":
        """Give every code the words that documentation shows for it."""
        made = str.__new__(cls, value)
        made._value_ = value
        made.meaning = meaning
        return made

    NOT_FINITE = "NOT_FINITE", "a number that a rule needs is NaN or infinite"
    SIDE_AND_PURPOSE = "SIDE_AND_PURPOSE", "an entry sells, or something else buys"
    MODE = "MODE", "a position would be opened in another mode than trade"
    HALTED = "HALTED", "trading is halted"
    UNRESOLVED_ORDER = "UNRESOLVED_ORDER", "the outcome of an earlier order is not known"
    ACCOUNT = "ACCOUNT", "the account is live, blocked, without equity, or in another currency"
    SYMBOL_NOT_TRADABLE = "SYMBOL_NOT_TRADABLE", "the symbol is unknown, an index, or not tradable"
    SESSION_CLOSED = "SESSION_CLOSED", "the exchange is not in continuous trading"
    QUOTE_MISSING = (
        "QUOTE_MISSING",
        "there is no two-sided quote, or trading in the symbol is halted",
    )
    QUOTE_STALE = "QUOTE_STALE", "the quote is too old, or from the future"
    PRICE_COLLAR = "PRICE_COLLAR", "the limit lies too far from the middle of bid and ask"
    PRICE_MISSING = "PRICE_MISSING", "an entry's type and its limit price do not fit"
    QUANTITY = "QUANTITY", "the quantity is not above 0"
    LOT_SIZE = "LOT_SIZE", "the quantity is not a multiple of the lot"
    TICK_SIZE = "TICK_SIZE", "a price is not a positive multiple of the tick"
    STOP_MISSING = "STOP_MISSING", "an entry has no stop that will rest at the broker"
    STOP_WRONG_SIDE = "STOP_WRONG_SIDE", "the stop is not below the entry and the bid"
    TARGET_MISSING = "TARGET_MISSING", "an entry has no target"
    TARGET_WRONG_SIDE = "TARGET_WRONG_SIDE", "the target is not above the entry"
    REWARD_TO_RISK = "REWARD_TO_RISK", "the target is too near for the distance to the stop"
    OPPOSITE_ORDER = (
        "OPPOSITE_ORDER",
        "a sale of the symbol rests, so a purchase would be a wash trade",
    )
    POSITION_VALUE = "POSITION_VALUE", "the position would be too large, pending buys included"
    POSITION_COUNT = "POSITION_COUNT", "too many positions would be open or on order"
    CASH = "CASH", "cash after pending buys, or buying power, does not suffice"
    NOT_HELD = "NOT_HELD", "more would be sold than is held and available"
    NOT_OPEN = "NOT_OPEN", "the order to be replaced or cancelled is not open"
    PROTECTS_POSITION = "PROTECTS_POSITION", "the order to be cancelled protects a position"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The loosest that any configuration may be, for one currency."""

    max_positions: int
    max_position_value: Decimal


FLOORS = {
    "USD": Floor(max_positions=30, max_position_value=Decimal(10_000)),
    "HKD": Floor(max_positions=10, max_position_value=Decimal(80_000)),
}
"""Twice what the two trading agents are meant to have."""

MIN_RISK_REWARD_FLOOR = Decimal("1.0")
PRICE_COLLAR_PCT_CEILING = Decimal("4.0")
QUOTE_AGE_SECONDS_CEILING = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What every rule looks at: one request in one picture of the world."""

    request: OrderRequest
    snapshot: Snapshot
    limits: LimitSettings
    now: datetime

    @property
    def instrument(self) -> Instrument | None:
        """The instrument asked for, if known."""
        return self.snapshot.instruments.get(self.request.symbol)

    @property
    def quote(self) -> Quote | None:
        """Its quote, if there is one."""
        return self.snapshot.quotes.get(self.request.symbol)

    @property
    def price(self) -> Decimal | None:
        """What a share of this order may cost at most: its limit, or the ask for a market order."""
        if self.request.limit_price is not None:
            return self.request.limit_price
        return self.quote.ask if self.quote else None


Rule = Callable[[Case], Iterator[Reason]]


def review(
    request: OrderRequest, snapshot: Snapshot, limits: LimitSettings, now: datetime
) -> ApprovedOrder | Refusal:
    """Approve the request, or name every reason against it.

    Entries face ENTRY_RULES; anything that sells faces EXIT_RULES only, so that no limit on new risk
    can keep the agent in a position.
    """
    case = Case(request=request, snapshot=snapshot, limits=limits, now=now)
    rules = ENTRY_RULES if request.side is Side.BUY else EXIT_RULES
    reasons = tuple(_numbers_are_finite(case)) or _collect(rules, case)
    if reasons:
        return Refusal(reasons=reasons)
    return ApprovedOrder(request=request, approved_at=now, seal=_SEAL)


def review_cancel(
    broker_order_id: str, *, why: str, snapshot: Snapshot, now: datetime
) -> ApprovedCancel | Refusal:
    """Give leave to cancel an open order, unless it is what protects a position.

    Both legs count as protection: a broker that links them cancels the stop with the target.
    """
    order = next((o for o in snapshot.open_orders if o.broker_order_id == broker_order_id), None)
    if order is None:
        return _refusal(Code.NOT_OPEN, f"order {broker_order_id} is not open at the broker")
    held = snapshot.position(order.symbol)
    if order.side is Side.SELL and held is not None and held.quantity > 0:
        return _refusal(
            Code.PROTECTS_POSITION,
            f"order {broker_order_id} protects {held.quantity} shares of {order.symbol}",
        )
    return ApprovedCancel(broker_order_id=broker_order_id, why=why, approved_at=now, seal=_SEAL)


def on_tick(request: OrderRequest, instrument: Instrument) -> OrderRequest:
    """Put every price of a request on the instrument's tick, never in the agent's favour.

    An entry's limit and any target are rounded down, a stop below the market up, an exit's limit up,
    so that the reward to risk is judged, and never flattered, by the prices that will be sent.
    """
    limit_rounding = ROUND_FLOOR if request.side is Side.BUY else ROUND_CEILING
    return replace(
        request,
        limit_price=_rounded(request.limit_price, instrument, limit_rounding),
        stop_price=_rounded(request.stop_price, instrument, ROUND_CEILING),
        stop_loss=_rounded(request.stop_loss, instrument, ROUND_CEILING),
        take_profit=_rounded(request.take_profit, instrument, ROUND_FLOOR),
    )


def loosened_limits(settings: Settings) -> Sequence[tuple[tuple[str | int, ...], str]]:
    """List every limit in a configuration that is looser than the hard floor: (where, sentence)."""
    limits = settings.limits
    floor = FLOORS.get(limits.currency)
    if floor is None:
        known = ", ".join(FLOORS)
        return [
            (("limits", "currency"), f"no hard limits for {limits.currency}; there are {known}")
        ]
    checks = (
        ("max_positions", limits.max_positions > floor.max_positions, floor.max_positions),
        (
            "max_position_value",
            limits.max_position_value > floor.max_position_value,
            floor.max_position_value,
        ),
        (
            "min_risk_reward",
            limits.min_risk_reward < MIN_RISK_REWARD_FLOOR,
            MIN_RISK_REWARD_FLOOR,
        ),
        (
            "price_collar_pct",
            limits.price_collar_pct > PRICE_COLLAR_PCT_CEILING,
            PRICE_COLLAR_PCT_CEILING,
        ),
        (
            "max_quote_age_seconds",
            limits.max_quote_age_seconds > QUOTE_AGE_SECONDS_CEILING,
            QUOTE_AGE_SECONDS_CEILING,
        ),
    )
    return [
        (
            ("limits", name),
            f"{name} is looser than the hard limit {bound}, was {getattr(limits, name)}",
        )
        for name, loose, bound in checks
        if loose
    ]


def _numbers_are_finite(case: Case) -> Iterator[Reason]:
    """Refuse before any comparison: a NaN or an infinity makes every other rule meaningless.

    A sale is asked only for the numbers that its own rules use.
    """
    request, snapshot, quote = case.request, case.snapshot, case.quote
    numbers: dict[str, Decimal | None] = {
        "limit_price": request.limit_price,
        "stop_price": request.stop_price,
        "stop_loss": request.stop_loss,
        "take_profit": request.take_profit,
    }
    buys = request.side is Side.BUY
    if buys:
        account = snapshot.account
        numbers["equity"], numbers["cash"] = account.equity, account.cash
        numbers["buying power"] = account.buying_power
    if buys and quote is not None:
        numbers["bid"], numbers["ask"] = quote.bid, quote.ask
    for held in snapshot.positions:
        if buys or held.symbol == request.symbol:
            numbers[f"quantity of {held.symbol}"] = held.quantity
            numbers[f"available shares of {held.symbol}"] = held.available
        if buys:
            numbers[f"average price of {held.symbol}"] = held.average_price
            numbers[f"market price of {held.symbol}"] = held.market_price
    for name, number in numbers.items():
        if number is not None and not number.is_finite():
            yield _reason(Code.NOT_FINITE, f"{name} must be a finite number, was {number}")


def _side_fits_purpose(case: Case) -> Iterator[Reason]:
    entry = case.request.purpose is OrderPurpose.ENTRY
    if entry is not (case.request.side is Side.BUY):
        yield _reason(
            Code.SIDE_AND_PURPOSE,
            f"entries buy and everything else sells, was {case.request.side} for {case.request.purpose}",
        )


def _mode_may_open(case: Case) -> Iterator[Reason]:
    if case.snapshot.mode is not Mode.TRADE:
        yield _reason(
            Code.MODE, f"positions are opened in trade mode only, was {case.snapshot.mode}"
        )


def _not_halted(case: Case) -> Iterator[Reason]:
    for why in case.snapshot.halts:
        yield _reason(Code.HALTED, f"trading is halted: {why}")


def _nothing_unresolved(case: Case) -> Iterator[Reason]:
    if case.snapshot.unresolved:
        ids = ", ".join(case.snapshot.unresolved)
        yield _reason(Code.UNRESOLVED_ORDER, f"the outcome of {ids} at the broker is not known")


def _account_is_fit(case: Case) -> Iterator[Reason]:
    account, limits = case.snapshot.account, case.limits
    if account.environment is not Environment.PAPER:
        yield _reason(Code.ACCOUNT, f"only paper accounts trade, was {account.environment}")
    if account.blocked:
        yield _reason(Code.ACCOUNT, f"account {account.account_id} is blocked at the broker")
    if account.equity <= 0:
        yield _reason(Code.ACCOUNT, f"equity must be above 0, was {account.equity}")
    if account.currency != limits.currency:
        yield _reason(
            Code.ACCOUNT,
            f"the account is in {account.currency}, the limits are in {limits.currency}",
        )


def _symbol_is_tradable(case: Case) -> Iterator[Reason]:
    instrument = case.instrument
    if instrument is None:
        yield _reason(Code.SYMBOL_NOT_TRADABLE, f"{case.request.symbol} is not known to the broker")
    elif not instrument.tradable:
        yield _reason(
            Code.SYMBOL_NOT_TRADABLE, f"{instrument.symbol} ({instrument.kind}) cannot be traded"
        )
    elif instrument.currency != case.limits.currency:
        yield _reason(
            Code.SYMBOL_NOT_TRADABLE,
            f"{instrument.symbol} trades in {instrument.currency}, not {case.limits.currency}",
        )


def _session_is_open(case: Case) -> Iterator[Reason]:
    session = case.snapshot.session
    if session is None:
        yield _reason(Code.SESSION_CLOSED, f"there is no session on {case.now:%Y-%m-%d}")
    elif not session.is_open(case.now):
        yield _reason(
            Code.SESSION_CLOSED,
            f"{session.exchange} is open from {session.opens_at:%H:%M} to"
            f" {session.closes_at:%H:%M} UTC, it was {case.now:%H:%M:%S}",
        )


def _quote_is_fresh_and_two_sided(case: Case) -> Iterator[Reason]:
    symbol, quote = case.request.symbol, case.quote
    if quote is None:
        yield _reason(Code.QUOTE_MISSING, f"there is no quote for {symbol}")
        return
    if quote.halted:
        yield _reason(Code.QUOTE_MISSING, f"trading in {symbol} is halted")
    if quote.bid is None or quote.ask is None or not 0 < quote.bid < quote.ask:
        yield _reason(
            Code.QUOTE_MISSING, f"{symbol} has no two-sided quote, was {quote.bid} / {quote.ask}"
        )
    age = (case.now - quote.at).total_seconds()
    if not 0 <= age <= case.limits.max_quote_age_seconds:
        yield _reason(
            Code.QUOTE_STALE,
            f"the quote for {symbol} must be 0 to {case.limits.max_quote_age_seconds:g} seconds"
            f" old, was {age:g}",
        )


def _entry_is_priced(case: Case) -> Iterator[Reason]:
    request = case.request
    is_limit = request.order_type is OrderType.LIMIT
    if request.order_type is OrderType.STOP or is_limit is not (request.limit_price is not None):
        yield _reason(
            Code.PRICE_MISSING,
            f"a limit order has a limit price and a market order none, was {request.order_type}"
            f" with {request.limit_price}",
        )


def _price_is_inside_collar(case: Case) -> Iterator[Reason]:
    price, mid = case.request.limit_price, case.quote.mid if case.quote else None
    if price is None or mid is None or mid <= 0:
        return
    away_pct = abs(price - mid) / mid * 100
    if away_pct > case.limits.price_collar_pct:
        yield _reason(
            Code.PRICE_COLLAR,
            f"the limit must lie within {case.limits.price_collar_pct} % of the middle {mid}, was"
            f" {price} ({away_pct:.2f} %)",
        )


def _quantity_is_whole_lots(case: Case) -> Iterator[Reason]:
    quantity = case.request.quantity
    if quantity <= 0:
        yield _reason(Code.QUANTITY, f"the quantity must be above 0, was {quantity}")
    elif case.instrument is not None and quantity % case.instrument.lot_size:
        yield _reason(
            Code.LOT_SIZE,
            f"the quantity must be a multiple of {case.instrument.lot_size}, was {quantity}",
        )


def _prices_are_on_tick(case: Case) -> Iterator[Reason]:
    request, instrument = case.request, case.instrument
    if instrument is None:
        return
    for name in ("limit_price", "stop_price", "stop_loss", "take_profit"):
        price: Decimal | None = getattr(request, name)
        if price is None:
            continue
        if price <= 0:
            yield _reason(Code.TICK_SIZE, f"{name} must be above 0, was {price}")
        elif price % instrument.tick_at(price):
            yield _reason(
                Code.TICK_SIZE,
                f"{name} must be a multiple of {instrument.tick_at(price)}, was {price}",
            )


def _stop_is_below(case: Case) -> Iterator[Reason]:
    stop, price, quote = case.request.stop_loss, case.price, case.quote
    if stop is None or case.request.order_class is not OrderClass.BRACKET:
        yield _reason(Code.STOP_MISSING, "an entry needs a stop loss that rests at the broker")
        return
    if price is not None and stop >= price:
        yield _reason(Code.STOP_WRONG_SIDE, f"the stop must be below the entry {price}, was {stop}")
    elif quote is not None and quote.bid is not None and stop >= quote.bid:
        yield _reason(
            Code.STOP_WRONG_SIDE, f"the stop must be below the bid {quote.bid}, was {stop}"
        )


def _target_is_above(case: Case) -> Iterator[Reason]:
    target, price = case.request.take_profit, case.price
    if target is None:
        yield _reason(Code.TARGET_MISSING, "an entry needs a take profit")
    elif price is not None and target <= price:
        yield _reason(
            Code.TARGET_WRONG_SIDE, f"the target must be above the entry {price}, was {target}"
        )


def _reward_is_worth_the_risk(case: Case) -> Iterator[Reason]:
    price, stop, target = case.price, case.request.stop_loss, case.request.take_profit
    if price is None or stop is None or target is None or not stop < price < target:
        return
    ratio = (target - price) / (price - stop)
    if ratio < case.limits.min_risk_reward:
        yield _reason(
            Code.REWARD_TO_RISK,
            f"reward to risk must be at least {case.limits.min_risk_reward}, was {ratio:.4f}",
        )


def _no_sale_rests(case: Case) -> Iterator[Reason]:
    """A broker takes a purchase against one's own resting sale for a wash trade."""
    for order in case.snapshot.open_orders:
        if (
            order.symbol == case.request.symbol
            and order.side is Side.SELL
            and order.status.is_open
            and order.status is not OrderStatus.HELD
        ):
            yield _reason(
                Code.OPPOSITE_ORDER,
                f"a sale of {order.remaining_quantity} {order.symbol} rests already",
            )
            return


def _position_value_is_within(case: Case) -> Iterator[Reason]:
    price = case.price
    if price is None:
        return
    symbol = case.request.symbol
    held = case.snapshot.position(symbol)
    value = case.request.quantity * price
    if held is not None:
        value += held.quantity * max(price, held.average_price, held.market_price or Decimal(0))
    value += sum((_pending_value(order, case) for order in _pending_buys(case, symbol)), Decimal(0))
    if value > case.limits.max_position_value:
        yield _reason(
            Code.POSITION_VALUE,
            f"the position in {symbol} may be worth at most {case.limits.max_position_value}"
            f" {case.limits.currency}, would be {value}",
        )


def _position_count_is_within(case: Case) -> Iterator[Reason]:
    symbols = {held.symbol for held in case.snapshot.positions if held.quantity}
    symbols |= {order.symbol for order in _pending_buys(case)}
    symbols.add(case.request.symbol)
    if len(symbols) > case.limits.max_positions:
        yield _reason(
            Code.POSITION_COUNT,
            f"at most {case.limits.max_positions} positions may be open or on order, would be"
            f" {len(symbols)}",
        )


def _cash_suffices(case: Case) -> Iterator[Reason]:
    price = case.price
    if price is None:
        return
    account = case.snapshot.account
    pending = sum((_pending_value(order, case) for order in _pending_buys(case)), Decimal(0))
    available = min(account.cash - pending, account.buying_power)
    cost = case.request.quantity * price
    if cost > available:
        yield _reason(
            Code.CASH,
            f"{cost} {account.currency} is needed, {available} is free after open buy orders",
        )


def _never_more_than_held(case: Case) -> Iterator[Reason]:
    request = case.request
    held = case.snapshot.position(request.symbol)
    if held is None or held.quantity <= 0:
        yield _reason(Code.NOT_HELD, f"no shares of {request.symbol} are held")
        return
    freed = sum(
        order.remaining_quantity
        for order in case.snapshot.open_orders
        if order.broker_order_id == request.replaces
    )
    sellable = min(held.quantity, held.available + freed)
    if request.quantity > sellable:
        yield _reason(
            Code.NOT_HELD,
            f"{sellable} shares of {request.symbol} can be sold, {request.quantity} were asked for",
        )


def _replaces_an_open_sale(case: Case) -> Iterator[Reason]:
    request = case.request
    if request.replaces is None:
        return
    found = any(
        order.broker_order_id == request.replaces
        and order.symbol == request.symbol
        and order.side is Side.SELL
        and order.order_type is OrderType.LIMIT
        for order in case.snapshot.open_orders
    )
    if not found:
        yield _reason(
            Code.NOT_OPEN,
            f"order {request.replaces} is no open limit sale of {request.symbol}",
        )


def _sale_is_in_session(case: Case) -> Iterator[Reason]:
    """A stop may be laid down at any hour; to sell, the exchange has to be open."""
    if case.request.purpose is not OrderPurpose.STOP_LOSS:
        yield from _session_is_open(case)


def _exit_is_positive(case: Case) -> Iterator[Reason]:
    if case.request.quantity <= 0:
        yield _reason(Code.QUANTITY, f"the quantity must be above 0, was {case.request.quantity}")


ENTRY_RULES: tuple[Rule, ...] = (
    _side_fits_purpose,
    _mode_may_open,
    _not_halted,
    _nothing_unresolved,
    _account_is_fit,
    _symbol_is_tradable,
    _session_is_open,
    _quote_is_fresh_and_two_sided,
    _entry_is_priced,
    _price_is_inside_collar,
    _quantity_is_whole_lots,
    _prices_are_on_tick,
    _stop_is_below,
    _target_is_above,
    _reward_is_worth_the_risk,
    _no_sale_rests,
    _position_value_is_within,
    _position_count_is_within,
    _cash_suffices,
)
"""What new risk has to pass; every rule is asked, every reason is reported."""

EXIT_RULES: tuple[Rule, ...] = (
    _side_fits_purpose,
    _sale_is_in_session,
    _exit_is_positive,
    _prices_are_on_tick,
    _never_more_than_held,
    _replaces_an_open_sale,
)
"""What a sale has to pass: nothing that limits new risk is among them."""


def _pending_buys(case: Case, symbol: str | None = None) -> list[Order]:
    return [
        order
        for order in case.snapshot.open_orders
        if order.side is Side.BUY
        and order.status.is_open
        and (symbol is None or order.symbol == symbol)
        and order.broker_order_id != case.request.replaces
    ]


def _pending_value(order: Order, case: Case) -> Decimal:
    """Value an open buy at its limit; a market order at the ask, or at a price no limit can hold."""
    quote = case.snapshot.quotes.get(order.symbol)
    price = order.limit_price or (quote.ask if quote else None)
    if price is None or not price.is_finite():
        return case.limits.max_position_value + case.snapshot.account.cash
    return order.remaining_quantity * price


def _rounded(price: Decimal | None, instrument: Instrument, rounding: str) -> Decimal | None:
    if price is None or not price.is_finite() or price <= 0:
        return price
    tick = instrument.tick_at(price)
    return (price / tick).to_integral_value(rounding=rounding) * tick


def _collect(rules: Sequence[Rule], case: Case) -> tuple[Reason, ...]:
    return tuple(reason for rule in rules for reason in rule(case))


def _reason(code: Code, text: str) -> Reason:
    return Reason(code=code.value, text=text)


def _refusal(code: Code, text: str) -> Refusal:
    return Refusal(reasons=(_reason(code, text),))


def _require_seal(seal: object) -> None:
    if seal is not _SEAL:
        msg = "an approval is made by safety.review and by nothing else"
        raise TypeError(msg)
