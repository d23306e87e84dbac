"""A recording as a live feed: nothing after the clock can be read, whatever the arguments say."""

from collections.abc import Collection, Mapping
from datetime import datetime

from market.base import Baseline, FeedDescription
from market.recording import Recording
from shared.clock import Clock
from shared.models import Bar, Headline, Quote, utc


class RecordedFeed:
    """Implements market.base.Feed over a recording and the clock of the rehearsal."""

    def __init__(self, recording: Recording, clock: Clock) -> None:
        """Play `recording` up to wherever `clock` stands."""
        self._recording: Recording = recording
        self._clock: Clock = clock

    @property
    def description(self) -> FeedDescription:
        """What this recording is, at the present moment."""
        return self._recording.description_at(self._clock.now())

    async def symbols(self) -> tuple[str, ...]:
        """Every symbol of the recording, sorted."""
        return self._recording.symbols()

    async def quotes(self, symbols: Collection[str]) -> Mapping[str, Quote]:
        """Latest quote of each symbol that has traded by now."""
        now = self._clock.now()
        found = {symbol: self._recording.quote(symbol, now) for symbol in symbols}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    async def bars(
        self, symbols: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, tuple[Bar, ...]]:
        """Bars with start <= bar.start and bar.end <= min(end, now)."""
        until = min(utc(end), self._clock.now())
        return {symbol: tuple(self._recording.bars(symbol, start, until)) for symbol in symbols}

    async def headlines(
        self, symbols: Collection[str] | None, *, since: datetime
    ) -> tuple[Headline, ...]:
        """News of since <= at <= now, oldest first."""
        return self._recording.headlines(symbols, since, self._clock.now())

    async def baselines(self, symbols: Collection[str]) -> Mapping[str, Baseline]:
        """What was known before the session of the exchange's present date."""
        now = self._clock.now()
        return {symbol: self._recording.baseline_at(symbol, now) for symbol in symbols}

    async def close(self) -> None:
        """Nothing is held."""
