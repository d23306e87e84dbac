"""What a test says to the simulated OpenD beside what every simulator understands."""

from collections.abc import Mapping
from typing import Any

from tests.simulators import control
from tests.simulators.control import Json
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Wire, WireFault


def inject_wire(simulation: Simulation, said: Json) -> Any:
    """Add a fault of the wire."""
    words: Json = {"wire": Wire(said["wire"])}
    simulation.wire_faults.add(WireFault(**(said | words)))


def heal(simulation: Simulation, said: Json) -> Any:
    """Take every fault of the wire away."""
    del said
    simulation.wire_faults.clear()


def log_in(simulation: Simulation, said: Json) -> Any:
    """Let OpenD lose its login, or have it again."""
    simulation.logged_in = said["logged_in"]


def show_status(simulation: Simulation, said: Json) -> Any:
    """Show an order in another status than it has; None for the true one."""
    if said["status"] is None:
        simulation.statuses.pop(said["order_id"], None)
    else:
        simulation.statuses[said["order_id"]] = said["status"]
    simulation.advance()


def tell_of_orders(simulation: Simulation, said: Json) -> Any:
    """Let changes of orders be pushed, or be lost."""
    simulation.pushes = said["pushes"]


def limit_rate(simulation: Simulation, said: Json) -> Any:
    """Enforce the vendor's limits, or none."""
    simulation.limits.enforced = said["enforced"]


CONTROLS: Mapping[str, control.Control[Any]] = control.by_name(
    (inject_wire, heal, log_in, show_status, tell_of_orders, limit_rate)
)
