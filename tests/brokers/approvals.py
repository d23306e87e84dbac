"""Approvals for tests of what lies behind safety; the program itself gets them from safety.review alone."""

from datetime import UTC, datetime

import safety
from safety import ApprovedCancel, ApprovedOrder
from shared.models import OrderRequest

_AT = datetime(2026, 6, 15, tzinfo=UTC)


def approved(request: OrderRequest) -> ApprovedOrder:
    return ApprovedOrder(request=request, approved_at=_AT, seal=safety._SEAL)


def approved_cancel(broker_order_id: str) -> ApprovedCancel:
    return ApprovedCancel(
        broker_order_id=broker_order_id, why="test", approved_at=_AT, seal=safety._SEAL
    )
