"""What every simulator lets a test do: move the market, inject faults of the exchange and read the truth."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar, cast

from brokers.faults import Fault, FaultKind, Operation
from shared.models import Side
from tests.brokers.replay import MINUTE
from tests.simulators.broker import SimulatedBroker
from tests.simulators.market import SimulatedMarket, next_minute

Json = dict[str, Any]
Broker = SimulatedBroker[SimulatedMarket]
AnyBroker = TypeVar("AnyBroker", bound="SimulatedBroker[Any]")
Control = Callable[[AnyBroker, Json], Any]


def trade(broker: Broker, said: Json) -> Any:
    """Let the next whole minute go by, with trades in some symbols."""
    start = next_minute(broker.clock.now())
    for symbol, bar in said["bars"].items():
        prices = [Decimal(price) for price in bar["prices"]]
        broker.market.trade(symbol, start, prices=prices, volume=bar["volume"])
    broker.clock.move_to(start + MINUTE)
    broker.advance()
    return broker.clock.now()


def move_clock(broker: Broker, said: Json) -> Any:
    """Move the clock forward, let it run, or only say where it stands."""
    if "to" in said:
        broker.clock.move_to(datetime.fromisoformat(said["to"]))
        broker.advance()
    if said.get("runs"):
        broker.clock.let_run()
    return broker.clock.now()


def halt(broker: Broker, said: Json) -> Any:
    """Halt a symbol, or close the whole exchange, for some minutes from now."""
    now = broker.clock.now()
    until = now + timedelta(minutes=said["minutes"])
    if said.get("symbol") is None:
        broker.market.closures.append((now, until))
    else:
        broker.market.halts.append((said["symbol"], now, until))


def add_stock(broker: Broker, said: Json) -> Any:
    """Let one more stock have been there."""
    price = Decimal(said["price"])
    broker.market.add_stock(said["symbol"], price, now=broker.clock.now())


def inject(broker: Broker, said: Json) -> Any:
    """Add a fault of the exchange."""
    words: Json = {"operation": Operation(said["operation"]), "kind": FaultKind(said["kind"])}
    broker.faults.add(Fault(**(said | words)))


def calls(broker: Broker, said: Json) -> Any:
    """Count the calls of an operation."""
    return broker.faults.calls(Operation(said["operation"]))


def cancel(broker: Broker, said: Json) -> Any:
    """Cancel an order behind the agent's back."""
    with broker.writing():
        broker.exchange.cancel(said["order_id"])


def trade_by_somebody_else(broker: Broker, said: Json) -> Any:
    """Let a person buy or sell in the broker's own app."""
    with broker.writing():
        return broker.exchange.trade_by_somebody_else(
            said["symbol"], Side(said["side"]), said["quantity"], Decimal(said["price"])
        )


def receive(broker: Broker, said: Json) -> Any:
    """Let money come, or below 0 go."""
    broker.exchange.receive(Decimal(said["amount"]))


def split(broker: Broker, said: Json) -> Any:
    """Split a holding."""
    broker.exchange.split(said["symbol"], new=said["new"], old=said["old"])


def orders(broker: Broker, said: Json) -> Any:
    """Tell every order as the exchange has it, whatever the broker shows of it."""
    del said
    return broker.exchange.orders(only_open=False)


def positions(broker: Broker, said: Json) -> Any:
    """Tell the holdings."""
    del said
    return broker.exchange.positions()


def account(broker: Broker, said: Json) -> Any:
    """Tell the money."""
    del said
    broker.advance()
    return broker.exchange.account()


def requests(broker: Broker, said: Json) -> Any:
    """Tell what was asked, and forget it if so wished."""
    log = list(broker.log)
    if said.get("forget"):
        broker.log.clear()
    return log


COMMON: tuple[Control[Any], ...] = (
    trade,
    move_clock,
    halt,
    add_stock,
    inject,
    calls,
    cancel,
    trade_by_somebody_else,
    receive,
    split,
    orders,
    positions,
    account,
    requests,
)


def by_name(controls: Iterable[Control[Any]]) -> Mapping[str, Control[Any]]:
    """Return them by the names that a test says; of two with one name the later counts."""
    return {control.__name__: control for control in (*COMMON, *controls)}


def as_json(value: Any) -> Any:
    """Return a value of ours so that JSON can hold it."""
    if isinstance(value, tuple | list):
        return [as_json(part) for part in cast("list[Any]", value)]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
