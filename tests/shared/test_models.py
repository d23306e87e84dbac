from datetime import UTC, date, datetime, timedelta

import pytest

from shared.models import SessionHours

MORNING = (datetime(2026, 12, 23, 1, 30, tzinfo=UTC), datetime(2026, 12, 23, 4, 0, tzinfo=UTC))
AFTERNOON = (datetime(2026, 12, 23, 5, 0, tzinfo=UTC), datetime(2026, 12, 23, 8, 0, tzinfo=UTC))
HOURS = SessionHours(exchange="XHKG", session_date=date(2026, 12, 23), parts=(MORNING, AFTERNOON))
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("now", "part"),
    [
        (MORNING[0] - INSTANT, None),
        (MORNING[0], MORNING),
        (MORNING[1] - INSTANT, MORNING),
        (MORNING[1], None),
        (AFTERNOON[0] - INSTANT, None),
        (AFTERNOON[0], AFTERNOON),
        (AFTERNOON[1] - INSTANT, AFTERNOON),
        (AFTERNOON[1], None),
    ],
    ids=str,
)
def test_a_part_holds_its_opening_instant_and_not_its_closing_one(
    now: datetime, part: tuple[datetime, datetime] | None
) -> None:
    assert HOURS.part_at(now) == part
    assert HOURS.is_open(now) == (part is not None)
