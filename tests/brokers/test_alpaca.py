"""The Alpaca adapter passes the suite of every broker, through alpaca-py, over HTTP, at a simulated Alpaca."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.brokers.alpaca_venue import connected_venue
from tests.brokers.contract import BrokerContract, Venue


class TestAlpacaBroker(BrokerContract):
    @pytest.fixture
    async def venue(self, tmp_path: Path) -> AsyncIterator[Venue]:
        async with connected_venue(tmp_path / "alpaca") as venue:
            yield venue
