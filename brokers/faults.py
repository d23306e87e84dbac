"""What can go wrong at a broker, as data: a test scripts it, the paper exchange and every simulator obey.

It knows no orders and no wire: a face decides how "the reply is lost" looks in its own protocol.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from shared.errors import BrokerUnavailable, CatalystError, OrderOutcomeUnknown, OrderRejected

Answer = TypeVar("Answer")


class Operation(StrEnum):
    """What can be asked of an exchange, and so can go wrong."""

    PLACE = "place"
    REPLACE = "replace"
    CANCEL = "cancel"
    ORDERS = "orders"
    POSITIONS = "positions"
    ACCOUNT = "account"
    ORDER_BY_CLIENT_ID = "order_by_client_id"
    INSTRUMENT = "instrument"
    MARKET_CLOCK = "market_clock"

    @property
    def writes(self) -> bool:
        """Whether it changes orders."""
        return self in _WRITES


class FaultKind(StrEnum):
    """How a call goes wrong."""

    REFUSE = "refuse"
    """The call provably never arrives: BrokerUnavailable, nothing is done."""
    REJECT = "reject"
    """The exchange says no: OrderRejected, nothing is done."""
    DROP_REPLY = "drop_reply"
    """It is done, and the answer is lost."""
    TIME_OUT = "time_out"
    """It is not done, and no answer tells so."""
    SILENCE = "silence"
    """It is done, and the answer comes `seconds` late."""
    PARTIAL_FILLS = "partial_fills"
    """The order is taken, and will fill up to `quantity` shares and never more."""
    STUCK_CANCEL = "stuck_cancel"
    """The order becomes CANCEL_PENDING and stays so, able to fill, until it is cancelled once more; a HELD
    leg, which no market has seen, is cancelled all the same."""
    LATE_FILL = "late_fill"
    """The order is CANCELED, and `quantity` shares, or all that remained, fill when time has passed."""
    EMPTY_READ = "empty_read"
    """The answer is good and empty, whatever is true."""
    STALE_READ = "stale_read"
    """The answer is the one that the last healthy call of the operation got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of a script: the nth call of an operation, and those after it, go wrong."""

    operation: Operation
    kind: FaultKind
    nth: int = 1
    """First call that it hits, counted from 1."""
    times: int | None = 1
    """Calls in a row that it hits; None for all from then on."""
    seconds: float = 0.0
    """How long the answer, or the error that stands for its absence, lets wait."""
    quantity: int | None = None
    """Shares, for the kinds about fills."""
    code: str | None = None
    reason: str = "injected fault"

    def __post_init__(self) -> None:
        if self.operation not in _POSSIBLE.get(self.kind, frozenset(Operation)):
            msg = f"{self.operation} cannot fail by {self.kind}"
            raise ValueError(msg)

    def hits(self, call: int) -> bool:
        """Whether it hits the call of that number."""
        return call >= self.nth and (self.times is None or call < self.nth + self.times)


class Faults:
    """A script of faults, and how often each operation was called."""

    def __init__(self, script: Iterable[Fault] = ()) -> None:
        """Take the script; of two lines that hit the same call the first counts."""
        self._script: list[Fault] = list(script)
        self._calls: Counter[Operation] = Counter()

    def add(self, fault: Fault) -> None:
        """Add a line whose `nth` counts from the next call on."""
        self._script.append(replace(fault, nth=fault.nth + self._calls[fault.operation]))

    def calls(self, operation: Operation) -> int:
        """Return how often an operation was called."""
        return self._calls[operation]

    def take(self, operation: Operation) -> Fault | None:
        """Count one call, and return what goes wrong with it."""
        self._calls[operation] += 1
        call = self._calls[operation]
        return next((f for f in self._script if f.operation is operation and f.hits(call)), None)


async def carry_out(
    operation: Operation, fault: Fault | None, act: Callable[[Fault | None], Answer]
) -> Answer:
    """Do `act` as a fault has it, for a face whose callers are in this process; waits can be cancelled.

    `act` gets the fault too, for the kinds that concern the exchange itself. Raises BrokerUnavailable where
    nothing was done and the caller can know it, or where a read failed; OrderOutcomeUnknown where a write's
    answer is lost, a rejection included; OrderRejected.
    """
    if fault is None:
        return act(None)
    unclear = OrderOutcomeUnknown if operation.writes else BrokerUnavailable
    match fault.kind:
        case FaultKind.REFUSE:
            await asyncio.sleep(fault.seconds)
            raise BrokerUnavailable(fault.reason)
        case FaultKind.REJECT:
            await asyncio.sleep(fault.seconds)
            raise OrderRejected(fault.reason, code=fault.code)
        case FaultKind.TIME_OUT:
            await asyncio.sleep(fault.seconds)
            raise unclear(fault.reason)
        case FaultKind.DROP_REPLY:
            return await _lose_reply(fault, act, unclear)
        case _:
            answer = act(fault)
            await asyncio.sleep(fault.seconds)
            return answer


async def _lose_reply(
    fault: Fault, act: Callable[[Fault | None], Answer], unclear: type[CatalystError]
) -> Answer:
    try:
        act(fault)
    except OrderRejected as e:
        raise unclear(fault.reason) from e
    await asyncio.sleep(fault.seconds)
    raise unclear(fault.reason)


_WRITES = frozenset({Operation.PLACE, Operation.REPLACE, Operation.CANCEL})
_READS = frozenset(Operation) - _WRITES
_POSSIBLE = {
    FaultKind.REJECT: _WRITES,
    FaultKind.PARTIAL_FILLS: frozenset({Operation.PLACE, Operation.REPLACE}),
    FaultKind.STUCK_CANCEL: frozenset({Operation.CANCEL}),
    FaultKind.LATE_FILL: frozenset({Operation.CANCEL}),
    FaultKind.EMPTY_READ: _READS - {Operation.ACCOUNT, Operation.MARKET_CLOCK},
    FaultKind.STALE_READ: _READS - {Operation.MARKET_CLOCK},
}
