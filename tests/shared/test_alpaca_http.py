"""What is below alpaca-py's client, against servers on loopback that do not behave."""

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any, cast

import psutil
import pytest
import trustme
from pydantic import SecretStr

from shared.alpaca_http import AlpacaHttp, AlpacaKeys, CallFailed, Refused, RequestShare
from shared.alpaca_sockets import Call, Cut
from shared.config_brokers import AlpacaSettings
from tests.fixtures.wire import (
    Answer,
    Wire,
    drips_body,
    drips_head,
    hangs_up,
    head,
    is_silent,
    resets,
    says,
    wire,
)

KEYS = AlpacaKeys(api_key=SecretStr("PK-the-key"), secret_key=SecretStr("the-secret"))
IMPATIENT = AlpacaSettings(
    connect_timeout_seconds=2,
    read_timeout_seconds=0.2,
    call_timeout_seconds=0.4,
    share_timeout_seconds=0.4,
)


@asynccontextmanager
async def connected(
    to: str, settings: AlpacaSettings = IMPATIENT, share: int = 200
) -> AsyncGenerator[AlpacaHttp]:
    http = AlpacaHttp(settings, KEYS, to, RequestShare(share))
    try:
        yield http
    finally:
        await http.close()


@pytest.fixture
async def server() -> AsyncIterator[Wire]:
    async with wire() as found:
        yield found


@pytest.fixture
async def http(server: Wire) -> AsyncIterator[AlpacaHttp]:
    async with connected(server.url) as found:
        yield found


async def failure(call: Awaitable[object]) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await call
    said = str(caught.value)
    assert "PK-the-key" not in said
    assert "the-secret" not in said
    assert "\n" not in said
    return caught.value


async def test_a_request_has_the_keys_the_version_and_what_is_asked(
    server: Wire, http: AlpacaHttp
) -> None:
    server.otherwise = says({})
    await http.get("/stocks/bars", {"symbols": "A,B"})
    await http.get("/news", version="v1beta1")
    await http.post("/orders", {"qty": "3", "limit_price": "27.07"})
    await http.patch("/orders/1", {"qty": "4"})

    bars, news, order, change = server.asked
    assert (bars.method, bars.target) == ("GET", "/v2/stocks/bars?symbols=A%2CB")
    assert news.target == "/v1beta1/news"
    assert (order.method, order.json) == ("POST", {"qty": "3", "limit_price": "27.07"})
    assert (change.method, change.target) == ("PATCH", "/v2/orders/1")
    assert bars.headers["APCA-API-KEY-ID"] == "PK-the-key"
    assert bars.headers["APCA-API-SECRET-KEY"] == "the-secret"
    assert bars.headers["User-Agent"].startswith("APCA-PY/0.44.0")


async def test_numbers_keep_their_digits_and_text_its_letters(
    server: Wire, http: AlpacaHttp
) -> None:
    server.script = [says('{"p": 27.069999694824219, "n": 3, "t": "Zürich", "e": 1.10}')]

    said = await http.get("/x")

    assert said == {"p": Decimal("27.069999694824219"), "n": 3, "t": "Zürich", "e": Decimal("1.10")}


async def test_an_empty_answer_to_a_delete_is_none(server: Wire, http: AlpacaHttp) -> None:
    server.script = [says("", 204)]

    assert await http.delete("/orders/1") is None


async def test_reads_share_a_connection_and_a_write_has_one_of_its_own(
    server: Wire, http: AlpacaHttp
) -> None:
    server.otherwise = says({})
    for _ in range(3):
        await http.get("/account")
    reads = server.connections
    await http.post("/orders", {})
    await http.delete("/orders/1")

    assert (reads, server.connections) == (1, 3)


SENT = [
    ("silence", is_silent, "was silent for too long"),
    ("head", drips_head, "gave no whole answer within 0.4 s"),
    ("body", drips_body, "gave no whole answer within 0.4 s"),
    ("reset", resets, "broke off its answer"),
    ("hang up", hangs_up, "broke off its answer"),
    ("html", says("<html>busy</html>"), "something that is no JSON"),
    ("half", says('{"id": "1"'), "something that is no JSON"),
    ("NaN", says('{"price": NaN}'), "something that is no JSON"),
    ("deep", says("[" * 100_000), "something that is no JSON"),
    ("bytes", says("\x00\x01"), "something that is no JSON"),
    ("redirect", says("", 302, Location="http://127.0.0.1:1/"), "answered 302, which is neither"),
    ("no http", None, "broke off its answer"),
]


async def says_no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
@pytest.mark.parametrize(("name", "answer", "words"), SENT, ids=[name for name, *_ in SENT])
async def test_an_answer_that_is_none_is_unclear_bounded_and_asked_for_once(
    server: Wire, http: AlpacaHttp, method: str, name: str, answer: Answer | None, words: str
) -> None:
    del name
    server.script = [answer or says_no_http]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: http.get("/account"),
        "post": lambda: http.post("/orders", {"qty": "1"}),
        "patch": lambda: http.patch("/orders/1", {"qty": "1"}),
        "delete": lambda: http.delete("/orders/1"),
    }
    began = monotonic()

    failed = await failure(calls[method]())

    assert words in str(failed)
    assert failed.may_have_arrived
    assert monotonic() - began < 1.5
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504])
async def test_an_error_is_said_with_its_parts_and_asked_for_once(
    server: Wire, http: AlpacaHttp, status: int
) -> None:
    body = {"code": 40310000, "message": "insufficient qty", "available": "0"}
    server.script = [says(body, status, Retry_After="7"), says("<html></html>", status)]

    coded = await failure(http.post("/orders", {}))
    page = await failure(http.post("/orders", {}))

    assert isinstance(coded, Refused)
    assert (coded.status, coded.code, coded.message) == (status, 40310000, "insufficient qty")
    assert coded.details == {"available": "0"}
    assert coded.retry_after_seconds == 7
    assert str(coded) == f"Alpaca answered {status}, 40310000: insufficient qty"
    assert isinstance(page, Refused)
    assert (page.code, page.message, page.retry_after_seconds) == (None, None, None)
    assert len(server.asked) == 2


@pytest.mark.parametrize("given", ["soon", "-1", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 50])
async def test_a_time_to_wait_that_makes_no_sense_is_none(
    server: Wire, http: AlpacaHttp, given: str
) -> None:
    server.script = [says({}, 429, Retry_After=given), says({}, 429, Retry_After="86400")]

    assert (await failure(http.get("/x"))).retry_after_seconds is None
    assert (await failure(http.get("/x"))).retry_after_seconds == 60


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


async def test_a_write_that_no_server_takes_provably_never_left() -> None:
    async with connected(f"http://127.0.0.1:{free_port()}") as http:
        failed = await failure(http.post("/orders", {}))

    assert not failed.may_have_arrived
    assert "cannot be reached: Connection refused" in str(failed)


async def test_a_write_that_is_given_up_while_it_connects_never_leaves() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [_connecting(address) for _ in range(3)]  # nobody accepts: the queue is full
        async with connected(f"http://127.0.0.1:{address[1]}") as http:
            failed = await failure(http.post("/orders", {"qty": "1"}))
            for one in waiting:
                one.close()
            full.settimeout(0.5)
            received = await asyncio.to_thread(_everything, full)

    assert "gave no whole answer within" in str(failed)
    assert not failed.may_have_arrived
    assert received == b""


def _connecting(address: tuple[str, int]) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(address)
    return one


def _everything(listening: socket.socket) -> bytes:
    """Accept whoever still comes, and read what they send."""
    found = b""
    try:
        while True:
            connection, _ = listening.accept()
            connection.settimeout(0.3)
            with connection:
                found += connection.recv(1000)
    except TimeoutError:
        return found


def test_a_call_that_was_cut_lets_nothing_leave() -> None:
    call = Call(writes=True)
    with socket.socket() as unused:
        assert call.cut() is False
        with pytest.raises(Cut):
            call.leave_by(unused)

    assert not call.has_left


async def test_closing_cuts_what_is_under_way_and_leaves_no_thread_and_no_socket(
    server: Wire,
) -> None:
    server.otherwise = is_silent
    patient = AlpacaSettings(read_timeout_seconds=20, call_timeout_seconds=20)
    threads, sockets = set(threading.enumerate()), _sockets_to(server)
    http = AlpacaHttp(patient, KEYS, server.url, RequestShare(200))
    calls = [asyncio.ensure_future(failure(http.post("/orders", {}))) for _ in range(6)]
    await server.until_asked(4)
    began = monotonic()

    await http.close()
    await http.close()
    failures = await asyncio.gather(*calls)
    await server.until_quiet()

    assert monotonic() - began < 1
    assert sorted(one.may_have_arrived for one in failures) == [False] * 2 + [True] * 4
    assert set(threading.enumerate()) == threads
    assert _sockets_to(server) == sockets == 0
    assert "is closed" in str(await failure(http.get("/account")))
    assert len(server.asked) == 4


async def test_closing_closes_a_connection_that_waits_for_its_next_use(server: Wire) -> None:
    server.otherwise = says({})
    async with connected(server.url) as http:
        await http.get("/account")
        waiting = _sockets_to(server)
    await server.until_quiet()

    assert (waiting, _sockets_to(server)) == (1, 0)


def _sockets_to(server: Wire) -> int:
    port = int(server.url.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp4")
    return sum(1 for one in found if one.raddr and one.raddr.port == port)


async def test_a_caller_that_goes_away_takes_the_call_along(server: Wire, http: AlpacaHttp) -> None:
    server.script = [is_silent]
    call = asyncio.ensure_future(http.post("/orders", {}))
    await server.until_asked(1)

    call.cancel()
    await server.until_quiet()

    assert call.cancelled()


async def test_a_server_that_hangs_does_not_hold_up_the_others(
    server: Wire, http: AlpacaHttp
) -> None:
    server.script = [is_silent, says({"fine": True})]

    hung, fine = await asyncio.gather(failure(http.get("/slow")), http.get("/fast"))

    assert fine == {"fine": True}
    assert hung.may_have_arrived


async def test_an_answer_without_an_end_is_not_kept_in_memory(server: Wire) -> None:
    async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, 10**12))
        while not writer.transport.is_closing():
            writer.write(b" " * 1_000_000)
            await writer.drain()

    server.script = [floods]
    async with connected(server.url, AlpacaSettings()) as http:
        failed = await failure(http.get("/x"))

    assert "answered with more than 32000000 bytes" in str(failed)


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: Wire, http: AlpacaHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    server.script = [says({"reached": True})]

    assert await http.get("/x") == {"reached": True}


async def test_a_key_that_no_header_takes_is_not_shown(server: Wire) -> None:
    keys = AlpacaKeys(api_key=SecretStr("PK-the-key\n"), secret_key=SecretStr("the-secret"))
    http = AlpacaHttp(IMPATIENT, keys, server.url, RequestShare(9))

    failed = await failure(http.get("/account"))
    await http.close()

    assert not failed.may_have_arrived
    assert failed.__suppress_context__


async def test_the_same_holds_over_an_encrypted_connection(
    authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as path:
        context.load_cert_chain(path)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with wire(tls=context) as server, connected(server.url) as http:
        untrusted = await failure(http.post("/orders", {}))
        cast("Any", http._client)._session.verify = str(tmp_path / "ca.pem")
        server.script = [says({"fine": True}), drips_body, drips_head, is_silent]
        fine = await http.post("/orders", {})
        failed = [await failure(http.post("/orders", {})) for _ in range(3)]
        await server.until_quiet()

    assert not untrusted.may_have_arrived
    assert fine == {"fine": True}
    assert all(one.may_have_arrived for one in failed)
    assert len(server.asked) == 4


def test_the_share_of_a_process_holds_in_any_minute_and_keeps_some_for_writes() -> None:
    share = RequestShare(20)
    for second in range(18):
        assert share.seconds_to_wait(second, writes=False) == 0
        share.note(second)

    assert share.seconds_to_wait(20, writes=False) == 40
    assert share.seconds_to_wait(20, writes=True) == 0
    share.note(20)
    share.note(20)
    assert share.seconds_to_wait(20, writes=True) == 40
    assert share.seconds_to_wait(59.5, writes=False) == pytest.approx(2.5)
    assert share.seconds_to_wait(60, writes=True) == 0


async def test_a_request_beyond_the_share_is_not_sent_and_says_when_it_may_be(
    server: Wire,
) -> None:
    server.otherwise = says({})
    async with connected(server.url, share=2) as http:
        await http.get("/x")
        failed = await failure(http.get("/x"))
        await http.post("/orders", {})

    assert "has used up its share" in str(failed)
    assert not failed.may_have_arrived
    assert failed.retry_after_seconds == pytest.approx(60, abs=1)
    assert [one.method for one in server.asked] == ["GET", "POST"]


async def test_a_read_waits_for_its_turn_longer_than_a_call_may_take_and_a_write_does_not(
    server: Wire,
) -> None:
    server.otherwise = says({})
    settings = IMPATIENT.model_copy(update={"share_timeout_seconds": 5})
    share = RequestShare(2)
    for _ in range(2):
        share.note(monotonic() - 59)
    http = AlpacaHttp(settings, KEYS, server.url, share)
    try:
        failed = await failure(http.post("/orders", {}))
        await http.get("/x")
    finally:
        await http.close()

    assert "has used up its share" in str(failed)
    assert [one.method for one in server.asked] == ["GET"]


def test_nothing_of_alpaca_is_imported_before_the_first_call() -> None:
    program = (
        "import sys, shared.alpaca_http;"
        "sys.exit(bool({'alpaca', 'requests', 'urllib3', 'pandas'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
