"""Keeps watch for as long as a session lasts: pass after pass, with a sign of life in between.

Without its database it goes on with what the broker and the local file of stops say. Knows neither the
command line nor who started the process.
"""

import asyncio
import os
import socket
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from decimal import Decimal

from blind_guard import BlindGuard, Known
from brokers.resolution import ABSENCE_SECONDS
from cycle import name_cycle
from guard import Guard
from shared import log
from shared.agent_lock import hold_agent, tell_of_ended
from shared.clock import SystemClock
from shared.config import MonitorSettings
from shared.cycle_journal import CycleJournal
from shared.cycle_record import CycleRecord
from shared.database import accounts, monitor, orders
from shared.database.cycles import CycleStart
from shared.database.fences import Role
from shared.errors import (
    BrokerUnavailable,
    CatalystError,
    ConfigError,
    DatabaseUnavailable,
    LockLost,
)
from shared.journal.books import Books, open_books
from shared.journal.replay import replay
from shared.models import Mode
from shared.outcome import Outcome, Status
from shared.paths import PROJECT
from shared.prices import PRICE_FILE, load_prices
from shared.prompts import Prompts
from shared.second_opinion import Reviewer
from shared.version import code_version
from silence import Silence
from stage import Watch
from watch_parts import Means, Shift, Tally
from workplace import open_workplace

logger = log.get(__name__)

BEAT_SECONDS = 20.0
"""How long it is silent at most while it waits for the next pass."""

BETWEEN_LOOKS = timedelta(seconds=ABSENCE_SECONDS)
"""How long it waits where an order of its own has no known outcome: two looks can prove it absent."""

GIVES_UP_AFTER = 3
"""Passes in a row that a defect may end before a fresh process takes over."""


class Vigil:
    """One watch, from its first pass to its end."""

    def __init__(self, watch: Watch, means: Means, *, once: bool) -> None:
        """Take what there is to watch and with what; nothing is opened yet."""
        settings = means.configuration.settings
        self._watch: Watch = watch
        self._means: Means = means
        self._once: bool = once
        self._agent_id: str = settings.agent.id
        self._tally: Tally = Tally()
        self._started_at: datetime = watch.stage.clock.now()
        self._version: str | None = code_version(PROJECT)
        self._told_to_end: asyncio.Event = asyncio.Event()
        self._cycle_id: str | None = None
        self._journal: CycleJournal | None = None
        self._defects: int = 0
        self._is_over: bool = False
        self._silence: Silence = Silence(stage=watch.stage, settings=settings)
        self._guarded_until: datetime | None = None
        self._blind: BlindGuard = BlindGuard(
            settings=settings, stage=watch.stage, home=watch.stage.home
        )

    @property
    def tally(self) -> Tally:
        """What it came to so far."""
        return self._tally

    def end(self) -> None:
        """End it between two passes."""
        self._told_to_end.set()

    async def keep(self) -> Outcome:
        """Watch until the end, and sum it up.

        Raises ConfigError for what an operator has to correct, Busy when another machine watches, LockLost
        when the lock file is gone, and whatever a defect raised too often.
        """
        while not self._ends():
            try:
                async with AsyncExitStack() as stack:
                    await self._one_shift(stack)
            except LockLost as error:
                # somebody else may be at work now: nothing is done before the lock is ours again
                logger.warning("lock_lost", why=str(error))
                if self._means.file.problem() is not None:
                    raise
            except DatabaseUnavailable as error:
                await self._without_database(error)
            except BrokerUnavailable as error:
                await self._without_broker(error)
        return self._outcome()

    async def _one_shift(self, stack: AsyncExitStack) -> None:
        """Open everything, and watch until the end or until a transport of ours has to be closed."""
        shift = await self._begin(stack)
        context = shift.guard.place.context
        self._blind.take_note(
            Known(
                account_id=await self._account_id(shift),
                database=shift.books.database,
                sender=shift.sender,
                cycle_id=context.cycle_id,
            )
        )
        is_first = True
        while not self._ends():
            began = self._now
            has_passed = await self._pass(shift)
            if is_first:
                logger.info("watching", positions=self._tally.watched, problem=self._tally.problem)
                is_first = False
            self._is_over = self._once
            await self._means.tell(shift.trading, self._now)
            unresolved = await self._unresolved(shift)
            if self._is_over or shift.sender.token in unresolved:
                break  # only a later token can prove that an order of this one is absent
            pause = min(shift.guard.pause, BETWEEN_LOOKS) if unresolved else shift.guard.pause
            await self._rest(shift, began + pause, beats=has_passed)
        if self._ends():
            await self._finish(shift)

    async def _begin(self, stack: AsyncExitStack) -> Shift:
        """Take the monitor's lock in the database, and a token that ends whoever had it before."""
        means, stage = self._means, self._watch.stage
        settings = means.configuration.settings
        databases = await means.open_databases(stack)
        sender = await stack.enter_async_context(
            hold_agent(
                databases.lock,
                agent_id=self._agent_id,
                role=Role.MONITOR,
                mode=Mode.MONITOR,
                clock=SystemClock(),
                file=means.file,
                wait_seconds=settings.locks.release_seconds,
            )
        )
        books = await open_books(
            databases.trading,
            home=stage.home,
            agent_id=self._agent_id,
            clock=stage.clock,
            role=Role.MONITOR,
        )
        await replay(books, at=self._now)
        cycle_id = await self._written_down(books)
        await tell_of_ended(databases.trading, means.file, agent_id=self._agent_id, at=self._now)
        place = await open_workplace(
            stack,
            settings=settings,
            stage=stage,
            books=books,
            mode=Mode.MONITOR,
            sender=sender,
            cycle_id=cycle_id,
            dry_run=False,
        )
        guard = Guard(
            place=place,
            calendar=stage.calendar,
            reviewer=self._reviewer(stack, books, cycle_id),
            review_system=Prompts(
                settings, stops_rest_at_broker=place.broker.capabilities.has_stops
            ).review_system(),
            passes=self._tally.passes,
            guarded_until=self._guarded_until,
        )
        return Shift(guard=guard, books=books, sender=sender)

    async def _written_down(self, books: Books) -> str:
        """Write the watch's row, once."""
        if self._cycle_id is not None:
            return self._cycle_id
        stage, means = self._watch.stage, self._means
        await self._silence.tell_of_the_past(books.connection)
        cycle_id = await name_cycle(books, self._agent_id, Mode.MONITOR, stage)
        await self._record(books, cycle_id).start(
            CycleStart(
                cycle_id=cycle_id,
                agent_id=self._agent_id,
                mode=Mode.MONITOR,
                session_date=stage.session.session_date,
                slot_at=None,
                started_at=self._now,
                forced=False,
                dry_run=False,
                brain=means.brain,
                config_hash=means.configuration.config_hash,
                prompt_hash=None,
                code_version=self._version,
                pid=os.getpid(),
            )
        )
        self._cycle_id = cycle_id
        return cycle_id

    async def _pass(self, shift: Shift) -> bool:
        """Make one pass; say whether it could look at everything."""
        try:
            made = await shift.guard.make_pass()
        except (DatabaseUnavailable, LockLost, ConfigError):
            raise
        except CatalystError as error:
            return await self._not_passed(shift, str(error))
        except Exception as error:
            logger.exception("pass_failed")
            self._defects += 1
            if self._defects >= GIVES_UP_AFTER:
                raise
            what = f"a defect in Catalyst: {type(error).__name__}: {error}"
            return await self._not_passed(shift, what)
        self._defects = 0
        self._tally.add(made)
        await self._beat(shift, passed=True)
        return True

    async def _not_passed(self, shift: Shift, why: str) -> bool:
        """A pass that could not be made is silence, and the lock's lease goes on: the process is well."""
        logger.warning("not_passed", why=why)
        self._tally.problem = why
        self._is_well()
        await monitor.note_trouble(shift.trading, agent_id=self._agent_id, problem=why)
        await self._silence.tell_of_blindness(shift.trading, why)
        return False

    async def _rest(self, shift: Shift, until: datetime, *, beats: bool) -> None:
        """Wait for the next pass, with signs of life where the last one went well."""
        until = min(until, self._watch.until)
        while self._now < until and not self._ends():
            left = (until - self._now).total_seconds()
            await self._sleep(min(BEAT_SECONDS, left))
            if beats:
                await self._beat(shift, passed=False)
            else:
                self._is_well()

    def _is_well(self) -> None:
        """Let the process live on: the lock's lease and the watchdog begin anew."""
        self._means.file.renew(SystemClock())
        self._means.signs()

    async def _beat(self, shift: Shift, *, passed: bool) -> None:
        self._is_well()
        await monitor.beat(
            shift.trading,
            agent_id=self._agent_id,
            cycle_id=shift.guard.place.context.cycle_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            at=self._now,
            passed=passed,
            positions=self._tally.watched,
            problem=self._tally.problem,
        )

    async def _sleep(self, seconds: float) -> None:
        """Wait that long, or until somebody wants the watch to end."""
        sleeping = asyncio.ensure_future(self._watch.stage.clock.sleep(seconds))
        told = asyncio.ensure_future(self._told_to_end.wait())
        try:
            await asyncio.wait({sleeping, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (sleeping, told):
                waiting.cancel()

    async def _unresolved(self, shift: Shift) -> set[int | None]:
        """Find the tokens under which a monitor sent orders whose outcome is not known."""
        found = await orders.unresolved_orders(shift.trading, self._agent_id)
        return {record.sender_token for record in found if record.sender_role is shift.sender.role}

    async def _without_database(self, lost: CatalystError) -> None:
        """Guard what the local file of stops names, then wait before the database is tried again."""
        logger.error("database_away", why=str(lost))
        self._tally.blind_passes += 1
        try:
            done = await self._blind.make_pass()
            self._guarded_until = self._now
            self._tally.problem = f"{lost}; {done}"
        except (BrokerUnavailable, ConfigError) as error:
            logger.exception("nothing_guarded")
            self._tally.problem = f"{lost}; nothing could be guarded: {error}"
        self._is_well()
        await self._means.cry()
        self._is_over = self._once
        if not self._ends():
            await self._sleep(self._settings.check_seconds_without_stops)

    async def _without_broker(self, error: BrokerUnavailable) -> None:
        """Wait before the broker is tried again; the monitor counts as silent meanwhile."""
        logger.warning("broker_away", why=str(error))
        self._tally.problem = str(error)
        self._is_well()
        with suppress(DatabaseUnavailable):  # then the next pass finds it away, and says so
            async with AsyncExitStack() as stack:
                trading = (await self._means.open_databases(stack)).trading
                await self._silence.tell_of_blindness(trading, str(error))
                await self._means.tell(trading, self._now)
        self._is_over = self._once
        if not self._ends():
            await self._sleep(self._settings.check_seconds_without_stops)

    async def _account_id(self, shift: Shift) -> str:
        pin = await accounts.pinned_account(shift.trading, self._agent_id)
        if pin is None:
            msg = f"{self._agent_id} has no account although its workplace is open"
            raise LookupError(msg)
        return pin.account_id

    async def _finish(self, shift: Shift) -> None:
        """Complete the watch's row; where the session is over, say when it goes on."""
        stage = self._watch.stage
        if self._now >= stage.session.closes_at:
            following = stage.calendar.next_session(stage.session.session_date)
            await monitor.rest_watch(
                shift.trading, agent_id=self._agent_id, at=self._now, until=following.opens_at
            )
        self._tally.naked_seconds = await monitor.naked_seconds(
            shift.trading, self._agent_id, since=stage.session.opens_at, now=self._now
        )
        outcome = self._outcome()
        seconds = (self._now - self._started_at).total_seconds()
        with suppress(LookupError):
            await self._record(shift.books, outcome.cycle_id or "").finish(
                outcome, seconds=seconds, log_problem=None
            )

    def _record(self, books: Books, cycle_id: str) -> CycleRecord:
        stage = self._watch.stage
        return CycleRecord(
            books=books,
            research=None,
            clock=stage.clock,
            agent_id=self._agent_id,
            cycle_id=cycle_id,
            session_date=stage.session.session_date,
        )

    def _reviewer(self, stack: AsyncExitStack, books: Books, cycle_id: str) -> Reviewer:
        """Say who gives second opinions; the connection is made for the first one, and lasts for a shift."""
        settings, stage = self._means.configuration.settings, self._watch.stage
        self._journal = CycleJournal(
            books,
            clock=stage.clock,
            agent_id=self._agent_id,
            cycle_id=cycle_id,
            budget_date=stage.session.session_date,
            budget_usd=settings.claude.daily_budget_usd,
        )
        reviewer = Reviewer(
            open_model=self._means.open_model,
            model=settings.monitor.review_model,
            prices=load_prices(PRICE_FILE),
            ledger=self._journal,
            transcript=self._journal,
            timeout_seconds=settings.monitor.review_timeout_seconds,
            seconds=asyncio.get_running_loop().time,
        )
        stack.push_async_callback(reviewer.aclose)
        return reviewer

    @property
    def _now(self) -> datetime:
        return self._watch.stage.clock.now()

    @property
    def _settings(self) -> MonitorSettings:
        return self._means.configuration.settings.monitor

    def _ends(self) -> bool:
        return self._is_over or self._why_it_ends() is not None

    def _why_it_ends(self) -> str | None:
        if self._told_to_end.is_set():
            return "it was told to end"
        if self._now >= self._watch.until:
            return "there is nothing to watch any more"
        if self._means.ends_with_the_code and code_version(PROJECT) != self._version:
            return "the code under it was updated"
        return None

    def _outcome(self) -> Outcome:
        tally = self._tally
        why = self._why_it_ends() or "one pass was wanted"
        said = f"{tally.passes} passes; {why}"
        if tally.blind_passes:
            said = f"{tally.blind_passes} passes without the database, {said}"
        if tally.left:
            said = f"left {', '.join(dict.fromkeys(tally.left))}; {said}"
        if tally.problem is not None:
            said = f"{said}; {tally.problem}"
        return Outcome(
            agent=self._agent_id,
            mode=Mode.MONITOR,
            status=Status.DONE,
            reason=said,
            cycle_id=self._cycle_id,
            at=self._now,
            orders=tally.orders,
            fills=tally.fills,
            alerts=tuple(tally.alerts),
            cost_usd=self._journal.cost_usd if self._journal else Decimal(0),
            details={
                "passes": tally.passes,
                "naked_seconds": tally.naked_seconds,
                "left": list(dict.fromkeys(tally.left)),
                "odd_lots": list(tally.odd_lots),
                "told_to_end": self._told_to_end.is_set(),
            },
        )
