"""Takes one picture of account, market and records, for safety and for Claude; changes nothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from broker_clock import BrokerClock
from brokers.base import Broker
from brokers.desk import DeskContext
from brokers.lots import is_dust
from market.base import Feed
from shared import log, trading_state
from shared.clock import Clock
from shared.config import Settings
from shared.database import claude_calls, monitor, orders, reconciliations
from shared.database.connection import Connection
from shared.database.orders import PositionRecord
from shared.errors import FeedUnavailable
from shared.journal.books import Books
from shared.models import (
    Instrument,
    Mode,
    OrderPurpose,
    Position,
    Quote,
    SessionHours,
    Snapshot,
    Verdict,
)

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What one cycle works with; every part is opened and closed by the entry point."""

    settings: Settings
    mode: Mode
    clock: Clock
    broker: Broker
    feed: Feed
    books: Books
    """The trading database, and the journal beside it."""
    session: SessionHours | None
    sessions: tuple[SessionHours, ...]
    """The latest sessions up to the present one, oldest first: what bars are aligned to."""
    context: DeskContext
    session_start_equity: Decimal | None
    """As persisted; None when the broker gave no number at the session's first cycle."""
    home: Path
    """The data directory, where the trading state is kept beside the database."""

    @property
    def connection(self) -> Connection:
        """The trading database."""
        return self.books.connection


class Lookout:
    """Looks again whenever it is asked: nothing it says is older than the call."""

    def __init__(self, workplace: Workplace) -> None:
        """Bind to a cycle's parts."""
        self._place: Workplace = workplace
        self.money_from_outside: Decimal = Decimal(0)
        """What the session gained without trading; the day's loss is measured beside it."""
        self.clock: BrokerClock = BrokerClock(workplace.broker, workplace.clock, workplace.session)
        self.feed_problem: str | None = None
        """Why the last picture has no quotes."""

    async def look(self, symbols: Collection[str] = ()) -> Snapshot:
        """Take one picture, with quotes and instruments for these symbols and all held or on order."""
        place = self._place
        account = await place.broker.account()
        positions = await place.broker.positions()
        open_orders = await place.broker.orders(only_open=True)
        wanted = (
            set(symbols) | {held.symbol for held in positions} | {o.symbol for o in open_orders}
        )
        unresolved = await orders.unresolved_orders(place.connection, self._agent_id)
        broker_clock = await self.clock.reading()
        now = place.clock.now()
        in_force = await trading_state.current(place.connection, self._agent_id, place.home, now)
        closed = await self._closed_today()
        locks = await reconciliations.locks_in_force(place.connection, self._agent_id)
        return Snapshot(
            taken_at=now,
            mode=place.mode,
            session=place.session,
            account=account,
            positions=positions,
            open_orders=open_orders,
            unresolved=tuple(order.client_order_id or "?" for order in unresolved),
            quotes=await self._quotes(wanted),
            instruments=await self.instruments(wanted),
            state=in_force.state,
            halts=in_force.reasons,
            disagreements=await self._disagreements(positions),
            verdict=await self._verdict(),
            locked={lock.symbol: lock.reason for lock in locks},
            session_start_equity=self._start_equity(),
            entries_today=await orders.entries_since(
                place.connection, self._agent_id, self.session_began_at
            ),
            market_is_open=broker_clock.is_open,
            broker_day=broker_clock.day,
            clock_drift_seconds=broker_clock.drift_seconds,
            last_loss_at=_last_losses(closed),
            budget_left_usd=await self._budget_left(),
            budget_kept_for_exits_usd=_kept_for_exits(place.settings),
            check_needed_within_seconds=place.settings.monitor.entries_need_a_check_within_seconds,
            last_check_at=await self._last_check(),
            stops_rest_at_broker=place.broker.capabilities.has_stops,
        )

    async def _quotes(self, symbols: Collection[str]) -> Mapping[str, Quote]:
        """Read quotes; without a feed there are none, which keeps entries back and no sale."""
        self.feed_problem = None
        try:
            return await self._place.feed.quotes(symbols)
        except FeedUnavailable as error:
            logger.warning("no_quotes", why=str(error))
            self.feed_problem = str(error)
            return {}

    @property
    def session_began_at(self) -> datetime:
        """From when on things count as today's: the session's date, or now outside every session."""
        place = self._place
        return place.clock.now() if place.session is None else place.session.opens_at

    async def open_positions(self) -> tuple[PositionRecord, ...]:
        """What our own fills left us, with its levels."""
        return await orders.open_positions(self._place.connection, self._agent_id)

    async def positions_of_ours(self) -> tuple[str, ...]:
        """Symbols in which our own fills left us something, whatever the broker shows at the moment."""
        held = await orders.open_positions(self._place.connection, self._agent_id)
        return tuple(record.symbol for record in held)

    async def without_a_sale(self) -> list[str]:
        """Positions of ours for which no exit works at the broker."""
        resting = await orders.open_orders(self._place.connection, self._agent_id)
        leaving = {o.symbol for o in resting if o.order_purpose is OrderPurpose.EXIT}
        return [symbol for symbol in await self.sellable_positions() if symbol not in leaving]

    async def sellable_positions(self) -> tuple[str, ...]:
        """Symbols of ours of which a lot is held; less than that no order sells where no stop rests."""
        held = await orders.open_positions(self._place.connection, self._agent_id)
        if self._place.broker.capabilities.has_stops:
            return tuple(record.symbol for record in held)
        known = await self.instruments([record.symbol for record in held])
        return tuple(
            record.symbol
            for record in held
            if not is_dust(record.quantity, known.get(record.symbol))
        )

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that the broker knows."""
        return await self._place.broker.instruments(symbols) if symbols else {}

    @property
    def _agent_id(self) -> str:
        return self._place.context.agent_id

    def _start_equity(self) -> Decimal | None:
        start = self._place.session_start_equity
        return None if start is None else start + self.money_from_outside

    async def _verdict(self) -> Verdict | None:
        place = self._place
        if place.session is None:
            return None
        return await reconciliations.latest_verdict(
            place.connection, self._agent_id, place.session.session_date
        )

    async def _disagreements(self, positions: Sequence[Position]) -> tuple[str, ...]:
        """Name what our fills left us and the broker does not show.

        A read that comes back empty is not believed to mean flat.
        """
        shown = {held.symbol: held.quantity for held in positions}
        return tuple(
            f"the broker shows {shown.get(record.symbol, 0)} shares of {record.symbol},"
            f" by our fills there are {record.quantity}"
            for record in await orders.open_positions(self._place.connection, self._agent_id)
            if shown.get(record.symbol, Decimal(0)) < record.quantity
        )

    async def _closed_today(self) -> Sequence[PositionRecord]:
        return await orders.positions_of_session(
            self._place.connection, self._agent_id, self.session_began_at
        )

    async def _last_check(self) -> datetime | None:
        beat = await monitor.last_beat(self._place.connection, self._agent_id)
        return None if beat is None else beat.beat_at

    async def _budget_left(self) -> Decimal | None:
        place = self._place
        if place.session is None:
            return None
        return await claude_calls.budget_left(
            place.connection,
            agent_id=self._agent_id,
            budget_date=place.session.session_date,
            budget_usd=place.settings.claude.daily_budget_usd,
        )


def _last_losses(closed: Sequence[PositionRecord]) -> dict[str, datetime]:
    losses: dict[str, datetime] = {}
    for record in closed:
        if record.closed_at is not None and record.realized_pnl < 0:
            losses[record.symbol] = max(
                record.closed_at, losses.get(record.symbol, record.closed_at)
            )
    return losses


def _kept_for_exits(settings: Settings) -> Decimal:
    return settings.claude.daily_budget_usd * settings.claude.budget_share_for_exits_pct / 100
