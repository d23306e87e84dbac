"""Orders, fills and positions of one agent: the one module to import for them."""

from shared.database.broker_reports import record_broker_order
from shared.database.order_rows import (
    DuplicateOrder,
    OrderEvent,
    OrderRecord,
    entries_since,
    events_of_order,
    insert_intent,
    move_order,
    open_orders,
    order_by_client_id,
    orders_of_cycle,
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
    "OrderEvent",
    "OrderRecord",
    "PositionRecord",
    "entries_since",
    "events_of_order",
    "insert_intent",
    "move_order",
    "open_orders",
    "open_positions",
    "order_by_client_id",
    "orders_of_cycle",
    "positions_of_session",
    "realized_pnl",
    "record_broker_order",
    "unexplained_fills",
    "unresolved_orders",
]
