"""Every signal on its exact boundary and one step beside it, the decision table, and what never happens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from market.indicators import Technicals
from shared.config import SignalSettings
from shared.models import Instrument, SessionHours, TickBand
from shared.paths import PROJECT
from shared.watch import (
    MEANINGS,
    Baseline,
    Direction,
    Label,
    Readings,
    Recommendation,
    Signal,
    SignalKind,
    Strength,
    VolumePace,
    Watch,
)
from signals import RSI_BARS_NEEDED, decide, detect, profit_pct, trailing_stop
from tests.builders import CLOSE, NOW, OPEN, SESSION, instrument

DEFAULT = SignalSettings()
K = SignalKind
MICROSECOND = timedelta(microseconds=1)
NOON = OPEN + timedelta(hours=2, minutes=30)
LUNCH = replace(SESSION, parts=((OPEN, NOON), (NOON + timedelta(hours=1), CLOSE)))
HALF_DAY = replace(
    SESSION, parts=((OPEN, OPEN + timedelta(hours=3, minutes=30)),), early_close=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Indicators as a test needs them."""

    bars_used: int = RSI_BARS_NEEDED
    as_of: datetime | None = NOW
    rsi_14: Decimal | None = None
    vwap: Decimal | None = None
    ema_20: Decimal | None = None
    macd_line: Decimal | None = None
    macd_signal: Decimal | None = None


def watch(**known: Any) -> Watch:
    moment: datetime = known.pop("now", NOW)
    return Watch(symbol="ACME", quantity=10, now=moment, **known)


def at_price(price: str, entry: str = "100", best: str | None = None) -> Watch:
    return watch(
        price=Decimal(price),
        entry_price=Decimal(entry),
        best_price=None if best is None else Decimal(best),
    )


def with_rsi(rsi: str, bars: int = RSI_BARS_NEEDED) -> Watch:
    return watch(technicals=Seen(rsi_14=Decimal(rsi), bars_used=bars))


def with_average(price: str, **average: str) -> Watch:
    values: dict[str, Any] = {name: Decimal(value) for name, value in average.items()}
    return watch(price=Decimal(price), technicals=Seen(**values))


def with_macd(line: str, average: str) -> Watch:
    return watch(technicals=Seen(macd_line=Decimal(line), macd_signal=Decimal(average)))


def with_pace(share: str, baseline: Baseline = Baseline.MEASURED) -> Watch:
    return watch(volume=VolumePace(of_entry_pct=Decimal(share), baseline=baseline, sessions=12))


def before(end: datetime, *, session: SessionHours = SESSION, **time: float) -> Watch:
    return watch(session=session, now=end - timedelta(**time))


def held(**time: float) -> Watch:
    return watch(opened_at=NOW - timedelta(**time))


def kinds(seen: Watch, thresholds: SignalSettings = DEFAULT) -> tuple[SignalKind, ...]:
    return tuple(signal.kind for signal in detect(seen, thresholds))


CASES: tuple[tuple[str, Watch, tuple[SignalKind, ...]], ...] = (
    ("loss 3", at_price("97"), (K.STOP_LOSS_HIT,)),
    ("loss beside 3", at_price("97.01"), (K.STOP_LOSS_NEAR,)),
    ("loss 3 of an odd entry", at_price("32.3301", "33.33"), (K.STOP_LOSS_HIT,)),
    ("loss 2", at_price("98"), (K.STOP_LOSS_NEAR,)),
    ("loss beside 2", at_price("98.01"), (K.STOP_LOSS_WEAK,)),
    ("loss 1", at_price("99"), (K.STOP_LOSS_WEAK,)),
    ("loss beside 1", at_price("99.01"), ()),
    ("given back 3 points", at_price("100", best="103"), (K.TRAILING_STOP_HIT,)),
    ("given back a cent less", at_price("100.01", best="103"), ()),
    ("given back thirds", at_price("2.98", "3", "3.07"), (K.TRAILING_STOP_HIT,)),
    ("best profit exactly 2", at_price("99.01", best="102"), ()),
    ("best profit above 2", at_price("99.01", best="102.01"), (K.TRAILING_STOP_HIT,)),
    ("profit 8", at_price("108"), (K.PROFIT_TARGET_REACHED,)),
    ("profit beside 8", at_price("107.99"), (K.TAKE_PROFIT_MODERATE,)),
    ("profit 5", at_price("105"), (K.TAKE_PROFIT_MODERATE, K.HEALTHY_PROFIT)),
    ("profit above 5", at_price("105.01"), (K.TAKE_PROFIT_MODERATE,)),
    ("profit beside 5", at_price("104.99"), (K.TAKE_PROFIT_WEAK, K.HEALTHY_PROFIT)),
    ("profit 3", at_price("103"), (K.TAKE_PROFIT_WEAK, K.HEALTHY_PROFIT)),
    ("profit beside 3", at_price("102.99"), (K.HEALTHY_PROFIT,)),
    ("profit 1", at_price("101"), (K.HEALTHY_PROFIT,)),
    ("profit beside 1", at_price("100.99"), ()),
    ("rsi 85", with_rsi("85"), (K.RSI_OVERBOUGHT,)),
    ("rsi beside 85", with_rsi("84.9999"), (K.RSI_HIGH,)),
    ("rsi 75", with_rsi("75"), (K.RSI_HIGH,)),
    ("rsi beside 75", with_rsi("74.9999"), (K.RSI_WEAK,)),
    ("rsi 70", with_rsi("70"), (K.RSI_WEAK,)),
    ("rsi beside 70", with_rsi("69.9999"), ()),
    ("rsi above 65", with_rsi("65.0001"), ()),
    ("rsi 65", with_rsi("65"), (K.RSI_HEALTHY,)),
    ("rsi 40", with_rsi("40"), (K.RSI_HEALTHY,)),
    ("rsi beside 40", with_rsi("39.9999"), ()),
    ("rsi above 30", with_rsi("30.0001"), ()),
    ("rsi 30", with_rsi("30"), (K.RSI_MOMENTUM_DEAD,)),
    ("rsi 0", with_rsi("0"), (K.RSI_MOMENTUM_DEAD,)),
    ("rsi of too few bars", with_rsi("90", RSI_BARS_NEEDED - 1), ()),
    ("volume 25", with_pace("25"), (K.VOLUME_DYING,)),
    ("volume beside 25", with_pace("25.1"), (K.VOLUME_WEAK,)),
    ("volume 40", with_pace("40"), (K.VOLUME_WEAK,)),
    ("volume beside 40", with_pace("40.1"), (K.VOLUME_DYING_WEAK,)),
    ("volume 60", with_pace("60"), (K.VOLUME_DYING_WEAK,)),
    ("volume beside 60", with_pace("60.1"), ()),
    ("volume beside 80", with_pace("79.9"), ()),
    ("volume 80", with_pace("80"), (K.VOLUME_HEALTHY,)),
    ("volume beside 120", with_pace("119.9"), (K.VOLUME_HEALTHY,)),
    ("volume 120", with_pace("120"), (K.VOLUME_STRONG,)),
    ("2 below vwap", with_average("98", vwap="100"), (K.BELOW_VWAP,)),
    ("beside 2 below vwap", with_average("98.01", vwap="100"), ()),
    ("beside 1 above vwap", with_average("100.99", vwap="100"), ()),
    ("1 above vwap", with_average("101", vwap="100"), (K.ABOVE_VWAP,)),
    ("1 below ema20", with_average("99", ema_20="100"), (K.BELOW_EMA20,)),
    ("beside 1 below ema20", with_average("99.01", ema_20="100"), ()),
    ("beside half above ema20", with_average("100.49", ema_20="100"), ()),
    ("half above ema20", with_average("100.5", ema_20="100"), (K.ABOVE_EMA20,)),
    ("macd below", with_macd("-0.01", "0"), (K.MACD_BEARISH,)),
    ("macd equal", with_macd("-0.01", "-0.01"), ()),
    ("macd above", with_macd("-0.01", "-0.02"), (K.MACD_BULLISH,)),
    ("10 minutes left", before(CLOSE, minutes=10), (K.MARKET_CLOSING,)),
    (
        "just over 10 minutes left",
        before(CLOSE, minutes=10, microseconds=1),
        (K.MARKET_CLOSING_SOON,),
    ),
    ("30 minutes left", before(CLOSE, minutes=30), (K.MARKET_CLOSING_SOON,)),
    ("just over 30 minutes left", before(CLOSE, minutes=30, microseconds=1), ()),
    ("closed", before(CLOSE, minutes=0), ()),
    ("before the open", before(OPEN, microseconds=1), ()),
    (
        "10 minutes left of a half day",
        before(HALF_DAY.closes_at, session=HALF_DAY, minutes=10),
        (K.MARKET_CLOSING,),
    ),
    ("10 minutes to lunch", before(NOON, session=LUNCH, minutes=10), (K.LUNCH_BREAK_SOON,)),
    ("just over 10 to lunch", before(NOON, session=LUNCH, minutes=10, microseconds=1), ()),
    ("lunch", before(NOON, session=LUNCH, minutes=0), ()),
    ("10 minutes left after lunch", before(CLOSE, session=LUNCH, minutes=10), (K.MARKET_CLOSING,)),
    (
        "may stay overnight",
        replace(before(CLOSE, minutes=5), may_stay_overnight=True),
        (),
    ),
    (
        "may stay over lunch",
        replace(before(NOON, session=LUNCH, minutes=5), may_stay_over_lunch=True),
        (),
    ),
    (
        "may stay over lunch, not overnight",
        replace(before(CLOSE, session=LUNCH, minutes=5), may_stay_over_lunch=True),
        (K.MARKET_CLOSING,),
    ),
    ("held 120 minutes", held(minutes=120), (K.TIME_STOP_NEAR,)),
    ("held just under 120", watch(opened_at=NOW - timedelta(minutes=120) + MICROSECOND), ()),
    ("held 180 minutes", held(minutes=180), (K.TIME_STOP,)),
    (
        "held just under 180",
        watch(opened_at=NOW - timedelta(minutes=180) + MICROSECOND),
        (K.TIME_STOP_NEAR,),
    ),
    ("held 24 hours", held(hours=24), (K.TIME_STOP, K.OVERNIGHT_HOLD)),
    (
        "held just under 24 hours",
        watch(opened_at=NOW - timedelta(hours=24) + MICROSECOND),
        (K.TIME_STOP,),
    ),
    ("opened in the future", watch(opened_at=NOW + timedelta(hours=1)), ()),
)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [pytest.param(seen, expected, id=name) for name, seen, expected in CASES],
)
def test_a_signal_is_given_on_its_boundary_and_not_beside_it(
    seen: Watch, expected: tuple[SignalKind, ...]
) -> None:
    assert kinds(seen) == expected


def test_every_kind_of_signal_is_in_the_table_above() -> None:
    assert {kind for _, _, expected in CASES for kind in expected} == set(SignalKind)


EXPERIMENTS: tuple[tuple[dict[str, str], Watch, SignalKind], ...] = (
    ({"stop_loss_pct": "2"}, at_price("98"), K.STOP_LOSS_HIT),
    ({"stop_loss_pct": "4"}, at_price("96"), K.STOP_LOSS_HIT),
    ({"trailing_stop_pct": "2"}, at_price("101", best="103"), K.TRAILING_STOP_HIT),
    ({"trailing_stop_pct": "4"}, at_price("99.5", best="103.5"), K.TRAILING_STOP_HIT),
    ({"rsi_overbought": "75"}, with_rsi("75"), K.RSI_OVERBOUGHT),
    ({"rsi_overbought": "80"}, with_rsi("80"), K.RSI_OVERBOUGHT),
    ({"volume_dying_pct": "20"}, with_pace("20"), K.VOLUME_DYING),
    ({"volume_dying_pct": "30"}, with_pace("30"), K.VOLUME_DYING),
    ({"volume_dying_pct": "40"}, with_pace("40"), K.VOLUME_DYING),
)


@pytest.mark.parametrize(("changes", "seen", "kind"), EXPERIMENTS, ids=str)
def test_a_market_s_own_threshold_applies(
    changes: dict[str, str], seen: Watch, kind: SignalKind
) -> None:
    changed = DEFAULT.model_copy(update={name: Decimal(value) for name, value in changes.items()})

    assert kind in kinds(seen, changed)


KNOWN: dict[str, Any] = {
    "entry_price": Decimal(100),
    "opened_at": NOW - timedelta(minutes=200),
    "best_price": Decimal("104.5"),
    "price": Decimal("101.2"),
    "technicals": Seen(
        rsi_14=Decimal(50),
        vwap=Decimal(100),
        ema_20=Decimal(100),
        macd_line=Decimal(1),
        macd_signal=Decimal(0),
    ),
    "volume": VolumePace(of_entry_pct=Decimal(100), baseline=Baseline.MEASURED, sessions=9),
    "session": SESSION,
}
BY_PRICE = {K.TRAILING_STOP_HIT, K.HEALTHY_PROFIT}
BY_AVERAGES = {K.ABOVE_VWAP, K.ABOVE_EMA20}
LOST = {
    "entry_price": BY_PRICE,
    "best_price": {K.TRAILING_STOP_HIT},
    "price": BY_PRICE | BY_AVERAGES,
    "opened_at": {K.TIME_STOP},
    "technicals": BY_AVERAGES | {K.RSI_HEALTHY, K.MACD_BULLISH},
    "volume": {K.VOLUME_HEALTHY},
    "session": {K.MARKET_CLOSING_SOON},
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_missing_gives_no_signal_and_takes_no_other_away(name: str) -> None:
    whole = watch(**KNOWN, now=CLOSE - timedelta(minutes=20))
    whole = replace(whole, technicals=replace(KNOWN["technicals"], as_of=whole.now))
    whole = replace(whole, opened_at=whole.now - timedelta(minutes=200))
    without = replace(whole, **{name: None})

    assert set(kinds(whole)) - set(kinds(without)) == LOST[name]
    assert set(kinds(without)) <= set(kinds(whole))


@pytest.mark.parametrize("name", ["rsi_14", "vwap", "ema_20", "macd_line", "macd_signal"])
@pytest.mark.parametrize("value", [None, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")])
def test_an_indicator_that_is_no_number_gives_no_signal(name: str, value: Decimal | None) -> None:
    seen: Readings = replace(KNOWN["technicals"], **{name: value})
    gone = {
        "rsi_14": K.RSI_HEALTHY,
        "vwap": K.ABOVE_VWAP,
        "ema_20": K.ABOVE_EMA20,
        "macd_line": K.MACD_BULLISH,
        "macd_signal": K.MACD_BULLISH,
    }

    whole = watch(price=Decimal("101.2"), technicals=KNOWN["technicals"])
    assert set(kinds(whole)) - set(kinds(replace(whole, technicals=seen))) == {gone[name]}


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "sNaN", "Infinity", "1e999", "1e-999"])
def test_a_price_that_is_none_gives_no_signal(price: str) -> None:
    for name in ("price", "entry_price", "best_price"):
        bad = replace(at_price("99.5", best="103"), **{name: Decimal(price)})

        assert kinds(bad) == ()


def test_indicators_of_bars_that_ended_long_ago_say_nothing() -> None:
    age = timedelta(minutes=DEFAULT.max_technicals_age_minutes)
    seen = Seen(rsi_14=Decimal(90), as_of=NOW - age)

    assert kinds(watch(technicals=seen)) == (K.RSI_OVERBOUGHT,)
    assert kinds(watch(technicals=replace(seen, as_of=NOW - age - MICROSECOND))) == ()
    assert kinds(watch(technicals=replace(seen, as_of=None))) == ()


def test_the_indicators_of_the_market_can_be_watched() -> None:
    found: Readings = Technicals(bars_used=40, as_of=NOW, rsi_14=Decimal(90))

    assert kinds(watch(technicals=found)) == (K.RSI_OVERBOUGHT,)


def test_a_modelled_day_is_never_a_strong_word_about_volume() -> None:
    dying = detect(with_pace("5", Baseline.MODELLED), DEFAULT)
    strong = detect(with_pace("200", Baseline.MODELLED), DEFAULT)

    assert [(found.kind, found.strength) for found in (*dying, *strong)] == [
        (K.VOLUME_DYING, Strength.MODERATE),
        (K.VOLUME_STRONG, Strength.MODERATE),
    ]
    assert decide(dying).recommendation is Recommendation.REVIEW


def test_a_sentence_has_the_numbers_and_no_percentage_is_multiplied_twice() -> None:
    seen = replace(at_price("96.90", best="104"), volume=with_pace("24").volume)

    assert [found.sentence for found in detect(seen, DEFAULT)] == [
        "-3.10 % at 96.90, bought at 100",
        "7.10 points of a best profit of 4.00 % are gone: best 104, now 96.90, entry 100",
        "volume for the time of day is 24.0 % of its pace at the entry, by 12 earlier sessions",
    ]


@given(
    entry=st.decimals("0.01", "5000", places=4),
    hundredths=st.integers(-9_000, 30_000),
)
@settings(derandomize=True)
def test_a_percentage_is_one_of_a_hundred_whatever_the_entry(
    entry: Decimal, hundredths: int
) -> None:
    wanted = Decimal(hundredths) / 100
    seen = watch(entry_price=entry, price=entry + entry * wanted / 100)

    assert profit_pct(seen) == wanted


X, H = Direction.EXIT, Direction.HOLD
S, M, W = Strength.STRONG, Strength.MODERATE, Strength.WEAK
TABLE: tuple[
    tuple[tuple[tuple[Direction, Strength], ...], Recommendation, Label],
    ...,
] = (
    (((X, S),), Recommendation.EXIT, Label.STRONG_EXIT),
    (((H, S), (H, S), (X, S)), Recommendation.EXIT, Label.STRONG_EXIT),
    (((X, M), (X, M), (X, S)), Recommendation.EXIT, Label.STRONG_EXIT),
    (((X, M), (X, M)), Recommendation.REVIEW, Label.REVIEW),
    (((X, M), (X, M), (H, S)), Recommendation.REVIEW, Label.REVIEW),
    (((H, S),), Recommendation.HOLD, Label.STRONG_HOLD),
    (((H, S), (X, W), (X, W)), Recommendation.HOLD, Label.STRONG_HOLD),
    (((X, M), (H, S)), Recommendation.REVIEW, Label.REVIEW),
    ((), Recommendation.HOLD, Label.HOLD),
    (((H, M),), Recommendation.HOLD, Label.HOLD),
    (((H, W), (H, M)), Recommendation.HOLD, Label.HOLD),
    (((X, M),), Recommendation.REVIEW, Label.REVIEW),
    (((X, M), (H, M)), Recommendation.REVIEW, Label.REVIEW),
    (((X, W),), Recommendation.REVIEW, Label.REVIEW),
    (((X, W), (H, M)), Recommendation.REVIEW, Label.REVIEW),
)


def one(direction: Direction, strength: Strength, number: int) -> Signal:
    return Signal(
        kind=K.RSI_HIGH, direction=direction, strength=strength, sentence=f"sentence {number}"
    )


def made(shape: Sequence[tuple[Direction, Strength]]) -> tuple[Signal, ...]:
    return tuple(one(*part, number) for number, part in enumerate(shape))


def said(shape: Sequence[tuple[Direction, Strength]]) -> str:
    return " and ".join(f"{strength} {direction}" for direction, strength in shape) or "nothing"


@pytest.mark.parametrize(
    ("shape", "recommendation", "label"),
    [pytest.param(*row, id=said(row[0])) for row in TABLE],
)
def test_the_decision_table_decides(
    shape: tuple[tuple[Direction, Strength], ...], recommendation: Recommendation, label: Label
) -> None:
    for order in (shape, shape[::-1]):
        decision = decide(made(order))

        assert (decision.recommendation, decision.label) == (recommendation, label)


def test_a_decision_gives_its_reasons() -> None:
    decision = decide(detect(at_price("97"), DEFAULT))

    assert decision.reason == "stop_loss_hit: -3.00 % at 97, bought at 100"
    assert decide(()).reason == "nothing was seen either way"


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


numbers = st.decimals(-200, 200, places=3) | st.decimals()
prices = st.decimals("1", "200", places=2)
whens = st.integers(-3000, 3000).map(lambda minutes: NOW + timedelta(minutes=minutes))
technicals_seen = st.builds(
    Seen,
    bars_used=st.integers(0, 60),
    as_of=maybe(whens),
    rsi_14=maybe(numbers),
    vwap=maybe(numbers),
    ema_20=maybe(numbers),
    macd_line=maybe(numbers),
    macd_signal=maybe(numbers),
)
paces = st.builds(
    VolumePace,
    of_entry_pct=numbers,
    baseline=st.sampled_from(Baseline),
    sessions=st.integers(0, 20),
)
watches = st.builds(
    Watch,
    symbol=st.just("ACME"),
    quantity=st.integers(-5, 1000),
    now=whens,
    entry_price=maybe(prices | st.decimals()),
    opened_at=maybe(whens),
    best_price=maybe(prices | st.decimals()),
    price=maybe(prices | st.decimals()),
    technicals=maybe(technicals_seen),
    volume=maybe(paces),
    session=maybe(st.sampled_from([SESSION, LUNCH, HALF_DAY])),
    may_stay_overnight=st.booleans(),
    may_stay_over_lunch=st.booleans(),
)


@given(seen=watches)
@settings(derandomize=True, max_examples=500)
def test_nothing_that_is_missing_or_wrong_raises(seen: Watch) -> None:
    found = detect(seen, DEFAULT)

    assert decide(found).reason
    for signal in found:
        assert signal.direction is MEANINGS[signal.kind].direction
        assert "None" not in signal.sentence
        assert "NaN" not in signal.sentence


@given(seen=watches, price=prices, worse=prices)
@settings(derandomize=True, max_examples=500)
def test_a_worse_price_never_turns_an_exit_into_a_hold(
    seen: Watch, price: Decimal, worse: Decimal
) -> None:
    assume(worse < price)
    at_first = decide(detect(replace(seen, price=price), DEFAULT))
    then = decide(detect(replace(seen, price=worse), DEFAULT))

    if at_first.recommendation is Recommendation.EXIT:
        assert then.recommendation is Recommendation.EXIT


@given(entry=prices, loss=st.decimals("3", "99", places=2), seen=watches)
@settings(derandomize=True, max_examples=300)
def test_nothing_outweighs_a_loss_at_the_stop(entry: Decimal, loss: Decimal, seen: Watch) -> None:
    breached = replace(seen, entry_price=entry, price=entry * (100 - loss) / 100)

    assert decide(detect(breached, DEFAULT)).recommendation is Recommendation.EXIT


HONG_KONG = (
    ("0", "0.001"),
    ("0.25", "0.005"),
    ("0.5", "0.01"),
    ("20", "0.02"),
    ("50", "0.05"),
    ("100", "0.1"),
)
BANDS = tuple(TickBand(from_price=Decimal(at), tick=Decimal(tick)) for at, tick in HONG_KONG)
BANDED = instrument(ticks=BANDS)


def stop_after(
    best: str | Decimal | None, previous: str | None = None, of: Instrument = BANDED
) -> Decimal | None:
    return trailing_stop(
        previous=None if previous is None else Decimal(previous),
        best_price=None if best is None else Decimal(best),
        instrument=of,
        settings=DEFAULT,
    )


@pytest.mark.parametrize(
    ("best", "previous", "expected"),
    [
        pytest.param("60", None, "58.2", id="three percent below the best"),
        pytest.param("60.01", None, "58.25", id="on the tick, upwards"),
        pytest.param("60", "57", "58.2", id="follows upwards"),
        pytest.param("60", "58.20", "58.20", id="stays where it is"),
        pytest.param("59", "58.2", "58.2", id="never moves down"),
        pytest.param("20.3", None, "19.70", id="on the tick of its own price, not of the best"),
        pytest.param("0.020", None, "0.019", id="a tick below the best price at least"),
        pytest.param("20", "19.99", "19.99", id="a tick below the edge of a band"),
    ],
)
def test_a_trailing_stop_follows_the_best_price(
    best: str, previous: str | None, expected: str
) -> None:
    assert stop_after(best, previous) == Decimal(expected)


@pytest.mark.parametrize("best", [None, "NaN", "sNaN", "Infinity", "0", "-5"])
def test_a_best_price_that_is_none_leaves_the_stop(best: str | None) -> None:
    assert stop_after(best, "58.2") == Decimal("58.2")
    assert stop_after(best) is None


def test_a_price_of_one_tick_has_no_room_for_a_stop() -> None:
    assert stop_after("0.001") is None


@given(
    bests=st.lists(maybe(st.decimals("0.002", "200", places=3)), min_size=2, max_size=30),
    percent=st.decimals("0.1", "10", places=1),
)
@settings(derandomize=True, max_examples=300)
def test_a_trailing_stop_never_moves_down_and_lies_on_the_tick_below_the_best(
    bests: list[Decimal | None], percent: Decimal
) -> None:
    changed = DEFAULT.model_copy(update={"trailing_stop_pct": percent})
    stops: list[Decimal | None] = [None]
    for best in bests:
        stop = trailing_stop(
            previous=stops[-1], best_price=best, instrument=BANDED, settings=changed
        )
        stops.append(stop)
        if stop is not None and stop != stops[-2]:
            assert best is not None
            assert stop < best
            assert stop % BANDED.tick_at(stop) == 0

    assert all(after is not None and before <= after for before, after in pairwise(stops) if before)


def test_every_meaning_names_settings_that_exist_and_every_threshold_is_named() -> None:
    named = {name for meaning in MEANINGS.values() for name in re.findall(r"`(\w+)`", meaning.when)}
    about_data = {
        "volume_window_minutes",
        "max_technicals_age_minutes",
        "max_quote_age_seconds",
        "max_clock_skew_seconds",
        "quote_agreement_pct",
        "quote_jump_factor",
    }

    assert named == set(SignalSettings.model_fields) - about_data


def test_every_signal_has_a_meaning_and_stands_in_the_readme() -> None:
    text = (PROJECT / "README.md").read_text()

    assert set(MEANINGS) == set(SignalKind)
    for kind in SignalKind:
        assert f"| `{kind}` |" in text
