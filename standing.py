"""Finds out where the agent stands with its broker: reads, lets reconciliation decide, applies.

Takes in what the broker says about our own orders, locks what does not fit and tells a person. It places
nothing, cancels nothing and invents nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from brokers.base import Broker
from brokers.desk import DeskContext, OrderDesk
from market.base import Feed
from shared import log
from shared.clock import Clock
from shared.config import Settings
from shared.database import accounts, reconciliations, records
from shared.database.connection import Connection, transaction
from shared.database.reconciliations import RECONCILIATION
from shared.errors import BrokerUnavailable, ConfigError, FeedUnavailable
from shared.journal.stops import read_stops
from shared.models import Account, Environment, Order, Position, SessionHours, Verdict
from shared.reconciliation import Reconciliation, is_to_be_read_again, reconcile
from shared.reconciliation_orders import unlisted
from shared.reconciliation_views import BrokerView, DatabaseView, Delta, Unavailable

logger = log.get(__name__)

_KEPT_IN_VIEW = timedelta(days=1)
"""How long before the session's open closed orders are still looked for in the broker's list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """What a comparison works with; everything is opened and closed by the entry point."""

    settings: Settings
    connection: Connection
    broker: Broker
    feed: Feed
    clock: Clock
    desk: OrderDesk
    context: DeskContext
    session: SessionHours
    """The session that a verdict is for."""
    home: Path
    """The data directory, where the stops are kept beside the database."""

    @property
    def agent_id(self) -> str:
        """Whose account it is."""
        return self.context.agent_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Both sides as they were seen, and what that comes to."""

    database: DatabaseView
    broker: BrokerView
    found: Reconciliation


async def take_stock(point: Standpoint) -> Seen:
    """Compare and apply, and leave a row that says what it came to."""
    seen = await _seen(point)
    await _apply(point, seen)
    return seen


async def take_stock_unless_clean(point: Standpoint) -> Verdict:
    """Do so unless the session has a clean verdict already; return the verdict in force."""
    date = point.session.session_date
    verdict = await reconciliations.latest_verdict(point.connection, point.agent_id, date)
    if verdict is Verdict.CLEAN:
        return verdict
    return (await take_stock(point)).found.verdict


async def _seen(point: Standpoint) -> Seen:
    """Look, and once more some seconds later where something differs or changed a moment ago.

    Reads of a broker can lag behind each other; what counts is the second look.
    """
    seconds = point.settings.reconciliation.look_again_seconds
    seen = await _look(point, empty_reads=0)
    if not is_to_be_read_again(seen.found, seen.broker, point.clock.now(), seconds=seconds):
        return seen
    logger.info("looking_again", because=seen.found.sentence(), after_seconds=seconds)
    await point.clock.sleep(seconds)
    return await _look(point, empty_reads=seen.broker.empty_reads)


async def _look(point: Standpoint, *, empty_reads: int) -> Seen:
    account = await _account(point)
    orders = await _orders(point, account)
    positions = await _positions(point)
    database = await _database(point, positions)
    broker = BrokerView(
        broker=point.broker.capabilities.name,
        account=account,
        positions=positions,
        orders=orders,
        absent=await _absent(point, database, orders),
        empty_reads=empty_reads + 1 if positions == () else 0,
        has_stops=point.broker.capabilities.has_stops,
    )
    found = reconcile(
        database,
        broker,
        point.clock.now(),
        gap_pct=point.settings.reconciliation.overnight_gap_pct,
    )
    return Seen(database=database, broker=broker, found=found)


async def _account(point: Standpoint) -> Account | Unavailable:
    """Read the account, and tie the agent to it if it is its first."""
    try:
        account = await point.broker.account()
    except BrokerUnavailable as error:
        return Unavailable(why=str(error))
    pin = await accounts.pinned_account(point.connection, point.agent_id)
    if pin is None and account.environment is Environment.PAPER:
        await accounts.pin_account(
            point.connection,
            agent_id=point.agent_id,
            broker=point.broker.capabilities.name,
            environment=account.environment,
            account_id=account.account_id,
            at=point.clock.now(),
        )
    return account


async def _orders(
    point: Standpoint, account: Account | Unavailable
) -> tuple[Order, ...] | Unavailable:
    """Take in what the broker says about our orders, then read them all; not from another account."""
    if isinstance(account, Unavailable):
        return Unavailable(why="without the account nothing else is asked")
    pin = await accounts.pinned_account(point.connection, point.agent_id)
    if pin is None or pin.account_id != account.account_id:
        return Unavailable(why=f"account {account.account_id} is not the agent's")
    try:
        await point.desk.synchronise()
        return await point.broker.orders(only_open=False)
    except BrokerUnavailable as error:
        return Unavailable(why=str(error))


async def _positions(point: Standpoint) -> tuple[Position, ...] | Unavailable:
    try:
        return await point.broker.positions()
    except BrokerUnavailable as error:
        return Unavailable(why=str(error))


async def _absent(
    point: Standpoint, database: DatabaseView, orders: tuple[Order, ...] | Unavailable
) -> frozenset[str]:
    """Ask for each of our orders that the list lacks; return those that the broker denies."""
    absent: set[str] = set()
    for client_order_id in () if isinstance(orders, Unavailable) else unlisted(database, orders):
        try:
            if await point.broker.order_by_client_id(client_order_id) is None:
                absent.add(client_order_id)
        except BrokerUnavailable as error:
            logger.warning("order_not_looked_up", order=client_order_id, why=str(error))
    return frozenset(absent)


async def _database(
    point: Standpoint, positions: tuple[Position, ...] | Unavailable
) -> DatabaseView:
    opens = point.session.opens_at
    return await reconciliations.read_view(
        point.connection,
        point.agent_id,
        since=opens - _KEPT_IN_VIEW,
        session_began_at=opens,
        closes=await _closes(point, () if isinstance(positions, Unavailable) else positions),
        stop_file=_stop_file(point),
    )


def _stop_file(point: Standpoint) -> Mapping[str, Decimal | None] | None:
    """Read the stops that a monitor without its database would go by; None where it could not."""
    try:
        file = read_stops(point.home, point.agent_id)
    except ConfigError as error:
        logger.warning("stop_file_not_read", why=str(error))
        return None
    if file is None or file.database != point.context.database:
        return None
    return {stop.symbol: stop.stop_loss for stop in file.stops}


async def _closes(point: Standpoint, positions: tuple[Position, ...]) -> Mapping[str, Decimal]:
    """Return the closes before the session where the feed knows them; without a feed there are none."""
    try:
        known = await point.feed.baselines([held.symbol for held in positions])
    except FeedUnavailable as error:
        logger.warning("no_closes", why=str(error))
        return {}
    return {
        symbol: baseline.previous_close
        for symbol, baseline in known.items()
        if baseline.previous_close is not None
    }


async def _apply(point: Standpoint, seen: Seen) -> None:
    """Lock, release, tell and write down, all of it or nothing."""
    found, now = seen.found, point.clock.now()
    logger.info("reconciled", verdict=found.verdict, why=found.sentence())
    async with transaction(point.connection):
        for lock in found.to_release:
            await reconciliations.release(
                point.connection,
                agent_id=point.agent_id,
                symbol=lock.symbol,
                kind=lock.kind,
                by=RECONCILIATION,
                why="it is not found any more",
                at=now,
            )
        for delta in found.to_lock:
            if await reconciliations.lock_for(point.connection, point.agent_id, delta, now):
                await _tell_of_lock(point, delta, now)
        if found.verdict is Verdict.UNREADABLE:
            await _tell_of_distrust(point, found, now)
        await reconciliations.record_reconciliation(
            point.connection,
            agent_id=point.agent_id,
            session_date=point.session.session_date,
            source=point.context.cycle_id,
            found=found,
            database=seen.database,
            broker=seen.broker,
            at=now,
        )


async def _tell_of_lock(point: Standpoint, delta: Delta, now: datetime) -> None:
    passes = " It ends by itself when this is not found any more." if delta.kind.passes else ""
    settle = f"startup_monitor.py --agent {point.agent_id} --accept {delta.symbol} --why TEXT"
    await _tell(
        point,
        subject=f"{delta.symbol} is locked: {delta.kind.replace('_', ' ')}",
        body=f"{delta.sentence}. It is not bought; sales go on.{passes} To settle it: {settle}",
        key=f"lock-{delta.symbol}-{delta.kind}-{now:%Y%m%d%H%M%S}",
        now=now,
    )


async def _tell_of_distrust(point: Standpoint, found: Reconciliation, now: datetime) -> None:
    kinds = sorted({delta.kind for delta in found.deltas if delta.kind.is_distrust})
    await _tell(
        point,
        subject="nothing is bought: the broker cannot be relied on",
        body=f"{found.sentence()}. Sales go on. Every trade and close run compares again.",
        key=f"unreadable-{point.session.session_date}-{'-'.join(kinds)}",
        now=now,
    )


async def _tell(point: Standpoint, *, subject: str, body: str, key: str, now: datetime) -> None:
    """Queue an alert, of a dry run too: what was found is true however the run goes on."""
    logger.error("alert", subject=subject, body=body)
    point.desk.alerts.append(subject)
    await records.queue_alert(
        point.connection,
        agent_id=point.agent_id,
        cycle_id=point.context.cycle_row,
        severity="critical",
        subject=subject,
        body=body,
        dedupe_key=key,
        at=now,
    )
