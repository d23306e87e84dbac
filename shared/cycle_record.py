"""The rows that frame a cycle: written when it starts, completed however it ends, and the agent's sleep.

Knows what a cycle came to only as its Outcome.
"""

from datetime import date
from decimal import Decimal

from shared import consciousness, log
from shared.clock import Clock
from shared.database import cycles
from shared.database.connection import Connection
from shared.database.cycles import CycleEnd, CycleStart, CycleStatus
from shared.errors import DatabaseUnavailable
from shared.journal.books import Books
from shared.journal.entries import AlertQueued, CycleEnded
from shared.models import Mode
from shared.outcome import Outcome, Status

logger = log.get(__name__)

_STATUS = {
    Status.DONE: CycleStatus.DONE,
    Status.NOTHING_TO_DO: CycleStatus.NOTHING_TO_DO,
    Status.FAILED: CycleStatus.FAILED,
    Status.USAGE: CycleStatus.FAILED,
    Status.INTERRUPTED: CycleStatus.FAILED,
}


class CycleRecord:
    """One cycle's row in the trading database and its agent's state in the research database."""

    def __init__(
        self,
        *,
        books: Books,
        research: "Connection | None",
        clock: Clock,
        agent_id: str,
        cycle_id: str,
        session_date: date,
    ) -> None:
        """Bind the record to a cycle; nothing is written yet."""
        self._books: Books = books
        self._research: Connection | None = research
        self._clock: Clock = clock
        self._agent_id: str = agent_id
        self._cycle_id: str = cycle_id
        self._session_date: date = session_date
        self._awake: bool = False

    async def start(self, start: CycleStart) -> None:
        """Write the cycle down before it does anything. Raises Busy when its slot is used up."""
        await cycles.start_cycle(self._books.connection, start)
        logger.info("cycle_started", at=start.started_at, brain=start.brain)

    async def wake_up(self, mode: Mode, daily_budget_usd: Decimal) -> None:
        """Note in the research database that the agent is at work.

        Raises DatabaseUnavailable when it is gone, unless the run is there to leave positions: that goes on,
        and a person is told.
        """
        try:
            await consciousness.wake_up(
                self._open_research(), self._agent_id, mode, daily_budget_usd, self._clock.now()
            )
        except DatabaseUnavailable as error:
            if mode is not Mode.CLOSE:
                raise
            await self._alert(
                "the research database is away",
                f"The close goes on without it, and without the agent's messages: {error}",
                key="research-away",
            )
        else:
            self._awake = True

    async def finish(self, outcome: Outcome, *, seconds: float, log_problem: str | None) -> None:
        """Complete the row, then put the agent to sleep. Raises DatabaseUnavailable."""
        logger.info(
            "cycle_ended", status=outcome.status, reason=outcome.reason, cost_usd=outcome.cost_usd
        )
        if log_problem is not None:
            await self._alert_of_log(log_problem)
        await self._books.keep(CycleEnded(end=self._end(outcome, seconds)))
        if self._awake:
            await self._fall_asleep(outcome)

    def note_end(self, outcome: Outcome) -> None:
        """Keep the end of a run of which the database may not even have the beginning."""
        self._books.note(CycleEnded(end=self._end(outcome, 0.0)))

    def _end(self, outcome: Outcome, seconds: float) -> CycleEnd:
        return CycleEnd(
            cycle_id=self._cycle_id,
            ended_at=self._clock.now(),
            status=_STATUS[outcome.status],
            reason=outcome.reason,
            summary="; ".join(outcome.decisions) or None,
            equity=outcome.equity,
            session_pnl=outcome.session_pnl,
            iterations=outcome.iterations,
            tools_called=outcome.tools_called,
            orders_placed=outcome.orders,
            refusals=len(outcome.refusals),
            cost_usd=outcome.cost_usd,
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            cache_read_tokens=outcome.cache_read_tokens,
            cache_write_tokens=outcome.cache_write_tokens,
            duration_seconds=seconds,
        )

    def _open_research(self) -> Connection:
        if self._research is None:
            raise DatabaseUnavailable("the research database was not there when the run began")
        return self._research

    async def _fall_asleep(self, outcome: Outcome) -> None:
        now, research = self._clock.now(), self._open_research()
        if outcome.cost_usd:
            await consciousness.record_api_spend(
                research, self._agent_id, outcome.cost_usd, self._session_date, now
            )
        if outcome.exit_code:
            await consciousness.record_error(research, self._agent_id, outcome.reason, now)
        await consciousness.sleep(research, self._agent_id, outcome.reason, now)

    async def _alert_of_log(self, problem: str) -> None:
        """A log that cannot be written is no reason to stop, but a person should know."""
        await self._alert("the log cannot be written", problem, key="log-not-written")

    async def _alert(self, subject: str, body: str, *, key: str) -> None:
        await self._books.keep(
            AlertQueued(
                agent_id=self._agent_id,
                cycle_id=self._cycle_id,
                severity="warning",
                subject=subject,
                body=body,
                dedupe_key=key,
                at=self._clock.now(),
            )
        )
