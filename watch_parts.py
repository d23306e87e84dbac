"""What a watch is made of: its means, what it came to so far, and the time that one token lasts."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from guard import Guard, Pass
from shared.brain import Brain
from shared.claude import AnthropicModel
from shared.config import Configuration
from shared.database.connection import Connection
from shared.database.fences import Sender
from shared.database.opening import Databases
from shared.journal.books import Books
from shared.lock import HeldFile

OpenDatabases = Callable[[AsyncExitStack], Awaitable[Databases]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a watch needs from the process around it."""

    configuration: Configuration
    file: HeldFile
    """The monitor's own lock, whose lease every sign of life renews."""
    brain: Brain
    open_databases: OpenDatabases
    open_model: Callable[[], AnthropicModel]
    signs: Callable[[], None]
    """Called with every sign of life."""
    tell: Callable[[Connection, datetime], Awaitable[None]]
    """Called after a pass, for alerts that wait to be sent."""
    cry: Callable[[], Awaitable[None]]
    """Called after a pass without a database, in which no alert can be queued."""
    ends_with_the_code: bool
    """Whether the process ends when the code under it was updated, for a fresh one to take over."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a watch came to so far."""

    passes: int = 0
    watched: int = 0
    """Open positions in the last pass."""
    blind_passes: int = 0
    orders: int = 0
    fills: int = 0
    left: list[str] = field(default_factory=list[str])
    odd_lots: tuple[str, ...] = ()
    """Symbols of which less than a lot was held in the last pass, which no order can sell."""
    alerts: list[str] = field(default_factory=list[str])
    problem: str | None = None
    """Of the last pass."""
    naked_seconds: float = 0.0
    """How long shares had no stop in force in this session so far, or nobody to be it."""

    def add(self, made: Pass) -> None:
        """Count a pass."""
        self.passes += 1
        self.watched = made.watched
        self.orders += made.orders
        self.fills += made.fills
        self.left += made.left
        self.odd_lots = made.odd_lots
        self.alerts += [subject for subject in made.alerts if subject not in self.alerts]
        self.problem = made.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The time in which one connection to the database, one token and one broker last."""

    guard: Guard
    books: Books
    sender: Sender

    @property
    def trading(self) -> Connection:
        """The trading database."""
        return self.books.connection
