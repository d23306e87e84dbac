"""What a command came to: a sentence, the content for people and programs alike, an exit code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from shared.operate.arguments import Command
from shared.outcome import Status

_EXIT_CODES = {Status.FAILED: 1, Status.BUSY: 1, Status.INTERRUPTED: 1, Status.USAGE: 2}
"""A busy agent is a failure here: a person wanted something, and it was not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One command, answered."""

    agent: str
    command: Command
    status: Status
    reason: str
    content: Mapping[str, Any] = field(  # pyright: ignore[reportExplicitAny] (rows by column)
        default_factory=dict[str, Any]
    )

    @property
    def exit_code(self) -> int:
        """0 done or rightly nothing to do, 1 failed, 2 usage or configuration."""
        return _EXIT_CODES.get(self.status, 0)

    def sentence(self) -> str:
        """Say it in a line."""
        return f"{self.agent} {self.command}: {self.status.replace('_', ' ')}: {self.reason}"

    def as_json(self) -> Mapping[str, object]:
        """Return what `--json` prints, before it is encoded."""
        head = {
            "agent": self.agent,
            "command": self.command,
            "status": self.status,
            "reason": self.reason,
        }
        return {**head, **self.content}

    def without_secrets(self, redact: Callable[[str], str]) -> "Report":
        """Return the same report with every secret taken out of every text in it."""
        content = {name: _redacted(value, redact) for name, value in self.content.items()}
        return replace(self, reason=redact(self.reason), content=content)


def _redacted(value: object, redact: Callable[[str], str]) -> object:
    match value:
        case str():
            return redact(value)
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            return {name: _redacted(item, redact) for name, item in pairs}
        case Sequence():
            return [_redacted(item, redact) for item in cast("Sequence[object]", value)]
        case _:
            return value
