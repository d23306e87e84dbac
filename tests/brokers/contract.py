"""What every broker adapter must do, whatever its wire: one class of numbered cases.

To run it on an adapter of your own, here or in a project of yours that has this one on its path, write a
harness with the members of `Venue` (tests/brokers/contract_venue.py says what each has to do), subclass the
suite and give it one fixture::

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        async def venue(self) -> AsyncIterator[Venue]:
            ...start the simulator, connect the adapter...
            yield MyVenue(...)
            ...stop both...

`Venue` is the whole harness: the connected broker, one symbol that trades at 100 in an open session, a way to
let a minute of trading and a night go by, and a way to let answers go wrong. `alpaca_venue.py` is a harness
for an adapter over HTTP, `paper_venue.py` one for an adapter in this process; each is a page long. pytest has
to run with `asyncio_mode = "auto"`, and a conftest.py beside the tests has to rewrite the asserts of the
suite's modules, as tests/brokers/conftest.py does.

Cases that the adapter's Capabilities rule out, and those about faults where the venue injects none (`faults`
is None, `breaks` or `refuses_connections` says False), are skipped with the reason; nothing else may be. The
cases are C1 to C36 here, C37 to C47 in contract_failures.py, C48 to C61 in contract_lives.py.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import cast

import pytest

from brokers.faults import Fault, FaultKind, Operation
from shared.errors import (
    BrokerUnavailable,
    CatalystError,
    OrderOutcomeUnknown,
    OrderRejected,
)
from shared.models import (
    Environment,
    Order,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.contract_failures import FailureCases
from tests.brokers.contract_lives import LifeCases
from tests.brokers.contract_venue import (
    Venue,
    are_in_force,
    bracket,
    hold,
    hold_with_bracket,
    inject,
    leg_statuses,
    limit,
    look_up,
    market,
    needs,
    needs_replace,
    next_id,
    stop,
)

__all__ = ["BrokerContract", "Venue"]


class BrokerContract(FailureCases, LifeCases):
    """The cases; C-numbers are stable, a case that goes takes its number along."""

    @pytest.fixture
    @abstractmethod
    def venue(self) -> AsyncIterator[Venue]:
        """A fresh account at a fresh market."""
        ...

    async def test_c01_the_account_is_paper_with_an_aware_time_decimal_money_and_a_currency(
        self, venue: Venue
    ) -> None:
        account = await venue.broker.account()

        assert account.environment is Environment.PAPER
        assert account.account_id
        assert account.currency == venue.currency
        assert account.at.utcoffset() == timedelta(0)
        assert {type(account.cash), type(account.equity), type(account.buying_power)} == {Decimal}
        assert account.cash == account.equity > 0

    async def test_c02_no_positions_and_no_orders_are_empty_tuples(self, venue: Venue) -> None:
        assert await venue.broker.positions() == ()
        assert await venue.broker.orders(only_open=True) == ()
        assert await venue.broker.orders(only_open=False) == ()

    async def test_c03_a_bought_position_is_a_signed_decimal_with_its_price(
        self, venue: Venue
    ) -> None:
        await hold(venue, lots=3)

        (position,) = await venue.broker.positions()

        assert position.symbol == venue.symbol
        assert position.quantity == position.available == 3 * venue.lot_size
        assert type(position.quantity) is Decimal
        assert 99 < position.average_price < 101
        assert position.currency == venue.currency

    async def test_c04_a_limit_below_the_market_rests_and_is_listed_as_it_was_sent(
        self, venue: Venue
    ) -> None:
        request = limit(venue, 99, lots=2)
        placed = await venue.broker.place_order(approved(request))

        (order,) = await venue.broker.orders(only_open=True)

        assert order.broker_order_id == placed.broker_order_id
        assert order.client_order_id == request.client_order_id
        assert (order.symbol, order.side, order.order_type) == (
            venue.symbol,
            Side.BUY,
            OrderType.LIMIT,
        )
        assert (order.quantity, order.filled_quantity) == (2 * venue.lot_size, 0)
        assert (order.limit_price, order.stop_price, order.average_fill_price) == (99, None, None)
        assert order.status is OrderStatus.ACCEPTED
        assert order.time_in_force is TimeInForce.DAY
        assert order.submitted_at.utcoffset() == timedelta(0)

    async def test_c05_a_market_order_fills_and_the_money_moves_with_the_shares(
        self, venue: Venue
    ) -> None:
        before = await venue.broker.account()

        order = await hold(venue, lots=2)
        account = await venue.broker.account()

        assert order.status is OrderStatus.FILLED
        assert order.average_fill_price is not None
        assert 99 < order.average_fill_price < 101
        assert account.cash < before.cash - 99 * order.quantity

    async def test_c06_a_stop_rests_until_the_price_falls_to_it_and_then_sells(
        self, venue: Venue
    ) -> None:
        needs(venue, OrderType.STOP)
        await hold(venue, lots=2)
        resting_stop = await venue.broker.place_order(approved(stop(venue, 95, lots=2)))

        await venue.minute(100, 100, 96, 97)
        resting = await look_up(venue, resting_stop)
        await venue.minute(97, 97, 94, 94)
        sold = await look_up(venue, resting_stop)

        assert (resting.status, resting.stop_price) == (OrderStatus.ACCEPTED, 95)
        assert sold.status is OrderStatus.FILLED
        assert await venue.broker.positions() == ()

    async def test_c07_a_brackets_legs_are_listed_after_it_as_orders_of_their_own(
        self, venue: Venue
    ) -> None:
        needs(venue, OrderClass.BRACKET)
        entry = await venue.broker.place_order(approved(bracket(venue, 99)))

        listed = await venue.broker.orders(only_open=True)

        assert listed[0].broker_order_id == entry.broker_order_id
        assert {leg.parent_order_id for leg in listed[1:]} == {entry.broker_order_id}
        assert {(leg.side, leg.limit_price, leg.stop_price) for leg in listed[1:]} == {
            (Side.SELL, Decimal(110), None),
            (Side.SELL, None, Decimal(90)),
        }
        assert {leg.broker_order_id for leg in listed[0].legs} == {
            leg.broker_order_id for leg in listed[1:]
        }

    async def test_c08_legs_are_held_until_the_entry_has_filled_completely(
        self, venue: Venue
    ) -> None:
        needs(venue, OrderClass.BRACKET)
        if venue.broker.capabilities.legs_active_after != "complete_fill":
            pytest.skip("legs protect from the first fill on")
        entry = await venue.broker.place_order(approved(bracket(venue, 99, lots=50)))
        unfilled = await leg_statuses(venue, entry)
        await venue.minute(99, 99, 98, 99, lots=20)
        half = await look_up(venue, entry)
        half_filled = await leg_statuses(venue, entry)
        await venue.minute(99, 99, 98, 99)
        filled = await venue.broker.orders(only_open=True)

        assert unfilled == {OrderStatus.HELD}
        assert half.status is OrderStatus.PARTIALLY_FILLED
        assert half_filled == {OrderStatus.HELD}
        assert are_in_force(filled)

    async def test_c09_an_order_is_found_by_its_client_order_id(self, venue: Venue) -> None:
        request = limit(venue, 99)
        placed = await venue.broker.place_order(approved(request))

        found = await venue.broker.order_by_client_id(request.client_order_id)

        assert found is not None
        assert found.broker_order_id == placed.broker_order_id
        assert found.client_order_id == request.client_order_id

    async def test_c10_an_id_that_was_never_sent_is_none(self, venue: Venue) -> None:
        assert await venue.broker.order_by_client_id("never-sent") is None

    async def test_c11_a_client_order_id_is_refused_the_second_time_even_when_the_first_is_closed(
        self, venue: Venue
    ) -> None:
        if not venue.broker.capabilities.client_order_ids_unique:
            pytest.skip("the broker takes a client order id twice")
        request = limit(venue, 99)
        first = await venue.broker.place_order(approved(request))
        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(request))
        await venue.broker.cancel_order(approved_cancel(first.broker_order_id))
        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(request))

        assert len(await venue.broker.orders(only_open=False)) == 1

    async def test_c12_a_client_order_id_may_have_the_stated_length_and_not_one_more(
        self, venue: Venue
    ) -> None:
        longest = "x" * venue.broker.capabilities.client_order_id_max_length
        placed = await venue.broker.place_order(approved(limit(venue, 99, client_order_id=longest)))
        with pytest.raises(OrderRejected):
            await venue.broker.place_order(
                approved(limit(venue, 99, client_order_id=longest + "x"))
            )

        assert placed.client_order_id == longest
        assert len(await venue.broker.orders(only_open=False)) == 1

    async def test_c13_a_refused_order_says_why_and_leaves_nothing(self, venue: Venue) -> None:
        request = limit(venue, 99, lots=1_000_000)
        before = await venue.broker.account()

        with pytest.raises(OrderRejected) as refused:
            await venue.broker.place_order(approved(request))
        after = await venue.broker.account()

        assert str(refused.value)
        assert await venue.broker.orders(only_open=True) == ()
        assert (after.cash, after.buying_power) == (before.cash, before.buying_power)

    async def test_c14_a_lost_reply_is_an_unknown_outcome_and_the_order_is_found_by_its_id(
        self, venue: Venue
    ) -> None:
        inject(venue, Fault(operation=Operation.PLACE, kind=FaultKind.DROP_REPLY))
        request = limit(venue, 99)

        with pytest.raises(OrderOutcomeUnknown):
            await venue.broker.place_order(approved(request))
        found = await venue.broker.order_by_client_id(request.client_order_id)
        listed = await venue.broker.orders(only_open=False)

        assert found is not None
        assert [order.broker_order_id for order in listed] == [found.broker_order_id]

    async def test_c15_an_order_that_never_arrived_is_an_unknown_outcome_and_provably_absent(
        self, venue: Venue
    ) -> None:
        inject(venue, Fault(operation=Operation.PLACE, kind=FaultKind.TIME_OUT))
        request = limit(venue, 99)

        with pytest.raises(OrderOutcomeUnknown):
            await venue.broker.place_order(approved(request))

        assert await venue.broker.order_by_client_id(request.client_order_id) is None
        assert await venue.broker.orders(only_open=False) == ()

    async def test_c16_a_cancelled_order_is_closed_and_its_cash_free_again(
        self, venue: Venue
    ) -> None:
        before = await venue.broker.account()
        placed = await venue.broker.place_order(approved(limit(venue, 99)))

        await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))
        order = await look_up(venue, placed)
        after = await venue.broker.account()

        assert order.status is OrderStatus.CANCELED
        assert await venue.broker.orders(only_open=True) == ()
        assert after.buying_power == before.buying_power

    async def test_c17_a_closed_order_cannot_be_cancelled_again(self, venue: Venue) -> None:
        placed = await venue.broker.place_order(approved(limit(venue, 99)))
        await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))

        with pytest.raises(OrderRejected):
            await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))

    async def test_c18_a_filled_order_cannot_be_cancelled_and_stays_filled(
        self, venue: Venue
    ) -> None:
        filled = await hold(venue, lots=1)

        with pytest.raises(OrderRejected):
            await venue.broker.cancel_order(approved_cancel(filled.broker_order_id))

        assert (await look_up(venue, filled)).status is OrderStatus.FILLED

    async def test_c19_a_replacement_is_a_new_order_and_the_old_one_says_so(
        self, venue: Venue
    ) -> None:
        needs_replace(venue)
        old = await venue.broker.place_order(approved(limit(venue, 98)))
        request = limit(venue, 99, replaces=old.broker_order_id)

        new = await venue.broker.replace_order(approved(request))
        old = await look_up(venue, old)

        assert new.broker_order_id != old.broker_order_id
        assert (new.client_order_id, new.limit_price) == (request.client_order_id, 99)
        assert (old.status, old.replaced_by) == (OrderStatus.REPLACED, new.broker_order_id)
        assert [o.broker_order_id for o in await venue.broker.orders(only_open=True)] == [
            new.broker_order_id
        ]

    async def test_c20_a_partial_fill_shows_what_filled_and_leaves_the_rest_working(
        self, venue: Venue
    ) -> None:
        placed = await venue.broker.place_order(approved(limit(venue, 99, lots=50)))
        await venue.minute(99, 99, 98, 99, lots=100)

        order = await look_up(venue, placed)
        (position,) = await venue.broker.positions()

        assert order.status is OrderStatus.PARTIALLY_FILLED
        assert 0 < order.filled_quantity < order.quantity
        assert order.filled_quantity % venue.lot_size == 0
        assert position.quantity == order.filled_quantity
        assert order.remaining_quantity == order.quantity - order.filled_quantity

    async def test_c21_more_than_is_held_cannot_be_sold(self, venue: Venue) -> None:
        await hold(venue, lots=2)

        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(market(venue, Side.SELL, lots=3)))

        assert await venue.broker.orders(only_open=True) == ()
        assert (await venue.broker.positions())[0].quantity == 2 * venue.lot_size

    async def test_c22_shares_under_a_resting_sell_cannot_be_sold_twice(self, venue: Venue) -> None:
        if not venue.broker.capabilities.resting_orders_hold_shares:
            pytest.skip("resting orders hold no shares")
        await hold(venue, lots=3)
        await venue.broker.place_order(approved(limit(venue, 110, lots=2, side=Side.SELL)))

        (position,) = await venue.broker.positions()
        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(limit(venue, 111, lots=2, side=Side.SELL)))

        assert (position.quantity, position.available) == (3 * venue.lot_size, venue.lot_size)

    async def test_c23_what_safety_did_not_approve_is_refused_at_run_time_too(
        self, venue: Venue
    ) -> None:
        request = limit(venue, 99)
        place = cast("Callable[[object], Awaitable[Order]]", venue.broker.place_order)
        replace = cast("Callable[[object], Awaitable[Order]]", venue.broker.replace_order)
        cancel = cast("Callable[[object], Awaitable[Order]]", venue.broker.cancel_order)

        for call, argument in ((place, request), (replace, request), (cancel, "an id")):
            with pytest.raises(TypeError):
                await call(argument)

        assert await venue.broker.orders(only_open=False) == ()

    async def test_c24_disconnecting_twice_is_harmless_and_ends_the_trading(
        self, venue: Venue
    ) -> None:
        await venue.broker.disconnect()
        await venue.broker.disconnect()

        with pytest.raises(BrokerUnavailable):
            await venue.broker.place_order(approved(limit(venue, 99)))

    async def test_c25_fills_add_up_to_the_filled_quantity_and_its_average_price(
        self, venue: Venue
    ) -> None:
        if not venue.broker.capabilities.reports_fills:
            pytest.skip("the broker lists no fills")
        placed = await venue.broker.place_order(approved(limit(venue, 99, lots=60)))
        await venue.minute(99, 99, 98, 99, lots=100)
        await venue.minute(98, 99, 97, 98)

        order = await look_up(venue, placed)
        value = sum((fill.price * fill.quantity for fill in order.fills), Decimal(0))

        assert order.status is OrderStatus.FILLED
        assert len({fill.fill_id for fill in order.fills}) == len(order.fills) >= 2
        assert sum(fill.quantity for fill in order.fills) == order.filled_quantity
        assert order.average_fill_price is not None
        assert abs(order.average_fill_price - value / order.filled_quantity) < Decimal("0.0001")
        assert {(f.broker_order_id, f.side, f.symbol) for f in order.fills} == {
            (order.broker_order_id, Side.BUY, venue.symbol)
        }

    async def test_c26_symbols_are_described_and_an_unknown_one_is_absent(
        self, venue: Venue
    ) -> None:
        found = await venue.broker.instruments(["NOSUCH", venue.symbol])

        assert list(found) == [venue.symbol]
        instrument = found[venue.symbol]
        assert (instrument.symbol, instrument.lot_size) == (venue.symbol, venue.lot_size)
        assert instrument.currency == venue.currency
        assert instrument.tradable
        assert await venue.broker.instruments(["NOSUCH"]) == {}
        assert await venue.broker.instruments([]) == {}

    async def test_c27_only_open_and_since_leave_out_what_is_closed(self, venue: Venue) -> None:
        gone = await venue.broker.place_order(approved(limit(venue, 98)))
        await venue.broker.cancel_order(approved_cancel(gone.broker_order_id))
        await venue.minute(100)
        await venue.minute(100)
        rests = await venue.broker.place_order(approved(limit(venue, 99)))
        since = rests.submitted_at - timedelta(seconds=30)

        open_ids = [o.broker_order_id for o in await venue.broker.orders(only_open=True)]
        recent = await venue.broker.orders(only_open=False, since=since)
        every = await venue.broker.orders(only_open=False)

        assert open_ids == [rests.broker_order_id]
        assert [o.broker_order_id for o in recent] == [rests.broker_order_id]
        assert {o.broker_order_id for o in every} == {gone.broker_order_id, rests.broker_order_id}

    @pytest.mark.parametrize("kind", [FaultKind.REFUSE, FaultKind.DROP_REPLY])
    async def test_c28_a_failed_read_is_unavailable_and_never_empty(
        self, venue: Venue, kind: FaultKind
    ) -> None:
        await hold(venue, lots=1)
        reads = {
            Operation.ACCOUNT: venue.broker.account,
            Operation.POSITIONS: venue.broker.positions,
            Operation.ORDERS: lambda: venue.broker.orders(only_open=False),
            Operation.ORDER_BY_CLIENT_ID: lambda: venue.broker.order_by_client_id("any"),
        }
        for operation, read in reads.items():
            inject(venue, Fault(operation=operation, kind=kind))
            with pytest.raises(BrokerUnavailable):
                await read()

        assert len(await venue.broker.positions()) == 1

    async def test_c29_when_the_stop_fills_the_target_is_gone_and_nothing_is_sold_twice(
        self, venue: Venue
    ) -> None:
        needs(venue, OrderClass.BRACKET)
        await hold_with_bracket(venue)

        await venue.minute(95, 95, 89, 89)
        await venue.minute(111)

        assert await venue.broker.positions() == ()
        assert await venue.broker.orders(only_open=True) == ()

    async def test_c30_replacing_the_target_at_a_marketable_price_sells_and_takes_the_stop_away(
        self, venue: Venue
    ) -> None:
        needs(venue, OrderClass.BRACKET)
        needs_replace(venue)
        entry = await hold_with_bracket(venue)
        target = next(leg for leg in entry.legs if leg.order_type is OrderType.LIMIT)
        request = limit(
            venue, 99, lots=5, side=Side.SELL, replaces=target.broker_order_id, client="exit"
        )

        exit_order = await venue.broker.replace_order(approved(request))
        await venue.minute(100)

        assert (await look_up(venue, exit_order)).status is OrderStatus.FILLED
        assert await venue.broker.positions() == ()
        assert await venue.broker.orders(only_open=True) == ()

    async def test_c31_an_oco_protects_shares_that_are_held_and_one_side_cancels_the_other(
        self, venue: Venue
    ) -> None:
        needs(venue, OrderClass.OCO)
        await hold(venue, lots=2)
        request = OrderRequest(
            client_order_id=next_id("oco"),
            symbol=venue.symbol,
            side=Side.SELL,
            quantity=2 * venue.lot_size,
            order_type=OrderType.LIMIT,
            purpose=OrderPurpose.TAKE_PROFIT,
            order_class=OrderClass.OCO,
            take_profit=Decimal(110),
            stop_loss=Decimal(90),
        )
        await venue.broker.place_order(approved(request))
        resting = await venue.broker.orders(only_open=True)
        await venue.minute(100, 111, 100, 111)

        assert are_in_force(resting)
        assert {(o.limit_price, o.stop_price) for o in resting} == {
            (Decimal(110), None),
            (None, Decimal(90)),
        }
        assert await venue.broker.positions() == ()
        assert await venue.broker.orders(only_open=True) == ()

    async def test_c32_a_market_order_for_an_unknown_symbol_is_refused(self, venue: Venue) -> None:
        request = OrderRequest(
            client_order_id=next_id("unknown"),
            symbol="NOSUCH",
            side=Side.BUY,
            quantity=venue.lot_size,
            order_type=OrderType.MARKET,
            purpose=OrderPurpose.ENTRY,
        )

        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(request))

    async def test_c33_a_cancel_whose_reply_is_lost_is_unknown_and_can_be_looked_up(
        self, venue: Venue
    ) -> None:
        placed = await venue.broker.place_order(approved(limit(venue, 99)))
        inject(venue, Fault(operation=Operation.CANCEL, kind=FaultKind.DROP_REPLY))

        with pytest.raises(OrderOutcomeUnknown):
            await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))

        assert (await look_up(venue, placed)).status is OrderStatus.CANCELED

    async def test_c34_every_error_of_the_adapter_is_one_of_ours(self, venue: Venue) -> None:
        for operation in (Operation.PLACE, Operation.ACCOUNT):
            inject(venue, Fault(operation=operation, kind=FaultKind.REFUSE))

        with pytest.raises(CatalystError):
            await venue.broker.place_order(approved(limit(venue, 99)))
        with pytest.raises(CatalystError):
            await venue.broker.account()

    async def test_c35_the_clock_is_aware_goes_on_and_says_that_the_session_is_open(
        self, venue: Venue
    ) -> None:
        before = await venue.broker.market_clock()
        await venue.minute(100)
        after = await venue.broker.market_clock()

        assert before.at.utcoffset() == timedelta(0)
        assert before.at < after.at
        assert (before.is_open, after.is_open) == (True, True)

    async def test_c36_a_clock_that_cannot_be_read_is_unavailable_and_never_closed(
        self, venue: Venue
    ) -> None:
        inject(venue, Fault(operation=Operation.MARKET_CLOCK, kind=FaultKind.TIME_OUT))

        with pytest.raises(BrokerUnavailable):
            await venue.broker.market_clock()
