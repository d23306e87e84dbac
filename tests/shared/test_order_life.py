from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidTransition
from shared.models import OrderStatus
from shared.order_life import TRANSITIONS, OrderState, next_state, state_of

STATES = st.sampled_from(OrderState)
LIVES = {
    "a limit order that fills in two parts": "intent submitting accepted partially_filled filled",
    "an order that fills before its acceptance is seen": "intent submitting filled",
    "a refusal by the broker": "intent submitting rejected",
    "a lost reply, then found at work": "intent submitting unknown accepted filled",
    "a lost reply, then proven absent": "intent submitting unknown not_placed",
    "a crash before sending": "intent not_placed",
    "an order that turns up after it was thought absent": "intent unknown not_placed accepted",
    "a cancel": "intent submitting accepted cancel_pending canceled",
    "a cancel of the rest": "intent submitting partially_filled cancel_pending canceled",
    "a cancel that comes too late": "intent submitting accepted cancel_pending filled",
    "a cancel that is turned down": "intent submitting accepted cancel_pending accepted",
    "a last fill that overtook the cancel": "intent submitting accepted canceled filled",
    "a stop that is raised": "intent submitting accepted replaced",
    "a day order at the close": "intent submitting accepted expired",
}
IMPOSSIBLE = {
    "a filled order cannot be cancelled": "filled canceled",
    "a filled order is not filled less": "filled partially_filled",
    "a rejected order does not work": "rejected accepted",
    "a cancelled order does not rest again": "canceled accepted",
    "a part of a fill does not wake a cancelled order": "canceled partially_filled",
    "an order is not unknown once it was seen": "accepted unknown",
    "an accepted order was placed": "accepted not_placed",
    "an order is not sent twice": "unknown submitting",
    "a fill is not undone": "partially_filled accepted",
    "nothing goes back to an intent": "submitting intent",
}


@pytest.mark.parametrize("life", LIVES.values(), ids=list(LIVES))
def test_an_order_may_live_like_this(life: str) -> None:
    states = [OrderState(word) for word in life.split()]

    assert [next_state(before, after) for before, after in pairwise(states)] == states[1:]


@pytest.mark.parametrize("step", IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_an_order_may_not_live_like_this(step: str) -> None:
    before, after = (OrderState(word) for word in step.split())

    with pytest.raises(InvalidTransition, match=f"cannot go from {before} to {after}"):
        next_state(before, after)


def test_every_state_has_its_row_in_the_table() -> None:
    assert TRANSITIONS.keys() == set(OrderState)


@given(STATES)
def test_staying_is_always_possible(state: OrderState) -> None:
    assert next_state(state, state) is state


@given(STATES, STATES)
def test_a_sent_order_is_never_sent_again(before: OrderState, after: OrderState) -> None:
    sendable = {OrderState.INTENT, OrderState.SUBMITTING}
    if before is not OrderState.INTENT and after in sendable:
        assert after not in TRANSITIONS[before]


@given(STATES)
def test_a_state_is_exactly_one_of_unresolved_open_and_final(state: OrderState) -> None:
    assert [state.is_unresolved, state.is_open, state.is_final].count(True) == 1


@given(STATES, STATES)
def test_an_end_is_left_only_for_a_complete_fill_or_a_disproved_absence(
    before: OrderState, after: OrderState
) -> None:
    if before.is_final and before is not OrderState.NOT_PLACED and after in TRANSITIONS[before]:
        assert after is OrderState.FILLED


@given(st.sampled_from(OrderStatus), st.integers(min_value=0, max_value=1000))
def test_every_status_of_a_broker_has_a_state_as_open_as_itself(
    status: OrderStatus, filled_quantity: int
) -> None:
    assert state_of(status, filled_quantity=filled_quantity).is_open == status.is_open


@pytest.mark.parametrize(
    ("status", "filled_quantity", "state"),
    [
        (OrderStatus.HELD, 0, OrderState.ACCEPTED),
        (OrderStatus.ACCEPTED, 0, OrderState.ACCEPTED),
        (OrderStatus.ACCEPTED, 5, OrderState.PARTIALLY_FILLED),
        (OrderStatus.CANCELED, 5, OrderState.CANCELED),
        (OrderStatus.FILLED, 9, OrderState.FILLED),
    ],
)
def test_a_resting_order_with_fills_is_partially_filled(
    status: OrderStatus, filled_quantity: int, state: OrderState
) -> None:
    assert state_of(status, filled_quantity=filled_quantity) is state
