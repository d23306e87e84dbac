import asyncio
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from shared.database.claude_calls import (
    budget_left,
    cycle_cost,
    fail_call,
    reserve_call,
    settle_call,
)
from shared.database.connection import Connection
from shared.errors import BudgetExceeded
from tests.fixtures.broker_orders import AGENT, AT, CYCLE, at, started
from tests.fixtures.databases import open_connection

DAY = date(2026, 6, 15)
BUDGET = Decimal("5.00")


async def reserve(connection: Connection, worst_case_usd: str, **changes: Any) -> int:
    values: dict[str, Any] = {
        "agent_id": AGENT,
        "cycle_id": None,
        "budget_date": DAY,
        "budget_usd": BUDGET,
        "model": "claude",
        "worst_case_usd": Decimal(worst_case_usd),
        "at": AT,
    }
    return await reserve_call(connection, **values | changes)


async def settle(connection: Connection, call_id: int, cost_usd: str) -> None:
    await settle_call(
        connection,
        call_id=call_id,
        input_tokens=1000,
        output_tokens=200,
        cache_read_tokens=3000,
        cache_write_tokens=400,
        cost_usd=Decimal(cost_usd),
        stop_reason="tool_use",
        request_id="req_1",
        duration_seconds=2.5,
        at=at(3),
    )


async def left(connection: Connection) -> Decimal:
    return await budget_left(connection, agent_id=AGENT, budget_date=DAY, budget_usd=BUDGET)


async def test_a_reservation_counts_until_the_true_cost_is_known(
    trading_connection: Connection,
) -> None:
    await started(trading_connection)
    before = await left(trading_connection)
    call_id = await reserve(trading_connection, "0.40", cycle_id=CYCLE)
    reserved = await left(trading_connection)
    await settle(trading_connection, call_id, "0.03")
    row = await trading_connection.fetchrow("SELECT * FROM claude_calls")

    assert (before, reserved, await left(trading_connection)) == (
        Decimal("5.00"),
        Decimal("4.60"),
        Decimal("4.97"),
    )
    assert await cycle_cost(trading_connection, CYCLE) == Decimal("0.03")
    assert row is not None
    assert (row["status"], row["cost_usd"], row["reserved_usd"]) == (
        "settled",
        Decimal("0.03"),
        Decimal("0.40"),
    )
    assert (row["input_tokens"], row["cache_read_tokens"], row["passed_reservation"]) == (
        1000,
        3000,
        False,
    )


async def test_the_budget_cannot_be_passed(trading_connection: Connection) -> None:
    await reserve(trading_connection, "4.80")

    with pytest.raises(
        BudgetExceeded,
        match=r"may cost 0\.21 USD, 0\.20 of 5\.00 USD are left for 2026-06-15",
    ):
        await reserve(trading_connection, "0.21")
    await reserve(trading_connection, "0.20")

    assert await left(trading_connection) == 0
    assert await trading_connection.fetchval("SELECT count(*) FROM claude_calls") == 2


async def test_a_first_call_larger_than_the_budget_is_refused(
    trading_connection: Connection,
) -> None:
    with pytest.raises(BudgetExceeded):
        await reserve(trading_connection, "5.01")

    assert await trading_connection.fetchval("SELECT count(*) FROM budget_days") == 0


async def test_days_and_agents_have_budgets_of_their_own(trading_connection: Connection) -> None:
    await reserve(trading_connection, "5")
    await reserve(trading_connection, "5", budget_date=date(2026, 6, 16))
    await reserve(trading_connection, "5", agent_id="other")

    assert await left(trading_connection) == 0


async def test_many_at_once_never_pass_the_budget(trading_database_url: str) -> None:
    connections = await asyncio.gather(*(open_connection(trading_database_url) for _ in range(8)))

    async def spend(connection: Connection) -> int:
        made = 0
        for _ in range(10):
            try:
                call_id = await reserve(connection, "0.30")
            except BudgetExceeded:
                continue
            made += 1
            await settle(connection, call_id, "0.25")
        return made

    made = await asyncio.gather(*(spend(connection) for connection in connections))
    remaining = await left(connections[0])
    row = await connections[0].fetchrow("SELECT * FROM budget_days")
    for connection in connections:
        await connection.close()

    assert row is not None
    assert (row["reserved_usd"], row["overrun_usd"]) == (0, 0)
    assert row["spent_usd"] == sum(made) * Decimal("0.25") <= BUDGET
    assert remaining < Decimal("0.30")


async def test_many_reservations_at_once_fill_the_budget_and_no_more(
    trading_database_url: str,
) -> None:
    connections = await asyncio.gather(*(open_connection(trading_database_url) for _ in range(8)))
    outcomes = await asyncio.gather(
        *(reserve(connection, "1.00") for connection in connections), return_exceptions=True
    )
    for connection in connections:
        await connection.close()

    assert sum(isinstance(outcome, int) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, BudgetExceeded) for outcome in outcomes) == 3


async def test_a_cost_above_its_reservation_is_kept_and_marked(
    trading_connection: Connection,
) -> None:
    call_id = await reserve(trading_connection, "4.90")
    await settle(trading_connection, call_id, "5.50")
    call = await trading_connection.fetchrow("SELECT * FROM claude_calls")
    day = await trading_connection.fetchrow("SELECT * FROM budget_days")

    assert call is not None
    assert (call["cost_usd"], call["passed_reservation"]) == (Decimal("5.50"), True)
    assert day is not None
    assert (day["spent_usd"], day["reserved_usd"], day["overrun_usd"]) == (
        Decimal("5.50"),
        0,
        Decimal("0.50"),
    )
    assert await left(trading_connection) == 0
    with pytest.raises(BudgetExceeded):
        await reserve(trading_connection, "0.01")


async def test_a_budget_that_is_lowered_during_the_day_holds_from_then_on(
    trading_connection: Connection,
) -> None:
    call_id = await reserve(trading_connection, "3.00")
    with pytest.raises(BudgetExceeded, match=r"0 of 2 USD are left"):
        await reserve(trading_connection, "0.10", budget_usd=Decimal(2))
    await settle(trading_connection, call_id, "1.00")
    await reserve(trading_connection, "0.10", budget_usd=Decimal(2))
    lowered = await trading_connection.fetchval("SELECT budget_usd FROM budget_days")

    assert lowered == 2


async def test_a_failed_call_gives_back_what_it_was_not_charged(
    trading_connection: Connection,
) -> None:
    call_id = await reserve(trading_connection, "1.00")
    await fail_call(
        trading_connection, call_id=call_id, error="overloaded", charged_usd=Decimal(0), at=at(1)
    )
    row = await trading_connection.fetchrow("SELECT status, error, cost_usd FROM claude_calls")

    assert row is not None
    assert tuple(row) == ("failed", "overloaded", 0)
    assert await left(trading_connection) == BUDGET


async def test_a_call_is_settled_once(trading_connection: Connection) -> None:
    call_id = await reserve(trading_connection, "1.00")
    await settle(trading_connection, call_id, "0.50")

    with pytest.raises(LookupError, match=f"call {call_id} is not reserved"):
        await settle(trading_connection, call_id, "0.50")
    with pytest.raises(LookupError, match=f"call {call_id} is not reserved"):
        await fail_call(
            trading_connection, call_id=call_id, error="late", charged_usd=Decimal(1), at=at(1)
        )

    assert await left(trading_connection) == Decimal("4.50")
