import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.network import NetworkRefused

PROJECT = Path(__file__).resolve().parent.parent
ELSEWHERE = ("192.0.2.1", 9)  # TEST-NET-1 (RFC 5737): nobody is there


def tcp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def test_a_connection_elsewhere_is_refused() -> None:
    with tcp() as client, pytest.raises(NetworkRefused, match=r"192\.0\.2\.1"):
        client.connect(ELSEWHERE)


def test_a_connection_that_reports_an_error_number_is_refused_too() -> None:
    with tcp() as client, pytest.raises(NetworkRefused):
        client.connect_ex(ELSEWHERE)


def test_a_datagram_elsewhere_is_refused_however_it_is_sent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        with pytest.raises(NetworkRefused):
            sender.sendto(b"x", ELSEWHERE)
        with pytest.raises(NetworkRefused):
            sender.sendto(b"x", 0, ELSEWHERE)
        with pytest.raises(NetworkRefused):
            sender.sendmsg([b"x"], [], 0, ELSEWHERE)


def test_an_ipv4_address_written_as_ipv6_is_refused() -> None:
    with socket.socket(socket.AF_INET6) as client, pytest.raises(NetworkRefused):
        client.connect(("::ffff:192.0.2.1", 9))


def test_a_foreign_name_is_not_looked_up() -> None:
    with pytest.raises(NetworkRefused, match=r"example\.com"):
        socket.gethostbyname("example.com")
    with pytest.raises(NetworkRefused, match=r"example\.com"):
        socket.getaddrinfo("example.com", 80)


async def test_asyncio_is_refused_by_address_and_by_name() -> None:
    with pytest.raises(NetworkRefused):
        await asyncio.open_connection(*ELSEWHERE)
    with pytest.raises(NetworkRefused):
        await asyncio.open_connection("example.com", 443)


async def test_asyncio_is_refused_on_a_socket_of_its_own() -> None:
    with tcp() as client:
        client.setblocking(False)
        with pytest.raises(NetworkRefused):
            await asyncio.get_running_loop().sock_connect(client, ELSEWHERE)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_is_reached(host: str) -> None:
    async def hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(host, port, family=socket.AF_INET)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert answer == b"hello"


def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen()
        client.connect(str(path))

        assert client.getpeername() == str(path)


def test_the_session_of_a_test_that_leaves_the_machine_is_red(tmp_path: Path) -> None:
    test = tmp_path / "test_leaving.py"
    test.write_text(
        "import os, socket\n"
        "def test_leaving():\n"
        "    with socket.socket() as client:\n"
        "        client.connect(('192.0.2.1', 9))\n"
        "def test_no_key():\n"
        "    assert 'ANTHROPIC_API_KEY' not in os.environ and 'PGHOST' not in os.environ\n"
        "    assert os.environ['CATALYST_MARKET_DATA'] == '/data'\n"
    )
    secret = {"ANTHROPIC_API_KEY": "x", "PGHOST": "db.example.com", "CATALYST_MARKET_DATA": "/data"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.fixtures.network", str(test)]
    ended = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-c", os.devnull],
        cwd=PROJECT,
        env=os.environ | secret,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "NetworkRefused: a test tried to reach ('192.0.2.1', 9)" in ended.stdout
    assert "1 failed, 1 passed" in ended.stdout
