from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import asyncpg
import pytest

from shared.consciousness import AgentState, Message
from shared.database.connection import Connection
from shared.database.missed_slots import Began, SlotRun
from shared.database.orders import OrderEvent, OrderRecord, PositionRecord
from shared.database.records import QueuedAlert
from shared.embedded_postgres import Server
from shared.migrate import known
from shared.sql import ROOT, DatabaseKind, Queries, Query, load
from tests.fixtures.databases import drop_database, new_database

TRADING = Queries(DatabaseKind.TRADING)
RESEARCH = Queries(DatabaseKind.RESEARCH)

MAPPED_WHOLE = (
    ("order_by_client_id", OrderRecord),
    ("unresolved_orders", OrderRecord),
    ("open_orders", OrderRecord),
    ("orders_of_cycle", OrderRecord),
    ("insert_intent", OrderRecord),
    ("insert_leg", OrderRecord),
    ("move_order", OrderRecord),
    ("lock_order", OrderRecord),
    ("lock_order_by_client_id", OrderRecord),
    ("lock_order_by_broker_id", OrderRecord),
    ("events_of_order", OrderEvent),
    ("open_positions", PositionRecord),
    ("positions_of_session", PositionRecord),
    ("positions_to_account_for", PositionRecord),
    ("queued_alerts", QueuedAlert),
    ("claim_alert", QueuedAlert),
    ("agent_began", Began),
    ("runs_of_slots", SlotRun),
)
MAPPED_WHOLE_IN_RESEARCH = (
    ("wake_up", AgentState),
    ("sleep", AgentState),
    ("record_error", AgentState),
    ("record_api_spend", AgentState),
    ("unread_messages", Message),
)


async def test_every_trading_query_is_understood_by_the_server(
    trading_connection: Connection,
) -> None:
    assert await _not_understood(trading_connection, TRADING) == {}


async def test_every_research_query_is_understood_by_the_server(
    research_connection: Connection,
) -> None:
    assert await _not_understood(research_connection, RESEARCH) == {}


async def test_the_common_queries_are_understood_in_both_databases(
    trading_connection: Connection, research_connection: Connection
) -> None:
    common = load(ROOT / "both")

    assert await _not_understood(trading_connection, common) == {}
    assert await _not_understood(research_connection, common) == {}


@pytest.mark.parametrize("kind", list(DatabaseKind))
async def test_schema_and_queries_also_work_on_postgresql_15(
    kind: DatabaseKind, postgres_15_server: Server
) -> None:
    name = await new_database(postgres_15_server)
    connection = await asyncpg.connect(postgres_15_server.dsn(name))
    try:
        for migration in known(kind):
            await connection.execute(migration.sql)
        problems = await _not_understood(connection, {**Queries(kind), **load(ROOT / "both")})
        version = connection.get_server_version()
    finally:
        await connection.close()
        await drop_database(postgres_15_server, name)

    assert version.major == 15
    assert problems == {}


async def test_rows_have_exactly_the_fields_of_their_values(
    trading_connection: Connection, research_connection: Connection
) -> None:
    for name, value in MAPPED_WHOLE:
        assert await _columns(trading_connection, TRADING[name]) == _fields(value), name
    for name, value in MAPPED_WHOLE_IN_RESEARCH:
        assert await _columns(research_connection, RESEARCH[name]) == _fields(value), name


def test_every_query_is_used_by_the_code() -> None:
    project = Path(__file__).resolve().parent.parent.parent
    paths = [*project.glob("*.py"), *(project / "shared").rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in paths)
    names = {*TRADING, *RESEARCH, *load(ROOT / "both")}

    assert {name for name in names if f'"{name}"' not in code} == set()


async def _not_understood(
    connection: Connection, queries: Mapping[str, Query]
) -> Mapping[str, str]:
    problems: dict[str, str] = {}
    for query in queries.values():
        try:
            statement = await connection.prepare(query.sql)
        except asyncpg.PostgresError as error:
            problems[query.name] = str(error)
        else:
            assert len(statement.get_parameters()) == len(query.parameters)
    return problems


async def _columns(connection: Connection, query: Query) -> set[str]:
    statement = await connection.prepare(query.sql)
    return {attribute.name for attribute in statement.get_attributes()}


def _fields(value: type) -> set[str]:
    return {field.name for field in fields(value)}
