"""What any source of market data can be asked. Nothing after the clock can be read through it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from shared.models import Bar, Headline, Quote, QuoteSource


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedDescription:
    """What a person and Claude should know about the data before they believe it."""

    label: str
    """For example "generated session, seed 7" or "recorded bars of 2019-02-11"."""
    quotes: QuoteSource
    has_news: bool
    has_baseline: bool
    """Whether anything before the present session is known."""
    bars_are_scarce: bool = False
    """Whether bars are a question a symbol, of which there are few: they are not asked for what quotes say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What one symbol did before the present session; None is "not known"."""

    previous_close: Decimal | None
    """Last close of the session before the present one."""
    previous_change_pct: Decimal | None
    """How far that session closed from the close before it, in percent."""
    average_daily_volume: int | None
    """Mean shares per session over the sessions known of the 35 days before, at most 20."""


class Feed(Protocol):
    """Market data up to the present moment of the clock it was opened with."""

    @property
    def description(self) -> FeedDescription:
        """What this feed is."""
        ...

    async def symbols(self) -> tuple[str, ...]:
        """Every symbol it has data for, indices included, sorted. Raises FeedUnavailable."""
        ...

    async def quotes(self, symbols: Collection[str]) -> Mapping[str, Quote]:
        """Latest quote of each symbol; a symbol without one is absent. Raises FeedUnavailable."""
        ...

    async def bars(
        self, symbols: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, tuple[Bar, ...]]:
        """Completed one-minute bars with start <= bar.start and bar.end <= min(end, now), in order.

        A symbol without bars maps to an empty tuple. Raises FeedUnavailable.
        """
        ...

    async def headlines(
        self, symbols: Collection[str] | None, *, since: datetime
    ) -> tuple[Headline, ...]:
        """News published since then and not after now, oldest first; None asks for all symbols.

        Raises FeedUnavailable.
        """
        ...

    async def baselines(self, symbols: Collection[str]) -> Mapping[str, Baseline]:
        """What was known of each symbol before the present session; every symbol asked for is present.

        Raises FeedUnavailable.
        """
        ...

    async def close(self) -> None:
        """Release what the feed holds; safe to call twice."""
        ...
