"""Guards positions while the database is away: from the broker's word and the local file of stops, exits only.

Nothing is bought, and nothing that a stop at the broker covers is touched.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import safety
import signals
from brokers.base import Broker
from brokers.drafts import (
    is_through,
    market_exit,
    may_be_through,
    naked_quantity,
    protection_request,
)
from brokers.journaled import JournaledSending, Sent
from brokers.lots import whole_lots
from brokers.patience import PatientBroker
from held_prices import broker_reading
from market.base import Feed
from rules.quotes import Confirmed, Unavailable, Yardstick, confirmed_price, reading
from shared import log
from shared.config import Settings
from shared.database.fences import Role, Sender
from shared.errors import BrokerUnavailable, ConfigError, FeedUnavailable
from shared.journal.file import LocalJournal
from shared.journal.stops import KnownStop, StopFile, read_stops
from shared.models import (
    Environment,
    Mode,
    OrderPurpose,
    OrderRequest,
    Quote,
    Refusal,
    Snapshot,
    TradingState,
)
from stage import Stage

logger = log.get(__name__)

WHY = "the database is away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done about one position: an order, or nothing, and why."""

    request: OrderRequest | None
    why: str


def next_step(
    stop: KnownStop,
    snapshot: Snapshot,
    price: Confirmed | Unavailable,
    *,
    has_stops: bool,
    refused: bool = False,
) -> Step:
    """Say what a position needs that nobody has a record of any more but the file of stops.

    A stop that rests is left to do its work. Naked shares get a stop again, and are sold where feed and
    broker say that the price is through it, or one of them does and the broker `refused` the stop. Where no
    stop can rest they are sold at a level that two readings of the price agree on.
    """
    naked = naked_quantity(stop.symbol, stop.quantity, snapshot)
    held = snapshot.position(stop.symbol)
    if held is None or naked == 0:
        return Step(request=None, why="not held" if held is None else "its stop rests")
    free = min(naked, max(0, int(held.available)))
    if free == 0:
        return Step(request=None, why="NOT PROTECTED, orders that rest hold its shares")
    if not has_stops:
        lots = whole_lots(free, snapshot.instruments.get(stop.symbol))
        if lots == 0:
            return Step(
                request=None, why=f"{free} shares are less than a lot, which no order sells"
            )
        return _at_its_levels(stop, lots, price)
    if stop.stop_loss is None:
        return Step(request=None, why="NOT PROTECTED, no stop is known for it")
    through = may_be_through if refused else is_through
    if through(stop.stop_loss, stop.symbol, snapshot):
        why = f"the price is through its stop {stop.stop_loss}"
        return Step(request=market_exit(stop.symbol, free), why=why)
    protection = protection_request(
        symbol=stop.symbol,
        quantity=free,
        stop_loss=stop.stop_loss,
        take_profit=stop.take_profit,
    )
    instrument = snapshot.instruments.get(stop.symbol)
    request = protection if instrument is None else safety.on_tick(protection, instrument)
    return Step(request=request, why="its stop does not rest")


def _at_its_levels(stop: KnownStop, free: int, price: Confirmed | Unavailable) -> Step:
    if isinstance(price, Unavailable):
        return Step(request=None, why=price.why)
    level = signals.level_reached(
        high=price.high, low=price.low, stop=stop.stop_loss, target=stop.take_profit
    )
    if level is None:
        return Step(request=None, why="its price is between its levels")
    return Step(request=market_exit(stop.symbol, free), why=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was known while the database was there, and is held against what is found without it."""

    account_id: str
    database: UUID
    sender: Sender
    cycle_id: str


@dataclass(slots=True, kw_only=True)
class BlindGuard:
    """Makes passes without a database; remembers what it sent, so that nothing is sent twice."""

    settings: Settings
    stage: Stage
    home: Path
    _known: Known | None = None
    _sending: JournaledSending | None = None

    def take_note(self, known: Known) -> None:
        """Keep what is known while the database is there; an outage before it is over."""
        self._known, self._sending = known, None

    async def make_pass(self) -> str:
        """Look once and act; return a sentence. Raises BrokerUnavailable and ConfigError."""
        file = read_stops(self.home, self.settings.agent.id)
        if file is None or not file.stops:
            return "no position is known to the file of stops"
        if self._known is not None and self._known.database != file.database:
            msg = f"the file of stops is of database {file.database}, not of {self._known.database}"
            raise ConfigError(msg)
        if not self.stage.session.is_open(self.stage.clock.now()):
            return "the exchange is closed"
        sending = self._sending = self._sending or self._begin(file)
        async with AsyncExitStack() as stack:
            broker = PatientBroker(self.stage.broker(), self.settings.orders)
            feed = self.stage.feed()
            stack.push_async_callback(broker.disconnect)
            stack.push_async_callback(feed.close)
            snapshot = await self._look(broker, feed, file.stops)
            done = [
                f"{stop.symbol}: {await self._guard(stop, broker, feed, snapshot, sending)}"
                for stop in file.stops
            ]
        return "; ".join(done)

    def _begin(self, file: StopFile) -> JournaledSending:
        known = self._known
        journals = {
            role: LocalJournal(
                home=self.home,
                agent_id=self.settings.agent.id,
                database=file.database,
                role=role,
            )
            for role in Role
        }
        sending = JournaledSending(
            journal=journals[Role.MONITOR],
            clock=self.stage.clock,
            sender=Sender(role=Role.MONITOR, token=0) if known is None else known.sender,
            cycle_id=None if known is None else known.cycle_id,
            since=self.stage.clock.now(),
        )
        sending.take_over(journals.values())
        return sending

    async def _look(self, broker: Broker, feed: Feed, stops: Sequence[KnownStop]) -> Snapshot:
        """Take a picture without records; all that it allows is to reduce."""
        account = await broker.account()
        if account.environment is not Environment.PAPER:
            msg = f"only paper accounts trade, was {account.environment}"
            raise ConfigError(msg)
        if self._known is not None and self._known.account_id != account.account_id:
            msg = f"account {account.account_id} answers, the agent's is {self._known.account_id}"
            raise ConfigError(msg)
        symbols = {stop.symbol for stop in stops}
        return Snapshot(
            taken_at=self.stage.clock.now(),
            mode=Mode.MONITOR,
            session=self.stage.session,
            account=account,
            positions=await broker.positions(),
            open_orders=await broker.orders(only_open=True),
            quotes=await _quotes(feed, symbols),
            instruments=await broker.instruments(symbols),
            state=TradingState.REDUCING,
            halts=(WHY,),
            stops_rest_at_broker=broker.capabilities.has_stops,
        )

    async def _guard(
        self,
        stop: KnownStop,
        broker: Broker,
        feed: Feed,
        snapshot: Snapshot,
        sending: JournaledSending,
    ) -> str:
        """Do what one position needs, and say so; what cannot be done for it keeps no other one waiting."""
        has_stops = broker.capabilities.has_stops
        step = next_step(stop, snapshot, self._price(stop, snapshot), has_stops=has_stops)
        try:
            sent = await self._carry_out(step, stop, broker, snapshot, sending)
            if not sent.was_rejected or not has_stops:
                return sent.said
            snapshot = await self._look(broker, feed, [stop])
            price = self._price(stop, snapshot)
            again = next_step(stop, snapshot, price, has_stops=True, refused=True)
            if again.request is None or again.request.purpose is not OrderPurpose.EXIT:
                return sent.said  # the next pass asks for the stop again
            return (await self._carry_out(again, stop, broker, snapshot, sending)).said
        except BrokerUnavailable as error:
            return f"NOT PROTECTED, {error}"

    async def _carry_out(
        self,
        step: Step,
        stop: KnownStop,
        broker: Broker,
        snapshot: Snapshot,
        sending: JournaledSending,
    ) -> Sent:
        if step.request is None:
            return Sent(said=step.why)
        why_not = await sending.why_not(broker, step.request)
        if why_not is not None:
            return Sent(said=why_not)
        verdict = safety.review(
            sending.named(step.request), snapshot, self.settings.limits, self.stage.clock.now()
        )
        if isinstance(verdict, Refusal):
            logger.error("not_guarded", symbol=stop.symbol, why=str(verdict))
            return Sent(said=f"NOT PROTECTED, {verdict}")
        why = f"{step.why}, and {WHY}"
        return await sending.send(broker, verdict, why=why, currency=stop.currency)

    def _price(self, stop: KnownStop, snapshot: Snapshot) -> Confirmed | Unavailable:
        """Believe what feed and broker agree on."""
        yardstick = Yardstick(
            symbol=stop.symbol,
            currency=stop.currency,
            quoted_in=self.settings.market.currency,
            reference=stop.entry_price,
        )
        first = reading(
            snapshot.quotes.get(stop.symbol),
            yardstick,
            now=self.stage.clock.now(),
            source="feed",
            settings=self.settings.signals,
        )
        second = broker_reading(stop.symbol, snapshot)
        if second is None:
            return Unavailable(f"the broker has no price of {stop.symbol}")
        return confirmed_price(first, second, stop=stop.stop_loss, settings=self.settings.signals)


async def _quotes(feed: Feed, symbols: set[str]) -> dict[str, Quote]:
    try:
        return dict(await feed.quotes(symbols))
    except FeedUnavailable as error:
        logger.warning("no_quotes", why=str(error))
        return {}
