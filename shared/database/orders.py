"""Orders, fills and positions of one agent: the one module to import for them."""

from shared.database.broker_reports import record_broker_order
from shared.database.order_rows import (
    DuplicateOrder,
    ExitUnderWay,
    OrderEvent,
    OrderRecord,
    broker_ids_of_symbol,
    entries_since,
    events_of_order,
    insert_intent,
    move_order,
    note_absence,
    open_orders,
    order_by_client_id,
    orders_of_cycle,
    sender_is_over,
    unfinished_since,
    unresolved_orders,
)
from shared.database.positions import (
    PositionRecord,
    open_positions,
    positions_of_session,
    realized_pnl,
    unexplained_fills,
)

__all__ = [
    "DuplicateOrder",
    "ExitUnderWay",
    "OrderEvent",
    "OrderRecord",
    "PositionRecord",
    "broker_ids_of_symbol",
    "entries_since",
    "events_of_order",
    "insert_intent",
    "move_order",
    "note_absence",
    "open_orders",
    "open_positions",
    "order_by_client_id",
    "orders_of_cycle",
    "positions_of_session",
    "realized_pnl",
    "record_broker_order",
    "sender_is_over",
    "unexplained_fills",
    "unfinished_since",
    "unresolved_orders",
]
