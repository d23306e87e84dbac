"""What a person can order by command, on a real database and the paper exchange."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from shared.halts import Unreadable
from shared.models import Order, OrderStatus, OrderType, Side, TradingState
from shared.paths import PROJECT
from shared.trading_state import current, read_file, state_file
from tests.fixtures.operate import AT, TRADE_CYCLE, change_rows, operate, process
from tests.fixtures.rehearsal import Machine

LEFT_OUT = shutil.ignore_patterns(
    ".*", "logs", "tests", "benchmarks", "__pycache__", "*.md", "requirements*"
)


def state(home: Path) -> TradingState:
    """What the file alone says."""
    return asyncio.run(current(None, "rehearsal", home, AT)).state


def actions(machine: Machine) -> list[tuple[Any, ...]]:
    return machine.query(
        "SELECT command, why, status, result FROM operator_actions ORDER BY action_id"
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the program, to be configured otherwise."""
    return Path(shutil.copytree(PROJECT, tmp_path / "catalyst", ignore=LEFT_OUT))


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("orders",), ("why", "a-cycle"), ("flatten", "--why", "out")],
    ids=lambda arguments: arguments[0],
)
def test_without_a_rehearsal_there_is_one_clear_sentence(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    said = operate(tmp_path, *arguments)

    assert said.code == 1
    assert "no rehearsal of rehearsal was begun" in said.err
    assert "`make run` begins one" in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_halt_before_the_first_rehearsal_holds_by_its_file_until_it_is_lifted(
    tmp_path: Path,
) -> None:
    halted = operate(tmp_path, "halt", "--why", "not yet")
    before = state(tmp_path)
    resumed = operate(tmp_path, "resume", "--why", "now", "--json")

    assert halted.code == resumed.code == 0
    assert f"only {state_file(tmp_path, 'rehearsal')} says so: no rehearsal" in halted.out
    assert before is TradingState.HALTED
    assert "not yet" in resumed.json["lifted"][0]
    assert state(tmp_path) is TradingState.ACTIVE


@pytest.mark.parametrize("command", ["halt", "reduce"])
def test_a_database_that_is_away_keeps_nobody_from_halting(
    command: str, new_rehearsal: Machine, project: Path
) -> None:
    config = project / "config" / "rehearsal.yaml"
    config.write_text(
        config.read_text().replace(
            "kind: embedded ",
            "kind: url\n  trading_url_env: TRADING_DATABASE_URL\n"
            "  research_url_env: RESEARCH_DATABASE_URL #",
        )
    )
    variables = {"AGENT_ID": "rehearsal"} | dict.fromkeys(
        ("TRADING_DATABASE_URL", "RESEARCH_DATABASE_URL"),
        "postgresql://someone:hunter2secret@127.0.0.1:9/nowhere",
    )
    home = new_rehearsal.home
    halted = process(home, command, "--why", "fire", project=project, environ=variables)
    asked = process(home, "status", project=project, environ=variables)
    resumed = process(home, "resume", "--why", "out", project=project, environ=variables)

    assert halted.code == 0, halted.err
    assert "says so: database 'nowhere' at 127.0.0.1:9 cannot be reached" in halted.out
    assert asked.code == resumed.code == 1
    assert "cannot be reached" in asked.err
    assert state(home) is {"halt": TradingState.HALTED, "reduce": TradingState.REDUCING}[command]
    assert "hunter2secret" not in halted.out + halted.err + asked.err + resumed.err


def test_a_broken_configuration_keeps_nobody_from_halting(tmp_path: Path, project: Path) -> None:
    config = project / "config" / "rehearsal.yaml"
    config.write_text(config.read_text().replace("max_positions:", "max_postions:"))
    halted = process(tmp_path, "halt", "--why", "fire", project=project)
    asked = process(tmp_path, "status", project=project)

    assert halted.code == 0, halted.err
    assert "max_postions" in halted.out
    assert state(tmp_path) is TradingState.HALTED
    assert asked.code == 2
    assert "did you mean max_positions" in asked.err


@pytest.mark.parametrize("agent", ["rehersal", "../rehearsal"])
def test_an_agent_that_does_not_exist_is_not_halted_silently(agent: str, tmp_path: Path) -> None:
    said = operate(tmp_path, "--agent", agent, "halt", "--why", "fire")

    assert said.code == 2
    assert "rehearsal" in said.err
    assert list(tmp_path.rglob("*.json")) == []


def test_a_halt_is_seen_by_the_next_cycle_and_lifted_by_a_person_only(holding: Machine) -> None:
    home = holding.home
    halted = operate(home, "halt", "--why", "a rumour", "--json").json
    refused = holding.run("--mode", "trade").said
    entries = holding.query("SELECT count(*) FROM orders WHERE order_purpose = 'entry'")
    resumed = operate(home, "resume", "--why", "denied", "--json").json
    row = holding.query("SELECT state, kind, reason, lifted_why FROM halts")

    assert (halted["state"], halted["in_database"]) == ("halted", True)
    assert "TRADING_STATE" in refused["refusals"]
    assert entries == [(holding_entries(holding),)]
    assert resumed["state"] == "active"
    assert row == [("halted", "person", "a rumour", "denied")]
    assert state(home) is TradingState.ACTIVE


def holding_entries(machine: Machine) -> int:
    """Entries of the first trade slot."""
    ((number,),) = machine.query(
        f"SELECT count(*) FROM orders WHERE order_purpose = 'entry' AND cycle_id = '{TRADE_CYCLE}'"  # noqa: S608 (our own id)
    )
    return number


@pytest.mark.parametrize("command", ["halt", "reduce", "resume"])
def test_no_change_of_state_waits_for_a_running_cycle(command: str, running: Machine) -> None:
    started = monotonic()
    said = operate(running.home, command, "--why", "now")

    assert said.code == 0, said.err
    assert monotonic() - started < 10


def test_a_halt_during_a_cycle_is_in_both_places_at_once(running: Machine) -> None:
    operate(running.home, "halt", "--why", "now")

    async def look() -> TradingState:
        trading = await running.trading()
        try:
            return (await current(trading, "rehearsal", running.home, AT)).state
        finally:
            await trading.close()

    file = read_file(running.home, "rehearsal")

    assert isinstance(file, tuple)
    assert [halt.reason for halt in file] == ["now"]
    assert asyncio.run(look()) is TradingState.HALTED
    assert running.query("SELECT count(*) FROM halts WHERE lifted_at IS NULL") == [(1,)]


def test_what_a_person_changes_is_written_down_with_who_and_why(new_rehearsal: Machine) -> None:
    for command in ("halt", "reduce", "resume", "resume"):
        operate(new_rehearsal.home, command, "--why", f"to {command}")
    who = new_rehearsal.query("SELECT DISTINCT operator, agent_id, pid FROM operator_actions")

    assert [row[:3] for row in actions(new_rehearsal)] == [
        ("halt", "to halt", "done"),
        ("reduce", "to reduce", "done"),
        ("resume", "to resume", "done"),
        ("resume", "to resume", "nothing_to_do"),
    ]
    assert who[0][1:] == ("rehearsal", os.getpid())
    assert who[0][0]


def test_reducing_does_not_loosen_a_halt(new_rehearsal: Machine) -> None:
    operate(new_rehearsal.home, "halt", "--why", "fire")
    said = operate(new_rehearsal.home, "reduce", "--why", "slow", "--json").json

    assert said["state"] == "halted"
    assert len(said["state_reasons"]) == 2


def test_a_state_file_that_is_garbage_is_seen_in_the_status_and_lifted_by_resume(
    new_rehearsal: Machine,
) -> None:
    path = state_file(new_rehearsal.home, "rehearsal")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    seen = operate(new_rehearsal.home, "status", "--json").json
    operate(new_rehearsal.home, "resume", "--why", "looked at it")

    assert seen["state"] == "halted"
    assert str(path) in seen["state_reasons"][0]
    assert not isinstance(read_file(new_rehearsal.home, "rehearsal"), Unreadable)
    assert operate(new_rehearsal.home, "status", "--json").json["state"] == "active"


def test_a_new_rehearsal_does_not_inherit_what_was_said_about_the_one_before(
    new_rehearsal: Machine,
) -> None:
    operate(new_rehearsal.home, "halt", "--why", "enough of this one")
    code, printed = new_rehearsal.play("--session", "2026-06-15")

    assert code == 0, printed
    assert "TRADING_STATE" not in printed


@pytest.mark.parametrize("command", ["halt", "reduce", "resume", "flatten"])
@pytest.mark.parametrize("why", [(), ("--why", " ")], ids=["none", "blank"])
def test_what_changes_something_needs_a_reason(
    command: str, why: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        operate(tmp_path, command, *why)

    assert ended.value.code == 2
    assert list(tmp_path.rglob("*.json")) == []


def test_flatten_sells_everything_in_a_cycle_of_its_own(holding: Machine) -> None:
    said = operate(holding.home, "flatten", "--why", "going away", "--json").json
    cycle = holding.query(
        "SELECT cycle_id, mode, status, forced, orders_placed FROM trading_cycles"
        " WHERE brain = 'operator'"
    )
    sales = holding.query(
        "SELECT order_purpose, side, orders.reason FROM orders JOIN trading_cycles USING (cycle_id)"
        " WHERE brain = 'operator'"
    )
    audited = holding.query("SELECT status, cycle_id, arguments FROM operator_actions")

    assert said["status"] == "done"
    assert {sale["result"] for sale in said["sales"]} == {"sold"}
    assert "halt or reduce keeps it from buying again" in said["reason"]
    assert cycle == [(said["cycle_id"], "close", "done", True, len(said["sales"]))]
    assert set(sales) == {("exit", "sell", "going away")}
    assert audited == [("done", said["cycle_id"], {})]
    assert holding.query("SELECT symbol FROM positions WHERE status = 'open'") == []


def test_flatten_sells_one_position_and_leaves_the_others(holding: Machine) -> None:
    held = [symbol for (symbol,) in holding.query("SELECT symbol FROM positions ORDER BY symbol")]
    said = operate(holding.home, "flatten", "--symbol", held[0].lower(), "--why", "x", "--json")

    assert [sale["symbol"] for sale in said.json["sales"]] == held[:1]
    assert holding.query("SELECT symbol FROM positions WHERE status = 'open' ORDER BY symbol") == [
        (symbol,) for symbol in held[1:]
    ]


def test_flatten_works_while_halted(holding: Machine) -> None:
    operate(holding.home, "halt", "--why", "fire")
    said = operate(holding.home, "flatten", "--why", "fire", "--json").json

    assert said["status"] == "done"
    assert "buying again" not in said["reason"]
    assert holding.query("SELECT symbol FROM positions WHERE status = 'open'") == []


def test_flatten_is_told_that_nothing_is_held(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    said = operate(new_rehearsal.home, "flatten", "--why", "x")

    assert said.code == 0
    assert "the agent holds nothing" in said.out


def test_flatten_of_a_symbol_that_is_not_held_fails(holding: Machine) -> None:
    said = operate(holding.home, "flatten", "--symbol", "NOPE", "--why", "x")

    assert said.code == 1
    assert "did not open a position in NOPE" in said.err
    assert actions(holding)[0][2:] == (
        "failed",
        said.err.strip().removeprefix("rehearsal flatten: failed: "),
    )


def test_flatten_needs_an_open_session_and_names_what_is_still_held(holding: Machine) -> None:
    bookmark = holding.home / "rehearsal" / "bookmark.json"
    fields = json.loads(bookmark.read_text())
    bookmark.write_text(json.dumps({**fields, "clock": "2026-06-15T20:00:00+00:00"}))
    held = [symbol for (symbol,) in holding.query("SELECT symbol FROM positions")]
    said = operate(holding.home, "flatten", "--why", "late")

    assert said.code == 1
    assert "the market is closed" in said.err
    assert all(symbol in said.err for symbol in held)
    assert holding.query("SELECT count(*) FROM orders WHERE order_purpose = 'exit'") == [(0,)]


def test_flatten_does_not_touch_what_a_person_bought(holding: Machine) -> None:
    """One symbol the agent never bought, one in which a person added to the agent's shares."""
    ours = [symbol for (symbol,) in holding.query("SELECT symbol FROM positions ORDER BY symbol")]
    with sqlite3.connect(holding.exchange) as books:
        books.execute("UPDATE holdings SET quantity = quantity + 5 WHERE symbol = ?", (ours[0],))
        books.execute("INSERT INTO holdings VALUES ('QDONI', 7, '1270')")
    books.close()
    said = operate(holding.home, "flatten", "--why", "x", "--json")
    by_symbol = {sale["symbol"]: sale for sale in said.json["sales"]}

    assert said.code == 1
    assert sorted(by_symbol) == ours
    assert by_symbol[ours[0]]["result"] == "not sold"
    assert "positions are sold whole" in by_symbol[ours[0]]["why_not"]
    assert {by_symbol[symbol]["result"] for symbol in ours[1:]} <= {"sold"}
    assert holding.query("SELECT DISTINCT symbol FROM orders WHERE order_purpose = 'exit'") == [
        (symbol,) for symbol in ours[1:]
    ]


def test_flatten_waits_for_a_running_cycle_and_then_says_who_it_is(running: Machine) -> None:
    started = monotonic()
    said = operate(running.home, "flatten", "--why", "x", "--wait", "0.5")

    assert said.code == 1
    assert monotonic() - started >= 0.5
    assert f"mode trade, pid {os.getpid()}" in said.err
    assert actions(running)[0][2] == "failed"
    assert "another run of rehearsal holds the lock" in actions(running)[0][3]


def begun(machine: Machine) -> subprocess.Popen[str]:
    """Start a flatten that has to wait, and return when its row is there."""
    started = subprocess.Popen(
        [sys.executable, "-m", "shared.operate", "flatten", "--why", "x", "--wait", "100"],
        env=machine.environ,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    give_up = monotonic() + 60
    while not machine.query("SELECT FROM operator_actions"):
        assert monotonic() < give_up
        assert started.poll() is None
    return started


def test_a_command_that_is_killed_leaves_a_row_that_says_so(running: Machine) -> None:
    started = begun(running)
    started.kill()
    started.communicate()
    row = running.query("SELECT status, result, ended_at, pid FROM operator_actions")
    seen = operate(running.home, "status")

    assert row == [("begun", None, None, started.pid)]
    assert "unfinished" in seen.out
    assert "begun" in seen.out


def test_a_command_that_is_told_to_end_writes_how_it_ended(running: Machine) -> None:
    started = begun(running)
    started.send_signal(signal.SIGTERM)
    said, _ = started.communicate()
    row = running.query("SELECT status, result FROM operator_actions")

    assert started.returncode == 1
    assert "ended from outside" in said
    assert row == [("failed", "CancelledError: ")]


def test_a_position_without_a_stop_is_the_first_thing_the_status_says(holding: Machine) -> None:
    change_rows(holding, "UPDATE orders SET status = 'canceled' WHERE order_purpose = 'stop_loss'")
    said = operate(holding.home, "status")

    assert "WITHOUT A STOP" in said.out.splitlines()[0]


def test_unresolved_orders_and_alerts_are_in_the_status(holding: Machine) -> None:
    change_rows(
        holding,
        "SET session_replication_role = 'replica';"  # past the trigger that allows no such move
        "UPDATE orders SET status = 'unknown' WHERE order_purpose = 'entry';"
        "INSERT INTO alerts (agent_id, severity, subject, body, dedupe_key, queued_on, queued_at,"
        " status, attempts) VALUES ('rehearsal', 'critical', 'look at this', 'b', 'k', now(), now(),"
        " 'queued', 0)",
    )
    said = operate(holding.home, "status")

    assert "UNRESOLVED ORDERS" in said.out.splitlines()[0]
    assert "look at this" in said.out


def test_orders_leave_out_what_was_over_before_the_session_unless_asked(holding: Machine) -> None:
    operate(holding.home, "flatten", "--why", "x")
    change_rows(holding, "UPDATE orders SET updated_at = '2026-06-12T15:00:00Z'")
    now = operate(holding.home, "orders", "--json").json["orders"]
    ever = operate(holding.home, "orders", "--all", "--json").json["orders"]

    assert now == []
    assert {order["status"] for order in ever} >= {"filled"}
    assert len(ever) > 4


def test_a_secret_in_a_reason_is_kept_nowhere(new_rehearsal: Machine) -> None:
    home, variables = new_rehearsal.home, {"SMTP_PASSWORD": "hunter2secret"}
    said = operate(home, "halt", "--why", "mail with hunter2secret fails", environ=variables)
    kept = new_rehearsal.query("SELECT t::text FROM operator_actions t") + new_rehearsal.query(
        "SELECT t::text FROM halts t"
    )
    log = (home / "logs" / "rehearsal.jsonl").read_text()
    file = state_file(home, "rehearsal").read_text()

    assert "mail with [redacted] fails" in said.out
    assert len(kept) == 2
    assert "hunter2secret" not in said.out + said.err + str(kept) + log + file


def test_what_flatten_may_not_sell_is_not_left_without_a_stop(holding: Machine) -> None:
    symbol, quantity = holding.query("SELECT symbol, quantity FROM positions LIMIT 1")[0]
    with holding.at_the_exchange() as exchange:
        exchange.trade_by_somebody_else(symbol, Side.BUY, 7, Decimal(50))
        stop = next(o for o in exchange.orders(only_open=True) if is_stop_of(o, symbol))
        exchange.cancel(stop.broker_order_id)
    said = operate(holding.home, "flatten", "--why", "all out", "--json").json
    with holding.at_the_exchange() as exchange:
        stops = [o for o in exchange.orders(only_open=True) if is_stop_of(o, symbol)]
    (sale,) = [sale for sale in said["sales"] if sale["symbol"] == symbol]

    assert sale["result"] == "not sold"
    assert sum(stop.remaining_quantity for stop in stops) == quantity


def is_stop_of(order: Order, symbol: str) -> bool:
    return (
        order.symbol == symbol
        and order.order_type is OrderType.STOP
        and order.status is not OrderStatus.HELD
    )
