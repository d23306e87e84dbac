"""The way to OpenD, at a simulated one that goes wrong, and at servers that are none."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest
from Crypto.PublicKey import RSA

from shared.errors import ConfigError
from shared.opend import OpenD, Refused
from tests.shared.opend_link import (
    AT_ONCE_SECONDS,
    CALL_SECONDS,
    CONNECT_SECONDS,
    FUNDS,
    HEADER,
    ORDER,
    connected,
    failure,
    free_port,
    until_asked,
)
from tests.simulators.opend.accounts import LIVE
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol, Wire, WireFault


@pytest.fixture
async def link(opend: OpenDVenue) -> AsyncIterator[OpenD]:
    """A connection that is open already, so that importing the client costs no deadline."""
    opend.limit_rate(enforced=False)
    async with connected(opend.port) as made:
        await made.ask(Protocol.GET_GLOBAL_STATE, {})
        yield made


@pytest.fixture
def key_file(tmp_path: Path) -> Iterator[Path]:
    """A key of 1024 bits; the client has it for the whole process, so it is taken away again."""
    path = tmp_path / "opend.pem"
    path.write_bytes(RSA.generate(1024).export_key("PEM"))  # noqa: S505 (what the client can do)
    yield path
    from shared import opend_client

    opend_client.use_key(None)


async def test_a_message_comes_back_whole_and_of_its_kind(link: OpenD) -> None:
    said = await link.ask(
        Protocol.GET_STATIC_INFO, {"securityList": [{"market": 1, "code": "00700"}]}
    )

    assert [(row.basic.security.code, row.basic.lotSize) for row in said.staticInfoList] == [
        ("00700", 100)
    ]


async def test_calls_at_once_share_one_connection(opend: OpenDVenue) -> None:
    async with connected(opend.port) as link:
        await asyncio.gather(*(link.ask(Protocol.GET_ACC_LIST, {"userID": 0}) for _ in range(5)))

    asked = opend.requests()
    assert len({request["connection"] for request in asked}) == 1
    assert len(opend.asked(Protocol.INIT_CONNECT)) == 1
    assert len(opend.asked(Protocol.GET_ACC_LIST)) == 5


async def test_an_absent_opend_is_said_at_once_with_what_to_start() -> None:
    port = free_port()
    async with connected(port) as link:
        began = monotonic()
        failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))

    assert str(failed) == (
        f"OpenD does not answer at 127.0.0.1:{port} (connection refused):"
        " start it and see that it is logged in"
    )
    assert not failed.may_have_arrived
    assert monotonic() - began < AT_ONCE_SECONDS + CONNECT_SECONDS


async def test_a_port_that_takes_no_connection_is_given_up_in_time() -> None:
    with closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [_connecting(address) for _ in range(3)]
        async with connected(address[1]) as link:
            began = monotonic()
            failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))
            took = monotonic() - began
        for one in waiting:
            one.close()

    assert "(no connection)" in str(failed)
    assert not failed.may_have_arrived
    assert took < CONNECT_SECONDS + AT_ONCE_SECONDS


def _connecting(address: tuple[str, int]) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(address)
    return one


async def test_an_opend_that_is_not_logged_in_is_said_to_be_so(opend: OpenDVenue) -> None:
    opend.log_in(logged_in=False)
    async with connected(opend.port) as link:
        failed = await failure(link.ask(Protocol.GET_ACC_LIST, {"userID": 0}))
        opend.log_in(logged_in=True)
        await link.ask(Protocol.GET_ACC_LIST, {"userID": 0})

    assert "is not logged in to moomoo's quote and trade servers: log it in" in str(failed)
    assert not failed.may_have_arrived


GREETING = [
    (Wire.SILENCE, "it accepts connections and is silent"),
    (Wire.SLOW, "it accepts connections and is silent"),
    (Wire.DROP, "broke off"),
    (Wire.RESET, "broke off"),
    (Wire.CUT, "broke off"),
    (Wire.DIE, "broke off"),
    (Wire.REFUSE, "it lets nobody in: injected fault"),
    (Wire.CORRUPT, "cannot be read"),
    (Wire.HOLLOW, "says nothing"),
    (Wire.BAD_CHECKSUM, "checksum"),
]


@pytest.mark.parametrize("protocol", [Protocol.INIT_CONNECT, Protocol.GET_GLOBAL_STATE])
@pytest.mark.parametrize(("wire", "words"), GREETING)
async def test_a_greeting_that_goes_wrong_ends_in_time_and_nothing_was_asked(
    opend: OpenDVenue, protocol: Protocol, wire: Wire, words: str
) -> None:
    opend.inject(WireFault(wire=wire, protocol=protocol, executes=True, seconds=0.1))
    async with connected(opend.port) as link:
        began = monotonic()
        failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))
        took = monotonic() - began
        opend.listen(listens=True)
        await link.ask(Protocol.GET_ACC_LIST, {"userID": 0})

    assert str(failed).startswith(f"OpenD does not answer at 127.0.0.1:{opend.port} (")
    assert words in str(failed)
    assert not failed.may_have_arrived
    assert took < 2 * CONNECT_SECONDS + AT_ONCE_SECONDS + 1  # the client's import
    assert opend.asked(Protocol.PLACE_ORDER) == []


ANSWERS = [
    (Wire.SILENCE, "gave no whole answer within 1.5 s"),
    (Wire.SLOW, "gave no whole answer within 1.5 s"),
    (Wire.DROP, "broke off before it answered"),
    (Wire.RESET, "broke off before it answered"),
    (Wire.CUT, "broke off before it answered"),
    (Wire.DIE, "broke off before it answered"),
    (Wire.CORRUPT, "answered with a body that cannot be read"),
    (Wire.HOLLOW, "answered with a success that says nothing"),
    (Wire.BAD_CHECKSUM, "answered with a body that does not fit its checksum"),
]


@pytest.mark.parametrize(("wire", "words"), ANSWERS)
async def test_an_answer_that_is_none_is_unclear_bounded_and_asked_for_once(
    opend: OpenDVenue, link: OpenD, wire: Wire, words: str
) -> None:
    fault = WireFault(wire=wire, protocol=Protocol.PLACE_ORDER, executes=True, seconds=0.1)
    opend.inject(fault)
    began = monotonic()
    failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))
    took = monotonic() - began
    opend.listen(listens=True)
    said = await link.ask(Protocol.GET_ORDER_LIST, FUNDS)

    assert words in str(failed)
    assert failed.may_have_arrived
    assert took < CALL_SECONDS + AT_ONCE_SECONDS
    assert len(opend.asked(Protocol.PLACE_ORDER)) == 1
    assert [order.remark for order in said.orderList] == ["one"]


async def test_a_refusal_has_opends_own_words(opend: OpenDVenue, link: OpenD) -> None:
    failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER | {"qty": 50.0}, writes=True))

    assert isinstance(failed, Refused)
    assert failed.text == "The quantity is not a whole multiple of the lot size"
    assert opend.orders() == ()


@pytest.mark.parametrize("ret_type", [-100, -200, -400, -500, 7])
async def test_a_result_that_opend_does_not_know_is_unclear(
    opend: OpenDVenue, link: OpenD, ret_type: int
) -> None:
    opend.inject(
        WireFault(wire=Wire.REFUSE, protocol=Protocol.PLACE_ORDER, ret_type=ret_type, reason="?")
    )
    failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))

    assert not isinstance(failed, Refused)
    assert failed.may_have_arrived


@pytest.mark.parametrize("field", ["header", "cash"])
async def test_an_answer_without_what_it_has_to_have_is_none(
    opend: OpenDVenue, link: OpenD, field: str
) -> None:
    opend.inject(WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_FUNDS, fields={field: None}))

    failed = await failure(link.ask(Protocol.GET_FUNDS, FUNDS))

    assert "answered with a body that cannot be read" in str(failed)


async def test_a_slow_read_leaves_a_write_beside_it_alone(opend: OpenDVenue, link: OpenD) -> None:
    opend.inject(WireFault(wire=Wire.SILENCE, protocol=Protocol.GET_FUNDS))
    opend.inject(WireFault(wire=Wire.LATE, protocol=Protocol.PLACE_ORDER, seconds=0.9))
    slow = asyncio.ensure_future(failure(link.ask(Protocol.GET_FUNDS, FUNDS)))
    await until_asked(opend, Protocol.GET_FUNDS)
    await asyncio.sleep(CALL_SECONDS / 2)
    placed = await link.ask(Protocol.PLACE_ORDER, ORDER, writes=True)
    await slow
    await link.ask(Protocol.GET_ORDER_LIST, FUNDS)

    assert placed.orderIDEx
    assert len(opend.asked(Protocol.INIT_CONNECT)) == 2


async def test_a_lost_connection_is_opened_anew_by_the_next_call_only(
    opend: OpenDVenue, link: OpenD
) -> None:
    opend.listen(listens=False)
    failed = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))
    opend.listen(listens=True)
    before = len(opend.asked(Protocol.INIT_CONNECT))
    await link.ask(Protocol.PLACE_ORDER, ORDER, writes=True)

    assert not failed.may_have_arrived
    assert before == 1
    assert len(opend.asked(Protocol.INIT_CONNECT)) == 2
    assert len(opend.asked(Protocol.PLACE_ORDER)) == 1


@pytest.mark.parametrize(
    ("protocol", "c2s"),
    [
        (Protocol.PLACE_ORDER, ORDER | {"header": HEADER | {"trdEnv": 1}}),
        (Protocol.GET_FUNDS, {"header": HEADER | {"trdEnv": 1, "accID": LIVE.account_id}}),
        (Protocol.MODIFY_ORDER, {"header": HEADER | {"trdEnv": 7}}),
        (Protocol.UNLOCK_TRADE, {"unlock": True}),
    ],
)
async def test_anything_but_paper_is_refused_before_it_is_sent(
    opend: OpenDVenue, link: OpenD, protocol: Protocol, c2s: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="live trading is refused"):
        await link.ask(protocol, c2s, writes=True)

    assert opend.asked(protocol) == []


async def test_a_message_that_is_not_complete_is_not_sent(opend: OpenDVenue, link: OpenD) -> None:
    with pytest.raises(ValueError, match=r"has no c2s\.header\.trdEnv"):
        await link.ask(Protocol.GET_FUNDS, {"header": {"accID": 1, "trdMarket": 1}})
    with pytest.raises(AttributeError):
        await link.ask(Protocol.GET_FUNDS, FUNDS | {"nonsense": 1})

    assert opend.asked(Protocol.GET_FUNDS) == []


async def test_a_request_beyond_the_share_is_not_sent_and_says_when_it_may_be(
    opend: OpenDVenue,
) -> None:
    async with connected(opend.port, pct=20) as link:
        for _ in range(2):
            await link.ask(Protocol.GET_FUNDS, FUNDS)
        had_turn = link.has_turn(Protocol.GET_FUNDS)
        failed = await failure(link.ask(Protocol.GET_FUNDS, FUNDS))
        await link.ask(Protocol.GET_FUNDS, FUNDS | {"refreshCache": False}, limited=False)

    assert not had_turn
    assert "has used up its share of OpenD's limit for protocol 2101" in str(failed)
    assert not failed.may_have_arrived
    assert failed.retry_after_seconds == pytest.approx(30.5, abs=2)
    assert len(opend.asked(Protocol.GET_FUNDS)) == 3


async def test_messages_go_encrypted_with_opends_own_key(tmp_path: Path, key_file: Path) -> None:
    venue = OpenDVenue(tmp_path / "secret", key_file)
    try:
        async with connected(venue.port, rsa_key_file=str(key_file)) as link:
            said = await link.ask(Protocol.PLACE_ORDER, ORDER, writes=True)
        async with connected(venue.port) as plain:
            failed = await failure(plain.ask(Protocol.GET_GLOBAL_STATE, {}))
    finally:
        venue.close()

    assert said.orderIDEx
    assert "broke off" in str(failed)


@pytest.mark.parametrize("text", [None, "", "no key", "2048"])
async def test_a_key_that_cannot_be_used_is_the_operators_to_correct(
    tmp_path: Path, key_file: Path, text: str | None
) -> None:
    del key_file
    path = tmp_path / "bad.pem"
    if text == "2048":
        path.write_bytes(RSA.generate(2048).export_key("PEM"))
    elif text is not None:
        path.write_text(text)
    async with connected(free_port(), rsa_key_file=str(path)) as link:
        with pytest.raises(ConfigError, match="the key for OpenD cannot be used"):
            await link.ask(Protocol.GET_GLOBAL_STATE, {})


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3, b"\x00" * 500])
async def test_a_server_that_is_no_opend_is_no_opend(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, connected(server.sockets[0].getsockname()[1]) as link:
        failed = await failure(link.ask(Protocol.GET_GLOBAL_STATE, {}))

    assert "does not answer at" in str(failed)


async def test_a_connection_is_kept_alive_by_a_clock_that_does_not_jump(
    opend: OpenDVenue, link: OpenD
) -> None:
    line = cast("Any", link)._line
    line.on_tick(0, 4e9)
    early = len(opend.asked(Protocol.KEEP_ALIVE))
    line._last_keep_alive_time -= 9
    line.on_tick(0, 0.0)
    await until_asked(opend, Protocol.KEEP_ALIVE)

    assert early == 0
    await link.ask(Protocol.GET_GLOBAL_STATE, {})
    assert len(opend.asked(Protocol.INIT_CONNECT)) == 1


async def test_an_opening_that_cost_time_is_not_tried_again_for_as_long(opend: OpenDVenue) -> None:
    opend.inject(WireFault(wire=Wire.SILENCE, protocol=Protocol.INIT_CONNECT, times=None))
    async with connected(opend.port, connect_timeout_seconds=2.5) as link:
        first = await failure(link.ask(Protocol.GET_GLOBAL_STATE, {}))
        opend.heal()
        again = await failure(link.ask(Protocol.PLACE_ORDER, ORDER, writes=True))

    assert str(again) == str(first)
    assert not again.may_have_arrived
    assert len(opend.asked(Protocol.INIT_CONNECT)) == 1


async def test_one_that_failed_at_once_is_tried_again_at_once(opend: OpenDVenue) -> None:
    opend.listen(listens=False)
    async with connected(opend.port) as link:
        await failure(link.ask(Protocol.GET_GLOBAL_STATE, {}))
        opend.listen(listens=True)

        assert await link.ask(Protocol.GET_GLOBAL_STATE, {})
