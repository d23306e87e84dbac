"""The suite's cases about answers that go wrong: what was not done, was done once, or is not known."""

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import psutil
import pytest

from brokers.base import Broker
from brokers.faults import Operation
from shared.errors import BrokerUnavailable, CatalystError, OrderOutcomeUnknown, OrderRejected
from shared.models import OrderStatus
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.contract_venue import Breakage, Venue, hold, limit, look_up

Read = Callable[[Broker], Awaitable[object]]

SLOW = (Breakage.SILENT, Breakage.SLOW_HEADER, Breakage.SLOW_BODY)
STATUSES = tuple(how for how in Breakage if how.is_status)
BROKEN = tuple(
    how for how in Breakage if not (how.is_status or how in SLOW or how is Breakage.UNKNOWN_WORD)
)
UNCLEAR = tuple(how for how in STATUSES if how.value.startswith("5"))


class FailureCases(ABC):
    """Cases C37 to C47; a venue without a wire that can break skips most of them."""

    @pytest.fixture
    @abstractmethod
    def venue(self) -> AsyncIterator[Venue]:
        """A fresh account at a fresh market."""
        ...

    async def test_c37_a_read_that_goes_wrong_is_unavailable_and_the_next_one_is_right(
        self, venue: Venue
    ) -> None:
        held = await hold(venue, lots=1)
        for operation, read in reads(venue, held.client_order_id or "").items():
            for how in (*STATUSES, *BROKEN):
                breaks(venue, operation, how, carried_out=False)
                with pytest.raises(BrokerUnavailable):
                    await read(venue.broker)

            assert await read(venue.broker), operation
        assert len(await venue.broker.positions()) == 1

    async def test_c38_an_order_in_a_state_that_is_not_known_is_no_answer(
        self, venue: Venue
    ) -> None:
        held = await hold(venue, lots=1)
        for operation in (Operation.ORDERS, Operation.ORDER_BY_CLIENT_ID):
            breaks(venue, operation, Breakage.UNKNOWN_WORD, carried_out=True)
            with pytest.raises(BrokerUnavailable):
                await reads(venue, held.client_order_id or "")[operation](venue.broker)

    @pytest.mark.parametrize("how", SLOW, ids=str)
    async def test_c39_every_call_ends_in_its_time_whatever_the_broker_does(
        self, venue: Venue, how: Breakage
    ) -> None:
        await hold(venue, lots=1)
        rests = await venue.broker.place_order(approved(limit(venue, 98)))
        old = await venue.broker.place_order(approved(limit(venue, 98)))
        request = limit(venue, 97, replaces=old.broker_order_id)
        calls: dict[Operation, Callable[[], Awaitable[object]]] = {
            operation: (lambda read=read: read(venue.broker))
            for operation, read in reads(venue, rests.client_order_id or "").items()
        }
        calls[Operation.PLACE] = lambda: venue.broker.place_order(approved(limit(venue, 99)))
        if venue.broker.capabilities.can_replace:
            calls[Operation.REPLACE] = lambda: venue.broker.replace_order(approved(request))
        if how is not Breakage.SLOW_BODY:  # the answer to a cancel may have none
            cancel = approved_cancel(rests.broker_order_id)
            calls[Operation.CANCEL] = lambda: venue.broker.cancel_order(cancel)
        for operation, call in calls.items():
            breaks(venue, operation, how, carried_out=True)
            began = monotonic()
            with pytest.raises(OrderOutcomeUnknown if operation.writes else BrokerUnavailable):
                await call()

            assert monotonic() - began < 1.5 * venue.call_seconds, operation

    async def test_c40_a_write_that_was_not_carried_out_leaves_nothing_and_is_sent_once(
        self, venue: Venue
    ) -> None:
        for sent, how in enumerate((*STATUSES, *BROKEN), 1):
            request = limit(venue, 99)
            breaks(venue, Operation.PLACE, how, carried_out=False)
            with pytest.raises(CatalystError) as failed:
                await venue.broker.place_order(approved(request))

            is_refusal = how.is_status and how not in UNCLEAR
            refusals = (OrderRejected, BrokerUnavailable)
            assert isinstance(failed.value, refusals if is_refusal else OrderOutcomeUnknown), how
            assert calls_of(venue, Operation.PLACE) == sent, how
            assert await venue.broker.order_by_client_id(request.client_order_id) is None
        assert await venue.broker.orders(only_open=False) == ()

    async def test_c41_a_write_that_was_carried_out_unheard_is_unknown_and_there_once(
        self, venue: Venue
    ) -> None:
        for sent, how in enumerate((*UNCLEAR, *BROKEN, Breakage.UNKNOWN_WORD), 1):
            request = limit(venue, 99)
            breaks(venue, Operation.PLACE, how, carried_out=True)
            with pytest.raises(OrderOutcomeUnknown):
                await venue.broker.place_order(approved(request))

            found = await venue.broker.order_by_client_id(request.client_order_id)
            assert found is not None, how
            assert found.status is OrderStatus.ACCEPTED
            assert len(await venue.broker.orders(only_open=False)) == sent, how
            assert calls_of(venue, Operation.PLACE) == sent, how

    async def test_c42_a_cancel_and_a_replacement_are_sent_once_too(self, venue: Venue) -> None:
        for sent, how in enumerate((Breakage.HTTP_504, Breakage.RESET, Breakage.HUNG_UP), 1):
            gone = await venue.broker.place_order(approved(limit(venue, 98)))
            breaks(venue, Operation.CANCEL, how, carried_out=True)
            with pytest.raises(OrderOutcomeUnknown):
                await venue.broker.cancel_order(approved_cancel(gone.broker_order_id))

            assert (await look_up(venue, gone)).status is OrderStatus.CANCELED, how
            assert calls_of(venue, Operation.CANCEL) == sent, how
            if venue.broker.capabilities.can_replace:
                old = await venue.broker.place_order(approved(limit(venue, 98)))
                request = limit(venue, 99, replaces=old.broker_order_id)
                breaks(venue, Operation.REPLACE, how, carried_out=True)
                with pytest.raises(OrderOutcomeUnknown):
                    await venue.broker.replace_order(approved(request))

                assert (await look_up(venue, old)).status is OrderStatus.REPLACED, how
                assert len(await venue.broker.orders(only_open=True)) == sent, how
                assert calls_of(venue, Operation.REPLACE) == sent, how

    async def test_c43_a_broker_that_takes_no_connection_has_provably_not_got_the_order(
        self, venue: Venue
    ) -> None:
        request = limit(venue, 99)
        if not venue.refuses_connections(refuses=True):
            pytest.skip("there is no port to close here")
        with pytest.raises(BrokerUnavailable):
            await venue.broker.place_order(approved(request))
        with pytest.raises(BrokerUnavailable):
            await venue.broker.account()
        venue.refuses_connections(refuses=False)

        assert await venue.broker.orders(only_open=False) == ()
        assert (await venue.broker.place_order(approved(request))).client_order_id

    async def test_c44_too_many_requests_take_no_order_and_say_nothing_else(
        self, venue: Venue
    ) -> None:
        request = limit(venue, 99)
        breaks(venue, Operation.PLACE, Breakage.HTTP_429, carried_out=False)
        with pytest.raises(BrokerUnavailable):
            await venue.broker.place_order(approved(request))

        placed = await venue.broker.place_order(approved(request))
        assert placed.client_order_id == request.client_order_id

    async def test_c45_closing_ends_what_is_under_way_and_leaves_no_thread_and_no_connection(
        self, venue: Venue
    ) -> None:
        threads, connections = set(threading.enumerate()), open_connections()
        await venue.broker.account()
        is_broken = venue.breaks(Operation.PLACE, Breakage.SILENT, carried_out=True)
        sending = asyncio.ensure_future(venue.broker.place_order(approved(limit(venue, 99))))
        if is_broken:
            await until_asked(venue, Operation.PLACE)
        began = monotonic()

        await venue.broker.disconnect()
        [ended] = await asyncio.gather(sending, return_exceptions=True)

        assert monotonic() - began < venue.call_seconds
        if is_broken:
            assert isinstance(ended, OrderOutcomeUnknown)
        assert set(threading.enumerate()) <= threads
        assert open_connections() <= connections

    async def test_c46_after_closing_nothing_can_be_asked_for(self, venue: Venue) -> None:
        await venue.broker.disconnect()

        for read in reads(venue, "any").values():
            with pytest.raises(BrokerUnavailable):
                await read(venue.broker)
        with pytest.raises(BrokerUnavailable):
            await venue.broker.cancel_order(approved_cancel("any"))

    async def test_c47_no_secret_stands_in_a_log_or_an_error(
        self, venue: Venue, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        said: list[str] = [repr(venue.broker)]
        for how in (None, Breakage.HTTP_401, Breakage.HTML, Breakage.RESET, Breakage.SILENT):
            for operation in (Operation.ACCOUNT, Operation.PLACE):
                if how is not None:
                    breaks(venue, operation, how, carried_out=False)
            for call in (
                venue.broker.account,
                lambda: venue.broker.place_order(approved(limit(venue, 99))),
            ):
                try:
                    said.append(repr(await call()))
                except CatalystError as error:
                    logging.getLogger(__name__).exception("failed")
                    said.append(str(error))

        text = caplog.text + "\n".join(said)
        assert not [secret for secret in venue.secrets if secret in text]


def reads(venue: Venue, client_order_id: str) -> dict[Operation, Read]:
    """List everything that can be read."""
    symbol = venue.symbol
    return {
        Operation.ACCOUNT: lambda broker: broker.account(),
        Operation.POSITIONS: lambda broker: broker.positions(),
        Operation.ORDERS: lambda broker: broker.orders(only_open=False),
        Operation.ORDER_BY_CLIENT_ID: lambda broker: broker.order_by_client_id(client_order_id),
        Operation.INSTRUMENT: lambda broker: broker.instruments([symbol]),
        Operation.MARKET_CLOCK: lambda broker: broker.market_clock(),
    }


def breaks(venue: Venue, operation: Operation, how: Breakage, *, carried_out: bool) -> None:
    """Let the next such call go wrong, or skip the case where that cannot be done."""
    if not venue.breaks(operation, how, carried_out=carried_out):
        pytest.skip(f"{operation} cannot go wrong by {how} here")


def calls_of(venue: Venue, operation: Operation) -> int:
    """Return how often the broker was asked."""
    if venue.faults is None:
        pytest.skip("calls cannot be counted here")
    return venue.faults.calls(operation)


async def until_asked(venue: Venue, operation: Operation) -> None:
    """Wait until such a call has reached the broker."""
    async with asyncio.timeout(10):
        while not calls_of(venue, operation):  # noqa: ASYNC110 (the broker is another process)
            await asyncio.sleep(0.01)


def open_connections() -> int:
    """Count this process's connections over the network."""
    found = psutil.Process().net_connections("inet")
    return sum(1 for one in found if one.status == psutil.CONN_ESTABLISHED)
