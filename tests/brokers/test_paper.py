"""The paper broker passes the suite of every broker, and keeps the promises that only it makes."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.base import Broker
from brokers.paper import PaperBroker
from shared.clock import ManualClock
from shared.errors import BrokerUnavailable, OrderRejected
from shared.models import Order, OrderStatus, OrderType, TimeInForce
from tests.brokers.contract import BrokerContract, Venue
from tests.brokers.order_requests import bracket, buy, oco, sell, stop
from tests.brokers.paper_venue import PaperVenue, week_of_new_york
from tests.brokers.replay import MINUTE, MONDAY, MemoryReplay, at, hong_kong, new_york, stock

TUESDAY = MONDAY + timedelta(days=1)


class TestPaperBroker(BrokerContract):
    @pytest.fixture
    async def venue(self, tmp_path: Path) -> AsyncIterator[Venue]:
        venue = PaperVenue(tmp_path / "paper.sqlite3")
        yield venue
        await venue.broker.disconnect()


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[PaperVenue]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield venue
    venue.exchange.close()


def now(venue: PaperVenue, order: Order) -> Order:
    found = venue.exchange.order(order.broker_order_id)
    assert found is not None
    return found


def leg(venue: PaperVenue, entry: Order, order_type: OrderType) -> Order:
    return next(o for o in now(venue, entry).legs if o.order_type is order_type)


def fills(venue: PaperVenue, order: Order) -> list[tuple[int, Decimal]]:
    return [(fill.quantity, fill.price) for fill in now(venue, order).fills]


def held(venue: PaperVenue) -> int:
    return int(sum(position.quantity for position in venue.exchange.positions()))


def test_the_paper_broker_is_a_broker(venue: PaperVenue) -> None:
    broker: Broker = venue.broker

    assert isinstance(broker, PaperBroker)


def test_a_market_order_takes_its_share_of_the_last_minute_and_the_rest_at_later_opens(
    venue: PaperVenue,
) -> None:
    order = venue.exchange.place(buy(250))
    venue.trade(102, 103, 101, 102, volume=1000)
    venue.trade(104, 105, 103, 104, volume=1000)

    assert fills(venue, order) == [(100, Decimal("100.01")), (100, 102), (50, 104)]
    assert now(venue, order).status is OrderStatus.FILLED


def test_an_order_without_a_trade_in_the_last_minute_waits_for_one(venue: PaperVenue) -> None:
    venue.move_to(at(14, 5))
    order = venue.exchange.place(buy(10))
    waiting = order.status
    venue.trade(101, volume=0)
    untraded = now(venue, order).status
    venue.trade(102)

    assert (waiting, untraded) == (OrderStatus.ACCEPTED, OrderStatus.ACCEPTED)
    assert fills(venue, order) == [(10, Decimal(102))]


def test_a_bar_that_began_before_the_order_does_not_fill_it(venue: PaperVenue) -> None:
    venue.replay.trade("ACME", at(14), prices=[100, 100, 90, 100], volume=1000)
    venue.move_to(at(14, 0, 30))
    order = venue.exchange.place(buy(10, 95))
    venue.move_to(at(14, 2))

    assert now(venue, order).status is OrderStatus.ACCEPTED


def test_a_stop_is_filled_at_the_open_when_the_price_gaps_through_it(venue: PaperVenue) -> None:
    venue.exchange.place(buy(50))
    protective = venue.exchange.place(stop(50, 95))
    venue.trade(88, 97, 87, 96)

    assert fills(venue, protective) == [(50, Decimal(88))]
    assert now(venue, protective).fills[0].at == at(14, 1)


def test_a_bar_that_touches_both_legs_counts_as_the_stop(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 101))
    venue.trade(100, 111, 94, 105)

    assert leg(venue, entry, OrderType.STOP).status is OrderStatus.FILLED
    assert leg(venue, entry, OrderType.LIMIT).status is OrderStatus.CANCELED
    assert held(venue) == 0


def test_a_stop_sees_the_bar_in_which_its_entry_filled_and_a_target_does_not(
    venue: PaperVenue,
) -> None:
    fell = venue.exchange.place(bracket(50, 98))
    venue.trade(99, 99, 94, 94)
    rose = venue.exchange.place(bracket(50, 90, stop_loss=80, take_profit=92))
    venue.trade(91, 93, 89, 93)

    assert fills(venue, leg(venue, fell, OrderType.STOP)) == [(50, Decimal(95))]
    assert now(venue, rose).status is OrderStatus.FILLED
    assert leg(venue, rose, OrderType.LIMIT).status is OrderStatus.ACCEPTED


def test_a_target_does_not_fill_beside_a_stop_that_is_being_carried_out(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(100, 101))
    venue.trade(100, 111, 94, 105, volume=300)
    venue.trade(105, 111, 104, 105, volume=300)

    assert leg(venue, entry, OrderType.LIMIT).filled_quantity == 0
    assert fills(venue, leg(venue, entry, OrderType.STOP)) == [(30, 95), (30, 105)]


def test_legs_always_guard_what_remains_while_one_of_them_fills_in_parts(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(100, 101))
    venue.trade(100, 110, 100, 109, volume=300)
    after_target = leg(venue, entry, OrderType.LIMIT), leg(venue, entry, OrderType.STOP)
    venue.trade(94, 94, 94, 94, volume=500)
    after_stop = leg(venue, entry, OrderType.LIMIT), leg(venue, entry, OrderType.STOP)
    venue.trade(111)

    assert [o.remaining_quantity for o in after_target] == [70, 70]
    assert [o.remaining_quantity for o in after_stop] == [20, 20]
    assert fills(venue, after_stop[1])[1:] == [(20, Decimal(111))]
    assert leg(venue, entry, OrderType.LIMIT).status is OrderStatus.CANCELED
    assert held(venue) == 0


def test_an_entry_cancelled_after_a_partial_fill_leaves_the_shares_naked(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(150, 101))
    venue.exchange.cancel(entry.broker_order_id)

    assert {o.status for o in now(venue, entry).legs} == {OrderStatus.CANCELED}
    assert held(venue) == 100
    assert venue.exchange.orders(only_open=True) == ()


def test_an_entry_that_ends_at_the_close_partly_filled_takes_its_legs_along(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(150, 101, time_in_force=TimeInForce.DAY))
    venue.move_to(at(20))

    assert now(venue, entry).status is OrderStatus.EXPIRED
    assert {o.status for o in now(venue, entry).legs} == {OrderStatus.EXPIRED}
    assert held(venue) == 100


def test_legs_guard_no_more_than_is_left_of_an_entry_partly_sold_while_it_filled(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(150, 101))
    venue.exchange.place(sell(40, 102))
    venue.trade(100, 103, 100, 103)

    assert now(venue, entry).status is OrderStatus.FILLED
    assert held(venue) == 110
    assert [o.remaining_quantity for o in now(venue, entry).legs] == [110, 110]


def test_cancelling_one_leg_cancels_the_other(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 101))
    venue.exchange.cancel(leg(venue, entry, OrderType.LIMIT).broker_order_id)

    assert leg(venue, entry, OrderType.STOP).status is OrderStatus.CANCELED
    assert venue.exchange.positions()[0].available == 50


def test_a_day_order_ends_at_the_close_after_the_last_minute(venue: PaperVenue) -> None:
    early = venue.exchange.place(buy(10, 95))
    late = venue.exchange.place(buy(10, 90))
    venue.move_to(at(19, 59))
    venue.trade(96, 96, 95, 96)

    assert now(venue, early).status is OrderStatus.FILLED
    assert now(venue, late).status is OrderStatus.EXPIRED
    assert now(venue, late).updated_at == at(20)
    assert venue.exchange.account().buying_power == venue.exchange.account().cash


def test_a_day_order_does_not_trade_on_the_next_day_however_long_nobody_asked(
    venue: PaperVenue,
) -> None:
    order = venue.exchange.place(buy(10, 95))
    venue.move_to(at(14, day=TUESDAY))
    venue.trade(90)

    assert now(venue, order).status is OrderStatus.EXPIRED


def test_a_day_brackets_legs_end_at_the_close_and_a_gtc_ones_live_on(venue: PaperVenue) -> None:
    gtc = venue.exchange.place(bracket(50, 99, time_in_force=TimeInForce.GTC))
    day = venue.exchange.place(bracket(50, 101, time_in_force=TimeInForce.DAY))
    venue.move_to(at(14, day=TUESDAY))

    assert {o.status for o in now(venue, day).legs} == {OrderStatus.EXPIRED}
    assert now(venue, gtc).status is OrderStatus.ACCEPTED
    assert {o.status for o in now(venue, gtc).legs} == {OrderStatus.HELD}


def test_an_early_close_ends_day_orders_and_what_trades_after_it_fills_nothing(
    venue: PaperVenue,
) -> None:
    venue.replay.sessions[MONDAY] = new_york(MONDAY, closes=time(17))
    day = venue.exchange.place(buy(10, 95))
    gtc = venue.exchange.place(bracket(10, 95, stop_loss=80))
    venue.move_to(at(17))
    venue.trade(90)

    assert now(venue, day).updated_at == at(17)
    assert now(venue, day).status is OrderStatus.EXPIRED
    assert now(venue, gtc).status is OrderStatus.ACCEPTED


def test_an_order_sent_after_the_close_rests_and_trades_at_the_next_open(
    venue: PaperVenue,
) -> None:
    venue.move_to(at(22))
    order = venue.exchange.place(buy(10))
    sent = order.status
    venue.move_to(at(13, 30, day=TUESDAY))
    venue.trade(107)

    assert sent is OrderStatus.ACCEPTED
    assert fills(venue, order) == [(10, Decimal(107))]


def test_an_order_sent_at_the_weekend_ends_at_mondays_close(tmp_path: Path) -> None:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    friday, next_monday = MONDAY + timedelta(days=4), MONDAY + timedelta(days=7)
    venue.replay.sessions[next_monday] = new_york(next_monday)
    venue.move_to(at(23, day=friday))
    order = venue.exchange.place(buy(10, 90))
    venue.move_to(at(19, 59, day=next_monday))
    resting = now(venue, order).status
    venue.move_to(at(20, day=next_monday))

    assert resting is OrderStatus.ACCEPTED
    assert now(venue, order).updated_at == at(20, day=next_monday)


def test_a_day_order_waits_for_a_calendar_that_knows_its_session(venue: PaperVenue) -> None:
    saturday = MONDAY + timedelta(days=5)
    later = MONDAY + timedelta(days=7)
    venue.move_to(at(12, day=saturday))
    order = venue.exchange.place(buy(10, 90))
    venue.move_to(at(12, day=later))
    unknown = now(venue, order).status
    venue.replay.sessions[later] = new_york(later)
    venue.exchange.orders(only_open=True)
    del venue.replay.sessions[later]
    venue.move_to(at(21, day=later))

    assert unknown is OrderStatus.ACCEPTED
    assert now(venue, order).status is OrderStatus.EXPIRED


def test_what_traded_before_the_open_is_no_volume_to_trade_against(venue: PaperVenue) -> None:
    venue.move_to(at(13, 29, day=TUESDAY))
    venue.trade(100)

    assert venue.exchange.place(buy(10)).status is OrderStatus.ACCEPTED


def hong_kong_venue(tmp_path: Path) -> PaperVenue:
    """A stock in lots of a hundred, at the beginning of the lunch break."""
    replay = MemoryReplay(
        instruments={"ACME": stock(currency="HKD", lot_size=100)},
        sessions={MONDAY: hong_kong(MONDAY)},
    )
    replay.trade("ACME", at(3, 59), prices=[100], volume=10_000)
    return PaperVenue(
        tmp_path / "hk.sqlite3",
        replay=replay,
        clock=ManualClock(at(4)),
        currency="HKD",
        lot_size=100,
    )


def test_nothing_trades_in_a_lunch_break(tmp_path: Path) -> None:
    venue = hong_kong_venue(tmp_path)
    order = venue.exchange.place(buy(100))
    venue.trade(90)
    at_lunch = now(venue, order).status
    venue.move_to(at(5))
    venue.trade(101)

    assert at_lunch is OrderStatus.ACCEPTED
    assert fills(venue, order) == [(100, Decimal(101))]


def test_fees_are_part_of_what_a_buy_can_afford(tmp_path: Path) -> None:
    venue = hong_kong_venue(tmp_path)
    order = venue.exchange.place(buy(900))
    venue.move_to(at(5))
    venue.trade(200, volume=10_000)

    assert now(venue, order).filled_quantity == 400
    assert venue.exchange.account().cash > 0


def test_a_market_order_that_runs_away_leaves_alone_what_other_orders_hold_back(
    venue: PaperVenue,
) -> None:
    venue.move_to(at(14, 5))
    resting = venue.exchange.place(buy(500, 80))
    runs = venue.exchange.place(buy(500))
    venue.trade(200, volume=100_000)
    left = [venue.exchange.account().buying_power for _ in range(2)]
    venue.trade(80, volume=100_000)

    assert left == [0, 0]
    assert now(venue, runs).filled_quantity == 300
    assert now(venue, resting).status is OrderStatus.FILLED
    assert venue.exchange.account().cash == 0


def test_a_sale_in_parts_pays_the_fees_of_one_sale_each_day(venue: PaperVenue) -> None:
    venue.exchange.place(buy(100))
    protective = venue.exchange.place(stop(100, 95))
    venue.trade(90, volume=200)
    venue.trade(90, volume=200)
    venue.move_to(at(14, day=TUESDAY))
    venue.trade(90)
    paid = [fill.total_fees for fill in now(venue, protective).fills]

    # 20.60 a million of 1,800, 3,600 and, the next day, 5,400; a cent of activity fee each day, and no more
    assert paid == [Decimal("0.05"), Decimal("0.04"), Decimal("0.14")]


def test_a_halted_symbol_takes_orders_and_fills_none_until_it_trades_again(
    venue: PaperVenue,
) -> None:
    venue.exchange.place(buy(50))
    protective = venue.exchange.place(stop(50, 95))
    venue.replay.halts.append(("ACME", at(14), at(14, 2)))
    venue.trade(90)
    venue.trade(90)
    halted = now(venue, protective).status
    venue.trade(80)

    assert halted is OrderStatus.ACCEPTED
    assert fills(venue, protective) == [(50, Decimal(80))]


def test_a_new_order_in_a_halt_rests(venue: PaperVenue) -> None:
    venue.replay.halts.append(("ACME", at(14), at(14, 2)))

    assert venue.exchange.place(buy(10)).status is OrderStatus.ACCEPTED


def test_in_an_unscheduled_closure_nothing_trades_and_the_clock_says_so(venue: PaperVenue) -> None:
    venue.exchange.place(buy(60))
    protective = venue.exchange.place(stop(50, 95))
    venue.replay.closures.append((at(14, 1), at(14, 3)))
    before = venue.exchange.market_clock()
    venue.trade(100)
    during = venue.exchange.market_clock()
    venue.trade(90)
    new = venue.exchange.place(sell(10))
    venue.trade(90)
    untouched = now(venue, protective).status
    after = venue.exchange.market_clock()
    venue.trade(90)

    assert [clock.is_open for clock in (before, during, after)] == [True, False, True]
    assert (during.at, untouched) == (at(14, 1), OrderStatus.ACCEPTED)
    assert new.status is OrderStatus.ACCEPTED
    assert fills(venue, new) == [(10, Decimal(90))]
    assert fills(venue, protective) == [(50, Decimal(90))]


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [(at(13, 29), False), (at(13, 30), True), (at(19, 59), True), (at(20), False)],
)
def test_the_clock_of_the_exchange_keeps_its_sessions(
    tmp_path: Path, moment: datetime, is_open: bool
) -> None:
    venue = PaperVenue(tmp_path / "paper.sqlite3", clock=ManualClock(moment))
    said = venue.exchange.market_clock()
    venue.exchange.close()

    assert (said.is_open, said.at) == (is_open, moment)


def test_a_market_order_whose_price_runs_away_buys_what_the_cash_allows(
    venue: PaperVenue,
) -> None:
    venue.move_to(at(14, 5))
    order = venue.exchange.place(buy(900))
    venue.trade(200, volume=100_000)
    partly = now(venue, order)
    venue.trade(200, volume=100_000)
    rest = now(venue, order)

    assert partly.filled_quantity == 500
    assert venue.exchange.account().cash == 0
    assert (rest.status, rest.filled_quantity) == (OrderStatus.CANCELED, 500)
    assert rest.reject_reason


def test_a_replaced_entry_keeps_its_legs_and_they_follow_its_quantity(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 98))
    new = venue.exchange.replace(buy(80, 99, replaces=entry.broker_order_id))

    listed = venue.exchange.orders(only_open=True)

    assert listed[0].broker_order_id == new.broker_order_id
    assert {o.parent_order_id for o in listed[1:]} == {new.broker_order_id}
    assert {o.quantity for o in listed} == {80}
    assert now(venue, entry).legs == ()


def test_legs_wait_for_the_whole_of_an_entry_that_was_replaced_when_partly_filled(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(150, 101))
    new = venue.exchange.replace(buy(50, 99, replaces=entry.broker_order_id))
    waiting = {o.status for o in new.legs}
    venue.trade(99)

    assert (entry.filled_quantity, new.quantity) == (100, 50)
    assert waiting == {OrderStatus.HELD}
    assert [o.quantity for o in now(venue, new).legs] == [150, 150]
    assert {o.status for o in now(venue, new).legs} == {OrderStatus.ACCEPTED}


def test_a_replacement_that_is_refused_leaves_the_old_order_resting(venue: PaperVenue) -> None:
    venue.exchange.place(buy(50))
    protective = venue.exchange.place(stop(50, 95))

    with pytest.raises(OrderRejected, match="less than current price"):
        venue.exchange.replace(stop(50, 101, replaces=protective.broker_order_id))

    assert now(venue, protective) == protective


def test_a_waiting_leg_can_be_replaced_and_goes_on_waiting(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 99))
    old = leg(venue, entry, OrderType.STOP)
    new = venue.exchange.replace(stop(50, 97, replaces=old.broker_order_id))
    waiting = new.status
    venue.trade(99, 99, 98, 98)

    assert waiting is OrderStatus.HELD
    assert now(venue, new).status is OrderStatus.ACCEPTED


def test_a_stop_can_be_raised_without_ever_being_away(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(50, 101))
    old = leg(venue, entry, OrderType.STOP)
    new = venue.exchange.replace(stop(50, 98, replaces=old.broker_order_id))
    venue.trade(99, 99, 97, 97)

    assert new.parent_order_id == entry.broker_order_id
    assert fills(venue, new) == [(50, Decimal(98))]
    assert leg(venue, entry, OrderType.LIMIT).status is OrderStatus.CANCELED


def test_an_exit_by_the_target_sells_at_the_bid_and_the_stop_guards_what_is_left(
    venue: PaperVenue,
) -> None:
    venue.trade(100, volume=5000)
    entry = venue.exchange.place(bracket(300, 101))
    venue.trade(100, volume=1000)
    target = leg(venue, entry, OrderType.LIMIT)
    exit_order = venue.exchange.replace(sell(300, 99, replaces=target.broker_order_id))
    guard = leg(venue, entry, OrderType.STOP)
    venue.trade(94, volume=10_000)

    assert fills(venue, exit_order) == [(100, Decimal("99.99"))]
    assert (guard.status, guard.remaining_quantity) == (OrderStatus.ACCEPTED, 200)
    assert fills(venue, guard) == [(200, Decimal(94))]
    assert held(venue) == 0


def test_an_oco_is_its_target_with_the_stop_as_leg(venue: PaperVenue) -> None:
    venue.exchange.place(buy(50))
    order = venue.exchange.place(oco(50))

    assert (order.order_type, order.limit_price) == (OrderType.LIMIT, 110)
    assert [(o.stop_price, o.parent_order_id) for o in order.legs] == [(95, order.broker_order_id)]
    assert venue.exchange.positions()[0].available == 0


def test_equity_moves_with_the_price_and_realised_money_is_exact(venue: PaperVenue) -> None:
    venue.exchange.place(buy(100))
    venue.trade(110)
    account = venue.exchange.account()
    venue.exchange.place(sell(100))

    assert account.cash == Decimal("89999.00")
    assert account.equity == Decimal("100999.00")
    # 100 x 109.99 less 0.23 for section 31 and 0.02 for the activity fee
    assert venue.exchange.account().cash == Decimal("89999.00") + Decimal("10998.75")


def test_a_clock_that_stands_before_the_books_is_refused(tmp_path: Path) -> None:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    venue.exchange.place(buy(10, 90))
    venue.move_to(at(15))
    venue.exchange.orders(only_open=True)
    venue.exchange.close()
    earlier = PaperVenue(tmp_path / "paper.sqlite3", replay=week_of_new_york())

    with pytest.raises(BrokerUnavailable, match="the clock says"):
        earlier.exchange.account()


def test_the_same_calls_give_the_same_books_to_the_last_digit(tmp_path: Path) -> None:
    def play(name: str) -> tuple[Order, ...]:
        venue = PaperVenue(tmp_path / name)
        number = iter(range(100))
        for order in (buy(120, 98), bracket(30, 95, stop_loss=80), bracket(50, 101)):
            same_id = f"same-{next(number)}"
            venue.exchange.place(replace(order, client_order_id=same_id))
            venue.trade(99, 101, 97, 98, volume=700)
        return venue.exchange.orders(only_open=False)

    assert play("one.sqlite3") == play("two.sqlite3")


def test_importing_the_paper_broker_does_not_load_sqlite() -> None:
    program = "import sys, brokers.paper; sys.exit('sqlite3' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], check=False)

    assert done.returncode == 0


def test_a_minute_is_matched_once_however_often_it_is_asked_for(venue: PaperVenue) -> None:
    order = venue.exchange.place(buy(250, 100))
    venue.replay.trade("ACME", at(14), prices=[100], volume=1000)
    for second in (0, 10, 59):
        venue.move_to(at(14, 1, second))
        venue.exchange.account()
    venue.move_to(at(14) + 2 * MINUTE)

    assert fills(venue, order) == [(100, Decimal(100))]
