"""What OpenD's market data says, as our own values. Pure: knows no connection, and the time as an argument.

A message comes whole: what it must have it has. Of the rest, presence decides: a field that is left out,
and a price of 0, which is OpenD's way to say that there is none, is not known. It never becomes 0.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum, IntEnum, auto
from typing import Any

from market.bars import require_sound
from market.calendar import Calendar
from shared.models import Bar, Quote, QuoteSource, utc
from shared.unreadable import Unreadable, cut

Message = Any
"""A protobuf message of moomoo's own definition."""

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")
_QUOTED = Decimal("0.001")
"""The finest price step of Hong Kong."""
_BEYOND_ALL_PRICES = Decimal(10_000_000)
_ADJUSTED = Decimal("0.000001")
"""A price before a split or a dividend is no price of the exchange any more, and has more digits."""


class SecurityKind(IntEnum):
    """The kinds of `Qot_Common.SecurityType` that are traded here."""

    STOCK = 3
    FUND = 4


class Exchange(IntEnum):
    """The boards of Hong Kong in `Qot_Common.ExchType`."""

    MAIN_BOARD = 1
    GEM_BOARD = 2
    HKEX = 3


class Standing(Enum):
    """Whether a security can be traded."""

    TRADED = auto()
    HALTED = auto()
    GONE = auto()
    """Not listed yet, or not any more: there is no quote to show."""
    UNKNOWN = auto()
    """A number without a meaning that is known here, or none; taken for a halt."""


_STANDINGS = {
    0: Standing.UNKNOWN,
    1: Standing.TRADED,
    2: Standing.GONE,  # to be listed
    3: Standing.GONE,  # applications are taken
    4: Standing.GONE,  # shares are subscribed
    5: Standing.GONE,  # before the grey market opens
    6: Standing.GONE,  # in the grey market, which is none of the exchange
    7: Standing.GONE,  # after the grey market
    8: Standing.TRADED,  # waits for the opening, as every one does in the morning
    9: Standing.HALTED,
    10: Standing.GONE,  # called back
    11: Standing.GONE,  # after its last day
    12: Standing.GONE,  # expired
    13: Standing.GONE,  # delisted
    14: Standing.HALTED,  # closed, while a temporary code trades
    15: Standing.HALTED,  # the temporary code has ended
    16: Standing.GONE,  # went to another board
    17: Standing.GONE,  # has another code
    18: Standing.HALTED,  # a circuit breaker that ends
    19: Standing.HALTED,  # a circuit breaker for the day
    20: Standing.HALTED,  # matching after the close
    21: Standing.HALTED,  # trading after the close
}
"""By the numbers of `Qot_Common.SecurityStatus`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_size: int | None = None
    ask_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Today:
    """What a snapshot says about the present session."""

    opened: Decimal | None = None
    volume: int | None = None
    previous_close: Decimal | None = None


def quote(
    symbol: str, snapshot: Message | None, *, now: datetime, calendar: Calendar
) -> Quote | None:
    """Read one snapshot as a quote, None where it says nothing up to `now`. Raises Unreadable.

    Its time is that of the last price, which OpenD names; that of bid and ask is not known, and a
    stock that nobody trades has an old quote. Bid and ask are there together or not at all: a bid above
    the ask is no quote. What is said of a session counts only on that session's date.
    """
    if snapshot is None:
        return None
    basic = snapshot.basic
    standing = standing_of(snapshot)
    at = _quoted_at(symbol, basic, calendar)
    if at > now or standing is Standing.GONE or basic.type not in set(SecurityKind):
        return None
    sides = _sides(symbol, basic)
    today = _today(symbol, basic, at=at, now=now, calendar=calendar)
    return Quote(
        symbol=symbol,
        at=at,
        bid=sides.bid,
        ask=sides.ask,
        bid_size=sides.bid_size,
        ask_size=sides.ask_size,
        last=_price(basic.curPrice, f"curPrice of {symbol}"),
        source=QuoteSource.QUOTED,
        halted=standing is not Standing.TRADED,
        session_open=today.opened,
        session_volume=today.volume,
        previous_close=today.previous_close,
    )


def quoted_at(snapshot: Message, calendar: Calendar) -> datetime | None:
    """Read when a snapshot's last price was made, None where that cannot be read."""
    try:
        return _quoted_at("a stock", snapshot.basic, calendar)
    except Unreadable:
        return None


def standing_of(snapshot: Message) -> Standing:
    """Say whether a snapshot's security can be traded; a suspension counts whatever else is said."""
    basic = snapshot.basic
    said = basic.secStatus if basic.HasField("secStatus") else 0
    standing = _STANDINGS.get(said, Standing.UNKNOWN)
    return Standing.HALTED if basic.isSuspend and standing is Standing.TRADED else standing


def is_tradable(basic: Message) -> bool:
    """Whether the static information is that of a share or fund that is listed on a board of Hong Kong."""
    is_gone = basic.HasField("delisting") and basic.delisting
    is_elsewhere = basic.HasField("exchType") and basic.exchType not in set(Exchange)
    return not is_gone and not is_elsewhere and basic.secType in set(SecurityKind)


def minute_bars(symbol: str, candles: Iterable[Message], calendar: Calendar) -> tuple[Bar, ...]:
    """Read one symbol's one-minute candles, oldest first; OpenD names each by its end.

    A candle without trades is no bar, and of two of the same minute the later one counts. Raises
    Unreadable unless every one of them is sound.
    """
    return _bars(symbol, candles, calendar, length=MINUTE, named_by_its_end=True)


def daily_bars(symbol: str, candles: Iterable[Message], calendar: Calendar) -> tuple[Bar, ...]:
    """Read one symbol's candles of whole days, oldest first, each named by its date. Raises Unreadable."""
    return _bars(symbol, candles, calendar, length=DAY, named_by_its_end=False)


def _bars(
    symbol: str,
    candles: Iterable[Message],
    calendar: Calendar,
    *,
    length: timedelta,
    named_by_its_end: bool,
) -> tuple[Bar, ...]:
    by_start: dict[datetime, Bar] = {}
    for candle in candles:
        named = _local(candle.time, f"time of a candle of {symbol}", calendar)
        start = named - length if named_by_its_end else named
        if candle.isBlank or not _volume(symbol, candle):
            by_start.pop(start, None)
        else:
            by_start[start] = _bar(symbol, candle, start, length)
    found = tuple(by_start[start] for start in sorted(by_start))
    try:
        require_sound(found)
    except ValueError as e:
        raise Unreadable(str(e)) from e
    return found


def _bar(symbol: str, candle: Message, start: datetime, length: timedelta) -> Bar:
    if start.second or start.microsecond:
        raise Unreadable(f"a candle of {symbol} must begin on a full minute, was {candle.time}")
    opened, high, low, close = (
        _number(_given(symbol, candle, name), f"{name} of a candle of {symbol}", _ADJUSTED)
        for name in ("openPrice", "highPrice", "lowPrice", "closePrice")
    )
    return Bar(
        symbol=symbol,
        start=start,
        end=start + length,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=_volume(symbol, candle),
    )


def _volume(symbol: str, candle: Message) -> int:
    return _shares(_given(symbol, candle, "volume"), f"volume of a candle of {symbol}")


def _given(symbol: str, candle: Message, name: str) -> float:
    if not candle.HasField(name):
        raise Unreadable(f"a candle of {symbol} has no {name}")
    return getattr(candle, name)


def _quoted_at(symbol: str, basic: Message, calendar: Calendar) -> datetime:
    """The older of what is said: the text in the exchange's time, and seconds where they are given."""
    said = _local(basic.updateTime, f"updateTime of {symbol}", calendar)
    seconds = basic.updateTimestamp if basic.HasField("updateTimestamp") else 0.0
    if seconds == 0:
        return said
    try:
        return min(said, datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError) as e:
        raise Unreadable(f"updateTimestamp of {symbol} must be a time, was {seconds}") from e


def _sides(symbol: str, basic: Message) -> _Sides:
    bid = _price(basic.bidPrice, f"bidPrice of {symbol}")
    ask = _price(basic.askPrice, f"askPrice of {symbol}")
    if bid is None or ask is None or bid > ask:
        return _Sides()
    return _Sides(
        bid=bid,
        ask=ask,
        bid_size=_shares(basic.bidVol, f"bidVol of {symbol}") or None,
        ask_size=_shares(basic.askVol, f"askVol of {symbol}") or None,
    )


def _today(
    symbol: str, basic: Message, *, at: datetime, now: datetime, calendar: Calendar
) -> _Today:
    if calendar.exchange_date(at) != calendar.exchange_date(now):
        return _Today()
    opened = _price(basic.openPrice, f"openPrice of {symbol}")
    volume = _shares(basic.volume, f"volume of {symbol}")
    return _Today(
        opened=opened if volume else None,
        volume=volume if opened and volume else None,
        previous_close=_price(basic.lastClosePrice, f"lastClosePrice of {symbol}"),
    )


def _price(value: float, what: str) -> Decimal | None:
    """A price of the exchange; 0, which also stands where a field was left out, is none."""
    return _number(value, what, _QUOTED) or None


def _number(value: float, what: str, finest: Decimal) -> Decimal:
    """A number from 0 on by its shortest form, without what a float adds behind a price's last digit."""
    if not math.isfinite(value) or value < 0:
        raise Unreadable(f"{what} must be a number from 0 on, was {value}")
    number = Decimal(repr(float(value)))
    if number >= _BEYOND_ALL_PRICES:
        raise Unreadable(f"{what} must be below {_BEYOND_ALL_PRICES}, was {value}")
    is_fine = number == number.quantize(finest, rounding=ROUND_HALF_EVEN)
    return number if is_fine else number.quantize(finest, rounding=ROUND_HALF_EVEN)


def _shares(value: float, what: str) -> int:
    if value < 0:
        raise Unreadable(f"{what} must be a number of shares from 0 on, was {value}")
    return int(value)


def _local(text: str, what: str, calendar: Calendar) -> datetime:
    """A time as OpenD writes it, in the exchange's own."""
    if _TIME.fullmatch(text) is not None:
        try:
            return utc(datetime.fromisoformat(text).replace(tzinfo=calendar.timezone))
        except (ValueError, OverflowError):
            pass
    raise Unreadable(f"the {what} must be YYYY-MM-DD HH:MM:SS, was {cut(text)}")
