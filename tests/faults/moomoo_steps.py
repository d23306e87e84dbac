"""What the cases at moomoo have in common: faults of OpenD's wire, and what must hold after each of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

from shared.models import Order, Side
from tests.faults.alpaca_steps import positions
from tests.faults.cases import remark_of, sent_by_us
from tests.faults.truth import truth_of
from tests.fixtures.intl_claude import IntlClaude
from tests.fixtures.rehearsal import Run
from tests.simulators.market import next_minute
from tests.simulators.opend.wire import Protocol, Wire, WireFault

MONDAY = (2026, 12, 21)


def hong_kong(hour: int, minute: int, day: tuple[int, int, int] = MONDAY) -> datetime:
    """Return a time in Hong Kong."""
    return datetime(*day, hour - 8, minute, tzinfo=UTC)


def on_the_next_order(wire: Wire, **changed: Any) -> WireFault:
    """The next order that is sent gets its answer so."""
    return WireFault(wire=wire, protocol=Protocol.PLACE_ORDER, **changed)


def on_reads_of(protocol: Protocol, wire: Wire, **changed: Any) -> WireFault:
    """What is read by that protocol from now on goes wrong, until the wire is healed."""
    words: dict[str, Any] = {"wire": wire, "protocol": protocol, "times": None}
    return WireFault(**words | changed)


def times_sent(agent: IntlClaude, side: Side = Side.BUY) -> int:
    """How often an order of that side went over the wire, whatever OpenD made of it."""
    number = 1 if side is Side.BUY else 2
    return sum(one["trdSide"] == number for one in agent.venue.asked(Protocol.PLACE_ORDER))


def broker_orders(agent: IntlClaude, side: Side) -> tuple[Order, ...]:
    """Orders of that side that the agent sent and the exchange has, oldest first."""
    return tuple(one for one in sent_by_us(agent.venue.orders()) if one.side is side)


def shown_id(agent: IntlClaude, symbol: str) -> str:
    """Return OpenD's own id of the agent's first order in a symbol."""
    rows = agent.rows("SELECT broker_order_id, symbol FROM orders ORDER BY order_id")
    return next(row["broker_order_id"] for row in rows if row["symbol"] == symbol)


def stop_of(agent: IntlClaude, symbol: str) -> Decimal:
    """The price at which the monitor sells what is open in a symbol."""
    rows = agent.rows("SELECT symbol, stop_loss FROM positions WHERE status = 'open'")
    [stop] = [row["stop_loss"] for row in rows if row["symbol"] == symbol]
    assert stop is not None
    return stop


def look(agent: IntlClaude) -> Run:
    """At the next whole minute the monitor makes a pass."""
    agent.venue.move_to(next_minute(agent.venue.now()))
    return agent.watch()


def fall_below_the_stop(agent: IntlClaude, symbol: str) -> None:
    """Let a symbol trade for a minute half a per cent below its stop."""
    price = stop_of(agent, symbol) * Decimal("0.995")
    agent.venue.trade(price, symbol=symbol, volume=1_000_000)


def only_held(agent: IntlClaude) -> tuple[str, int]:
    """The one symbol that the broker holds, and its shares."""
    [found] = agent.held().items()
    return found


def booked(agent: IntlClaude) -> Sequence[tuple[str, int, Decimal]]:
    """Symbol, shares and money of the fills in the database, by symbol."""
    rows = agent.rows(
        "SELECT symbol, sum(quantity)::integer AS quantity, sum(quantity * price) AS value"
        " FROM fills GROUP BY symbol ORDER BY symbol"
    )
    return [(row["symbol"], row["quantity"], row["value"]) for row in rows]


def at_the_exchange(agent: IntlClaude) -> Sequence[tuple[str, int, Decimal]]:
    """The same of the exchange's own fills of the agent's orders."""
    totals: dict[str, tuple[int, Decimal]] = {}
    for one in (fill for order in sent_by_us(agent.venue.orders()) for fill in order.fills):
        quantity, value = totals.get(one.symbol, (0, Decimal(0)))
        totals[one.symbol] = (quantity + one.quantity, value + one.quantity * one.price)
    return [(symbol, *totals[symbol]) for symbol in sorted(totals)]


def locked(agent: IntlClaude) -> list[str]:
    """Symbols that are locked until a person says something."""
    rows = agent.rows("SELECT symbol FROM symbol_locks WHERE released_at IS NULL ORDER BY symbol")
    return [row["symbol"] for row in rows]


def assert_all_is_right(agent: IntlClaude, held: dict[str, int]) -> None:
    """Broker and database hold the same, all of it has a price to sell at, and nothing was sent twice."""
    assert agent.held() == positions(agent) == held
    assert all(stop_of(agent, symbol) > 0 for symbol in held)
    assert booked(agent) == at_the_exchange(agent)
    assert violations(agent) == []


def done(run: Run) -> Run:
    """The run went well to its end."""
    assert (run.exit_code, run.said["status"]) == (0, "done"), run.said
    return run


def violations(agent: IntlClaude) -> list[str]:
    """Compare the simulator's books with the database; empty when everything holds that always must.

    Orders are matched by their remarks. What the monitor guards has no stop at the broker and needs none.
    """

    async def ask() -> list[str]:
        connection = await asyncpg.connect(agent.trading_url)
        try:
            rows = await connection.fetch("SELECT client_order_id, broker_order_id FROM orders")
            ids = {row["client_order_id"]: row["broker_order_id"] for row in rows}
            orders = [_as_shown(one, ids) for one in agent.venue.orders()]
            held = agent.venue.positions()
            truth = await truth_of(tuple(orders), held, connection, "intl_claude")
        finally:
            await connection.close()
        return replace(truth, alerts=(*truth.alerts, *truth.positions)).violations()

    return asyncio.run(ask())


def _as_shown(order: Order, ids: dict[str, str]) -> Order:
    remark = remark_of(order)
    known = ids.get(remark) or order.broker_order_id
    return replace(order, client_order_id=remark or None, broker_order_id=known)
