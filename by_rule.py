"""What a cycle does without asking anybody: the day's loss limit, the close, and what a person is told.

Every order still goes through the desk and past safety.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import silence
from agreement import closure_key
from closing import Closing
from lookout import Workplace
from market import calendar_horizon
from market.calendar import Calendar
from outside_money import money_since_start
from shared import trading_state
from shared.database import monitor, records
from shared.database.connection import Connection
from shared.errors import CalendarExhausted
from shared.models import Mode, SessionHours, Snapshot
from shared.outcome import Status
from shared.schedule import Slot
from standing import Standpoint, take_stock_unless_clean
from tool_executor import ToolExecutor


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseRules:
    """The rules of one cycle in one session."""

    place: Workplace
    session: SessionHours
    calendar: Calendar
    executor: ToolExecutor
    slot: Slot | None
    """The slot that the cycle is for; None for one that a person forced."""

    async def loss_that_ends_the_day(self, seen: Snapshot | None = None) -> str | None:
        """Say by how much the day's loss limit is reached, or None; warn a person on the way there."""
        place, limits = self.place, self.place.settings.limits
        seen = seen or await self.executor.look()
        start, equity = seen.session_start_equity, seen.account.equity
        if place.mode is Mode.SCAN:
            return None
        if start is None or not equity.is_finite():
            await self._alert_of_unknown_equity(equity)
            return None
        loss = start - equity
        if loss >= limits.daily_loss_limit:
            return f"the day's loss of {loss} has reached the limit of {limits.daily_loss_limit}"
        if loss >= start * limits.daily_loss_warning_pct / 100:
            await self.executor.orders.alert(
                f"the day's loss is {loss} {limits.currency}",
                f"Everything is closed and trading halts at {limits.daily_loss_limit}.",
                key=f"loss-warning-{self.session.session_date}",
                severity="warning",
            )
        return None

    async def take_stock(self) -> None:
        """Find out what the day gained without trading, and whether the session may have entries.

        A session whose comparison was not clean yet is compared again; what is found keeps no sale back.
        """
        place = self.place
        outside = await money_since_start(
            place.connection,
            place.broker,
            agent_id=place.context.agent_id,
            session_date=self.session.session_date,
            zone=self.calendar.timezone,
        )
        self.executor.lookout.money_from_outside = outside
        if abs(outside) >= 1:
            await self.executor.orders.alert(
                f"{outside} {place.settings.limits.currency} came from outside",
                "Cash changed by more than was traded: a dividend, interest, a deposit, a fee. It counts"
                " neither as profit nor against the day's loss limit.",
                key=f"outside-{self.session.session_date}-{outside}",
                severity="info",
            )
        if place.mode in {Mode.TRADE, Mode.CLOSE}:
            await take_stock_unless_clean(self._standpoint())

    async def alert_of_silence(self) -> None:
        """A monitor that has been silent for long while the exchange is open is for a person to know of."""
        place, now = self.place, self.place.clock.now()
        await silence.note_unguarded(place, self.executor.orders, is_pass=False)
        part, within = self.session.part_at(now), place.settings.monitor.silence_alarm_seconds
        has_stops = place.broker.capabilities.has_stops
        may_be_silent = place.settings.monitor.entries_need_a_check_within_seconds is None
        if part is None or (may_be_silent and has_stops):
            return
        last = await monitor.last_beat(place.connection, place.context.agent_id)
        since = part[0] if last is None else max(part[0], last.beat_at)
        silent = (now - since).total_seconds()
        if silent <= within:
            return
        heard = "never" if last is None else f"last at {last.beat_at.isoformat()}"
        why = "" if last is None or last.problem is None else f" It said: {last.problem}."
        await self.executor.orders.alert(
            f"nobody watches the positions: the monitor is silent for {silent:.0f} seconds",
            f"The position monitor was heard {heard}; {within:.0f} seconds are allowed.{why}"
            f" {silence.what_guards(has_stops=has_stops)} No positions are opened. Cron starts it anew every minute: see the log.",
            key=f"monitor-silent-{heard}",
        )

    def _standpoint(self) -> Standpoint:
        place = self.place
        return Standpoint(
            settings=place.settings,
            connection=place.connection,
            broker=place.broker,
            feed=place.feed,
            clock=place.clock,
            desk=self.executor.orders,
            context=place.context,
            session=self.session,
            home=place.home,
        )

    async def close_for_loss(self, why: str) -> tuple[Status, str]:
        """Halt until the next session, then sell everything of ours; Claude is not asked."""
        place = self.place
        if not place.context.dry_run:
            await trading_state.halt_for_daily_loss(
                place.connection,
                agent_id=place.context.agent_id,
                home=place.home,
                why=why,
                at=place.clock.now(),
                next_open=self._next_open(),
                cycle_id=place.context.cycle_id,
            )
        if place.mode is Mode.CLOSE:
            return await self.closing.sell_all(why)
        return await self._sell_once(why)

    def _next_open(self) -> datetime:
        """When the next session opens; past the calendar's end nothing is traded anyway."""
        try:
            return self.calendar.next_session(self.session.session_date).opens_at
        except CalendarExhausted:
            return self.session.closes_at + timedelta(days=1)

    @property
    def closing(self) -> Closing:
        """What a close does by rule."""
        return Closing(
            place=self.place,
            session=self.session,
            executor=self.executor,
            slot_at=None if self.slot is None else self.slot.at,
        )

    async def _sell_once(self, reason: str) -> tuple[Status, str]:
        """Sell what is held; what is left is for the runs that follow, of which each does the same."""
        sold, left = await self.executor.sell_what_is_held(why=reason)
        said = f"{reason}; sold by rule: {', '.join(sold)}" if sold else reason
        if left:
            await self.executor.orders.alert(
                "positions are still held that should be sold",
                f"No sale is under way for {', '.join(left)}: {said}",
                key=f"not-sold-{self.place.context.cycle_id}",
            )
            return Status.FAILED, f"still held: {', '.join(left)}; {said}"
        return Status.DONE, said

    async def alert_of_what_is_held_overnight(self) -> None:
        """A position that outlives its session is for a person to know of, and an alarm where none may.

        Of what an unscheduled closure kept from being sold a person knows already.
        """
        place, held = self.place, await self.executor.lookout.sellable_positions()
        if not held or place.clock.now() < self.session.closes_at:
            return
        key = closure_key(self.session)
        if await records.is_told(place.connection, agent_id=place.context.agent_id, key=key):
            return
        may = place.settings.schedule.may_hold_overnight
        body = (
            "These positions may be held overnight" if may else "The close did not get these sold"
        )
        rest = (
            "their stops and targets rest"
            if place.broker.capabilities.has_stops
            else "nothing of theirs rests at this broker, and the monitor guards them from the next open on"
        )
        await self.executor.orders.alert(
            f"held after the session of {self.session.session_date}: {', '.join(held)}",
            f"{body}; {rest}.",
            key=f"overnight-{self.session.session_date}",
            severity="info" if may else "critical",
        )

    async def alert_of_money(self, why: str) -> None:
        """Without money for Claude entries stop; what code does by rule goes on."""
        await self.executor.orders.alert(
            "Claude cannot be paid",
            f"{why}. No positions are opened; stops, exits by rule and closing go on.",
            key=f"money-{self.session.session_date}",
        )

    async def _alert_of_unknown_equity(self, equity: Decimal) -> None:
        await self.executor.orders.alert(
            "the account's equity is not a number",
            f"The broker says {equity}. No positions are opened; the loss limit cannot be judged.",
            key=f"equity-{self.session.session_date}",
        )


async def warn_of_the_calendars_end(
    connection: Connection, calendar: Calendar, *, agent_id: str, cycle_id: str, now: datetime
) -> None:
    """Tell a person once a week, months ahead: past its end nothing is traded."""
    week = now.isocalendar()
    for warning in calendar_horizon.warnings(calendar, calendar.exchange_date(now)):
        await records.queue_alert(
            connection,
            agent_id=agent_id,
            cycle_id=cycle_id,
            severity="warning",
            subject=f"the calendar of {calendar.exchange} ends",
            body=warning,
            dedupe_key=f"calendar-{calendar.exchange}-{week.year}-{week.week}",
            at=now,
        )
