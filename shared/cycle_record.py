"""The rows that frame a cycle: written when it starts, completed however it ends, and the agent's sleep.

Knows what a cycle came to only as its Outcome.
"""

from datetime import date
from decimal import Decimal

from shared import consciousness, log
from shared.clock import Clock
from shared.database import cycles, records
from shared.database.connection import Connection
from shared.database.cycles import CycleEnd, CycleStart, CycleStatus
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
        trading: Connection,
        research: Connection,
        clock: Clock,
        agent_id: str,
        cycle_id: str,
        session_date: date,
    ) -> None:
        """Bind the record to a cycle; nothing is written yet."""
        self._trading: Connection = trading
        self._research: Connection = research
        self._clock: Clock = clock
        self._agent_id: str = agent_id
        self._cycle_id: str = cycle_id
        self._session_date: date = session_date
        self._awake: bool = False

    async def start(self, start: CycleStart) -> None:
        """Write the cycle down before it does anything. Raises Busy when its slot is used up."""
        await cycles.start_cycle(self._trading, start)
        logger.info("cycle_started", at=start.started_at, brain=start.brain)

    async def wake_up(self, mode: Mode, daily_budget_usd: Decimal) -> None:
        """Note in the research database that the agent is at work."""
        await consciousness.wake_up(
            self._research, self._agent_id, mode, daily_budget_usd, self._clock.now()
        )
        self._awake = True

    async def finish(self, outcome: Outcome, *, seconds: float, log_problem: str | None) -> None:
        """Complete the row, then put the agent to sleep. Raises DatabaseUnavailable."""
        logger.info(
            "cycle_ended", status=outcome.status, reason=outcome.reason, cost_usd=outcome.cost_usd
        )
        if log_problem is not None:
            await self._alert_of_log(log_problem)
        await cycles.finish_cycle(
            self._trading,
            CycleEnd(
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
            ),
        )
        if self._awake:
            await self._fall_asleep(outcome)

    async def _fall_asleep(self, outcome: Outcome) -> None:
        now = self._clock.now()
        if outcome.cost_usd:
            await consciousness.record_api_spend(
                self._research, self._agent_id, outcome.cost_usd, self._session_date, now
            )
        if outcome.exit_code:
            await consciousness.record_error(self._research, self._agent_id, outcome.reason, now)
        await consciousness.sleep(self._research, self._agent_id, outcome.reason, now)

    async def _alert_of_log(self, problem: str) -> None:
        """A log that cannot be written is no reason to stop, but a person should know."""
        await records.queue_alert(
            self._trading,
            agent_id=self._agent_id,
            cycle_id=self._cycle_id,
            severity="warning",
            subject="the log cannot be written",
            body=problem,
            dedupe_key="log-not-written",
            at=self._clock.now(),
        )
