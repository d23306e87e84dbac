"""Headlines of a generated day: some come before a move, some are loud and mean nothing.

Nothing in the text or in the sentiment tells the two kinds apart for certain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random

from rehearsal.minutes import HaltPlan, news_minute
from rehearsal.prices import Event, EventKind, Market

_SOURCES = ("Harbour Wire", "Tidewater Desk", "Plain Ledger")
_GOOD = (
    "{name} raises its forecast for the year after a strong quarter",
    "{name} wins a supply contract larger than its last two together",
    "{name} says demand runs ahead of what it can deliver",
)
_BAD = (
    "{name} cuts its forecast and blames late deliveries",
    "{name} loses its largest customer",
    "{name} recalls a product and puts a price on the damage",
)
_LOUD = (
    "{name} is the next big thing, says a newsletter",
    "{name} shares could double, a forum claims",
    "{name} chief calls the year transformational",
    "{name} faces questions, an anonymous post says",
)
_DULL = (
    "{name} names the date of its shareholder meeting",
    "{name} will present at an industry conference",
    "{name} appoints a new head of procurement",
    "An analyst repeats an old opinion about {name}",
)
_MARKET = (
    "Shares little changed before the open as traders wait for figures",
    "Survey of purchasing managers comes in near expectations",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One headline; sentiment in tenths, -10 to 10, where the source gives one."""

    at: datetime
    source: str
    symbols: tuple[str, ...]
    text: str
    sentiment_tenths: int | None


def stories(
    market: Market, day: date, starts: Sequence[datetime], halt: HaltPlan | None
) -> tuple[Story, ...]:
    """Every headline of one day, oldest first; `starts` are the starts of the session's minutes."""
    draw = market.random(day, "news")
    found = [
        *_with_effect(market, day, starts, draw),
        *_without_effect(market, starts, draw),
        *_about_the_market(starts, draw),
    ]
    if halt is not None:
        company = market.companies[halt.company]
        text = f"Trading in {company.name} is paused"
        found.append(_story(draw, starts[halt.first], (company.symbol,), text, None))
    return tuple(sorted(found, key=lambda story: (story.at, story.symbols, story.text)))


def _with_effect(
    market: Market, day: date, starts: Sequence[datetime], draw: Random
) -> Iterator[Story]:
    for event in market.events(day):
        if event.kind is EventKind.TREND:
            continue
        company = market.companies[event.company]
        text = draw.choice(_GOOD if event.effect > 0 else _BAD).format(name=company.name)
        tone = draw.choice((None, draw.randint(3, 9) * (1 if event.effect > 0 else -1)))
        yield _story(draw, _event_time(event, starts, draw), (company.symbol,), text, tone)


def _event_time(event: Event, starts: Sequence[datetime], draw: Random) -> datetime:
    if event.kind is EventKind.GAP:
        return _before_open(starts, draw)
    return starts[news_minute(event, len(starts))] + timedelta(seconds=draw.randint(1, 55))


def _without_effect(market: Market, starts: Sequence[datetime], draw: Random) -> Iterator[Story]:
    stocks = [company for company in market.companies if company.sector is not None]
    for company in draw.sample(stocks, max(1, len(stocks) // 3)):
        loud = draw.random() < 0.4
        text = draw.choice(_LOUD if loud else _DULL).format(name=company.name)
        tone = draw.choice((-7, 6, 8, 9)) if loud else draw.choice((None, 0, 1))
        before = draw.random() < 0.3
        at = _before_open(starts, draw) if before else draw.choice(starts)
        yield _story(
            draw, at + timedelta(seconds=draw.randint(0, 50)), (company.symbol,), text, tone
        )


def _about_the_market(starts: Sequence[datetime], draw: Random) -> Iterator[Story]:
    for text in _MARKET:
        yield _story(draw, _before_open(starts, draw), (), text, None)


def _before_open(starts: Sequence[datetime], draw: Random) -> datetime:
    return starts[0] - timedelta(minutes=draw.randint(15, 150))


def _story(
    draw: Random, at: datetime, symbols: tuple[str, ...], text: str, tone: int | None
) -> Story:
    return Story(
        at=at, source=draw.choice(_SOURCES), symbols=symbols, text=text, sentiment_tenths=tone
    )
