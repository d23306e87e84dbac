"""One pass over the open positions: level with the broker, stops verified, signals read, exits by rule.

Knows neither when the next pass is due nor how the process began. A model is asked only where the rules
leave it open, and whatever goes wrong there means hold.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import signals
import silence
from agreement import unscheduled_closure
from brokers.drafts import is_left_behind
from brokers.submissions import why_not_resting
from by_rule import HouseRules
from held_prices import HeldPrices
from lookout import Workplace
from looks import Look, as_check, as_question
from market import watching
from market.calendar import Calendar
from market.volume_pace import UsualVolume
from market.watching import Seen
from rules.quotes import Confirmed, Unavailable
from shared import log, second_opinion
from shared.config import MonitorSettings, SignalSettings
from shared.database import monitor, orders, positions
from shared.database.monitor import WatchState
from shared.database.positions import PositionRecord
from shared.errors import ENDS_THE_RUN, BrokerUnavailable, CatalystError, FeedUnavailable
from shared.models import Instrument, OrderPurpose, Snapshot
from shared.order_life import OrderState
from shared.second_opinion import Opinion, Reviewer
from shared.watch import Decision, Label, Recommendation, Watch
from tool_executor import ToolExecutor

logger = log.get(__name__)

NOTHING_SEEN = Seen(technicals=None, volume=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass came to."""

    watched: int
    """Open positions of ours that were looked at."""
    left: tuple[str, ...] = ()
    """Symbols for which a sale was sent."""
    odd_lots: tuple[str, ...] = ()
    """Symbols of which less than a lot is held where no stop rests: no order can sell it."""
    orders: int = 0
    fills: int = 0
    alerts: tuple[str, ...] = ()
    problem: str | None = None
    """Why something could not be seen or done; the pass went on."""


@dataclass(slots=True, kw_only=True)
class Guard:
    """Watches one agent's positions; what it remembers between passes can be lost without harm."""

    place: Workplace
    calendar: Calendar
    reviewer: Reviewer | None
    """Who is asked where the rules leave it open; None holds then."""
    review_system: str
    passes: int = 0
    _instruments: Mapping[str, Instrument] = field(default_factory=dict[str, Instrument])
    _usual: dict[str, UsualVolume | None] = field(default_factory=dict[str, UsualVolume | None])
    guarded_until: datetime | None = None
    """Up to when positions were guarded without the database, if they were."""
    _halted: frozenset[str] = frozenset()
    _odd_lots: frozenset[str] = frozenset()
    _problems: list[str] = field(default_factory=list[str])
    _left: list[str] = field(default_factory=list[str])
    _prices: HeldPrices = field(init=False)

    def __post_init__(self) -> None:
        """Begin without a price."""
        self._prices = HeldPrices(place=self.place)

    async def make_pass(self) -> Pass:
        """Look at everything once. Raises what ends the run, and BrokerUnavailable."""
        place, now = self.place, self.place.clock.now()
        self.passes += 1
        self._problems, self._left, self._odd_lots = [], [], frozenset()
        if place.session is None or not place.session.is_open(now):
            self._prices.forget()
            return Pass(watched=len(await self._held()))
        context = replace(place.context, occasion=f"#{self.passes}")
        executor = ToolExecutor(replace(place, context=context))
        await executor.orders.synchronise()
        await silence.note_unguarded(
            place, executor.orders, is_pass=True, guarded_until=self.guarded_until
        )
        await executor.orders.tidy(why="its time is over")
        held = await self._held()
        if held and await unscheduled_closure(executor, place, place.session) is None:
            await self._watch_all(executor, held)
        await monitor.end_watch(place.connection, agent_id=self._agent_id, at=now)
        return Pass(
            watched=len(held),
            left=tuple(self._left),
            odd_lots=tuple(sorted(self._odd_lots)),
            orders=executor.orders.orders_placed,
            fills=executor.orders.fills,
            alerts=tuple(executor.orders.alerts),
            problem="; ".join(self._problems) or None,
        )

    async def _watch_all(self, executor: ToolExecutor, held: Sequence[PositionRecord]) -> None:
        """Leave what price and time alone say, before indicators are worked out for the others."""
        snapshot = await executor.look([record.symbol for record in held])
        self._instruments = snapshot.instruments
        self._problems += filter(None, [executor.lookout.feed_problem])
        self._odd_lots = await executor.orders.tell_of_dust(snapshot)
        held = [record for record in held if record.symbol not in self._odd_lots]
        await self._tell_of_halts(executor, held, snapshot)
        await self._follow_the_market(executor, held, snapshot)
        await silence.tell_of_sales_that_hang(self.place, executor.orders)
        if await self._day_is_lost(executor, snapshot):
            return
        undecided: list[tuple[PositionRecord, WatchState, Confirmed | Unavailable]] = []
        for record in held:
            price = await self._prices.of(record, snapshot)
            await self._tell_of_no_price(executor, record, price)
            state = await monitor.watch_state(self.place.connection, record.position_id)
            look = self._look(record, state, price, NOTHING_SEEN)
            if look.is_to_be_left:
                await self._act(executor, look, None)
            else:
                undecided.append((record, state, price))
        seen = await self._seen([record for record, _, _ in undecided])
        for record, state, price in undecided:
            look = self._look(record, state, price, seen.get(record.symbol, NOTHING_SEEN))
            await self._act(executor, look, await self._second_opinion(look))

    async def _tell_of_halts(
        self, executor: ToolExecutor, held: Sequence[PositionRecord], snapshot: Snapshot
    ) -> None:
        """A halt of what is held is for a person to know of: nothing can be sold while it lasts."""
        before = self._halted
        self._halted = frozenset(s for s, quote in snapshot.quotes.items() if quote.halted)
        for record in held:
            if record.symbol in self._halted - before:
                await executor.orders.alert(
                    f"trading in {record.symbol} is halted",
                    f"{record.quantity} shares of {record.symbol} are held. Their orders stay, and work"
                    " again when trading goes on.",
                    key=f"halted-{record.position_id}",
                    severity="warning",
                )

    async def _tell_of_no_price(
        self, executor: ToolExecutor, record: PositionRecord, price: Confirmed | Unavailable
    ) -> None:
        """Where no stop can rest, nobody guards a position whose price is not known."""
        if isinstance(price, Unavailable):
            self._problems.append(price.why)
            unknown_for = self._prices.unknown_for(record).total_seconds()
            if self.has_stops or unknown_for < self._settings.silence_alarm_seconds:
                return
            await executor.orders.alert(
                f"the price of {record.symbol} is not known, and no stop rests",
                f"{record.quantity} shares of {record.symbol} are not guarded since"
                f" {unknown_for:.0f} seconds: {price.why}",
                key=f"no-price-{record.position_id}",
            )

    async def _follow_the_market(
        self, executor: ToolExecutor, held: Sequence[PositionRecord], snapshot: Snapshot
    ) -> None:
        """Move sales that the market has left behind to where it is now; nobody wants to wait for a rise."""
        sales = {
            sale.symbol: sale
            for sale in await orders.open_orders(self.place.connection, self._agent_id)
            if sale.order_purpose is OrderPurpose.EXIT
            and sale.status is not OrderState.CANCEL_PENDING
            and is_left_behind(sale.limit_price, sale.symbol, snapshot)
        }
        for record in held:
            if record.symbol in sales:
                why = sales[record.symbol].reason or "a sale that the market left behind"
                problem = await self._sell(executor, record, why)
                self._problems += filter(None, [problem])

    async def _day_is_lost(self, executor: ToolExecutor, snapshot: Snapshot) -> bool:
        """Close everything and halt where the day's loss limit is reached."""
        session = self.place.session
        if session is None:
            return False
        rules = HouseRules(
            place=self.place,
            session=session,
            calendar=self.calendar,
            executor=executor,
            slot=None,
        )
        await rules.take_stock()
        lost = await rules.loss_that_ends_the_day(snapshot)
        if lost is None:
            return False
        self._left += await executor.lookout.without_a_sale()
        await rules.close_for_loss(lost)
        return True

    def _look(
        self,
        record: PositionRecord,
        state: WatchState,
        price: Confirmed | Unavailable,
        seen: Seen,
    ) -> Look:
        watch = self._watched(record, state, price, seen)
        found = signals.detect(watch, self._signals)
        level = self._level(record, watch, price)
        decision = (
            signals.decide(found)
            if level is None
            else Decision(recommendation=Recommendation.EXIT, label=Label.STRONG_EXIT, reason=level)
        )
        return Look(
            record=record, state=state, watch=watch, seen=seen, found=found, decision=decision
        )

    def _watched(
        self,
        record: PositionRecord,
        state: WatchState,
        price: Confirmed | Unavailable,
        seen: Seen,
    ) -> Watch:
        confirmed = price if isinstance(price, Confirmed) else None
        known = (state.best_price, record.entry_price, confirmed.low if confirmed else None)
        schedule = self.place.settings.schedule
        return Watch(
            symbol=record.symbol,
            quantity=record.quantity,
            now=self.place.clock.now(),
            entry_price=record.entry_price,
            opened_at=record.opened_at,
            best_price=max(price for price in known if price is not None),
            price=confirmed.high if confirmed else None,
            technicals=seen.technicals,
            volume=seen.volume,
            session=self.place.session,
            may_stay_overnight=schedule.may_hold_overnight,
            may_stay_over_lunch=schedule.may_hold_over_lunch,
        )

    def _level(
        self, record: PositionRecord, watch: Watch, price: Confirmed | Unavailable
    ) -> str | None:
        """Where no stop can rest at the broker, say which level of the position the price has reached."""
        if self.has_stops or isinstance(price, Unavailable):
            return None
        stop, instrument = record.stop_loss, self._instruments.get(record.symbol)
        if instrument is not None and signals.is_trailing(watch, self._signals):
            stop = signals.trailing_stop(
                previous=stop,
                best_price=watch.best_price,
                instrument=instrument,
                settings=self._signals,
            )
        return signals.level_reached(
            high=price.high, low=price.low, stop=stop, target=record.take_profit
        )

    async def _seen(self, held: Sequence[PositionRecord]) -> Mapping[str, Seen]:
        """Read indicators and volume; without them a position is still guarded by price and time."""
        if not held:
            return {}
        opened = {record.symbol: record.opened_at for record in held}
        try:
            wanted = [symbol for symbol in opened if symbol not in self._usual]
            self._usual |= await watching.usual_volumes(
                self.place.feed, wanted, earlier=self.place.sessions[:-1]
            )
            return await watching.look(
                self.place.feed,
                opened,
                sessions=self.place.sessions[-watching.SESSIONS_NEEDED :],
                usual=self._usual,
                now=self.place.clock.now(),
                window=timedelta(minutes=self._signals.volume_window_minutes),
            )
        except FeedUnavailable as error:
            self._problems.append(str(error))
            return {}

    async def _second_opinion(self, look: Look) -> Opinion | None:
        """Ask a model about a position that the rules leave open, where that is due."""
        if look.decision.recommendation is not Recommendation.REVIEW or self.reviewer is None:
            return None
        if not second_opinion.is_due(
            now=self.place.clock.now(),
            last_asked_at=look.state.reviewed_at,
            asked_so_far=look.state.reviews,
            settings=self._settings,
        ):
            return None
        return await self.reviewer.ask(
            system=self.review_system,
            question=as_question(look),
        )

    async def _act(self, executor: ToolExecutor, look: Look, opinion: Opinion | None) -> None:
        """Leave the position where that is what rules or opinion say, and write down what was seen."""
        wanted = look.is_to_be_left or (
            opinion is not None and opinion.recommendation is Recommendation.EXIT
        )
        error = await self._leave(executor, look, opinion) if wanted else None
        if error is not None:
            self._problems.append(error)
        check = as_check(look, opinion, error, pause=self.pause)
        await monitor.record_check(
            self.place.connection,
            check,
            agent_id=self._agent_id,
            pid=os.getpid(),
            at=look.watch.now,
        )

    async def _leave(
        self, executor: ToolExecutor, look: Look, opinion: Opinion | None
    ) -> str | None:
        """Sell the position by the path of every exit, once; return why that did not work."""
        if look.record.symbol not in await executor.lookout.without_a_sale():
            return None
        why = look.decision.reason if opinion is None else f"second opinion: {opinion.reason}"
        return await self._sell(executor, look.record, why)

    async def _sell(self, executor: ToolExecutor, record: PositionRecord, why: str) -> str | None:
        logger.info("leaving", symbol=record.symbol, why=why)
        try:
            submissions = await executor.orders.exit(record.symbol, why=why)
        except ENDS_THE_RUN:
            raise
        except CatalystError as error:
            problem: str | None = str(error)
        else:
            problem = next(filter(None, map(why_not_resting, submissions)), None)
            self._left.append(record.symbol)
        if problem is not None and await self._is_gone(executor, record):
            return None
        if problem is not None:
            await executor.orders.alert(
                f"{record.symbol} should be left and is not sold",
                f"{record.quantity} shares of {record.symbol}: {why}; but {problem}",
                key=f"not-left-{record.position_id}",
            )
        return problem

    async def _is_gone(self, executor: ToolExecutor, record: PositionRecord) -> bool:
        """Whether the position was sold by its own stop or target while it was to be left."""
        try:
            await executor.orders.synchronise()
        except BrokerUnavailable:
            return False
        return record.symbol not in await executor.lookout.positions_of_ours()

    @property
    def pause(self) -> timedelta:
        """How long to wait for the next pass."""
        settings = self._settings
        return timedelta(
            seconds=settings.check_seconds
            if self.has_stops
            else settings.check_seconds_without_stops
        )

    @property
    def has_stops(self) -> bool:
        """Whether stops rest at the broker, so that it guards too."""
        return self.place.broker.capabilities.has_stops

    async def _held(self) -> tuple[PositionRecord, ...]:
        return await positions.open_positions(self.place.connection, self._agent_id)

    @property
    def _agent_id(self) -> str:
        return self.place.context.agent_id

    @property
    def _settings(self) -> MonitorSettings:
        return self.place.settings.monitor

    @property
    def _signals(self) -> SignalSettings:
        return self.place.settings.signals
