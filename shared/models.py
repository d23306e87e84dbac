"""The vocabulary: frozen values that every module speaks in, and nothing that acts.

Money and prices are Decimal, shares are int (Decimal only where a broker reports a holding, since a
split can leave fractions), times are timezone-aware and in UTC; a naive time is refused here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum


class Mode(StrEnum):
    """What cron asks one run to do."""

    SCAN = "scan"
    TRADE = "trade"
    CLOSE = "close"
    HEARTBEAT = "heartbeat"
    MONITOR = "monitor"
    """Watches what is open; a program of its own, which has no slots."""


SLOT_MODES = (Mode.SCAN, Mode.TRADE, Mode.CLOSE, Mode.HEARTBEAT)
"""Those that run once in each of their slots."""


class Side(StrEnum):
    """Direction of an order; entries are long only, so SELL always reduces."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order's price is meant."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"


class OrderClass(StrEnum):
    """Whether an order stands alone or brings protective legs."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    """An entry with a take-profit and a stop-loss leg that cancel each other."""
    OCO = "oco"
    """A take-profit and a stop-loss for shares already held; one cancels the other."""


class TimeInForce(StrEnum):
    """How long an order rests."""

    DAY = "day"
    GTC = "gtc"


class OrderPurpose(StrEnum):
    """Why an order exists; stop_loss is what protects a position."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"


class OrderStatus(StrEnum):
    """What a broker says about an order; every adapter maps each of its own words onto one of these."""

    HELD = "held"
    """A leg that waits for its parent to fill; healthy."""
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCEL_PENDING = "cancel_pending"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"

    @property
    def is_open(self) -> bool:
        """Whether the order can still trade."""
        return self in _OPEN_STATUSES


_OPEN_STATUSES = frozenset(
    {
        OrderStatus.HELD,
        OrderStatus.ACCEPTED,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.CANCEL_PENDING,
    }
)


class Environment(StrEnum):
    """Which kind of account a broker connection reaches."""

    PAPER = "paper"
    LIVE = "live"


class TradingState(StrEnum):
    """What an agent may do; the stricter of database and file applies."""

    ACTIVE = "active"
    REDUCING = "reducing"
    """Positions may be left and protected, none opened."""
    HALTED = "halted"
    """As reducing, and a person has to say that trading goes on."""


class Verdict(StrEnum):
    """What a comparison of broker and database came to."""

    CLEAN = "clean"
    LOCKED = "locked"
    """Some symbols wait for a person; the others may be bought."""
    UNREADABLE = "unreadable"
    """The broker could not be read, or not be taken at its word; nothing may be bought."""


class InstrumentKind(StrEnum):
    """What a symbol stands for."""

    STOCK = "stock"
    ETF = "etf"
    INDEX = "index"
    """A number, not a thing to buy."""


class TradingDay(StrEnum):
    """How much of a date an exchange trades, as a broker says it."""

    NONE = "none"
    WHOLE = "whole"
    MORNING = "morning"
    AFTERNOON = "afternoon"


class QuoteSource(StrEnum):
    """Where bid and ask come from."""

    QUOTED = "quoted"
    MODELLED = "modelled"
    """Worked out from bars by a spread model; said so wherever it is shown."""


def require_aware(moment: datetime, name: str) -> None:
    """Raise ValueError for a time without a zone: a naive time is a bug wherever it appears."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        msg = f"{name} must be timezone-aware, was {moment.isoformat()}"
        raise ValueError(msg)


def utc(moment: datetime) -> datetime:
    """Return the same instant in UTC; a naive time is refused."""
    require_aware(moment, "moment")
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHours:
    """One trading session of an exchange: the parts in which it trades, in UTC, in order."""

    exchange: str
    session_date: date
    parts: tuple[tuple[datetime, datetime], ...]
    """(open, close) of each part; two where the exchange has a lunch break."""
    early_close: bool = False

    def __post_init__(self) -> None:
        for opens, closes in self.parts:
            require_aware(opens, "opens")
            require_aware(closes, "closes")

    @property
    def opens_at(self) -> datetime:
        """First moment of continuous trading."""
        return self.parts[0][0]

    @property
    def closes_at(self) -> datetime:
        """Moment at which continuous trading ends for the day."""
        return self.parts[-1][1]

    def is_open(self, now: datetime) -> bool:
        """Whether continuous trading goes on at `now` (the opening instant counts, the closing one not)."""
        return self.part_at(now) is not None

    def part_at(self, now: datetime) -> tuple[datetime, datetime] | None:
        """(open, close) of the part that trades at `now`, bounded as `is_open` says; None outside all."""
        return next((part for part in self.parts if part[0] <= now < part[1]), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TickBand:
    """The smallest price step from a price upwards, until the next band begins."""

    from_price: Decimal
    tick: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What a broker or a sidecar file knows about a symbol."""

    symbol: str
    name: str
    exchange: str
    currency: str
    kind: InstrumentKind
    lot_size: int
    ticks: tuple[TickBand, ...]
    """Ascending by from_price; the first band starts at 0."""
    tradable: bool
    doubt: str | None = None
    """Why lot and tick are not to be trusted for an entry; None where nothing contradicts them."""

    def tick_at(self, price: Decimal) -> Decimal:
        """Price step that applies at `price`."""
        return next(band.tick for band in reversed(self.ticks) if price >= band.from_price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Trades of one symbol from `start` up to, and without, `end`."""

    symbol: str
    start: datetime
    end: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Bid and ask at one moment; None is "not known", never 0."""

    symbol: str
    at: datetime
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    source: QuoteSource
    bid_size: int | None = None
    ask_size: int | None = None
    halted: bool = False
    session_open: Decimal | None = None
    session_volume: int | None = None
    previous_close: Decimal | None = None
    """Last close of the session before; None where no earlier session is known."""

    def __post_init__(self) -> None:
        require_aware(self.at, "at")

    @property
    def mid(self) -> Decimal | None:
        """Middle of bid and ask, or None unless both are known."""
        return None if self.bid is None or self.ask is None else (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One piece of news; its text is untrusted data."""

    headline_id: str
    at: datetime
    source: str
    symbols: tuple[str, ...]
    text: str
    sentiment: Decimal | None = None
    """-1 to 1 where the feed gives one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketClock:
    """What a broker says about the exchange and the time, whatever calendars and our own clock say."""

    is_open: bool
    """Whether continuous trading goes on."""
    at: datetime
    day: TradingDay | None = None
    """How much of the exchange's present date it trades; None where the broker does not say."""

    def __post_init__(self) -> None:
        require_aware(self.at, "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A broker account as the broker reports it."""

    account_id: str
    environment: Environment
    currency: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    at: datetime
    blocked: bool = False

    def __post_init__(self) -> None:
        require_aware(self.at, "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A holding as the broker reports it; quantity is signed."""

    symbol: str
    quantity: Decimal
    available: Decimal
    """Shares not held by resting sell orders."""
    average_price: Decimal
    currency: str
    market_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fee:
    """One named charge on a fill, in money (positive is paid)."""

    name: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of an order."""

    fill_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    at: datetime
    fees: tuple[Fee, ...] = ()

    def __post_init__(self) -> None:
        require_aware(self.at, "at")

    @property
    def total_fees(self) -> Decimal:
        """Sum of the fees."""
        return sum((fee.amount for fee in self.fees), Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as the broker reports it."""

    broker_order_id: str
    client_order_id: str | None
    """None for an order placed by hand in the broker's own app."""
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: int
    status: OrderStatus
    submitted_at: datetime
    updated_at: datetime
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    filled_quantity: int = 0
    average_fill_price: Decimal | None = None
    parent_order_id: str | None = None
    """Broker's id of the entry whose leg this is."""
    replaced_by: str | None = None
    reject_reason: str | None = None
    legs: tuple["Order", ...] = ()
    fills: tuple[Fill, ...] = ()
    fees: tuple[Fee, ...] = ()
    """Charges on all that has filled so far, one of each name, where the broker lists no fills one by one."""

    def __post_init__(self) -> None:
        require_aware(self.submitted_at, "submitted_at")
        require_aware(self.updated_at, "updated_at")

    @property
    def remaining_quantity(self) -> int:
        """Shares not yet filled."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order that somebody would like to place; only safety can turn it into one that may be placed."""

    client_order_id: str
    symbol: str
    side: Side
    quantity: int
    order_type: OrderType
    purpose: OrderPurpose
    time_in_force: TimeInForce = TimeInForce.DAY
    order_class: OrderClass = OrderClass.SIMPLE
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    """Trigger of a STOP order."""
    stop_loss: Decimal | None = None
    """Trigger of the protective leg of a BRACKET or OCO."""
    take_profit: Decimal | None = None
    """Limit of the target leg of a BRACKET or OCO."""
    replaces: str | None = None
    """Broker's id of the open order that this one takes the place of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something was refused: a stable code and a sentence with the offending value."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Every reason why a request may not be carried out; never empty."""

    reasons: tuple[Reason, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The stable codes, in rule order."""
        return tuple(reason.code for reason in self.reasons)

    def __str__(self) -> str:
        return "; ".join(f"{reason.code}: {reason.text}" for reason in self.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One picture of account and market, taken before a decision and never changed."""

    taken_at: datetime
    mode: Mode
    session: SessionHours | None
    """Today's session, or None on a day without one."""
    account: Account
    positions: tuple[Position, ...]
    open_orders: tuple[Order, ...]
    """Every order that can still trade, legs as elements of their own too."""
    unresolved: tuple[str, ...] = ()
    """Client order ids whose outcome at the broker is not known."""
    quotes: Mapping[str, Quote] = field(default_factory=dict[str, Quote])
    instruments: Mapping[str, Instrument] = field(default_factory=dict[str, Instrument])
    state: TradingState = TradingState.ACTIVE
    halts: tuple[str, ...] = ()
    """Why the state is not ACTIVE."""
    disagreements: tuple[str, ...] = ()
    """Where broker and records disagree about what is held."""
    verdict: Verdict | None = None
    """What the session's latest comparison of broker and database came to; None before the first."""
    locked: Mapping[str, str] = field(default_factory=dict[str, str])
    """Symbols that wait for a person, each with the reason."""
    session_start_equity: Decimal | None = None
    """Equity at the session's first cycle, as persisted, moved by money that came from outside since;
    None is "not known" and forbids entries."""
    entries_today: Mapping[str, int] = field(default_factory=dict[str, int])
    """Entries sent in this session, by symbol, counted in the database."""
    market_is_open: bool | None = None
    """Whether the broker says that the exchange trades; None is "not known" and forbids entries."""
    broker_day: TradingDay | None = None
    """How much of the session's date the broker says that the exchange trades; None where it does not say."""
    clock_drift_seconds: float | None = None
    """How far the broker's clock is ahead of ours, below 0 behind; None is "not known"."""
    last_loss_at: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """When each symbol was last left at a loss in this session."""
    budget_left_usd: Decimal | None = None
    """What is left of the day's money for Claude; None where nobody has to be paid."""
    budget_kept_for_exits_usd: Decimal = Decimal(0)
    check_needed_within_seconds: float | None = None
    """How recent the monitor's last pass has to be for an entry; None where nobody has to watch."""
    last_check_at: datetime | None = None
    """When the monitor last made a pass; None is never."""
    stops_rest_at_broker: bool = True
    """Whether the broker itself holds stops and targets; where not, the monitor is the stop."""

    def position(self, symbol: str) -> Position | None:
        """The holding in `symbol`, or None."""
        return next((held for held in self.positions if held.symbol == symbol), None)
