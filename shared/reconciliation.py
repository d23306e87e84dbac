"""Compares what the broker says with what the database knows, and says what every difference means.

Pure: two frozen views and the limits go in, differences and a verdict come out. It invents nothing and
repairs nothing; what can be repaired safely, a fill that explains a difference, was taken in before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from shared.models import Environment, Verdict
from shared.reconciliation_holdings import position_deltas
from shared.reconciliation_orders import order_deltas, stop_deltas
from shared.reconciliation_views import (
    BrokerView,
    DatabaseView,
    Delta,
    DeltaKind,
    SymbolLock,
    Unavailable,
    distrust,
)

PASSING = frozenset(kind.value for kind in DeltaKind if kind.passes)
"""Kinds of locks that end by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """Everything that was found, and what follows."""

    deltas: tuple[Delta, ...]
    verdict: Verdict
    locked: tuple[str, ...]
    """Symbols not to be bought, by old locks and new ones."""
    to_lock: tuple[Delta, ...]
    to_release: tuple[SymbolLock, ...]
    """Locks whose finding has passed by itself."""

    @property
    def differences(self) -> tuple[Delta, ...]:
        """What does not simply agree."""
        return tuple(delta for delta in self.deltas if delta.kind.is_a_difference)

    def sentence(self) -> str:
        """Say it in a line."""
        match self.verdict:
            case Verdict.CLEAN:
                held = sum(delta.kind is DeltaKind.EQUAL for delta in self.deltas)
                return f"broker and database agree: {held} positions"
            case Verdict.LOCKED:
                found = "; ".join(delta.sentence for delta in self.differences)
                return f"{', '.join(self.locked)} locked: {found or 'settled by nobody yet'}"
            case Verdict.UNREADABLE:
                said = [delta.sentence for delta in self.deltas if delta.kind.is_distrust]
                return f"the broker cannot be relied on: {'; '.join(said)}"


def reconcile(
    database: DatabaseView,
    broker: BrokerView,
    now: datetime,
    *,
    gap_pct: Decimal = Decimal(5),
) -> Reconciliation:
    """Compare both views. Never raises, and never says CLEAN where a quantity differs.

    `now` must be aware; an order row from later than it shows that the clocks disagree.
    """
    deltas = (
        *_account(database, broker),
        *order_deltas(database, broker, now),
        *position_deltas(database, broker, gap_pct),
        *stop_deltas(database, broker),
    )
    if any(delta.kind.is_distrust for delta in deltas):
        kept = tuple(sorted({lock.symbol for lock in database.locks}))
        return Reconciliation(
            deltas=deltas, verdict=Verdict.UNREADABLE, locked=kept, to_lock=(), to_release=()
        )
    return _judged(database, deltas)


def is_to_be_read_again(
    found: Reconciliation, broker: BrokerView, now: datetime, *, seconds: float
) -> bool:
    """Whether to look once more before this counts: something differs, or changed a moment ago."""
    if any(delta.kind.locks or delta.kind.is_distrust for delta in found.deltas):
        return True
    orders = () if isinstance(broker.orders, Unavailable) else broker.orders
    return any(order.updated_at > now - timedelta(seconds=seconds) for order in orders)


def _judged(database: DatabaseView, deltas: tuple[Delta, ...]) -> Reconciliation:
    standing = [d for d in deltas if d.kind.locks and d.mark not in database.settled - {""}]
    found = {(delta.symbol, delta.kind.value) for delta in standing}
    known = {(lock.symbol, lock.kind) for lock in database.locks}
    passed = tuple(
        lock
        for lock in database.locks
        if (lock.symbol, lock.kind) not in found and lock.kind in PASSING
    )
    kept = {lock.symbol for lock in database.locks if lock not in passed}
    locked = kept | {delta.symbol for delta in standing if delta.symbol is not None}
    return Reconciliation(
        deltas=deltas,
        verdict=Verdict.LOCKED if locked else Verdict.CLEAN,
        locked=tuple(sorted(locked)),
        to_lock=tuple(d for d in standing if (d.symbol, d.kind.value) not in known),
        to_release=passed,
    )


def _account(database: DatabaseView, broker: BrokerView) -> Iterator[Delta]:
    account, pin = broker.account, database.pin
    if isinstance(account, Unavailable):
        yield distrust(DeltaKind.READ_FAILED, f"the account could not be read: {account.why}")
        return
    if account.environment is not Environment.PAPER:
        what = f"account {account.account_id} is {account.environment}, only paper is traded"
        yield distrust(DeltaKind.ACCOUNT_CHANGED, what)
    if pin is not None and (pin.broker, pin.account_id) != (broker.broker, account.account_id):
        what = (
            f"the agent belongs to account {pin.account_id} at {pin.broker}, connected is"
            f" {account.account_id} at {broker.broker}"
        )
        yield distrust(DeltaKind.ACCOUNT_CHANGED, what)
    if account.blocked:
        what = f"account {account.account_id} is blocked at the broker"
        yield distrust(DeltaKind.ACCOUNT_BLOCKED, what)
