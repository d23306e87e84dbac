import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import calendar as calendars
from market import generate_calendar
from market.calendar import TABLES, Calendar
from shared.errors import CalendarExhausted, ConfigError

HONG_KONG = """{
"exchange": "XHKG", "timezone": "Asia/Hong_Kong", "first_date": "2026-12-21", "last_date": "2026-12-27",
"regular": [["09:30", "12:00"], ["13:00", "16:00"]], "sessions_per_year": {"2026": 4},
"closed_weekdays": ["2026-12-25"], "other_hours": {"2026-12-24": [["09:30", "12:00"]]}}"""


def opening(calendar: Calendar, day: date) -> datetime:
    hours = calendar.session_on(day)
    assert hours is not None
    return hours.opens_at


# exchange_calendars 4.13.2 still asks pandas 3.1 in a way that pandas is about to drop.
@pytest.mark.filterwarnings("ignore:Series.values returning")
@pytest.mark.parametrize("span", generate_calendar.COMMITTED, ids=lambda span: span.exchange)
def test_the_committed_table_is_what_exchange_calendars_says_today(
    span: generate_calendar.Span,
) -> None:
    committed = (TABLES / f"{span.exchange}.json").read_text(encoding="utf-8")

    assert committed == generate_calendar.table_text(span)


def test_a_regular_day_trades_in_one_part_from_half_past_nine_to_four(new_york: Calendar) -> None:
    hours = new_york.session_on(date(2026, 6, 15))

    assert hours is not None
    assert hours.parts == (
        (datetime(2026, 6, 15, 13, 30, tzinfo=UTC), datetime(2026, 6, 15, 20, 0, tzinfo=UTC)),
    )
    assert not hours.early_close


@pytest.mark.parametrize(
    "day",
    [date(2019, 7, 3), date(2025, 11, 28), date(2026, 11, 27), date(2026, 12, 24)],
    ids=str,
)
def test_a_half_day_closes_at_one_in_new_york(new_york: Calendar, day: date) -> None:
    hours = new_york.session_on(day)

    assert hours is not None
    assert hours.early_close
    assert f"{hours.closes_at.astimezone(new_york.timezone):%H:%M}" == "13:00"


@pytest.mark.parametrize(
    "day",
    [
        date(2025, 1, 9),  # national day of mourning, announced twelve days before
        date(2026, 6, 19),
        date(2026, 11, 26),
        date(2027, 12, 24),  # Christmas falls on a Saturday
        date(2026, 6, 13),
        date(2026, 6, 14),
    ],
    ids=str,
)
def test_there_is_no_session_on_a_closed_day(new_york: Calendar, day: date) -> None:
    assert new_york.session_on(day) is None


@pytest.mark.parametrize(
    ("friday", "monday", "moved"),
    [
        (date(2026, 3, 6), date(2026, 3, 9), timedelta(hours=-1)),
        (date(2026, 10, 30), date(2026, 11, 2), timedelta(hours=1)),
    ],
    ids=["spring", "autumn"],
)
def test_the_open_moves_by_an_hour_of_utc_when_new_york_changes_its_clocks(
    new_york: Calendar, friday: date, monday: date, moved: timedelta
) -> None:
    assert opening(new_york, monday) - opening(new_york, friday) == timedelta(days=3) + moved


def test_the_session_of_a_moment_is_that_of_the_exchanges_own_date(new_york: Calendar) -> None:
    late_on_monday_in_new_york = datetime(2026, 6, 16, 2, 0, tzinfo=UTC)

    hours = new_york.session_at(late_on_monday_in_new_york)

    assert hours is not None
    assert hours.session_date == date(2026, 6, 15)


def test_a_naive_moment_is_refused(new_york: Calendar) -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        new_york.session_at(datetime(2026, 6, 16, 2, 0))  # noqa: DTZ001


def test_next_and_previous_session_step_over_a_long_weekend(new_york: Calendar) -> None:
    assert new_york.next_session(date(2026, 7, 2)).session_date == date(2026, 7, 6)
    assert new_york.previous_session(date(2026, 7, 6)).session_date == date(2026, 7, 2)


def test_previous_sessions_come_oldest_first(new_york: Calendar) -> None:
    dates = [hours.session_date for hours in new_york.previous_sessions(date(2026, 7, 7), 3)]

    assert dates == [date(2026, 7, 1), date(2026, 7, 2), date(2026, 7, 6)]


def test_a_day_outside_the_table_is_an_error_and_never_closed(new_york: Calendar) -> None:
    for ask in (
        lambda: new_york.session_on(date(2028, 1, 3)),
        lambda: new_york.session_on(date(2018, 12, 31)),
        lambda: new_york.session_at(datetime(2028, 1, 1, 12, tzinfo=UTC)),
        lambda: new_york.next_session(new_york.last_date),
        lambda: new_york.previous_session(new_york.first_date),
    ):
        with pytest.raises(CalendarExhausted, match="covers 2019-01-01 to 2027-12-31"):
            ask()


def test_a_lunch_break_makes_two_parts_and_a_half_day_one() -> None:
    calendar = calendars.parse(HONG_KONG, "test")
    regular, half = (calendar.session_on(date(2026, 12, day)) for day in (23, 24))

    assert regular is not None
    assert half is not None
    assert [len(regular.parts), len(half.parts)] == [2, 1]
    assert not regular.is_open(datetime(2026, 12, 23, 4, 30, tzinfo=UTC))
    assert half.early_close


def test_a_lost_holiday_line_is_noticed(tmp_path: Path) -> None:
    table = json.loads((TABLES / "XNYS.json").read_text(encoding="utf-8"))
    table["closed_weekdays"].remove("2026-11-26")
    (tmp_path / "XNYS.json").write_text(json.dumps(table), encoding="utf-8")

    with pytest.raises(ConfigError, match="sessions per year"):
        calendars.load("XNYS", tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"exchange": "XNYS"}'])
def test_a_malformed_table_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a calendar table"):
        calendars.parse(text, "test")


def test_an_exchange_without_a_table_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no calendar table for XLON"):
        calendars.load("XLON")


@settings(deadline=None)
@given(st.dates(date(2019, 2, 1), date(2027, 11, 30)))
def test_the_session_before_the_next_session_is_never_later_than_the_day(day: date) -> None:
    calendar = calendars.load("XNYS")

    following = calendar.next_session(day)

    assert following.session_date > day
    assert calendar.previous_session(following.session_date).session_date <= day


def test_holidays_and_half_days_agree_with_an_independent_source(
    new_york: Calendar, market_data: Path
) -> None:
    """The table of QuantConnect LEAN, which is kept by hand; it is complete to the end of 2026."""
    table = json.loads((market_data / "market_hours_lean_subset.json").read_text(encoding="utf-8"))
    hours = table["Equity-usa-[*]"]
    holidays = {_lean_date(text) for text in hours["holidays"]}
    early = {_lean_date(text) for text in hours["earlyCloses"]}
    weekdays = [
        day
        for offset in range((date(2026, 12, 31) - date(2019, 1, 1)).days + 1)
        if (day := date(2019, 1, 1) + timedelta(days=offset)).weekday() < 5
    ]

    assert {day for day in weekdays if new_york.session_on(day) is None} == {
        day for day in weekdays if day in holidays
    }
    assert {
        day for day in weekdays if (session := new_york.session_on(day)) and session.early_close
    } == {day for day in weekdays if day in early and day not in holidays}


def _lean_date(text: str) -> date:
    month, day, year = map(int, text.split("/"))
    return date(year, month, day)
