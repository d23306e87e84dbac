"""What a call to OpenD that failed means for an order: not taken, refused, or unclear."""

from brokers.paper_rules import RejectCode
from shared.errors import BrokerUnavailable, CatalystError, OrderOutcomeUnknown, OrderRejected
from shared.opend import CallFailed, Refused
from shared.opend_limits import WINDOW_SECONDS
from shared.opend_refusals import is_logged_out, is_too_often, is_unclear

_REASONS = (
    ("unknown stock", RejectCode.UNKNOWN_SYMBOL),
    ("does not exist", RejectCode.ORDER_NOT_FOUND),
    ("cannot be modified or cancelled", RejectCode.NOT_CANCELABLE),
    ("insufficient positions", RejectCode.INSUFFICIENT_QTY),
    ("buying power", RejectCode.INSUFFICIENT_BUYING_POWER),
    ("lot size", RejectCode.INVALID_QUANTITY),
    ("price spread", RejectCode.INVALID_PRICE),
)


def of_read(error: CallFailed) -> BrokerUnavailable:
    """Translate the failure of a read."""
    if isinstance(error, Refused) and is_too_often(error.text):
        return BrokerUnavailable(str(error), retry_after_seconds=WINDOW_SECONDS)
    if isinstance(error, Refused) and is_logged_out(error.text):
        return BrokerUnavailable(f"{error}: log OpenD in, and give it the code that it asks for")
    return BrokerUnavailable(str(error), retry_after_seconds=error.retry_after_seconds)


def of_write(error: CallFailed) -> CatalystError:
    """Translate the failure of a write: whatever is not proven is unknown."""
    if not error.may_have_arrived:
        return of_read(error)
    if not isinstance(error, Refused):
        return OrderOutcomeUnknown(str(error))
    if is_too_often(error.text):
        return of_read(error)
    if is_unclear(error.text):
        return OrderOutcomeUnknown(str(error))
    if is_logged_out(error.text):
        return of_read(error)
    words = error.text.lower()
    return OrderRejected(
        str(error), code=next((code for part, code in _REASONS if part in words), None)
    )
