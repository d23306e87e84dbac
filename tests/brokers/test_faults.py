import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brokers.faults import Fault, FaultKind, Faults, Operation
from shared.errors import BrokerUnavailable, OrderOutcomeUnknown, OrderRejected
from shared.models import OrderRequest, OrderStatus
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.order_requests import bracket, buy, sell, stop
from tests.brokers.paper_venue import PaperVenue

CANCEL, PLACE, POSITIONS = Operation.CANCEL, Operation.PLACE, Operation.POSITIONS


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[PaperVenue]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield venue
    await venue.broker.disconnect()


async def place(venue: PaperVenue, request: OrderRequest) -> str:
    return (await venue.broker.place_order(approved(request))).broker_order_id


def status(venue: PaperVenue, order_id: str) -> OrderStatus:
    order = venue.exchange.order(order_id)
    assert order is not None
    return order.status


def test_a_line_hits_the_calls_it_names_and_no_others() -> None:
    fault = Fault(operation=PLACE, kind=FaultKind.REFUSE, nth=2, times=2)
    faults = Faults([fault])

    hits = [faults.take(PLACE) for _ in range(5)]

    assert hits == [None, fault, fault, None, None]
    assert faults.calls(PLACE) == 5
    assert faults.take(CANCEL) is None


def test_a_line_without_an_end_hits_for_ever_and_an_added_one_counts_from_now() -> None:
    faults = Faults([Fault(operation=PLACE, kind=FaultKind.REFUSE, nth=3, times=None)])
    faults.take(CANCEL)
    faults.add(Fault(operation=CANCEL, kind=FaultKind.REFUSE))

    assert [faults.take(PLACE) is None for _ in range(5)] == [True, True, False, False, False]
    assert faults.take(CANCEL) is not None
    assert faults.take(CANCEL) is None


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (Operation.ACCOUNT, FaultKind.EMPTY_READ),
        (PLACE, FaultKind.STALE_READ),
        (PLACE, FaultKind.STUCK_CANCEL),
        (POSITIONS, FaultKind.REJECT),
    ],
)
def test_a_fault_that_cannot_happen_is_refused_when_it_is_written(
    operation: Operation, kind: FaultKind
) -> None:
    with pytest.raises(ValueError, match=kind.value):
        Fault(operation=operation, kind=kind)


async def test_a_refused_call_does_nothing_and_the_next_one_works(venue: PaperVenue) -> None:
    venue.faults.add(Fault(operation=PLACE, kind=FaultKind.REFUSE))
    with pytest.raises(BrokerUnavailable):
        await place(venue, buy(10, 90))
    await place(venue, buy(10, 90))

    assert len(await venue.broker.orders(only_open=False)) == 1


async def test_a_scripted_rejection_has_its_code_and_leaves_nothing(venue: PaperVenue) -> None:
    venue.faults.add(
        Fault(operation=PLACE, kind=FaultKind.REJECT, code="40310000", reason="not today")
    )
    with pytest.raises(OrderRejected, match="not today") as refused:
        await place(venue, buy(10, 90))

    assert refused.value.code == "40310000"
    assert await venue.broker.orders(only_open=False) == ()


async def test_a_lost_reply_hides_a_rejection_too(venue: PaperVenue) -> None:
    venue.faults.add(Fault(operation=PLACE, kind=FaultKind.DROP_REPLY))

    with pytest.raises(OrderOutcomeUnknown):
        await place(venue, sell(10))


async def test_a_silent_exchange_has_done_what_the_caller_gave_up_on(venue: PaperVenue) -> None:
    venue.faults.add(Fault(operation=PLACE, kind=FaultKind.SILENCE, seconds=3600))
    request = buy(10, 90)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await venue.broker.place_order(approved(request))

    assert await venue.broker.order_by_client_id(request.client_order_id) is not None


async def test_a_capped_order_stays_partly_filled(venue: PaperVenue) -> None:
    venue.faults.add(Fault(operation=PLACE, kind=FaultKind.PARTIAL_FILLS, quantity=30))
    order_id = await place(venue, bracket(50, 101))
    venue.trade(99)
    order = venue.exchange.order(order_id)

    assert order is not None
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, 30)
    assert {leg.status for leg in order.legs} == {OrderStatus.HELD}


async def test_a_stuck_cancel_can_still_fill(venue: PaperVenue) -> None:
    venue.faults.add(Fault(operation=CANCEL, kind=FaultKind.STUCK_CANCEL))
    order_id = await place(venue, buy(10, 95))
    order = await venue.broker.cancel_order(approved_cancel(order_id))
    pending = [o.status for o in await venue.broker.orders(only_open=True)]
    venue.trade(94)

    assert order.status is OrderStatus.CANCEL_PENDING
    assert pending == [OrderStatus.CANCEL_PENDING]
    assert status(venue, order_id) is OrderStatus.FILLED


async def test_a_stuck_stop_holds_its_shares_until_a_second_cancel_gets_through(
    venue: PaperVenue,
) -> None:
    await place(venue, buy(10))
    order_id = await place(venue, stop(10, 90))
    venue.faults.add(Fault(operation=CANCEL, kind=FaultKind.STUCK_CANCEL))
    await venue.broker.cancel_order(approved_cancel(order_id))
    with pytest.raises(OrderRejected, match="insufficient qty"):
        await place(venue, sell(10))
    await venue.broker.cancel_order(approved_cancel(order_id))

    assert status(venue, order_id) is OrderStatus.CANCELED
    await place(venue, sell(10))


@pytest.mark.parametrize(
    ("quantity", "expected"), [(None, OrderStatus.FILLED), (4, OrderStatus.CANCELED)]
)
async def test_a_fill_can_come_after_the_cancel(
    venue: PaperVenue, quantity: int | None, expected: OrderStatus
) -> None:
    venue.faults.add(Fault(operation=CANCEL, kind=FaultKind.LATE_FILL, quantity=quantity))
    order_id = await place(venue, buy(10, 95))
    order = await venue.broker.cancel_order(approved_cancel(order_id))
    venue.trade(100)
    (position,) = await venue.broker.positions()
    venue.trade(100)

    assert order.status is OrderStatus.CANCELED
    assert status(venue, order_id) is expected
    assert position.quantity == (quantity or 10)
    assert (await venue.broker.positions())[0].quantity == position.quantity


async def test_a_late_fill_of_a_sell_never_makes_the_account_short(venue: PaperVenue) -> None:
    await place(venue, buy(10))
    order_id = await place(venue, sell(10, 105))
    venue.faults.add(Fault(operation=CANCEL, kind=FaultKind.LATE_FILL))
    await venue.broker.cancel_order(approved_cancel(order_id))
    await place(venue, sell(7))
    venue.trade(100)

    assert await venue.broker.positions() == ()
    assert status(venue, order_id) is OrderStatus.CANCELED


async def test_a_read_can_be_empty_although_something_is_held(venue: PaperVenue) -> None:
    await place(venue, buy(10))
    venue.faults.add(Fault(operation=POSITIONS, kind=FaultKind.EMPTY_READ))

    assert await venue.broker.positions() == ()
    assert len(await venue.broker.positions()) == 1


async def test_a_stale_read_is_the_answer_from_before(venue: PaperVenue) -> None:
    before = await venue.broker.positions()
    await place(venue, buy(10))
    venue.faults.add(Fault(operation=POSITIONS, kind=FaultKind.STALE_READ))

    assert await venue.broker.positions() == before == ()
    assert len(await venue.broker.positions()) == 1


async def test_a_lost_reply_to_a_read_is_unavailable_and_not_an_unknown_order(
    venue: PaperVenue,
) -> None:
    venue.faults.add(Fault(operation=POSITIONS, kind=FaultKind.TIME_OUT))

    with pytest.raises(BrokerUnavailable):
        await venue.broker.positions()
