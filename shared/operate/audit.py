"""Writes down what a person orders: a row before it is done, completed after, however it ends."""

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from shared.database import operator_actions
from shared.database.connection import Connection
from shared.errors import DatabaseUnavailable
from shared.operate.arguments import Arguments
from shared.operate.place import Place, operator_name
from shared.operate.report import Report
from shared.outcome import Status

_STATUS = {Status.DONE: "done", Status.NOTHING_TO_DO: "nothing_to_do"}


async def audited(
    connection: Connection,
    place: Place,
    arguments: Arguments,
    act: Callable[[], Awaitable[Report]],
) -> Report:
    """Do it between the two halves of its row. A process that is killed leaves the row as begun."""
    now = place.clock.now
    action_id = await operator_actions.begin_action(
        connection,
        agent_id=place.agent_id,
        operator=operator_name(place.environ),
        command=arguments.command,
        arguments=_arguments(arguments),
        why=arguments.why,
        pid=os.getpid(),
        at=now(),
    )
    try:
        report = await act()
    except BaseException as error:
        # what happened says more than that its row could not be completed
        with suppress(DatabaseUnavailable):
            await operator_actions.end_action(
                connection,
                action_id=action_id,
                status="failed",
                result=f"{type(error).__name__}: {error}",
                cycle_id=None,
                at=now(),
            )
        raise
    await operator_actions.end_action(
        connection,
        action_id=action_id,
        status=_STATUS.get(report.status, "failed"),
        result=report.reason,
        cycle_id=report.content.get("cycle_id"),
        at=now(),
    )
    return report


def _arguments(arguments: Arguments) -> Mapping[str, object]:
    return {} if arguments.symbol is None else {"symbol": arguments.symbol}
