"""What must not be lost, one kind of entry each: how it is written into the database, and how again.

Every entry can be written twice and counts once, since a commit that was under way when the server went
may have happened all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Protocol, TypeVar

from shared.database import claude_calls, cycles, orders, records
from shared.database.connection import Connection
from shared.database.cycles import CycleEnd
from shared.database.fences import Sender
from shared.database.orders import OrderRecord
from shared.database.records import Severity
from shared.errors import CatalystError
from shared.models import Fill, Order, OrderRequest, Reason
from shared.order_life import OrderState

Written = TypeVar("Written", covariant=True)


class Entry(Protocol[Written]):
    """One thing to be kept."""

    kind: ClassVar[str]

    async def write(self, connection: Connection) -> Written:
        """Write it now. Raises DatabaseUnavailable."""
        ...

    async def write_again(self, connection: Connection) -> str:
        """Write it in a later run, unless it is there, and say what came of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMoved:
    """An order of ours that changed its state by what we did or learnt."""

    kind: ClassVar[str] = "order_moved"

    client_order_id: str
    to: OrderState
    detail: str | None
    at: datetime

    async def write(self, connection: Connection) -> OrderRecord:
        """Move the order. Raises InvalidTransition and DatabaseUnavailable."""
        record = await orders.order_by_client_id(connection, self.client_order_id)
        if record is None:
            msg = f"there is no order {self.client_order_id}"
            raise LookupError(msg)
        return await orders.move_order(
            connection, order_id=record.order_id, to=self.to, at=self.at, detail=self.detail
        )

    async def write_again(self, connection: Connection) -> str:
        """Move it unless more is known by now."""
        return f"the order is {(await self.write(connection)).status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReported:
    """What a broker said about an order, whole."""

    kind: ClassVar[str] = "order_reported"

    agent_id: str
    order: Order
    source: str
    at: datetime

    async def write(self, connection: Connection) -> tuple[Fill, ...]:
        """Take the report in and return new fills. Raises InvalidTransition and DatabaseUnavailable."""
        return await orders.record_broker_order(
            connection, agent_id=self.agent_id, order=self.order, at=self.at, source=self.source
        )

    async def write_again(self, connection: Connection) -> str:
        """Take it in; fills that are known count once."""
        return f"{len(await self.write(connection))} new fills"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentWritten:
    """A sale or a protection that is about to be asked for: kept here before anybody else hears of it."""

    kind: ClassVar[str] = "intent_written"

    agent_id: str
    cycle_id: str | None
    request: OrderRequest
    reason: str
    currency: str
    sender: Sender
    at: datetime

    async def write(self, connection: Connection) -> bool:
        """Write the intent down under no lock, unless it is there; it may have been sent without a database."""
        return await orders.restore_intent(
            connection,
            agent_id=self.agent_id,
            cycle_id=self.cycle_id,
            request=self.request,
            reason=self.reason,
            currency=self.currency,
            at=self.at,
            sender=self.sender,
        )

    async def write_again(self, connection: Connection) -> str:
        """The same."""
        return "written down" if await self.write(connection) else "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused:
    """A request that safety refused, with every reason."""

    kind: ClassVar[str] = "request_refused"

    agent_id: str
    cycle_id: str | None
    tool: str
    request: Mapping[str, object]
    reasons: tuple[Reason, ...]
    at: datetime

    async def write(self, connection: Connection) -> None:
        """Keep the refusal. Raises DatabaseUnavailable."""
        await records.record_refusal(
            connection,
            agent_id=self.agent_id,
            cycle_id=self.cycle_id,
            tool=self.tool,
            request=self.request,
            reasons=self.reasons,
            at=self.at,
        )

    async def write_again(self, connection: Connection) -> str:
        """Keep it unless it is there."""
        if await records.refusal_exists(
            connection, cycle_id=self.cycle_id, request=self.request, at=self.at
        ):
            return "known"
        await self.write(connection)
        return "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """What Claude decided and why."""

    kind: ClassVar[str] = "decision_made"

    agent_id: str
    cycle_id: str
    decision: str
    symbol: str | None
    reasoning: str
    confidence: Decimal | None
    model: str | None
    at: datetime

    async def write(self, connection: Connection) -> int:
        """Keep the decision and return its id. Raises DatabaseUnavailable."""
        return await records.record_decision(
            connection,
            agent_id=self.agent_id,
            cycle_id=self.cycle_id,
            decision=self.decision,
            symbol=self.symbol,
            reasoning=self.reasoning,
            confidence=self.confidence,
            model=self.model,
            at=self.at,
        )

    async def write_again(self, connection: Connection) -> str:
        """Keep it unless it is there."""
        known = await records.decision_exists(
            connection, cycle_id=self.cycle_id, reasoning=self.reasoning, at=self.at
        )
        return "known" if known else f"decision {await self.write(connection)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """One tool call with its answer."""

    kind: ClassVar[str] = "tool_called"

    cycle_id: str
    sequence: int
    tool_use_id: str
    name: str
    arguments: object
    result: object
    is_error: bool
    started_at: datetime
    duration_seconds: float

    async def write(self, connection: Connection) -> None:
        """Keep the call; one of that number is kept once. Raises DatabaseUnavailable."""
        await records.record_tool_call(
            connection,
            cycle_id=self.cycle_id,
            sequence=self.sequence,
            tool_use_id=self.tool_use_id,
            name=self.name,
            arguments=self.arguments,
            result=self.result,
            is_error=self.is_error,
            started_at=self.started_at,
            duration_seconds=self.duration_seconds,
        )

    async def write_again(self, connection: Connection) -> str:
        """The same."""
        await self.write(connection)
        return "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertQueued:
    """What a person has to be told."""

    kind: ClassVar[str] = "alert_queued"

    agent_id: str
    cycle_id: str | None
    severity: Severity
    subject: str
    body: str
    dedupe_key: str
    at: datetime

    async def write(self, connection: Connection) -> int | None:
        """Put it into the outbox; once a day for each key. Raises DatabaseUnavailable."""
        return await records.queue_alert(
            connection,
            agent_id=self.agent_id,
            cycle_id=self.cycle_id,
            severity=self.severity,
            subject=self.subject,
            body=self.body,
            dedupe_key=self.dedupe_key,
            at=self.at,
        )

    async def write_again(self, connection: Connection) -> str:
        """The same."""
        return "known" if await self.write(connection) is None else "queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptPiece:
    """One piece of what was said in a cycle."""

    kind: ClassVar[str] = "transcript_piece"

    cycle_id: str
    sequence: int
    said: str
    """What kind of piece."""
    content: object
    at: datetime

    async def write(self, connection: Connection) -> None:
        """Keep the piece; one of that number is kept once. Raises DatabaseUnavailable."""
        await cycles.record_transcript(
            connection,
            cycle_id=self.cycle_id,
            sequence=self.sequence,
            kind=self.said,
            content=self.content,
            at=self.at,
        )

    async def write_again(self, connection: Connection) -> str:
        """The same."""
        await self.write(connection)
        return "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettled:
    """What a call to Claude really cost."""

    kind: ClassVar[str] = "call_settled"

    call_id: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: Decimal
    stop_reason: str | None
    request_id: str | None
    duration_seconds: float
    at: datetime

    async def write(self, connection: Connection) -> None:
        """Replace the reservation. Raises LookupError where it is settled already, DatabaseUnavailable."""
        await claude_calls.settle_call(
            connection,
            call_id=self.call_id,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cost_usd=self.cost_usd,
            stop_reason=self.stop_reason,
            request_id=self.request_id,
            duration_seconds=self.duration_seconds,
            at=self.at,
        )

    async def write_again(self, connection: Connection) -> str:
        """Replace it unless it is settled."""
        return await _unless_known(self.write, connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed:
    """A call to Claude without a reply, at what it may have cost."""

    kind: ClassVar[str] = "call_failed"

    call_id: int
    error: str
    charged_usd: Decimal
    at: datetime

    async def write(self, connection: Connection) -> None:
        """Release the reservation. Raises LookupError where it is released already, DatabaseUnavailable."""
        await claude_calls.fail_call(
            connection,
            call_id=self.call_id,
            error=self.error,
            charged_usd=self.charged_usd,
            at=self.at,
        )

    async def write_again(self, connection: Connection) -> str:
        """Release it unless it is released."""
        return await _unless_known(self.write, connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleEnded:
    """How a cycle ended."""

    kind: ClassVar[str] = "cycle_ended"

    end: CycleEnd

    async def write(self, connection: Connection) -> None:
        """Complete the cycle's row. Raises LookupError where it is complete, DatabaseUnavailable."""
        await cycles.finish_cycle(connection, self.end)

    async def write_again(self, connection: Connection) -> str:
        """Complete it unless it is complete."""
        return await _unless_known(self.write, connection)


class _Write(Protocol):
    async def __call__(self, connection: Connection) -> object: ...


async def _unless_known(write: _Write, connection: Connection) -> str:
    try:
        await write(connection)
    except LookupError:
        return "known"
    return "written"


KINDS: Sequence[type[Entry[object]]] = (
    OrderMoved,
    OrderReported,
    IntentWritten,
    RequestRefused,
    DecisionMade,
    ToolCalled,
    AlertQueued,
    TranscriptPiece,
    CallSettled,
    CallFailed,
    CycleEnded,
)


class UnreadableEntry(CatalystError):
    """A line of the journal that cannot be understood; it is kept aside for a person."""
