"""One cycle: opens what the mode needs, asks Claude where there is something to ask, records the end.

Knows neither command line nor environment; everything it works with is given to it.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from decimal import Decimal
from time import monotonic

import tools
from brokers.desk import DeskContext
from rehearsal.stage import Stage
from shared import consciousness, log
from shared.agent_loop import LoopResult, run_loop
from shared.brain import Brain
from shared.claude import AnthropicModel
from shared.clock import Clock
from shared.config import Configuration, Settings
from shared.conversation import LoopEnd
from shared.cycle_journal import CycleJournal
from shared.database import accounts, claude_calls, cycles, orders, positions, records
from shared.database.connection import Connection
from shared.database.cycles import CycleStatus
from shared.errors import CatalystError, ConfigError
from shared.identity import cycle_id
from shared.models import Mode, SessionHours, Snapshot
from shared.outcome import Outcome, Status
from shared.paths import PROJECT
from shared.prices import PRICE_FILE, load_prices
from shared.prompts import Prompts, prompt_hash
from shared.version import code_version
from tool_executor import ToolExecutor, Workplace, compact

logger = log.get(__name__)

_CYCLE_STATUS = {
    Status.DONE: CycleStatus.DONE,
    Status.NOTHING_TO_DO: CycleStatus.NOTHING_TO_DO,
    Status.FAILED: CycleStatus.FAILED,
    Status.USAGE: CycleStatus.FAILED,
}

_FAILED_ENDS = {
    LoopEnd.MODEL_UNAVAILABLE,
    LoopEnd.TRUNCATED,
    LoopEnd.CONTEXT_WINDOW,
    LoopEnd.UNKNOWN_STOP_REASON,
    LoopEnd.UNUSABLE_REPLY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a cycle is made of; opened and closed by the entry point."""

    configuration: Configuration
    stage: Stage
    trading: Connection
    research: Connection
    cycle_id: str
    mode: Mode
    forced: bool
    dry_run: bool
    brain: Brain
    open_model: Callable[[], AnthropicModel]
    """Makes the connection to who decides; expensive, so called only when there is something to ask."""
    log_problem: Callable[[], str | None]
    """Why the log file cannot be written, if it cannot."""


async def name_cycle(trading: Connection, agent_id: str, mode: Mode, stage: Stage) -> str:
    """Name the cycle by its slot; one that is run again at the same moment gets the next number.

    The caller holds the agent's lock; rows that a dead run left open are closed here.
    """
    await cycles.mark_abandoned_cycles(trading, agent_id, stage.clock.now())
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
            parts.trading,
            clock=self._clock,
            agent_id=self._agent_id,
            cycle_id=parts.cycle_id,
            budget_date=parts.stage.session.session_date,
            budget_usd=self._settings.claude.daily_budget_usd,
        )
        self._executor: ToolExecutor | None = None
        self._awake: bool = False
        self._closing: Snapshot | None = None
        self._start_equity: Decimal | None = None

    async def run(self) -> Outcome:
        """Play the mode and record how it ended, also when it dies; errors of ours become outcomes."""
        await cycles.start_cycle(self._parts.trading, self._start())
        logger.info("cycle_started", at=self._clock.now(), brain=self._parts.brain)
        started = monotonic()
        outcome = self._outcome(Status.FAILED, "the run was ended from outside")
        try:
            async with self._stack:
                await self._wake_up()
                outcome = await self._play()
        except (ConfigError, CatalystError) as error:
            logger.exception("cycle_failed")
            status = Status.USAGE if isinstance(error, ConfigError) else Status.FAILED
            outcome = self._outcome(status, str(error))
        except Exception as error:
            outcome = self._outcome(Status.FAILED, f"{type(error).__name__}: {error}")
            raise
        finally:
            await self._finish(outcome, monotonic() - started)
        problem = self._parts.log_problem()
        return outcome if problem is None else replace(outcome, notes=(problem,))

    async def _wake_up(self) -> None:
        await consciousness.wake_up(
            self._parts.research,
            self._agent_id,
            self._parts.mode,
            self._settings.claude.daily_budget_usd,
            self._clock.now(),
        )
        self._awake = True

    async def _play(self) -> Outcome:
        mode = self._parts.mode
        idle = await self._nothing_to_do()
        if idle is not None:
            return self._outcome(Status.NOTHING_TO_DO, idle)
        executor = await self._open()
        await executor.orders.synchronise()
        if mode in {Mode.TRADE, Mode.CLOSE}:
            await self._tidy(executor)
        idle = await self._nothing_to_ask(executor)
        if idle is not None:
            status = Status.DONE if executor.orders.fills else Status.NOTHING_TO_DO
            return await self._closed(executor, status, idle)
        result = await self._ask(executor)
        await executor.orders.synchronise()
        status, reason = _verdict(result, executor.decisions)
        return await self._closed(executor, status, reason, result)

    async def _nothing_to_do(self) -> str | None:
        """Say why there is nothing to do, from the clock and the database alone; None if there is."""
        parts, now = self._parts, self._clock.now()
        match parts.mode:
            case Mode.TRADE | Mode.CLOSE:
                if not parts.stage.session.is_open(now):
                    return _closed_market(parts.stage.session, now, parts.stage.calendar.timezone)
            case Mode.HEARTBEAT:
                if not await self._anything_open() and not await self._messages():
                    return "no messages, no open orders, no open positions"
            case Mode.SCAN:
                return None
        return None

    async def _nothing_to_ask(self, executor: ToolExecutor) -> str | None:
        """Say why Claude need not be asked, or None."""
        parts = self._parts
        if parts.mode is Mode.HEARTBEAT and not await self._messages():
            return f"no messages; {executor.orders.fills} new fills recorded"
        if parts.mode is Mode.CLOSE and not (await executor.look()).positions:
            return "nothing is held, so nothing has to be closed"
        left = await claude_calls.budget_left(
            parts.trading,
            agent_id=self._agent_id,
            budget_date=parts.stage.session.session_date,
            budget_usd=self._settings.claude.daily_budget_usd,
        )
        if left <= 0:
            return f"the day's budget of {self._settings.claude.daily_budget_usd} USD is spent"
        return None

    async def _open(self) -> ToolExecutor:
        """Open broker and feed, hold the account against its pin, and fix the session's first equity."""
        parts = self._parts
        broker, feed = parts.stage.broker(), parts.stage.feed()
        self._stack.push_async_callback(broker.disconnect)
        self._stack.push_async_callback(feed.close)
        account = await broker.account()
        now = self._clock.now()
        await accounts.pin_account(
            parts.trading,
            agent_id=self._agent_id,
            broker=broker.capabilities.name,
            environment=account.environment,
            account_id=account.account_id,
            at=now,
        )
        self._start_equity = await cycles.start_session(
            parts.trading,
            agent_id=self._agent_id,
            session_date=parts.stage.session.session_date,
            exchange=self._settings.market.exchange,
            currency=account.currency,
            equity=account.equity,
            at=now,
        )
        self._executor = ToolExecutor(
            Workplace(
                settings=self._settings,
                mode=parts.mode,
                clock=self._clock,
                broker=broker,
                feed=feed,
                connection=parts.trading,
                session=parts.stage.session,
                halts=await accounts.active_halts(parts.trading, self._agent_id, now),
                context=DeskContext(
                    agent_id=self._agent_id,
                    cycle_id=parts.cycle_id,
                    currency=account.currency,
                    database=await accounts.database_identity(parts.trading),
                    dry_run=parts.dry_run,
                ),
                session_start_equity=self._start_equity,
            )
        )
        return self._executor

    async def _tidy(self, executor: ToolExecutor) -> None:
        """Cancel entries that an earlier cycle left unfilled, and protect what they filled."""
        snapshot = await executor.look()
        if await executor.orders.cancel_entries(snapshot, why="not filled by the next cycle"):
            await executor.orders.synchronise()
            snapshot = await executor.look()
        await executor.orders.protect(snapshot)

    async def _ask(self, executor: ToolExecutor) -> LoopResult:
        """Let Claude decide, with the tools of this mode."""
        parts = self._parts
        prompts = Prompts(self._settings)
        system = prompts.system()
        first = prompts.first_message(parts.mode, await self._told(executor))
        await cycles.record_prompt_hash(
            parts.trading, cycle_id=parts.cycle_id, prompt_hash=prompt_hash(system, first)
        )
        model = parts.open_model()
        self._stack.push_async_callback(model.aclose)
        started = monotonic()
        return await run_loop(
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

    async def _told(self, executor: ToolExecutor) -> dict[str, object]:
        """Gather what the first message says."""
        stage, now = self._parts.stage, self._clock.now()
        local = now.astimezone(stage.calendar.timezone)
        return {
            "cycle_id": self._parts.cycle_id,
            "now": f"{now:%Y-%m-%d %H:%M}",
            "local_time": f"{local:%A %Y-%m-%d %H:%M} exchange time",
            "market_state": _market_state(stage.session, now, stage.calendar.timezone),
            "data_label": stage.recording.description.label,
            "portfolio": compact(await executor.portfolio()),
            "messages": await self._messages() if self._parts.mode is Mode.HEARTBEAT else (),
        }

    async def _anything_open(self) -> bool:
        trading = self._parts.trading
        return bool(
            await orders.open_orders(trading, self._agent_id)
            or await orders.unresolved_orders(trading, self._agent_id)
            or await positions.open_positions(trading, self._agent_id)
        )

    async def _messages(self) -> Sequence[consciousness.Message]:
        return await consciousness.unread_messages(
            self._parts.research, self._agent_id, self._clock.now()
        )

    async def _closed(
        self, executor: ToolExecutor, status: Status, reason: str, result: LoopResult | None = None
    ) -> Outcome:
        """Take the last picture of the account and sum the run up."""
        self._closing = await executor.look()
        return self._outcome(status, reason, result)

    def _outcome(self, status: Status, reason: str, result: LoopResult | None = None) -> Outcome:
        executor, closing, usage = self._executor, self._closing, self._journal.usage
        pnl = None
        if closing is not None and self._start_equity is not None:
            pnl = closing.account.equity - self._start_equity
        return Outcome(
            agent=self._agent_id,
            mode=self._parts.mode,
            status=status,
            reason=reason,
            cycle_id=self._parts.cycle_id,
            at=self._clock.now(),
            decisions=tuple(executor.decisions) if executor else (),
            tools_called=result.tools_called if result else (),
            orders=executor.orders.orders_placed if executor else 0,
            fills=executor.orders.fills if executor else 0,
            refusals=tuple(executor.orders.refusal_codes) if executor else (),
            positions=None if closing is None else len(closing.positions),
            equity=None if closing is None else closing.account.equity,
            session_pnl=pnl,
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

    async def _alert_of_log(self) -> None:
        """A log that cannot be written is no reason to stop, but a person should know."""
        problem = self._parts.log_problem()
        if problem is not None:
            await records.queue_alert(
                self._parts.trading,
                agent_id=self._agent_id,
                cycle_id=self._parts.cycle_id,
                severity="warning",
                subject="the log cannot be written",
                body=problem,
                dedupe_key="log-not-written",
                at=self._clock.now(),
            )

    async def _finish(self, outcome: Outcome, duration_seconds: float) -> None:
        logger.info(
            "cycle_ended", status=outcome.status, reason=outcome.reason, cost_usd=outcome.cost_usd
        )
        await self._alert_of_log()
        await cycles.finish_cycle(
            self._parts.trading,
            cycles.CycleEnd(
                cycle_id=self._parts.cycle_id,
                ended_at=self._clock.now(),
                status=_CYCLE_STATUS[outcome.status],
                reason=outcome.reason,
                summary="; ".join(outcome.decisions) or None,
                equity=outcome.equity,
                session_pnl=outcome.session_pnl,
                iterations=0,
                tools_called=outcome.tools_called,
                orders_placed=outcome.orders,
                refusals=len(outcome.refusals),
                cost_usd=outcome.cost_usd,
                input_tokens=outcome.input_tokens,
                output_tokens=outcome.output_tokens,
                cache_read_tokens=outcome.cache_read_tokens,
                cache_write_tokens=outcome.cache_write_tokens,
                duration_seconds=duration_seconds,
            ),
        )
        if self._awake:
            await self._fall_asleep(outcome)

    async def _fall_asleep(self, outcome: Outcome) -> None:
        research, now = self._parts.research, self._clock.now()
        if outcome.cost_usd:
            day = self._parts.stage.session.session_date
            await consciousness.record_api_spend(
                research, self._agent_id, outcome.cost_usd, day, now
            )
        if outcome.status in {Status.FAILED, Status.USAGE}:
            await consciousness.record_error(research, self._agent_id, outcome.reason, now)
        await consciousness.sleep(research, self._agent_id, outcome.reason, now)


def _verdict(result: LoopResult, decisions: Sequence[str]) -> tuple[Status, str]:
    """Say what the talk with Claude came to; its last decision is the reason where there is one."""
    if result.end in _FAILED_ENDS:
        return Status.FAILED, f"the talk with Claude ended with {result.end}: {result.reason}"
    if result.end is LoopEnd.BUDGET:
        return Status.NOTHING_TO_DO, f"the budget ended the cycle: {result.reason}"
    if not decisions:
        return (
            Status.DONE,
            f"no decision was logged; the talk ended with {result.end}: {result.text}",
        )
    how = "" if result.end is LoopEnd.FINISHED else f" (ended with {result.end})"
    return Status.DONE, decisions[-1] + how


def _closed_market(session: SessionHours, now: datetime, zone: tzinfo) -> str:
    return f"the market is closed: {_market_state(session, now, zone)}"


def _market_state(session: SessionHours, now: datetime, zone: tzinfo) -> str:
    opens, closes = session.opens_at.astimezone(zone), session.closes_at.astimezone(zone)
    hours = f"{session.exchange} trades {opens:%H:%M} to {closes:%H:%M} on {session.session_date}"
    if session.is_open(now):
        left = int((session.closes_at - now).total_seconds() // 60)
        return f"open, {left} minutes left; {hours}"
    return f"it is {now.astimezone(zone):%H:%M}; {hours}"
