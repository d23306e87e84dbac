"""Works off the outbox: takes alerts that are due, hands each to a channel, notes what came of it.

An alert is sent when a channel has said that it took it. It is never lost: until then it stays queued and
is tried again later. It is not sent twice either: it is leased to one sender at a time, and only a
process that dies, or a server that goes silent, between taking it and saying so leads to a second copy,
which carries the same Message-ID.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from shared import log
from shared.bounded import PointOfNoReturn, within
from shared.clock import Clock
from shared.config import AlertSettings
from shared.database.accounts import database_identity
from shared.database.connection import Connection
from shared.database.records import (
    QueuedAlert,
    claim_alert,
    count_due_alerts,
    mark_alert_failed,
    mark_alert_sent,
)
from shared.errors import NotDelivered
from shared.letters import Channel, Letter, compose, one_line

logger = log.get(__name__)

LEASE = timedelta(minutes=3)
"""Longer than any one delivery; an alert whose sender died is due again after this."""

LONGEST_PAUSE = timedelta(hours=1)
_LONGEST_ERROR = 500
_ENOUGH_SHARE = 0.2
"""With less than this share of the time left, no further alert is begun."""
_GOODBYE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one pass over the outbox came to."""

    sent: int
    failed: int
    left: int
    """Alerts that are due and were not tried, for want of time or of a channel that works."""


def next_attempt(attempts: int, first_pause_seconds: float, now: datetime) -> datetime:
    """Return when to try again after so many failed attempts: each doubles the pause, up to an hour."""
    doublings = min(attempts - 1, 20)
    return now + min(timedelta(seconds=first_pause_seconds) * 2**doublings, LONGEST_PAUSE)


class Sender:
    """One pass over one agent's outbox; used once."""

    def __init__(
        self,
        connection: Connection,
        channels: Sequence[Channel],
        *,
        agent_id: str,
        settings: AlertSettings,
        clock: Clock,
        redact: Callable[[str], str],
    ) -> None:
        """Take what is needed; nothing is read or sent yet. The first channel is preferred."""
        self._connection: Connection = connection
        self._channels: tuple[Channel, ...] = tuple(channels)
        self._agent_id: str = agent_id
        self._settings: AlertSettings = settings
        self._clock: Clock = clock
        self._redact: Callable[[str], str] = redact
        self._down: set[str] = set()
        self._ends_at: float = 0.0

    async def work_off(self) -> Tally:
        """Send what is due, within the time and the number that the settings allow.

        Raises DatabaseUnavailable, never because of a channel.
        """
        self._ends_at = monotonic() + self._settings.total_seconds
        sent = failed = 0
        try:
            for _ in range(self._settings.max_per_run):
                alert = await self._claimed()
                if alert is None:
                    break
                is_sent = await self._send(alert)
                sent, failed = sent + is_sent, failed + (not is_sent)
        finally:
            await self._close()
        left = await count_due_alerts(self._connection, self._agent_id, self._clock.now())
        return Tally(sent=sent, failed=failed, left=left)

    async def _claimed(self) -> QueuedAlert | None:
        """Take the next alert, if there is one, and time, and a channel for it."""
        enough = self._settings.total_seconds * _ENOUGH_SHARE
        if not self._working() or self._seconds_left() < enough:
            return None
        now = self._clock.now()
        return await claim_alert(self._connection, self._agent_id, at=now, leased_until=now + LEASE)

    async def _send(self, alert: QueuedAlert) -> bool:
        letter = compose(
            alert,
            agent_id=self._agent_id,
            database=await database_identity(self._connection),
            at=self._clock.now(),
            redact=self._redact,
        )
        accepted, errors = await self._deliver(letter)
        error = self._redact(one_line("; ".join(errors)))[:_LONGEST_ERROR] or None
        if not accepted:
            await self._note_failure(alert, error or "no channel took it")
            return False
        await mark_alert_sent(
            self._connection,
            alert_id=alert.alert_id,
            accepted_by=accepted,
            error=error,
            at=self._clock.now(),
        )
        logger.info("alert_sent", alert_id=alert.alert_id, accepted_by=accepted, error=error)
        return True

    async def _note_failure(self, alert: QueuedAlert, error: str) -> None:
        again = next_attempt(
            alert.attempts + 1, self._settings.retry_after_seconds, self._clock.now()
        )
        logger.warning(
            "alert_not_sent", alert_id=alert.alert_id, error=error, next_attempt_at=again
        )
        if alert.next_attempt_at is not None:
            await mark_alert_failed(
                self._connection,
                alert_id=alert.alert_id,
                error=error,
                leased_until=alert.next_attempt_at,
                next_attempt_at=again,
            )

    async def _deliver(self, letter: Letter) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return who took it and what the others said: a critical letter goes to all, others to one."""
        working = self._working()
        if letter.severity == "critical":
            said = await asyncio.gather(
                *(self._hand_to(channel, letter, self._seconds_left()) for channel in working)
            )
            pairs = tuple(zip(working, said, strict=True))
        else:
            pairs = await self._hand_to_first(working, letter)
        accepted = tuple(channel.name for channel, error in pairs if error is None)
        return accepted, tuple(
            f"{channel.name}: {error}" for channel, error in pairs if error is not None
        )

    async def _hand_to_first(
        self, working: Sequence[Channel], letter: Letter
    ) -> tuple[tuple[Channel, str | None], ...]:
        """Try one after the other until one takes it; each may use its share of the time left."""
        tried: list[tuple[Channel, str | None]] = []
        for number, channel in enumerate(working):
            seconds = self._seconds_left() / (len(working) - number)
            error = await self._hand_to(channel, letter, seconds)
            tried.append((channel, error))
            if error is None:
                break
        return tuple(tried)

    async def _hand_to(self, channel: Channel, letter: Letter, seconds: float) -> str | None:
        """Return None when the channel took the letter, else why not."""
        last_step = PointOfNoReturn(seconds)
        try:
            await hand_over(channel, letter, seconds=seconds, last_step=last_step)
        except NotDelivered as error:
            if error.channel_is_down:
                self._down.add(channel.name)
            return str(error)
        return None

    def _working(self) -> tuple[Channel, ...]:
        return tuple(channel for channel in self._channels if channel.name not in self._down)

    def _seconds_left(self) -> float:
        return max(self._ends_at - monotonic(), 0.0)

    async def _close(self) -> None:
        for channel in self._working():
            await take_leave(channel)


async def hand_over(
    channel: Channel, letter: Letter, *, seconds: float, last_step: PointOfNoReturn
) -> None:
    """Deliver in a thread of its own and wait at most that long. Raises NotDelivered."""
    work = partial(channel.deliver, letter, seconds=seconds, last_step=last_step)
    try:
        await within(seconds, work)
    except TimeoutError as error:
        doubt = "" if last_step.block() else "; the letter may have arrived all the same"
        raise NotDelivered(f"it was not done within {seconds:.1f} s{doubt}") from error


async def take_leave(channel: Channel) -> None:
    """Close a channel that works; one that does not answer is left as it is."""
    with suppress(TimeoutError):
        await within(_GOODBYE_SECONDS, channel.close)
