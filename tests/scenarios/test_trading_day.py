"""Whole days through the same main that cron calls: what must be true of every one of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.paper import PaperBroker
from market import calendar
from market.recording import Recording
from shared.clock import ManualClock
from shared.database.connection import Connection
from shared.models import Account, Mode, Order
from tests.fixtures.rehearsal import Machine

CENT = Decimal("0.01")
LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A rehearsal that has been played to its end."""

    machine: Machine
    exit_code: int
    printed: str


@pytest.fixture(scope="module", params=["generated", "recorded"])
def played(request: pytest.FixtureRequest, machine: Machine) -> Played:
    """The default day, and the three recorded ones where they are at hand."""
    if request.param == "generated":
        code, printed = machine.play()
    else:
        bars: Path = request.getfixturevalue("market_data")
        code, printed = machine.play("--data", str(bars / "us_1m_2019-02-11_13.csv.gz"))
    return Played(machine=machine, exit_code=code, printed=printed)


async def broker_truth(machine: Machine) -> tuple[Account, tuple[Order, ...]]:
    """Ask the paper exchange itself, past every table of ours."""
    bookmark = machine.bookmark
    recording = Recording.open(
        bookmark.data
        or next((machine.home / "rehearsal" / "sessions").glob(f"*-{bookmark.session_date}")),
        exchange="XNYS",
        currency="USD",
        calendar=calendar.load("XNYS"),
    )
    broker = PaperBroker(
        machine.exchange,
        recording,
        ManualClock(bookmark.clock),
        account_id=f"PAPER-REHEARSAL-{bookmark.number}",
        currency="USD",
        starting_cash=Decimal(100_000),
        volume_share_pct=Decimal(10),
    )
    try:
        return await broker.account(), await broker.orders(only_open=False)
    finally:
        await broker.disconnect()


@pytest.fixture
async def database(played: Played) -> Connection:
    return await played.machine.trading()


async def test_every_slot_ends_well(played: Played, database: Connection) -> None:
    rows = await database.fetch("SELECT mode, status FROM trading_cycles")
    missed = await database.fetch("SELECT FROM missed_slots")
    await database.close()

    assert played.exit_code == 0, played.printed
    assert {row["status"] for row in rows} <= {"done", "nothing_to_do"}
    assert {row["mode"] for row in rows} == set(Mode)
    assert missed == []


async def test_a_day_has_an_entry_a_refusal_with_codes_and_an_exit(
    played: Played, database: Connection
) -> None:
    purposes = {
        row[0]: row[1]
        for row in await database.fetch(
            "SELECT order_purpose, count(*) FROM orders WHERE filled_quantity > 0 GROUP BY 1"
        )
    }
    codes = await database.fetchval(
        "SELECT array_agg(DISTINCT code) FROM refusals, unnest(codes) code"
    )
    await database.close()

    assert played.printed
    assert purposes["entry"] >= 1
    assert purposes["exit"] >= 1
    assert "POSITION_VALUE" in codes


async def test_orders_fills_positions_cash_and_profit_agree_to_the_cent(
    played: Played, database: Connection
) -> None:
    account, broker_orders = await broker_truth(played.machine)
    broker_fills = {fill.fill_id: fill for order in broker_orders for fill in order.fills}
    fills = await database.fetch(
        "SELECT f.fill_id, f.side, f.quantity, f.price, f.order_id,"
        " coalesce((SELECT sum(amount) FROM fill_fees x WHERE x.fill_key = f.fill_key), 0) AS fees"
        " FROM fills f"
    )
    orders = {
        row["order_id"]: row["filled_quantity"]
        for row in await database.fetch("SELECT order_id, filled_quantity FROM orders")
    }
    positions = await database.fetch("SELECT status, quantity, realized_pnl FROM positions")
    await database.close()

    assert {row["fill_id"] for row in fills} == set(broker_fills)
    for row in fills:
        fill = broker_fills[row["fill_id"]]
        assert (row["quantity"], row["price"], row["fees"]) == (
            fill.quantity,
            fill.price,
            fill.total_fees,
        )
    by_order: dict[int, int] = {}
    for row in fills:
        by_order[row["order_id"]] = by_order.get(row["order_id"], 0) + row["quantity"]
    assert by_order == {order: filled for order, filled in orders.items() if filled}
    cash = Decimal(100_000) + sum(
        (
            row["price"] * row["quantity"] * (1 if row["side"] == "sell" else -1) - row["fees"]
            for row in fills
        ),
        Decimal(0),
    )
    assert account.cash == cash
    assert {row["status"] for row in positions} == {"closed"}
    profit = sum((row["realized_pnl"] for row in positions), Decimal(0))
    assert abs(account.equity - 100_000 - profit) < CENT
    assert account.equity == account.cash


async def test_everything_asked_and_said_is_on_record(played: Played, database: Connection) -> None:
    silent = await database.fetch(
        "SELECT cycle_id FROM trading_cycles c WHERE cost_usd > 0 AND ("
        " NOT EXISTS (SELECT FROM cycle_transcripts t WHERE t.cycle_id = c.cycle_id AND kind = 'reply')"
        " OR config_hash = '' OR mode <> 'monitor' AND (prompt_hash IS NULL"
        " OR NOT EXISTS (SELECT FROM decisions d WHERE d.cycle_id = c.cycle_id)))"
    )
    calls = await database.fetchrow(
        "SELECT sum(cost_usd) AS cost, bool_and(status = 'settled') AS settled FROM claude_calls"
    )
    cycles = await database.fetchval("SELECT sum(cost_usd) FROM trading_cycles")
    reserved = await database.fetchval("SELECT sum(reserved_usd) FROM budget_days")
    await database.close()

    assert silent == []
    assert calls is not None
    assert calls["settled"]
    assert calls["cost"] == cycles
    assert reserved == 0


async def test_every_filled_entry_had_a_stop_resting_behind_it(
    played: Played, database: Connection
) -> None:
    naked = await database.fetch(
        "SELECT symbol FROM orders e WHERE order_purpose = 'entry' AND status = 'filled' AND NOT EXISTS"
        " (SELECT FROM orders s WHERE s.parent_order_id = e.order_id AND s.order_purpose = 'stop_loss')"
    )
    unresolved = await database.fetchval(
        "SELECT count(*) FROM orders WHERE status IN ('intent', 'submitting', 'unknown')"
    )
    await database.close()

    assert naked == []
    assert unresolved == 0


def test_the_output_says_what_was_played_and_that_no_model_was_asked(played: Played) -> None:
    assert "no model is asked" in played.printed
    assert "Market data: " in played.printed
    assert "Where to look next" in played.printed
    assert "POSITION_VALUE" in played.printed
