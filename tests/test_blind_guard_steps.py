"""What the monitor decides without its database, one position at a time."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from blind_guard import Step, next_step
from rules.quotes import Confirmed, Unavailable
from shared.journal.stops import KnownStop
from shared.models import Order, OrderType, Side, TickBand
from tests.builders import instrument, order, position, quote, snapshot
from tests.fixtures.floor import SYMBOL

STOP = KnownStop(
    position_id=1,
    symbol=SYMBOL,
    quantity=10,
    currency="USD",
    entry_price=Decimal(100),
    stop_loss=Decimal(98),
    take_profit=Decimal(105),
    opened_at=snapshot().taken_at,
)
NO_PRICE = Unavailable("no price")
LOW: dict[str, Any] = {"bid": Decimal(97), "ask": Decimal("97.02"), "last": Decimal(97)}


def between(low: str, high: str) -> Confirmed:
    return Confirmed(low=Decimal(low), high=Decimal(high))


def resting(**changes: Any) -> Order:
    values: dict[str, Any] = {
        "side": Side.SELL,
        "order_type": OrderType.STOP,
        "limit_price": None,
        "stop_price": Decimal(98),
    }
    return order(**values | changes)


NAKED = snapshot(positions=(position(),))
FALLEN = snapshot(positions=(position(market_price=Decimal(97)),), quotes={SYMBOL: quote(**LOW)})


@pytest.mark.parametrize(
    ("seen", "more", "wanted", "why"),
    [
        pytest.param(snapshot(), {}, None, "not held", id="not held"),
        pytest.param(
            replace(NAKED, open_orders=(resting(),)), {}, None, "its stop rests", id="protected"
        ),
        pytest.param(
            replace(FALLEN, open_orders=(resting(),)),
            {},
            None,
            "its stop rests",
            id="through, but protected",
        ),
        pytest.param(NAKED, {}, ("stop_loss", 10), "its stop does not rest", id="naked"),
        pytest.param(
            FALLEN, {}, ("exit", 10), "the price is through its stop 98", id="naked and through"
        ),
        pytest.param(
            replace(NAKED, quotes={SYMBOL: quote(**LOW)}),
            {},
            ("stop_loss", 10),
            "its stop does not rest",
            id="one bad tick",
        ),
        pytest.param(
            replace(NAKED, quotes={SYMBOL: quote(**LOW)}),
            {"refused": True},
            ("exit", 10),
            "the price is through",
            id="one tick, and the stop was refused",
        ),
        pytest.param(
            replace(NAKED, quotes={}), {}, ("stop_loss", 10), "its stop does not rest", id="no feed"
        ),
        pytest.param(
            NAKED,
            {"refused": True},
            ("stop_loss", 10),
            "its stop does not rest",
            id="refused, and not through",
        ),
        pytest.param(
            snapshot(positions=(position(quantity=4),)),
            {},
            ("stop_loss", 4),
            "its stop does not rest",
            id="fewer than we knew of",
        ),
        pytest.param(
            snapshot(positions=(position(quantity=70),)),
            {},
            ("stop_loss", 10),
            "its stop does not rest",
            id="somebody else holds more",
        ),
        pytest.param(
            replace(
                NAKED,
                open_orders=(resting(quantity=6),),
                positions=(position(available=Decimal(4)),),
            ),
            {},
            ("stop_loss", 4),
            "its stop does not rest",
            id="a stop for some of it",
        ),
        pytest.param(
            snapshot(positions=(position(available=Decimal(0)),)),
            {},
            None,
            "NOT PROTECTED, orders that rest hold its shares",
            id="no share is free",
        ),
        pytest.param(
            NAKED, {"stop_loss": None}, None, "NOT PROTECTED, no stop is known", id="no stop known"
        ),
    ],
)
def test_the_next_step_where_stops_can_rest(
    seen: Any, more: dict[str, Any], wanted: tuple[str, int] | None, why: str
) -> None:
    stop = replace(STOP, stop_loss=more.pop("stop_loss", STOP.stop_loss))
    step = next_step(stop, seen, NO_PRICE, has_stops=True, **more)

    assert as_asked(step) == wanted
    assert why in step.why


@pytest.mark.parametrize(
    ("price", "wanted", "why"),
    [
        pytest.param(between("97", "98"), ("exit", 10), "at or below the stop", id="at the stop"),
        pytest.param(between("97", "98.01"), None, "between its levels", id="one is a cent above"),
        pytest.param(between("105", "106"), ("exit", 10), "at or above the target", id="target"),
        pytest.param(between("104.99", "106"), None, "between its levels", id="one is below it"),
        pytest.param(NO_PRICE, None, "no price", id="no price"),
    ],
)
def test_the_next_step_where_no_stop_can_rest(
    price: Confirmed | Unavailable, wanted: tuple[str, int] | None, why: str
) -> None:
    step = next_step(STOP, FALLEN, price, has_stops=False)

    assert as_asked(step) == wanted
    assert why in step.why


def test_a_stop_is_asked_for_on_the_tick_of_today() -> None:
    coarse = instrument(ticks=(TickBand(from_price=Decimal(0), tick=Decimal("0.05")),))
    seen = replace(NAKED, instruments={SYMBOL: coarse})
    step = next_step(replace(STOP, stop_loss=Decimal("98.01")), seen, NO_PRICE, has_stops=True)

    assert step.request is not None
    assert step.request.stop_loss == Decimal("98.05")


def as_asked(step: Step) -> tuple[str, int] | None:
    return None if step.request is None else (step.request.purpose.value, step.request.quantity)
