"""Writes what a cycle spends and says into the trading database, as it happens."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import takewhile
from typing import cast

from shared.claude import Usage
from shared.claude_messages import Json, content_blocks
from shared.clock import Clock
from shared.database import claude_calls
from shared.journal.books import Books
from shared.journal.entries import CallFailed, CallSettled, TranscriptPiece


class CycleJournal:
    """The budget and the transcript of one cycle; every row is committed before the cycle goes on."""

    def __init__(
        self,
        books: Books,
        *,
        clock: Clock,
        agent_id: str,
        cycle_id: str,
        budget_date: date,
        budget_usd: Decimal,
    ) -> None:
        """Bind the journal to a cycle and to the exchange day whose budget it spends."""
        self._books: Books = books
        self._clock: Clock = clock
        self._agent_id: str = agent_id
        self._cycle_id: str = cycle_id
        self._budget_date: date = budget_date
        self._budget_usd: Decimal = budget_usd
        self._sequence: int = 0
        self._on_record: list[Json] = []
        self.usage: Usage = Usage()
        self.cost_usd: Decimal = Decimal(0)

    async def reserve(self, *, model: str, worst_case_usd: Decimal) -> int:
        """Set the worst case of a call aside. Raises BudgetExceeded."""
        return await claude_calls.reserve_call(
            self._books.connection,
            agent_id=self._agent_id,
            cycle_id=self._cycle_id,
            budget_date=self._budget_date,
            budget_usd=self._budget_usd,
            model=model,
            worst_case_usd=worst_case_usd,
            at=self._clock.now(),
        )

    async def settle(
        self,
        call_id: int,
        *,
        usage: Usage,
        cost_usd: Decimal,
        stop_reason: str,
        request_id: str | None,
        duration_seconds: float,
    ) -> None:
        """Put the true cost in the place of the reservation."""
        self.cost_usd += cost_usd
        self.usage += usage
        await self._books.keep(
            CallSettled(
                call_id=call_id,
                input_tokens=usage.input,
                output_tokens=usage.output,
                cache_read_tokens=usage.cache_read,
                cache_write_tokens=usage.cache_write,
                cost_usd=cost_usd,
                stop_reason=stop_reason,
                request_id=request_id,
                duration_seconds=duration_seconds,
                at=self._clock.now(),
            )
        )

    async def fail(self, call_id: int, *, error: str, charged_usd: Decimal) -> None:
        """Record a call without a reply, charged at what it may have cost."""
        self.cost_usd += charged_usd
        await self._books.keep(
            CallFailed(call_id=call_id, error=error, charged_usd=charged_usd, at=self._clock.now())
        )

    async def record(self, kind: str, content: object) -> None:
        """Append to the transcript; of a request only what no earlier one of the cycle had."""
        if kind == "request" and isinstance(content, Mapping):
            content = self._unrecorded(cast("Mapping[str, object]", content))
        self._sequence += 1
        await self._books.keep(
            TranscriptPiece(
                cycle_id=self._cycle_id,
                sequence=self._sequence,
                said=kind,
                content=content,
                at=self._clock.now(),
            )
        )

    def _unrecorded(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Leave out system, tools and messages that are on record, so that a cycle is kept once.

        The first `messages_before` messages are those of the request before this one. A message that
        has grown since, as the last one does when Claude is asked again, is kept anew.
        """
        messages = cast("Sequence[Json]", request["messages"])
        said = [_said(message) for message in messages]
        before, self._on_record = self._on_record, said
        kept = sum(1 for _ in takewhile(_are_equal, zip(before, said, strict=False)))
        parts = {"model": request["model"]} if before else dict(request)
        return {**parts, "messages_before": kept, "messages": messages[kept:]}


def _said(message: Json) -> Json:
    """Return a message without the marks that only steer the provider's cache, and move."""
    blocks = [
        {key: value for key, value in block.items() if key != "cache_control"}
        for block in content_blocks(message)
    ]
    return {**message, "content": blocks}


def _are_equal(pair: tuple[Json, Json]) -> bool:
    return pair[0] == pair[1]
