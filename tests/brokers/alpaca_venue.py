"""The conformance suite's harness for Alpaca: the adapter at the simulated broker, by the simulator's clock."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr

from brokers.alpaca import AlpacaBroker
from shared.alpaca_http import AlpacaKeys, RequestShare
from shared.config import AlpacaSettings
from tests.simulators.alpaca.venue import AlpacaVenue

CALL_SECONDS = 1.5
"""What a call of these tests may take: an answer of the simulator takes milliseconds."""


class SimulatorClock:
    """The clock of the simulated broker."""

    def __init__(self, venue: AlpacaVenue) -> None:
        self._venue: AlpacaVenue = venue

    def now(self) -> datetime:
        """Return where it stands."""
        return self._venue.now()

    async def sleep(self, seconds: float) -> None:
        """Wait for nobody: nothing in the adapter waits by it."""
        raise NotImplementedError


class ConnectedVenue(AlpacaVenue):
    """The simulator with the adapter connected to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.broker: AlpacaBroker = self.connect()

    def connect(self, **changed: object) -> AlpacaBroker:
        """Connect another adapter, with settings of its own."""
        settings = AlpacaSettings.model_validate(
            {
                "trading_url": self.trading_url,
                "data_url": self.data_url,
                "connect_timeout_seconds": 1,
                "read_timeout_seconds": CALL_SECONDS / 2,
                "call_timeout_seconds": CALL_SECONDS,
                **changed,
            }
        )
        keys = AlpacaKeys(api_key=SecretStr(self.key), secret_key=SecretStr(self.secret))
        return AlpacaBroker(settings, keys, RequestShare(100_000), SimulatorClock(self))


@asynccontextmanager
async def connected_venue(folder: Path) -> AsyncGenerator[ConnectedVenue]:
    """Start the simulator with an adapter, and end both."""
    venue = ConnectedVenue(folder)
    try:
        yield venue
    finally:
        await venue.broker.disconnect()
        venue.close()
