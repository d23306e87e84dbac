"""What cron calls every minute of a weekday: one process per agent that watches what is open.

A start that finds another one at work, and well, ends at once. Nothing heavy is imported before it is known
to be needed.
"""

import argparse
import asyncio
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import entry_point
from entry_point import Afterwards, Printing, log_to
from shared import log
from shared.brain import Brain, default_brain
from shared.clock import Clock, SystemClock
from shared.config import Configuration
from shared.errors import ConfigError
from shared.lock import HeldFile, hold
from shared.models import Mode
from shared.outcome import Outcome, Status
from shared.paths import data_directory

if TYPE_CHECKING:
    from shared.claude import AnthropicModel
    from shared.database.connection import Connection
    from shared.database.opening import Databases
    from stage import Watch
    from watch_parts import Means

logger = log.get(__name__)

CRON_LOCK_SUFFIX = ".position_monitor.cron"
"""How the file ends that cron's flock holds while a monitor starts."""

_SILENT = frozenset({Status.BUSY, Status.NOTHING_TO_DO})
"""Ends of a start that cron makes every minute: nobody has to read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line, understood."""

    agent: str | None
    once: bool
    real_time: bool
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
    """Watch until the session ends; return 0 when there is nothing to do or it ended well, 1 or 2 else."""
    arguments = _parse(argv)
    err = stderr or sys.stderr
    afterwards = Afterwards(
        environ=os.environ if environ is None else environ, clock=clock or SystemClock()
    )
    outcome = entry_point.run(
        arguments.agent,
        Mode.MONITOR,
        lambda configuration: _locked_run(arguments, configuration, afterwards),
        afterwards=afterwards,
        printing=Printing(
            out=stdout or sys.stdout,
            err=err,
            as_json=arguments.as_json,
            unsaid=frozenset() if arguments.once or err.isatty() else _SILENT,
        ),
    )
    return outcome.exit_code


def let_time_pass(
    configuration: Configuration, environ: Mapping[str, str], mode: Mode, brain: Brain | None
) -> Outcome | None:
    """Watch through the time of a rehearsal that passes before the next slot of a mode.

    The caller holds the agent's lock. Return what the watching came to; None where nothing was to be watched.
    """
    from market import calendar
    from rehearsal.stage import watches_before_slot

    settings, home = configuration.settings, data_directory(environ)
    table = calendar.load(settings.market.exchange)
    outcomes: list[Outcome] = []
    for watch in watches_before_slot(settings, home / "rehearsal", table, mode):
        with _held(configuration, home) as file:
            kept = _keep(watch, configuration, Afterwards(environ=environ), file, brain, once=False)
            outcomes.append(asyncio.run(kept))
            if outcomes[-1].details["told_to_end"]:
                raise asyncio.CancelledError
    return _together(outcomes)


def _together(outcomes: Sequence[Outcome]) -> Outcome | None:
    if not outcomes:
        return None
    last = outcomes[-1]
    return replace(
        last,
        orders=sum(one.orders for one in outcomes),
        fills=sum(one.fills for one in outcomes),
        alerts=tuple(alert for one in outcomes for alert in one.alerts),
        details={
            **last.details,
            "passes": sum(cast("int", one.details["passes"]) for one in outcomes),
            "left": [
                symbol for one in outcomes for symbol in cast("list[str]", one.details["left"])
            ],
        },
    )


def _locked_run(
    arguments: Arguments, configuration: Configuration, afterwards: Afterwards
) -> Outcome:
    environ, settings = afterwards.environ, configuration.settings
    home = data_directory(environ)
    with _held(configuration, home) as file:
        let_the_next_start_through()
        log_to(configuration, environ, mode=Mode.MONITOR)
        from market import calendar
        from stage import NotDue, Setting, keep_time

        setting = Setting(configuration=configuration, home=home, clock=afterwards.clock)
        watch = setting.watch(
            calendar.load(settings.market.exchange), at_the_walls_pace=arguments.real_time
        )
        if isinstance(watch, NotDue):
            return Outcome.of(settings.agent.id, Mode.MONITOR, Status.NOTHING_TO_DO, watch.why)
        kept = _keep(
            watch,
            configuration,
            afterwards,
            file,
            arguments.brain,
            once=arguments.once,
            is_process=arguments.real_time or not setting.is_rehearsal,
        )
        try:
            return asyncio.run(kept)
        finally:
            if not arguments.real_time:
                keep_time(watch.stage)


def _held(configuration: Configuration, home: Path) -> AbstractContextManager[HeldFile]:
    settings = configuration.settings
    return hold(
        home / "locks" / f"{settings.agent.id}.monitor.lock",
        agent_id=settings.agent.id,
        mode=Mode.MONITOR,
        clock=SystemClock(),
        locks=settings.locks,
    )


async def _keep(
    watch: "Watch",
    configuration: Configuration,
    afterwards: Afterwards,
    file: HeldFile,
    brain: Brain | None,
    *,
    once: bool,
    is_process: bool = False,
) -> Outcome:
    """Compose the watch and keep it; `is_process` has a process of its own, which lives for a session."""
    from vigil import Vigil

    means = _means(watch, configuration, afterwards, file, brain, is_process=is_process)
    vigil = Vigil(watch, means, once=once)
    if threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, vigil.end)
    afterwards.where = (watch.stage.database_names[0], watch.stage.clock)
    try:
        return await vigil.keep()
    finally:
        if is_process:
            faulthandler.cancel_dump_traceback_later()


def _means(
    watch: "Watch",
    configuration: Configuration,
    afterwards: Afterwards,
    file: HeldFile,
    brain: Brain | None,
    *,
    is_process: bool,
) -> "Means":
    from shared.database.opening import Research, open_databases
    from watch_parts import Means

    environ, settings = afterwards.environ, configuration.settings
    name = watch.stage.database_names[0]
    brain = brain or default_brain(settings)

    async def opened(stack: AsyncExitStack) -> "Databases":
        return await open_databases(
            stack,
            configuration,
            environ=environ,
            home=data_directory(environ),
            embedded_names=(name, ""),
            research=Research.NOT_NEEDED,
        )

    async def tell(trading: "Connection", now: datetime) -> None:
        from shared.database.records import count_due_alerts

        afterwards.due_alerts = await count_due_alerts(trading, settings.agent.id, now)
        if is_process and afterwards.due_alerts:
            await entry_point.told(entry_point.send_alerts(configuration, afterwards))

    async def cry() -> None:
        if is_process:
            await entry_point.told(entry_point.ping_of_failure(configuration, environ))

    return Means(
        configuration=configuration,
        file=file,
        brain=brain,
        open_databases=opened,
        open_model=_opener(brain, configuration),
        signs=_watchdog(file.lease_seconds) if is_process else _nothing,
        tell=tell,
        cry=cry,
        ends_with_the_code=is_process,
    )


def _opener(brain: Brain, configuration: Configuration) -> Callable[[], "AnthropicModel"]:
    """Say how to reach who gives a second opinion; without a key nobody does, and that is no reason to stop."""
    try:
        return entry_point.model_opener(brain, configuration)
    except ConfigError as error:
        why = str(error)

        def nobody() -> "AnthropicModel":
            raise ConfigError(why)

        return nobody


def _watchdog(seconds: float) -> Callable[[], None]:
    """End the process when it gives no sign of life for so long, with a word on where it stood.

    The timer is a thread of the interpreter that needs nothing of what hangs.
    """

    def sign() -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)

    sign()
    return sign


def _nothing() -> None:
    """Nobody waits for a sign of life of a watch that is part of another run."""


def let_the_next_start_through(folder: Path = Path("/proc/self/fd")) -> None:
    """Let go of the lock that cron's flock took for this start: a successor must be able to see a hang.

    From here on the monitor's own lock file, with its lease, keeps a second one away.
    """
    with suppress(OSError):
        for descriptor in list(folder.iterdir()):
            with suppress(OSError):
                if str(descriptor.readlink()).endswith(CRON_LOCK_SUFFIX):
                    os.close(int(descriptor.name))


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(
        prog="position_monitor.py",
        description="Watch the open positions of an agent until its session ends.",
        epilog="Exit codes: 0 ended well or rightly nothing to do, 1 failed, 2 usage or configuration.",
    )
    parser.add_argument("--once", action="store_true", help="make one pass and end")
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="in a rehearsal: let its time pass as it does on the wall, to the session's end",
    )
    entry_point.add_common_arguments(parser)
    entry_point.add_brain_argument(parser)
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
