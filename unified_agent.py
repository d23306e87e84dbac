"""What cron calls: one run of one agent in one mode.

Reads arguments, environment and configuration, opens what a run needs, plays the cycle, and exits
with one sentence and one code. Nothing heavy is imported before it is known to be needed.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

import entry_point
from calendar_end import told_where_the_calendar_ends
from entry_point import (
    CHECKS,
    Afterwards,
    Printing,
    end_cleanly_when_told,
    log_to,
    model_opener,
)
from shared import environment, log
from shared.brain import Brain, default_brain
from shared.clock import Clock, SystemClock
from shared.config import Configuration
from shared.errors import DatabaseUnavailable
from shared.lock import GIVES_WAY_TO_CLOSE, HeldFile, hold
from shared.models import SLOT_MODES, Mode
from shared.outcome import Outcome, Status
from shared.paths import PROJECT, data_directory

if TYPE_CHECKING:
    from stage import Stage

__all__ = ["CHECKS", "main"]

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line, understood."""

    mode: Mode
    agent: str | None
    force: bool
    dry_run: bool
    as_json: bool
    brain: Brain | None


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    clock: Clock | None = None,
) -> int:
    """Run once and return the exit code: 0 done or rightly nothing to do, 1 failed, 2 usage."""
    arguments = _parse(argv)
    afterwards = Afterwards(
        environ=os.environ if environ is None else environ, clock=clock or SystemClock()
    )
    outcome = entry_point.run(
        arguments.agent,
        arguments.mode,
        lambda configuration: _locked_run(arguments, configuration, afterwards),
        afterwards=afterwards,
        printing=Printing(
            out=stdout or sys.stdout, err=stderr or sys.stderr, as_json=arguments.as_json
        ),
    )
    return outcome.exit_code


def _locked_run(
    arguments: Arguments, configuration: Configuration, afterwards: Afterwards
) -> Outcome:
    environ = afterwards.environ
    home = data_directory(environ)
    agent_id = configuration.settings.agent.id
    logged = log_to(configuration, environ, mode=arguments.mode)
    for notice in environment.environment_notices(PROJECT):
        logger.warning("environment_notice", notice=notice)
    lock = home / "locks" / f"{agent_id}.lock"
    may_preempt = arguments.mode is Mode.CLOSE and not arguments.dry_run
    with (
        hold(
            lock,
            agent_id=agent_id,
            mode=arguments.mode,
            clock=SystemClock(),
            locks=configuration.settings.locks,
            preempts=GIVES_WAY_TO_CLOSE if may_preempt else (),
        ) as file,
        told_where_the_calendar_ends(configuration, afterwards),
    ):
        watched = _time_passes(arguments, configuration, environ)
        outcome = asyncio.run(_run(arguments, configuration, afterwards, logged, file))
        return outcome if watched is None else replace(outcome, watched=watched)


def _time_passes(
    arguments: Arguments, configuration: Configuration, environ: Mapping[str, str]
) -> Outcome | None:
    """In a rehearsal, where time jumps to the slot, let the position monitor watch what is jumped over."""
    if configuration.settings.rehearsal is None or arguments.force:
        return None
    from position_monitor import let_time_pass

    return let_time_pass(configuration, environ, arguments.mode, arguments.brain)


async def _run(
    arguments: Arguments,
    configuration: Configuration,
    afterwards: Afterwards,
    logged: log.LogOutcome,
    file: HeldFile,
) -> Outcome:
    """Set the stage, and play on it where something is due; nothing heavy is imported before."""
    from market import calendar
    from stage import NotDue, Setting

    end_cleanly_when_told()
    settings = configuration.settings
    setting = Setting(
        configuration=configuration,
        home=data_directory(afterwards.environ),
        clock=afterwards.clock,
    )
    stage = setting.for_slot(
        calendar.load(settings.market.exchange),
        arguments.mode,
        force=arguments.force,
        dry_run=arguments.dry_run,
    )
    if isinstance(stage, NotDue):
        return Outcome.of(settings.agent.id, arguments.mode, Status.NOTHING_TO_DO, stage.why)
    return await _play(stage, arguments, configuration, afterwards, logged, file)


async def _play(
    stage: "Stage",
    arguments: Arguments,
    configuration: Configuration,
    afterwards: Afterwards,
    logged: log.LogOutcome,
    file: HeldFile,
) -> Outcome:
    """Compose the run: databases, locks, cycle; close them in reverse whatever happens."""
    from cycle import Cycle, Parts, name_cycle
    from punctuality import nothing_due
    from shared.agent_lock import hold_agent, tell_of_ended
    from shared.database.fences import Role
    from shared.database.opening import Research, open_databases
    from shared.database.records import count_due_alerts
    from shared.journal.books import open_books
    from stage import keep_time

    environ, settings, home = afterwards.environ, configuration.settings, stage.home
    brain = arguments.brain or default_brain(settings)
    async with AsyncExitStack() as stack:
        databases = await open_databases(
            stack,
            configuration,
            environ=environ,
            home=home,
            embedded_names=stage.database_names,
            research=Research.MAY_BE_AWAY if arguments.mode is Mode.CLOSE else Research.NEEDED,
        )
        sender = await stack.enter_async_context(
            hold_agent(
                databases.lock,
                agent_id=settings.agent.id,
                role=Role.CYCLE,
                mode=arguments.mode,
                clock=SystemClock(),
                file=file,
                wait_seconds=settings.locks.release_seconds,
            )
        )
        afterwards.where = (stage.database_names[0], stage.clock)
        idle = await nothing_due(databases.trading, settings, stage, arguments.mode)
        if idle is not None:
            return Outcome.of(settings.agent.id, arguments.mode, Status.NOTHING_TO_DO, idle)
        books = await open_books(
            databases.trading, home=home, agent_id=settings.agent.id, clock=stage.clock
        )
        cycle_id = await name_cycle(books, settings.agent.id, arguments.mode, stage)
        logged.enter_cycle(cycle_id, stage.clock)
        await tell_of_ended(
            databases.trading, file, agent_id=settings.agent.id, at=stage.clock.now()
        )
        cycle = Cycle(
            Parts(
                configuration=configuration,
                stage=stage,
                books=books,
                research=databases.research,
                sender=sender,
                cycle_id=cycle_id,
                mode=arguments.mode,
                forced=arguments.force,
                dry_run=arguments.dry_run,
                brain=brain,
                open_model=model_opener(brain, configuration),
                log_problem=logged.problem,
            )
        )
        outcome = await cycle.run()
        keep_time(stage)
        with suppress(DatabaseUnavailable):
            afterwards.due_alerts = await count_due_alerts(
                databases.trading, settings.agent.id, stage.clock.now()
            )
        return outcome


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(
        prog="unified_agent.py",
        description="Run one agent once in one mode, as cron does.",
        epilog="Exit codes: 0 done or rightly nothing to do, 1 the run failed, 2 usage or"
        " configuration.",
    )
    parser.add_argument(
        "--mode",
        required=True,
        type=Mode,
        choices=SLOT_MODES,
        metavar="MODE",
        help="scan, trade, close or heartbeat",
    )
    parser.add_argument("--force", action="store_true", help="do not ask whether a slot is due")
    parser.add_argument(
        "--dry-run", action="store_true", help="go through everything and place nothing"
    )
    entry_point.add_common_arguments(parser)
    entry_point.add_brain_argument(parser)
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
