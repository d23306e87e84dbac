"""How one run ended: the sentence for people, the JSON object for programs, the exit code for cron."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Status(StrEnum):
    """What a run came to."""

    DONE = "done"
    NOTHING_TO_DO = "nothing_to_do"
    BUSY = "busy"
    FAILED = "failed"
    USAGE = "usage"
    INTERRUPTED = "interrupted"


_EXIT_CODES = {Status.FAILED: 1, Status.INTERRUPTED: 1, Status.USAGE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run, summed up."""

    agent: str
    mode: str
    """A Mode, or the name of a program that has none."""
    status: Status
    reason: str
    cycle_id: str | None = None
    at: datetime | None = None
    decisions: tuple[str, ...] = ()
    tools_called: tuple[str, ...] = ()
    orders: int = 0
    fills: int = 0
    refusals: tuple[str, ...] = ()
    """Codes of every reason given, in order."""
    alerts: tuple[str, ...] = ()
    """Subjects of what a person is told by mail."""
    positions: int | None = None
    equity: Decimal | None = None
    session_pnl: Decimal | None = None
    iterations: int = 0
    """Replies of Claude."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    duration_seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    """What a person should know besides, such as a log file that cannot be written."""
    details: Mapping[str, object] = field(default_factory=dict[str, object])
    """What a program of its own adds to the JSON."""
    watched: "Outcome | None" = None
    """What the position monitor did in the time of a rehearsal that passed before this run."""

    @classmethod
    def of(cls, agent: str, mode: str, status: Status, reason: str) -> "Outcome":
        """Sum up a run that got no further than this sentence."""
        return cls(agent=agent, mode=mode, status=status, reason=reason)

    @property
    def exit_code(self) -> int:
        """0 done or rightly nothing to do, 1 failed, 2 usage or configuration."""
        return _EXIT_CODES.get(self.status, 0)

    def lasting(self, seconds: float) -> "Outcome":
        """Return the same outcome with its duration."""
        return replace(self, duration_seconds=round(seconds, 3))

    def sentence(self) -> str:
        """Say it in a line; every problem of a configuration gets a line of its own."""
        alerts = "".join(f" ALERT: {subject}." for subject in self.alerts)
        return f"{self.agent} {self.mode}: {self.status.replace('_', ' ')}: {self.reason}{alerts}"

    def as_json(self) -> dict[str, object]:
        """Return what `--json` prints: money as text, times in UTC."""
        return {
            "agent": self.agent,
            "mode": self.mode,
            "status": self.status,
            "reason": self.reason,
            "cycle_id": self.cycle_id,
            "at": None if self.at is None else f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "decisions": list(self.decisions),
            "tools_called": list(self.tools_called),
            "orders": self.orders,
            "fills": self.fills,
            "refusals": list(self.refusals),
            "alerts": list(self.alerts),
            "positions": self.positions,
            "equity": _text(self.equity),
            "session_pnl": _text(self.session_pnl),
            "iterations": self.iterations,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "cost_usd": _text(self.cost_usd),
            "duration_seconds": self.duration_seconds,
            "notes": list(self.notes),
            **({} if self.watched is None else {"watched": self.watched.as_json()}),
            **self.details,
        }


def _text(money: Decimal | None) -> str | None:
    return None if money is None else format(money, "f")
