"""A test's side of the simulated OpenD."""

from pathlib import Path
from typing import Any

from tests.simulators.opend.market import LOTS, SYMBOL
from tests.simulators.opend.wire import Protocol
from tests.simulators.venue import SimulatedVenue


class OpenDVenue(SimulatedVenue):
    """`tests.brokers.contract.Venue` but for the broker, which is made from host and port here."""

    symbol: str = SYMBOL
    lot_size: int = LOTS[SYMBOL]
    currency: str = "HKD"
    host: str = "127.0.0.1"

    def __init__(self, folder: Path, key_file: Path | None = None) -> None:
        """Start a simulator that keeps its account in `folder`; with a key it speaks encrypted alone."""
        arguments = () if key_file is None else ("--key-file", str(key_file))
        super().__init__("tests.simulators.opend", folder, *arguments)

    def log_in(self, *, logged_in: bool) -> None:
        """Let OpenD lose its login, or have it again."""
        self.ask("log_in", logged_in=logged_in)

    def show_status(self, order_id: str, status: int | None) -> None:
        """Show an order, by OpenD's id, in another status than it has; None for the true one."""
        self.ask("show_status", order_id=order_id, status=status)

    def tell_of_orders(self, *, pushes: bool) -> None:
        """Let changes of orders be pushed, or be lost."""
        self.ask("tell_of_orders", pushes=pushes)

    def limit_rate(self, *, enforced: bool) -> None:
        """Enforce the vendor's limits by the simulator's clock, or none."""
        self.ask("limit_rate", enforced=enforced)

    def asked(self, protocol: Protocol) -> list[dict[str, Any]]:
        """What was asked by one protocol, oldest first."""
        return [request["c2s"] for request in self.requests() if request["protocol"] == protocol]
