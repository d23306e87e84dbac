"""What Alpaca's market data says, as our own values. Pure: knows no connection, and the time as an argument.

What is not in the documented form is refused with a sentence; a number that is missing never becomes 0.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import cast

from market.bars import require_sound
from market.calendar import Calendar
from market.daily import day_before
from shared.models import Bar, Headline, Quote, QuoteSource, utc
from shared.unreadable import Unreadable, cut

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
LATEST_TRADE = timedelta(minutes=15)
"""A trade that is so much older than a quote says nothing about the quote's moment."""
LONGEST_TEXT = 500
LONGEST_SOURCE = 60
_WITHDRAWN = frozenset({"canceled", "incorrect"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One entry of the list of what can be traded."""

    symbol: str
    name: str
    exchange: str
    is_tradable: bool
    """Whether it is an active US equity that Alpaca takes orders for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    at: datetime
    bid: Decimal
    ask: Decimal
    bid_size: int
    ask_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trade:
    at: datetime
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Days:
    """What the daily bars of a snapshot say about the present session and the one before."""

    opened: Decimal | None = None
    volume: int | None = None
    previous_close: Decimal | None = None


def bars_page(body: object) -> tuple[Mapping[str, Sequence[object]], str | None]:
    """Take one page of bars apart: rows by symbol, and the token of the next page. Raises Unreadable."""
    content, token = _page(body, "bars")
    series = _object(content, "bars")
    return {symbol: _list(rows, f"bars of {symbol}") for symbol, rows in series.items()}, token


def news_page(body: object) -> tuple[Sequence[object], str | None]:
    """Take one page of news apart: articles, and the token of the next page. Raises Unreadable."""
    content, token = _page(body, "news")
    return _list(content, "news"), token


def snapshots(body: object) -> Mapping[str, object]:
    """Take an answer apart into snapshots by symbol, each still to be read. Raises Unreadable."""
    return _object(body, "snapshots")


def most_active(body: object) -> tuple[str, ...]:
    """Read the symbols of the most active stocks, in Alpaca's order. Raises Unreadable."""
    return _symbols(_object(body, "most actives"), "most_actives")


def movers(body: object) -> tuple[str, ...]:
    """Read the symbols of the largest gainers, then of the largest losers. Raises Unreadable."""
    fields = _object(body, "movers")
    return (*_symbols(fields, "gainers"), *_symbols(fields, "losers"))


def assets(body: object) -> tuple[Asset, ...]:
    """Read the list of assets without those that cannot be read. Raises Unreadable where none can be."""
    rows = _list(body, "the list of assets")
    found: list[Asset] = []
    for row in rows:
        with suppress(Unreadable):
            found.append(_asset(_object(row, "asset")))
    if not found:
        raise Unreadable(f"the list of assets must have assets, was {cut(rows)}")
    return tuple(found)


def minute_bars(symbol: str, rows: Iterable[object]) -> tuple[Bar, ...]:
    """Read one symbol's one-minute bars, oldest first; of two of the same minute the later one counts.

    Raises Unreadable unless every one of them is sound.
    """
    found = _bars(symbol, rows, MINUTE)
    for bar in found:
        if bar.start.second or bar.start.microsecond:
            raise Unreadable(
                f"a one-minute bar of {symbol} must begin on a full minute,"
                f" was {bar.start.isoformat()}"
            )
    return found


def daily_bars(symbol: str, rows: Iterable[object]) -> tuple[Bar, ...]:
    """Read one symbol's bars of whole days, oldest first, as `minute_bars` does. Raises Unreadable."""
    return _bars(symbol, rows, DAY)


def quote(symbol: str, content: object, *, now: datetime, calendar: Calendar) -> Quote | None:
    """Read one symbol's snapshot as a quote, None where it says nothing up to `now`. Raises Unreadable.

    Bid and ask are there together or not at all: a side of 0 is Alpaca's way to say that there is none,
    and a bid above the ask is no quote. The quote's time is that of its sides, and without them that of
    the last trade. A trade that was withdrawn, or is much older than the sides, is no last price.
    `halted` is False and means "not known to be": a snapshot does not say. A halt shows in sides that
    go away or grow old, which nobody buys on.
    """
    if content is None:
        return None
    fields = _object(content, f"snapshot of {symbol}")
    sides, trade = _sides(symbol, fields), _trade(symbol, fields)
    sides = sides if sides and sides.at <= now else None
    trade = trade if trade and trade.at <= now else None
    if sides and trade and sides.at - trade.at > LATEST_TRADE:
        trade = None
    at = sides.at if sides else trade.at if trade else None
    if at is None:
        return None
    days = _days(symbol, fields, now, calendar)
    return Quote(
        symbol=symbol,
        at=at,
        bid=sides.bid if sides else None,
        ask=sides.ask if sides else None,
        bid_size=sides.bid_size if sides else None,
        ask_size=sides.ask_size if sides else None,
        last=trade.price if trade else None,
        source=QuoteSource.QUOTED,
        session_open=days.opened,
        session_volume=days.volume,
        previous_close=days.previous_close,
    )


def quoted_at(content: object) -> datetime | None:
    """Read when one symbol's sides were quoted, None where that cannot be read."""
    with suppress(Unreadable):
        return _moment(
            _object(_object(content, "snapshot").get("latestQuote"), "quote"), "t", "quote"
        )
    return None


def headline(content: object, *, now: datetime) -> Headline | None:
    """Read one article's headline, None when it was written or changed after `now`. Raises Unreadable.

    The text is what strangers wrote: it is put on one line and cut, and nothing else is done about it.
    """
    fields = _object(content, "article")
    created_at = _moment(fields, "created_at", "article")
    if max(created_at, _moment(fields, "updated_at", "article")) > now:
        return None
    symbols = _list(fields.get("symbols"), "symbols of an article")
    if not all(isinstance(symbol, str) for symbol in symbols):
        raise Unreadable(f"the symbols of an article must be texts, was {cut(symbols)}")
    return Headline(
        headline_id=str(_count(fields, "id", "article")),
        at=created_at,
        source=_line(_text(fields, "source", "article"), LONGEST_SOURCE),
        symbols=tuple(cast("Sequence[str]", symbols)),
        text=_line(_text(fields, "headline", "article"), LONGEST_TEXT),
    )


def _asset(fields: Mapping[str, object]) -> Asset:
    tradable = fields.get("tradable")
    if not isinstance(tradable, bool):
        raise Unreadable(f"tradable of the asset must be true or false, was {cut(tradable)}")
    is_active_equity = (
        _text(fields, "status", "asset") == "active"
        and _text(fields, "class", "asset") == "us_equity"
    )
    return Asset(
        symbol=_text(fields, "symbol", "asset"),
        name=_text(fields, "name", "asset"),
        exchange=_text(fields, "exchange", "asset"),
        is_tradable=tradable and is_active_equity,
    )


def _page(body: object, key: str) -> tuple[object, str | None]:
    fields = _object(body, f"page of {key}")
    if key not in fields or "next_page_token" not in fields:
        raise Unreadable(f"a page must have {key} and next_page_token, was {cut(body)}")
    token = fields["next_page_token"]
    if token is None:
        return fields[key], None
    if not isinstance(token, str) or not token:
        raise Unreadable(f"a next_page_token must be a text or null, was {cut(token)}")
    return fields[key], token


def _symbols(fields: Mapping[str, object], key: str) -> tuple[str, ...]:
    rows = _list(fields.get(key), key)
    return tuple(_text(_object(row, key), "symbol", key) for row in rows)


def _bars(symbol: str, rows: Iterable[object], length: timedelta) -> tuple[Bar, ...]:
    by_start = {bar.start: bar for bar in (_bar(symbol, row, length) for row in rows)}
    found = tuple(by_start[start] for start in sorted(by_start))
    try:
        require_sound(found)
    except ValueError as e:
        raise Unreadable(str(e)) from e
    return found


def _bar(symbol: str, content: object, length: timedelta) -> Bar:
    what = f"bar of {symbol}"
    fields = _object(content, what)
    start = _moment(fields, "t", what)
    return Bar(
        symbol=symbol,
        start=start,
        end=start + length,
        open=_number(fields, "o", what),
        high=_number(fields, "h", what),
        low=_number(fields, "l", what),
        close=_number(fields, "c", what),
        volume=_count(fields, "v", what),
    )


def _sides(symbol: str, snapshot: Mapping[str, object]) -> _Sides | None:
    content = snapshot.get("latestQuote")
    if content is None:
        return None
    what = f"quote of {symbol}"
    fields = _object(content, what)
    bid, ask = _number(fields, "bp", what), _number(fields, "ap", what)
    sides = _Sides(
        at=_moment(fields, "t", what),
        bid=bid,
        ask=ask,
        bid_size=_count(fields, "bs", what),
        ask_size=_count(fields, "as", what),
    )
    return sides if 0 < bid <= ask else None


def _trade(symbol: str, snapshot: Mapping[str, object]) -> _Trade | None:
    content = snapshot.get("latestTrade")
    if content is None:
        return None
    what = f"trade of {symbol}"
    fields = _object(content, what)
    trade = _Trade(at=_moment(fields, "t", what), price=_number(fields, "p", what))
    if trade.price == 0 or fields.get("u") in _WITHDRAWN:
        return None
    return trade


def _days(symbol: str, snapshot: Mapping[str, object], now: datetime, calendar: Calendar) -> _Days:
    """Place the two daily bars by their dates: before the open the "daily" one is of the session before.

    One that cannot be read is not known: it is no reason to do without bid and ask.
    """
    by_date: dict[date, Bar] = {}
    for name in ("dailyBar", "prevDailyBar"):
        with suppress(Unreadable):
            [bar] = _bars(symbol, [snapshot.get(name)], DAY)
            by_date[calendar.exchange_date(bar.start)] = bar
    day = calendar.exchange_date(now)
    today, before = by_date.get(day), day_before(by_date, day, calendar)
    return _Days(
        opened=today.open if today else None,
        volume=today.volume if today else None,
        previous_close=before[1].close if before else None,
    )


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Unreadable(f"the {what} must be an object, was {cut(value)}")
    return cast("Mapping[str, object]", value)


def _list(value: object, what: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise Unreadable(f"{what} must be a list, was {cut(value)}")
    return cast("Sequence[object]", value)


def _text(fields: Mapping[str, object], name: str, what: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"{name} of the {what} must be a text, was {cut(value)}")
    return value


def _moment(fields: Mapping[str, object], name: str, what: str) -> datetime:
    text = _text(fields, name, what)
    try:
        return utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as e:
        sentence = f"{name} of the {what} must be a time with its zone, was {cut(text)}"
        raise Unreadable(sentence) from e


def _number(fields: Mapping[str, object], name: str, what: str) -> Decimal:
    """A finite number that is not negative; a float is taken by its shortest form, which is the text sent."""
    value = fields.get(name)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        number = Decimal(str(value))
        if number.is_finite() and number >= 0:
            return number
    raise Unreadable(f"{name} of the {what} must be a number from 0 on, was {cut(value)}")


def _count(fields: Mapping[str, object], name: str, what: str) -> int:
    number = _number(fields, name, what)
    if number != number.to_integral_value():
        raise Unreadable(f"{name} of the {what} must be a whole number, was {number}")
    return int(number)


def _line(text: str, longest: int) -> str:
    line = " ".join(html.unescape(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
