"""Positions as rows: they follow from fills, and from what persons said, through shared.ledger.

They are written nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.database.connection import (
    Connection,
    Row,
    execute,
    fetch,
    fetch_one,
    fetch_row,
    transaction,
)
from shared.ledger import ZERO, Adjustment, PositionState, apply_adjustment, apply_fill
from shared.models import Fee, Fill, Side
from shared.sql import DatabaseKind, Queries

Q = Queries(DatabaseKind.TRADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """One row of positions; amounts in its currency."""

    position_id: int
    agent_id: str
    cycle_id: str | None
    security_id: int | None
    symbol: str
    side: str
    """Always long."""
    status: str
    """open or closed."""
    currency: str
    quantity: int
    """Shares held now; 0 exactly when closed."""
    entry_quantity: int
    """Shares bought in total."""
    entry_price: Decimal
    """Average cost of a share, without fees."""
    entry_reason: str | None
    stop_loss: Decimal | None
    """As intended at entry; what rests at the broker is an order."""
    take_profit: Decimal | None
    exit_price: Decimal | None
    exit_reason: str | None
    fees: Decimal
    realized_pnl_gross: Decimal
    realized_pnl: Decimal
    """After all fees paid so far."""
    opened_at: datetime
    closed_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SpellRecord:
    """A time in which shares of a position had no stop in force."""

    spell_id: int
    agent_id: str
    position_id: int
    symbol: str
    quantity: int
    """The most shares that were without one at once."""
    began_at: datetime
    ended_at: datetime | None
    alarmed_at: datetime | None
    """When a person was told that it lasts too long."""
    how_ended: str | None


async def book_fills(connection: Connection, *, agent_id: str, symbol: str, at: datetime) -> None:
    """Give every fill of a symbol that fits its place in a position, in the order of execution.

    A buy opens a position or adds to it. A sell that is larger than what is held, or older than the
    position, stays without one: reconciliation has to explain it. The caller holds the symbol's lock.
    """
    position_id, state, booked = await _open_position(connection, agent_id, symbol)
    for row in await fetch(connection, Q["unbooked_fills"].bind(agent_id=agent_id, symbol=symbol)):
        fill = _fill(row)
        if not _fits(state, fill):
            await execute(connection, _unbooked_event(row, at))
            continue
        before = ZERO if state is None else state.realized_pnl
        state = apply_fill(state, fill)
        position_id = await _write(connection, position_id, state, row["order_id"], at)
        booked += 1
        await _book(
            connection,
            row,
            position_id=position_id,
            booked_sequence=booked,
            realized_pnl=state.realized_pnl - before,
        )
        if not state.is_open:
            position_id, state, booked = None, None, 0


async def adjust_position(
    connection: Connection,
    *,
    agent_id: str,
    symbol: str,
    adjustment: Adjustment,
    stop_loss: Decimal | None = None,
    take_profit: Decimal | None = None,
    why: str,
    accepted_by: str,
) -> None:
    """Write down what a person said the open position in a symbol comes to.

    Stop and target stay where they are unless they are given. Raises LookupError when nothing is open.
    """
    async with transaction(connection):
        await execute(connection, Q["lock_symbol"].bind(agent_id=agent_id, symbol=symbol))
        position_id, before, booked = await _open_position(connection, agent_id, symbol)
        if position_id is None or before is None:
            msg = f"{agent_id} has no open position in {symbol}"
            raise LookupError(msg)
        state = apply_adjustment(before, adjustment)
        insert = Q["insert_adjustment"].bind(
            agent_id=agent_id,
            position_id=position_id,
            booked_sequence=booked + 1,
            quantity_after=adjustment.quantity_after,
            entry_price_after=adjustment.entry_price_after,
            why=why,
            accepted_by=accepted_by,
            at=adjustment.at,
        )
        update = Q["adjust_position"].bind(
            position_id=position_id,
            quantity=state.quantity,
            entry_quantity=state.bought_quantity,
            entry_price=state.average_entry_price,
            stop_loss=stop_loss,
            take_profit=take_profit,
            exit_reason=f"adjusted: {why}",
            closed_at=state.closed_at,
            at=adjustment.at,
        )
        await execute(connection, insert)
        await execute(connection, update)


async def open_positions(connection: Connection, agent_id: str) -> tuple[PositionRecord, ...]:
    """Return what is held as far as fills are known, oldest first."""
    return _records(await fetch(connection, Q["open_positions"].bind(agent_id=agent_id)))


async def positions_of_session(
    connection: Connection, agent_id: str, since: datetime
) -> tuple[PositionRecord, ...]:
    """Return what is held and what was closed since then, oldest first."""
    statement = Q["positions_of_session"].bind(agent_id=agent_id, since=since)
    return _records(await fetch(connection, statement))


async def to_account_for(
    connection: Connection, agent_id: str, *, closed_since: datetime
) -> tuple[PositionRecord, ...]:
    """Return what is held, what closed since then, and what has a time without a stop that has no end."""
    statement = Q["positions_to_account_for"].bind(agent_id=agent_id, closed_since=closed_since)
    return _records(await fetch(connection, statement))


async def opened_without_legs(connection: Connection, agent_id: str) -> frozenset[int]:
    """Return which open positions were entered where no stop can rest: the monitor is their stop."""
    rows = await fetch(connection, Q["opened_without_legs"].bind(agent_id=agent_id))
    return frozenset(row["position_id"] for row in rows)


async def realized_pnl(connection: Connection, agent_id: str, since: datetime) -> Decimal:
    """Return the profit after fees that the fills since then realised, partial exits included."""
    statement = Q["realized_pnl"].bind(agent_id=agent_id, since=since)
    return (await fetch_one(connection, statement))["realized_pnl"]


async def fills_since(connection: Connection, agent_id: str, since: datetime) -> tuple[Fill, ...]:
    """Return the fills since then with their fees, oldest first."""
    rows = await fetch(connection, Q["fills_since"].bind(agent_id=agent_id, since=since))
    return tuple(_fill(row) for row in rows)


async def unexplained_fills(connection: Connection, agent_id: str) -> tuple[str, ...]:
    """Return the ids of fills that fit no position; anything here needs a person."""
    rows = await fetch(connection, Q["unexplained_fills"].bind(agent_id=agent_id))
    return tuple(row["fill_id"] for row in rows)


async def own_exit(connection: Connection, *, agent_id: str, symbol: str) -> bool:
    """Be the one session that leaves a symbol; False when another one is. It ends with the session."""
    row = await fetch_one(connection, Q["own_exit"].bind(agent_id=agent_id, symbol=symbol))
    return bool(row["owned"])


async def release_exit(connection: Connection, *, agent_id: str, symbol: str) -> None:
    """Let another session leave the symbol."""
    await fetch_one(connection, Q["release_exit"].bind(agent_id=agent_id, symbol=symbol))


async def note_spell(
    connection: Connection,
    *,
    position: PositionRecord,
    quantity: int,
    began_at: datetime,
    ended_at: datetime | None,
) -> SpellRecord:
    """Keep a time in which that many shares of a position had no stop in force, and return its row."""
    statement = Q["note_spell"].bind(
        agent_id=position.agent_id,
        position_id=position.position_id,
        symbol=position.symbol,
        quantity=quantity,
        began_at=began_at,
        ended_at=ended_at,
        how_ended=None if ended_at is None else "protected, or sold",
    )
    return SpellRecord(**await fetch_one(connection, statement))


async def alarm_spell(connection: Connection, *, spell_id: int, at: datetime) -> None:
    """Note that a person was told of it."""
    await execute(connection, Q["alarm_spell"].bind(spell_id=spell_id, at=at))


async def _open_position(
    connection: Connection, agent_id: str, symbol: str
) -> tuple[int | None, PositionState | None, int]:
    """Return the open position's id, its state replayed from its history, and how long that is."""
    statement = Q["lock_open_position"].bind(agent_id=agent_id, symbol=symbol)
    row = await fetch_row(connection, statement)
    if row is None:
        return None, None, 0
    position_id: int = row["position_id"]
    booked = await fetch(connection, Q["booked_fills"].bind(position_id=position_id))
    adjusted = await fetch(connection, Q["adjustments"].bind(position_id=position_id))
    history: dict[int, Fill | Adjustment] = {row["booked_sequence"]: _fill(row) for row in booked}
    history |= {row["booked_sequence"]: _adjustment(row) for row in adjusted}
    state: PositionState | None = None
    for _, event in sorted(history.items()):
        state = _after(state, event)
    return position_id, state, len(history)


def _after(state: PositionState | None, event: Fill | Adjustment) -> PositionState | None:
    if isinstance(event, Fill):
        return apply_fill(state, event)
    return None if state is None else apply_adjustment(state, event)


def _fits(state: PositionState | None, fill: Fill) -> bool:
    if fill.side is Side.BUY:
        return True
    return state is not None and fill.quantity <= state.quantity and fill.at >= state.opened_at


async def _write(
    connection: Connection,
    position_id: int | None,
    state: PositionState,
    order_id: int,
    at: datetime,
) -> int:
    """Insert or update the position's row after a fill of that order; return its id."""
    amounts = {
        "quantity": state.quantity,
        "entry_quantity": state.bought_quantity,
        "entry_price": state.average_entry_price,
        "fees": state.fees,
        "realized_pnl_gross": state.realized_pnl_gross,
        "realized_pnl": state.realized_pnl,
        "order_id": order_id,
        "at": at,
    }
    if position_id is None:
        insert = Q["open_position"].bind(**amounts, opened_at=state.opened_at)
        return (await fetch_one(connection, insert))["position_id"]
    update = Q["update_position"].bind(
        **amounts,
        position_id=position_id,
        exit_price=state.average_exit_price,
        closed_at=state.closed_at,
    )
    await execute(connection, update)
    return position_id


async def _book(
    connection: Connection,
    row: Row,
    *,
    position_id: int,
    booked_sequence: int,
    realized_pnl: Decimal,
) -> None:
    statement = Q["book_fill"].bind(
        fill_key=row["fill_key"],
        position_id=position_id,
        booked_sequence=booked_sequence,
        realized_pnl=realized_pnl,
    )
    await execute(connection, statement)
    await execute(
        connection, Q["link_orders"].bind(position_id=position_id, order_id=row["order_id"])
    )


def _unbooked_event(row: Row, at: datetime) -> tuple[str, *tuple[object, ...]]:
    return Q["insert_event_once"].bind(
        order_id=row["order_id"],
        kind="unbooked_fill",
        from_status=None,
        to_status=None,
        source="ledger",
        detail=f"{row['side']} {row['quantity']} ({row['fill_id']}) fits no position",
        at=at,
    )


def _fill(row: Row) -> Fill:
    fees = (Fee(name="all", amount=row["fees"], currency=row["currency"]),)
    return Fill(
        fill_id=row["fill_id"],
        broker_order_id=row["broker_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        price=row["price"],
        at=row["filled_at"],
        fees=fees,
    )


def _adjustment(row: Row) -> Adjustment:
    return Adjustment(
        quantity_after=row["quantity_after"],
        entry_price_after=row["entry_price_after"],
        at=row["at"],
    )


def _records(rows: Sequence[Row]) -> tuple[PositionRecord, ...]:
    return tuple(PositionRecord(**row) for row in rows)
