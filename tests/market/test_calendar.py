import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import calendar as calendars
from market import generate_calendar
from market.calendar import TABLES, Calendar
from shared.config import MarketSettings
from shared.errors import CalendarExhausted, ConfigError
from shared.models import SessionHours

# exchange_calendars 4.13.2 still asks pandas 3.1 in ways that pandas is about to drop.
asks_pandas_in_old_ways = pytest.mark.filterwarnings(
    "ignore:Series.values returning", "ignore:DatetimeIndex.weekday is deprecated"
)

WEATHER = {date(2020, 10, 13), date(2021, 10, 13), date(2023, 7, 17), date(2024, 9, 6)}
"""Closures of Hong Kong for weather that exchange_calendars knows by itself."""


def sessions(calendar: Calendar) -> list[SessionHours]:
    days = (calendar.last_date - calendar.first_date).days + 1
    found = (calendar.session_on(calendar.first_date + timedelta(offset)) for offset in range(days))
    return [hours for hours in found if hours is not None]


def opening(calendar: Calendar, day: date) -> datetime:
    hours = calendar.session_on(day)
    assert hours is not None
    return hours.opens_at


@asks_pandas_in_old_ways
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
def test_there_is_no_session_on_a_day_closed_in_new_york(new_york: Calendar, day: date) -> None:
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


def test_a_regular_day_in_hong_kong_has_a_lunch_break(hong_kong: Calendar) -> None:
    hours = hong_kong.session_on(date(2026, 12, 23))

    assert hours is not None
    assert hours.parts == (
        (datetime(2026, 12, 23, 1, 30, tzinfo=UTC), datetime(2026, 12, 23, 4, 0, tzinfo=UTC)),
        (datetime(2026, 12, 23, 5, 0, tzinfo=UTC), datetime(2026, 12, 23, 8, 0, tzinfo=UTC)),
    )
    assert not hours.is_open(datetime(2026, 12, 23, 4, 30, tzinfo=UTC))
    assert not hours.early_close


@pytest.mark.parametrize("day", [date(2026, 12, 24), date(2026, 12, 31), date(2027, 2, 5)], ids=str)
def test_a_half_day_in_hong_kong_has_no_afternoon(hong_kong: Calendar, day: date) -> None:
    hours = hong_kong.session_on(day)

    assert hours is not None
    assert len(hours.parts) == 1
    assert f"{hours.closes_at.astimezone(hong_kong.timezone):%H:%M}" == "12:00"
    assert hours.early_close


@pytest.mark.parametrize(
    "day",
    [
        *(date(2026, 2, 17), date(2026, 2, 18), date(2026, 2, 19)),  # Lunar New Year
        *(date(2027, 2, 8), date(2027, 2, 9)),
        date(2023, 9, 1),  # typhoon Saola, which exchange_calendars 4.13.2 does not know
        date(2023, 9, 8),  # black rainstorm, the same
        date(2024, 9, 6),
    ],
    ids=str,
)
def test_there_is_no_session_on_a_day_closed_in_hong_kong(hong_kong: Calendar, day: date) -> None:
    assert hong_kong.session_on(day) is None


def test_hong_kong_opens_at_the_same_time_of_utc_all_year(hong_kong: Calendar) -> None:
    opens = {hours.opens_at.time() for hours in sessions(hong_kong)}

    assert opens == {time(1, 30)}


@asks_pandas_in_old_ways
def test_a_closure_that_the_source_has_learnt_must_not_be_named_any_longer() -> None:
    span = generate_calendar.Span(
        exchange="XHKG",
        first_date=date(2024, 9, 2),
        last_date=date(2024, 9, 10),
        also_closed={date(2024, 9, 6): "typhoon Yagi"},
    )

    with pytest.raises(RuntimeError, match="2024-09-06: drop it"):
        generate_calendar.table_text(span)


@pytest.mark.parametrize("exchange", get_args(MarketSettings.model_fields["exchange"].annotation))
def test_every_exchange_that_a_configuration_may_name_has_a_table_to_the_end_of_2027(
    exchange: str,
) -> None:
    calendar = calendars.load(exchange)

    assert calendar.exchange == exchange
    assert (calendar.first_date, calendar.last_date) == (date(2019, 1, 1), date(2027, 12, 31))
    assert min(calendar.sessions_per_year().values()) > 240


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
@given(st.sampled_from(["XNYS", "XHKG"]), st.dates(date(2019, 2, 1), date(2027, 11, 30)))
def test_the_session_before_the_next_session_is_never_later_than_the_day(
    exchange: str, day: date
) -> None:
    calendar = calendars.load(exchange)

    following = calendar.next_session(day)

    assert following.session_date > day
    assert calendar.previous_session(following.session_date).session_date <= day


@pytest.mark.parametrize(
    ("exchange", "key", "only_ours"),
    [
        ("XNYS", "Equity-usa-[*]", set[date]()),
        ("XHKG", "Index-hkfe-[*]", WEATHER | {date(2023, 9, 1), date(2023, 9, 8)}),
    ],
    ids=["XNYS", "XHKG"],
)
def test_holidays_and_half_days_agree_with_an_independent_source(
    exchange: str, key: str, only_ours: set[date], market_data: Path
) -> None:
    """The table of QuantConnect LEAN, which is kept by hand; it is complete to the end of 2026."""
    table = json.loads((market_data / "market_hours_lean_subset.json").read_text(encoding="utf-8"))
    holidays = {_lean_date(text) for text in table[key]["holidays"]}
    early = {_lean_date(text) for text in table[key]["earlyCloses"]}
    calendar = calendars.load(exchange)
    weekdays = {
        day
        for offset in range((date(2026, 12, 31) - date(2019, 1, 1)).days + 1)
        if (day := date(2019, 1, 1) + timedelta(days=offset)).weekday() < 5
    }

    ours = {hours.session_date: hours.early_close for hours in sessions(calendar)}

    assert weekdays - ours.keys() == (weekdays & holidays) | only_ours
    assert {day for day in weekdays & ours.keys() if ours[day]} == weekdays & early - holidays


def _lean_date(text: str) -> date:
    month, day, year = map(int, text.split("/"))
    return date(year, month, day)
