"""What a test says to the simulated Alpaca beside what every simulator understands."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.simulators import control
from tests.simulators.alpaca.market import Story
from tests.simulators.alpaca.simulation import Simulation
from tests.simulators.alpaca.wire import Json, Wire, WireFault


def tell(simulation: Simulation, said: Json) -> Any:
    """Publish news, now."""
    story = Story(
        story_id=simulation.market.next_story_id(),
        at=simulation.clock.now(),
        headline=said["headline"],
        symbols=tuple(said["symbols"]),
        summary=said.get("summary", ""),
    )
    simulation.market.tell(story)


def inject_wire(simulation: Simulation, said: Json) -> Any:
    """Add a fault of the wire."""
    words: Json = {"wire": Wire(said["wire"])}
    simulation.wire_faults.add(WireFault(**(said | words)))


def heal(simulation: Simulation, said: Json) -> Any:
    """Take every fault of the wire away."""
    del said
    simulation.wire_faults.clear()


def drop(simulation: Simulation, said: Json) -> Any:
    """Cancel an order and forget that it ever was; its client order id stays taken."""
    with simulation.writing():
        simulation.exchange.cancel(said["order_id"])
    simulation.dropped.add(said["order_id"])


def change_account(simulation: Simulation, said: Json) -> Any:
    """Set fields of the account as the broker shows it, its id among them."""
    fields = dict(said["fields"])
    simulation.account_id = fields.pop("id", simulation.account_id)
    simulation.account_flags |= fields


def change_keys(simulation: Simulation, said: Json) -> Any:
    """Let other keys be the good ones."""
    simulation.keys = (said["key"], said["secret"])


def limit_rate(simulation: Simulation, said: Json) -> Any:
    """Set the requests that a minute may have; None for no limit."""
    simulation.rate_limit.per_minute = said["per_minute"]


def change_plan(simulation: Simulation, said: Json) -> Any:
    """Let the account have the free plan, or a paid one."""
    simulation.free_plan = said["free"]


def account(simulation: Simulation, said: Json) -> Any:
    """Tell the money."""
    del said
    simulation.advance()
    return replace(simulation.exchange.account(), account_id=simulation.account_id)


CONTROLS: Mapping[str, control.Control[Any]] = control.by_name(
    (
        tell,
        inject_wire,
        heal,
        drop,
        change_account,
        change_keys,
        limit_rate,
        change_plan,
        account,
    )
)
