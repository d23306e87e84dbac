"""Sends exits while the database is away: the intent stands in the local journal first, and is sent once.

For one outage at a time. What was sent is found again by its id, by a later pass and when the journal is
taken over; an outcome that is not known is looked up and never sent again.
"""

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
from shared.journal.entries import IntentWritten, OrderMoved, OrderReported
from shared.journal.file import LocalJournal
from shared.models import OrderRequest
from shared.order_life import OrderState

logger = log.get(__name__)

SOURCE = "blind guard"
"""Who reported, as rows say."""


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
    _unknown: dict[str, datetime | None] = field(default_factory=dict[str, datetime | None])
    """Orders whose outcome is not known, each with when it was first not found."""

    async def why_not(self, broker: Broker, draft: OrderRequest) -> str | None:
        """Say why a draft is not to be sent: it is there already, or may be; None where it may be sent.

        Each pass has a transport of its own, so what two later passes do not find never arrived. Raises
        BrokerUnavailable.
        """
        named, asked_at = self.named(draft).client_order_id, self.clock.now()
        found = await broker.order_by_client_id(named)
        if found is not None:
            self._unknown.pop(named, None)
            return f"order {found.broker_order_id} is {found.status}"
        if named not in self._unknown:
            return None
        first = self._unknown[named] or asked_at
        self._unknown[named] = first
        if not is_proven_absent(first_read_at=first, read_at=asked_at):
            return "NOT PROTECTED, the outcome of its order is not known"
        del self._unknown[named]
        self._try_anew(draft)
        return None

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
    ) -> str:
        """Keep the intent on the disk, send it once, and keep what came of it; return a sentence."""
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
        return f"{why}: order {order.broker_order_id} is {order.status}"

    def _failed(self, request: OrderRequest, state: OrderState, why: str) -> str:
        if state is OrderState.UNKNOWN:
            self._unknown[request.client_order_id] = None
        else:
            self._try_anew(request)
        self._note(
            OrderMoved(
                client_order_id=request.client_order_id, to=state, detail=why, at=self.clock.now()
            )
        )
        return f"NOT PROTECTED, {why}"

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
