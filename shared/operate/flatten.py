"""Sells what the agent opened because a person says so: a cycle of its own, by the path of every order.

Needs an open session and the agent's lock. Does not touch what the agent did not open.
"""

import asyncio
import signal
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from time import monotonic

from brokers.desk import NotPlaced, Placed, Refused, Submission
from cycle import Cycle, Parts, name_cycle
from shared import trading_state
from shared.agent_lock import hold_agent, tell_of_ended
from shared.brain import Brain
from shared.claude import AnthropicModel
from shared.clock import SystemClock
from shared.database.cycles import CycleStart
from shared.database.fences import Role, Sender
from shared.database.opening import Databases, Research, open_databases
from shared.database.orders import OrderRecord, PositionRecord, open_orders, open_positions
from shared.errors import ENDS_THE_RUN, Busy, CatalystError
from shared.journal.books import open_books
from shared.lock import HeldFile, hold
from shared.models import Mode, OrderPurpose, TradingState
from shared.operate.arguments import Arguments
from shared.operate.audit import audited
from shared.operate.place import Place, find_place
from shared.operate.report import Report
from shared.outcome import Outcome, Status
from stage import Stage
from tool_executor import ToolExecutor

BRAIN = "operator"
"""Who decides in such a cycle, as its row says."""

_LOOKED_AGAIN_AFTER_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What became of one position."""

    symbol: str
    held: int
    """Shares before, by our fills."""
    left: int
    """Shares after."""
    result: str
    """sold, sale under way, or not sold."""
    why_not: str | None


class Flattening(Cycle):
    """A cycle in which a person sells, and nobody else is asked."""

    def __init__(self, parts: Parts, *, why: str, symbol: str | None) -> None:
        """Remember what is to be sold and why; nothing is done yet."""
        super().__init__(parts)
        self._why: str = why
        self._symbol: str | None = symbol
        self.sales: tuple[Sale, ...] = ()

    def _start(self) -> CycleStart:
        return replace(super()._start(), brain=BRAIN)

    async def _play(self) -> Outcome:
        held, entries = await self._ours()
        if not held and not entries:
            return self._outcome(*self._nothing())
        session, now = self._parts.stage.session, self._clock.now()
        if not session.is_open(now):
            names = ", ".join(record.symbol for record in held) or "none"
            opens = f"{session.opens_at:%H:%M} to {session.closes_at:%H:%M} UTC"
            what = f"the market is closed ({opens} on {session.session_date}); still held: {names}"
            return self._outcome(Status.FAILED, what)
        executor, _ = await self._open()
        await executor.orders.synchronise()
        await executor.orders.cancel_entries(
            await executor.look(), why=self._why, symbol=self._symbol
        )
        await executor.orders.synchronise()
        self.sales = await self._sold(executor)
        await executor.orders.protect(await executor.look())
        self._closing = await executor.look()
        return self._outcome(*self._verdict())

    async def _sold(self, executor: ToolExecutor) -> tuple[Sale, ...]:
        before, _ = await self._ours()
        problems = {record.symbol: await self._sell(executor, record) for record in before}
        await executor.orders.synchronise()
        after = {record.symbol: record.quantity for record in (await self._ours())[0]}
        return tuple(
            _sale(record, left=after.get(record.symbol, 0), why_not=problems[record.symbol])
            for record in before
        )

    async def _sell(self, executor: ToolExecutor, record: PositionRecord) -> str | None:
        """Sell one position whole; return why that did not work."""
        try:
            shown = (await executor.look((record.symbol,))).position(record.symbol)
            if shown is not None and shown.quantity > record.quantity:
                return (
                    f"the broker shows {shown.quantity} shares, the agent bought {record.quantity}"
                    " of them, and positions are sold whole: a person has to sell these"
                )
            submissions = await executor.orders.exit(record.symbol, why=self._why)
        except ENDS_THE_RUN:
            raise
        except CatalystError as error:
            return str(error)
        return _problem(submissions)

    async def _ours(self) -> tuple[Sequence[PositionRecord], Sequence[OrderRecord]]:
        """Return positions and resting entries of ours, of the wanted symbol."""
        trading = self._parts.trading
        held = await open_positions(trading, self._agent_id)
        resting = await open_orders(trading, self._agent_id)
        entries = [one for one in resting if one.order_purpose is OrderPurpose.ENTRY]
        return (
            [one for one in held if self._symbol in {None, one.symbol}],
            [one for one in entries if self._symbol in {None, one.symbol}],
        )

    def _nothing(self) -> tuple[Status, str]:
        if self._symbol is None:
            return Status.NOTHING_TO_DO, "the agent holds nothing and has no entry under way"
        return Status.FAILED, f"the agent did not open a position in {self._symbol}, or sold it"

    def _verdict(self) -> tuple[Status, str]:
        by_result = {
            result: ", ".join(sale.symbol for sale in self.sales if sale.result == result)
            for result in ("sold", "sale under way", "not sold")
        }
        said = "; ".join(f"{result}: {names}" for result, names in by_result.items() if names)
        failed = bool(by_result["not sold"])
        return (Status.FAILED if failed else Status.DONE), said or "entries were cancelled"


async def flatten(place: Place, arguments: Arguments) -> Report:
    """Sell, as soon as no cycle runs. Raises Busy when one still does after the time to wait."""
    _end_cleanly_when_told()
    async with AsyncExitStack() as stack:
        databases = await open_databases(
            stack,
            place.configuration,
            environ=place.environ,
            home=place.home,
            embedded_names=place.database_names,
            research=Research.MAY_BE_AWAY,
        )

        async def act() -> Report:
            async with AsyncExitStack() as locks:
                file, sender = await _lock(locks, place, databases, arguments.wait_seconds)
                await tell_of_ended(
                    databases.trading, file, agent_id=place.agent_id, at=place.clock.now()
                )
                return await _flattened(place, arguments, databases, sender)

        return await audited(databases.trading, place, arguments, act)


async def _flattened(
    place: Place, arguments: Arguments, databases: Databases, sender: Sender
) -> Report:
    stage = _stage(place)
    books = await open_books(
        databases.trading, home=place.home, agent_id=place.agent_id, clock=stage.clock
    )
    cycle_id = await name_cycle(books, place.agent_id, Mode.CLOSE, stage)
    if place.logged is not None:
        place.logged.enter_cycle(cycle_id, stage.clock)
    cycle = Flattening(
        Parts(
            configuration=place.configuration,
            stage=stage,
            books=books,
            research=databases.research,
            sender=sender,
            cycle_id=cycle_id,
            mode=Mode.CLOSE,
            forced=True,
            dry_run=False,
            brain=Brain.STAND_IN,
            open_model=_nobody,
            log_problem=_no_problem if place.logged is None else place.logged.problem,
        ),
        why=arguments.why,
        symbol=arguments.symbol,
    )
    outcome = await cycle.run()
    found = await trading_state.current(
        databases.trading, place.agent_id, place.home, stage.clock.now()
    )
    may_buy = "; trading goes on: halt or reduce keeps it from buying again"
    return Report(
        agent=place.agent_id,
        command=arguments.command,
        status=outcome.status,
        reason=outcome.reason + (may_buy if found.state is TradingState.ACTIVE else ""),
        content={
            "at": outcome.at,
            "cycle_id": cycle_id,
            "state": found.state,
            "sales": [asdict(sale) for sale in cycle.sales],
            "orders": outcome.orders,
            "fills": outcome.fills,
            "refusals": outcome.refusals,
            "alerts": outcome.alerts,
        },
    )


def _stage(place: Place) -> Stage:
    """Set the stage where the agent stands; the lock is held, so a rehearsal stands still."""
    if place.settings.rehearsal is not None:
        now = find_place(place.configuration, place.environ, place.home).begun()
        if now.number != place.begun().number:
            msg = f"rehearsal {now.number} began meanwhile; give the command again for that one"
            raise Busy(msg)
    return place.stage(Mode.CLOSE)


async def _lock(
    locks: AsyncExitStack, place: Place, databases: Databases, wait_seconds: float
) -> tuple[HeldFile, Sender]:
    """Hold both locks of the agent as soon as they are free. Raises Busy, which says who has them."""
    deadline = monotonic() + wait_seconds
    path = place.home / "locks" / f"{place.agent_id}.lock"
    while True:
        async with AsyncExitStack() as attempt:
            try:
                file = attempt.enter_context(
                    hold(
                        path,
                        agent_id=place.agent_id,
                        mode="flatten",
                        clock=SystemClock(),
                        locks=place.settings.locks,
                    )
                )
                sender = await attempt.enter_async_context(
                    hold_agent(
                        databases.lock,
                        agent_id=place.agent_id,
                        role=Role.CYCLE,
                        mode="flatten",
                        clock=SystemClock(),
                        file=file,
                        wait_seconds=place.settings.locks.release_seconds,
                    )
                )
            except Busy:
                if monotonic() >= deadline:
                    raise
            else:
                locks.push_async_exit(attempt.pop_all())
                return file, sender
        await asyncio.sleep(_LOOKED_AGAIN_AFTER_SECONDS)


def _sale(record: PositionRecord, *, left: int, why_not: str | None) -> Sale:
    result = "sold" if left == 0 else "sale under way" if why_not is None else "not sold"
    return Sale(
        symbol=record.symbol, held=record.quantity, left=left, result=result, why_not=why_not
    )


def _problem(submissions: Sequence[Submission]) -> str | None:
    found: list[str] = []
    for one in submissions:
        match one:
            case Refused(refusal=refusal):
                found.append(str(refusal))
            case Placed(problem=str(problem)):
                found.append(problem)
            case Placed() | NotPlaced():
                pass
    return "; ".join(found) or None


def _no_problem() -> None:
    """Without a log there is none."""


def _nobody() -> AnthropicModel:
    msg = "in a cycle of a person no model is asked"
    raise AssertionError(msg)


def _end_cleanly_when_told() -> None:
    """Turn SIGTERM into a cancellation, so that cycle and audit row still say how it ended."""
    task = asyncio.current_task()
    if task is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
