"""What goes wrong at the simulated OpenD looks to the real client as it would over any wire."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import Fault, FaultKind, Operation
from shared.models import OrderStatus
from tests.simulators.opend.client import (
    PAPER_ACCOUNT,
    QUERY_SECONDS,
    Failed,
    ask_everything,
    hear_of_orders,
    is_ready,
    moomoo,
    ok,
    open_quotes,
    open_trading,
    order,
    place,
    rows,
)
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import HEADER, Protocol, Wire, WireFault
from tests.simulators.venue import PROJECT

AT_ONCE_SECONDS = 3.0
LONG_FOR_AN_ANSWER_SECONDS = 0.5
"""One takes milliseconds."""


def placing(wire: Wire, **others: Any) -> WireFault:
    return WireFault(wire=wire, protocol=Protocol.PLACE_ORDER, **others)


def listed(client: Any) -> list[dict[str, Any]]:
    return rows(client.order_list_query(**PAPER_ACCOUNT))


def test_an_absent_opend_is_refused_at_once(opend: OpenDVenue, moomoo_home: None) -> None:
    del moomoo_home
    opend.listen(listens=False)
    began = time.monotonic()
    absent = open_quotes(opend)
    took = time.monotonic() - began
    opend.listen(listens=True)
    present = open_quotes(opend)
    ready = is_ready(absent), is_ready(present)
    for context in (absent, present):
        context.close()

    assert ready == (False, True)
    assert took < AT_ONCE_SECONDS


@pytest.mark.parametrize(
    "wire", [Wire.REFUSE, Wire.HOLLOW, Wire.DROP, Wire.RESET, Wire.CUT, Wire.DIE]
)
def test_an_opend_that_does_not_let_in_leaves_the_client_outside_at_once(
    opend: OpenDVenue, moomoo_home: None, wire: Wire
) -> None:
    del moomoo_home
    opend.inject(WireFault(wire=wire, protocol=Protocol.INIT_CONNECT, executes=True))
    began = time.monotonic()
    context = open_quotes(opend)
    took, ready = time.monotonic() - began, is_ready(context)
    context.close()

    assert not ready
    assert took < AT_ONCE_SECONDS


def test_a_first_answer_that_cannot_be_read_lets_the_client_in_without_a_connection_id(
    opend: OpenDVenue, moomoo_home: None
) -> None:
    del moomoo_home
    opend.inject(WireFault(wire=Wire.CORRUPT, protocol=Protocol.INIT_CONNECT))
    context = open_quotes(opend)
    ready, connection_id = is_ready(context), context.get_sync_conn_id()
    context.close()

    assert (ready, connection_id) == (True, 0)


def test_an_opend_that_accepts_and_is_silent_keeps_the_client_waiting(
    opend: OpenDVenue, moomoo_home: None
) -> None:
    del moomoo_home
    opend.inject(WireFault(wire=Wire.SILENCE, times=None, executes=True))
    context = open_quotes(opend, is_async_connect=True)
    try:
        until = time.monotonic() + LONG_FOR_AN_ANSWER_SECONDS
        while time.monotonic() < until and not is_ready(context):
            time.sleep(0.01)
        state = context.status
    finally:
        context.close()

    assert len(opend.asked(Protocol.INIT_CONNECT)) == 1
    assert state == moomoo().common.constant.ContextStatus.CONNECTED


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (Wire.DROP, "Disconnect"),
        (Wire.RESET, "Disconnect"),
        (Wire.CUT, "Disconnect"),
        (Wire.DIE, "Disconnect"),
        (Wire.SILENCE, "Timeout"),
        (Wire.REFUSE, "injected fault"),
        (Wire.BAD_CHECKSUM, "check sha error"),
    ],
)
def test_an_order_is_there_though_its_answer_is_not(
    opend: OpenDVenue, opend_client: Any, wire: Wire, text: str
) -> None:
    opend.inject(placing(wire, executes=True))

    with pytest.raises(Failed, match=text):
        place(opend_client, 99, remark="sent-once")
    opend.listen(listens=False)
    opend.listen(listens=True)
    second = open_trading(opend)
    try:
        found = [row["remark"] for row in listed(second)]
    finally:
        second.close()

    assert found == ["sent-once"]
    assert len(opend.asked(Protocol.PLACE_ORDER)) == 1


@pytest.mark.parametrize("wire", [Wire.DROP, Wire.RESET, Wire.DIE, Wire.REFUSE, Wire.SILENCE])
def test_a_request_that_is_not_carried_out_leaves_nothing(
    opend: OpenDVenue, opend_client: Any, wire: Wire
) -> None:
    opend.inject(placing(wire))

    with pytest.raises(Failed):
        place(opend_client, 99)

    assert opend.orders() == ()
    assert len(opend.asked(Protocol.PLACE_ORDER)) == 1


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol.GET_ACC_LIST,
        Protocol.GET_FUNDS,
        Protocol.GET_POSITION_LIST,
        Protocol.GET_ORDER_LIST,
        Protocol.GET_HISTORY_ORDER_LIST,
        Protocol.GET_MAX_TRD_QTYS,
        Protocol.MODIFY_ORDER,
        Protocol.GET_GLOBAL_STATE,
    ],
)
def test_opend_dies_at_any_message_and_the_next_call_finds_nobody(
    opend: OpenDVenue, opend_client: Any, protocol: Protocol
) -> None:
    row = place(opend_client, 99)
    opend.inject(WireFault(wire=Wire.DIE, protocol=protocol))
    began = time.monotonic()
    with pytest.raises(Failed, match="Disconnect"):
        ask_everything(opend_client, row["order_id"])
    with pytest.raises(Failed, match="Connect timeout"):
        listed(opend_client)

    assert time.monotonic() - began < QUERY_SECONDS + AT_ONCE_SECONDS
    assert [order.status for order in opend.orders()] == [OrderStatus.ACCEPTED]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((opend.host, opend.port), timeout=1)


def test_a_late_answer_holds_up_no_other_and_comes_to_nobody(
    opend: OpenDVenue, opend_client: Any
) -> None:
    opend.inject(placing(Wire.LATE, seconds=QUERY_SECONDS + 2))
    began = time.monotonic()
    with pytest.raises(Failed, match="Timeout"):
        place(opend_client, 99, remark="late")
    rest = [row["remark"] for row in listed(opend_client)]

    assert time.monotonic() - began < QUERY_SECONDS + 2
    assert rest == ["late"]


def test_a_dripping_answer_arrives_in_the_end(opend: OpenDVenue, opend_client: Any) -> None:
    opend.inject(WireFault(wire=Wire.SLOW, protocol=Protocol.GET_FUNDS, seconds=0.002))
    began = time.monotonic()
    (row,) = rows(opend_client.accinfo_query(**PAPER_ACCOUNT))

    assert row["cash"] == 1_000_000
    assert time.monotonic() - began > 0.2


@pytest.mark.parametrize("wire", [Wire.CORRUPT, Wire.HOLLOW])
def test_a_body_that_cannot_be_read_is_taken_for_success_with_nothing_in_it(
    opend: OpenDVenue, opend_client: Any, wire: Wire
) -> None:
    place(opend_client, 99)
    opend.inject(WireFault(wire=wire, protocol=Protocol.GET_FUNDS))
    opend.inject(WireFault(wire=wire, protocol=Protocol.GET_ORDER_LIST))
    answers: list[tuple[int, Any]] = []
    answers.append(opend_client.accinfo_query(**PAPER_ACCOUNT))
    answers.append(opend_client.order_list_query(**PAPER_ACCOUNT))
    (money,) = rows(answers[0])

    assert [ret for ret, _ in answers] == [0, 0]
    assert (money["power"], money["cash"], len(answers[1][1])) == (0, 0, 0)
    assert len(listed(opend_client)) == 1


def test_an_order_can_be_in_a_state_that_says_nothing(opend: OpenDVenue, opend_client: Any) -> None:
    told = hear_of_orders(opend_client)
    order_id = place(opend_client, 101)["order_id"]
    seen: list[str] = []
    for status in (4, 24, -1, 99):
        opend.show_status(order_id, status)
        seen.append(order(opend_client, order_id)["order_status"])
    opend.show_status(order_id, None)
    heard = [told.get(timeout=5)["order_status"] for _ in range(6)]

    assert seen == ["TIMEOUT", "FILL_CANCELLED", "N/A", "N/A"]
    assert heard == ["FILLED_ALL", *seen, "FILLED_ALL"]
    assert order(opend_client, order_id)["order_status"] == "FILLED_ALL"


def test_a_lost_login_is_said_by_the_state_and_refuses_all_else(
    opend: OpenDVenue, opend_client: Any
) -> None:
    opend.log_in(logged_in=False)
    state = ok(opend_client.get_global_state())
    with pytest.raises(Failed, match="not logged in"):
        place(opend_client, 99)
    opend.log_in(logged_in=True)

    assert (state["trd_logined"], state["qot_logined"]) == (False, False)
    assert state["program_status_type"] == "FORCE_LOGOUT"
    assert place(opend_client, 99)["order_status"] == "SUBMITTED"
    assert len(opend.orders()) == 1


def test_whatever_may_be_left_out_is_left_out(opend: OpenDVenue, opend_client: Any) -> None:
    place(opend_client, 101)
    opend.inject(
        WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_POSITION_LIST, fields={"*": None})
    )
    (row,) = rows(opend_client.position_list_query(**PAPER_ACCOUNT))
    missing = {name for name, value in row.items() if value == "N/A"}

    assert {"cost_price", "diluted_cost", "pl_ratio", "currency", "today_buy_qty"} <= missing
    assert row["qty"] == 100


def test_a_field_can_have_another_value_wherever_it_stands(
    opend: OpenDVenue, opend_client: Any
) -> None:
    place(opend_client, 99)
    strange = {"orderIDEx": "", "fillQty": 700.0}
    opend.inject(WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_ORDER_LIST, fields=strange))
    (row,) = listed(opend_client)

    assert (row["order_id"], row["dealt_qty"]) == ("", 700)
    assert [r["dealt_qty"] for r in listed(opend_client)] == [0]


def test_a_fault_hits_the_nth_request_and_as_many_as_it_says(
    opend: OpenDVenue, opend_client: Any
) -> None:
    opend.inject(WireFault(wire=Wire.REFUSE, protocol=Protocol.GET_FUNDS, nth=2, times=2))
    came = [opend_client.accinfo_query(**PAPER_ACCOUNT)[0] for _ in range(4)]
    opend.inject(WireFault(wire=Wire.REFUSE, times=None))
    came += [opend_client.get_global_state()[0] for _ in range(2)]
    opend.heal()

    assert came == [0, -1, -1, 0, -1, -1]
    assert ok(opend_client.get_global_state())


def test_the_exchanges_own_faults_are_had_through_the_wire(
    opend: OpenDVenue, opend_client: Any
) -> None:
    opend.faults.add(Fault(operation=Operation.PLACE, kind=FaultKind.PARTIAL_FILLS, quantity=100))
    part = place(opend_client, 101, 300)
    opend.faults.add(Fault(operation=Operation.CANCEL, kind=FaultKind.STUCK_CANCEL))
    ok(opend_client.modify_order("CANCEL", part["order_id"], 0, 0, **PAPER_ACCOUNT))
    stuck = order(opend_client, part["order_id"])
    rests = place(opend_client, 99)
    opend.faults.add(Fault(operation=Operation.CANCEL, kind=FaultKind.LATE_FILL))
    ok(opend_client.modify_order("CANCEL", rests["order_id"], 0, 0, **PAPER_ACCOUNT))
    gone = order(opend_client, rests["order_id"])
    opend.trade(100)
    late = order(opend_client, rests["order_id"])

    assert (part["order_status"], part["dealt_qty"]) == ("FILLED_PART", 100)
    assert (stuck["order_status"], stuck["dealt_qty"]) == ("CANCELLING_PART", 100)
    assert gone["order_status"] == "CANCELLED_ALL"
    assert (late["order_status"], late["dealt_qty"]) == ("FILLED_ALL", 100)
    assert opend.faults.calls(Operation.CANCEL) == 2


def test_reads_can_be_empty_or_stale(opend: OpenDVenue, opend_client: Any) -> None:
    def held() -> list[float]:
        return [row["qty"] for row in rows(opend_client.position_list_query(**PAPER_ACCOUNT))]

    place(opend_client, 101)
    before = held()
    place(opend_client, 101)
    opend.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.STALE_READ))
    stale = held()
    opend.faults.add(Fault(operation=Operation.POSITIONS, kind=FaultKind.EMPTY_READ))
    empty = held()

    opend.faults.add(Fault(operation=Operation.ORDERS, kind=FaultKind.EMPTY_READ))
    none = listed(opend_client)
    two = listed(opend_client)
    place(opend_client, 99)
    opend.faults.add(Fault(operation=Operation.ORDERS, kind=FaultKind.STALE_READ))

    assert (before, stale, empty, held()) == ([100], [100], [], [200])
    assert none == []
    assert listed(opend_client) == two
    assert len(listed(opend_client)) == 3


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
    opend: OpenDVenue, opend_client: Any, kind: FaultKind, *, arrives: bool
) -> None:
    opend.faults.add(Fault(operation=Operation.PLACE, kind=kind, reason="no"))

    with pytest.raises(Failed):
        place(opend_client, 99)

    assert [order.status for order in opend.orders()] == [OrderStatus.ACCEPTED] * arrives


def test_a_frame_that_is_none_ends_its_connection_and_no_other(
    opend: OpenDVenue, opend_client: Any
) -> None:
    with socket.create_connection((opend.host, opend.port), timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".ljust(HEADER.size))
        said = stranger.recv(1024)

    assert said == b""
    assert ok(opend_client.get_global_state())


@pytest.mark.parametrize("is_there", [True, False])
def test_a_program_with_the_client_ends_by_itself_and_says_nothing(
    opend: OpenDVenue, tmp_path: Path, *, is_there: bool
) -> None:
    """Neither is so for the client as it comes: its threads go on, and it logs to the standard output."""
    opend.listen(listens=is_there)
    program = (
        "import signal, sys\n"
        "from types import SimpleNamespace\n"
        "from tests.simulators.opend.client import is_ready, open_quotes\n"
        f"venue = SimpleNamespace(host={opend.host!r}, port={opend.port})\n"
        "ready = is_ready(open_quotes(venue))\n"
        "own = signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "sys.exit(10 + 2 * own + ready)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == (b"", b"")
    assert ended.returncode == 12 + is_there


def test_the_simulator_is_gone_when_it_was_closed(opend: OpenDVenue) -> None:
    opend.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((opend.host, opend.port), timeout=1)
