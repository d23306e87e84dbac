"""Whether the symbol can be traded now, at the prices that were asked for."""

from collections.abc import Iterator
from decimal import Decimal

from rules.case import Case, reason
from rules.codes import Code
from shared.models import OrderType, Reason


def symbol_is_tradable(case: Case) -> Iterator[Reason]:
    """Known to the broker, a thing to buy, in the currency of the limits."""
    instrument = case.instrument
    if instrument is None:
        yield reason(Code.SYMBOL_NOT_TRADABLE, f"{case.request.symbol} is not known to the broker")
    elif not instrument.tradable:
        yield reason(
            Code.SYMBOL_NOT_TRADABLE, f"{instrument.symbol} ({instrument.kind}) cannot be traded"
        )
    elif instrument.currency != case.limits.currency:
        yield reason(
            Code.SYMBOL_NOT_TRADABLE,
            f"{instrument.symbol} trades in {instrument.currency}, not {case.limits.currency}",
        )


def lot_and_tick_are_certain(case: Case) -> Iterator[Reason]:
    """Nothing is bought by a lot or a tick that something contradicts; what is held can still be sold."""
    instrument = case.instrument
    if instrument is not None and instrument.doubt is not None:
        yield reason(Code.LOT_OR_TICK_IN_DOUBT, f"{instrument.symbol}: {instrument.doubt}")


def quote_is_fresh_and_two_sided(case: Case) -> Iterator[Reason]:
    """A quote that is missing, one-sided, crossed, halted, old or from the future is none."""
    symbol, quote = case.request.symbol, case.quote
    if quote is None:
        yield reason(Code.QUOTE_MISSING, f"there is no quote for {symbol}")
        return
    if quote.halted:
        yield reason(Code.QUOTE_MISSING, f"trading in {symbol} is halted")
    if quote.bid is None or quote.ask is None or not 0 < quote.bid < quote.ask:
        yield reason(
            Code.QUOTE_MISSING, f"{symbol} has no two-sided quote, was {quote.bid} / {quote.ask}"
        )
    age = (case.now - quote.at).total_seconds()
    if not 0 <= age <= case.limits.max_quote_age_seconds:
        yield reason(
            Code.QUOTE_STALE,
            f"the quote for {symbol} must be 0 to {case.limits.max_quote_age_seconds:g} seconds"
            f" old, was {age:g}",
        )


def spread_is_narrow(case: Case) -> Iterator[Reason]:
    """Distance of bid and ask in percent of their middle."""
    quote = case.quote
    if quote is None or quote.bid is None or quote.ask is None or not 0 < quote.bid < quote.ask:
        return
    spread_pct = (quote.ask - quote.bid) / ((quote.ask + quote.bid) / 2) * 100
    if spread_pct > case.limits.max_spread_pct:
        yield reason(
            Code.SPREAD,
            f"the spread must be at most {case.limits.max_spread_pct} %, was {spread_pct:.3f} %",
        )


def entry_is_priced(case: Case) -> Iterator[Reason]:
    """A limit order has a limit, a market order none, and nothing else enters."""
    request = case.request
    is_limit = request.order_type is OrderType.LIMIT
    if request.order_type is OrderType.STOP or is_limit is not (request.limit_price is not None):
        yield reason(
            Code.PRICE_MISSING,
            f"a limit order has a limit price and a market order none, was {request.order_type}"
            f" with {request.limit_price}",
        )


def price_is_inside_collar(case: Case) -> Iterator[Reason]:
    """Distance of the limit to the middle of bid and ask, on both sides."""
    price, mid = case.request.limit_price, case.quote.mid if case.quote else None
    if price is None or mid is None or mid <= 0:
        return
    away_pct = abs(price - mid) / mid * 100
    if away_pct > case.limits.price_collar_pct:
        yield reason(
            Code.PRICE_COLLAR,
            f"the limit must lie within {case.limits.price_collar_pct} % of the middle {mid}, was"
            f" {price} ({away_pct:.2f} %)",
        )


def quantity_is_whole_lots(case: Case) -> Iterator[Reason]:
    """Board lots; the lot is the instrument's own."""
    quantity = case.request.quantity
    if quantity <= 0:
        yield reason(Code.QUANTITY, f"the quantity must be above 0, was {quantity}")
    elif case.instrument is not None and quantity % case.instrument.lot_size:
        yield reason(
            Code.LOT_SIZE,
            f"the quantity must be a multiple of {case.instrument.lot_size}, was {quantity}",
        )


def prices_are_on_tick(case: Case) -> Iterator[Reason]:
    """Brokers refuse what is off the tick; whoever builds a request rounds it first."""
    request, instrument = case.request, case.instrument
    if instrument is None:
        return
    for name in ("limit_price", "stop_price", "stop_loss", "take_profit"):
        price: Decimal | None = getattr(request, name)
        if price is None:
            continue
        if price <= 0:
            yield reason(Code.TICK_SIZE, f"{name} must be above 0, was {price}")
        elif price % instrument.tick_at(price):
            yield reason(
                Code.TICK_SIZE,
                f"{name} must be a multiple of {instrument.tick_at(price)}, was {price}",
            )
