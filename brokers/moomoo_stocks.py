"""What OpenD knows about stocks, kept for a while: a few are asked for one by one, many by its whole list.

Lot size and tick are the broker's. The exchange's own table of ticks is held against them, and where the
two differ the instrument says so: nothing is bought on a tick or a lot that is in doubt.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.moomoo_wire import HONG_KONG, SECURITIES_HK, Fields, Message
from shared import log
from shared.clock import Clock
from shared.models import Instrument, InstrumentKind, TickBand
from shared.opend import CallFailed, OpenD, Refused
from shared.opend_refusals import is_too_often, is_unknown_stock
from shared.opend_symbols import canonical_symbol, wire_code
from shared.ticks import ticks
from shared.unreadable import Unreadable

STATIC_INFO, SNAPSHOT = 3202, 3203
EXCHANGE = "XHKG"
KEPT = timedelta(minutes=15)
"""How long a price step at a price is believed; what a stock is, for as long as the process lives."""
ASKED_ONE_BY_ONE = 2
"""For more stocks than these the list of all shares is read: one request, of which there are few."""

_SHARES, _FUNDS, _INDEX = 3, 4, 6
_KINDS = {_SHARES: InstrumentKind.STOCK, _FUNDS: InstrumentKind.ETF, _INDEX: InstrumentKind.INDEX}

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What does not change in a day."""

    symbol: str
    name: str
    lot_size: int
    kind: InstrumentKind | None
    """None for what is neither a share nor a fund."""
    delisted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The price step at one price, as the broker says it; None where it does not."""

    at: datetime
    price: Decimal | None = None
    spread: Decimal | None = None
    lot_size: int | None = None


class MoomooStocks:
    """The stocks that one process asked for."""

    def __init__(self, opend: OpenD, clock: Clock, *, currency: str, at_once: int) -> None:
        """Take the connection, and how many stocks one question for quotes may have."""
        self._opend: OpenD = opend
        self._clock: Clock = clock
        self._currency: str = currency
        self._at_once: int = at_once
        self._stocks: dict[str, Stock] = {}
        self._has_list: bool = False
        self._steps: dict[str, Step] = {}

    async def instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        """Describe the symbols that OpenD knows. Raises CallFailed, and Unreadable where none can be read."""
        asked = tuple(dict.fromkeys(symbols))
        if not self._has_list and len(set(asked) - self._stocks.keys()) > ASKED_ONE_BY_ONE:
            await self._learn({"market": SECURITIES_HK, "secType": _SHARES})
            self._has_list = bool(self._stocks)
        stocks = await self._readable(asked)
        await self._learn_steps([stock.symbol for stock in stocks])
        now = self._clock.now()
        return {
            stock.symbol: described(
                stock, self._steps.get(stock.symbol, Step(at=now)), currency=self._currency
            )
            for stock in stocks
        }

    async def kind(self, symbol: str) -> InstrumentKind:
        """Return what a symbol is, for its fees; a share where OpenD does not say, since orders have to be read."""
        try:
            stock = await self._stock(symbol)
        except (CallFailed, Unreadable):
            stock = None
        return InstrumentKind.STOCK if stock is None or stock.kind is None else stock.kind

    async def _readable(self, symbols: Collection[str]) -> list[Stock]:
        """Return the stocks that can be read; one that cannot keeps nobody from trading the others."""
        found: list[Stock] = []
        odd: list[Unreadable] = []
        for symbol in symbols:
            try:
                known = await self._stock(symbol)
            except Unreadable as error:
                odd.append(error)
                logger.warning("stock_not_read", symbol=symbol, why=str(error))
            else:
                found += () if known is None else (known,)
        if odd and len(odd) == len(symbols):
            raise odd[0]
        return found

    async def _stock(self, symbol: str) -> Stock | None:
        try:
            code = wire_code(symbol)
        except ValueError:
            return None
        if symbol not in self._stocks:
            await self._ask_for(symbol, code)
        return self._stocks.get(symbol)

    async def _ask_for(self, symbol: str, code: str) -> None:
        try:
            await self._learn({"securityList": [{"market": SECURITIES_HK, "code": code}]})
        except Refused as error:
            if not is_unknown_stock(error.text):
                raise
        else:
            if symbol not in self._stocks:
                raise Unreadable(f"asked for {symbol}, OpenD showed another stock")

    async def _learn(self, body: Mapping[str, object]) -> None:
        said = await self._opend.ask(STATIC_INFO, body)
        odd: list[Unreadable] = []
        for row in said.staticInfoList:
            try:
                one = stock(row)
            except Unreadable as error:
                odd.append(error)
            else:
                self._stocks |= {} if one is None else {one.symbol: one}
        if odd and len(odd) == len(said.staticInfoList):
            raise odd[0]

    async def _learn_steps(self, symbols: Iterable[str]) -> None:
        """Learn the price steps of stocks for which none is known, or none that is young enough."""
        now = self._clock.now()
        aged = [symbol for symbol in symbols if not self._is_young(symbol, now)]
        for start in range(0, len(aged), self._at_once):
            await self._read_steps(aged[start : start + self._at_once], now)

    async def _read_steps(self, symbols: Sequence[str], now: datetime) -> None:
        """Read some; where OpenD refuses a stock, those beside it are asked for alone."""
        for symbol in symbols:
            self._steps.pop(symbol, None)
        try:
            said = await self._opend.ask(
                SNAPSHOT, {"securityList": [_security(symbol) for symbol in symbols]}
            )
        except (
            CallFailed
        ) as error:  # a step that is not known is a doubt, and keeps nobody from selling
            is_about_one = isinstance(error, Refused) and not is_too_often(error.text)
            if not is_about_one or len(symbols) == 1:
                logger.warning("price_steps_not_read", symbols=list(symbols), why=str(error))
                return
            for symbol in symbols:
                await self._read_steps([symbol], now)
            return
        for row in said.snapshotList:
            try:
                self._steps[canonical_symbol(row.basic.security.code)] = step(row, now)
            except ValueError as error:  # then its step is not known, which is a doubt
                logger.warning("price_step_not_read", why=str(error))

    def _is_young(self, symbol: str, now: datetime) -> bool:
        known = self._steps.get(symbol)
        return known is not None and timedelta(0) <= now - known.at <= KEPT


def stock(row: Message) -> Stock | None:
    """Read what a stock is; None for what has no code of Hong Kong's."""
    fields = Fields("stock", row.basic)
    try:
        symbol = canonical_symbol(row.basic.security.code)
    except ValueError:
        return None
    lot_size = fields.shares("lotSize")
    if not lot_size:
        raise fields.wrong("lotSize")
    return Stock(
        symbol=symbol,
        name=fields.text("name"),
        lot_size=lot_size,
        kind=_KINDS.get(row.basic.secType),
        delisted=fields.has("delisting") and bool(row.basic.delisting),
    )


def step(row: Message, at: datetime) -> Step:
    """Read the price step; that of the last close where there is no price yet, and None for 0."""
    fields = Fields("snapshot", row.basic)
    prices = (fields.money(name) for name in ("curPrice", "lastClosePrice"))
    price = next((price for price in prices if price > 0), None)
    spread = fields.money("priceSpread")
    return Step(
        at=at,
        price=price,
        spread=spread if spread > 0 else None,
        lot_size=fields.shares("lotSize") or None,
    )


def described(stock: Stock, step: Step, *, currency: str) -> Instrument:
    """Put together what is known, and say what contradicts what."""
    table = ticks(EXCHANGE, step.at.astimezone(HONG_KONG).date()).bands
    doubts = tuple(_doubts(stock, step, table))
    is_table_wrong = step.spread is not None and step.spread != _at(table, step.price)
    return Instrument(
        symbol=stock.symbol,
        name=stock.name,
        exchange=EXCHANGE,
        currency=currency,
        kind=stock.kind or InstrumentKind.STOCK,
        lot_size=stock.lot_size,
        ticks=_one_band(step.spread) if step.spread and is_table_wrong else table,
        tradable=not stock.delisted and stock.kind in {InstrumentKind.STOCK, InstrumentKind.ETF},
        doubt="; ".join(doubts) or None,
    )


def _doubts(stock: Stock, step: Step, table: tuple[TickBand, ...]) -> list[str]:
    found: list[str] = []
    if step.spread is None or step.price is None:
        found.append(f"the broker states no price step for {stock.symbol}")
    elif step.spread != _at(table, step.price):
        found.append(
            f"the broker's price step for {stock.symbol} at {step.price.normalize():f} is"
            f" {step.spread.normalize():f}, the exchange's table has {_at(table, step.price)}"
        )
    if step.lot_size is not None and step.lot_size != stock.lot_size:
        found.append(
            f"the broker's lot of {stock.symbol} is {stock.lot_size} in one place"
            f" and {step.lot_size} in another"
        )
    return found


def _at(table: tuple[TickBand, ...], price: Decimal | None) -> Decimal | None:
    if price is None:
        return None
    return next(band.tick for band in reversed(table) if price >= band.from_price)


def _one_band(spread: Decimal) -> tuple[TickBand, ...]:
    return (TickBand(from_price=Decimal(0), tick=spread.normalize()),)


def _security(symbol: str) -> Mapping[str, object]:
    return {"market": SECURITIES_HK, "code": wire_code(symbol)}
