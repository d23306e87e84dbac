"""Reads from a feed the session's bars of those symbols whose quotes do not say what a scan needs of it."""

from collections.abc import Collection, Mapping
from datetime import datetime

from market.base import Feed
from market.scanner import tells_of_the_session
from shared import log
from shared.errors import FeedUnavailable
from shared.models import Bar, Quote

logger = log.get(__name__)


async def session_bars(
    feed: Feed,
    symbols: Collection[str],
    quotes: Mapping[str, Quote],
    *,
    start: datetime,
    end: datetime,
) -> Mapping[str, tuple[Bar, ...]]:
    """Return bars; where they are scarce those alone for which quotes are silent, and the rest is absent.

    Raises FeedUnavailable where bars are all there is.
    """
    is_scarce = feed.description.bars_are_scarce
    told = {s for s, quote in quotes.items() if is_scarce and tells_of_the_session(quote)}
    others = [symbol for symbol in symbols if symbol not in told]
    try:
        return await feed.bars(others, start=start, end=end) if others else {}
    except FeedUnavailable as error:
        if not told:
            raise
        logger.warning("no_bars_for_the_scan", symbols=others, why=str(error))
        return {}
