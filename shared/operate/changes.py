"""Halts, reduces and resumes an agent. None of it waits for a running cycle, which sees it at its next look."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared import trading_state
from shared.clock import Clock
from shared.database.connection import Connection
from shared.errors import ConfigError, DatabaseUnavailable
from shared.operate.arguments import Arguments, Command
from shared.operate.audit import audited
from shared.operate.place import NoRehearsal, Place, operator_name
from shared.operate.report import Report
from shared.outcome import Status
from shared.trading_state import Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """What a person wants the agent not to do, from when on, and why."""

    command: Command
    """HALT or REDUCE."""
    agent_id: str
    home: Path
    why: str
    by: str
    at: datetime

    async def into_file(self) -> Report:
        """Write it into the file alone. Raises ConfigError."""
        await self._write(None)
        return await self._report(None, "")

    async def into_both(self, trading: Connection) -> Report:
        """Write it into the file, unless it is there, and into the database."""
        recorded = await self._write(trading)
        if recorded.database_problem is not None:
            raise DatabaseUnavailable(recorded.database_problem)
        note = f"; but {recorded.file_problem}" if recorded.file_problem else ""
        return await self._report(trading, note)

    def only_in_file(self, report: Report, problem: str) -> Report:
        """Say that the database does not have it, and that it holds all the same."""
        where = trading_state.state_file(self.home, self.agent_id)
        reason = f"{report.reason}; only {where} says so: {problem}"
        return Report(
            agent=report.agent,
            command=report.command,
            status=report.status,
            reason=reason,
            content={**report.content, "in_database": False},
        )

    async def _write(self, trading: "Connection | None") -> Recorded:
        write = trading_state.halt if self.command is Command.HALT else trading_state.reduce
        return await write(
            trading, agent_id=self.agent_id, home=self.home, why=self.why, by=self.by, at=self.at
        )

    async def _report(self, trading: "Connection | None", note: str) -> Report:
        found = await trading_state.current(trading, self.agent_id, self.home, self.at)
        return Report(
            agent=self.agent_id,
            command=self.command,
            status=Status.DONE,
            reason=f"trading is {found.state} until somebody resumes: {self.why}{note}",
            content={
                "at": self.at,
                "state": found.state,
                "state_reasons": found.reasons,
                "in_database": trading is not None,
            },
        )


async def restrict(place: Place, arguments: Arguments) -> Report:
    """Halt or reduce: into the file at once, then into the database, where it is audited.

    Raises ConfigError when neither takes it.
    """
    wanted = restriction(
        arguments, place.agent_id, home=place.home, clock=place.clock, environ=place.environ
    )
    in_file, file_problem = None, None
    try:
        in_file = await wanted.into_file()
    except ConfigError as error:
        file_problem = error  # the database may still take it
    async with AsyncExitStack() as stack:
        try:
            trading = await place.trading(stack)
            return await audited(trading, place, arguments, lambda: wanted.into_both(trading))
        except (DatabaseUnavailable, NoRehearsal, ConfigError) as error:
            if in_file is None:
                raise file_problem or error from error
            return wanted.only_in_file(in_file, str(error))


def restriction(
    arguments: Arguments,
    agent_id: str,
    *,
    home: Path,
    clock: Clock,
    environ: Mapping[str, str],
) -> Restriction:
    """Make a restriction of a command line: its time is the agent's, its author who runs this."""
    return Restriction(
        command=arguments.command,
        agent_id=agent_id,
        home=home,
        why=arguments.why,
        by=operator_name(environ),
        at=clock.now(),
    )


async def resume(place: Place, arguments: Arguments) -> Report:
    """Lift every halt, in the database and in the file; where no rehearsal was begun, in the file alone."""
    async with AsyncExitStack() as stack:
        try:
            trading = await place.trading(stack)
        except NoRehearsal:
            return await _resumed(None, place, arguments)
        return await audited(trading, place, arguments, lambda: _resumed(trading, place, arguments))


async def _resumed(trading: "Connection | None", place: Place, arguments: Arguments) -> Report:
    now = place.clock.now()
    lifted = await trading_state.resume(
        trading,
        agent_id=place.agent_id,
        home=place.home,
        why=arguments.why,
        by=operator_name(place.environ),
        at=now,
    )
    after = await trading_state.current(trading, place.agent_id, place.home, now)
    said = f"lifted: {'; '.join(lifted)}" if lifted else "nothing kept it from that"
    return Report(
        agent=place.agent_id,
        command=arguments.command,
        status=Status.DONE if lifted else Status.NOTHING_TO_DO,
        reason=f"trading is {after.state}; {said}",
        content={
            "at": now,
            "state": after.state,
            "state_reasons": after.reasons,
            "lifted": lifted,
        },
    )
