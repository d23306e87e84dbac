"""Candles of many symbols over OpenD, one question each, within its limits: turns, the month's allowance, refusals.

A symbol that OpenD refuses is not asked about again for a while, so that it costs no turn of others.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from market.asking import require_something
from market.moomoo_requests import MOST_REFUSALS, Candle, NotServed, Requests, UnknownStock
from shared import log
from shared.clock import Clock
from shared.errors import FeedUnavailable
from shared.opend import Refused
from shared.opend_symbols import wire_code

logger = log.get(__name__)

OWNER = "OpenD's"
ASK_AGAIN_AFTER = timedelta(minutes=10)
"""How long a stock that OpenD does not know, or has no more history of, is not asked about again."""
_LATER = "this process has used up its share of OpenD's limit for now"


class Refusals:
    """Symbols that are not asked about for a while, and why; each is logged when it is noted."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock: Clock = clock
        self._noted: dict[str, tuple[datetime, str]] = {}

    def note(self, symbol: str, why: str) -> None:
        """Take one in."""
        self._noted[symbol] = (self._clock.now() + ASK_AGAIN_AFTER, why)
        logger.warning("symbol_refused", symbol=symbol, why=why)

    def why(self, symbol: str) -> str | None:
        """Say why a symbol is not asked about; None where nothing was noted, or long ago."""
        until, why = self._noted.get(symbol, (None, None))
        return why if until is not None and self._clock.now() < until else None

    def may_be_asked(self, symbol: str) -> bool:
        """Whether it is a symbol of Hong Kong at all, and was not refused lately."""
        return is_symbol(symbol) and self.why(symbol) is None


@dataclass(slots=True, kw_only=True)
class Round:
    """What came of one question about the candles of several symbols."""

    may_wait: bool = True
    """Whether the first question may wait for its turn: without it there would be nothing to answer."""
    faults: dict[str, str] = field(default_factory=dict[str, str])
    """Why there are none of these."""
    later: list[str] = field(default_factory=list[str])
    """Symbols for which there was no turn."""
    told: set[str] = field(default_factory=set[str])
    """Symbols whose fault was logged before."""
    questions: int = 0
    refusals: int = 0
    """One after another, up to the latest question."""

    def end(self, asked: Collection[str]) -> None:
        """Log what is missing; raise FeedUnavailable where everything is."""
        if self.later:
            logger.warning("history_left_for_later", symbols=self.later, why=_LATER)
        faults = self.faults | dict.fromkeys(self.later, _LATER)
        require_something(OWNER, asked, faults, told={*self.told, *self.later})


class History:
    """Asks for candles as far as there are turns; where nothing is known yet the first one waits for its turn."""

    def __init__(self, requests: Requests, clock: Clock, unknown: Refusals) -> None:
        """Ask by these requests; `unknown` are symbols that OpenD does not know."""
        self._requests: Requests = requests
        self._unknown: Refusals = unknown
        self._without: Refusals = Refusals(clock)

    async def candles(
        self, symbol: str, kind: Candle, dates: tuple[date, date], the_round: Round
    ) -> Sequence[Any] | None:
        """Ask for one symbol's candles: none of an unknown one, and None where they cannot be had now.

        Raises FeedUnavailable for what concerns more than this symbol.
        """
        if not self._unknown.may_be_asked(symbol):
            return ()
        why = self._without.why(symbol)
        if why is not None:
            the_round.told.add(symbol)
            the_round.faults[symbol] = why
            return None
        may_wait = the_round.may_wait and not the_round.questions
        if not may_wait and not self._requests.has_turn_for_history():
            the_round.later.append(symbol)
            return None
        the_round.questions += 1
        return await self._asked(symbol, kind, dates, the_round)

    async def _asked(
        self, symbol: str, kind: Candle, dates: tuple[date, date], the_round: Round
    ) -> Sequence[Any] | None:
        try:
            candles = await self._requests.candles(symbol, kind, *dates)
        except UnknownStock as error:
            self._unknown.note(symbol, str(error))
            return ()
        except NotServed as error:
            self._without.note(symbol, str(error))
            the_round.told.add(symbol)
            the_round.faults[symbol] = str(error)
        except Refused as error:
            the_round.faults[symbol] = str(error)
            the_round.refusals += 1
            if the_round.refusals == MOST_REFUSALS:
                raise FeedUnavailable(f"the candles of {symbol} cannot be read: {error}") from error
        else:
            the_round.refusals = 0
            return candles
        return None


def is_symbol(symbol: str) -> bool:
    """Whether it is one of Hong Kong, as they are written here."""
    try:
        wire_code(symbol)
    except ValueError:
        return False
    return True
