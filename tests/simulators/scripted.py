"""When a fault of the wire hits, whatever the wire is."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
"""What a client sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted(Generic[Asked]):
    """The nth request that matches, and those after it."""

    nth: int = 1
    """First matching request that it hits, counted from 1 since it was injected."""
    times: int | None = 1
    """Requests in a row that it hits; None for all from then on."""
    executes: bool = False
    """Whether the broker carries the request out first; a true answer always needs it."""
    seconds: float = 0.0

    @abstractmethod
    def matches(self, request: Asked) -> bool:
        """Whether the request is one that it counts."""
        ...

    def hits(self, call: int) -> bool:
        """Whether it hits the matching request of that number."""
        return call >= self.nth and (self.times is None or call < self.nth + self.times)


WireFault = TypeVar("WireFault", bound=Scripted[Any])


class Script(Generic[Asked, WireFault]):
    """The faults that were injected, and how many requests each has seen."""

    def __init__(self) -> None:
        self._lines: list[_Line[Asked, WireFault]] = []

    def add(self, fault: WireFault) -> None:
        """Inject one."""
        self._lines.append(_Line(fault))

    def clear(self) -> None:
        """Take every one away."""
        self._lines.clear()

    def take(self, request: Asked) -> WireFault | None:
        """Count the request; return what hits it, and of two the one that was injected first."""
        hits = [line.fault for line in self._lines if line.take(request)]
        return hits[0] if hits else None


@dataclass(slots=True)
class _Line(Generic[Asked, WireFault]):
    fault: WireFault
    seen: int = 0

    def take(self, request: Asked) -> bool:
        if not self.fault.matches(request):
            return False
        self.seen += 1
        return self.fault.hits(self.seen)
