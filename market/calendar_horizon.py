"""Says in good time that a calendar table ends, since past its end nothing is traded.

Knows no clock: a calendar and a date go in, sentences for a person come out.
"""

from datetime import date, timedelta

from market.calendar import Calendar

WARNING_DAYS = 120
"""Exchanges publish a year's holidays at least half a year ahead: this leaves months to act."""


def warnings(
    calendar: Calendar, today: date, *, warning_days: int = WARNING_DAYS
) -> tuple[str, ...]:
    """Return what a person should know about the table's end on the exchange's local date `today`.

    Empty while the end is more than `warning_days` away. The sentence stays the same from day to day, so
    that it can be told apart from news.
    """
    if today > calendar.last_date:
        return (
            f"the {calendar.exchange} calendar ended on {calendar.last_date}: nothing is traded until "
            f"`python -m market.generate_calendar` has written a longer one",
        )
    if calendar.last_date - today > timedelta(days=warning_days):
        return ()
    return (
        f"the {calendar.exchange} calendar ends on {calendar.last_date} and nothing is traded after it: "
        f"have a longer one written by `python -m market.generate_calendar`",
    )
