"""The suite's cases about what becomes of orders, fills and days."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from brokers.faults import Fault, FaultKind, Operation
from shared.errors import OrderRejected
from shared.models import OrderClass, OrderRequest, OrderStatus, OrderType, Side, TimeInForce
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.contract_venue import (
    Venue,
    are_in_force,
    hold,
    hold_with_bracket,
    inject,
    limit,
    look_up,
    market,
    needs,
)


class LifeCases(ABC):
    """Cases C48 to C60."""

    @pytest.fixture
    @abstractmethod
    def venue(self) -> AsyncIterator[Venue]:
        """A fresh account at a fresh market."""
        ...

    async def test_c48_what_filled_before_a_cancel_stays(self, venue: Venue) -> None:
        placed = await venue.broker.place_order(approved(limit(venue, 99, lots=50)))
        await venue.minute(99, 99, 98, 99, lots=100)
        canceled = await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))
        await venue.minute(99, 99, 98, 99)

        order = await look_up(venue, placed)
        (position,) = await venue.broker.positions()
        assert canceled.filled_quantity == order.filled_quantity == position.quantity
        assert order.status is OrderStatus.CANCELED
        assert 0 < order.filled_quantity < order.quantity

    async def test_c49_a_fill_after_the_cancel_is_shown_on_the_cancelled_order(
        self, venue: Venue
    ) -> None:
        placed = await venue.broker.place_order(approved(limit(venue, 99, lots=2)))
        inject(venue, Fault(operation=Operation.CANCEL, kind=FaultKind.LATE_FILL))
        await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))
        await venue.minute(100)

        order = await look_up(venue, placed)
        (position,) = await venue.broker.positions()
        assert order.filled_quantity == position.quantity == 2 * venue.lot_size
        assert sum(fill.quantity for fill in order.fills) in {0, order.filled_quantity}

    async def test_c50_a_cancel_that_is_not_confirmed_is_pending_and_the_order_still_open(
        self, venue: Venue
    ) -> None:
        placed = await venue.broker.place_order(approved(limit(venue, 99)))
        inject(venue, Fault(operation=Operation.CANCEL, kind=FaultKind.STUCK_CANCEL))

        stuck = await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))
        [rests] = await venue.broker.orders(only_open=True)
        await venue.broker.cancel_order(approved_cancel(placed.broker_order_id))

        assert stuck.status is rests.status is OrderStatus.CANCEL_PENDING
        assert (await look_up(venue, placed)).status is OrderStatus.CANCELED

    async def test_c51_a_fill_is_the_same_in_every_window_that_it_is_seen_in(
        self, venue: Venue
    ) -> None:
        if not venue.broker.capabilities.reports_fills:
            pytest.skip("the broker lists no fills")
        placed = await venue.broker.place_order(approved(limit(venue, 99, lots=50)))
        await venue.minute(99, 99, 98, 99, lots=100)
        partly = await look_up(venue, placed)
        await venue.minute(99, 99, 98, 99)
        whole = await look_up(venue, placed)
        since = whole.updated_at - timedelta(seconds=1)
        [later] = await venue.broker.orders(only_open=False, since=since)
        by_id = await venue.broker.order_by_client_id(placed.client_order_id or "")

        assert by_id is not None
        assert whole.fills[: len(partly.fills)] == partly.fills != ()
        assert later.fills == by_id.fills == whole.fills
        assert all(fill.at.utcoffset() == timedelta(0) for fill in whole.fills)
        assert whole.submitted_at <= whole.fills[0].at <= whole.fills[-1].at

    async def test_c52_the_account_is_the_same_one_on_every_call(self, venue: Venue) -> None:
        before = await venue.broker.account()
        await hold(venue, lots=1)
        after = await venue.broker.account()

        assert (after.account_id, after.environment, after.currency, after.blocked) == (
            before.account_id,
            venue.broker.capabilities.environment,
            before.currency,
            False,
        )

    async def test_c53_a_day_order_ends_with_its_session_and_one_until_cancelled_does_not(
        self, venue: Venue
    ) -> None:
        if TimeInForce.GTC not in venue.broker.capabilities.times_in_force:
            pytest.skip("every order ends with its day")
        day = await venue.broker.place_order(approved(limit(venue, 90)))
        gtc = replace(limit(venue, 91), time_in_force=TimeInForce.GTC)
        rests = await venue.broker.place_order(approved(gtc))
        await venue.next_session()

        assert (await look_up(venue, day)).status in {OrderStatus.EXPIRED, OrderStatus.CANCELED}
        [open_now] = await venue.broker.orders(only_open=True)
        assert open_now.broker_order_id == rests.broker_order_id
        assert open_now.time_in_force is TimeInForce.GTC

    async def test_c54_the_legs_of_a_position_survive_the_day(self, venue: Venue) -> None:
        needs(venue, OrderClass.BRACKET)
        await hold_with_bracket(venue)
        await venue.next_session()

        assert are_in_force(await venue.broker.orders(only_open=True))

    async def test_c55_a_price_off_its_tick_is_refused_and_never_rounded(
        self, venue: Venue
    ) -> None:
        instrument = (await venue.broker.instruments([venue.symbol]))[venue.symbol]
        off = Decimal(99) + instrument.tick_at(Decimal(99)) / 2

        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(replace(limit(venue, 99), limit_price=off)))

        assert await venue.broker.orders(only_open=False) == ()

    async def test_c56_a_quantity_that_is_no_number_of_lots_is_refused(self, venue: Venue) -> None:
        for quantity in {0, -1, venue.lot_size // 2, venue.lot_size * 3 // 2} - {venue.lot_size}:
            wrong = replace(limit(venue, 99), quantity=quantity)
            with pytest.raises(OrderRejected):
                await venue.broker.place_order(approved(wrong))

        assert await venue.broker.orders(only_open=False) == ()

    async def test_c57_a_price_that_the_type_has_no_use_for_is_refused_and_never_dropped(
        self, venue: Venue
    ) -> None:
        wrong_ones = [
            replace(market(venue, Side.BUY, lots=1), limit_price=Decimal(99)),
            replace(limit(venue, 99), stop_price=Decimal(95)),
            replace(limit(venue, 99, side=Side.SELL), stop_loss=Decimal(90)),
            replace(limit(venue, 99), client_order_id=""),
        ]
        if venue.broker.capabilities.has_brackets:
            wrong_ones.append(replace(limit(venue, 99), stop_loss=Decimal(90)))
        for wrong in wrong_ones:
            with pytest.raises(OrderRejected):
                await venue.broker.place_order(approved(wrong))

        assert await venue.broker.orders(only_open=False) == ()

    async def test_c61_levels_that_no_bracket_carries_stay_with_whoever_watches(
        self, venue: Venue
    ) -> None:
        if venue.broker.capabilities.has_brackets:
            pytest.skip("an entry brings its stop and target along")
        levels = replace(limit(venue, 99), stop_loss=Decimal(90), take_profit=Decimal(110))
        placed = await venue.broker.place_order(approved(levels))

        assert await venue.broker.orders(only_open=True) == (placed,)
        assert (placed.limit_price, placed.stop_price, placed.legs) == (99, None, ())

    async def test_c58_protection_for_more_than_is_held_is_refused(self, venue: Venue) -> None:
        needs(venue, OrderClass.OCO)
        await hold(venue, lots=2)
        request = OrderRequest(
            client_order_id=limit(venue, 99).client_order_id,
            symbol=venue.symbol,
            side=Side.SELL,
            quantity=3 * venue.lot_size,
            order_type=OrderType.LIMIT,
            purpose=limit(venue, 99, side=Side.SELL).purpose,
            order_class=OrderClass.OCO,
            take_profit=Decimal(110),
            stop_loss=Decimal(90),
        )

        with pytest.raises(OrderRejected):
            await venue.broker.place_order(approved(request))

        assert await venue.broker.orders(only_open=True) == ()

    async def test_c59_every_order_is_listed_however_many_there_are(self, venue: Venue) -> None:
        sent = [limit(venue, 1) for _ in range(venue.many)]
        for request in sent:
            await venue.broker.place_order(approved(request))

        listed = await venue.broker.orders(only_open=True)

        assert [order.client_order_id for order in listed] == [r.client_order_id for r in sent]

    async def test_c60_two_orders_at_once_are_two_orders(self, venue: Venue) -> None:
        needs(venue, OrderType.STOP)
        await hold(venue, lots=3)
        target = replace(limit(venue, 110, side=Side.SELL), quantity=venue.lot_size)
        await venue.broker.place_order(approved(target))
        await venue.broker.place_order(approved(limit(venue, 111, lots=2, side=Side.SELL)))

        (position,) = await venue.broker.positions()
        assert len(await venue.broker.orders(only_open=True)) == 2
        assert (position.quantity, position.available) == (3 * venue.lot_size, 0)
