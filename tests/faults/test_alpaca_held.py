"""Cases of what dev_claude holds at Alpaca: whole runs over HTTP, while reads, stops and sales go wrong."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.models import OrderStatus, OrderType, Side
from tests.faults.alpaca_steps import (
    BOUGHT,
    ORDERS,
    assert_all_is_right,
    broker_orders,
    on_reads_of,
    on_the_first_order,
    positions,
    times_sent,
)
from tests.faults.cases import case
from tests.fixtures.dev_claude import DevClaude
from tests.fixtures.rehearsal import Run
from tests.simulators.alpaca.refusals import error, plain
from tests.simulators.alpaca.wire import Wire, WireFault, html

CLOSE_SLOT = datetime(2026, 6, 15, 19, 50, tzinfo=UTC)
PAGE = {"status": 200, "body": html(200), "content_type": "text/html"}
TARGETS = f"{ORDERS}/*"


def on_moves(wire: Wire, **changed: Any) -> WireFault:
    """A target that is moved to the market gets its answer so."""
    return WireFault(wire=wire, method="PATCH", path=TARGETS, **changed)


@pytest.fixture
def holding_one(watched_agent: DevClaude) -> DevClaude:
    """An agent that bought one symbol and, since the answer was lost, no second one."""
    watched_agent.venue.inject(on_the_first_order(Wire.RESET, executes=True))
    watched_agent.run("trade")
    assert_all_is_right(watched_agent, {"NKE": 13})
    return watched_agent


def look_and_trade(agent: DevClaude) -> tuple[Run, Run]:
    """Two minutes later the monitor makes a pass, and a trade run starts that would like to buy."""
    agent.wait(minutes=2)
    return agent.watch(), agent.run("trade", "--force")


def nothing_was_done(agent: DevClaude, sent: int = 2) -> None:
    """Nothing was sent but the two entries, and nothing that was held is given up."""
    assert times_sent(agent) == sent
    assert agent.venue.requests_of("PATCH", "DELETE") == []
    assert agent.held() == positions(agent) == BOUGHT


@case(
    "A05",
    "too many requests",
    injected="429 to the first reading of positions in a close, and to its first sale",
    orders=4,
    verdict="the read is tried again; the sale is NOT_PLACED and its stop rests, the close asks anew",
)
def test_a05_too_many_requests_repeat_a_read_and_never_an_order(holding_agent: DevClaude) -> None:
    agent, venue = holding_agent, holding_agent.venue
    agent.go_to(CLOSE_SLOT)
    too_many = {"status": 429, "body": plain(429).content.decode()}
    venue.inject(on_reads_of("/v2/positions", Wire.ANSWER, **too_many | {"times": 1}))
    venue.inject(on_moves(Wire.ANSWER, **too_many))
    close = agent.run("close")
    states = agent.rows("SELECT status FROM orders WHERE order_purpose = 'exit' ORDER BY order_id")

    assert (close.exit_code, close.said["status"]) == (0, "done"), close.said["reason"]
    assert [row["status"] for row in states] == ["not_placed", "filled", "filled"]
    assert_all_is_right(agent, {})


@case(
    "A06",
    "an HTML page in place of an answer",
    injected="200 with a page of HTML for positions, then for the account, and half a JSON after that",
    orders=2,
    verdict="unreadable: no pass is made, the run fails with one sentence; nothing is bought, sold or closed",
)
def test_a06_a_page_of_html_is_never_flat(holding_agent: DevClaude) -> None:
    agent = holding_agent
    for path, wire, page in (
        ("/v2/positions", Wire.ANSWER, PAGE),
        ("/v2/account", Wire.ANSWER, PAGE),
        ("/v2/positions", Wire.GARBAGE, {}),
    ):
        agent.venue.inject(on_reads_of(path, wire, **page))
        seen, trade = look_and_trade(agent)
        agent.venue.heal()
        assert "something that is no JSON" in seen.said["reason"]
        assert (trade.exit_code, trade.said["status"]) == (1, "failed")
        assert "something that is no JSON" in trade.said["reason"]

    nothing_was_done(agent)
    assert_all_is_right(agent, BOUGHT)


@case(
    "A07",
    "an empty list of positions",
    injected="positions are answered [] while two are held",
    orders=2,
    verdict="not believed: unreadable, nothing is bought, nothing is sold or closed",
)
def test_a07_an_empty_list_of_positions_is_never_flat(holding_agent: DevClaude) -> None:
    agent = holding_agent
    agent.venue.inject(on_reads_of("/v2/positions", Wire.EMPTY))
    compared = agent.compare()
    seen, trade = look_and_trade(agent)
    agent.venue.heal()

    assert compared.said["verdict"] == "unreadable"
    assert seen.exit_code == trade.exit_code == 0
    assert "NO_VERDICT" in trade.said["refusals"]
    nothing_was_done(agent)
    assert_all_is_right(agent, BOUGHT)


@case(
    "A08",
    "an unknown status",
    injected="every order is listed as pending_unicorn",
    orders=2,
    verdict="the whole list is unreadable, and the status is named; nothing is bought, sold or closed",
)
def test_a08_a_status_that_nobody_knows_is_loud(holding_agent: DevClaude) -> None:
    agent = holding_agent
    fields = {"status": "pending_unicorn"}
    agent.venue.inject(on_reads_of(f"{ORDERS}*", Wire.CHANGE, fields=fields))
    seen, trade = look_and_trade(agent)
    agent.venue.heal()

    assert "'pending_unicorn': not a known status" in seen.said["reason"]
    assert trade.exit_code == 1
    assert "'pending_unicorn': not a known status" in trade.said["reason"]
    nothing_was_done(agent)
    assert_all_is_right(agent, BOUGHT)


@case(
    "A10",
    "shares that are held for an order",
    injected="403 40310000 insufficient qty: to two moves of the target, and to the sale after its cancel",
    orders=3,
    verdict="stop and target are cancelled, its sale refused, both laid down again; sold by the next try",
)
def test_a10_a_sale_of_shares_that_are_held_comes_to_its_end(holding_one: DevClaude) -> None:
    agent = holding_one
    agent.go_to(CLOSE_SLOT)
    held = {"status": 403, "body": HELD_SHARES}
    agent.venue.inject(on_moves(Wire.ANSWER, times=2, **held))
    agent.venue.inject(on_the_first_order(Wire.ANSWER, **held))
    close = agent.run("close")
    sent = [(order.order_type, order.status) for order in broker_orders(agent)[1:]]

    assert (close.exit_code, close.said["status"]) == (0, "done"), close.said["reason"]
    assert "NKE: the sale of 13 shares failed" in close.said["alerts"]
    assert sent == [
        (OrderType.LIMIT, OrderStatus.CANCELED),
        (OrderType.MARKET, OrderStatus.FILLED),
    ]
    assert_all_is_right(agent, {})


@case(
    "A11",
    "a wash trade",
    injected="the legs of a position are lost, and its new stop is refused: 403 40310000 potential wash trade",
    orders=3,
    naked_seconds=180,
    verdict="REJECTED, told that the shares are NOT PROTECTED; laid down by the monitor's next pass",
)
def test_a11_a_stop_that_is_taken_for_a_wash_trade_is_told_and_laid_down_later(
    holding_agent: DevClaude,
) -> None:
    agent = holding_agent
    lose_legs(agent, "NKE")
    agent.venue.inject(on_the_first_order(Wire.ANSWER, status=403, body=WASH_TRADE))
    agent.wait(minutes=1)
    agent.watch()
    told = agent.alerts()
    agent.wait(minutes=1)
    agent.watch()
    agent.compare()

    assert "NKE: 13 shares are not protected" in told
    assert times_sent(agent) == 4
    assert_all_is_right(agent, BOUGHT)


@case(
    "A13",
    "more than 500 orders",
    injected="somebody else's 510 orders are newer than ours, of which Alpaca lists 500 at once",
    orders=4,
    verdict="read to the end: the stops are seen, and the close sells what is ours",
)
def test_a13_a_list_of_more_than_a_page_is_read_to_its_end(holding_agent: DevClaude) -> None:
    agent = holding_agent
    for _ in range(510):
        agent.venue.trade_by_somebody_else(Side.BUY, 1, 100)
    agent.wait(minutes=1)
    seen = agent.watch()
    close = agent.run("close", "--force")

    assert (seen.said["naked_seconds"], seen.said["alerts"]) == (0, [])
    assert (close.exit_code, close.said["status"]) == (0, "done"), close.said["reason"]
    assert agent.held() == {"ACME": 510}
    assert positions(agent) == {}


@case(
    "A14",
    "a split overnight",
    injected="two shares of NKE for one before the next session; the stop of before rests on",
    orders=2,
    verdict="recognised by quantity and price before the open, locked until a person accepts it",
)
def test_a14_a_split_is_recognised_before_the_open(holding_agent: DevClaude) -> None:
    agent = holding_agent
    agent.wait(minutes=10)
    agent.venue.split(new=2, old=1, symbol="NKE")
    agent.venue.move_to(datetime(2026, 6, 16, 12, 50, tzinfo=UTC))
    compared = agent.compare()
    locks = agent.rows("SELECT symbol, kind FROM symbol_locks")

    assert compared.said["verdict"] == "locked"
    assert locks == [{"symbol": "NKE", "kind": "split_suspected"}]
    assert positions(agent) == BOUGHT
    assert times_sent(agent) == 2


@case(
    "A15",
    "keys and account in mid-session",
    injected="the keys are refused; later they are good, and the account may not trade",
    orders=2,
    verdict="one sentence each, nothing is bought; the stops rest at Alpaca, and the agent goes on when it may",
)
def test_a15_keys_and_account_that_are_refused_in_mid_session(holding_agent: DevClaude) -> None:
    agent, venue = holding_agent, holding_agent.venue
    venue.change_keys("PKOTHER", "another secret")
    without_keys = look_and_trade(agent)
    venue.change_keys(venue.key, venue.secret)
    venue.change_account(trading_blocked=True)
    _, blocked = look_and_trade(agent)

    assert all("Alpaca refuses the keys" in run.said["reason"] for run in without_keys)
    assert [run.exit_code for run in without_keys] == [0, 1]
    assert "ACCOUNT" in blocked.said["refusals"]
    nothing_was_done(agent)
    assert_all_is_right(agent, BOUGHT)


@case(
    "A16",
    "legs that the broker lost",
    injected="the stops of two positions, and with them their targets, are gone; Alpaca denies that they were",
    orders=4,
    naked_seconds=240,
    verdict="told and laid down anew by the monitor's next pass; locked as missing when the books are compared",
)
def test_a16_legs_that_the_broker_lost_are_laid_down_by_the_monitor(
    holding_agent: DevClaude,
) -> None:
    agent = holding_agent
    for symbol in BOUGHT:
        lose_legs(agent, symbol)
    agent.wait(minutes=1)
    agent.watch()
    compared = agent.compare()

    assert compared.said["locked"] == ["DIS", "NKE"]
    assert {f"{symbol}: 13 shares had no resting stop" for symbol in BOUGHT} <= {*agent.alerts()}
    assert_all_is_right(agent, BOUGHT)


def lose_legs(agent: DevClaude, symbol: str) -> None:
    """Let the broker lose what protects a symbol."""
    for order in agent.venue.orders():
        if (
            order.symbol == symbol
            and order.side is Side.SELL
            and order.order_type is OrderType.STOP
        ):
            agent.venue.drop(order.broker_order_id)


HELD_SHARES = error(
    403,
    40310000,
    "insufficient qty available for order (requested: 13, available: 0)",
    available="0",
    existing_qty="13",
    held_for_orders="13",
    symbol="NKE",
).content.decode()
WASH_TRADE = error(
    403,
    40310000,
    "potential wash trade detected. use complex orders",
    existing_order_id="5a1f0e0a-7c3c-4d1e-9c55-3f1f2f9b6a11",
    reject_reason="opposite side limit order exists",
).content.decode()
