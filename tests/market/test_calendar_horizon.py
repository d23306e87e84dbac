from datetime import date, timedelta

import pytest

from market.calendar import Calendar
from market.calendar_horizon import WARNING_DAYS, warnings

LAST = date(2027, 12, 31)


@pytest.mark.parametrize(
    ("days_before", "warned"), [(WARNING_DAYS + 1, False), (WARNING_DAYS, True), (0, True)]
)
def test_the_end_of_a_table_is_announced_from_exactly_so_many_days_before(
    new_york: Calendar, days_before: int, warned: bool
) -> None:
    found = warnings(new_york, LAST - timedelta(days=days_before))

    assert bool(found) == warned
    assert all("XNYS" in sentence and "ends on 2027-12-31" in sentence for sentence in found)


def test_months_are_left_to_act_on_the_first_warning() -> None:
    assert WARNING_DAYS >= 90


def test_the_sentence_is_the_same_every_day_until_the_end(hong_kong: Calendar) -> None:
    found = {warnings(hong_kong, LAST - timedelta(days=days)) for days in range(WARNING_DAYS + 1)}

    assert len(found) == 1


def test_a_table_that_has_ended_is_said_to_have_ended(hong_kong: Calendar) -> None:
    (sentence,) = warnings(hong_kong, LAST + timedelta(days=1))

    assert "XHKG calendar ended on 2027-12-31" in sentence


def test_the_number_of_days_can_be_chosen(new_york: Calendar) -> None:
    assert warnings(new_york, LAST - timedelta(days=30), warning_days=29) == ()
    assert warnings(new_york, LAST - timedelta(days=30), warning_days=30) != ()
