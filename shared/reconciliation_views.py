"""What reconciliation looks at, and what it finds: two frozen pictures, and findings as sentences.

Pure. A read that failed is a value of its own, so that it can never pass for "nothing is held".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.models import Account, Order, Position, Side
from shared.order_life import OrderState


class DeltaKind(StrEnum):
    """What one difference is, or that there is none."""

    EQUAL = "equal"
    BROKER_MORE = "broker_more"
    BROKER_LESS = "broker_less"
    FLIPPED = "flipped"
    BROKER_ONLY = "broker_only"
    DATABASE_ONLY = "database_only"
    SPLIT_SUSPECTED = "split_suspected"
    OVERNIGHT_GAP = "overnight_gap"
    EXTERNAL_POSITION = "external_position"
    """Shares that a person accepted as not the agent's."""
    EXTERNAL_ORDER = "external_order"
    ORDER_MISSING = "order_missing"
    ORDER_UNRESOLVED = "order_unresolved"
    STOP_MISSING = "stop_missing"
    STOP_TOO_SMALL = "stop_too_small"
    ACCOUNT_BLOCKED = "account_blocked"
    ACCOUNT_CHANGED = "account_changed"
    READ_FAILED = "read_failed"
    SUSPICIOUSLY_EMPTY = "suspiciously_empty"
    TRUNCATED_ORDERS = "truncated_orders"

    @property
    def locks(self) -> bool:
        """Whether its symbol is not bought before a person has settled it."""
        return self not in _AGREE and self not in _DISTRUST

    @property
    def is_a_difference(self) -> bool:
        """Whether the two sides do not simply agree."""
        return self not in _AGREE

    @property
    def is_distrust(self) -> bool:
        """Whether nothing that the broker says now may be built on."""
        return self in _DISTRUST

    @property
    def passes(self) -> bool:
        """Whether a lock for it ends by itself when it is not found any more."""
        return self in _PASSES


_AGREE = frozenset({DeltaKind.EQUAL, DeltaKind.EXTERNAL_POSITION})
_DISTRUST = frozenset(
    {
        DeltaKind.ACCOUNT_BLOCKED,
        DeltaKind.ACCOUNT_CHANGED,
        DeltaKind.READ_FAILED,
        DeltaKind.SUSPICIOUSLY_EMPTY,
        DeltaKind.TRUNCATED_ORDERS,
    }
)
_PASSES = frozenset(
    {
        DeltaKind.EXTERNAL_ORDER,
        DeltaKind.ORDER_MISSING,
        DeltaKind.ORDER_UNRESOLVED,
        DeltaKind.STOP_MISSING,
        DeltaKind.STOP_TOO_SMALL,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """A read that failed, and why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OurPosition:
    """What our own fills left of a symbol."""

    position_id: int
    symbol: str
    quantity: int
    entry_price: Decimal
    held_overnight: bool = False
    """Whether it was opened before the session."""
    stop_loss: Decimal | None = None
    """The level at which it is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OurOrder:
    """One of our orders or of their legs."""

    order_id: int
    client_order_id: str | None
    broker_order_id: str | None
    symbol: str
    side: Side
    quantity: int
    state: OrderState
    created_at: datetime
    is_leg: bool = False

    @property
    def name(self) -> str:
        """The id that a person finds it by."""
        return self.client_order_id or self.broker_order_id or f"number {self.order_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolLock:
    """A symbol that waits for a person."""

    symbol: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The account that the agent is tied to."""

    broker: str
    account_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseView:
    """What the database knows."""

    positions: tuple[OurPosition, ...] = ()
    orders: tuple[OurOrder, ...] = ()
    """Open ones, unresolved ones, and those that were closed of late."""
    external: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """Shares that a person accepted as not the agent's, by symbol."""
    locks: tuple[SymbolLock, ...] = ()
    settled: frozenset[str] = frozenset()
    """Marks of findings that a person has looked at."""
    last_prices: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """What each symbol was last seen at, where that is known."""
    pin: Pin | None = None
    stop_file: Mapping[str, Decimal | None] | None = None
    """Stops by symbol as the file beside the database has them; None where it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerView:
    """What the broker says, and how it was asked."""

    broker: str
    account: Account | Unavailable
    positions: tuple[Position, ...] | Unavailable
    orders: tuple[Order, ...] | Unavailable
    """Of every state."""
    absent: frozenset[str] = frozenset()
    """Client order ids that the broker, asked for each, says it does not know."""
    empty_reads: int = 0
    """How often in a row, some seconds apart, positions were read as none."""
    has_stops: bool = True
    """Whether stops can rest there; where not, the monitor is the stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """One finding, as a sentence with numbers."""

    kind: DeltaKind
    symbol: str | None
    """None for what concerns the whole account."""
    sentence: str
    expected: Decimal | None = None
    shown: Decimal | None = None
    order_id: int | None = None
    """Row of the order that it is about."""
    mark: str = ""
    """What tells this finding from the next one of its kind; empty where a word of a person settles nothing."""


def same_symbol(symbol: str) -> str:
    """Return what spellings of one symbol have in common: 0700, 700 and HK.00700 are one share."""
    number = symbol.rpartition(".")[2]
    return number.lstrip("0") or "0" if number.isdigit() else symbol


def distrust(kind: DeltaKind, what: str) -> Delta:
    """Make a finding about the whole account."""
    return Delta(kind=kind, symbol=None, sentence=what)
