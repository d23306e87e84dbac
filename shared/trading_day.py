"""Holds a session of the calendar against what a broker says of the same date."""

from shared.models import SessionHours, TradingDay


def differs(session: SessionHours, day: TradingDay | None) -> str | None:
    """Say how the broker's day differs from the calendar's session; None where it does not, or says nothing."""
    if day is None or day is expected(session):
        return None
    date = session.session_date
    return (
        f"by its calendar {session.exchange} trades {_WORDS[expected(session)]} of {date}, by the broker"
        f" {_WORDS[day]}"
    )


def expected(session: SessionHours) -> TradingDay:
    """Return how much of its date a session trades; a half day of Hong Kong is its morning."""
    if session.early_close and len(session.parts) == 1:
        return TradingDay.MORNING
    return TradingDay.WHOLE


_WORDS = {
    TradingDay.NONE: "nothing",
    TradingDay.WHOLE: "the whole",
    TradingDay.MORNING: "the morning alone",
    TradingDay.AFTERNOON: "the afternoon alone",
}
