"""Asks the broker whether the exchange trades and what time it is there, and keeps the answer for a moment."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from brokers.base import Broker
from shared import log
from shared.clock import Clock, drift_seconds
from shared.errors import BrokerUnavailable
from shared.models import SessionHours, TradingDay

logger = log.get(__name__)

_KEPT = timedelta(seconds=30)
"""How long an answer counts, also that there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the broker's clock said; None is "it did not say"."""

    is_open: bool | None
    drift_seconds: float | None
    """How far it is ahead of ours, below 0 behind."""
    read_at: datetime
    day: TradingDay | None = None
    """How much of the exchange's present date is traded."""


class BrokerClock:
    """One broker's clock beside our own."""

    def __init__(self, broker: Broker, clock: Clock, session: SessionHours | None) -> None:
        """Bind to a broker, and to the session by which an open or a close is expected."""
        self._broker: Broker = broker
        self._clock: Clock = clock
        self._session: SessionHours | None = session
        self._last: Reading | None = None

    async def reading(self) -> Reading:
        """Ask, unless it was asked a moment ago and nothing was due to open or close since."""
        if self._last is None or not self._still_counts(self._last):
            self._last = await self._asked()
        return self._last

    def _still_counts(self, last: Reading) -> bool:
        now = self._clock.now()
        return timedelta(0) <= now - last.read_at <= _KEPT and self._part(now) == self._part(
            last.read_at
        )

    def _part(self, moment: datetime) -> tuple[datetime, datetime] | None:
        return None if self._session is None else self._session.part_at(moment)

    async def _asked(self) -> Reading:
        asked_at = self._clock.now()
        try:
            said = await self._broker.market_clock()
        except BrokerUnavailable as error:
            logger.warning("no_market_clock", why=str(error))
            return Reading(is_open=None, drift_seconds=None, read_at=self._clock.now())
        answered_at = self._clock.now()
        drift = drift_seconds(said.at, asked_at=asked_at, answered_at=answered_at)
        return Reading(is_open=said.is_open, drift_seconds=drift, read_at=answered_at, day=said.day)
