"""What happens on a day that the calendar does not reach: nothing is traded, and a person is told."""

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager

from entry_point import Afterwards
from shared import log
from shared.clock import ManualClock
from shared.config import Configuration
from shared.errors import CalendarExhausted, ConfigError, DatabaseUnavailable
from shared.paths import data_directory

logger = log.get(__name__)


@contextmanager
def told_where_the_calendar_ends(
    configuration: Configuration, afterwards: Afterwards
) -> Generator[None]:
    """Let a run that finds no calendar for its day fail, after it was put into the outbox."""
    try:
        yield
    except CalendarExhausted as error:
        logger.exception("calendar_exhausted")
        try:
            asyncio.run(_tell(str(error), configuration, afterwards))
        except (DatabaseUnavailable, ConfigError) as untold:
            logger.warning("calendars_end_not_told", why=str(untold))
        raise


async def _tell(what: str, configuration: Configuration, afterwards: Afterwards) -> None:
    from rehearsal import bookmark as bookmarks
    from shared.database import records
    from shared.database.opening import open_trading

    settings, home = configuration.settings, data_directory(afterwards.environ)
    name, clock = "", afterwards.clock
    if settings.rehearsal is not None:
        bookmark = bookmarks.newest(home / "rehearsal")
        if bookmark is None:
            return
        name, clock = bookmark.database_name, ManualClock(bookmark.clock)
    async with AsyncExitStack() as stack:
        trading = await open_trading(
            stack,
            configuration,
            environ=afterwards.environ,
            home=home,
            embedded_name=name,
        )
        afterwards.where, afterwards.due_alerts = (name, clock), None
        await records.queue_alert(
            trading,
            agent_id=settings.agent.id,
            cycle_id=None,
            severity="critical",
            subject=f"nothing is traded: the calendar of {settings.market.exchange} has ended",
            body=f"{what}. Every run ends with an error until `python -m market.generate_calendar` has"
            " written a longer one. What is held is not sold; its stops and targets rest at the broker.",
            dedupe_key=f"calendar-ended-{settings.market.exchange}",
            at=clock.now(),
        )
