"""What the broker's clock says against ours and the calendar's: no new risk where they differ, no sale in a closure."""

from dataclasses import replace
from datetime import timedelta

import pytest

import safety
from rules.codes import Code
from shared.models import OrderPurpose, OrderRequest, Refusal, Snapshot, TradingDay
from tests.builders import CLOSE, NOW, entry, instrument, limits, position, quote, sale, snapshot


def codes(request: OrderRequest, world: Snapshot, **bounds: object) -> tuple[str, ...]:
    verdict = safety.review(request, world, limits(**bounds), world.taken_at)
    return verdict.codes if isinstance(verdict, Refusal) else ()


@pytest.mark.parametrize(
    ("drift", "expected"),
    [
        (0.0, ()),
        (2.0, ()),
        (-2.0, ()),
        (2.000001, (Code.CLOCK_DRIFT,)),
        (-2.000001, (Code.CLOCK_DRIFT,)),
        (-1800.0, (Code.CLOCK_DRIFT,)),
        (None, (Code.CLOCK_DRIFT,)),
    ],
)
def test_an_entry_needs_clocks_that_agree(drift: float | None, expected: tuple[Code, ...]) -> None:
    assert codes(entry(), snapshot(clock_drift_seconds=drift)) == expected


def test_how_far_they_may_differ_is_a_limit() -> None:
    world = snapshot(clock_drift_seconds=1.5)

    assert codes(entry(), world, max_clock_drift_seconds=1.0) == (Code.CLOCK_DRIFT,)


@pytest.mark.parametrize("drift", [1800.0, -1800.0, None])
def test_a_wrong_clock_keeps_nobody_in_a_position(drift: float | None) -> None:
    assert codes(sale(), snapshot(positions=(position(),), clock_drift_seconds=drift)) == ()


@pytest.mark.parametrize("day", [TradingDay.MORNING, TradingDay.AFTERNOON, TradingDay.NONE])
def test_an_entry_needs_a_broker_that_keeps_the_calendars_hours(day: TradingDay) -> None:
    assert codes(entry(), snapshot(broker_day=day)) == (Code.OTHER_HOURS,)
    assert codes(sale(), snapshot(positions=(position(),), broker_day=day)) == ()


@pytest.mark.parametrize("day", [TradingDay.WHOLE, None])
def test_a_broker_that_agrees_or_says_nothing_is_no_reason(day: TradingDay | None) -> None:
    assert codes(entry(), snapshot(broker_day=day)) == ()


def test_a_doubtful_tick_keeps_entries_back_and_nobody_in_a_position() -> None:
    doubtful = replace(instrument(), doubt="by the broker the tick is 0.01, by the table 0.05")
    world = snapshot(positions=(position(),), instruments={"ACME": doubtful})
    verdict = safety.review(entry(), world, limits(), world.taken_at)

    assert isinstance(verdict, Refusal)
    assert "by the broker the tick is 0.01" in str(verdict)
    assert Code.LOT_OR_TICK_IN_DOUBT in verdict.codes
    assert codes(sale(), world) == ()


@pytest.mark.parametrize("is_open", [False, None])
def test_an_entry_needs_a_broker_that_says_it_is_open(is_open: bool | None) -> None:
    assert codes(entry(), snapshot(market_is_open=is_open)) == (Code.BROKER_CLOSED,)


def test_nothing_is_sold_into_a_closure_that_the_broker_knows_of() -> None:
    world = snapshot(positions=(position(),), market_is_open=False)

    assert codes(sale(), world) == (Code.BROKER_CLOSED,)


def test_a_broker_that_does_not_say_keeps_nobody_in_a_position() -> None:
    assert codes(sale(), snapshot(positions=(position(),), market_is_open=None)) == ()


def test_a_stop_may_be_laid_down_in_a_closure() -> None:
    world = snapshot(positions=(position(),), market_is_open=False)

    assert codes(sale(purpose=OrderPurpose.STOP_LOSS), world) == ()


def test_after_the_close_calendar_and_broker_agree_and_one_reason_is_given() -> None:
    now = CLOSE + timedelta(minutes=1)
    world = snapshot(taken_at=now, market_is_open=False, quotes={"ACME": quote(at=now)})

    assert codes(entry(), world) == (Code.SESSION_CLOSED,)
    assert codes(sale(), snapshot(taken_at=now, positions=(position(),))) == (Code.SESSION_CLOSED,)


def test_the_sentences_have_the_numbers() -> None:
    verdict = safety.review(entry(), snapshot(clock_drift_seconds=-61.26), limits(), NOW)

    assert "may differ by 2 seconds from ours, was -61.3" in str(verdict)
