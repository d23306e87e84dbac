"""Which quotes may be believed, so that one bad tick never sells a position.

Pure. It knows no position and no signal: what a believed price leads to is for `signals` to say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from shared.config import SignalSettings
from shared.models import Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One price that was read and passed every check of its own."""

    price: Decimal
    """The last trade, moved to the nearer of bid and ask where those have moved away from it."""
    at: datetime
    source: str
    """Who said so, such as the feed or the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """What two readings agree on; each number is the one that both of them reach."""

    high: Decimal
    """A stop is hit when this one is at or below it."""
    low: Decimal
    """A best price is raised by this one."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No price, and why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What a reading of one symbol is held against."""

    symbol: str
    currency: str
    """Of the holding."""
    quoted_in: str | None
    """Currency of the source's prices; None where the source does not say."""
    reference: Decimal | None
    """A price believed before, such as the last confirmed one or the entry."""


def reading(
    quote: Quote | None,
    yardstick: Yardstick,
    *,
    now: datetime,
    source: str,
    settings: SignalSettings,
) -> Reading | Unavailable:
    """Check one quote by itself: Unavailable unless all of it can be true."""
    if quote is None:
        return Unavailable(f"{source} has no quote of {yardstick.symbol}")
    fault = next(_faults(quote, yardstick, now, settings), None)
    if fault is not None:
        return Unavailable(f"{source}: {fault}")
    price = _price(quote)
    if price is None:
        return Unavailable(f"{source}: {quote.symbol} has neither a last price nor a bid")
    fault = _jump(price, yardstick.reference, settings)
    if fault is not None:
        return Unavailable(f"{source}: {fault}")
    return Reading(price=price, at=quote.at, source=source)


def confirmed_price(
    first: Reading | Unavailable,
    second: Reading | Unavailable,
    *,
    stop: Decimal | None,
    settings: SignalSettings,
) -> Confirmed | Unavailable:
    """Believe two readings that agree, or that both reach the stop.

    The same moment from the same source is one reading that was seen twice and confirms nothing.
    """
    if isinstance(first, Unavailable):
        return first
    if isinstance(second, Unavailable):
        return second
    if first.source == second.source and first.at == second.at:
        return Unavailable(f"{first.source} gave the quote of {first.at.isoformat()} twice")
    low, high = sorted((first.price, second.price))
    apart = (high - low) / high * 100
    both_through = stop is not None and stop.is_finite() and high <= stop
    if apart <= settings.quote_agreement_pct or both_through:
        return Confirmed(high=high, low=low)
    return Unavailable(
        f"two readings lie {apart:.2f} % apart, {first.price} and {second.price}: one of them is wrong"
    )


def _faults(
    quote: Quote, yardstick: Yardstick, now: datetime, settings: SignalSettings
) -> Iterator[str]:
    if quote.symbol != yardstick.symbol:
        yield f"a quote of {quote.symbol} was given for {yardstick.symbol}"
    if yardstick.quoted_in not in {None, yardstick.currency}:
        yield f"{quote.symbol} is held in {yardstick.currency}, quoted in {yardstick.quoted_in}"
    if quote.halted:
        yield f"trading in {quote.symbol} is halted"
    yield from _bad_age(quote, now, settings)
    yield from _bad_numbers(quote)
    # Only after the numbers: a comparison with NaN raises.
    if quote.bid is not None and quote.ask is not None and quote.bid > quote.ask:
        yield f"the bid {quote.bid} of {quote.symbol} is above its ask {quote.ask}"


def _bad_age(quote: Quote, now: datetime, settings: SignalSettings) -> Iterator[str]:
    age = (now - quote.at).total_seconds()
    if age > settings.max_quote_age_seconds:
        yield f"the quote of {quote.symbol} is {age:.0f} seconds old"
    if quote.at - now > timedelta(seconds=settings.max_clock_skew_seconds):
        yield f"the quote of {quote.symbol} is from {-age:.0f} seconds in the future"


def _bad_numbers(quote: Quote) -> Iterator[str]:
    for name, value in (("bid", quote.bid), ("ask", quote.ask), ("last price", quote.last)):
        if value is not None and not (value.is_finite() and value > 0):
            yield f"the {name} of {quote.symbol} is {value}"


def _price(quote: Quote) -> Decimal | None:
    if quote.last is None:
        return quote.bid
    price = quote.last if quote.bid is None else max(quote.last, quote.bid)
    return price if quote.ask is None else min(price, quote.ask)


def _jump(price: Decimal, reference: Decimal | None, settings: SignalSettings) -> str | None:
    """A price in cents, or of another share: what no market does between two looks."""
    if reference is None or not reference.is_finite() or reference <= 0:
        return None
    factor = settings.quote_jump_factor
    if reference / factor < price < reference * factor:
        return None
    return f"the price {price} cannot follow {reference}"
