"""What a call to Alpaca that failed means for an order: not taken, refused, or unclear.

Alpaca's codes stand for many reasons each, so that code, message and the other keys of the body decide
together.
"""

from brokers.base import DUPLICATE_CLIENT_ORDER_ID
from brokers.paper_rules import RejectCode
from shared.alpaca_http import CallFailed, Refused
from shared.config_brokers import AlpacaSettings
from shared.errors import BrokerUnavailable, CatalystError, OrderOutcomeUnknown, OrderRejected

_UNAUTHORISED = 401
_FORBIDDEN = 403
_NOT_FOUND = 404
_REQUEST_TIMEOUT = 408
_TOO_MANY = 429
_SERVER_ERRORS = 500

_ABOUT_AN_ORDER = 40310000
_NOT_FOUND_CODE = 40410000


def is_not_found(error: CallFailed) -> bool:
    """Whether Alpaca itself, and not something before it, says that there is no such thing."""
    return (
        isinstance(error, Refused)
        and error.status == _NOT_FOUND
        and error.code == _NOT_FOUND_CODE
        and error.message is not None
    )


def of_read(error: CallFailed, settings: AlpacaSettings) -> BrokerUnavailable:
    """Translate the failure of a read."""
    return BrokerUnavailable(
        _keys_are_refused(error, settings) or str(error),
        retry_after_seconds=error.retry_after_seconds,
    )


def of_write(error: CallFailed, settings: AlpacaSettings) -> CatalystError:
    """Translate the failure of a write: whatever is not proven is unknown."""
    if not error.may_have_arrived:
        return of_read(error, settings)
    if not isinstance(error, Refused):
        return OrderOutcomeUnknown(str(error))
    if error.status == _TOO_MANY or _keys_are_refused(error, settings):
        return of_read(error, settings)
    is_refusal = error.status < _SERVER_ERRORS and error.status != _REQUEST_TIMEOUT
    if not is_refusal or error.message is None:
        return OrderOutcomeUnknown(str(error))
    return OrderRejected(_with_numbers(error), code=_reason(error))


def _keys_are_refused(error: CallFailed, settings: AlpacaSettings) -> str | None:
    """Say so where the keys, and not the order, were refused."""
    if not isinstance(error, Refused):
        return None
    is_about_keys = error.status == _UNAUTHORISED or (
        error.status == _FORBIDDEN and error.code is None and error.message is not None
    )
    if not is_about_keys:
        return None
    said = error.message or f"status {error.status}"
    return (
        f"Alpaca refuses the keys in {settings.api_key_env} and {settings.secret_key_env}"
        f" at {settings.trading_url}: {said}"
    )


def _reason(error: Refused) -> str | None:
    """Return a stable code: ours where the reason is known, else Alpaca's."""
    message = (error.message or "").lower()
    if "client_order_id" in message and "unique" in message:
        return DUPLICATE_CLIENT_ORDER_ID
    if error.code == _ABOUT_AN_ORDER:
        return _reason_of_forbidden(error, message)
    if error.code == _NOT_FOUND_CODE:
        return RejectCode.ORDER_NOT_FOUND
    return None if error.code is None else str(error.code)


def _reason_of_forbidden(error: Refused, message: str) -> str:
    if "wash trade" in message or "existing_order_id" in error.details:
        return RejectCode.WASH_TRADE
    if "insufficient qty" in message or "existing_qty" in error.details:
        return RejectCode.INSUFFICIENT_QTY
    if "buying power" in message or "cost_basis" in error.details:
        return RejectCode.INSUFFICIENT_BUYING_POWER
    return str(_ABOUT_AN_ORDER)


def _with_numbers(error: Refused) -> str:
    """Add what Alpaca says beside its message, where it is short."""
    numbers = [
        f"{name} {value}"
        for name, value in sorted(error.details.items())
        if isinstance(value, str) and len(value) <= _LONGEST_VALUE
    ]
    return f"{error}; {', '.join(numbers)}" if numbers else str(error)


_LONGEST_VALUE = 80
