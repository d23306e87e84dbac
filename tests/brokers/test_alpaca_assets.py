"""How many symbols are asked for one by one, and when the whole list is read instead."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from brokers.alpaca_assets import ASKED_ONE_BY_ONE, KEPT, AlpacaAssets
from shared.clock import ManualClock
from tests.brokers.replay import at

SYMBOLS = [f"S{n}" for n in range(2 * ASKED_ONE_BY_ONE)]


def asset(symbol: str) -> dict[str, object]:
    return {
        "class": "us_equity",
        "exchange": "NYSE",
        "name": symbol.title(),
        "status": "active",
        "symbol": symbol,
        "tradable": True,
    }


class Host:
    """Alpaca as far as its assets go."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ask(self, path: str, query: Mapping[str, str] | None) -> object | None:
        self.asked.append(path)
        if query is not None:
            return [asset(symbol) for symbol in SYMBOLS]
        symbol = path.rpartition("/")[2]
        return asset(symbol) if symbol in {*SYMBOLS, "HALTED"} else None


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at(14))


@pytest.fixture
def assets(host: Host, clock: ManualClock) -> AlpacaAssets:
    return AlpacaAssets(host.ask, clock)


async def test_a_few_symbols_are_asked_for_each_time(assets: AlpacaAssets, host: Host) -> None:
    for _ in range(2):
        found = await assets.instruments(SYMBOLS[:3])
        assert [(one.symbol, one.tradable) for one in found.values()] == [
            (symbol, True) for symbol in SYMBOLS[:3]
        ]

    assert host.asked == [f"/assets/{symbol}" for symbol in (*SYMBOLS[:3], *SYMBOLS[:3])]


async def test_for_many_the_list_is_read_once(assets: AlpacaAssets, host: Host) -> None:
    first, again = await assets.instruments(SYMBOLS), await assets.instruments(SYMBOLS[:1])

    assert list(first) == SYMBOLS
    assert list(again) == SYMBOLS[:1]
    assert host.asked == ["/assets"]


async def test_what_is_not_in_the_list_is_asked_for_by_itself(
    assets: AlpacaAssets, host: Host
) -> None:
    found = await assets.instruments([*SYMBOLS, "HALTED", "NONE"])

    assert "HALTED" in found
    assert "NONE" not in found
    assert host.asked == ["/assets", "/assets/HALTED", "/assets/NONE"]


@pytest.mark.parametrize("apart", [KEPT + timedelta(seconds=1), timedelta(minutes=-1)])
async def test_the_list_is_forgotten_after_a_while_and_when_the_clock_jumps_back(
    assets: AlpacaAssets, host: Host, clock: ManualClock, apart: timedelta
) -> None:
    await assets.instruments(SYMBOLS)
    clock._now += apart
    await assets.instruments(SYMBOLS[:1])

    assert host.asked == ["/assets", f"/assets/{SYMBOLS[0]}"]
