"""Which questions OpenD is asked about Hong Kong, in which words, and what its refusals mean. Keeps nothing.

OpenD refuses a question about many stocks when it does not know one of them. Who that is gets found out
here, with few questions more, so that one bad symbol does not hide the others.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Any, Protocol

import stamina

from market import moomoo_wire as wire
from shared.errors import FeedUnavailable
from shared.opend import CallFailed, Refused
from shared.opend_refusals import is_over_quota, is_too_often, is_unknown_stock
from shared.opend_symbols import canonical_symbol, wire_code

HISTORY, STATIC_INFO, SNAPSHOT, STOCK_FILTER = 3103, 3202, 3203, 3215
HONG_KONG = 1
MOST_DESCRIBED = 200
"""Stocks in one question about what they are."""
CANDLES_PER_PAGE = 1000
MOST_PAGES = 20
"""Of one answer; more is a question that should not have been asked."""
MOST_REFUSALS = 5
"""So many refusals one after another, and nothing read, are no matter of single symbols."""
_ATTEMPTS = 2
_PAUSE_SECONDS = 0.1
MOST_UNKNOWN = 25
"""Symbols that one question may turn out to have in vain."""
_FORWARD_ADJUSTED = 1
_TURNOVER, _DESCENDING, _LATEST_DAY = 4, 2, 1


class Candle(Enum):
    """Lengths of candles, by their numbers in `Qot_Common.KLType`."""

    MINUTE = 1
    DAY = 2


class Connection(Protocol):
    """The way to OpenD; shared.opend.OpenD is one."""

    async def ask(
        self,
        protocol: int,
        c2s: Mapping[str, object],
        *,
        writes: bool = False,
        limited: bool = True,
    ) -> Any:
        """Send one message and return the answer's `s2c`. Raises CallFailed."""
        ...

    def has_turn(self, protocol: int) -> bool:
        """Whether a request could go now without waiting."""
        ...


class UnknownStock(Exception):
    """OpenD does not know the one stock that it was asked about; the text is its own."""


class NotServed(Exception):
    """OpenD has no more of this stock's history for this account; the text is a sentence."""


@dataclass(slots=True, kw_only=True)
class Answers:
    """What there is of each symbol."""

    found: dict[str, Any] = field(default_factory=dict[str, Any])
    unknown: dict[str, str] = field(default_factory=dict[str, str])
    """Symbols that OpenD does not know, with its words."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Symbols that OpenD says nothing about for another reason, with its words."""


class Requests:
    """The questions. Each raises FeedUnavailable for what concerns more than one stock."""

    def __init__(self, connection: Connection, *, patience_seconds: float) -> None:
        """Ask through a connection, twice where it broke within `patience_seconds`."""
        self._connection: Connection = connection
        self._retrying: stamina.BoundAsyncRetryingCaller = stamina.AsyncRetryingCaller(
            attempts=_ATTEMPTS, timeout=patience_seconds, wait_initial=_PAUSE_SECONDS
        ).on(_is_worth_another_attempt)

    def has_turn_for_history(self) -> bool:
        """Whether candles could be asked for without waiting."""
        return self._connection.has_turn(HISTORY)

    async def snapshots(self, symbols: Sequence[str]) -> Answers:
        """Ask for latest price, best bid and ask and the day of each symbol, as many as fit one question."""
        return await self._of_many(
            SNAPSHOT, symbols, lambda s2c: ((row.basic.security, row) for row in s2c.snapshotList)
        )

    async def descriptions(self, symbols: Sequence[str]) -> Answers:
        """Ask what each symbol is."""
        return await self._of_many(
            STATIC_INFO,
            symbols,
            lambda s2c: ((row.basic.security, row.basic) for row in s2c.staticInfoList),
        )

    async def most_traded(self, count: int) -> tuple[str, ...]:
        """Ask for the stocks with the largest turnover of the latest day, the largest first."""
        turnover = {
            "fieldName": _TURNOVER,
            "filterMin": 1.0,
            "isNoFilter": False,
            "sortDir": _DESCENDING,
            "days": _LATEST_DAY,
        }
        words = {
            "begin": 0,
            "num": count,
            "market": HONG_KONG,
            "accumulateFilterList": [turnover],
        }
        try:
            said = await self._ask(STOCK_FILTER, words)
        except CallFailed as error:
            raise FeedUnavailable(f"the most traded stocks cannot be read: {error}") from error
        found = (_symbol(row.security) for row in said.dataList)
        return tuple(symbol for symbol in found if symbol is not None)

    async def candles(self, symbol: str, kind: Candle, first: date, last: date) -> list[Any]:
        """Ask for one symbol's candles of these dates, both included, of all pages; the oldest first.

        They are adjusted for splits and dividends as seen from today. Raises FeedUnavailable,
        UnknownStock, NotServed, and Refused for what else OpenD has against it.
        """
        words: dict[str, object] = {
            "rehabType": _FORWARD_ADJUSTED,
            "klType": kind.value,
            "security": _security(symbol),
            "beginTime": first.isoformat(),
            "endTime": last.isoformat(),
            "maxAckKLNum": CANDLES_PER_PAGE,
        }
        rows: list[Any] = []
        keys: set[bytes] = set()
        for _ in range(MOST_PAGES):
            said = await self._page_of_candles(symbol, words, is_first=not keys)
            rows.extend(said.klList)
            key = bytes(said.nextReqKey)
            if not key:
                return rows
            if key in keys:
                raise FeedUnavailable(f"OpenD names a page of the candles of {symbol} twice")
            keys.add(key)
            words["nextReqKey"] = key
        raise FeedUnavailable(f"the candles of {symbol} have more than {MOST_PAGES} pages")

    async def _page_of_candles(
        self, symbol: str, words: Mapping[str, object], *, is_first: bool
    ) -> Any:
        try:
            said = await self._ask(HISTORY, words, limited=is_first)
        except Refused as error:
            _require_a_turn(error, f"the candles of {symbol}")
            if is_over_quota(error.text):
                raise NotServed(
                    f"the account's allowance of different stocks with history is used up, and OpenD"
                    f" refuses {symbol}: {error.text}"
                ) from error
            if is_unknown_stock(error.text):
                raise UnknownStock(error.text) from error
            raise
        except CallFailed as error:
            raise FeedUnavailable(f"the candles of {symbol} cannot be read: {error}") from error
        if _symbol(said.security) != symbol:
            raise FeedUnavailable(
                f"OpenD answered a question about {symbol} with candles of {said.security.code}"
            )
        return said

    async def _of_many(
        self,
        protocol: int,
        symbols: Sequence[str],
        rows: Callable[[Any], Iterable[tuple[Any, Any]]],
    ) -> Answers:
        """Ask about many stocks; halves those of a refused question until whoever is refused stands alone."""
        answers, refusals = Answers(), 0
        waiting: list[tuple[str, ...]] = [tuple(symbols)] if symbols else []
        while waiting:
            batch = waiting.pop(0)
            words = {"securityList": [_security(symbol) for symbol in batch]}
            try:
                said = await self._ask(protocol, words)
            except Refused as error:
                _require_a_turn(error, _WHAT[protocol])
                refusals += 1
                if refusals >= MOST_REFUSALS and not answers.found:
                    raise FeedUnavailable(f"{_WHAT[protocol]} cannot be read: {error}") from error
                waiting += _narrowed(batch, error.text, answers, protocol)
                continue
            except CallFailed as error:
                raise FeedUnavailable(f"{_WHAT[protocol]} cannot be read: {error}") from error
            answers.found.update(_by_symbol(rows(said), batch, protocol))
        return answers

    async def _ask(
        self, protocol: int, words: Mapping[str, object], *, limited: bool = True
    ) -> Any:
        return await self._retrying(lambda: self._connection.ask(protocol, words, limited=limited))


_WHAT = {SNAPSHOT: "the quotes of OpenD", STATIC_INFO: "OpenD's list of stocks"}


def _narrowed(
    batch: Sequence[str], text: str, answers: Answers, protocol: int
) -> list[tuple[str, ...]]:
    """Return what is still to be asked after a refusal, which may name whom it is about."""
    named = {symbol for symbol in batch if _names(text, symbol)}
    if not named and len(batch) == 1:
        named = set(batch)
    noted = answers.unknown if is_unknown_stock(text) else answers.refused
    noted.update(dict.fromkeys(named, text))
    if len(answers.unknown) + len(answers.refused) > MOST_UNKNOWN:
        raise FeedUnavailable(f"{_WHAT[protocol]} cannot be read: OpenD refused: {text}")
    rest = tuple(symbol for symbol in batch if symbol not in named)
    if named:
        return [rest] if rest else []
    half = (len(rest) + 1) // 2
    return [rest[:half], rest[half:]]


def _require_a_turn(error: Refused, what: str) -> None:
    """Ask no more where OpenD says that it is asked too often: every question more counts, too."""
    if is_too_often(error.text):
        raise FeedUnavailable(f"{what} cannot be read: {error}") from error


def _is_worth_another_attempt(error: Exception) -> bool:
    return isinstance(error, CallFailed) and not isinstance(error, Refused)


def _names(text: str, symbol: str) -> bool:
    return re.search(rf"(?<!\d){wire_code(symbol)}(?!\d)", text) is not None


def _by_symbol(
    rows: Iterable[tuple[Any, Any]], batch: Collection[str], protocol: int
) -> dict[str, Any]:
    found = {_symbol(security): row for security, row in rows}
    wanted = {symbol: row for symbol, row in found.items() if symbol in batch}
    if not wanted:
        raise FeedUnavailable(f"{_WHAT[protocol]} cannot be read: none of what was asked for came")
    return {symbol: row for symbol, row in wanted.items() if symbol is not None}


def _security(symbol: str) -> dict[str, object]:
    return {"market": HONG_KONG, "code": wire_code(symbol)}


def _symbol(security: wire.Message) -> str | None:
    """Return the symbol that a message names, None for what is none of Hong Kong's shares."""
    if security.market != HONG_KONG:
        return None
    try:
        return canonical_symbol(security.code)
    except ValueError:
        return None
