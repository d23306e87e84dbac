"""Which price of a held symbol the position monitor believes: one that two readings agree on.

Reads the feed and remembers its last readings; what a price leads to is for `guard` to say.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lookout import Workplace
from rules.quotes import Confirmed, Reading, Unavailable, Yardstick, confirmed_price, reading
from shared.database.positions import PositionRecord
from shared.errors import FeedUnavailable
from shared.models import Quote, Snapshot


@dataclass(slots=True, kw_only=True)
class HeldPrices:
    """What is remembered from pass to pass can be lost without harm."""

    place: Workplace
    _readings: dict[str, Reading] = field(default_factory=dict[str, Reading])
    _unknown_since: dict[int, datetime] = field(default_factory=dict[int, datetime])

    async def of(self, record: PositionRecord, snapshot: Snapshot) -> Confirmed | Unavailable:
        """Believe a price that two readings agree on: the feed's, and the broker's, the feed's next or last."""
        yardstick = Yardstick(
            symbol=record.symbol,
            currency=record.currency,
            quoted_in=self.place.settings.market.currency,
            reference=record.entry_price,
        )
        first = self._reading(snapshot.quotes.get(record.symbol), yardstick)
        found = confirmed_price(
            first,
            await self._second_reading(record, snapshot, yardstick, first),
            stop=record.stop_loss,
            settings=self.place.settings.signals,
        )
        if isinstance(first, Reading):
            self._readings[record.symbol] = first
        if isinstance(found, Unavailable):
            self._unknown_since.setdefault(record.position_id, self.place.clock.now())
        else:
            self._unknown_since.pop(record.position_id, None)
        return found

    def unknown_for(self, record: PositionRecord) -> timedelta:
        """How long no price of a position has been believed; nothing where one was the last time."""
        now = self.place.clock.now()
        return now - self._unknown_since.get(record.position_id, now)

    def forget(self) -> None:
        """Begin anew after a time in which nothing trades: lunch is no time without a price."""
        self._unknown_since.clear()

    async def _second_reading(
        self,
        record: PositionRecord,
        snapshot: Snapshot,
        yardstick: Yardstick,
        first: Reading | Unavailable,
    ) -> Reading | Unavailable:
        mark = broker_reading(record.symbol, snapshot)
        if mark is not None:
            return mark
        try:
            quotes = await self.place.feed.quotes((record.symbol,))
        except FeedUnavailable as error:
            return Unavailable(str(error))
        again = self._reading(quotes.get(record.symbol), yardstick)
        if isinstance(again, Reading) and again == first:
            # nothing has been quoted since: the reading of the pass before is the other one
            return self._readings.get(record.symbol, again)
        return again

    def _reading(self, quote: Quote | None, yardstick: Yardstick) -> Reading | Unavailable:
        now, settings = self.place.clock.now(), self.place.settings.signals
        return reading(quote, yardstick, now=now, source="feed", settings=settings)


def broker_reading(symbol: str, snapshot: Snapshot) -> Reading | None:
    """What the broker says that a held share is worth; None where it says nothing that can be true."""
    held = snapshot.position(symbol)
    mark = None if held is None else held.market_price
    if mark is None or not mark.is_finite() or mark <= 0:
        return None
    return Reading(price=mark, at=snapshot.taken_at, source="broker")
