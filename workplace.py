"""Opens what one run works with: broker and feed, the account held against its pin, the day's first equity.

Decides nothing, and places nothing.
"""

from contextlib import AsyncExitStack
from decimal import Decimal

from brokers.desk import DeskContext
from brokers.patience import PatientBroker
from lookout import Workplace
from shared.config import Settings
from shared.database import accounts, cycles
from shared.database.fences import Sender
from shared.journal.books import Books
from shared.models import Account, Mode
from stage import Stage

SESSIONS_OF_BARS = 5
"""How many earlier sessions indicators may look at, where the feed has them."""


async def open_workplace(
    stack: AsyncExitStack,
    *,
    settings: Settings,
    stage: Stage,
    books: Books,
    mode: Mode,
    sender: Sender,
    cycle_id: str,
    dry_run: bool,
) -> Workplace:
    """Open broker and feed, which the stack closes, and fix the session's first equity.

    Raises BrokerUnavailable, DatabaseUnavailable, and ConfigError for another account than the pinned one.
    """
    feed = stage.feed()
    broker = PatientBroker(stage.broker(), settings.orders)
    stack.push_async_callback(broker.disconnect)
    stack.push_async_callback(feed.close)
    account = await broker.account()
    start_equity = await _known_to(books, account, settings, stage, broker.capabilities.name)
    earlier = stage.calendar.previous_sessions(stage.session.session_date, SESSIONS_OF_BARS)
    return Workplace(
        settings=settings,
        mode=mode,
        clock=stage.clock,
        broker=broker,
        feed=feed,
        books=books,
        session=stage.session,
        sessions=(*earlier, stage.session),
        home=stage.home,
        context=DeskContext(
            agent_id=settings.agent.id,
            cycle_id=cycle_id,
            currency=account.currency,
            database=books.database,
            sender=sender,
            dry_run=dry_run,
        ),
        session_start_equity=start_equity,
    )


async def _known_to(
    books: Books, account: Account, settings: Settings, stage: Stage, broker: str
) -> Decimal | None:
    """Hold the account against the agent's pin; return the equity that the day's loss is measured from."""
    agent_id, now = settings.agent.id, stage.clock.now()
    await accounts.pin_account(
        books.connection,
        agent_id=agent_id,
        broker=broker,
        environment=account.environment,
        account_id=account.account_id,
        at=now,
    )
    if not account.equity.is_finite():
        return None
    return await cycles.start_session(
        books.connection,
        agent_id=agent_id,
        session_date=stage.session.session_date,
        exchange=settings.market.exchange,
        currency=account.currency,
        equity=account.equity,
        at=now,
    )
