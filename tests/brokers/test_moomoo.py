"""The moomoo adapter passes the suite of every broker, through the real client, at a simulated OpenD."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from pathlib import Path

import pytest

from brokers.paper_rules import RejectCode
from shared.errors import (
    BrokerUnavailable,
    CatalystError,
    ConfigError,
    OrderOutcomeUnknown,
    OrderRejected,
)
from shared.models import Order, OrderRequest, OrderStatus, Side, TimeInForce, TradingDay
from shared.ticks import ticks
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.contract import BrokerContract, Venue
from tests.brokers.contract_venue import limit, market
from tests.brokers.moomoo_venue import ConnectedVenue, connected_venue
from tests.brokers.order_requests import bracket, buy, oco, stop
from tests.simulators.opend.accounts import AMERICAN, LIVE, OPTIONS, PAPER
from tests.simulators.opend.market import FUND, LOTS
from tests.simulators.opend.wire import Protocol, Wire, WireFault


class TestMoomooBroker(BrokerContract):
    @pytest.fixture
    async def venue(self, tmp_path: Path) -> AsyncIterator[Venue]:
        async with connected_venue(tmp_path / "opend") as venue:
            yield venue


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[ConnectedVenue]:
    async with connected_venue(tmp_path / "opend") as venue:
        yield venue


async def place(venue: ConnectedVenue, request: OrderRequest) -> Order:
    return await venue.broker.place_order(approved(request))


async def found(venue: ConnectedVenue, order: Order) -> Order:
    assert order.client_order_id is not None
    known = await venue.broker.order_by_client_id(order.client_order_id)
    assert known is not None
    return known


LISTS = (Protocol.GET_ORDER_LIST, Protocol.GET_HISTORY_ORDER_LIST)
BEFORE = (Protocol.INIT_CONNECT, Protocol.GET_GLOBAL_STATE, Protocol.GET_ACC_LIST)
ENDS = (
    Wire.DROP,
    Wire.RESET,
    Wire.DIE,
    Wire.CUT,
    Wire.SILENCE,
    Wire.CORRUPT,
    Wire.HOLLOW,
    Wire.BAD_CHECKSUM,
)


@pytest.mark.parametrize("executes", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("protocol", [*BEFORE, Protocol.PLACE_ORDER, Protocol.GET_ORDER_LIST])
async def test_an_answer_lost_at_any_message_leaves_one_order_or_none_and_is_said_as_it_is(
    venue: ConnectedVenue, protocol: Protocol, executes: bool
) -> None:
    there = 0
    for wire in ENDS:
        await venue.broker.disconnect()
        venue.broker = venue.connect()
        fault = WireFault(wire=wire, protocol=protocol, executes=executes)
        venue.inject(fault)
        request = limit(venue, 99)
        sent_before = len(venue.asked(Protocol.PLACE_ORDER))
        placed: Order | None = None
        error: CatalystError | None = None
        try:
            placed = await place(venue, request)
        except CatalystError as e:
            error = e
        venue.listen(listens=True)
        known = await venue.broker.order_by_client_id(request.client_order_id)
        there += known is not None

        if protocol in BEFORE:
            assert isinstance(error, BrokerUnavailable), wire
            assert known is None, wire
        elif protocol is Protocol.PLACE_ORDER:
            assert isinstance(error, OrderOutcomeUnknown), wire
            assert (known is not None) == fault.needs_the_true_answer, wire
        else:
            assert placed is not None, wire
            assert known is not None, wire
            assert placed.broker_order_id == known.broker_order_id, wire
            assert placed.status is OrderStatus.ACCEPTED
        assert len(venue.asked(Protocol.PLACE_ORDER)) == sent_before + (protocol not in BEFORE)
        assert len(venue.orders()) == there, wire


async def test_every_message_about_trading_is_for_the_one_paper_account(
    venue: ConnectedVenue,
) -> None:
    placed = await place(venue, limit(venue, 99))
    await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))
    await venue.broker.account()
    await venue.broker.positions()
    await venue.broker.orders(only_open=False)

    headers = [r["c2s"]["header"] for r in venue.requests() if "header" in r["c2s"]]
    wanted = {"trdEnv": 0, "accID": str(PAPER.account_id), "trdMarket": 1}
    assert len(headers) >= 7
    assert all(header == wanted for header in headers)


async def test_the_accounts_named_in_the_settings_has_to_be_one_for_stocks_on_paper(
    venue: ConnectedVenue,
) -> None:
    venue.broker = venue.connect(account_id=str(PAPER.account_id))
    named = await venue.broker.account()
    for wrong in (OPTIONS, AMERICAN, LIVE):
        await venue.broker.disconnect()
        venue.broker = venue.connect(account_id=str(wrong.account_id))
        with pytest.raises(
            ConfigError, match=f"{wrong.account_id} is no paper account.*has: 98594"
        ):
            await venue.broker.account()
        with pytest.raises(ConfigError):
            await place(venue, limit(venue, 99))

    assert named.account_id == str(PAPER.account_id)
    assert venue.asked(Protocol.PLACE_ORDER) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"simAccType": 1}, f"has 2 paper accounts .*{OPTIONS.account_id}, {PAPER.account_id}"),
        ({"trdEnv": 1}, r"has 0 paper accounts for Hong Kong's stocks \(none\)"),
        ({"simAccType": None}, "has 0 paper accounts"),
    ],
)
async def test_which_account_is_never_guessed(
    venue: ConnectedVenue, fields: dict[str, int | None], words: str
) -> None:
    venue.inject(WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_ACC_LIST, fields=fields))

    with pytest.raises(ConfigError, match=words):
        await venue.broker.account()


async def test_a_list_without_any_account_is_no_answer(venue: ConnectedVenue) -> None:
    venue.inject(WireFault(wire=Wire.EMPTY, protocol=Protocol.GET_ACC_LIST, times=2))
    with pytest.raises(BrokerUnavailable, match="lists no account at all"):
        await venue.broker.account()
    with pytest.raises(BrokerUnavailable, match="lists no account at all"):
        await place(venue, limit(venue, 99))
    venue.heal()

    assert (await venue.broker.account()).account_id == str(PAPER.account_id)
    assert venue.orders() == ()


async def test_a_date_that_is_said_not_to_be_traded_is_asked_for_again(
    venue: ConnectedVenue,
) -> None:
    venue.inject(WireFault(wire=Wire.EMPTY, protocol=Protocol.REQUEST_TRADE_DATE))
    empty = (await venue.broker.market_clock()).day
    venue.heal()

    assert empty is TradingDay.NONE
    assert (await venue.broker.market_clock()).day is TradingDay.WHOLE


@pytest.mark.parametrize("field", ["accID", "trdEnv", "trdMarket"])
async def test_an_answer_for_another_account_is_none(venue: ConnectedVenue, field: str) -> None:
    await venue.broker.account()
    for protocol in (Protocol.GET_FUNDS, Protocol.GET_POSITION_LIST, *LISTS):
        venue.inject(WireFault(wire=Wire.CHANGE, protocol=protocol, fields={field: 7}))
    venue.inject(WireFault(wire=Wire.CHANGE, protocol=Protocol.PLACE_ORDER, fields={field: 7}))

    for read in (
        venue.broker.account,
        venue.broker.positions,
        lambda: venue.broker.orders(only_open=False),
        lambda: venue.broker.orders(only_open=False),
    ):
        with pytest.raises(BrokerUnavailable, match="asked for paper account"):
            await read()
    with pytest.raises(OrderOutcomeUnknown, match="asked for paper account"):
        await place(venue, limit(venue, 99))


async def test_the_charges_of_a_filled_order_are_what_its_money_lacks(
    venue: ConnectedVenue,
) -> None:
    before = await venue.broker.account()
    bought = await place(venue, market(venue, Side.BUY, lots=3))
    sold = await place(venue, limit(venue, 99, lots=2, side=Side.SELL))
    after = await venue.broker.account()

    assert bought.average_fill_price is not None
    assert sold.average_fill_price is not None
    value = bought.average_fill_price * 300 - sold.average_fill_price * 200
    fees = [fee for order in (bought, sold) for fee in order.fees]
    assert len({fee.name for fee in bought.fees}) == len(bought.fees) >= 5
    assert {fee.currency for fee in fees} == {"HKD"}
    assert before.cash - after.cash == value + sum(fee.amount for fee in fees)
    assert (bought.fills, sold.fills) == ((), ())


async def test_a_fund_pays_no_stamp_duty(venue: ConnectedVenue) -> None:
    share = await place(venue, market(venue, Side.BUY, lots=1))
    fund = await place(venue, replace(market(venue, Side.BUY, lots=5), symbol=FUND))

    assert ["stamp_duty" in {fee.name for fee in order.fees} for order in (share, fund)] == [
        True,
        False,
    ]


async def test_where_the_quote_server_says_nothing_orders_are_read_all_the_same(
    venue: ConnectedVenue,
) -> None:
    venue.inject(WireFault(wire=Wire.REFUSE, protocol=Protocol.GET_STATIC_INFO, times=None))

    assert (await place(venue, market(venue, Side.BUY, lots=1))).status is OrderStatus.FILLED


async def test_reads_that_have_no_turn_take_what_opend_was_told(venue: ConnectedVenue) -> None:
    venue.broker = venue.connect(share_pct=20)
    placed = await place(venue, limit(venue, 99))
    seen: set[str] = set()
    for _ in range(3):
        seen |= {order.broker_order_id for order in await venue.broker.orders(only_open=True)}
        await venue.broker.account()
        await venue.broker.positions()

    assert seen == {placed.broker_order_id}
    for protocol in (Protocol.GET_ORDER_LIST, Protocol.GET_FUNDS, Protocol.GET_POSITION_LIST):
        fresh = [c2s["refreshCache"] for c2s in venue.asked(protocol)]
        assert fresh == [True, True, *[False] * (len(fresh) - 2)]
        assert len(fresh) >= 3
    with pytest.raises(BrokerUnavailable, match="has used up its share") as refused:
        await venue.broker.order_by_client_id("any")
    assert refused.value.retry_after_seconds is not None


async def test_two_orders_of_one_remark_are_never_taken_for_one(venue: ConnectedVenue) -> None:
    request = limit(venue, 99)
    first = await place(venue, request)
    await venue.broker.cancel_order(approved_cancel(first.broker_order_id))
    second = await place(venue, request)
    the_open_one = await found(venue, first)
    third = await place(venue, request)
    with pytest.raises(BrokerUnavailable) as refused:
        await venue.broker.order_by_client_id(request.client_order_id)

    assert the_open_one.broker_order_id == second.broker_order_id
    assert f"{second.broker_order_id} and {third.broker_order_id}" in str(refused.value)


async def test_an_order_of_an_earlier_day_is_found_and_listed(venue: ConnectedVenue) -> None:
    placed = await place(venue, limit(venue, 90))
    since = venue.now()
    await venue.next_session()
    await place(venue, limit(venue, 91))

    known = await found(venue, placed)
    listed = await venue.broker.orders(only_open=False, since=since)
    today = await venue.broker.orders(only_open=False, since=venue.now())

    assert known.status in {OrderStatus.CANCELED, OrderStatus.EXPIRED}
    assert [order.limit_price for order in listed] == [90, 91]
    assert [order.limit_price for order in today] == [91]


async def test_an_old_order_that_cannot_be_read_keeps_nobody_from_the_later_ones(
    venue: ConnectedVenue,
) -> None:
    await place(venue, limit(venue, 90))
    await venue.next_session()
    await venue.next_session()
    await place(venue, limit(venue, 91))
    odd = WireFault(
        wire=Wire.CHANGE, protocol=Protocol.GET_HISTORY_ORDER_LIST, fields={"orderType": 99}
    )
    venue.inject(odd)
    listed = await venue.broker.orders(only_open=False, since=venue.now() - timedelta(hours=20))

    assert [order.limit_price for order in listed] == [91]
    with pytest.raises(BrokerUnavailable, match="orderType"):
        await venue.broker.orders(only_open=False, since=venue.now() - timedelta(days=3))


@pytest.mark.parametrize(
    ("hour", "is_open"),
    [(9, False), (9.3, False), (11.9, True), (12.2, False), (15.5, True), (16.1, False)],
)
async def test_only_continuous_trading_is_open(
    venue: ConnectedVenue, hour: float, is_open: bool
) -> None:
    midnight = datetime(2026, 12, 21, 16, tzinfo=UTC)  # of the 22nd in Hong Kong
    venue.move_to(midnight + timedelta(hours=hour))

    clock = await venue.broker.market_clock()

    assert (clock.is_open, clock.day) == (is_open, TradingDay.WHOLE)
    assert abs(clock.at - venue.now()) < timedelta(seconds=2)


@pytest.mark.parametrize(
    ("day", "wanted"), [(23, TradingDay.WHOLE), (24, TradingDay.MORNING), (25, TradingDay.NONE)]
)
async def test_the_clock_says_how_much_of_the_day_is_traded(
    venue: ConnectedVenue, day: int, wanted: TradingDay
) -> None:
    venue.move_to(datetime(2026, 12, day, 5, 30, tzinfo=UTC))

    clock = await venue.broker.market_clock()
    await venue.broker.market_clock()

    assert (clock.day, clock.is_open) == (wanted, wanted is TradingDay.WHOLE)
    asked = 2 if wanted is TradingDay.NONE else 1  # a list that lacks the date may come to have it
    assert len(venue.asked(Protocol.REQUEST_TRADE_DATE)) == asked


async def test_trade_dates_that_cannot_be_read_are_not_said_and_asked_for_again(
    venue: ConnectedVenue,
) -> None:
    venue.inject(WireFault(wire=Wire.REFUSE, protocol=Protocol.REQUEST_TRADE_DATE))

    clocks = [await venue.broker.market_clock() for _ in range(2)]

    assert [(clock.is_open, clock.day) for clock in clocks] == [
        (True, None),
        (True, TradingDay.WHOLE),
    ]


async def test_a_market_state_that_is_not_known_is_unavailable(venue: ConnectedVenue) -> None:
    await venue.broker.market_clock()
    venue.inject(
        WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_GLOBAL_STATE, fields={"marketHK": 99})
    )

    with pytest.raises(BrokerUnavailable, match="marketHK"):
        await venue.broker.market_clock()


async def test_a_login_that_is_lost_is_said_and_nothing_is_placed(venue: ConnectedVenue) -> None:
    await venue.broker.account()
    venue.log_in(logged_in=False)

    for read in (venue.broker.market_clock, venue.broker.account, venue.broker.positions):
        with pytest.raises(BrokerUnavailable, match=r"not logged in.*log"):
            await read()
    with pytest.raises(BrokerUnavailable, match="not logged in"):
        await place(venue, limit(venue, 99))
    assert venue.orders() == ()


async def test_an_instrument_has_the_brokers_lot_and_the_exchanges_ticks(
    venue: ConnectedVenue,
) -> None:
    found = await venue.broker.instruments(LOTS)

    assert {symbol: one.lot_size for symbol, one in found.items()} == LOTS
    assert {one.doubt for one in found.values()} == {None}
    table = ticks("XHKG", venue.now().date()).bands
    assert all(one.ticks == table for one in found.values())
    assert len(venue.asked(Protocol.GET_STATIC_INFO)) <= 4
    assert len(venue.asked(Protocol.GET_SECURITY_SNAPSHOT)) == ceil(len(LOTS) / 20)
    assert await venue.instrument("9997") is None


@pytest.mark.parametrize(
    ("fields", "doubt", "tick"),
    [
        (
            {"priceSpread": 0.2},
            "price step for 0700 at 100 is 0.2, the exchange's table has 0.1",
            "0.2",
        ),
        ({"priceSpread": 0.0}, "states no price step for 0700", "0.1"),
        ({"lotSize": 200}, "lot of 0700 is 100 in one place and 200 in another", "0.1"),
    ],
)
async def test_a_tick_or_lot_that_contradicts_another_is_in_doubt(
    venue: ConnectedVenue, fields: dict[str, float], doubt: str, tick: str
) -> None:
    venue.inject(
        WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_SECURITY_SNAPSHOT, fields=fields)
    )

    instrument = await venue.instrument(venue.symbol)

    assert instrument is not None
    assert doubt in (instrument.doubt or "")
    assert instrument.tick_at(Decimal(100)) == Decimal(tick)
    assert instrument.lot_size == 100


async def test_a_replacement_is_refused_and_nothing_is_sent(venue: ConnectedVenue) -> None:
    old = await place(venue, limit(venue, 98))
    with pytest.raises(OrderRejected, match="cannot be replaced at moomoo: cancel it first"):
        await venue.broker.replace_order(approved(limit(venue, 99, replaces=old.broker_order_id)))
    with pytest.raises(OrderRejected, match="has no order any"):
        await venue.broker.cancel_order(approved_cancel("any"))

    assert venue.asked(Protocol.MODIFY_ORDER) == []


@pytest.mark.parametrize(
    "request_",
    [
        replace(stop(100, 95), symbol="0700"),
        replace(bracket(100, 101), symbol="0700"),
        replace(oco(100), symbol="0700"),
        replace(buy(100, "99.05"), symbol="0700", time_in_force=TimeInForce.GTC),
        replace(buy(100, "99.0005"), symbol="0700"),
        replace(buy(100, 99), symbol="700"),
    ],
    ids=["stop", "bracket", "oco", "gtc", "four decimals", "symbol"],
)
async def test_what_paper_trading_does_not_have_is_refused_before_it_is_sent(
    venue: ConnectedVenue, request_: OrderRequest
) -> None:
    with pytest.raises(OrderRejected):
        await place(venue, request_)

    assert venue.requests() == []


async def test_a_refusal_has_a_reason_of_ours_where_it_is_known(venue: ConnectedVenue) -> None:
    async def code(request: OrderRequest) -> str | None:
        with pytest.raises(OrderRejected) as refused:
            await place(venue, request)
        return refused.value.code

    assert await code(limit(venue, 99, side=Side.SELL)) == RejectCode.INSUFFICIENT_QTY
    assert await code(limit(venue, 99, lots=10_000)) == RejectCode.INSUFFICIENT_BUYING_POWER
    assert await code(replace(limit(venue, 99), symbol="9997")) == RejectCode.UNKNOWN_SYMBOL
    assert await code(replace(limit(venue, 99), quantity=150)) == RejectCode.INVALID_QUANTITY


async def test_an_order_by_hand_of_an_unknown_kind_keeps_nobody_from_reading_the_others(
    venue: ConnectedVenue,
) -> None:
    strange = WireFault(
        wire=Wire.CHANGE, protocol=Protocol.GET_ORDER_LIST, fields={"orderType": 99}, times=None
    )
    venue.trade_by_somebody_else(Side.BUY, 100, 100)
    venue.inject(strange)

    assert await venue.broker.orders(only_open=True) == ()
    venue.heal()
    await place(venue, limit(venue, 99))
    venue.inject(strange)
    with pytest.raises(BrokerUnavailable, match="orderType"):
        await venue.broker.orders(only_open=True)
