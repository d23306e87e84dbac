"""The broker's error bodies, by what the exchange objects to.

The same code stands for many reasons: a client has to read the message, and with 40310000 the other keys.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from re import search

from brokers.matching import BookOrder
from brokers.paper_rules import RejectCode
from shared.models import Side
from tests.simulators.alpaca.shapes import number
from tests.simulators.alpaca.wire import Answer

FORBIDDEN = 40310000
UNPROCESSABLE = 42210000
BAD_PARAMETER = 40010001
NOT_FOUND = 40410000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an error body tells about the account beside the reason."""

    symbol: str
    quantity: Decimal
    buying_power: Decimal
    cost_basis: Decimal
    existing: Decimal
    available: Decimal
    resting: tuple[BookOrder, ...]


class Refused(Exception):
    """The broker says no, and this is what it answers."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.body))
        self.answer: Answer = answer


def error(status: int, code: int, message: str, **others: object) -> Answer:
    """Return an error body."""
    return Answer(status=status, body={"code": code, "message": message, **others})


def refuse(status: int, code: int, message: str) -> Refused:
    """Return what to raise."""
    return Refused(error(status, code, message))


def not_found(what: str) -> Answer:
    """Return what is said of a thing that is not there."""
    return error(404, NOT_FOUND, f"{what} not found")


def plain(status: int) -> Answer:
    """Return the body that an injected status has."""
    match status:
        case 401:
            return error(401, 40110000, "request is not authorized")
        case 403:
            return Answer(status=403, body={"message": "forbidden."})
        case 429:
            return Answer(status=429, body={"message": "too many requests."})
        case 500 | 502 | 503 | 504:
            return error(status, status * 100000 + 10000, HTTPStatus(status).phrase.lower())
        case _:
            return error(status, status * 100000, HTTPStatus(status).phrase.lower())


def refusal(code: str | None, reason: str, standing: Standing) -> Answer:
    """Return how Alpaca says what the exchange objects to."""
    if code in _WITH_DETAILS:
        return _WITH_DETAILS[RejectCode(code)](reason, standing)
    status, number_, text = _PLAIN.get(RejectCode(code or ""), (422, UNPROCESSABLE, None))
    return error(status, number_, text or reason)


def _invalid_price(reason: str, standing: Standing) -> Answer:
    del standing
    found = search(r"invalid (\w+) ([\d.]+)\.", reason)
    if found is None:
        name = reason.split()[0].replace("_", " ")
        return error(422, BAD_PARAMETER, f"{name} must be > 0")
    field = {"stop_loss": "stop_loss.stop_price", "take_profit": "take_profit.limit_price"}.get(
        found[1], found[1]
    )
    text = "sub-penny increment does not fulfill minimum pricing criteria"
    return error(422, UNPROCESSABLE, f"invalid {field} {found[2]}. {text}")


def _insufficient_shares(reason: str, standing: Standing) -> Answer:
    if standing.existing <= 0:
        return error(403, FORBIDDEN, "account is not allowed to short")
    held = [o.broker_order_id for o in standing.resting if o.side is Side.SELL]
    return error(
        403,
        FORBIDDEN,
        reason,
        available=number(standing.available),
        existing_qty=number(standing.existing),
        held_for_orders=number(standing.existing - standing.available),
        related_orders=held,
        symbol=standing.symbol,
    )


def _insufficient_money(reason: str, standing: Standing) -> Answer:
    del reason
    return error(
        403,
        FORBIDDEN,
        "insufficient buying power",
        buying_power=number(standing.buying_power),
        cost_basis=number(standing.cost_basis),
    )


def _wash_trade(reason: str, standing: Standing) -> Answer:
    found = search(r"existing order ([0-9a-f-]+)", reason)
    existing = found[1] if found else ""
    kinds = {str(o.order_type) for o in standing.resting if o.broker_order_id == existing}
    kind = "limit" if kinds == {"limit"} else "market/stop"
    return error(
        403,
        FORBIDDEN,
        "potential wash trade detected. use complex orders",
        existing_order_id=existing,
        reject_reason=f"opposite side {kind} order exists",
    )


_WITH_DETAILS: dict[RejectCode, Callable[[str, Standing], Answer]] = {
    RejectCode.INVALID_PRICE: _invalid_price,
    RejectCode.INSUFFICIENT_QTY: _insufficient_shares,
    RejectCode.INSUFFICIENT_BUYING_POWER: _insufficient_money,
    RejectCode.WASH_TRADE: _wash_trade,
}

_PLAIN: dict[RejectCode, tuple[int, int, str | None]] = {
    RejectCode.CLIENT_ORDER_ID_LENGTH: (
        422,
        BAD_PARAMETER,
        "client_order_id must be no more than 128 characters",
    ),
    RejectCode.DUPLICATE_CLIENT_ORDER_ID: (422, BAD_PARAMETER, "client_order_id must be unique"),
    RejectCode.INVALID_QUANTITY: (422, BAD_PARAMETER, "qty must be > 0"),
    RejectCode.UNSUPPORTED: (422, BAD_PARAMETER, None),
    RejectCode.ORDER_NOT_FOUND: (404, NOT_FOUND, None),
}


def related(orders: Iterable[BookOrder], symbol: str) -> tuple[BookOrder, ...]:
    """Return the open orders of a symbol."""
    return tuple(o for o in orders if o.symbol == symbol and o.status.is_open)
