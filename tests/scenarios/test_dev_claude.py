"""dev_claude from the scan to the close, over HTTP against a simulated Alpaca in a process of its own."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from shared.models import OrderStatus, OrderType
from tests.fixtures.dev_claude import DevClaude
from tests.fixtures.rehearsal import Run

CLOSE_SLOT = datetime(2026, 6, 15, 19, 50, tzinfo=UTC)


def test_a_day_from_the_scan_to_a_flat_close(watched_agent: DevClaude) -> None:
    venue = watched_agent.venue
    scan = watched_agent.run("scan", "--force")
    trade = watched_agent.run("trade")
    bought = watched_agent.held()
    stops = [
        order
        for order in venue.orders()
        if order.order_type is OrderType.STOP and order.status is OrderStatus.ACCEPTED
    ]
    entries = watched_agent.rows(
        "SELECT symbol, status, filled_quantity FROM orders WHERE side = 'buy'"
    )
    again = watched_agent.run("trade")
    watched_agent.go_to(CLOSE_SLOT)
    seen = watched_agent.watch()
    close = watched_agent.run("close")
    closed = watched_agent.rows("SELECT symbol, status, realized_pnl FROM positions")

    assert (scan.exit_code, trade.exit_code) == (0, 0)
    assert trade.said["orders"] >= 1
    assert {row["symbol"]: row["filled_quantity"] for row in entries} == bought
    assert {stop.symbol: stop.quantity for stop in stops} == bought
    assert {stop.time_in_force for stop in stops} == {"gtc"}
    assert (again.exit_code, again.said["status"]) == (0, "nothing_to_do")
    assert again.said["reason"] == "the trade slot of 14:00 UTC has been run"
    assert (seen.exit_code, seen.said["naked_seconds"]) == (0, 0)
    assert (close.exit_code, close.said["status"]) == (0, "done"), close.said["reason"]
    assert watched_agent.held() == {}
    assert {row["status"] for row in closed} == {"closed"}
    assert [order for order in venue.orders() if order.status.is_open] == []
    fills = watched_agent.rows("SELECT symbol, side, quantity, price FROM fills")
    assert sorted(tuple(row.values()) for row in fills) == sorted(
        (fill.symbol, fill.side, fill.quantity, fill.price) for fill in venue.fills()
    )


def test_a_cycle_over_all_stocks_asks_in_batches(watched_agent: DevClaude) -> None:
    watched_agent.venue.requests(forget=True)
    trade = watched_agent.run("trade")
    asked = Counter(
        (request["method"], request["path"].split("/")[2])
        for request in watched_agent.venue.requests()
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


def test_another_account_than_the_pinned_one_is_never_traded(watched_agent: DevClaude) -> None:
    watched_agent.venue.change_account(id="0d0f9a3e-0000-4000-8000-000000000000")
    run = watched_agent.run("trade")

    refused(run, 2, "0d0f9a3e")
    nothing_was_ordered(watched_agent)


def test_a_blocked_account_buys_nothing(watched_agent: DevClaude) -> None:
    watched_agent.venue.change_account(trading_blocked=True)
    run = watched_agent.run("trade")

    assert run.exit_code == 0
    assert "ACCOUNT" in run.said["refusals"]
    nothing_was_ordered(watched_agent)


@pytest.mark.parametrize("program", ["trade", "compare", "watch"])
def test_a_broker_that_is_not_there_is_one_sentence(dev_claude: DevClaude, program: str) -> None:
    dev_claude.venue.listen(listens=False)
    run = dev_claude.run("trade") if program == "trade" else getattr(dev_claude, program)()

    assert "Alpaca at 127.0.0.1" in run.said["reason"]
    assert run.exit_code == (0 if program == "watch" else 1)


def test_a_person_can_sell_everything(holding_agent: DevClaude) -> None:
    holding_agent.go_to(CLOSE_SLOT - timedelta(hours=2))
    report = holding_agent.operate("flatten", "--why", "enough")

    assert (report.exit_code, report.said["status"]) == (0, "done"), report.said
    assert holding_agent.held() == {}
