"""Naked seconds are read from the exchange's own books, and agree with what was seen as they were made."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.exposure import NakedSpell, naked_spells
from brokers.faults import Fault, FaultKind, Operation
from shared.errors import OrderRejected
from shared.models import OrderStatus, OrderType
from tests.brokers.order_requests import bracket, buy, oco, sell, stop
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE
from tests.fixtures.broker_orders import at, fill_of, filled, reported, reported_exit


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[PaperVenue]:
    made = PaperVenue(tmp_path / "paper.sqlite3")
    yield made
    made.exchange.close()


def spells(venue: PaperVenue) -> tuple[NakedSpell, ...]:
    return naked_spells(venue.exchange.orders(only_open=False), venue.clock.now())


def naked_now(venue: PaperVenue) -> int:
    """Shares without a stop, as the present books show them."""
    held = sum(int(position.quantity) for position in venue.exchange.positions())
    stops = (
        order.remaining_quantity
        for order in venue.exchange.orders(only_open=True)
        if order.order_type is OrderType.STOP and order.status is not OrderStatus.HELD
    )
    return max(0, held - sum(stops))


def test_an_entry_that_fills_at_once_is_never_naked(venue: PaperVenue) -> None:
    venue.exchange.place(bracket(10))
    venue.trade(100)

    assert spells(venue) == ()


def test_a_partly_filled_bracket_is_naked_from_its_first_fill_to_its_last(
    venue: PaperVenue,
) -> None:
    venue.trade(100, volume=100)
    began_at = venue.clock.now()
    venue.exchange.place(bracket(30, 101))
    venue.trade(100, volume=100)
    venue.trade(100, volume=100)

    assert spells(venue) == (
        NakedSpell(symbol="ACME", began_at=began_at, ended_at=began_at + 2 * MINUTE, quantity=20),
    )


def test_a_partly_filled_bracket_that_is_cancelled_stays_naked_until_a_stop_rests(
    venue: PaperVenue,
) -> None:
    venue.trade(100, volume=100)
    began_at = venue.clock.now()
    entry = venue.exchange.place(bracket(30, 101))
    venue.exchange.cancel(entry.broker_order_id)
    venue.trade(100)
    (lasting,) = spells(venue)
    venue.exchange.place(oco(10))
    (ended,) = spells(venue)

    assert (lasting.ended_at, lasting.quantity) == (None, 10)
    assert lasting.seconds(venue.clock.now()) == 60
    assert (ended.began_at, ended.ended_at) == (began_at, began_at + MINUTE)


def test_shares_beyond_what_a_stop_covers_are_naked(venue: PaperVenue) -> None:
    venue.exchange.place(buy(5))
    venue.exchange.place(bracket(10))
    venue.trade(100)
    (spell,) = spells(venue)

    assert (spell.quantity, spell.ended_at) == (5, None)


def test_a_target_that_fills_in_parts_takes_shares_off_the_stop_without_a_gap(
    venue: PaperVenue,
) -> None:
    venue.exchange.place(bracket(30))
    venue.trade(110, volume=100)
    venue.trade(110, volume=50)
    venue.trade(110, volume=1000)

    assert venue.exchange.positions() == ()
    assert spells(venue) == ()


def test_an_exit_through_the_target_is_never_naked(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(30))
    target = next(leg for leg in entry.legs if leg.order_type is OrderType.LIMIT)
    venue.trade(100, volume=100)
    venue.exchange.replace(sell(30, 99, replaces=target.broker_order_id))
    venue.trade(100, volume=100)
    venue.trade(100)

    assert venue.exchange.positions() == ()
    assert spells(venue) == ()


def test_a_stop_that_is_replaced_hands_over(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(10))
    leg = next(leg for leg in entry.legs if leg.order_type is OrderType.STOP)
    venue.trade(100)
    venue.exchange.replace(stop(10, 97, replaces=leg.broker_order_id))
    venue.trade(100)

    assert spells(venue) == ()


def test_a_stop_that_gaps_and_fills_in_parts_covers_what_is_left(venue: PaperVenue) -> None:
    venue.exchange.place(bracket(30))
    venue.trade(90, volume=100)
    venue.trade(90, volume=1000)

    assert venue.exchange.positions() == ()
    assert spells(venue) == ()


def test_a_stop_that_is_cancelled_leaves_the_shares_naked_until_they_are_sold(
    venue: PaperVenue,
) -> None:
    entry = venue.exchange.place(bracket(10))
    venue.trade(100)
    venue.exchange.cancel(entry.legs[0].broker_order_id)
    began_at = venue.clock.now()
    venue.trade(100)
    venue.exchange.place(sell(10))

    assert spells(venue) == (
        NakedSpell(symbol="ACME", began_at=began_at, ended_at=began_at + MINUTE, quantity=10),
    )


def test_a_fill_after_the_cancel_is_naked(venue: PaperVenue) -> None:
    entry = venue.exchange.place(bracket(10, 99))
    fault = Fault(operation=Operation.CANCEL, kind=FaultKind.LATE_FILL, quantity=4)
    venue.exchange.cancel(entry.broker_order_id, fault=fault)
    venue.trade(100)
    venue.exchange.positions()
    (spell,) = spells(venue)

    assert (spell.quantity, spell.ended_at) == (4, None)


def test_a_replaced_stop_hands_over_also_where_the_broker_dates_its_heir_later() -> None:
    bought = reported()
    values: dict[str, Any] = {"order_type": OrderType.STOP, "limit_price": None}
    first = reported_exit(
        **values, status=OrderStatus.REPLACED, updated_at=at(20), replaced_by="b3"
    )
    heir = reported_exit(**values, broker_order_id="b3", submitted_at=at(22), updated_at=at(22))
    entry = filled(bought, fill_of(bought, 100, "10", when=at(10)))

    assert naked_spells((entry, first, heir), at(60)) == ()


def test_what_was_held_before_the_first_order_is_not_known_and_does_not_count() -> None:
    sold = reported_exit()
    bought = reported(broker_order_id="b3")
    orders = (
        filled(sold, fill_of(sold, 100, "10", when=at(5))),
        filled(bought, fill_of(bought, 100, "10", when=at(20))),
    )

    assert [(s.began_at, s.quantity) for s in naked_spells(orders, at(60))] == [(at(20), 100)]


def test_what_happens_after_the_end_of_the_question_is_not_seen() -> None:
    bought = reported()
    order = filled(bought, fill_of(bought, 100, "10", when=at(20)))

    assert naked_spells((order,), at(19)) == ()


MOVES = st.one_of(
    st.tuples(st.just("enter"), st.integers(1, 40)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("protect"), st.integers(1, 40)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("buy"), st.integers(1, 20)),
    st.tuples(st.just("trade"), st.sampled_from([90, 94, 97, 99, 100, 101, 111])),
    st.tuples(st.just("thin"), st.sampled_from([94, 99, 100, 101, 111])),
)


def make_a_move(venue: PaperVenue, kind: str, number: int) -> None:
    exchange = venue.exchange
    resting = exchange.orders(only_open=True)
    match kind:
        case "trade" | "thin":
            venue.trade(number, volume=1000 if kind == "trade" else 50)
        case "enter":
            exchange.place(bracket(number, 100, stop_loss=80, take_profit=120))
        case "buy":
            exchange.place(buy(number))
        case "protect":
            exchange.place(oco(number, stop_loss=80, take_profit=120))
        case "cancel":
            exchange.cancel(resting[number % len(resting)].broker_order_id)
        case _:
            targets = [o for o in resting if o.order_type is OrderType.LIMIT and o.side == "sell"]
            target = targets[number % len(targets)]
            exchange.replace(sell(target.remaining_quantity, 85, replaces=target.broker_order_id))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(moves=st.lists(MOVES, max_size=14))
def test_spells_agree_with_what_was_seen_minute_by_minute(moves: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        venue = PaperVenue(Path(folder) / "paper.sqlite3")
        seen: dict[datetime, int] = {}
        for kind, number in moves:
            try:
                make_a_move(venue, kind, number)
            except (OrderRejected, ZeroDivisionError):
                continue
            seen[venue.clock.now()] = naked_now(venue)
            venue.clock.move_to(venue.clock.now() + timedelta(seconds=1))
        orders = venue.exchange.orders(only_open=False)
        venue.exchange.close()
        found = naked_spells(orders, venue.clock.now())

    for moment, naked in seen.items():
        covering = [s for s in found if s.began_at <= moment < (s.ended_at or venue.clock.now())]
        assert bool(covering) == (naked > 0), (moment, naked, found)
        assert all(spell.quantity >= naked for spell in covering)
