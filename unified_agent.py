"""What cron calls: one run of one agent in one mode.

Reads arguments, environment and configuration, opens what a run needs, plays the cycle, and exits
with one sentence and one code. Nothing heavy is imported before it is known to be needed.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import TextIO

import safety
from shared import config_file, environment, log
from shared.brain import Brain, default_brain
from shared.claude import ANTHROPIC_URL, AnthropicModel
from shared.clock import Clock, SystemClock
from shared.config import AlertSettings, Configuration
from shared.errors import Busy, CatalystError, ConfigError, DatabaseUnavailable
from shared.lock import GIVES_WAY_TO_CLOSE, HeldFile, hold
from shared.models import Mode
from shared.outcome import Outcome, Status
from shared.paths import PROJECT, data_directory, log_base
from shared.prices import model_without_price
from shared.schedule import impossible_schedule

logger = log.get(__name__)


CHECKS = (safety.loosened_limits, impossible_schedule, model_without_price)
"""What a configuration has to pass besides its own shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line, understood."""

    mode: Mode
    agent: str | None
    force: bool
    dry_run: bool
    as_json: bool
    brain: Brain | None


@dataclass(slots=True, kw_only=True)
class Afterwards:
    """What is needed when the lock is free again; a run fills it in as far as it gets."""

    environ: Mapping[str, str]
    configuration: Configuration | None = None
    where: tuple[str, Clock] | None = None
    """Name of the embedded database with the alerts, and the clock they go by."""
    due_alerts: int | None = None
    """How many wait to be sent; None is "not known"."""


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run once and return the exit code: 0 done or rightly nothing to do, 1 failed, 2 usage."""
    out, err = stdout or sys.stdout, stderr or sys.stderr
    arguments = _parse(argv)
    started = monotonic()
    afterwards = Afterwards(environ=os.environ if environ is None else environ)
    try:
        outcome = _guarded(arguments, afterwards).lasting(monotonic() - started)
        err.write(f"{outcome.sentence()}\n")
        if arguments.as_json:
            out.write(json.dumps(outcome.as_json()) + "\n")
            out.flush()
        _tell(outcome, afterwards)
    finally:
        log.tear_down()
    return outcome.exit_code


def _guarded(arguments: Arguments, afterwards: Afterwards) -> Outcome:
    """Turn whatever happens into an outcome with one sentence and an exit code."""
    agent = arguments.agent or "catalyst"
    try:
        environ = afterwards.environ = environment.read_environment(PROJECT, afterwards.environ)
        agent = environment.agent_name(arguments.agent, environ)
        configuration = config_file.load(agent, environ, project=PROJECT, checks=CHECKS)
        afterwards.configuration = configuration
        return _locked_run(arguments, configuration, afterwards)
    except Busy as error:
        return Outcome.of(agent, arguments.mode, Status.BUSY, str(error))
    except ConfigError as error:
        return Outcome.of(agent, arguments.mode, Status.USAGE, str(error))
    except CatalystError as error:
        logger.exception("run_failed")
        return Outcome.of(agent, arguments.mode, Status.FAILED, str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        what = "the run was ended from outside"
        return Outcome.of(agent, arguments.mode, Status.INTERRUPTED, what)
    except Exception as error:
        logger.exception("run_failed")
        what = f"a defect in Catalyst: {type(error).__name__}: {error}"
        return Outcome.of(agent, arguments.mode, Status.FAILED, what)


def _tell(outcome: Outcome, afterwards: Afterwards) -> None:
    """Tell whoever watches; whatever goes wrong here changes nothing about how the run ended."""
    try:
        asyncio.run(_ping_and_send(outcome, afterwards))
    except (KeyboardInterrupt, asyncio.CancelledError):
        logger.warning("telling_interrupted")
    except CatalystError as error:
        logger.warning("telling_failed", error=str(error))
    except Exception:
        logger.exception("telling_failed")


async def _ping_and_send(outcome: Outcome, afterwards: Afterwards) -> None:
    """Call PING_URL and work off the outbox; the lock is free, so no cycle waits for a server."""
    environ, configuration = afterwards.environ, afterwards.configuration
    settings = AlertSettings() if configuration is None else configuration.settings.alerts
    # a run that found another one at work says nothing about it: that one may hang
    if environ.get("PING_URL") and outcome.status is not Status.BUSY:
        from shared.ping import ping

        await ping(
            environ,
            succeeded=outcome.exit_code == 0,
            timeout_seconds=settings.ping_timeout_seconds,
        )
    where = afterwards.where
    if configuration is not None and where is not None and afterwards.due_alerts != 0:
        from shared.alerts import Outbox, send_outbox

        await send_outbox(configuration, Outbox(embedded_name=where[0], clock=where[1]), environ)


def _locked_run(
    arguments: Arguments, configuration: Configuration, afterwards: Afterwards
) -> Outcome:
    environ = afterwards.environ
    home = data_directory(environ)
    agent_id = configuration.settings.agent.id
    logged = _log_to(arguments, configuration, environ)
    for notice in environment.environment_notices(PROJECT):
        logger.warning("environment_notice", notice=notice)
    lock = home / "locks" / f"{agent_id}.lock"
    may_preempt = arguments.mode is Mode.CLOSE and not arguments.dry_run
    with hold(
        lock,
        agent_id=agent_id,
        mode=arguments.mode,
        clock=SystemClock(),
        locks=configuration.settings.locks,
        preempts=GIVES_WAY_TO_CLOSE if may_preempt else (),
    ) as file:
        return asyncio.run(_run(arguments, configuration, afterwards, logged, file))


async def _run(
    arguments: Arguments,
    configuration: Configuration,
    afterwards: Afterwards,
    logged: log.LogOutcome,
    file: HeldFile,
) -> Outcome:
    """Compose the run: stage, databases, cycle; close them in reverse whatever happens."""
    from cycle import Cycle, Parts, name_cycle
    from market import calendar
    from rehearsal.stage import NotDue, set_stage
    from shared.agent_lock import hold_agent, tell_of_ended
    from shared.database.fences import Role
    from shared.database.opening import open_databases
    from shared.database.records import count_due_alerts

    environ = afterwards.environ
    settings, home = configuration.settings, data_directory(environ)
    _end_cleanly_when_told()
    brain = arguments.brain or default_brain(settings)
    calendar_table = calendar.load(settings.market.exchange)
    stage = set_stage(
        settings,
        home / "rehearsal",
        calendar_table,
        arguments.mode,
        force=arguments.force,
        dry_run=arguments.dry_run,
    )
    if isinstance(stage, NotDue):
        return Outcome.of(settings.agent.id, arguments.mode, Status.NOTHING_TO_DO, stage.why)
    names = (stage.bookmark.database_name, stage.bookmark.research_database_name)
    async with AsyncExitStack() as stack:
        databases = await open_databases(
            stack, configuration, environ=environ, home=home, embedded_names=names
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
        afterwards.where = (names[0], stage.clock)
        cycle_id = await name_cycle(databases.trading, settings.agent.id, arguments.mode, stage)
        logged.enter_cycle(cycle_id, stage.clock)
        await tell_of_ended(
            databases.trading, file, agent_id=settings.agent.id, at=stage.clock.now()
        )
        cycle = Cycle(
            Parts(
                configuration=configuration,
                stage=stage,
                trading=databases.trading,
                research=databases.research,
                sender=sender,
                cycle_id=cycle_id,
                mode=arguments.mode,
                forced=arguments.force,
                dry_run=arguments.dry_run,
                brain=brain,
                open_model=_model_opener(brain, configuration),
                log_problem=logged.problem,
            )
        )
        outcome = await cycle.run()
        with suppress(DatabaseUnavailable):
            afterwards.due_alerts = await count_due_alerts(
                databases.trading, settings.agent.id, stage.clock.now()
            )
        return outcome


def _model_opener(brain: Brain, configuration: Configuration) -> Callable[[], AnthropicModel]:
    """Say how to reach who decides; the SDK is imported only when that is called.

    Raises ConfigError when Claude is wanted and there is no key.
    """
    if brain is Brain.STAND_IN:

        def open_model() -> AnthropicModel:
            from rehearsal.stand_in import open_stand_in

            return open_stand_in(configuration.settings)

        return open_model
    key, gateway = configuration.secrets.anthropic_api_key, configuration.secrets.anthropic_base_url
    if key is None:
        raise ConfigError("Claude is to decide, but ANTHROPIC_API_KEY is not set")
    url = ANTHROPIC_URL if gateway is None else gateway.get_secret_value()
    return lambda: AnthropicModel(api_key=key, base_url=url)


def _log_to(
    arguments: Arguments,
    configuration: Configuration,
    environ: Mapping[str, str],
) -> log.LogOutcome:
    return log.set_up(
        configuration.settings.logging,
        project=log_base(environ),
        secrets=environment.secret_values(configuration, environ),
        agent_id=configuration.settings.agent.id,
        mode=arguments.mode,
        cycle_id=None,
        clock=SystemClock(),
    )


def _end_cleanly_when_told() -> None:
    """Turn SIGTERM into a cancellation, so that the cycle still writes how it ended."""
    task = asyncio.current_task()
    if task is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


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
        choices=list(Mode),
        metavar="MODE",
        help="scan, trade, close or heartbeat",
    )
    parser.add_argument("--agent", help="a name in config/; default: AGENT_ID, else rehearsal")
    parser.add_argument("--force", action="store_true", help="do not ask whether a slot is due")
    parser.add_argument(
        "--dry-run", action="store_true", help="go through everything and place nothing"
    )
    parser.add_argument(
        "--json", action="store_true", dest="as_json", help="end stdout with one JSON object"
    )
    parser.add_argument(
        "--brain",
        type=Brain,
        choices=list(Brain),
        metavar="BRAIN",
        help="claude or stand-in; default: the stand-in in a rehearsal, else claude",
    )
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
