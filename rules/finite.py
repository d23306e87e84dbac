"""The first question of all: are the numbers numbers?"""

from collections.abc import Iterator
from decimal import Decimal

from rules.case import Case, reason
from rules.codes import Code
from shared.models import Position, Reason, Side


def numbers_are_finite(case: Case) -> Iterator[Reason]:
    """Refuse before any comparison: a NaN or an infinity makes every other rule meaningless.

    A sale is asked only for the numbers that its own rules use.
    """
    for name, number in _numbers(case):
        if number is not None and not number.is_finite():
            yield reason(Code.NOT_FINITE, f"{name} must be a finite number, was {number}")


def _numbers(case: Case) -> Iterator[tuple[str, Decimal | None]]:
    request = case.request
    yield "limit_price", request.limit_price
    yield "stop_price", request.stop_price
    yield "stop_loss", request.stop_loss
    yield "take_profit", request.take_profit
    for held in case.snapshot.positions:
        if request.side is Side.BUY or held.symbol == request.symbol:
            yield f"quantity of {held.symbol}", held.quantity
            yield f"available shares of {held.symbol}", held.available
    if request.side is Side.BUY:
        yield from _numbers_of_an_entry(case)


def _numbers_of_an_entry(case: Case) -> Iterator[tuple[str, Decimal | None]]:
    account, quote = case.snapshot.account, case.quote
    yield "equity", account.equity
    yield "cash", account.cash
    yield "buying power", account.buying_power
    if quote is not None:
        yield "bid", quote.bid
        yield "ask", quote.ask
    for held in case.snapshot.positions:
        yield from _prices_of(held)


def _prices_of(held: Position) -> Iterator[tuple[str, Decimal | None]]:
    yield f"average price of {held.symbol}", held.average_price
    yield f"market price of {held.symbol}", held.market_price
