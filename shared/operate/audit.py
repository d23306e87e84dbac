"""Writes down what a person orders: a row before it is done, completed after, however it ends."""

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from shared.clock import Clock
from shared.database import operator_actions
from shared.database.connection import Connection
from shared.errors import DatabaseUnavailable
from shared.operate.arguments import Arguments
from shared.operate.place import Place, operator_name
from shared.operate.report import Report
from shared.outcome import Status

_STATUS = {Status.DONE: "done", Status.NOTHING_TO_DO: "nothing_to_do"}


class Result(Protocol):
    """What an action came to."""

    @property
    def status(self) -> Status:
        """Whether it was done."""
        ...

    @property
    def reason(self) -> str:
        """It in a sentence."""
        ...


Done = TypeVar("Done", bound=Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a person wants, of which agent, and why."""

    agent_id: str
    operator: str
    command: str
    arguments: Mapping[str, object]
    why: str


async def audited(
    connection: Connection,
    place: Place,
    arguments: Arguments,
    act: Callable[[], Awaitable[Report]],
) -> Report:
    """Do a command between the two halves of its row."""
    action = Action(
        agent_id=place.agent_id,
        operator=operator_name(place.environ),
        command=arguments.command,
        arguments=_arguments(arguments),
        why=arguments.why,
    )
    return await audited_action(
        connection, action, act, clock=place.clock, cycle_of=lambda it: it.content.get("cycle_id")
    )


async def audited_action(
    connection: Connection,
    action: Action,
    act: Callable[[], Awaitable[Done]],
    *,
    clock: Clock,
    cycle_of: Callable[[Done], str | None] = lambda _: None,
) -> Done:
    """Do it between the two halves of its row. A process that is killed leaves the row as begun."""
    action_id = await operator_actions.begin_action(
        connection,
        agent_id=action.agent_id,
        operator=action.operator,
        command=action.command,
        arguments=action.arguments,
        why=action.why,
        pid=os.getpid(),
        at=clock.now(),
    )
    try:
        done = await act()
    except BaseException as error:
        # what happened says more than that its row could not be completed
        with suppress(DatabaseUnavailable):
            await operator_actions.end_action(
                connection,
                action_id=action_id,
                status="failed",
                result=f"{type(error).__name__}: {error}",
                cycle_id=None,
                at=clock.now(),
            )
        raise
    await operator_actions.end_action(
        connection,
        action_id=action_id,
        status=_STATUS.get(done.status, "failed"),
        result=done.reason,
        cycle_id=cycle_of(done),
        at=clock.now(),
    )
    return done


def _arguments(arguments: Arguments) -> Mapping[str, object]:
    return {} if arguments.symbol is None else {"symbol": arguments.symbol}
