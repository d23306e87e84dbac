"""What keeps an agent from trading freely, and the one rule that makes a trading state of it.

Pure. Knows neither the database nor the file in which halts are kept; the stricter of the two wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.models import TradingState, require_aware


class HaltKind(StrEnum):
    """Where a halt comes from, which decides how it ends."""

    PERSON = "person"
    """Somebody said so; only a person lifts it."""
    UNRESOLVED = "unresolved"
    """Something is not understood; only a person, who looked, lifts it."""
    DAILY_LOSS = "daily_loss"
    """The day's loss reached its limit; it runs out when the next session opens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """One reason not to trade freely. Raises ValueError when it makes no sense."""

    state: TradingState
    """REDUCING or HALTED."""
    kind: HaltKind
    reason: str
    started_by: str
    started_at: datetime
    expires_at: datetime | None = None
    """When a daily-loss halt runs out; None for all others."""

    def __post_init__(self) -> None:
        require_aware(self.started_at, "started_at")
        if self.state is TradingState.ACTIVE:
            msg = "a halt is reducing or halted, was active"
            raise ValueError(msg)
        if not self.reason.strip():
            msg = "a halt needs a reason, was empty"
            raise ValueError(msg)
        if (self.kind is HaltKind.DAILY_LOSS) is (self.expires_at is None):
            msg = f"a daily-loss halt and no other runs out, {self.kind} ends at {self.expires_at}"
            raise ValueError(msg)
        if self.expires_at is not None:
            require_aware(self.expires_at, "expires_at")

    def is_in_force(self, now: datetime) -> bool:
        """Whether it holds at `now`. One that starts later holds already: clocks may disagree."""
        return self.expires_at is None or now < self.expires_at

    def sentence(self) -> str:
        """Say it for people: the state, why, who said so and when, and when it ends."""
        end = "" if self.expires_at is None else f", until {_time(self.expires_at)}"
        since = f"{self.started_by} at {_time(self.started_at)}"
        return f"{self.state}: {self.reason} ({self.kind}, {since}{end})"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The state file is there and says nothing that can be understood."""

    why: str


FileHalts = tuple[Halt, ...] | Unreadable | None
"""What the state file says; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInForce:
    """What an agent may do now, and why it may not do more; no reasons exactly when it is ACTIVE."""

    state: TradingState
    reasons: tuple[str, ...]


def effective(
    database_rows: Sequence[Halt], file: FileHalts, now: datetime
) -> tuple[TradingState, tuple[str, ...]]:
    """Return the strictest state of all halts in force, with every reason, strictest first.

    A file that cannot be read means HALTED; one that is missing means what the database says.
    """
    require_aware(now, "now")
    if isinstance(file, Unreadable):
        state, reasons = effective(database_rows, None, now)
        return TradingState.HALTED, (f"halted: {file.why}", *reasons)
    known = [halt for halt in (*database_rows, *(file or ())) if halt.is_in_force(now)]
    known.sort(key=lambda halt: (-STRICTNESS[halt.state], halt.started_at))
    state = max((halt.state for halt in known), key=STRICTNESS.__getitem__, default=_FREE)
    return state, tuple(dict.fromkeys(halt.sentence() for halt in known))


STRICTNESS = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}
"""Higher is stricter."""

_FREE = TradingState.ACTIVE


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
