"""The market data API."""

from tests.simulators.alpaca.trading import Endpoint

ENDPOINTS: dict[str, Endpoint] = {}
