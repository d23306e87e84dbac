"""The channel through which a test moves the market, injects faults and reads the truth."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from brokers.faults import Fault, FaultKind, Operation
from shared.models import Side
from tests.brokers.replay import MINUTE
from tests.simulators.alpaca.market import Story, next_minute
from tests.simulators.alpaca.simulation import Injected, Simulation
from tests.simulators.alpaca.wire import Json, Wire, WireFault

Control = Callable[[Simulation, Json], Any]


def trade(simulation: Simulation, said: Json) -> Any:
    """Let the next whole minute go by, with trades in some symbols."""
    start = next_minute(simulation.clock.now())
    for symbol, bar in said["bars"].items():
        prices = [Decimal(price) for price in bar["prices"]]
        simulation.market.trade(symbol, start, prices=prices, volume=bar["volume"])
    simulation.clock.move_to(start + MINUTE)
    simulation.advance()
    return simulation.clock.now()


def move_clock(simulation: Simulation, said: Json) -> Any:
    """Move the clock forward, let it run, or only say where it stands."""
    if "to" in said:
        simulation.clock.move_to(datetime.fromisoformat(said["to"]))
        simulation.advance()
    if said.get("runs"):
        simulation.clock.let_run()
    return simulation.clock.now()


def halt(simulation: Simulation, said: Json) -> Any:
    """Halt a symbol, or close the whole exchange, for some minutes from now."""
    now = simulation.clock.now()
    until = now + timedelta(minutes=said["minutes"])
    if said.get("symbol") is None:
        simulation.market.closures.append((now, until))
    else:
        simulation.market.halts.append((said["symbol"], now, until))


def add_stock(simulation: Simulation, said: Json) -> Any:
    """Let one more stock have been there."""
    price = Decimal(said["price"])
    simulation.market.add_stock(said["symbol"], price, now=simulation.clock.now())


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


def inject(simulation: Simulation, said: Json) -> Any:
    """Add a fault of the exchange."""
    words: Json = {"operation": Operation(said["operation"]), "kind": FaultKind(said["kind"])}
    simulation.faults.add(Fault(**(said | words)))


def inject_wire(simulation: Simulation, said: Json) -> Any:
    """Add a fault of the wire."""
    words: Json = {"wire": Wire(said["wire"])}
    simulation.wire_faults.append(Injected(WireFault(**(said | words))))


def heal(simulation: Simulation, said: Json) -> Any:
    """Take every fault of the wire away."""
    del said
    simulation.wire_faults.clear()


def calls(simulation: Simulation, said: Json) -> Any:
    """Count the calls of an operation."""
    return simulation.faults.calls(Operation(said["operation"]))


def cancel(simulation: Simulation, said: Json) -> Any:
    """Cancel an order behind the agent's back."""
    with simulation.writing():
        simulation.exchange.cancel(said["order_id"])


def drop(simulation: Simulation, said: Json) -> Any:
    """Cancel an order and forget that it ever was; its client order id stays taken."""
    cancel(simulation, said)
    simulation.dropped.add(said["order_id"])


def trade_by_somebody_else(simulation: Simulation, said: Json) -> Any:
    """Let a person buy or sell in the broker's own app."""
    with simulation.writing():
        return simulation.exchange.trade_by_somebody_else(
            said["symbol"], Side(said["side"]), said["quantity"], Decimal(said["price"])
        )


def receive(simulation: Simulation, said: Json) -> Any:
    """Let money come, or below 0 go."""
    simulation.exchange.receive(Decimal(said["amount"]))


def split(simulation: Simulation, said: Json) -> Any:
    """Split a holding."""
    simulation.exchange.split(said["symbol"], new=said["new"], old=said["old"])


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


def orders(simulation: Simulation, said: Json) -> Any:
    """Tell every order as the exchange has it, legs that Alpaca does not show among them."""
    del said
    return simulation.exchange.orders(only_open=False)


def positions(simulation: Simulation, said: Json) -> Any:
    """Tell the holdings."""
    del said
    return simulation.exchange.positions()


def account(simulation: Simulation, said: Json) -> Any:
    """Tell the money."""
    del said
    simulation.advance()
    return simulation.exchange.account()


def requests(simulation: Simulation, said: Json) -> Any:
    """Tell what was asked, and forget it if so wished."""
    log = list(simulation.log)
    if said.get("forget"):
        simulation.log.clear()
    return log


CONTROLS: Mapping[str, Control] = {
    control.__name__: control
    for control in (
        trade,
        move_clock,
        halt,
        add_stock,
        tell,
        inject,
        inject_wire,
        heal,
        calls,
        cancel,
        drop,
        trade_by_somebody_else,
        receive,
        split,
        change_account,
        change_keys,
        limit_rate,
        change_plan,
        orders,
        positions,
        account,
        requests,
    )
}


def as_json(value: Any) -> Any:
    """Return a value of ours so that JSON can hold it."""
    if isinstance(value, tuple | list):
        return [as_json(part) for part in cast("list[Any]", value)]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
