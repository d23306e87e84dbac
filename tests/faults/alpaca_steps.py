"""What the cases at Alpaca have in common: faults of its wire, and what must hold after each of them."""

import asyncio
from typing import Any

import asyncpg

from shared.models import Order
from tests.faults.cases import sent_by_us
from tests.faults.truth import truth_of
from tests.fixtures.dev_claude import DevClaude
from tests.fixtures.live_agent import LiveAgent
from tests.simulators.alpaca.wire import Wire, WireFault, html

BOUGHT = {"NKE": 13, "DIS": 13}
"""What the stand-in buys in the first trade slot of a healthy broker, in this order."""
ORDERS = "/v2/orders"


def on_the_first_order(wire: Wire, **changed: Any) -> WireFault:
    """The first order that is sent from now on, NKE's, gets its answer so."""
    return WireFault(wire=wire, method="POST", path=ORDERS, **changed)


def on_reads_of(path: str, wire: Wire, **changed: Any) -> WireFault:
    """What is read of that path from now on goes wrong, until the wire is healed."""
    words: dict[str, Any] = {"wire": wire, "method": "GET", "path": path, "times": None}
    return WireFault(**words | changed)


def error_page(status: int) -> dict[str, Any]:
    """What a load balancer answers in Alpaca's place."""
    return {"status": status, "body": html(status), "content_type": "text/html"}


def broker_orders(agent: DevClaude) -> tuple[Order, ...]:
    """Orders that the agent sent and the broker has, oldest first."""
    return sent_by_us(agent.venue.orders())


def recorded(agent: LiveAgent, symbol: str = "NKE") -> list[str]:
    """The states of the orders that the agent sent for a symbol, oldest first."""
    rows = agent.rows(
        "SELECT status, symbol FROM orders WHERE sender_token IS NOT NULL ORDER BY order_id"
    )
    return [row["status"] for row in rows if row["symbol"] == symbol]


def states_gone_through(agent: LiveAgent, symbol: str = "NKE") -> list[str]:
    """What became of the entry of a symbol, one state after the other."""
    rows = agent.rows(
        "SELECT e.to_status, o.symbol FROM order_events e JOIN orders o USING (order_id)"
        " WHERE o.order_purpose = 'entry' ORDER BY e.event_id"
    )
    return [row["to_status"] for row in rows if row["symbol"] == symbol]


def positions(agent: LiveAgent) -> dict[str, int]:
    """What the database holds to be open."""
    rows = agent.rows("SELECT symbol, quantity FROM positions WHERE status = 'open'")
    return {row["symbol"]: row["quantity"] for row in rows}


def assert_all_is_right(agent: DevClaude, held: dict[str, int]) -> None:
    """Broker and database hold the same, every share has its stop, and nothing was sent or sold twice."""
    assert agent.held() == positions(agent) == held
    assert {stop.symbol: stop.quantity for stop in agent.stops()} == held
    assert violations(agent) == []


def violations(agent: DevClaude) -> list[str]:
    """Compare the simulator's books with the database; empty when everything holds that always must."""

    async def ask() -> list[str]:
        connection = await asyncpg.connect(agent.trading_url)
        try:
            venue = agent.venue
            truth = await truth_of(venue.orders(), venue.positions(), connection, "dev_claude")
        finally:
            await connection.close()
        return truth.violations()

    return asyncio.run(ask())


def times_sent(agent: DevClaude) -> int:
    """How often an order was sent, whatever the broker made of it."""
    return agent.venue.count("POST", ORDERS)
