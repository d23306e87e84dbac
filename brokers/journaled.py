"""Sends exits while the database is away: the intent stands in the local journal first, and is sent once.

For one outage at a time. What was sent is found again by its id, by a later pass and when the journal is
taken over; an outcome that is not known is looked up and never sent again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from brokers.base import Broker
from brokers.resolution import is_proven_absent
from safety import ApprovedOrder
from shared import log
from shared.clock import Clock
from shared.database.fences import Sender
from shared.errors import BrokerUnavailable, OrderOutcomeUnknown, OrderRejected
from shared.identity import client_order_id, decision_key
from shared.journal.entries import IntentWritten, OrderMoved, OrderReported, UnreadableEntry
from shared.journal.file import LocalJournal
from shared.models import OrderRequest, OrderStatus
from shared.order_life import OrderState

logger = log.get(__name__)

SOURCE = "blind guard"
"""Who reported, as rows say."""

_RESTS_NOWHERE = frozenset({OrderState.NOT_PLACED, OrderState.REJECTED})
_IS_OVER = frozenset({OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED})
"""An order that ended so may be asked for again; one that filled may not: its shares are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one order."""

    said: str
    was_rejected: bool = False
    """Whether the broker itself said no."""


@dataclass(slots=True, kw_only=True)
class _Unknown:
    """An order of which the broker may or may not know."""

    request: OrderRequest
    first_absent_at: datetime | None = None
    """When it was first looked up in vain."""


@dataclass(slots=True, kw_only=True)
class JournaledSending:
    """What was sent in one outage; each pass of it brings a connection to the broker of its own."""

    journal: LocalJournal
    clock: Clock
    sender: Sender
    """Under which token the last order before the outage could be sent."""
    cycle_id: str | None
    since: datetime
    """When the outage was noticed: its orders' ids come from this."""
    _attempts: dict[str, int] = field(default_factory=dict[str, int])
    _unknown: dict[str, _Unknown] = field(default_factory=dict[str, _Unknown])
    """By client order id."""

    def take_over(self, journals: Iterable[LocalJournal]) -> None:
        """Count as not known what the journals say was begun: it may be on its way, or at the broker."""
        for journal in journals:
            try:
                lines = [*journal.lines()]
            except OSError as error:
                logger.exception("journal_not_read", path=str(journal.path), why=error.strerror)
                continue
            for line in lines:
                if not isinstance(line, UnreadableEntry):
                    self._take_over(line.entry)

    async def why_not(self, broker: Broker, draft: OrderRequest) -> str | None:
        """Say why a draft is not to be sent: it is there already, or one of its symbol may be; else None.

        Each pass has a transport of its own, so what two later passes do not find never arrived. Raises
        BrokerUnavailable.
        """
        for name, unknown in [*self._unknown.items()]:
            of_symbol = unknown.request.symbol == draft.symbol
            if of_symbol and not await self._is_settled(broker, name, unknown):
                return f"NOT PROTECTED, the outcome of order {name} is not known"
        while True:
            found = await broker.order_by_client_id(self.named(draft).client_order_id)
            if found is None:
                return None
            if found.status not in _IS_OVER:
                return f"order {found.broker_order_id} is {found.status}"
            self._try_anew(draft)

    def named(self, draft: OrderRequest) -> OrderRequest:
        """Name an order by the outage and what was decided: the same decision is the same order."""
        key = decision_key(draft)
        name = client_order_id(
            database=self.journal.database,
            agent_id=self.journal.agent_id,
            cycle=f"blind-{self.since.isoformat()}",
            decision=key,
            attempt=self._attempts.get(key, 1),
        )
        return replace(draft, client_order_id=name)

    async def send(
        self, broker: Broker, approved: ApprovedOrder, *, why: str, currency: str
    ) -> Sent:
        """Keep the intent on the disk, send it once, and keep what came of it."""
        request, now = approved.request, self.clock.now()
        self._note(
            IntentWritten(
                agent_id=self.journal.agent_id,
                cycle_id=self.cycle_id,
                request=request,
                reason=why,
                currency=currency,
                sender=self.sender,
                at=now,
            )
        )
        logger.warning("sent_without_database", symbol=request.symbol, why=why)
        try:
            order = await broker.place_order(approved)
        except OrderRejected as error:
            return self._failed(request, OrderState.REJECTED, str(error))
        except BrokerUnavailable as error:
            return self._failed(request, OrderState.NOT_PLACED, str(error))
        except OrderOutcomeUnknown as error:
            return self._failed(request, OrderState.UNKNOWN, str(error))
        self._note(
            OrderReported(
                agent_id=self.journal.agent_id, order=order, source=SOURCE, at=self.clock.now()
            )
        )
        return Sent(said=f"{why}: order {order.broker_order_id} is {order.status}")

    def _take_over(self, entry: object) -> None:
        match entry:
            case IntentWritten(request=request):
                self._unknown[request.client_order_id] = _Unknown(request=request)
            case OrderReported(order=order) if order.client_order_id is not None:
                self._unknown.pop(order.client_order_id, None)
            case OrderMoved(client_order_id=name, to=to) if to in _RESTS_NOWHERE:
                self._unknown.pop(name, None)
            case _:
                """Says nothing about an order's beginning or end."""

    async def _is_settled(self, broker: Broker, name: str, unknown: _Unknown) -> bool:
        """Whether it is known by now that an order arrived, or that it never did."""
        asked_at = self.clock.now()
        if await broker.order_by_client_id(name) is None:
            unknown.first_absent_at = unknown.first_absent_at or asked_at
            if not is_proven_absent(first_read_at=unknown.first_absent_at, read_at=asked_at):
                return False
            self._try_anew(unknown.request)
        del self._unknown[name]
        return True

    def _failed(self, request: OrderRequest, state: OrderState, why: str) -> Sent:
        if state is OrderState.UNKNOWN:
            self._unknown[request.client_order_id] = _Unknown(request=request)
        else:
            self._try_anew(request)
        self._note(
            OrderMoved(
                client_order_id=request.client_order_id, to=state, detail=why, at=self.clock.now()
            )
        )
        return Sent(said=f"NOT PROTECTED, {why}", was_rejected=state is OrderState.REJECTED)

    def _try_anew(self, request: OrderRequest) -> None:
        """Let the same decision be another order from now on: the one before rests nowhere."""
        key = decision_key(request)
        self._attempts[key] = self._attempts.get(key, 1) + 1

    def _note(self, entry: IntentWritten | OrderMoved | OrderReported) -> None:
        """Put a line into the journal; a disk that is full keeps nobody in a position."""
        try:
            self.journal.append(entry, self.clock.now())
        except OSError as error:
            logger.exception("not_in_the_journal", kind=entry.kind, why=str(error.strerror))
