from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.quotes import Confirmed, Reading, Unavailable, Yardstick, confirmed_price, reading
from shared.config import SignalSettings
from shared.models import Quote
from tests.builders import NOW, quote

DEFAULT = SignalSettings()
HELD = Yardstick(symbol="ACME", currency="USD", quoted_in="USD", reference=Decimal(100))
SECOND = timedelta(seconds=1)
STOP = Decimal(97)


def read(given: Quote | None, yardstick: Yardstick = HELD) -> Reading | Unavailable:
    return reading(given, yardstick, now=NOW, source="feed", settings=DEFAULT)


def at(price: str, *, seconds: int = 0, source: str = "feed") -> Reading:
    return Reading(price=Decimal(price), at=NOW + seconds * SECOND, source=source)


def agreed(
    first: Reading | Unavailable, second: Reading | Unavailable, stop: Decimal | None = STOP
) -> Confirmed | Unavailable:
    return confirmed_price(first, second, stop=stop, settings=DEFAULT)


@pytest.mark.parametrize(
    ("changes", "price"),
    [
        pytest.param({}, "100.00", id="last between bid and ask"),
        pytest.param({"last": Decimal("99.00")}, "99.99", id="the bid has risen above the last"),
        pytest.param({"last": Decimal("101.00")}, "100.01", id="the ask has fallen below it"),
        pytest.param({"last": None}, "99.99", id="without a last price the bid"),
        pytest.param({"bid": None, "ask": None}, "100.00", id="the last price alone"),
        pytest.param({"bid": None, "ask": Decimal(90), "last": Decimal(95)}, "90", id="no bids"),
        pytest.param({"bid": Decimal("100.01")}, "100.01", id="locked is not crossed"),
        pytest.param({"at": NOW - 120 * SECOND}, "100.00", id="as old as it may be"),
        pytest.param({"at": NOW + 5 * SECOND}, "100.00", id="as early as it may be"),
    ],
)
def test_a_sound_quote_gives_a_price(changes: dict[str, Any], price: str) -> None:
    found = read(quote(**changes))

    assert isinstance(found, Reading)
    assert found.price == Decimal(price)


EVERYTHING = ("bid", "ask", "last")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"at": NOW - 121 * SECOND}, "121 seconds old", id="stale"),
        pytest.param({"at": NOW + 6 * SECOND}, "in the future", id="from the future"),
        pytest.param({"bid": None, "ask": None, "last": None}, "neither a last", id="nothing"),
        pytest.param({"bid": None, "last": None}, "neither a last", id="only an ask"),
        pytest.param({"bid": Decimal("100.02")}, "above its ask", id="crossed"),
        pytest.param({"symbol": "OTHER"}, "quote of OTHER", id="another symbol"),
        pytest.param({"halted": True}, "is halted", id="halted"),
        *(
            pytest.param({name: Decimal(value)}, f"of ACME is {value}", id=f"{name} {value}")
            for name in EVERYTHING
            for value in ("NaN", "sNaN", "Infinity", "0", "-1")
        ),
        pytest.param(
            dict.fromkeys(EVERYTHING, Decimal(10_000)), "cannot follow", id="a hundredfold"
        ),
        pytest.param(dict.fromkeys(EVERYTHING, Decimal(1)), "cannot follow", id="a hundredth"),
        pytest.param(dict.fromkeys(EVERYTHING, Decimal(1000)), "cannot follow", id="tenfold"),
        pytest.param(dict.fromkeys(EVERYTHING, Decimal(10)), "cannot follow", id="a tenth"),
    ],
)
def test_a_quote_that_cannot_be_true_is_unavailable(changes: dict[str, Any], why: str) -> None:
    found = read(quote(**changes))

    assert isinstance(found, Unavailable)
    assert why in found.why


def test_no_quote_and_a_quote_in_another_currency_are_unavailable() -> None:
    assert read(None) == Unavailable("feed has no quote of ACME")
    assert read(quote(), replace(HELD, quoted_in="HKD")) == Unavailable(
        "feed: ACME is held in USD, quoted in HKD"
    )
    assert isinstance(read(quote(), replace(HELD, quoted_in=None)), Reading)


@pytest.mark.parametrize("reference", [None, Decimal("NaN"), Decimal(0)])
def test_without_a_reference_no_jump_can_be_seen(reference: Decimal | None) -> None:
    assert isinstance(read(quote(), replace(HELD, reference=reference)), Reading)


def test_a_real_crash_is_a_price_and_not_a_fault() -> None:
    assert isinstance(read(quote(**dict.fromkeys(EVERYTHING, Decimal("10.01")))), Reading)


@pytest.mark.parametrize(
    ("first", "second", "stop", "expected"),
    [
        pytest.param("100", "99.5", STOP, ("100", "99.5"), id="as far apart as they may be"),
        pytest.param("100", "99.49", STOP, None, id="a cent further"),
        pytest.param("96", "90", STOP, ("96", "90"), id="apart, but both through the stop"),
        pytest.param("97", "90", STOP, ("97", "90"), id="one exactly on the stop"),
        pytest.param("97.01", "90", STOP, None, id="one a cent above the stop"),
        pytest.param("100", "90", STOP, None, id="one bad tick"),
        pytest.param("90", "100", STOP, None, id="one bad tick first"),
        pytest.param("96", "90", None, None, id="apart without a stop"),
        pytest.param("96", "90", Decimal("NaN"), None, id="apart with a stop that is none"),
    ],
)
def test_two_readings_confirm_a_price(
    first: str, second: str, stop: Decimal | None, expected: tuple[str, str] | None
) -> None:
    found = agreed(at(first), at(second, seconds=1), stop)

    if expected is None:
        assert isinstance(found, Unavailable)
    else:
        high, low = map(Decimal, expected)
        assert found == Confirmed(high=high, low=low)


def test_one_reading_seen_twice_confirms_nothing() -> None:
    tick = at("90")

    assert isinstance(agreed(tick, tick), Unavailable)
    assert agreed(tick, at("90", source="broker")) == Confirmed(high=Decimal(90), low=Decimal(90))


def test_an_unavailable_reading_is_passed_on_with_its_reason() -> None:
    missing = Unavailable("feed has no quote of ACME")

    assert agreed(missing, at("90")) is missing
    assert agreed(at("90"), missing) is missing


prices = st.none() | st.decimals("0.01", "1000", places=2) | st.decimals()
quotes = st.builds(
    Quote,
    symbol=st.sampled_from(["ACME", "OTHER"]),
    at=st.integers(-300, 60).map(lambda seconds: NOW + seconds * SECOND),
    bid=prices,
    ask=prices,
    last=prices,
    source=st.just(quote().source),
    halted=st.booleans(),
)


@given(bad=quotes, stop=st.decimals("90", "99", places=2))
@settings(derandomize=True, max_examples=500)
def test_no_single_quote_whatever_it_says_reaches_a_stop(bad: Quote, stop: Decimal) -> None:
    good = Reading(price=Decimal(100), at=NOW, source="broker")
    for pair in ((read(bad), good), (good, read(bad))):
        found = agreed(*pair, stop)

        assert isinstance(found, Unavailable) or found.high > stop
