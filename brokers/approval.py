"""What may be sent: adapters let nothing else through, whatever the type checker let pass."""

from safety import ApprovedCancel, ApprovedOrder
from shared.models import OrderRequest


def approved_request(approved: object) -> OrderRequest:
    """Return the order that safety approved. Raises TypeError for anything else."""
    if not isinstance(approved, ApprovedOrder):
        msg = f"only an ApprovedOrder may be sent, was {type(approved).__name__}"
        raise TypeError(msg)
    return approved.request


def approved_cancel(approved: object) -> str:
    """Return the broker's id of the order whose cancel safety approved. Raises TypeError for anything else."""
    if not isinstance(approved, ApprovedCancel):
        msg = f"only an ApprovedCancel may be sent, was {type(approved).__name__}"
        raise TypeError(msg)
    return approved.broker_order_id
