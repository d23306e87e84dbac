"""What a person should know before a session beside how the books stand: broker's clock, hours, market data.

Decides nothing: safety judges the same things again when something is to be bought.
"""

from broker_clock import BrokerClock
from shared import trading_day
from shared.errors import BrokerUnavailable, FeedUnavailable
from standing import Standpoint


async def what_is_not_ready(point: Standpoint) -> tuple[str, ...]:
    """Ask the broker's clock and the feed; return a sentence for each that would keep entries back."""
    return (*await _about_time(point), *await _about_data(point))


async def _about_time(point: Standpoint) -> list[str]:
    reading = await BrokerClock(point.broker, point.clock, point.session).reading()
    most = point.settings.limits.max_clock_drift_seconds
    found: list[str] = []
    if reading.drift_seconds is None:
        found.append("the broker does not say what time it is")
    elif abs(reading.drift_seconds) > most:
        found.append(
            f"this machine's clock and the broker's differ by {reading.drift_seconds:+.1f} seconds,"
            f" {most:g} are allowed"
        )
    # hours about a session lie, in UTC, within its own date
    if reading.read_at.date() == point.session.session_date:
        found += filter(None, [trading_day.differs(point.session, reading.day)])
    return found


async def _about_data(point: Standpoint) -> list[str]:
    try:
        symbols = await point.feed.symbols()
        if symbols:
            await point.feed.quotes(symbols[:1])
    except (FeedUnavailable, BrokerUnavailable) as error:
        return [f"market data: {error}"]
    return [] if symbols else ["market data: the feed names no symbol"]
