"""The loop between Claude and the tools: ask, pay, carry out, answer, until the conversation is over.

What is next is decided in shared.conversation. It knows no broker, no database and no SDK: the toolbox,
the ledger and the transcript are given.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol, assert_never

from shared.claude import Json, Model, ModelReply, ModelRequest, Usage
from shared.claude_messages import RequestBody, request_body, request_bytes
from shared.config import ClaudeSettings
from shared.conversation import (
    AnsweredCall,
    AskAgain,
    CarryOut,
    Conversation,
    Finished,
    LoopEnd,
    Rules,
    Stop,
    ToolCall,
    ToolOutcome,
    answer,
    begin,
    take_in,
)
from shared.errors import (
    BudgetExceeded,
    CatalystError,
    ConfigError,
    ModelUnavailable,
    ToolError,
)
from shared.prices import ModelPrices, cost, prices_of, worst_case

__all__ = [
    "CallLedger",
    "LoopEnd",
    "LoopResult",
    "ToolCall",
    "ToolOutcome",
    "Toolbox",
    "Transcript",
    "run_loop",
]

RETRY_WAITS_SECONDS = (1.0, 4.0)
"""Waits before the second and the third attempt at one reply; there is no fourth."""

MIN_ATTEMPT_SECONDS = 1.0
"""A further attempt that would have less time than this is not worth its money."""


class Toolbox(Protocol):
    """What Claude may do."""

    async def carry_out(self, call: ToolCall) -> ToolOutcome:
        """Do what is asked and say what came of it; a ToolError is told to Claude as well."""
        ...


class CallLedger(Protocol):
    """The day's money for Claude, written down where every process sees it."""

    async def reserve(self, *, model: str, worst_case_usd: Decimal) -> int:
        """Set the worst case of one call aside and return the call's id. Raises BudgetExceeded."""
        ...

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
        """Replace the reservation by what the reply cost."""
        ...

    async def fail(self, call_id: int, *, error: str, charged_usd: Decimal) -> None:
        """Replace the reservation by what a call without a reply is taken to have cost."""
        ...


class Transcript(Protocol):
    """The record of everything said, written as it is said."""

    async def record(self, kind: str, content: object) -> None:
        """Keep one entry; `kind` is request, reply, tool_result or error, `content` is JSON."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """How a cycle's loop went."""

    end: LoopEnd
    reason: str
    """A sentence about the end; empty when Claude finished."""
    text: str
    """What Claude said last."""
    iterations: int
    """Replies received."""
    tools_called: tuple[str, ...]
    """Names of the tools that were handed to the toolbox, in order."""
    decision_logged: bool
    cost_usd: Decimal
    """What all calls are charged, those without a reply included."""
    usage: Usage
    failure: CatalystError | None = None
    """The error behind the end, for whoever raises the alarm (CreditExhausted, for one)."""


async def run_loop(
    *,
    model: Model,
    system: str,
    tools: Sequence[Json],
    first_message: str,
    toolbox: Toolbox,
    ledger: CallLedger,
    transcript: Transcript,
    settings: ClaudeSettings,
    prices: Mapping[str, ModelPrices],
    elapsed_seconds: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> LoopResult:
    """Run one cycle's conversation to its end.

    `elapsed_seconds` counts from the start of the cycle, the same clock that its deadline is on. The
    worst case of each call is reserved before it is made; a cancelled task or a crash in the middle of
    a call leaves that reservation standing, since the call may have been billed. A call's timeout never
    reaches past the deadline, and no reply is asked for after it; tools asked for by a reply that came
    in time are still carried out.

    Raises ConfigError when the model has no price, or the provider refuses the key, the model or the
    request, and whatever the toolbox, the ledger and the transcript raise, except ToolError and
    BudgetExceeded.
    """
    cycle = _Cycle(
        model=model,
        system=system,
        tools=tuple(tools),
        toolbox=toolbox,
        ledger=ledger,
        transcript=transcript,
        settings=settings,
        prices=prices_of(prices, settings.model),
        elapsed_seconds=elapsed_seconds,
        sleep=sleep,
    )
    return await cycle.run(first_message)


@dataclass(slots=True, kw_only=True)
class _Cycle:
    """The parts given, and the totals so far."""

    model: Model
    system: str
    tools: tuple[Json, ...]
    toolbox: Toolbox
    ledger: CallLedger
    transcript: Transcript
    settings: ClaudeSettings
    prices: ModelPrices
    elapsed_seconds: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    text: str = ""
    tools_called: tuple[str, ...] = ()
    cost_usd: Decimal = Decimal(0)
    usage: Usage = field(default_factory=Usage)

    async def run(self, first_message: str) -> LoopResult:
        conversation = begin(first_message)
        while True:
            if (ended := self._limit_reached(conversation)) is not None:
                return ended
            try:
                reply = await self._ask(conversation)
            except (BudgetExceeded, ModelUnavailable) as e:
                return self._failed(conversation, e)
            step = take_in(conversation, reply, self._rules)
            conversation = step.conversation
            match step:
                case CarryOut():
                    conversation = await self._carry_out(step)
                case AskAgain():
                    await self._record_refused(step.refused)
                case Finished():
                    return self._result(conversation, LoopEnd.FINISHED, "")
                case Stop():
                    return self._result(conversation, step.end, step.reason)
                case _:
                    assert_never(step)

    @property
    def _rules(self) -> Rules:
        return Rules(
            offered=frozenset(str(tool["name"]) for tool in self.tools),
            max_iterations=self.settings.max_iterations,
        )

    @property
    def _remaining_seconds(self) -> float:
        return self.settings.cycle_deadline_seconds - self.elapsed_seconds()

    def _limit_reached(self, conversation: Conversation) -> LoopResult | None:
        if conversation.iterations >= self.settings.max_iterations:
            reason = f"all {self.settings.max_iterations} replies of the cycle are used"
            return self._result(conversation, LoopEnd.ITERATIONS, reason)
        if self._remaining_seconds <= 0:
            reason = f"the cycle's {self.settings.cycle_deadline_seconds:g} s are over"
            return self._result(conversation, LoopEnd.DEADLINE, reason)
        return None

    async def _ask(self, conversation: Conversation) -> ModelReply:
        """Ask for one reply, at most three times; each attempt is reserved, and paid, by itself.

        Not stamina: it counts its timeout on its own clock and sleeps by itself, while these waits end
        with the cycle's deadline, which may be on a rehearsal's clock.
        """
        for wait in RETRY_WAITS_SECONDS:
            try:
                return await self._attempt(conversation)
            except ModelUnavailable as e:
                wait_seconds = max(wait, e.retry_after_seconds or 0.0)
                if wait_seconds + MIN_ATTEMPT_SECONDS > self._remaining_seconds:
                    raise
                await self.sleep(wait_seconds)
        return await self._attempt(conversation)

    async def _attempt(self, conversation: Conversation) -> ModelReply:
        request = self._request(conversation)
        body = request_body(request)
        reserved = self._worst_case(body)
        call_id = await self.ledger.reserve(model=request.model, worst_case_usd=reserved)
        await self.transcript.record("request", body)
        started = self.elapsed_seconds()
        try:
            reply = await self.model.reply(request)
        except ModelUnavailable as e:
            await self._charge_failure(call_id, e, reserved if e.maybe_billed else Decimal(0))
            raise
        except (BudgetExceeded, ConfigError) as e:
            await self._charge_failure(call_id, e, Decimal(0))
            raise
        await self._settle(call_id, reply, self.elapsed_seconds() - started)
        return reply

    def _request(self, conversation: Conversation) -> ModelRequest:
        return ModelRequest(
            model=self.settings.model,
            system=self.system,
            tools=self.tools,
            messages=conversation.messages,
            max_output_tokens=self.settings.max_output_tokens,
            timeout_seconds=min(self.settings.request_timeout_seconds, self._remaining_seconds),
        )

    def _worst_case(self, body: RequestBody) -> Decimal:
        return worst_case(
            self.prices,
            request_bytes=request_bytes(body),
            max_output_tokens=self.settings.max_output_tokens,
        )

    async def _charge_failure(
        self, call_id: int, error: CatalystError, charged_usd: Decimal
    ) -> None:
        self.cost_usd += charged_usd
        await self.ledger.fail(call_id, error=str(error), charged_usd=charged_usd)
        await self.transcript.record(
            "error",
            {
                "error": type(error).__name__,
                "text": str(error),
                "charged_usd": str(charged_usd),
            },
        )

    async def _settle(self, call_id: int, reply: ModelReply, duration_seconds: float) -> None:
        cost_usd = cost(self.prices, reply.usage)
        self.cost_usd += cost_usd
        self.usage += reply.usage
        self.text = reply.text
        await self.ledger.settle(
            call_id,
            usage=reply.usage,
            cost_usd=cost_usd,
            stop_reason=reply.raw_stop_reason,
            request_id=reply.request_id,
            duration_seconds=duration_seconds,
        )
        await self.transcript.record("reply", {**reply.raw, "request_id": reply.request_id})

    async def _carry_out(self, step: CarryOut) -> Conversation:
        outcomes: list[ToolOutcome] = []
        for slot in step.slots:
            outcome = await self._outcome(slot)
            outcomes.append(outcome)
            await self._record_outcome(slot, outcome)
        return answer(step, outcomes, self._rules)

    async def _outcome(self, slot: ToolCall | AnsweredCall) -> ToolOutcome:
        if isinstance(slot, AnsweredCall):
            return slot.outcome
        self.tools_called = (*self.tools_called, slot.name)
        try:
            return await self.toolbox.carry_out(slot)
        except ToolError as e:
            return ToolOutcome(content=str(e), is_error=True)

    async def _record_refused(self, refused: Sequence[AnsweredCall]) -> None:
        for call in refused:
            await self._record_outcome(call, call.outcome)

    async def _record_outcome(self, slot: ToolCall | AnsweredCall, outcome: ToolOutcome) -> None:
        await self.transcript.record(
            "tool_result",
            {
                "tool_use_id": slot.tool_use_id,
                "name": slot.name,
                "arguments": slot.arguments if isinstance(slot, ToolCall) else None,
                "content": outcome.content,
                "is_error": outcome.is_error,
            },
        )

    def _failed(
        self, conversation: Conversation, error: BudgetExceeded | ModelUnavailable
    ) -> LoopResult:
        budget = isinstance(error, BudgetExceeded)
        end = LoopEnd.BUDGET if budget else LoopEnd.MODEL_UNAVAILABLE
        return self._result(conversation, end, str(error), failure=error)

    def _result(
        self,
        conversation: Conversation,
        end: LoopEnd,
        reason: str,
        *,
        failure: CatalystError | None = None,
    ) -> LoopResult:
        return LoopResult(
            end=end,
            reason=reason,
            text=self.text,
            iterations=conversation.iterations,
            tools_called=self.tools_called,
            decision_logged=conversation.decision_logged,
            cost_usd=self.cost_usd,
            usage=self.usage,
            failure=failure,
        )
