"""Holds a session of the calendar against what a broker says of the same date."""

from shared.models import SessionHours, TradingDay

_NOON_PARTS = 1


def differs(session: SessionHours, day: TradingDay | None) -> str | None:
    """Say how the broker's day differs from the calendar's session; None where it does not, or says nothing.

    A session that ends early is one of the morning alone.
    """
    if day is None or day is expected(session):
        return None
    date = session.session_date
    return (
        f"by its calendar {session.exchange} trades {_WORDS[expected(session)]} of {date}, by the broker"
        f" {_WORDS[day]}"
    )


def expected(session: SessionHours) -> TradingDay:
    """Return how much of its date a session trades."""
    if session.early_close and len(session.parts) == _NOON_PARTS:
        return TradingDay.MORNING
    return TradingDay.WHOLE


_WORDS = {
    TradingDay.NONE: "nothing",
    TradingDay.WHOLE: "the whole",
    TradingDay.MORNING: "the morning alone",
    TradingDay.AFTERNOON: "the afternoon alone",
}
