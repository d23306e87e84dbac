"""What a call to OpenD that failed means: not taken, refused, or unclear.

OpenD has words and no codes: the few that mean something else than a refusal are known here.
"""

from brokers.paper_rules import RejectCode
from shared.errors import BrokerUnavailable, CatalystError, OrderOutcomeUnknown, OrderRejected
from shared.opend import CallFailed, Refused
from shared.opend_limits import WINDOW_SECONDS

_TOO_MANY = ("too frequent", "frequency limit", "频率", "頻率", "频繁", "頻繁")
_LOGGED_OUT = ("not logged in", "not login", "log in first", "login first")
_UNKNOWN_STOCK = ("unknown stock",)
_UNCLEAR = (
    *("timeout", "timed out", "time out", "timed-out", "no response", "duplicate packet"),
    *("network", "disconnect", "connection", "interrupt", "internal error", "unknown error"),
    *("system error", "server error", "server busy", "system busy", "try again"),
    *(
        "超时",
        "超時",
        "网络",
        "網絡",
        "断开",
        "斷開",
        "重复",
        "重複",
        "未知错误",
        "未知錯誤",
        "稍后",
        "稍後",
    ),
)
"""OpenD says these of its own way to moomoo's servers, where an order may have arrived all the same."""
_REASONS = (
    ("unknown stock", RejectCode.UNKNOWN_SYMBOL),
    ("does not exist", RejectCode.ORDER_NOT_FOUND),
    ("cannot be modified or cancelled", RejectCode.NOT_CANCELABLE),
    ("insufficient positions", RejectCode.INSUFFICIENT_QTY),
    ("buying power", RejectCode.INSUFFICIENT_BUYING_POWER),
    ("lot size", RejectCode.INVALID_QUANTITY),
    ("price spread", RejectCode.INVALID_PRICE),
)


def is_unknown_stock(error: CallFailed) -> bool:
    """Whether OpenD itself says that there is no such stock."""
    return isinstance(error, Refused) and _says(error, _UNKNOWN_STOCK)


def of_read(error: CallFailed) -> BrokerUnavailable:
    """Translate the failure of a read."""
    if isinstance(error, Refused) and _says(error, _TOO_MANY):
        return BrokerUnavailable(str(error), retry_after_seconds=WINDOW_SECONDS)
    if isinstance(error, Refused) and _says(error, _LOGGED_OUT):
        return BrokerUnavailable(f"{error}: log OpenD in, and give it the code that it asks for")
    return BrokerUnavailable(str(error), retry_after_seconds=error.retry_after_seconds)


def of_write(error: CallFailed) -> CatalystError:
    """Translate the failure of a write: whatever is not proven is unknown."""
    if not error.may_have_arrived:
        return of_read(error)
    if not isinstance(error, Refused):
        return OrderOutcomeUnknown(str(error))
    if _says(error, _TOO_MANY):
        return of_read(error)
    if not error.has_reason or _says(error, _UNCLEAR):
        return OrderOutcomeUnknown(str(error))
    if _says(error, _LOGGED_OUT):
        return of_read(error)
    words = error.text.lower()
    return OrderRejected(
        str(error), code=next((code for part, code in _REASONS if part in words), None)
    )


def _says(error: Refused, words: tuple[str, ...]) -> bool:
    said = error.text.lower()
    return any(word in said for word in words)
