from pathlib import Path

import pytest

from brokers.faults import Fault, FaultKind, Operation
from brokers.patience import PatientBroker, _pause_after
from shared.config import OrderSettings
from shared.errors import BrokerUnavailable, OrderOutcomeUnknown, OrderRejected
from tests.brokers.approvals import approved
from tests.brokers.order_requests import buy
from tests.brokers.paper_venue import PaperVenue

READS = (
    Operation.ACCOUNT,
    Operation.POSITIONS,
    Operation.ORDERS,
    Operation.ORDER_BY_CLIENT_ID,
    Operation.INSTRUMENT,
    Operation.MARKET_CLOCK,
)


async def read(broker: PatientBroker, operation: Operation) -> object:
    match operation:
        case Operation.ACCOUNT:
            return await broker.account()
        case Operation.POSITIONS:
            return await broker.positions()
        case Operation.ORDERS:
            return await broker.orders(only_open=False)
        case Operation.ORDER_BY_CLIENT_ID:
            return await broker.order_by_client_id("x")
        case Operation.MARKET_CLOCK:
            return await broker.market_clock()
        case _:
            return await broker.instruments(["ACME"])


@pytest.fixture
def venue(tmp_path: Path) -> PaperVenue:
    return PaperVenue(tmp_path / "paper.sqlite3")


@pytest.mark.parametrize("operation", READS)
async def test_a_read_is_tried_again_as_often_as_the_settings_say(
    venue: PaperVenue, operation: Operation
) -> None:
    broker = PatientBroker(venue.broker, OrderSettings())
    venue.faults.add(Fault(operation=operation, kind=FaultKind.TIME_OUT, times=2))
    await read(broker, operation)
    venue.faults.add(Fault(operation=operation, kind=FaultKind.TIME_OUT, times=3, reason="gone"))
    with pytest.raises(BrokerUnavailable, match="gone"):
        await read(broker, operation)

    assert venue.faults.calls(operation) == 3 + 3


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.REFUSE, BrokerUnavailable),
        (FaultKind.TIME_OUT, OrderOutcomeUnknown),
        (FaultKind.REJECT, OrderRejected),
    ],
)
async def test_a_write_is_sent_once_whatever_happens_to_it(
    venue: PaperVenue, kind: FaultKind, error: type[Exception]
) -> None:
    broker = PatientBroker(venue.broker, OrderSettings())
    venue.faults.add(Fault(operation=Operation.PLACE, kind=kind))
    with pytest.raises(error):
        await broker.place_order(approved(buy(1)))

    assert venue.faults.calls(Operation.PLACE) == 1
    assert venue.exchange.orders(only_open=False) == ()


def test_the_brokers_own_word_on_how_long_to_wait_is_taken() -> None:
    asked = BrokerUnavailable("too many requests", retry_after_seconds=4.0)

    assert _pause_after(asked) == 4.0
    assert _pause_after(BrokerUnavailable("gone")) is True
    assert _pause_after(OrderRejected("no")) is False
