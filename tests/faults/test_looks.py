"""Unguarded seconds: what is held, and whose price nobody has asked for within a minute."""

import pytest

from shared.models import Order
from tests.faults.looks import unguarded_seconds
from tests.fixtures.broker_orders import at, fill_of, filled, reported, reported_exit


def bought(seconds: float) -> Order:
    entry = reported()
    return filled(entry, fill_of(entry, 100, "10", when=at(seconds)))


def sold(seconds: float, quantity: int = 100) -> Order:
    leaving = reported_exit(quantity=quantity)
    return filled(leaving, fill_of(leaving, quantity, "10", fill_id="f2", when=at(seconds)))


@pytest.mark.parametrize(
    ("looks", "unguarded"),
    [
        ([], 600),
        ([0], 540),
        ([-30], 570),
        ([-90], 600),
        ([100, 130], 510),
        ([100, 160, 220], 420),
        ([580, 700], 580),
    ],
)
def test_a_look_guards_for_a_minute(looks: list[int], unguarded: float) -> None:
    seen = {"ACME": [at(seconds) for seconds in looks], "OTHER": [at(300)]}

    assert unguarded_seconds([bought(0)], seen, at(600)) == unguarded


def test_what_is_sold_needs_no_look_and_what_is_left_of_it_does() -> None:
    assert unguarded_seconds([bought(0), sold(90)], {}, at(600)) == 90
    assert unguarded_seconds([bought(0), sold(90, 40)], {}, at(600)) == 600
