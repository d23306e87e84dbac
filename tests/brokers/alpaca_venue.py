"""The conformance suite's harness for Alpaca: the adapter at the simulated broker, by the simulator's clock."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from brokers.alpaca import AlpacaBroker
from brokers.faults import Operation
from shared.alpaca_http import AlpacaKeys, RequestShare
from shared.config_brokers import AlpacaSettings
from tests.brokers.contract_venue import Breakage
from tests.simulators.alpaca.venue import AlpacaVenue
from tests.simulators.alpaca.wire import Wire, WireFault
from tests.simulators.venue import VenueClock

CALL_SECONDS = 1.5
"""What a call of these tests may take: an answer of the simulator takes milliseconds."""


PAGE_SIZE = 5
"""Small, so that every case of the suite that lists more than two brackets turns pages."""


class ConnectedVenue(AlpacaVenue):
    """The simulator with the adapter connected to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.limit_rate(None)
        self.broker: AlpacaBroker = self.connect()

    @property
    def many(self) -> int:
        """Three pages."""
        return 3 * PAGE_SIZE

    async def next_session(self) -> None:
        """Go to twenty hours later, which is the next day's session."""
        self.move_to(self.now() + timedelta(hours=24))

    @property
    def call_seconds(self) -> float:
        """The bound that the adapter was told."""
        return CALL_SECONDS

    @property
    def secrets(self) -> tuple[str, ...]:
        """The two keys."""
        return self.key, self.secret

    def breaks(self, operation: Operation, how: Breakage, *, carried_out: bool) -> bool:
        """Let the next such answer go wrong on the wire."""
        method, path = _REQUESTS[operation]
        if how is Breakage.NULL_FIELDS:
            fault = WireFault(wire=Wire.CHANGE, fields=dict.fromkeys(_NEEDED[operation]))
        else:
            fault = _WIRE_FAULTS[how]
        if fault.needs_the_true_answer and not (carried_out or method == "GET"):
            fault = _BROKEN_BEFORE
        executes = carried_out and fault.wire is not Wire.CHANGE
        self.inject(replace(fault, method=method, path=path, executes=executes))
        return True

    def refuses_connections(self, *, refuses: bool) -> bool:
        """Close the broker's port, or open it again."""
        self.listen(listens=not refuses)
        return True

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
        clock = VenueClock(self)
        return AlpacaBroker(settings, keys, RequestShare(100_000), clock, page_size=PAGE_SIZE)


_REQUESTS = {
    Operation.ACCOUNT: ("GET", "/v2/account"),
    Operation.POSITIONS: ("GET", "/v2/positions"),
    Operation.ORDERS: ("GET", "/v2/orders"),
    Operation.ORDER_BY_CLIENT_ID: ("GET", "/v2/orders:by_client_order_id"),
    Operation.INSTRUMENT: ("GET", "/v2/assets/*"),
    Operation.MARKET_CLOCK: ("GET", "/v2/clock"),
    Operation.PLACE: ("POST", "/v2/orders"),
    Operation.REPLACE: ("PATCH", "/v2/orders/*"),
    Operation.CANCEL: ("DELETE", "/v2/orders/*"),
}
_NEEDED = {
    Operation.ACCOUNT: ("cash",),
    Operation.POSITIONS: ("qty",),
    Operation.ORDERS: ("symbol",),
    Operation.ORDER_BY_CLIENT_ID: ("side",),
    Operation.INSTRUMENT: ("tradable",),
    Operation.MARKET_CLOCK: ("is_open",),
    Operation.PLACE: ("id",),
    Operation.REPLACE: ("status",),
    Operation.CANCEL: ("id",),
}
_BROKEN_BEFORE = WireFault(wire=Wire.GARBAGE)
"""In the place of an answer that only what was carried out can have."""
_HTML = "<html><body>502 Bad Gateway</body></html>"
_WIRE_FAULTS = {
    Breakage.HUNG_UP: WireFault(wire=Wire.DROP),
    Breakage.RESET: WireFault(wire=Wire.RESET),
    Breakage.RESET_IN_BODY: WireFault(wire=Wire.RESET_IN_BODY),
    Breakage.SILENT: WireFault(wire=Wire.SILENCE),
    Breakage.SLOW_HEADER: WireFault(wire=Wire.SLOW_HEADER, seconds=0.1),
    Breakage.SLOW_BODY: WireFault(wire=Wire.SLOW_BODY, seconds=0.1),
    Breakage.HTML: WireFault(wire=Wire.GARBAGE, body=_HTML, content_type="text/html"),
    Breakage.GARBAGE: WireFault(wire=Wire.GARBAGE, body="[[[{"),
    Breakage.UNKNOWN_WORD: WireFault(wire=Wire.CHANGE, fields={"status": "transmogrified"}),
} | {how: WireFault(wire=Wire.ANSWER, status=int(how)) for how in Breakage if how.is_status}


@asynccontextmanager
async def connected_venue(folder: Path) -> AsyncGenerator[ConnectedVenue]:
    """Start the simulator with an adapter, and end both."""
    venue = ConnectedVenue(folder)
    try:
        yield venue
    finally:
        await venue.broker.disconnect()
        venue.close()
