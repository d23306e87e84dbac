"""What is behind the simulated OpenD: the account at the exchange, who is logged in, and what clients were told."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.simulators.broker import SimulatedBroker
from tests.simulators.opend.accounts import HK, PAPER, SIMULATE
from tests.simulators.opend.book import ShownOrder, shown
from tests.simulators.opend.limits import RateLimits
from tests.simulators.opend.market import START, HongKong, a_monday
from tests.simulators.opend.messages import response, trading
from tests.simulators.opend.wire import Protocol, Request, WireFault
from tests.simulators.scripted import Script

STARTING_CASH = Decimal(1_000_000)
Push = Callable[[Any], None]


class Simulation(SimulatedBroker[HongKong]):
    """A moomoo user with a paper account for Hong Kong's stocks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / "opend.sqlite", a_monday(), START, currency="HKD", cash=STARTING_CASH
        )
        self.logged_in: bool = True
        self.limits: RateLimits = RateLimits()
        self.wire_faults: Script[Request, WireFault] = Script()
        self.answers: dict[tuple[int, bytes], Any] = {}
        """What questions got the last time they went well."""
        self.statuses: dict[str, int] = {}
        """Orders whose status is shown as another than it is."""
        self.packets: set[tuple[int, int]] = set()
        """Writes that came, by connection and number."""
        self.subscribed: set[tuple[int, str]] = set()
        """Stocks whose quotes a connection has subscribed to."""
        self.pushes: bool = True
        """Whether changes of orders are told."""
        self.push: Push = lambda message: None
        """Tells every connection that asked for it."""
        self._told: dict[str, bytes] = {}

    def advance(self) -> None:
        """Let the exchange come up to the clock, and tell what became of the orders."""
        super().advance()
        for order in self.book():
            message = self.order_message(order)
            text = message.SerializeToString(deterministic=True)
            if self._told.get(order.order_id) == text:
                continue
            self._told[order.order_id] = text
            if self.pushes:
                update = response(Protocol.UPDATE_ORDER)
                update.s2c.header.CopyFrom(paper_header())
                update.s2c.order.CopyFrom(message)
                self.push(update)

    def book(self) -> list[ShownOrder]:
        """Return every order, oldest first."""
        return shown(self.exchange._store.orders(None))

    def order_message(self, order: ShownOrder) -> Any:
        """Return an order as it is shown now."""
        status = self.statuses.get(order.order_id)
        return order.message(self.market, self.clock.now(), status)


def paper_header() -> Any:
    """Return the header of what concerns the paper account."""
    return trading.TrdHeader(trdEnv=SIMULATE, accID=PAPER.account_id, trdMarket=HK)
