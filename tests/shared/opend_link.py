"""A connection to the simulated OpenD with short deadlines, and how a call fails on it."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, closing

import pytest

from shared.config_brokers import MoomooSettings
from shared.opend import CallFailed, OpenD
from shared.opend_limits import OpenDShare
from tests.simulators.opend.accounts import PAPER
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol

CONNECT_SECONDS, CALL_SECONDS = 0.5, 1.5
AT_ONCE_SECONDS = 3.0
HEADER = {"trdEnv": 0, "accID": PAPER.account_id, "trdMarket": 1}
FUNDS: dict[str, object] = {"header": HEADER, "refreshCache": True}
ORDER: dict[str, object] = {
    "header": HEADER,
    "trdSide": 1,
    "orderType": 1,
    "code": "00700",
    "qty": 100.0,
    "price": 99.0,
    "remark": "one",
}


def settings(port: int, **others: object) -> MoomooSettings:
    words = {
        "port": port,
        "connect_timeout_seconds": CONNECT_SECONDS,
        "call_timeout_seconds": CALL_SECONDS,
        "share_timeout_seconds": 0,
        **others,
    }
    return MoomooSettings.model_validate(words)


@asynccontextmanager
async def connected(port: int, pct: int = 100, **others: object) -> AsyncGenerator[OpenD]:
    made = OpenD(settings(port, **others), OpenDShare(pct))
    try:
        yield made
    finally:
        await made.close()


async def failure(call: Awaitable[object]) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await call
    assert "\n" not in str(caught.value)
    return caught.value


def free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


async def until_asked(opend: OpenDVenue, protocol: Protocol) -> None:
    async with asyncio.timeout(10):
        while not opend.asked(protocol):  # noqa: ASYNC110 (OpenD is another process)
            await asyncio.sleep(0.01)
