import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import get_args

import asyncpg
import pytest

from shared.consciousness import AgentMode, MessageType, Priority
from shared.database.connection import Connection
from shared.database.cycles import CycleStatus
from shared.database.records import Severity
from shared.models import (
    InstrumentKind,
    Mode,
    OrderClass,
    OrderPurpose,
    OrderType,
    Side,
    TimeInForce,
)
from shared.order_life import TRANSITIONS, OrderState
from tests.fixtures.broker_orders import intended
from tools import DecisionKind

AT = datetime(2026, 6, 15, 14, 30, tzinfo=UTC)

CHECKED: dict[str, type[StrEnum]] = {
    "orders_status_known": OrderState,
    "orders_side_known": Side,
    "fills_side_known": Side,
    "orders_order_type_known": OrderType,
    "orders_order_class_known": OrderClass,
    "orders_time_in_force_known": TimeInForce,
    "orders_order_purpose_known": OrderPurpose,
    "trading_cycles_mode_known": Mode,
    "trading_cycles_status_known": CycleStatus,
    "securities_kind_known": InstrumentKind,
}
CHECKED_IN_RESEARCH: dict[str, type[StrEnum]] = {
    "claude_state_current_mode_known": AgentMode,
    "claude_messages_msg_type_known": MessageType,
    "claude_messages_priority_known": Priority,
}


async def test_the_checks_list_exactly_the_values_of_the_enums(
    trading_connection: Connection,
) -> None:
    for name, values in CHECKED.items():
        assert await _allowed(trading_connection, name) == set(values), name


async def test_the_table_of_transitions_is_that_of_the_code(
    trading_connection: Connection,
) -> None:
    rows = await trading_connection.fetch("SELECT from_status, to_status FROM order_transitions")
    in_code = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}

    assert {tuple(row) for row in rows} == in_code


async def test_the_database_itself_refuses_a_move_that_the_table_does_not_have(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    await trading_connection.execute("UPDATE orders SET status = 'rejected'")
    with pytest.raises(asyncpg.CheckViolationError, match="cannot go from rejected to accepted"):
        await trading_connection.execute("UPDATE orders SET status = 'accepted'")


async def test_the_checks_of_research_list_exactly_the_values_of_the_enums(
    research_connection: Connection,
) -> None:
    for name, values in CHECKED_IN_RESEARCH.items():
        assert await _allowed(research_connection, name) == set(values), name


async def test_an_alert_knows_exactly_the_severities_of_the_code(
    trading_connection: Connection,
) -> None:
    allowed = await _allowed(trading_connection, "alerts_severity_known")

    assert allowed == set(get_args(Severity))


async def test_every_decision_that_claude_may_log_can_be_kept(
    trading_connection: Connection,
) -> None:
    assert set(DecisionKind) <= await _allowed(trading_connection, "decisions_decision_known")


async def test_no_money_is_kept_as_a_float_and_no_time_without_a_zone(
    trading_connection: Connection, research_connection: Connection
) -> None:
    for connection in (trading_connection, research_connection):
        rows = await connection.fetch(
            """
            SELECT table_name, column_name, data_type FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type IN (
                'real', 'double precision', 'money', 'timestamp without time zone', 'json'
            )
            """
        )

        assert [tuple(row) for row in rows] == []


async def test_no_column_defaults_to_a_market_a_currency_or_a_broker(
    trading_connection: Connection, research_connection: Connection
) -> None:
    defaults = {
        row["column_default"]
        for connection in (trading_connection, research_connection)
        for row in await connection.fetch(
            """
            SELECT column_default FROM information_schema.columns
            WHERE table_schema = 'public' AND column_default IS NOT NULL
            """
        )
    }

    assert defaults == {"now()", "true", "gen_random_uuid()"}


FORBIDDEN: dict[str, tuple[str, str]] = {
    "a second open position in a symbol": (
        "positions_one_open_per_symbol",
        """
        INSERT INTO positions (
            agent_id, symbol, side, status, currency, quantity, entry_quantity, entry_price, fees,
            realized_pnl_gross, realized_pnl, opened_at, updated_at
        ) SELECT 'agent', 'ACME', 'long', 'open', 'USD', 1, 1, 1, 0, 0, 0, $1, $1
        FROM generate_series(1, 2)
        """,
    ),
    "an open position of nothing": (
        "positions_open_means_held",
        """
        INSERT INTO positions (
            agent_id, symbol, side, status, currency, quantity, entry_quantity, entry_price, fees,
            realized_pnl_gross, realized_pnl, opened_at, updated_at
        ) VALUES ('agent', 'ACME', 'long', 'open', 'USD', 0, 1, 1, 0, 0, 0, $1, $1)
        """,
    ),
    "an order that is nobody's": (
        "orders_own_or_leg",
        """
        INSERT INTO orders (
            agent_id, symbol, side, order_type, order_class, time_in_force, order_purpose, status,
            quantity, currency, filled_quantity, created_at, updated_at
        ) VALUES (
            'agent', 'ACME', 'buy', 'market', 'simple', 'day', 'entry', 'intent', 1, 'USD', 0, $1, $1
        )
        """,
    ),
    "a sale that opens a position": (
        "orders_entry_buys",
        """
        INSERT INTO orders (
            agent_id, client_order_id, symbol, side, order_type, order_class, time_in_force,
            order_purpose, status, quantity, currency, filled_quantity, created_at, updated_at
        ) VALUES (
            'agent', 'c', 'ACME', 'sell', 'market', 'simple', 'day', 'entry', 'intent', 1, 'USD', 0,
            $1, $1
        )
        """,
    ),
    "a limit order without a limit": (
        "orders_type_has_its_price",
        """
        INSERT INTO orders (
            agent_id, client_order_id, symbol, side, order_type, order_class, time_in_force,
            order_purpose, status, quantity, currency, filled_quantity, created_at, updated_at
        ) VALUES (
            'agent', 'c', 'ACME', 'buy', 'limit', 'simple', 'day', 'entry', 'intent', 1, 'USD', 0,
            $1, $1
        )
        """,
    ),
    "a live account": (
        "account_pins_paper_only",
        """
        INSERT INTO account_pins (agent_id, broker, environment, account_id, pinned_at)
        VALUES ('agent', 'broker', 'live', 'A1', $1)
        """,
    ),
    "a refusal without a reason": (
        "refusals_say_why",
        """
        INSERT INTO refusals (agent_id, tool, request, codes, texts, refused_at)
        VALUES ('agent', 'execute_trade', '{}', '{}', '{}', $1)
        """,
    ),
    "a second identity": (
        "database_identity_pkey",
        """
        INSERT INTO database_identity (identity)
        SELECT gen_random_uuid() WHERE $1::timestamptz IS NOT NULL
        """,
    ),
}


@pytest.mark.parametrize(("constraint", "statement"), FORBIDDEN.values(), ids=list(FORBIDDEN))
async def test_the_database_itself_refuses(
    constraint: str, statement: str, trading_connection: Connection
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await trading_connection.execute(statement, AT)

    assert _constraint_of(caught.value) == constraint


async def test_a_day_of_spending_cannot_pass_its_budget_even_by_hand(
    trading_connection: Connection,
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="budget_days_never_passed"):
        await trading_connection.execute(
            """
            INSERT INTO budget_days VALUES ('agent', '2026-06-15', 5, 1, 4.01, 0)
            """
        )


async def _allowed(connection: Connection, constraint: str) -> set[str]:
    definition: object = await connection.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint
    )
    return set(re.findall(r"'(\w+)'::text", str(definition)))


def _constraint_of(error: asyncpg.IntegrityConstraintViolationError) -> object:
    return getattr(error, "constraint_name", None)
