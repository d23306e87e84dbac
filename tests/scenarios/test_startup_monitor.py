"""The startup monitor as cron calls it, and as a person does to settle what it found."""

import io
from decimal import Decimal
from typing import Any

import pytest

import startup_monitor
from shared.clock import ManualClock
from shared.lock import hold
from shared.models import OrderStatus, Side
from tests.fixtures.operate import AT, change_rows
from tests.fixtures.rehearsal import Machine, Run

COLUMNS: tuple[str, ...] = (
    "symbol", "status", "quantity", "entry_price", "exit_price", "exit_reason",
    "realized_pnl_gross", "stop_loss", "take_profit",
)  # fmt: skip
WHY = ("--why", "seen at the broker")


def held_symbol(machine: Machine) -> tuple[str, int, Decimal]:
    """Symbol, shares and average price of the oldest position."""
    rows = machine.query("SELECT symbol, quantity, entry_price FROM positions ORDER BY position_id")
    return rows[0][0], rows[0][1], rows[0][2]


def position_of(machine: Machine, symbol: str) -> dict[str, Any]:
    """The only position there ever was in a symbol."""
    rows = machine.query(
        "SELECT symbol, status, quantity, entry_price, exit_price, exit_reason,"
        " realized_pnl_gross, stop_loss, take_profit FROM positions"
    )
    (found,) = [row for row in rows if row[0] == symbol]
    row: dict[str, Any] = dict(zip(COLUMNS, found, strict=True))
    return row


def accept(machine: Machine, symbol: str) -> Run:
    return machine.compare("--accept", symbol, *WHY)


def buy_by_hand(machine: Machine, symbol: str, quantity: int, side: Side = Side.BUY) -> None:
    with machine.at_the_exchange() as exchange:
        exchange.trade_by_somebody_else(symbol, side, quantity, Decimal(50))


def kinds(run: Run) -> set[str]:
    return {delta["kind"] for delta in run.said["deltas"]} - {"equal", "external_position"}


def test_books_that_agree_are_clean_and_the_verdict_is_a_row(new_rehearsal: Machine) -> None:
    before = new_rehearsal.bookmark
    run = new_rehearsal.compare()

    assert (run.exit_code, run.said["status"], run.said["verdict"]) == (0, "done", "clean")
    assert new_rehearsal.query("SELECT verdict, source FROM reconciliations") == [
        ("clean", "startup_monitor")
    ]
    assert new_rehearsal.bookmark == before
    assert new_rehearsal.query("SELECT account_id FROM account_pins") != []


def test_what_cron_starts_at_the_wrong_hour_compares_nothing(new_rehearsal: Machine) -> None:
    run = new_rehearsal.compare("--scheduled")

    assert (run.exit_code, run.said["status"]) == (0, "nothing_to_do")
    assert run.said["reason"] == "the session of 2026-06-15 is not about to begin"


def test_shares_bought_by_hand_lock_their_symbol_and_reach_a_person(holding: Machine) -> None:
    symbol, quantity, _ = held_symbol(holding)
    buy_by_hand(holding, symbol, 7)
    run = holding.compare()
    (lock,) = holding.query("SELECT symbol, kind, reason, released_at FROM symbol_locks")
    alerts = holding.query("SELECT subject, severity FROM alerts WHERE subject LIKE '%is locked%'")

    assert (run.exit_code, run.said["verdict"], run.said["locked"]) == (1, "locked", [symbol])
    assert lock[:2] == (symbol, "broker_more")
    assert str(quantity + 7) in lock[2]
    assert lock[3] is None
    assert alerts == [(f"{symbol} is locked: broker more", "critical")]


def test_a_locked_symbol_is_not_bought_and_still_sold(holding: Machine) -> None:
    change_rows(
        holding,
        "INSERT INTO symbol_locks (agent_id, symbol, kind, reason, evidence, locked_by, locked_at)"
        " SELECT agent_id, symbol, 'broker_more', 'x', '{}', 'test', now() FROM positions",
    )
    run = holding.run("--mode", "close")

    assert run.exit_code == 0
    assert holding.query("SELECT FROM positions WHERE status = 'open'") == []


def test_accepted_as_somebody_else_s_they_are_expected_from_then_on(holding: Machine) -> None:
    symbol, quantity, _ = held_symbol(holding)
    buy_by_hand(holding, symbol, 7)
    holding.compare()
    settled = accept(holding, symbol)
    again = holding.compare()
    actions = holding.query("SELECT command, why, status FROM operator_actions")

    assert (settled.exit_code, settled.said["verdict"]) == (0, "clean")
    assert (again.exit_code, again.said["verdict"]) == (0, "clean")
    assert holding.query("SELECT symbol, quantity FROM external_holdings") == [(symbol, Decimal(7))]
    assert holding.query("SELECT quantity FROM positions WHERE status = 'open'")[0] == (quantity,)
    assert holding.query("SELECT released_why FROM symbol_locks") == [("seen at the broker",)]
    assert actions == [("accept", "seen at the broker", "done")]


def test_a_symbol_that_only_the_broker_has_is_accepted_the_same_way(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "trade")
    with new_rehearsal.at_the_exchange() as exchange:
        symbol = next(iter(sorted(exchange._replay.symbols())))
        exchange.trade_by_somebody_else(symbol, Side.BUY, 400, Decimal(20))
    found = new_rehearsal.compare()
    settled = accept(new_rehearsal, symbol)

    assert kinds(found) & {"broker_only", "broker_more"}
    assert settled.exit_code == 0


def test_a_liquidation_is_accepted_without_a_fill_or_a_profit(holding: Machine) -> None:
    symbol, quantity, _ = held_symbol(holding)
    fills = holding.query("SELECT count(*) FROM fills")
    buy_by_hand(holding, symbol, quantity, Side.SELL)
    found = holding.compare()
    settled = accept(holding, symbol)
    position = position_of(holding, symbol)

    assert kinds(found) & {"database_only", "suspiciously_empty"} == {"database_only"}
    assert settled.exit_code == 0, settled.said
    assert (position["status"], position["quantity"]) == ("closed", 0)
    assert (position["exit_price"], position["realized_pnl_gross"]) == (None, 0)
    assert position["exit_reason"] == "adjusted: seen at the broker"
    assert holding.query("SELECT count(*) FROM fills") == fills


def test_fewer_shares_than_we_bought_are_taken_down_at_their_cost(holding: Machine) -> None:
    symbol, quantity, price = held_symbol(holding)
    buy_by_hand(holding, symbol, 1, Side.SELL)
    found = holding.compare()
    settled = accept(holding, symbol)
    position = position_of(holding, symbol)

    assert "broker_less" in kinds(found)
    assert (position["quantity"], position["entry_price"]) == (quantity - 1, price)
    assert "broker_less" not in kinds(settled)


def test_a_split_multiplies_shares_and_divides_every_price(holding: Machine) -> None:
    symbol, quantity, price = held_symbol(holding)
    before = position_of(holding, symbol)
    with holding.at_the_exchange() as exchange:
        exchange.split(symbol, new=2, old=1)
    found = holding.compare()
    settled = accept(holding, symbol)
    after = position_of(holding, symbol)

    assert "split_suspected" in kinds(found)
    assert after["quantity"] == 2 * quantity
    assert after["entry_price"] == (price / 2).quantize(Decimal("0.00000001"))
    for level in ("stop_loss", "take_profit"):
        assert abs(after[level] - before[level] / 2) <= Decimal("0.01")
    assert kinds(settled) == {"stop_too_small"}, "the stop covers the shares of before"
    assert settled.exit_code == 1


def test_a_lock_about_a_stop_ends_when_a_cycle_has_protected_the_shares(holding: Machine) -> None:
    symbol, _, _ = held_symbol(holding)
    with holding.at_the_exchange() as exchange:
        for order in exchange.orders(only_open=True):
            if order.symbol == symbol and order.status is not OrderStatus.HELD:
                exchange.cancel(order.broker_order_id)
                break
    naked = holding.compare()
    change_rows(holding, "UPDATE reconciliations SET verdict = 'locked'")
    holding.run("--mode", "trade", "--force")
    again = holding.compare()
    released = holding.query("SELECT kind, released_by FROM symbol_locks")

    assert kinds(naked) == {"stop_missing"}
    assert (again.exit_code, kinds(again)) == (0, set())
    assert released == [("stop_missing", "reconciliation")]


def test_an_order_without_an_outcome_is_settled_by_a_person_s_word(holding: Machine) -> None:
    change_rows(
        holding,
        "INSERT INTO orders (agent_id, client_order_id, symbol, side, order_type, order_class,"
        " time_in_force, order_purpose, status, quantity, limit_price, currency, filled_quantity,"
        " created_at, updated_at, sender_role, sender_token) VALUES ('rehearsal', 'lost', 'LOST',"
        " 'buy', 'limit', 'simple', 'day', 'entry', 'unknown', 5, 10, 'USD', 0, now(), now(),"
        " 'cycle', 999)",
    )
    found = holding.compare()
    settled = accept(holding, "LOST")
    (order,) = holding.query(
        "SELECT status, detail FROM orders JOIN order_events USING (order_id)"
        " WHERE client_order_id = 'lost' AND to_status = 'not_placed'"
    )

    assert (found.exit_code, kinds(found)) == (1, {"order_unresolved"})
    assert order[0] == "not_placed"
    assert "seen at the broker" in order[1]
    assert settled.exit_code == 0


def test_nothing_is_released_while_the_account_is_another_one(holding: Machine) -> None:
    symbol, _, _ = held_symbol(holding)
    buy_by_hand(holding, symbol, 7)
    holding.compare()
    change_rows(holding, "UPDATE account_pins SET account_id = 'PAPER-OTHER'")
    found, refused = holding.compare(), accept(holding, symbol)

    assert (found.exit_code, found.said["verdict"]) == (1, "unreadable")
    assert "account_changed" in kinds(found)
    assert (refused.exit_code, refused.said["status"]) == (1, "failed")
    assert holding.query("SELECT count(*) FROM symbol_locks WHERE released_at IS NULL") == [(1,)]
    assert holding.query("SELECT status FROM operator_actions") == [("failed",)]


def test_a_symbol_about_which_nothing_is_known_cannot_be_accepted(new_rehearsal: Machine) -> None:
    run = accept(new_rehearsal, "nosuch")

    assert run.exit_code == 1
    assert "nothing about NOSUCH is locked or differs" in run.said["reason"]


@pytest.mark.parametrize("arguments", [("--accept", "ACME"), ("--why", "because"), ("--nonsense",)])
def test_a_mistake_on_the_command_line_is_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        startup_monitor.main(arguments, environ={})

    assert ended.value.code == 2


def test_a_run_at_work_is_left_alone_and_a_person_learns_of_it(new_rehearsal: Machine) -> None:
    lock = new_rehearsal.home / "locks" / "rehearsal.lock"
    with hold(lock, agent_id="rehearsal", mode="trade", clock=ManualClock(AT)):
        cron, person = new_rehearsal.compare(), accept(new_rehearsal, "ACME")

    assert (cron.exit_code, cron.said["status"]) == (0, "busy")
    assert (person.exit_code, person.said["status"]) == (1, "busy")


def test_people_read_a_line_for_each_finding(holding: Machine) -> None:
    symbol, quantity, _ = held_symbol(holding)
    out, err = io.StringIO(), io.StringIO()
    code = startup_monitor.main([], environ=holding.environ, stdout=out, stderr=err)

    assert code == 0
    assert f"rehearsal {startup_monitor.NAME}: done" in err.getvalue()
    line = next(line for line in out.getvalue().splitlines() if line.startswith(symbol))
    assert line.split()[:2] == [symbol, "equal"]
    assert f"shows {quantity} shares" in line


def test_it_places_and_cancels_nothing(holding: Machine) -> None:
    symbol, _, _ = held_symbol(holding)
    buy_by_hand(holding, symbol, 7)
    with holding.at_the_exchange() as exchange:
        before = exchange.orders(only_open=False)
    holding.compare()
    accept(holding, symbol)
    with holding.at_the_exchange() as exchange:
        after = exchange.orders(only_open=False)

    assert after == before


def test_a_trade_run_that_finds_no_verdict_compares_for_itself(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    before = new_rehearsal.query("SELECT FROM reconciliations")
    run = new_rehearsal.run("--mode", "trade")
    verdicts = new_rehearsal.query("SELECT verdict, source FROM reconciliations")

    assert before == []
    assert run.said["positions"] > 0
    assert verdicts == [("clean", run.said["cycle_id"])]
