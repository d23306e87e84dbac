"""What a person is sent: one alert as a plain text with a subject of one line.

Knows nothing of how it travels. Recipients are no part of it: they come from the environment alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.bounded import PointOfNoReturn
from shared.database.records import QueuedAlert, Severity

LONGEST_SUBJECT = 200
LONGEST_BODY = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message, ready for every channel."""

    name: str
    """The same for every copy of one alert and for nothing else; a mail's Message-ID is made of it."""
    severity: Severity
    subject: str
    """One line."""
    body: str
    at: datetime
    """When it is sent."""


class Channel(Protocol):
    """One way to reach the person; used by one thread at a time."""

    @property
    def name(self) -> str:
        """What the log and the outbox call it; no secret is in it."""
        ...

    def deliver(self, letter: Letter, *, seconds: float, last_step: PointOfNoReturn) -> None:
        """Hand the letter over; it blocks, and is left behind after that many seconds.

        Raises NotDelivered. Nothing that the receiver could see is done before `last_step` is passed.
        """
        ...

    def close(self) -> None:
        """End what is open; it blocks."""
        ...


def compose(
    alert: QueuedAlert,
    *,
    agent_id: str,
    database: UUID,
    at: datetime,
    redact: Callable[[str], str],
) -> Letter:
    """Write the letter of an alert: its facts, then agent, cycle and time; without any secret."""
    facts = (
        f"Agent:    {agent_id}",
        f"Severity: {alert.severity}",
        f"Cycle:    {alert.cycle_id or 'none'}",
        f"Queued:   {alert.queued_at:%Y-%m-%d %H:%M:%S} UTC",
        f"Alert:    {alert.alert_id}",
    )
    body = _shortened(redact(alert.body), LONGEST_BODY)
    return Letter(
        name=f"alert-{alert.alert_id}.{database.hex}",
        severity=alert.severity,
        subject=subject_line(agent_id, alert.severity, redact(alert.subject)),
        body="\n".join((body, "", *facts, "")),
        at=at,
    )


def subject_line(agent_id: str, severity: Severity, subject: str) -> str:
    """Return the subject as one line, whatever is in it."""
    return _shortened(one_line(f"[Catalyst {agent_id}] {severity}: {subject}"), LONGEST_SUBJECT)


def one_line(text: str) -> str:
    """Return the text with every run of blanks, line ends and other unprintable characters as one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
