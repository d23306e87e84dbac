from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.database.connection import Connection
from shared.database.cycles import (
    ABANDONED,
    CycleStatus,
    cycle_exists,
    finish_cycle,
    mark_abandoned_cycles,
    record_prompt_hash,
    record_transcript,
    running_cycle,
    slot_has_run,
    start_cycle,
    start_session,
)
from shared.errors import Busy, ConfigError
from shared.models import Mode
from tests.fixtures.broker_orders import AGENT, AT, CYCLE, at, cycle_end, cycle_start, started

DAY = date(2026, 6, 15)


async def has_run(connection: Connection, mode: Mode = Mode.TRADE) -> bool:
    return await slot_has_run(connection, agent_id=AGENT, mode=mode, slot_at=AT)


async def test_a_cycle_is_running_until_it_is_finished(trading_connection: Connection) -> None:
    assert not await cycle_exists(trading_connection, CYCLE)
    await started(trading_connection)
    running = await running_cycle(trading_connection, AGENT)
    await record_prompt_hash(trading_connection, cycle_id=CYCLE, prompt_hash="abc")
    await finish_cycle(trading_connection, cycle_end())
    row = await trading_connection.fetchrow("SELECT * FROM trading_cycles")

    assert running == CYCLE
    assert await running_cycle(trading_connection, AGENT) is None
    assert await cycle_exists(trading_connection, CYCLE)
    assert row is not None
    assert (row["status"], row["reason"], row["prompt_hash"]) == ("done", "one trade", "abc")
    assert (row["tools_called"], row["duration_seconds"]) == (
        ["scan_market", "execute_trade"],
        Decimal("59.988"),
    )
    assert (row["equity"], row["cost_usd"]) == (Decimal("100000.00"), Decimal("0.0123"))
    assert (row["input_tokens"], row["cache_write_tokens"]) == (10, 40)


async def test_a_cycle_ends_once(trading_connection: Connection) -> None:
    await started(trading_connection)
    await finish_cycle(trading_connection, cycle_end())

    with pytest.raises(LookupError, match=f"{CYCLE} is not running"):
        await finish_cycle(trading_connection, cycle_end(status=CycleStatus.FAILED))
    with pytest.raises(LookupError, match=f"{CYCLE} is not running"):
        await record_prompt_hash(trading_connection, cycle_id=CYCLE, prompt_hash="abc")


@pytest.mark.parametrize(
    ("mode", "status", "uses_up"),
    [
        (Mode.TRADE, CycleStatus.DONE, True),
        (Mode.TRADE, CycleStatus.FAILED, True),
        (Mode.TRADE, CycleStatus.RUNNING, True),
        (Mode.TRADE, CycleStatus.NOTHING_TO_DO, False),
        (Mode.CLOSE, CycleStatus.DONE, True),
        (Mode.CLOSE, CycleStatus.FAILED, False),
        (Mode.CLOSE, CycleStatus.RUNNING, False),
        (Mode.CLOSE, CycleStatus.NOTHING_TO_DO, False),
    ],
)
async def test_a_slot_is_used_up_by_anything_that_may_have_opened_positions(
    mode: Mode, status: CycleStatus, uses_up: bool, trading_connection: Connection
) -> None:
    await started(trading_connection, mode=mode)
    if status is not CycleStatus.RUNNING:
        await finish_cycle(trading_connection, cycle_end(status=status))

    assert await has_run(trading_connection, mode) is uses_up


@pytest.mark.parametrize(
    "changes",
    [{"dry_run": True}, {"slot_at": None}, {"slot_at": at(1800)}, {"agent_id": "other"}],
    ids=str,
)
async def test_a_slot_is_not_used_up_by_other_runs(
    changes: dict[str, Any], trading_connection: Connection
) -> None:
    await started(trading_connection, **changes)

    assert not await has_run(trading_connection)


async def test_the_database_itself_lets_no_second_run_into_an_entry_slot(
    trading_connection: Connection,
) -> None:
    await started(trading_connection)

    with pytest.raises(Busy, match="has been run already"):
        await started(trading_connection, cycle_id="again")
    await started(trading_connection, cycle_id="forced", forced=True)
    await started(trading_connection, cycle_id="dry", dry_run=True)
    await started(trading_connection, cycle_id="close", mode=Mode.CLOSE)
    await started(trading_connection, cycle_id="close again", mode=Mode.CLOSE)


async def test_a_slot_with_nothing_to_do_may_be_tried_again(
    trading_connection: Connection,
) -> None:
    await started(trading_connection)
    await finish_cycle(trading_connection, cycle_end(status=CycleStatus.NOTHING_TO_DO))
    await started(trading_connection, cycle_id="again")

    assert await running_cycle(trading_connection, AGENT) == "again"


async def test_a_cycle_id_is_used_once(trading_connection: Connection) -> None:
    await started(trading_connection, mode=Mode.CLOSE)

    with pytest.raises(Busy, match=CYCLE):
        await start_cycle(trading_connection, cycle_start(mode=Mode.CLOSE))


async def test_cycles_that_vanished_are_closed_and_named(trading_connection: Connection) -> None:
    await started(trading_connection)
    await started(trading_connection, cycle_id="other", agent_id="other")
    marked = await mark_abandoned_cycles(trading_connection, AGENT, at(600))
    row = await trading_connection.fetchrow(
        "SELECT status, reason, ended_at FROM trading_cycles WHERE cycle_id = $1", CYCLE
    )

    assert marked == (CYCLE,)
    assert row is not None
    assert tuple(row) == ("failed", ABANDONED, at(600))
    assert await running_cycle(trading_connection, "other") == "other"
    assert await mark_abandoned_cycles(trading_connection, AGENT, at(601)) == ()


async def session(connection: Connection, equity: str, **changes: Any) -> Decimal:
    values: dict[str, Any] = {
        "agent_id": AGENT,
        "session_date": DAY,
        "exchange": "XNYS",
        "currency": "USD",
        "equity": Decimal(equity),
        "at": AT,
    }
    return await start_session(connection, **values | changes)


async def test_the_first_equity_of_a_day_is_what_its_loss_is_measured_from(
    trading_connection: Connection,
) -> None:
    first = await session(trading_connection, "100000.00")
    later = await session(trading_connection, "98000.00")
    next_day = await session(trading_connection, "98000.00", session_date=DAY + timedelta(days=1))

    assert (first, later, next_day) == (Decimal(100000), Decimal(100000), Decimal(98000))


async def test_a_day_does_not_change_its_currency(trading_connection: Connection) -> None:
    await session(trading_connection, "100000")

    with pytest.raises(ConfigError, match="began on XNYS in USD, now XHKG in HKD"):
        await session(trading_connection, "1", exchange="XHKG", currency="HKD")


async def test_a_transcript_keeps_whatever_was_said(trading_connection: Connection) -> None:
    await started(trading_connection)
    content = {"role": "user", "content": [{"text": "price \x00 is é", "limit": Decimal("1.10")}]}
    await record_transcript(
        trading_connection, cycle_id=CYCLE, sequence=1, kind="prompt", content=content, at=AT
    )
    kept = await trading_connection.fetchval("SELECT content FROM cycle_transcripts")

    assert kept == {"role": "user", "content": [{"text": "price � is é", "limit": "1.10"}]}
