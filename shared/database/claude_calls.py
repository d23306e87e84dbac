"""Money for Claude: a call's worst case is set aside before it is made, and settled afterwards.

A reservation that is never settled, because its process died, counts as spent for the rest of its day.
"""

from datetime import date, datetime
from decimal import Decimal

from shared.database.connection import Connection, Row, execute, fetch_one, fetch_row, transaction
from shared.database.cycles import seconds
from shared.errors import BudgetExceeded
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


async def reserve_call(
    connection: Connection,
    *,
    agent_id: str,
    cycle_id: str | None,
    budget_date: date,
    budget_usd: Decimal,
    model: str,
    worst_case_usd: Decimal,
    at: datetime,
) -> int:
    """Set a call's worst case aside and return the call's id; safe against others doing the same.

    `budget_usd` becomes the day's budget. Raises BudgetExceeded, and then nothing is set aside.
    """
    call = {"agent_id": agent_id, "budget_date": budget_date, "worst_case_usd": worst_case_usd}
    async with transaction(connection):
        reserve = Q["reserve_budget"].bind(**call, budget_usd=budget_usd)
        if await fetch_row(connection, reserve) is not None:
            insert = Q["insert_call"].bind(**call, cycle_id=cycle_id, model=model, at=at)
            return (await fetch_one(connection, insert))["call_id"]
    left = await budget_left(
        connection, agent_id=agent_id, budget_date=budget_date, budget_usd=budget_usd
    )
    msg = (
        f"a call may cost {worst_case_usd} USD, "
        f"{left} of {budget_usd} USD are left for {budget_date}"
    )
    raise BudgetExceeded(msg)


async def settle_call(
    connection: Connection,
    *,
    call_id: int,
    input_tokens: int,
    output_tokens: int,
    cache_read_tokens: int,
    cache_write_tokens: int,
    cost_usd: Decimal,
    stop_reason: str | None,
    request_id: str | None,
    duration_seconds: float,
    at: datetime,
) -> None:
    """Replace a call's reservation by what it cost, which may be more: then the row says so.

    Raises LookupError when the call is not reserved any more.
    """
    statement = Q["settle_call"].bind(
        call_id=call_id,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=cache_write_tokens,
        cost_usd=cost_usd,
        stop_reason=stop_reason,
        request_id=request_id,
        duration_seconds=seconds(duration_seconds),
        at=at,
    )
    async with transaction(connection):
        row = await fetch_row(connection, statement)
        await _settle_budget(connection, row, call_id=call_id, cost_usd=cost_usd)


async def fail_call(
    connection: Connection, *, call_id: int, error: str, charged_usd: Decimal, at: datetime
) -> None:
    """Release a failed call's reservation, less what it may have been charged.

    Raises LookupError when the call is not reserved any more.
    """
    statement = Q["fail_call"].bind(call_id=call_id, error=error, charged_usd=charged_usd, at=at)
    async with transaction(connection):
        row = await fetch_row(connection, statement)
        await _settle_budget(connection, row, call_id=call_id, cost_usd=charged_usd)


async def budget_left(
    connection: Connection, *, agent_id: str, budget_date: date, budget_usd: Decimal
) -> Decimal:
    """Return how many USD may still be set aside that day; never less than 0."""
    row = await fetch_row(
        connection, Q["budget_used"].bind(agent_id=agent_id, budget_date=budget_date)
    )
    used = Decimal(0) if row is None else row["spent_usd"] + row["reserved_usd"]
    return max(budget_usd - used, Decimal(0))


async def cycle_cost(connection: Connection, cycle_id: str) -> Decimal:
    """Return what the settled and failed calls of a run have cost in USD."""
    return (await fetch_one(connection, Q["cycle_cost"].bind(cycle_id=cycle_id)))["cost_usd"]


async def _settle_budget(
    connection: Connection, row: Row | None, *, call_id: int, cost_usd: Decimal
) -> None:
    if row is None:
        msg = f"call {call_id} is not reserved"
        raise LookupError(msg)
    await execute(connection, Q["settle_budget"].bind(**row, cost_usd=cost_usd))
