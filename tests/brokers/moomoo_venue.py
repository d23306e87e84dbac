"""The conformance suite's harness for moomoo: the adapter at the simulated OpenD, by the simulator's clock."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from brokers.faults import Operation
from brokers.moomoo import MoomooBroker
from shared import opend_client
from shared.config_brokers import MoomooSettings
from shared.models import Instrument
from shared.opend import OpenD
from shared.opend_limits import OpenDShare
from tests.brokers.contract_venue import Breakage
from tests.simulators.opend.venue import OpenDVenue
from tests.simulators.opend.wire import Protocol, Wire, WireFault
from tests.simulators.venue import VenueClock

CALL_SECONDS = 1.0
"""What a call of these tests may take: an answer of the simulator takes milliseconds."""

UNLIMITED = 1_000_000
"""Per cent of OpenD's limits, which the simulator does not enforce here."""

assert opend_client


class ConnectedVenue(OpenDVenue):
    """The simulator with the adapter connected to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.limit_rate(enforced=False)
        self.receive(1_000_000)  # a hundred lots cost all that a new account has
        self.opend: OpenD
        self.broker: MoomooBroker = self.connect()

    @property
    def many(self) -> int:
        """Some: OpenD's lists have no pages."""
        return 12

    async def next_session(self) -> None:
        """Go to twenty-four hours later, which is within the next day's session."""
        self.move_to(self.now() + timedelta(hours=24))

    @property
    def call_seconds(self) -> float:
        """The bound that the adapter was told."""
        return CALL_SECONDS

    @property
    def secrets(self) -> tuple[str, ...]:
        """OpenD keeps them all: the adapter never has one."""
        return ()

    def breaks(self, operation: Operation, how: Breakage, *, carried_out: bool) -> bool:
        """Let the next such answer go wrong on the wire."""
        protocol = _PROTOCOLS[operation]
        if operation is Operation.INSTRUMENT:
            self.broker._stocks._stocks.clear()  # what a process has learned it does not ask again
        if how is Breakage.NULL_FIELDS or (how is Breakage.UNKNOWN_WORD and operation.writes):
            fault = WireFault(wire=Wire.CHANGE, fields=dict.fromkeys(_NEEDED[operation]))
        else:
            fault = _WIRE_FAULTS[how]
        if fault.needs_the_true_answer and operation.writes and not carried_out:
            fault = _BROKEN_BEFORE
        executes = carried_out and fault.wire is not Wire.CHANGE
        self.inject(replace(fault, protocol=protocol, executes=executes))
        return True

    def refuses_connections(self, *, refuses: bool) -> bool:
        """Close OpenD's port, or open it again."""
        self.listen(listens=not refuses)
        return True

    async def instrument(self, symbol: str) -> Instrument | None:
        """Describe one symbol."""
        return (await self.broker.instruments([symbol])).get(symbol)

    def connect(self, *, share_pct: int = UNLIMITED, **changed: object) -> MoomooBroker:
        """Connect another adapter, with settings of its own."""
        words = {
            "port": self.port,
            "connect_timeout_seconds": CALL_SECONDS,
            "call_timeout_seconds": CALL_SECONDS,
            "share_timeout_seconds": 0,
            **changed,
        }
        settings = MoomooSettings.model_validate(words)
        self.opend = OpenD(settings, OpenDShare(share_pct))
        return MoomooBroker(self.opend, settings, VenueClock(self))


_PROTOCOLS = {
    Operation.ACCOUNT: Protocol.GET_FUNDS,
    Operation.POSITIONS: Protocol.GET_POSITION_LIST,
    Operation.ORDERS: Protocol.GET_ORDER_LIST,
    Operation.ORDER_BY_CLIENT_ID: Protocol.GET_HISTORY_ORDER_LIST,
    Operation.INSTRUMENT: Protocol.GET_STATIC_INFO,
    Operation.MARKET_CLOCK: Protocol.GET_GLOBAL_STATE,
    Operation.PLACE: Protocol.PLACE_ORDER,
    Operation.CANCEL: Protocol.MODIFY_ORDER,
}
_NEEDED = {
    Operation.ACCOUNT: ("cash",),
    Operation.POSITIONS: ("dilutedCostPrice", "costPrice"),
    Operation.ORDERS: ("fillQty",),
    Operation.ORDER_BY_CLIENT_ID: ("orderIDEx",),
    Operation.INSTRUMENT: ("lotSize",),
    Operation.MARKET_CLOCK: ("marketHK",),
    Operation.PLACE: ("orderID", "orderIDEx"),
    Operation.CANCEL: ("orderID",),
}
_BROKEN_BEFORE = WireFault(wire=Wire.CORRUPT)
"""In the place of an answer that only what was carried out can have."""
_UNCLEAR = {Breakage.HTTP_500: -400, Breakage.HTTP_502: -200, Breakage.HTTP_503: -500}
_WIRE_FAULTS = {
    Breakage.HUNG_UP: WireFault(wire=Wire.DROP),
    Breakage.RESET: WireFault(wire=Wire.RESET),
    Breakage.RESET_IN_BODY: WireFault(wire=Wire.CUT),
    Breakage.SILENT: WireFault(wire=Wire.SILENCE),
    Breakage.SLOW_HEADER: WireFault(wire=Wire.SLOW, seconds=0.1),
    Breakage.SLOW_BODY: WireFault(wire=Wire.SLOW, seconds=0.05),
    Breakage.HTML: WireFault(wire=Wire.BAD_CHECKSUM),
    Breakage.GARBAGE: WireFault(wire=Wire.CORRUPT),
    Breakage.UNKNOWN_WORD: WireFault(wire=Wire.CHANGE, fields={"orderStatus": 99}),
    Breakage.HTTP_429: WireFault(
        wire=Wire.REFUSE, reason="This request is too frequent, please try again later."
    ),
} | {
    how: WireFault(
        wire=Wire.REFUSE,
        ret_type=_UNCLEAR.get(how, -100) if how.value.startswith("5") else -1,
        reason=f"like {how}",
    )
    for how in Breakage
    if how.is_status and how is not Breakage.HTTP_429
}


@asynccontextmanager
async def connected_venue(folder: Path) -> AsyncGenerator[ConnectedVenue]:
    """Start the simulator with an adapter, and end both."""
    venue = ConnectedVenue(folder)
    try:
        yield venue
    finally:
        await venue.broker.disconnect()
        venue.close()
