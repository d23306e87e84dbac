"""The safety layer: decides whether an order may be sent, and is the only maker of an ApprovedOrder.

Pure: a request, one snapshot, the limits and the time go in; an approval or every reason against it
comes out. Claude reaches none of it.
"""

from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import final

from shared.models import OrderRequest

_SEAL = object()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedOrder:
    """An order that passed every rule; brokers accept nothing else, and only this module can make one."""

    request: OrderRequest
    approved_at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        _require_seal(seal)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedCancel:
    """Leave to cancel one order, protective stops included; only this module can give it."""

    broker_order_id: str
    why: str
    approved_at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        _require_seal(seal)


def _require_seal(seal: object) -> None:
    if seal is not _SEAL:
        msg = "an approval is made by safety.review and by nothing else"
        raise TypeError(msg)
