"""What goes wrong at the simulated Alpaca looks to the real client as it would over any wire."""

import time
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.models import Order
from pydantic import ValidationError

from brokers.faults import Fault, FaultKind, Operation
from shared.models import OrderStatus
from tests.simulators.alpaca.client import (
    TIMEOUT_SECONDS,
    limit,
    listed,
    market,
    raw,
    refusal,
    submitted,
)
from tests.simulators.alpaca.venue import AlpacaVenue
from tests.simulators.alpaca.wire import Wire, WireFault, html

POST: dict[str, Any] = {"method": "POST", "path": "/v2/orders"}


@pytest.mark.parametrize("body", [None, html(504), ""], ids=["json", "html", "empty"])
def test_any_status_comes_with_any_body_and_nothing_is_done(
    alpaca: AlpacaVenue, alpaca_client: TradingClient, body: str | None
) -> None:
    for status in (400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504):
        alpaca.inject(WireFault(wire=Wire.ANSWER, status=status, body=body, **POST))
        with pytest.raises(APIError) as failed:
            alpaca_client.submit_order(limit(99))

        assert refusal(failed).status_code == status
        assert ("message" in refusal(failed).text) == (body is None)
    assert alpaca.orders() == ()
    assert alpaca.count("POST", "/v2/orders") == 12


@pytest.mark.parametrize(
    "fault",
    [
        WireFault(wire=Wire.DROP, executes=True, **POST),
        WireFault(wire=Wire.RESET, executes=True, **POST),
        WireFault(wire=Wire.SILENCE, executes=True, **POST),
        WireFault(wire=Wire.RESET_IN_BODY, **POST),
        WireFault(wire=Wire.LATE, seconds=1.5, **POST),
        WireFault(wire=Wire.SLOW_HEADER, seconds=1.5, **POST),
        WireFault(wire=Wire.GARBAGE, executes=True, **POST),
        WireFault(wire=Wire.ANSWER, executes=True, status=504, body=html(504), **POST),
    ],
    ids=lambda fault: str(fault.wire),
)
def test_an_order_is_there_though_its_answer_is_not(
    alpaca: AlpacaVenue, alpaca_client: TradingClient, fault: WireFault
) -> None:
    alpaca.inject(fault)

    with pytest.raises((requests.exceptions.RequestException, APIError)):
        alpaca_client.submit_order(limit(99, client_order_id="sent-once"))
    found = alpaca_client.get_order_by_client_id("sent-once")

    assert isinstance(found, Order)
    assert [order.client_order_id for order in alpaca.orders()] == ["sent-once"]
    assert alpaca.count("POST", "/v2/orders") == 1


@pytest.mark.parametrize("wire", [Wire.DROP, Wire.RESET, Wire.SILENCE])
def test_a_request_that_is_not_carried_out_leaves_nothing(
    alpaca: AlpacaVenue, alpaca_client: TradingClient, wire: Wire
) -> None:
    alpaca.inject(WireFault(wire=wire, **POST))
    began = time.monotonic()

    with pytest.raises(requests.exceptions.RequestException):
        alpaca_client.submit_order(limit(99))

    assert time.monotonic() - began < sum(TIMEOUT_SECONDS) + 5
    assert alpaca.orders() == ()


def test_a_dripping_body_outlives_the_clients_own_timeout(
    alpaca: AlpacaVenue, alpaca_client: TradingClient
) -> None:
    for path in ("/clock", "/positions"):
        alpaca.inject(WireFault(wire=Wire.SLOW_BODY, path=f"/v2{path}", seconds=0.01))
        began = time.monotonic()
        came = raw(alpaca_client, path)

        assert came == [] or came["is_open"]
        assert time.monotonic() - began > TIMEOUT_SECONDS[1]


def test_a_closed_port_refuses_and_can_be_opened_again(
    alpaca: AlpacaVenue, alpaca_client: TradingClient
) -> None:
    alpaca_client.get_account()
    alpaca.listen(listens=False)
    with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
        alpaca_client.submit_order(limit(99))
    alpaca.listen(listens=True)
    submitted(alpaca_client, limit(99))

    assert len(alpaca.orders()) == 1


def test_fields_can_be_null_or_have_words_that_nobody_knows(
    alpaca: AlpacaVenue, alpaca_client: TradingClient
) -> None:
    submitted(alpaca_client, limit(99))
    strange: dict[str, Any] = {"status": "quantum", "qty": None}
    alpaca.inject(WireFault(wire=Wire.CHANGE, path="/v2/orders", fields=strange))
    with pytest.raises(ValidationError, match="quantum"):
        listed(alpaca_client, QueryOrderStatus.ALL)
    alpaca.inject(WireFault(wire=Wire.CHANGE, path="/v2/account", fields={"cash": None}))

    assert raw(alpaca_client, "/account")["cash"] is None
    assert raw(alpaca_client, "/account")["cash"] == "100000"


def test_a_fault_hits_the_nth_request_and_as_many_as_it_says(
    alpaca: AlpacaVenue, alpaca_client: TradingClient
) -> None:
    alpaca.inject(WireFault(wire=Wire.ANSWER, status=503, path="/v2/positions*", nth=2, times=2))
    alpaca.inject(WireFault(wire=Wire.ANSWER, status=500, path="/v2/clock", times=None))
    came: list[int] = []
    for path in ("positions", "positions", "positions", "positions", "clock", "clock"):
        url = f"{alpaca.trading_url}/v2/{path}"
        keys = {"APCA-API-KEY-ID": alpaca.key, "APCA-API-SECRET-KEY": alpaca.secret}
        came.append(requests.get(url, headers=keys, timeout=TIMEOUT_SECONDS).status_code)
    alpaca.heal()

    assert came == [200, 503, 503, 200, 500, 500]
    assert raw(alpaca_client, "/clock")["is_open"]


def test_the_exchanges_own_faults_are_had_through_the_wire(
    alpaca: AlpacaVenue, alpaca_client: TradingClient
) -> None:
    alpaca.faults.add(Fault(operation=Operation.PLACE, kind=FaultKind.PARTIAL_FILLS, quantity=2))
    part = submitted(alpaca_client, market(5))
    alpaca.faults.add(Fault(operation=Operation.CANCEL, kind=FaultKind.STUCK_CANCEL))
    alpaca_client.cancel_order_by_id(part.id)
    stuck = raw(alpaca_client, f"/orders/{part.id}")
    rests = submitted(alpaca_client, limit(99))
    alpaca.faults.add(Fault(operation=Operation.CANCEL, kind=FaultKind.LATE_FILL))
    alpaca_client.cancel_order_by_id(rests.id)
    gone = raw(alpaca_client, f"/orders/{rests.id}")
    alpaca.trade(100)
    late = raw(alpaca_client, f"/orders/{rests.id}")

    assert (stuck["status"], stuck["filled_qty"]) == ("pending_cancel", "2")
    assert gone["status"] == "canceled"
    assert (late["status"], late["filled_qty"]) == ("filled", "5")
    assert alpaca.faults.calls(Operation.CANCEL) == 2


def test_reads_can_be_empty_or_stale(alpaca: AlpacaVenue, alpaca_client: TradingClient) -> None:
    submitted(alpaca_client, market(5))
    before = raw(alpaca_client, "/positions")
    submitted(alpaca_client, market(5))
    alpaca.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.STALE_READ))
    first = raw(alpaca_client, "/positions")
    alpaca.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ))
    second = raw(alpaca_client, "/positions")
    alpaca.inject(WireFault(wire=Wire.EMPTY, path="/v2/orders:by_client_order_id"))
    with pytest.raises(APIError) as absent:
        alpaca_client.get_order_by_client_id(alpaca.orders()[0].client_order_id or "")

    assert [p["qty"] for p in before] == ["5"]
    assert (first, second) == (before, [])
    assert [p["qty"] for p in raw(alpaca_client, "/positions")] == ["10"]
    assert refusal(absent).status_code == 404


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        (FaultKind.REFUSE, False),
        (FaultKind.TIME_OUT, False),
        (FaultKind.REJECT, False),
        (FaultKind.DROP_REPLY, True),
    ],
)
def test_a_fault_of_the_conformance_suite_keeps_its_meaning(
    alpaca: AlpacaVenue, alpaca_client: TradingClient, kind: FaultKind, *, arrives: bool
) -> None:
    alpaca.faults.add(Fault(operation=Operation.PLACE, kind=kind, reason="no"))

    with pytest.raises((requests.exceptions.RequestException, APIError)):
        alpaca_client.submit_order(limit(99))

    assert [order.status for order in alpaca.orders()] == [OrderStatus.ACCEPTED] * arrives


def test_the_simulator_is_gone_when_it_was_closed(alpaca: AlpacaVenue) -> None:
    alpaca.inject(WireFault(wire=Wire.SILENCE, path="/v2/clock"))
    with pytest.raises(requests.exceptions.Timeout):
        requests.get(f"{alpaca.trading_url}/v2/clock", timeout=0.2)
    alpaca.close()

    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"{alpaca.trading_url}/v2/clock", timeout=1)
