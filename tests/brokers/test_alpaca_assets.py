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
    for symbol in (*SYMBOLS[:3], *SYMBOLS[:3]):
        found = await assets.instrument(symbol)
        assert found is not None
        assert (found.symbol, found.tradable) == (symbol, True)

    assert host.asked == [f"/assets/{symbol}" for symbol in (*SYMBOLS[:3], *SYMBOLS[:3])]


async def test_for_many_the_list_is_read_once(assets: AlpacaAssets, host: Host) -> None:
    found = [await assets.instrument(symbol) for symbol in SYMBOLS * 2]

    assert [one.symbol for one in found if one is not None] == SYMBOLS * 2
    assert host.asked.count("/assets") == 1
    assert len(host.asked) == ASKED_ONE_BY_ONE + 1


async def test_what_is_not_in_the_list_is_asked_for_by_itself(
    assets: AlpacaAssets, host: Host
) -> None:
    for symbol in SYMBOLS:
        await assets.instrument(symbol)
    there, unknown = await assets.instrument("HALTED"), await assets.instrument("NONE")

    assert there is not None
    assert unknown is None
    assert host.asked[-2:] == ["/assets/HALTED", "/assets/NONE"]


@pytest.mark.parametrize("apart", [KEPT + timedelta(seconds=1), timedelta(minutes=-1)])
async def test_the_list_is_forgotten_after_a_while_and_when_the_clock_jumps_back(
    assets: AlpacaAssets, host: Host, clock: ManualClock, apart: timedelta
) -> None:
    for symbol in SYMBOLS:
        await assets.instrument(symbol)
    clock._now += apart
    await assets.instrument(SYMBOLS[0])

    assert host.asked[-1] == f"/assets/{SYMBOLS[0]}"
