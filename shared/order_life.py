"""The states an order of ours goes through, and which may follow which.

Pure. The state is what we know about the order; what a broker says is an OrderStatus.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

from shared.errors import InvalidTransition
from shared.models import OrderStatus


class OrderState(StrEnum):
    """What is known about an order. A refused request never becomes an order: it is a refusal."""

    INTENT = "intent"
    """Written down; the broker has not been asked yet, as far as this process knows."""
    SUBMITTING = "submitting"
    """The request is on its way."""
    UNKNOWN = "unknown"
    """The request may have arrived; only looking the client order id up can tell."""
    NOT_PLACED = "not_placed"
    """Proven never to have reached the broker."""
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCEL_PENDING = "cancel_pending"
    """A cancel was asked for and is not proven yet."""
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"

    @property
    def is_unresolved(self) -> bool:
        """Whether the broker may have the order without our knowing; it is never sent again."""
        return self in _UNRESOLVED

    @property
    def is_open(self) -> bool:
        """Whether the order rests at the broker and can still trade."""
        return self in _OPEN

    @property
    def is_final(self) -> bool:
        """Whether the order is over; a fill that comes later is an event of its own."""
        return not (self.is_unresolved or self.is_open)


_UNRESOLVED = frozenset({OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN})
_OPEN = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.CANCEL_PENDING})
_AT_BROKER = _OPEN | {
    OrderState.FILLED,
    OrderState.CANCELED,
    OrderState.EXPIRED,
    OrderState.REPLACED,
    OrderState.REJECTED,
}
_ENDED = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELED,
        OrderState.EXPIRED,
        OrderState.REPLACED,
        OrderState.REJECTED,
    }
)

TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = {
    OrderState.INTENT: _AT_BROKER
    | {OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.NOT_PLACED},
    OrderState.SUBMITTING: _AT_BROKER | {OrderState.UNKNOWN, OrderState.NOT_PLACED},
    OrderState.UNKNOWN: _AT_BROKER | {OrderState.NOT_PLACED},
    # An order that turns up after all disproves its absence, and has to be looked after.
    OrderState.NOT_PLACED: _AT_BROKER,
    OrderState.ACCEPTED: _ENDED | {OrderState.PARTIALLY_FILLED, OrderState.CANCEL_PENDING},
    OrderState.PARTIALLY_FILLED: (_ENDED - {OrderState.REJECTED}) | {OrderState.CANCEL_PENDING},
    # A cancel can come too late or be turned down.
    OrderState.CANCEL_PENDING: _ENDED | {OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED},
    # The last fill can overtake the news of the end; a part of it is only an event.
    OrderState.CANCELED: frozenset({OrderState.FILLED}),
    OrderState.EXPIRED: frozenset({OrderState.FILLED}),
    OrderState.REPLACED: frozenset({OrderState.FILLED}),
    OrderState.FILLED: frozenset(),
    OrderState.REJECTED: frozenset(),
}


def next_state(current: OrderState, to: OrderState) -> OrderState:
    """Return `to`; staying where one is, is always possible. Raises InvalidTransition."""
    if to is not current and to not in TRANSITIONS[current]:
        msg = f"an order cannot go from {current} to {to}"
        raise InvalidTransition(msg)
    return to


def state_of(status: OrderStatus, *, filled_quantity: int) -> OrderState:
    """Translate a broker's status; an order that rests with some shares filled is partially filled."""
    match status:
        case OrderStatus.HELD | OrderStatus.ACCEPTED:
            return OrderState.PARTIALLY_FILLED if filled_quantity else OrderState.ACCEPTED
        case (
            OrderStatus.PARTIALLY_FILLED
            | OrderStatus.FILLED
            | OrderStatus.CANCEL_PENDING
            | OrderStatus.CANCELED
            | OrderStatus.EXPIRED
            | OrderStatus.REPLACED
            | OrderStatus.REJECTED
        ):
            return OrderState(status.value)
        case _:
            assert_never(status)
