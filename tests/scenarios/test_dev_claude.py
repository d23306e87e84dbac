"""dev_claude from the scan to the close, over HTTP against a simulated Alpaca in a process of its own."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.models import OrderStatus, OrderType, Side
from tests.fixtures.dev_claude import DevClaude
from tests.fixtures.rehearsal import Run

CLOSE_SLOT = datetime(2026, 6, 15, 19, 50, tzinfo=UTC)


@pytest.fixture
def watched(dev_claude: DevClaude) -> DevClaude:
    """An agent whose monitor has given a sign of life, and whose books were compared."""
    assert dev_claude.watch().exit_code == 0
    assert dev_claude.compare().said["verdict"] == "clean"
    return dev_claude


@pytest.fixture
def holding(watched: DevClaude) -> DevClaude:
    """An agent that has bought in the trade slot of ten o'clock in New York."""
    trade = watched.run("trade")
    assert (trade.exit_code, trade.said["status"]) == (0, "done"), trade.said["reason"]
    assert held(watched) != {}
    return watched


def held(agent: DevClaude) -> dict[str, int]:
    return {position.symbol: int(position.quantity) for position in agent.venue.positions()}


def go_to(agent: DevClaude, moment: datetime) -> None:
    """Let the time go by, and everything that is held trade in the minute before."""
    agent.venue.move_to(moment - timedelta(minutes=1))
    prices: dict[str, Any] = {
        position.symbol: [position.market_price or position.average_price]
        for position in agent.venue.positions()
    }
    agent.venue.trade_many(prices, volume=100_000)


def alerts(agent: DevClaude) -> list[str]:
    return [row["subject"] for row in agent.rows("SELECT subject FROM alerts ORDER BY alert_id")]


def test_a_day_from_the_scan_to_a_flat_close(watched: DevClaude) -> None:
    venue = watched.venue
    scan = watched.run("scan", "--force")
    trade = watched.run("trade")
    bought = held(watched)
    stops = [
        order
        for order in venue.orders()
        if order.order_type is OrderType.STOP and order.status is OrderStatus.ACCEPTED
    ]
    entries = watched.rows("SELECT symbol, status, filled_quantity FROM orders WHERE side = 'buy'")
    again = watched.run("trade")
    go_to(watched, CLOSE_SLOT)
    seen = watched.watch()
    close = watched.run("close")
    closed = watched.rows("SELECT symbol, status, realized_pnl FROM positions")

    assert (scan.exit_code, trade.exit_code) == (0, 0)
    assert trade.said["orders"] >= 1
    assert {row["symbol"]: row["filled_quantity"] for row in entries} == bought
    assert {stop.symbol: stop.quantity for stop in stops} == bought
    assert {stop.time_in_force for stop in stops} == {"gtc"}
    assert (again.exit_code, again.said["status"]) == (0, "nothing_to_do")
    assert again.said["reason"] == "the trade slot of 14:00 UTC has been run"
    assert (seen.exit_code, seen.said["naked_seconds"]) == (0, 0)
    assert (close.exit_code, close.said["status"]) == (0, "done"), close.said["reason"]
    assert held(watched) == {}
    assert {row["status"] for row in closed} == {"closed"}
    assert [order for order in venue.orders() if order.status.is_open] == []
    fills = watched.rows("SELECT symbol, side, quantity, price FROM fills")
    assert sorted(tuple(row.values()) for row in fills) == sorted(
        (fill.symbol, fill.side, fill.quantity, fill.price) for fill in venue.fills()
    )


def test_a_cycle_over_all_stocks_asks_in_batches(watched: DevClaude) -> None:
    watched.venue.requests(forget=True)
    trade = watched.run("trade")
    asked = Counter(
        (request["method"], request["path"].split("/")[2]) for request in watched.venue.requests()
    )

    assert trade.exit_code == 0
    assert asked["GET", "assets"] <= 15
    assert asked["GET", "stocks"] <= 20
    assert sum(asked.values()) <= 120


def test_what_cron_starts_on_a_day_without_a_slot_asks_nobody(dev_claude: DevClaude) -> None:
    dev_claude.venue.requests(forget=True)
    early = dev_claude.run("close")
    monitor = dev_claude.compare("--scheduled")

    assert (early.exit_code, early.said["reason"]) == (
        0,
        "the next close slot of 19:50 UTC has not come",
    )
    assert (monitor.exit_code, monitor.said["status"]) == (0, "nothing_to_do")
    assert dev_claude.venue.requests() == []


def refused(run: Run, code: int, sentence: str) -> None:
    assert run.exit_code == code, run.said
    assert sentence in run.said["reason"]


def nothing_was_ordered(agent: DevClaude) -> None:
    assert agent.venue.orders() == ()
    assert agent.venue.count("POST", "/v2/orders") == 0


def test_keys_that_are_refused_are_one_sentence_and_no_order(dev_claude: DevClaude) -> None:
    dev_claude.venue.change_keys("PKOTHER", "another secret")
    run = dev_claude.run("trade")

    refused(run, 1, "Alpaca refuses the keys")
    assert dev_claude.venue.key not in run.said["reason"]
    nothing_was_ordered(dev_claude)


def test_a_live_key_with_a_paper_configuration_stops_the_start(dev_claude: DevClaude) -> None:
    dev_claude.venue.requests(forget=True)
    run = dev_claude.run("trade", ALPACA_API_KEY="AKHUNTER2HUNTER2")

    refused(run, 2, "live trading is refused")
    assert dev_claude.venue.requests() == []


def test_another_account_than_the_pinned_one_is_never_traded(watched: DevClaude) -> None:
    watched.venue.change_account(id="0d0f9a3e-0000-4000-8000-000000000000")
    run = watched.run("trade")

    refused(run, 2, "0d0f9a3e")
    nothing_was_ordered(watched)


def test_a_blocked_account_buys_nothing(watched: DevClaude) -> None:
    watched.venue.change_account(trading_blocked=True)
    run = watched.run("trade")

    assert run.exit_code == 0
    assert "ACCOUNT" in run.said["refusals"]
    nothing_was_ordered(watched)


@pytest.mark.parametrize("program", ["trade", "compare", "watch"])
def test_a_broker_that_is_not_there_is_one_sentence(dev_claude: DevClaude, program: str) -> None:
    dev_claude.venue.listen(listens=False)
    run = dev_claude.run("trade") if program == "trade" else getattr(dev_claude, program)()

    assert "Alpaca at 127.0.0.1" in run.said["reason"]
    assert run.exit_code == (0 if program == "watch" else 1)


def test_a_person_can_sell_everything(holding: DevClaude) -> None:
    go_to(holding, CLOSE_SLOT - timedelta(hours=2))
    report = holding.operate("flatten", "--why", "enough")

    assert (report.exit_code, report.said["status"]) == (0, "done"), report.said
    assert held(holding) == {}


def test_a_stop_that_alpaca_lost_is_laid_down_by_the_monitor(holding: DevClaude) -> None:
    venue = holding.venue
    (symbol, *_), quantity = held(holding), sum(held(holding).values())
    for order in venue.orders():
        if order.order_type is OrderType.STOP and order.status.is_open:
            venue.drop(order.broker_order_id)
    go_to(holding, venue.now() + timedelta(minutes=2))
    seen = holding.watch()
    stops = [
        order
        for order in venue.orders()
        if order.order_type is OrderType.STOP and order.status is OrderStatus.ACCEPTED
    ]

    assert seen.exit_code == 0
    assert symbol in {stop.symbol for stop in stops}
    assert sum(stop.quantity for stop in stops) == quantity
    assert all(stop.side is Side.SELL for stop in stops)
    assert any("had no resting stop" in subject for subject in alerts(holding))
