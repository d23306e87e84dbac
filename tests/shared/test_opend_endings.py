"""How calls to OpenD, connections and whole processes end: by themselves, in time, and with nothing sent after."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from shared.opend import CallFailed, OpenD
from shared.opend_limits import OpenDShare
from tests.shared.opend_link import (
    AT_ONCE_SECONDS,
    FUNDS,
    ORDER,
    connected,
    failure,
    free_port,
    settings,
    until_asked,
)
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol, Wire, WireFault
from tests.simulators.venue import PROJECT


@pytest.fixture
async def link(opend: OpenDVenue) -> AsyncIterator[OpenD]:
    """A connection that is open already, so that importing the client costs no deadline."""
    opend.limit_rate(enforced=False)
    async with connected(opend.port) as made:
        await made.ask(Protocol.GET_GLOBAL_STATE, {})
        yield made


@pytest.mark.parametrize("ending", ["close", "deadline", "cancel"])
async def test_what_the_network_thread_still_has_in_hand_when_it_is_given_up_never_leaves(
    opend: OpenDVenue, link: OpenD, ending: str
) -> None:
    from shared import opend_client

    held, begun = threading.Event(), threading.Event()
    opend_client._later(lambda: (begun.set(), held.wait(10)))
    await asyncio.to_thread(begun.wait, 10)
    call = asyncio.ensure_future(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))
    await asyncio.sleep(0)
    closed = None
    match ending:
        case "close":
            closed = asyncio.ensure_future(link.close())
            await asyncio.sleep(0.05)
            waits = not closed.done()
        case "cancel":
            call.cancel()
            await asyncio.wait({call})
            waits = True
        case _:
            await failure(call)
            waits = True
    held.set()
    if closed is not None:
        await closed
    [ended] = await asyncio.gather(call, return_exceptions=True)
    async with connected(opend.port) as other:
        said = await other.ask(Protocol.GET_ORDER_LIST, FUNDS)

    assert waits
    assert isinstance(ended, asyncio.CancelledError if ending == "cancel" else CallFailed)
    assert not getattr(ended, "may_have_arrived", False)
    assert list(said.orderList) == []
    assert opend.asked(Protocol.PLACE_ORDER) == []


async def test_closing_ends_every_call_and_leaves_no_thread_and_no_connection(
    opend: OpenDVenue,
) -> None:
    async with connected(opend.port) as first:  # the client's own thread is there from now on
        await first.ask(Protocol.GET_GLOBAL_STATE, {})
    threads, before = set(threading.enumerate()), _connections_to(opend.port)
    opend.inject(WireFault(wire=Wire.SILENCE, protocol=Protocol.PLACE_ORDER, times=None))
    link = OpenD(settings(opend.port, call_timeout_seconds=20), OpenDShare(7))
    sent = asyncio.ensure_future(failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True)))
    await until_asked(opend, Protocol.PLACE_ORDER)
    waits = asyncio.ensure_future(failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True)))
    await asyncio.sleep(0.05)
    began = monotonic()
    await link.close()
    await link.close()
    took = monotonic() - began
    [one, other] = await asyncio.gather(sent, waits)

    assert (one.may_have_arrived, other.may_have_arrived) == (True, False)
    assert "closed before it answered" in str(one)
    assert "is closed" in str(await failure(link.ask(Protocol.GET_GLOBAL_STATE, {})))
    assert took < AT_ONCE_SECONDS
    assert set(threading.enumerate()) <= threads
    assert _connections_to(opend.port) <= before
    assert len(opend.asked(Protocol.PLACE_ORDER)) == 1


async def test_closing_while_it_connects_ends_the_calls_that_wait_for_it(
    opend: OpenDVenue,
) -> None:
    opend.inject(WireFault(wire=Wire.SILENCE, protocol=Protocol.INIT_CONNECT))
    link = OpenD(settings(opend.port, connect_timeout_seconds=10), OpenDShare(100))
    calls = [
        asyncio.ensure_future(failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True)))
        for _ in range(2)
    ]
    await until_asked(opend, Protocol.INIT_CONNECT)
    began = monotonic()
    await link.close()
    failures = await asyncio.gather(*calls)

    assert monotonic() - began < AT_ONCE_SECONDS
    assert {(str(one), one.may_have_arrived) for one in failures} == {
        (f"the connection to OpenD at 127.0.0.1:{opend.port} is closed", False)
    }
    assert opend.asked(Protocol.PLACE_ORDER) == []


def _connections_to(port: int) -> int:
    found = psutil.Process().net_connections("tcp4")
    return sum(
        1
        for one in found
        if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
    )


def test_the_client_is_imported_by_the_first_call_and_not_before() -> None:
    program = (
        "import sys, shared.opend, shared.opend_symbols;"
        "sys.exit(bool({'moomoo', 'pandas', 'google.protobuf'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


PROGRAM = """
import asyncio, os, signal, sys
from shared.config_brokers import MoomooSettings
from shared.opend import CallFailed, OpenD
from shared.opend_limits import OpenDShare

async def main():
    host, port = sys.argv[1:]
    settings = MoomooSettings(host=host, port=int(port), connect_timeout_seconds=1)
    opend = OpenD(settings, OpenDShare(100))
    before, home = signal.getsignal(signal.SIGINT), os.environ.get("HOME")
    try:
        await opend.ask(1002, {})
        print("answered")
    except CallFailed as error:
        print(error)
    assert signal.getsignal(signal.SIGINT) is before
    assert os.environ.get("HOME") == home

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("there", "answered"),
        ("absent", "(connection refused): start it and see that it is logged in"),
        ("silent", "(it accepts connections and is silent): start it"),
        ("unresolvable", "the host 'opend.invalid' of OpenD has no address: correct broker.moomoo"),
        ("unreadable", "cannot be read): start it"),
    ],
)
@pytest.mark.parametrize("home", [True, False], ids=["home", "no home"])
def test_a_process_ends_by_itself_without_closing_says_one_sentence_and_needs_no_home(
    opend: OpenDVenue, tmp_path: Path, case: str, words: str, home: bool
) -> None:
    port = free_port() if case == "absent" else opend.port
    if case in {"silent", "unreadable"}:
        wire = Wire.SILENCE if case == "silent" else Wire.CORRUPT
        opend.inject(WireFault(wire=wire, protocol=Protocol.INIT_CONNECT))
    host = "opend.invalid" if case == "unresolvable" else "127.0.0.1"
    environ = {name: value for name, value in os.environ.items() if name != "HOME"}
    environ |= {"HOME": str(tmp_path)} if home else {}
    began = monotonic()
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, host, str(port)],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n") == 1
    assert words in ended.stdout
    assert monotonic() - began < 2 + 8  # two bounds, and what a busy machine takes to import
    assert not list(tmp_path.glob(".com.moomoo*"))


def test_ctrl_c_ends_a_call_as_it_ends_everything(opend: OpenDVenue) -> None:
    opend.inject(WireFault(wire=Wire.SILENCE, protocol=Protocol.GET_GLOBAL_STATE, times=None))
    program = PROGRAM.replace("connect_timeout_seconds=1", "connect_timeout_seconds=10")
    with subprocess.Popen(
        [sys.executable, "-c", program, "127.0.0.1", str(opend.port)],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until = monotonic() + 20
            while not opend.asked(Protocol.GET_GLOBAL_STATE) and monotonic() < until:
                pass
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()

    assert "KeyboardInterrupt" in said
    assert process.returncode != 0
