"""What became of a request: refused by safety, stopped by a dry run, or an order with a row."""

from dataclasses import dataclass, field
from typing import assert_never
from uuid import UUID

from shared.database.fences import Sender
from shared.database.orders import OrderRecord
from shared.models import Order, OrderRequest, Refusal
from shared.order_life import OrderState


class Reports:
    """What was written down of each order, so that the same report is not written again and again."""

    def __init__(self) -> None:
        self._known: dict[str, Order] = {}

    def is_known(self, order: Order) -> bool:
        """Whether the broker said exactly this before, and it was written down."""
        return self._known.get(order.broker_order_id) == order

    def note(self, order: Order) -> None:
        """Remember what has been written down."""
        self._known[order.broker_order_id] = order


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskContext:
    """Under whose name, in which cycle, and for which database orders are placed."""

    agent_id: str
    cycle_id: str
    currency: str
    database: UUID
    sender: Sender
    """Under which lock; an intent is written only while that is held."""
    dry_run: bool
    is_cycle: bool = True
    """Whether the cycle has a row; the startup monitor is none."""
    occasion: str = ""
    """Tells the decisions of one pass from those of the next, where a run makes many."""
    reports: Reports = field(default_factory=Reports, compare=False)

    @property
    def cycle_row(self) -> str | None:
        """The cycle that rows can refer to."""
        return self.cycle_id if self.is_cycle else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Safety said no; the reasons are recorded."""

    request: OrderRequest
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPlaced:
    """Safety agreed and a dry run stopped here; nothing was written or sent."""

    request: OrderRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The order has a row; its state says what the broker made of it."""

    record: OrderRecord
    duplicate: bool = False
    """True when the same decision was asked before in this cycle and this is its first result."""
    problem: str | None = None
    """Why the broker does not have it, or may not have it, where this call found that out."""


Submission = Refused | NotPlaced | Placed


def why_not_resting(submission: Submission) -> str | None:
    """Say why an order does not work at the broker; None where it does, is filled, or in a dry run."""
    match submission:
        case Refused():
            return str(submission.refusal)
        case NotPlaced():
            return None
        case Placed(record=record):
            if record.status.is_open or record.status is OrderState.FILLED:
                return None
            return f"the order is {record.status}: {submission.problem or record.reject_reason}"
        case _:
            assert_never(submission)
