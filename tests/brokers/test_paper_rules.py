from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.paper_rules import RULES, RejectCode
from shared.errors import OrderRejected
from shared.models import (
    InstrumentKind,
    Order,
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TickBand,
    TimeInForce,
)
from tests.brokers.order_requests import bracket, buy, oco, order_request, sell, stop
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import at, stock

LIMIT, STOP = OrderType.LIMIT, OrderType.STOP


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[PaperVenue]:
    """A market with an index, a stock nobody quotes, one in lots and one in Hong Kong dollars."""
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    ticks = (
        TickBand(from_price=Decimal(0), tick=Decimal("0.01")),
        TickBand(from_price=Decimal(50), tick=Decimal("0.05")),
    )
    venue.replay.instruments |= {
        "INDEX": stock("INDEX", kind=InstrumentKind.INDEX),
        "QUIET": stock("QUIET"),
        "LOTS": replace(stock("LOTS", lot_size=100), ticks=ticks),
        "HONG": stock("HONG", currency="HKD"),
    }
    yield venue
    venue.exchange.close()


def code_of(venue: PaperVenue, request: OrderRequest) -> str | None:
    with pytest.raises(OrderRejected) as refused:
        (venue.exchange.replace if request.replaces else venue.exchange.place)(request)
    return refused.value.code


def at_symbol(symbol: str, quantity: int = 100, limit: str = "10.00") -> OrderRequest:
    return order_request(Side.BUY, quantity, order_type=LIMIT, symbol=symbol, limit=limit)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(at_symbol("NOSUCH"), RejectCode.UNKNOWN_SYMBOL, id="unknown symbol"),
        pytest.param(at_symbol("INDEX"), RejectCode.NOT_TRADABLE, id="an index"),
        pytest.param(at_symbol("HONG"), RejectCode.NOT_TRADABLE, id="another currency"),
        pytest.param(at_symbol("LOTS", 150), RejectCode.INVALID_QUANTITY, id="an odd lot"),
        pytest.param(buy(0), RejectCode.INVALID_QUANTITY, id="no shares"),
        pytest.param(sell(-5), RejectCode.INVALID_QUANTITY, id="fewer than none"),
        pytest.param(buy(1, "99.005"), RejectCode.INVALID_PRICE, id="between two ticks"),
        pytest.param(
            at_symbol("LOTS", 100, "60.02"), RejectCode.INVALID_PRICE, id="tick of the band"
        ),
        pytest.param(buy(1, -5), RejectCode.INVALID_PRICE, id="a negative price"),
        pytest.param(buy(1, "NaN"), RejectCode.INVALID_PRICE, id="not a number"),
        pytest.param(
            order_request(Side.BUY, 1, order_type=LIMIT),
            RejectCode.UNSUPPORTED,
            id="limit without one",
        ),
        pytest.param(
            order_request(Side.BUY, 1, limit=99), RejectCode.UNSUPPORTED, id="market with a limit"
        ),
        pytest.param(
            order_request(Side.BUY, 1, stop_loss=95, take_profit=110),
            RejectCode.UNSUPPORTED,
            id="legs without a class that has them",
        ),
        pytest.param(
            order_request(Side.BUY, 1, stop_loss=95, order_class=OrderClass.BRACKET),
            RejectCode.UNSUPPORTED,
            id="a bracket with one leg",
        ),
        pytest.param(
            order_request(
                Side.SELL, 1, stop_loss=105, take_profit=90, order_class=OrderClass.BRACKET
            ),
            RejectCode.UNSUPPORTED,
            id="a bracket that sells short",
        ),
        pytest.param(
            bracket(1, 99, stop_loss=99), RejectCode.BRACKET_PRICES, id="stop at the entry"
        ),
        pytest.param(
            bracket(1, 99, take_profit=98), RejectCode.BRACKET_PRICES, id="target below it"
        ),
        pytest.param(bracket(1, stop_loss=101), RejectCode.BRACKET_PRICES, id="stop above the ask"),
        pytest.param(
            order_request(Side.BUY, 1, order_type=STOP, stop=100),
            RejectCode.STOP_PRICE_SIDE,
            id="buy stop at the price",
        ),
        pytest.param(
            order_request(Side.BUY, 1, symbol="QUIET"),
            RejectCode.NO_MARKET_DATA,
            id="no price known",
        ),
        pytest.param(
            replace(oco(1), limit_price=Decimal(109)),
            RejectCode.UNSUPPORTED,
            id="an oco of two targets",
        ),
        pytest.param(replace(oco(1), side=Side.BUY), RejectCode.UNSUPPORTED, id="an oco that buys"),
        pytest.param(buy(1000), RejectCode.INSUFFICIENT_BUYING_POWER, id="a cent a share too dear"),
        pytest.param(sell(1), RejectCode.INSUFFICIENT_QTY, id="short selling"),
        pytest.param(
            replace(buy(1), client_order_id=""), RejectCode.CLIENT_ORDER_ID_LENGTH, id="no id"
        ),
        pytest.param(buy(1, replaces="nobody"), RejectCode.ORDER_NOT_FOUND, id="replaces nothing"),
    ],
)
def test_a_request_is_refused_for_its_reason_and_leaves_nothing(
    venue: PaperVenue, request_: OrderRequest, code: RejectCode
) -> None:
    assert code_of(venue, request_) == code
    assert venue.exchange.orders(only_open=False) == ()


def test_a_price_on_the_finer_tick_of_the_lower_band_is_taken(venue: PaperVenue) -> None:
    assert venue.exchange.place(at_symbol("LOTS", 100, "49.99")).status is OrderStatus.ACCEPTED


def test_a_stop_above_the_market_is_refused_in_the_brokers_words(venue: PaperVenue) -> None:
    venue.exchange.place(buy(10))

    with pytest.raises(OrderRejected, match=r"^stop price must be less than current price$"):
        venue.exchange.place(stop(10, 100))


def test_an_oco_is_refused_when_its_stop_is_above_the_market(venue: PaperVenue) -> None:
    venue.exchange.place(buy(10))

    assert code_of(venue, oco(10, stop_loss=101)) == RejectCode.STOP_PRICE_SIDE
    assert code_of(venue, oco(10, stop_loss=99, take_profit=98)) == RejectCode.BRACKET_PRICES


def test_resting_buys_hold_cash_back(venue: PaperVenue) -> None:
    venue.exchange.place(buy(600, 99))

    assert code_of(venue, buy(600, 98)) == RejectCode.INSUFFICIENT_BUYING_POWER
    assert venue.exchange.account().buying_power == 100_000 - 600 * 99


def test_a_resting_stop_holds_the_shares_and_the_refusal_says_how_many_are_free(
    venue: PaperVenue,
) -> None:
    venue.exchange.place(buy(50))
    venue.exchange.place(stop(30, 95))

    with pytest.raises(OrderRejected, match=r"\(requested: 50, available: 20\)"):
        venue.exchange.place(sell(50))


def test_two_legs_that_cancel_each_other_hold_the_shares_once(venue: PaperVenue) -> None:
    venue.exchange.place(bracket(50, 101))

    assert venue.exchange.positions()[0].available == 0


def test_an_id_stays_used_after_its_order_was_cancelled(
    venue: PaperVenue,
) -> None:
    first = venue.exchange.place(buy(10, 90))
    venue.exchange.cancel(first.broker_order_id)

    again = replace(buy(10, 90), client_order_id=str(first.client_order_id))

    assert code_of(venue, again) == RejectCode.DUPLICATE_CLIENT_ORDER_ID


@pytest.mark.parametrize(
    ("resting", "new", "refused"),
    [
        pytest.param(stop(10, 95), buy(1), True, id="market buy against a stop"),
        pytest.param(stop(10, 95), buy(1, 90), True, id="limit buy against a stop"),
        pytest.param(sell(10, 105), buy(1, 104), False, id="limits that cannot meet"),
        pytest.param(sell(10, 105), buy(1, 105), True, id="limits that could"),
        pytest.param(sell(10, 105), buy(1), True, id="market buy against a limit"),
        pytest.param(buy(10, 95), stop(1, 90), True, id="stop against a resting buy"),
        pytest.param(buy(10, 95), oco(1, stop_loss=90), True, id="oco against a resting buy"),
        pytest.param(buy(10, 95), sell(1, 96), False, id="sell above a resting buy"),
        pytest.param(sell(10, 105), sell(10, 106), False, id="the same side"),
    ],
)
def test_trading_with_oneself_is_refused(
    venue: PaperVenue, resting: OrderRequest, new: OrderRequest, refused: bool
) -> None:
    venue.exchange.place(buy(50))
    venue.exchange.place(resting)

    if refused:
        assert code_of(venue, new) == RejectCode.WASH_TRADE
    else:
        assert venue.exchange.place(new).status in {OrderStatus.ACCEPTED, OrderStatus.FILLED}


def test_a_brackets_own_legs_do_not_wash_its_entry(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 99))
    new = venue.exchange.replace(buy(50, 98, replaces=entry.broker_order_id))

    assert new.status is OrderStatus.ACCEPTED


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(order_request(Side.SELL, 50, order_type=STOP, stop=90), id="another type"),
        pytest.param(sell(49, 105), id="another quantity"),
        pytest.param(
            order_request(Side.SELL, 50, order_type=LIMIT, symbol="QUIET", limit=105), id="symbol"
        ),
    ],
)
def test_a_leg_can_only_change_its_price(venue: PaperVenue, request_: OrderRequest) -> None:
    entry = venue.exchange.place(bracket(50, 101))
    target = next(
        leg.broker_order_id for leg in _legs(venue, entry.broker_order_id) if leg.limit_price
    )

    assert code_of(venue, replace(request_, replaces=target)) == RejectCode.NOT_REPLACEABLE


def test_a_leg_keeps_the_time_in_force_of_its_group(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 101, time_in_force=TimeInForce.GTC))
    target = next(
        leg.broker_order_id for leg in _legs(venue, entry.broker_order_id) if leg.limit_price
    )

    new = venue.exchange.replace(sell(50, 105, replaces=target))
    venue.move_to(at(22))
    after_the_close = venue.exchange.order(new.broker_order_id)

    assert new.time_in_force is TimeInForce.GTC
    assert after_the_close is not None
    assert after_the_close.status is OrderStatus.ACCEPTED


def test_an_entrys_replacement_may_repeat_its_legs_and_not_change_them(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 99))
    changed = replace(bracket(50, 98, stop_loss=90), replaces=entry.broker_order_id)
    repeated = replace(bracket(50, 98), replaces=entry.broker_order_id)

    assert code_of(venue, changed) == RejectCode.UNSUPPORTED
    assert venue.exchange.replace(repeated).limit_price == 98


def test_a_closed_order_can_be_neither_replaced_nor_cancelled(venue: PaperVenue) -> None:
    filled = venue.exchange.place(buy(10))

    assert (
        code_of(venue, buy(10, 99, replaces=filled.broker_order_id)) == RejectCode.NOT_REPLACEABLE
    )
    with pytest.raises(OrderRejected, match='order is already in "filled" state') as refused:
        venue.exchange.cancel(filled.broker_order_id)
    assert refused.value.code == RejectCode.NOT_CANCELABLE
    with pytest.raises(OrderRejected) as unknown:
        venue.exchange.cancel("nobody")
    assert unknown.value.code == RejectCode.ORDER_NOT_FOUND


def test_a_replacing_request_cannot_be_placed_beside_what_it_replaces(venue: PaperVenue) -> None:
    resting = venue.exchange.place(buy(10, 90))

    with pytest.raises(OrderRejected, match="replace"):
        venue.exchange.place(buy(10, 91, replaces=resting.broker_order_id))


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({rule.__name__ for rule in RULES}) == len(RULES) > 0


def _legs(venue: PaperVenue, entry_id: str) -> tuple[Order, ...]:
    entry = venue.exchange.order(entry_id)
    assert entry is not None
    return entry.legs
