"""Names that must come out the same again: cycle ids and client order ids."""

import hashlib
from datetime import datetime
from uuid import UUID

from shared.models import Mode, OrderRequest

CLIENT_ORDER_ID_LENGTH = 44


def cycle_id(agent_id: str, mode: Mode, at: datetime, *, attempt: int = 1) -> str:
    """Name a cycle by agent, slot and mode, with the attempt where a slot is run again by force."""
    again = "" if attempt == 1 else f"-{attempt}"
    return f"{agent_id}-{at:%Y%m%dT%H%M%S}-{mode}{again}"


def decision_key(request: OrderRequest) -> str:
    """Reduce a request to what was decided, so that the same decision asked twice is one decision."""
    parts = (
        request.symbol,
        request.side,
        request.purpose,
        str(request.quantity),
        request.order_type,
        request.replaces or "-",
        *(
            "-" if price is None else format(price.normalize(), "f")
            for price in (
                request.limit_price,
                request.stop_price,
                request.stop_loss,
                request.take_profit,
            )
        ),
    )
    return "|".join(parts)


def client_order_id(
    *,
    database: UUID,
    agent_id: str,
    cycle: str,
    decision: str,
    leg: str = "parent",
    attempt: int = 1,
) -> str:
    """Derive an order's id from what caused it: at most 48 ASCII characters, equal for equal causes.

    The database's identity is part of it, so that two installations on one account cannot collide.
    """
    cause = "\n".join((str(database), agent_id, cycle, decision, leg, str(attempt)))
    return "cat-" + hashlib.sha256(cause.encode()).hexdigest()[: CLIENT_ORDER_ID_LENGTH - 4]
