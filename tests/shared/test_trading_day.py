"""What a broker says of a date against the calendar's session, on every kind of day in Hong Kong."""

from datetime import date

import pytest

from market import calendar
from shared.models import SessionHours, TradingDay
from shared.trading_day import differs, expected

HONG_KONG = calendar.load("XHKG")
WHOLE, HALF = date(2026, 12, 23), date(2026, 12, 24)


def session(day: date) -> SessionHours:
    found = HONG_KONG.session_on(day)
    assert found is not None
    return found


@pytest.mark.parametrize(("day", "said"), [(WHOLE, TradingDay.WHOLE), (HALF, TradingDay.MORNING)])
def test_what_is_expected_is_no_difference(day: date, said: TradingDay) -> None:
    assert expected(session(day)) is said
    assert differs(session(day), said) is None
    assert differs(session(day), None) is None


@pytest.mark.parametrize(
    ("day", "said", "words"),
    [
        (
            WHOLE,
            TradingDay.MORNING,
            "trades the whole of 2026-12-23, by the broker the morning alone",
        ),
        (WHOLE, TradingDay.NONE, "by the broker nothing"),
        (HALF, TradingDay.WHOLE, "trades the morning alone of 2026-12-24, by the broker the whole"),
        (HALF, TradingDay.AFTERNOON, "by the broker the afternoon alone"),
    ],
)
def test_anything_else_is_said(day: date, said: TradingDay, words: str) -> None:
    assert words in str(differs(session(day), said))
