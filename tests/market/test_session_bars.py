"""Whose bars a scan asks for: everybody's, or where bars are scarce those of symbols whose quotes are silent."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

import pytest

from market.base import Feed, FeedDescription
from market.session_bars import session_bars
from shared.errors import FeedUnavailable
from shared.models import Bar, Quote, QuoteSource

AT = datetime(2026, 12, 21, 2, tzinfo=UTC)


class Asked:
    """A feed as far as its bars go."""

    def __init__(self, *, are_scarce: bool, is_away: bool = False) -> None:
        self.description: FeedDescription = FeedDescription(
            label="bars",
            quotes=QuoteSource.QUOTED,
            has_news=False,
            has_baseline=False,
            bars_are_scarce=are_scarce,
        )
        self.is_away: bool = is_away
        self.asked: list[str] = []

    async def bars(
        self, symbols: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, tuple[Bar, ...]]:
        assert start <= end
        self.asked += symbols
        if self.is_away:
            raise FeedUnavailable("away")
        return dict.fromkeys(symbols, ())


def quote(symbol: str, volume: int | None) -> Quote:
    return Quote(
        symbol=symbol,
        at=AT,
        bid=None,
        ask=None,
        last=None,
        source=QuoteSource.QUOTED,
        session_open=Decimal(100),
        session_volume=volume,
    )


QUOTES = {"TOLD": quote("TOLD", 500), "SILENT": quote("SILENT", None)}


async def read(feed: Asked) -> Mapping[str, tuple[Bar, ...]]:
    return await session_bars(cast("Feed", feed), list(QUOTES), QUOTES, start=AT, end=AT)


@pytest.mark.parametrize(("are_scarce", "asked"), [(False, ["TOLD", "SILENT"]), (True, ["SILENT"])])
async def test_quotes_spare_questions_only_where_bars_are_scarce(
    asked: list[str], *, are_scarce: bool
) -> None:
    feed = Asked(are_scarce=are_scarce)

    assert list(await read(feed)) == asked
    assert feed.asked == asked


async def test_bars_that_cannot_be_read_end_a_scan_only_where_they_are_all_there_is() -> None:
    with pytest.raises(FeedUnavailable):
        await read(Asked(are_scarce=False, is_away=True))

    assert await read(Asked(are_scarce=True, is_away=True)) == {}
