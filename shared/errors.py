"""Every error Catalyst raises on purpose, split by who has to act.

CatalystError
├── ConfigError              the operator corrects a file, a variable or an argument; exit code 2
│   └── MigrationFailed      a change of the schema failed and was undone
├── Busy                     nobody acts: another run holds the lock; exit code 0
├── LockLost                 nobody acts: another run has taken the lock over; this one ends, exit code 1
├── Unavailable              a read may be tried again later; nothing was changed
│   ├── BrokerUnavailable
│   ├── DatabaseUnavailable
│   ├── FeedUnavailable
│   └── ModelUnavailable
├── OrderRejected            the broker said no and nothing rests there; tell Claude
├── OrderOutcomeUnknown      the broker may or may not have the order; never send it again, look it up
├── ToolError                Claude asked for something that makes no sense; tell Claude
├── BudgetExceeded           the day's money for Claude is spent; the cycle ends, rules go on
│   └── CreditExhausted      the provider's account has no money left; the operator pays, rules go on
├── NotDelivered             a channel did not take a message for a person; it is tried again later
├── InvalidTransition        an order was said to move where its state cannot go
└── CalendarExhausted        the calendar table does not reach that day; nothing is traded
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CatalystError(Exception):
    """Base of all errors that are ours; the text is one sentence with the offending value."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration: where it stands and what would be right."""

    where: str
    """File and line, a variable's name, or an argument."""
    what: str
    """The sentence to read."""
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{self.where}: {self.what}{hint}"


class ConfigError(CatalystError):
    """The operator has to correct something; carries every problem that was found."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        """Take every problem found, or one plain sentence."""
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        text = problems if isinstance(problems, str) else "\n".join(map(str, problems))
        super().__init__(text)


class MigrationFailed(ConfigError):
    """A migration failed; the database is as it was before it."""


class Busy(CatalystError):
    """Another run of this agent is at work; the text says which."""


class LockLost(CatalystError):
    """The agent's lock is not held any more, so nothing more may be sent."""


class Unavailable(CatalystError):
    """Something could not be reached or did not answer in time; nothing was changed there."""


class BrokerUnavailable(Unavailable):
    """A read from the broker failed, or a write provably never left this process."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        """Say how long the broker asks to wait, where it does."""
        super().__init__(reason)
        self.retry_after_seconds: float | None = retry_after_seconds


class DatabaseUnavailable(Unavailable):
    """PostgreSQL could not be reached or went away."""


class FeedUnavailable(Unavailable):
    """Market data could not be read."""


class ModelUnavailable(Unavailable):
    """Claude could not be reached, was overloaded, or answered too late or with garbage."""

    def __init__(
        self, reason: str, *, maybe_billed: bool = True, retry_after_seconds: float | None = None
    ) -> None:
        """Say whether the call may cost money all the same, and how long the provider asks to wait."""
        super().__init__(reason)
        self.maybe_billed: bool = maybe_billed
        self.retry_after_seconds: float | None = retry_after_seconds


class OrderRejected(CatalystError):
    """The broker refused: no order of that id works there."""

    def __init__(self, reason: str, *, code: str | None = None) -> None:
        """Keep the broker's own code, where it gave one, beside its sentence."""
        super().__init__(reason)
        self.code: str | None = code


class OrderOutcomeUnknown(CatalystError):
    """The request may have been carried out; only looking the client order id up can tell."""


class ToolError(CatalystError):
    """A tool request that cannot be carried out as asked; the text goes back to Claude."""


class BudgetExceeded(CatalystError):
    """Reserving the call's worst case would pass the day's budget."""


class CreditExhausted(BudgetExceeded):
    """The provider refuses calls until somebody pays: no credit, or its own spend limit is reached."""


ENDS_THE_RUN = (DatabaseUnavailable, LockLost)
"""What no tool and no rule may swallow: nothing more can be remembered, or nothing more may be sent."""


class NotDelivered(CatalystError):
    """A channel did not take a message, or did not say so in time."""

    def __init__(self, reason: str, *, channel_is_down: bool = True) -> None:
        """Say whether other messages have a chance there."""
        super().__init__(reason)
        self.channel_is_down: bool = channel_is_down


class InvalidTransition(CatalystError):
    """An order was observed in a state that its last known state cannot lead to."""


class CalendarExhausted(CatalystError):
    """The committed calendar ends before the day that was asked for."""
