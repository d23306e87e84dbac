"""What comparisons of broker and database need of the database, and what they leave in it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import cast

from shared.database import accounts, positions
from shared.database.connection import Connection, Row, execute, fetch, fetch_row
from shared.models import Side, Verdict
from shared.order_life import OrderState
from shared.reconciliation import Reconciliation
from shared.reconciliation_views import (
    BrokerView,
    DatabaseView,
    Delta,
    OurOrder,
    OurPosition,
    SymbolLock,
)
from shared.sql import DatabaseKind, Json, Queries

Q = Queries(DatabaseKind.TRADING)

RECONCILIATION = "reconciliation"
"""Who locks a symbol, and who releases it when what was found has passed by itself."""


async def read_view(
    connection: Connection,
    agent_id: str,
    *,
    since: datetime,
    session_began_at: datetime,
    closes: Mapping[str, Decimal],
    stop_file: Mapping[str, Decimal | None] | None = None,
) -> DatabaseView:
    """Return what the database knows; `closes` stand in for prices that the monitor has not seen.

    Orders that were closed before `since` are left out.
    """
    held = await positions.open_positions(connection, agent_id)
    orders = await fetch(connection, Q["reconciled_orders"].bind(agent_id=agent_id, since=since))
    external = await fetch(connection, Q["external_holdings"].bind(agent_id=agent_id))
    seen = await fetch(connection, Q["last_seen_prices"].bind(agent_id=agent_id))
    marks = await fetch(connection, Q["settled_marks"].bind(agent_id=agent_id))
    return DatabaseView(
        positions=tuple(
            OurPosition(
                position_id=record.position_id,
                symbol=record.symbol,
                quantity=record.quantity,
                entry_price=record.entry_price,
                held_overnight=record.opened_at < session_began_at,
                stop_loss=record.stop_loss,
            )
            for record in held
        ),
        orders=tuple(_order(row) for row in orders),
        external={row["symbol"]: row["quantity"] for row in external},
        locks=await locks_in_force(connection, agent_id),
        settled=frozenset(row["mark"] for row in marks),
        last_prices={**closes, **{row["symbol"]: row["last_price"] for row in seen}},
        pin=await accounts.pinned_account(connection, agent_id),
        stop_file=stop_file,
    )


async def record_reconciliation(
    connection: Connection,
    *,
    agent_id: str,
    session_date: date | None,
    source: str,
    found: Reconciliation,
    database: DatabaseView,
    broker: BrokerView,
    at: datetime,
) -> None:
    """Keep what a comparison came to, with a hash of either side as it was seen."""
    statement = Q["insert_reconciliation"].bind(
        agent_id=agent_id,
        session_date=session_date,
        source=source,
        verdict=found.verdict,
        why=found.sentence(),
        deltas=Json([_evidence(delta) for delta in found.deltas]),
        broker_hash=_hash(broker),
        database_hash=_hash(database),
        at=at,
    )
    await execute(connection, statement)


async def latest_verdict(
    connection: Connection, agent_id: str, session_date: date
) -> Verdict | None:
    """Return what the latest comparison for a session came to; None before the first."""
    statement = Q["latest_verdict"].bind(agent_id=agent_id, session_date=session_date)
    row = await fetch_row(connection, statement)
    return None if row is None else Verdict(row["verdict"])


async def lock_for(connection: Connection, agent_id: str, delta: Delta, at: datetime) -> bool:
    """Lock the symbol of a finding; return whether that is news. Raises ValueError where it has none."""
    if delta.symbol is None:
        msg = f"{delta.kind} concerns no symbol"
        raise ValueError(msg)
    statement = Q["insert_symbol_lock"].bind(
        agent_id=agent_id,
        symbol=delta.symbol,
        kind=delta.kind,
        reason=delta.sentence,
        evidence=Json(_evidence(delta)),
        locked_by=RECONCILIATION,
        at=at,
    )
    return await fetch_row(connection, statement) is not None


async def locks_in_force(connection: Connection, agent_id: str) -> tuple[SymbolLock, ...]:
    """Return the locks that nobody has released, oldest first."""
    rows = await fetch(connection, Q["symbol_locks_in_force"].bind(agent_id=agent_id))
    return _locks(rows)


async def release(
    connection: Connection,
    *,
    agent_id: str,
    symbol: str,
    by: str,
    why: str,
    at: datetime,
    kind: str | None = None,
) -> tuple[SymbolLock, ...]:
    """Release the locks of a symbol, or those of one kind, and return them."""
    statement = Q["release_symbol_locks"].bind(
        agent_id=agent_id, symbol=symbol, kind=kind, released_by=by, why=why, at=at
    )
    return _locks(await fetch(connection, statement))


async def accept_external(
    connection: Connection,
    *,
    agent_id: str,
    symbol: str,
    quantity: Decimal,
    why: str,
    accepted_by: str,
    at: datetime,
) -> None:
    """Keep how many shares of a symbol a person said are not the agent's to manage."""
    statement = Q["accept_external_holding"].bind(
        agent_id=agent_id,
        symbol=symbol,
        quantity=quantity,
        why=why,
        accepted_by=accepted_by,
        at=at,
    )
    await execute(connection, statement)


def _order(row: Row) -> OurOrder:
    return OurOrder(
        order_id=row["order_id"],
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        state=OrderState(row["status"]),
        created_at=row["created_at"],
        is_leg=row["is_leg"],
    )


def _evidence(delta: Delta) -> Mapping[str, object]:
    return {
        "kind": delta.kind,
        "symbol": delta.symbol,
        "sentence": delta.sentence,
        "expected": delta.expected,
        "shown": delta.shown,
        "order_id": delta.order_id,
        "mark": delta.mark,
    }


def _hash(view: DatabaseView | BrokerView) -> str:
    said = json.dumps(asdict(view), default=_text, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _text(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(str(item) for item in cast("frozenset[object]", value))
    return str(value)


def _locks(rows: Sequence[Row]) -> tuple[SymbolLock, ...]:
    return tuple(SymbolLock(**row) for row in rows)
