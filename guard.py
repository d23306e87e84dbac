"""One pass over the open positions: level with the broker, stops verified, signals read, exits by rule.

Knows neither when the next pass is due nor how the process began. A model is asked only where the rules
leave it open, and whatever goes wrong there means hold.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

import signals
from brokers.submissions import why_not_resting
from by_rule import HouseRules
from lookout import Workplace
from market import watching
from market.calendar import Calendar
from market.volume_pace import UsualVolume
from market.watching import Seen
from rules.quotes import Confirmed, Reading, Unavailable, Yardstick, confirmed_price, reading
from shared import log, second_opinion
from shared.config import MonitorSettings, SignalSettings
from shared.database import monitor, positions
from shared.database.monitor import Check, WatchState
from shared.database.positions import PositionRecord
from shared.errors import ENDS_THE_RUN, CatalystError, FeedUnavailable
from shared.models import Instrument, Quote, Snapshot
from shared.second_opinion import Opinion, Reviewer
from shared.watch import Decision, Direction, Label, Recommendation, Signal, Watch
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
    orders: int = 0
    fills: int = 0
    alerts: tuple[str, ...] = ()
    problem: str | None = None
    """Why something could not be seen or done; the pass went on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One position as it is seen, and what follows."""

    record: PositionRecord
    state: WatchState
    watch: Watch
    seen: Seen
    found: tuple[Signal, ...]
    decision: Decision

    @property
    def is_to_be_left(self) -> bool:
        """Whether the rules alone say so."""
        return self.decision.recommendation is Recommendation.EXIT


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
    _readings: dict[str, Reading] = field(default_factory=dict[str, Reading])
    _problems: list[str] = field(default_factory=list[str])
    _left: list[str] = field(default_factory=list[str])

    async def make_pass(self) -> Pass:
        """Look at everything once. Raises what ends the run, and BrokerUnavailable."""
        place, now = self.place, self.place.clock.now()
        self.passes += 1
        self._problems, self._left = [], []
        if place.session is None or not place.session.is_open(now):
            return Pass(watched=len(await self._held()))
        context = replace(place.context, occasion=f"#{self.passes}")
        executor = ToolExecutor(replace(place, context=context))
        await executor.orders.synchronise()
        await executor.orders.tidy(why="its time is over")
        held = await self._held()
        if held:
            await self._watch_all(executor, held)
        await monitor.end_watch(place.connection, agent_id=self._agent_id, at=now)
        return Pass(
            watched=len(held),
            left=tuple(self._left),
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
        if await self._day_is_lost(executor, snapshot):
            return
        undecided: list[tuple[PositionRecord, WatchState, Confirmed | Unavailable]] = []
        for record in held:
            price = await self._price(record, snapshot)
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
        if self.place.broker.capabilities.has_stops or isinstance(price, Unavailable):
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

    async def _price(self, record: PositionRecord, snapshot: Snapshot) -> Confirmed | Unavailable:
        """Believe a price that two readings agree on: the feed's, and the broker's, the feed's next or last."""
        yardstick = Yardstick(
            symbol=record.symbol,
            currency=record.currency,
            quoted_in=self.place.settings.market.currency,
            reference=record.entry_price,
        )
        first = self._reading(snapshot.quotes.get(record.symbol), yardstick)
        found = confirmed_price(
            first,
            await self._second_reading(record, snapshot, yardstick, first),
            stop=record.stop_loss,
            settings=self._signals,
        )
        if isinstance(first, Reading):
            self._readings[record.symbol] = first
        if isinstance(found, Unavailable):
            self._problems.append(found.why)
        return found

    async def _second_reading(
        self,
        record: PositionRecord,
        snapshot: Snapshot,
        yardstick: Yardstick,
        first: Reading | Unavailable,
    ) -> Reading | Unavailable:
        held = snapshot.position(record.symbol)
        if held is not None and held.market_price is not None and held.market_price.is_finite():
            return Reading(price=held.market_price, at=snapshot.taken_at, source="broker")
        try:
            quotes = await self.place.feed.quotes((record.symbol,))
        except FeedUnavailable as error:
            return Unavailable(str(error))
        again = self._reading(quotes.get(record.symbol), yardstick)
        if isinstance(again, Reading) and again == first:
            # nothing has been quoted since: the reading of the pass before is the other one
            return self._readings.get(record.symbol, again)
        return again

    def _reading(self, quote: Quote | None, yardstick: Yardstick) -> Reading | Unavailable:
        now = self.place.clock.now()
        return reading(quote, yardstick, now=now, source="feed", settings=self._signals)

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
            question=_question(look),
        )

    async def _act(self, executor: ToolExecutor, look: Look, opinion: Opinion | None) -> None:
        """Leave the position where that is what rules or opinion say, and write down what was seen."""
        wanted = look.is_to_be_left or (
            opinion is not None and opinion.recommendation is Recommendation.EXIT
        )
        error = await self._leave(executor, look, opinion) if wanted else None
        if error is not None:
            self._problems.append(error)
        check = _check(look, opinion, error, pause=self.pause)
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
        record = look.record
        if record.symbol not in await executor.lookout.without_a_sale():
            return None
        why = look.decision.reason if opinion is None else f"second opinion: {opinion.reason}"
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
        if problem is not None:
            await executor.orders.alert(
                f"{record.symbol} should be left and is not sold",
                f"{record.quantity} shares of {record.symbol}: {why}; but {problem}",
                key=f"not-left-{record.position_id}",
            )
        return problem

    @property
    def pause(self) -> timedelta:
        """How long to wait for the next pass."""
        settings = self._settings
        has_stops = self.place.broker.capabilities.has_stops
        return timedelta(
            seconds=settings.check_seconds if has_stops else settings.check_seconds_without_stops
        )

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


def _check(look: Look, opinion: Opinion | None, error: str | None, *, pause: timedelta) -> Check:
    watch, technicals = look.watch, look.seen.technicals
    return Check(
        position_id=look.record.position_id,
        symbol=watch.symbol,
        status="running" if error is None else "error",
        next_check_at=watch.now + pause,
        last_price=watch.price,
        high_watermark=watch.best_price,
        current_pnl_pct=signals.profit_pct(watch),
        last_rsi=technicals.rsi_14 if technicals else None,
        last_macd_signal=_side(technicals.macd_line, technicals.macd_signal)
        if technicals
        else None,
        last_vwap_position=_side(watch.price, technicals.vwap) if technicals else None,
        last_ema20_position=_side(watch.price, technicals.ema_20) if technicals else None,
        hold_signals=tuple(one.kind for one in look.found if one.direction is Direction.HOLD),
        exit_signals=tuple(one.kind for one in look.found if one.direction is Direction.EXIT),
        signal_strength=look.decision.label,
        recommendation=look.decision.recommendation,
        recommendation_reason=look.decision.reason,
        reviews=int(opinion is not None),
        last_review=opinion.recommendation if opinion else None,
        review_cost_usd=opinion.cost_usd if opinion else Decimal(0),
        error=error,
    )


def _question(look: Look) -> str:
    record, watch = look.record, look.watch
    facts: dict[str, object] = {
        "symbol": record.symbol,
        "shares": record.quantity,
        "currency": record.currency,
        "bought_at": record.entry_price,
        "bought": record.opened_at,
        "why_bought": record.entry_reason,
        "price": watch.price,
        "now": watch.now,
        "profit_pct": signals.profit_pct(watch),
        "best_price": watch.best_price,
        "stop": record.stop_loss,
        "target": record.take_profit,
    }
    return second_opinion.question(facts, [second_opinion.in_words(one) for one in look.found])


def _side(value: Decimal | None, of: Decimal | None) -> str | None:
    """Say on which side of a line a value lies."""
    if value is None or of is None:
        return None
    return "above" if value > of else "below"
