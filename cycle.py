"""One cycle: opens what the mode needs, asks Claude where there is something to ask, records the end.

Knows neither command line nor environment; everything it works with is given to it.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from time import monotonic

import by_rule
import cycle_words as words
import tools
from agreement import tell_of_drift, tell_of_other_hours, unscheduled_closure
from by_rule import HouseRules
from punctuality import note_missed_slots
from shared import consciousness, log
from shared.agent_loop import LoopResult, run_loop
from shared.brain import Brain
from shared.claude import AnthropicModel
from shared.clock import Clock
from shared.config import Configuration, Settings
from shared.conversation import LoopEnd
from shared.cycle_journal import CycleJournal
from shared.cycle_record import CycleRecord
from shared.database import claude_calls, cycles, orders, positions, records
from shared.database.connection import Connection
from shared.database.fences import Sender
from shared.errors import (
    ENDS_THE_RUN,
    BrokerUnavailable,
    CatalystError,
    ConfigError,
    DatabaseUnavailable,
)
from shared.identity import cycle_id
from shared.journal.books import Books
from shared.journal.replay import replay
from shared.models import Mode, Snapshot
from shared.outcome import Outcome, Status
from shared.paths import PROJECT
from shared.prices import PRICE_FILE, load_prices
from shared.prompts import Prompts, prompt_hash
from shared.version import code_version
from stage import Stage
from tool_answers import compact
from tool_executor import ToolExecutor
from workplace import open_workplace

logger = log.get(__name__)

DECISIONS_TOLD = 5
NOTHING_HELD = "nothing is held, so nothing has to be closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a cycle is made of; opened and closed by the entry point."""

    configuration: Configuration
    stage: Stage
    books: Books
    """The trading database, and the journal beside it."""
    research: "Connection | None"
    """None where a close has to go on without it."""
    sender: Sender
    cycle_id: str
    mode: Mode
    forced: bool
    dry_run: bool
    brain: Brain
    open_model: Callable[[], AnthropicModel]
    """Makes the connection to who decides; expensive, so called only when there is something to ask."""
    log_problem: Callable[[], str | None]
    """Why the log file cannot be written, if it cannot."""

    @property
    def trading(self) -> Connection:
        """The trading database."""
        return self.books.connection


async def name_cycle(books: Books, agent_id: str, mode: Mode, stage: Stage) -> str:
    """Name the cycle by its slot; one that is run again at the same moment gets the next number.

    The caller holds the lock that belongs to the mode. What an earlier run could only keep in its journal is taken over
    first, and rows that a dead run left open are closed.
    """
    trading = books.connection
    await replay(books, at=stage.clock.now())
    for abandoned in await cycles.mark_abandoned_cycles(
        trading, agent_id, stage.clock.now(), of_monitor=mode is Mode.MONITOR
    ):
        await records.queue_alert(
            trading,
            agent_id=agent_id,
            cycle_id=abandoned,
            severity="warning",
            subject=f"cycle {abandoned} died",
            body="Its process ended without a word; what it had under way is looked up now.",
            dedupe_key=f"died-{abandoned}",
            at=stage.clock.now(),
        )
    at, attempt = stage.clock.now(), 1
    while await cycles.cycle_exists(trading, cycle_id(agent_id, mode, at, attempt=attempt)):
        attempt += 1
    return cycle_id(agent_id, mode, at, attempt=attempt)


class Cycle:
    """One run, from its first row to its last; the last one is written however the run ends."""

    def __init__(self, parts: Parts) -> None:
        """Name the cycle and start its journal; nothing is opened or written yet."""
        self._parts: Parts = parts
        self._settings: Settings = parts.configuration.settings
        self._agent_id: str = self._settings.agent.id
        self._clock: Clock = parts.stage.clock
        self._stack: AsyncExitStack = AsyncExitStack()
        self._journal: CycleJournal = CycleJournal(
            parts.books,
            clock=self._clock,
            agent_id=self._agent_id,
            cycle_id=parts.cycle_id,
            budget_date=parts.stage.session.session_date,
            budget_usd=self._settings.claude.daily_budget_usd,
        )
        self._record: CycleRecord = CycleRecord(
            books=parts.books,
            research=parts.research,
            clock=self._clock,
            agent_id=self._agent_id,
            cycle_id=parts.cycle_id,
            session_date=parts.stage.session.session_date,
        )
        self._executor: ToolExecutor | None = None
        self._closing: Snapshot | None = None
        self._result: LoopResult | None = None

    async def run(self) -> Outcome:
        """Play the mode and record how it ended, however it ends; every end becomes an outcome."""
        await self._begin()
        started = monotonic()
        try:
            async with self._stack:
                await self._record.wake_up(self._parts.mode, self._settings.claude.daily_budget_usd)
                outcome = await self._play()
        except asyncio.CancelledError as ended:
            outcome = self._outcome(*words.ended_early(ended))
        except CatalystError as error:
            logger.exception("cycle_failed")
            status = Status.USAGE if isinstance(error, ConfigError) else Status.FAILED
            outcome = self._outcome(status, str(error))
        except Exception as error:
            logger.exception("cycle_failed")
            what = f"a defect in Catalyst: {type(error).__name__}: {error}"
            outcome = self._outcome(Status.FAILED, what)
        return await self._recorded(outcome, monotonic() - started)

    async def _begin(self) -> None:
        """Write the first row; where its answer is lost, the journal says how the run ended."""
        try:
            await self._record.start(self._start())
        except DatabaseUnavailable as error:
            self._record.note_end(self._outcome(Status.FAILED, str(error)))
            raise

    async def _recorded(self, outcome: Outcome, seconds: float) -> Outcome:
        """Write the cycle's last row; when that fails too, the outcome says both."""
        problem = self._parts.log_problem()
        notes = () if problem is None else (problem,)
        try:
            await self._record.finish(outcome, seconds=seconds, log_problem=problem)
        except CatalystError as error:
            logger.exception("cycle_end_not_recorded")
            why = f"{outcome.reason}; and its end could not be recorded: {error}"
            return replace(outcome, status=Status.FAILED, reason=why, notes=notes)
        return replace(outcome, notes=notes)

    async def _play(self) -> Outcome:
        await self._look_around()
        idle = await self._nothing_to_do()
        if idle is not None:
            return self._outcome(Status.NOTHING_TO_DO, idle)
        executor, rules = await self._open()
        await executor.orders.synchronise()
        if self._parts.mode is not Mode.SCAN:
            await self._protect_first(executor)
        await rules.take_stock()
        if self._parts.mode is not Mode.SCAN:
            await rules.alert_of_silence()
        status, reason = await self._dealt_with(executor, rules)
        if self._parts.mode is not Mode.SCAN:
            await executor.orders.synchronise()
            await executor.orders.tidy(why="filled in part")
        if self._parts.mode is Mode.HEARTBEAT:
            await rules.alert_of_what_is_held_overnight()
        self._closing = await executor.look()
        return self._outcome(status, reason)

    async def _look_around(self) -> None:
        """Tell of a calendar that ends, and of slots that nobody served."""
        await by_rule.warn_of_the_calendars_end(
            self._parts.trading,
            self._parts.stage.calendar,
            agent_id=self._agent_id,
            cycle_id=self._parts.cycle_id,
            now=self._clock.now(),
        )
        if not self._parts.dry_run:
            await note_missed_slots(
                self._parts.trading,
                agent_id=self._agent_id,
                cycle_id=self._parts.cycle_id,
                schedule=self._settings.schedule,
                calendar=self._parts.stage.calendar,
                session=self._parts.stage.session,
                now=self._clock.now(),
            )

    async def _dealt_with(self, executor: ToolExecutor, rules: HouseRules) -> tuple[Status, str]:
        """Do what the mode is for, unless the broker says that the exchange is closed, or the day is lost."""
        place, session = rules.place, self._parts.stage.session
        await tell_of_drift(executor, place, session)
        await tell_of_other_hours(executor, session)
        closed = await unscheduled_closure(executor, place, session)
        if closed is not None:
            return Status.NOTHING_TO_DO, closed
        lost = await rules.loss_that_ends_the_day()
        if lost is not None:
            return await rules.close_for_loss(lost)
        return await self._decided(executor, rules)

    async def _protect_first(self, executor: ToolExecutor) -> None:
        """End entries whose time is over and protect what is held, before anything is compared or asked.

        A broker that cannot be read now is found out by the comparison, and protected against at the end.
        """
        over = self._parts.mode is not Mode.TRADE
        try:
            await executor.orders.tidy(why="its time is over", all_entries=over)
        except BrokerUnavailable as error:
            logger.warning("not_protected_yet", why=str(error))

    async def _decided(self, executor: ToolExecutor, rules: HouseRules) -> tuple[Status, str]:
        """Let Claude decide where there is something to ask; close mode sells by rule in any case."""
        mode = self._parts.mode
        if mode is Mode.CLOSE and not await executor.lookout.sellable_positions():
            return self._idle(executor, NOTHING_HELD)
        why_not = await self._nothing_to_ask(executor, rules)
        if mode is not Mode.CLOSE:
            return self._idle(executor, why_not) if why_not else await self._ask(executor, rules)
        try:
            reason = why_not or (await self._ask(executor, rules))[1]
        except ENDS_THE_RUN:
            raise
        except CatalystError as error:
            logger.exception("claude_not_asked")
            reason = f"Claude could not be asked: {error}"
        return await rules.closing.close(reason)

    def _idle(self, executor: ToolExecutor, reason: str) -> tuple[Status, str]:
        """A run that found nothing to ask may still have done something."""
        return (Status.DONE if executor.orders.has_acted else Status.NOTHING_TO_DO), reason

    async def _nothing_to_do(self) -> str | None:
        """Say why there is nothing to do, from the clock and the database alone; None if there is."""
        parts, now = self._parts, self._clock.now()
        match parts.mode:
            case Mode.TRADE | Mode.CLOSE:
                if not parts.stage.session.is_open(now):
                    return words.closed_market(
                        parts.stage.session, now, parts.stage.calendar.timezone
                    )
                if parts.mode is Mode.CLOSE and not await self._anything_open():
                    return NOTHING_HELD
            case Mode.HEARTBEAT:
                if not await self._anything_open() and not await self._messages():
                    return "no messages, no open orders, no open positions"
            case Mode.SCAN | Mode.MONITOR:
                return None
        return None

    async def _nothing_to_ask(self, executor: ToolExecutor, rules: HouseRules) -> str | None:
        """Say why Claude need not, or cannot, be asked; None if there is something to ask."""
        parts = self._parts
        if parts.mode is Mode.HEARTBEAT and not await self._messages():
            return f"no messages; {executor.orders.fills} new fills recorded"
        if parts.mode is Mode.CLOSE and await self._was_asked_before():
            return "Claude was asked by an earlier run of this slot"
        left = await claude_calls.budget_left(
            parts.trading,
            agent_id=self._agent_id,
            budget_date=parts.stage.session.session_date,
            budget_usd=self._settings.claude.daily_budget_usd,
        )
        if left <= 0:
            why = f"the day's budget of {self._settings.claude.daily_budget_usd} USD is spent"
            await rules.alert_of_money(why)
            return why
        return None

    async def _was_asked_before(self) -> bool:
        slot = self._parts.stage.slot
        return slot is not None and await cycles.slot_was_asked(
            self._parts.trading,
            agent_id=self._agent_id,
            mode=self._parts.mode,
            slot_at=slot.at,
            besides=self._parts.cycle_id,
        )

    async def _open(self) -> tuple[ToolExecutor, HouseRules]:
        """Open what the cycle works with."""
        parts = self._parts
        place = await open_workplace(
            self._stack,
            settings=self._settings,
            stage=parts.stage,
            books=parts.books,
            mode=parts.mode,
            sender=parts.sender,
            cycle_id=parts.cycle_id,
            dry_run=parts.dry_run,
        )
        self._executor = ToolExecutor(place)
        rules = HouseRules(
            place=place,
            session=parts.stage.session,
            calendar=parts.stage.calendar,
            executor=self._executor,
            slot=parts.stage.slot,
        )
        return self._executor, rules

    async def _ask(self, executor: ToolExecutor, rules: HouseRules) -> tuple[Status, str]:
        """Let Claude decide, with the tools of this mode; return what the talk came to."""
        parts = self._parts
        messages = await self._messages() if parts.mode is Mode.HEARTBEAT else ()
        prompts = Prompts(
            self._settings,
            stops_rest_at_broker=rules.place.broker.capabilities.has_stops,
        )
        system = prompts.system()
        told = await self._told(executor, messages)
        if parts.mode is Mode.CLOSE:
            told |= {"may_hold": rules.closing.may_hold, "past": rules.closing.past}
        first = prompts.first_message(parts.mode, told)
        await cycles.record_prompt_hash(
            parts.trading, cycle_id=parts.cycle_id, prompt_hash=prompt_hash(system, first)
        )
        model = parts.open_model()
        self._stack.push_async_callback(model.aclose)
        started = monotonic()
        self._result = await run_loop(
            model=model,
            system=system,
            tools=tools.definitions(parts.mode),
            first_message=first,
            toolbox=executor,
            ledger=self._journal,
            transcript=self._journal,
            settings=self._settings.claude,
            prices=load_prices(PRICE_FILE),
            elapsed_seconds=lambda: monotonic() - started,
            sleep=asyncio.sleep,
        )
        status, reason = words.verdict(self._result, executor.decisions)
        if self._result.end is LoopEnd.BUDGET:
            await rules.alert_of_money(self._result.reason)
        if messages and parts.research is not None and status is Status.DONE:
            read = [message.id for message in messages]
            await consciousness.mark_read(parts.research, self._agent_id, read, self._clock.now())
        if status is Status.NOTHING_TO_DO and executor.orders.has_acted:
            status = Status.DONE
        return status, reason

    async def _told(
        self, executor: ToolExecutor, messages: Sequence[consciousness.Message]
    ) -> dict[str, object]:
        """Gather what the first message says."""
        stage, now = self._parts.stage, self._clock.now()
        local = now.astimezone(stage.calendar.timezone)
        return {
            "cycle_id": self._parts.cycle_id,
            "now": f"{now:%Y-%m-%d %H:%M}",
            "local_time": f"{local:%A %Y-%m-%d %H:%M} exchange time",
            "market_state": words.market_state(stage.session, now, stage.calendar.timezone),
            "data_label": stage.data_label,
            "portfolio": compact(await executor.portfolio()),
            "messages": messages,
            "decisions": [
                f"{past.created_at:%Y-%m-%d %H:%M} UTC {past.decision}: {past.reasoning}"
                for past in await records.recent_decisions(
                    self._parts.trading, self._agent_id, limit=DECISIONS_TOLD
                )
            ],
        }

    async def _anything_open(self) -> bool:
        trading = self._parts.trading
        return bool(
            await orders.open_orders(trading, self._agent_id)
            or await orders.unresolved_orders(trading, self._agent_id)
            or await positions.open_positions(trading, self._agent_id)
        )

    async def _messages(self) -> Sequence[consciousness.Message]:
        if self._parts.research is None:
            return ()
        return await consciousness.unread_messages(
            self._parts.research, self._agent_id, self._clock.now()
        )

    def _outcome(self, status: Status, reason: str) -> Outcome:
        executor, closing, usage = self._executor, self._closing, self._journal.usage
        equity, pnl = None, None
        if closing is not None and closing.account.equity.is_finite():
            equity = closing.account.equity
            if closing.session_start_equity is not None:
                pnl = equity - closing.session_start_equity
        return Outcome(
            agent=self._agent_id,
            mode=self._parts.mode,
            status=status,
            reason=reason,
            cycle_id=self._parts.cycle_id,
            at=self._clock.now(),
            decisions=tuple(executor.decisions) if executor else (),
            tools_called=tuple(executor.tools_called) if executor else (),
            orders=executor.orders.orders_placed if executor else 0,
            fills=executor.orders.fills if executor else 0,
            refusals=tuple(executor.orders.refusal_codes) if executor else (),
            alerts=tuple(executor.orders.alerts) if executor else (),
            positions=None if closing is None else len(closing.positions),
            equity=equity,
            session_pnl=pnl,
            iterations=self._result.iterations if self._result else 0,
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            cost_usd=self._journal.cost_usd,
        )

    def _start(self) -> cycles.CycleStart:
        parts = self._parts
        return cycles.CycleStart(
            cycle_id=parts.cycle_id,
            agent_id=self._agent_id,
            mode=parts.mode,
            session_date=parts.stage.session.session_date,
            slot_at=parts.stage.slot.at if parts.stage.slot else None,
            started_at=self._clock.now(),
            forced=parts.forced,
            dry_run=parts.dry_run,
            brain=parts.brain,
            config_hash=parts.configuration.config_hash,
            prompt_hash=None,
            code_version=code_version(PROJECT),
            pid=os.getpid(),
        )
