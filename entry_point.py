"""What the programs that cron calls have in common: how a run starts, how it ends, and who is told.

Knows none of the runs themselves; nothing heavy is imported before it is known to be needed.
"""

import argparse
import asyncio
import json
import signal
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, TextIO

import safety
from shared import config_file, environment, log
from shared.brain import Brain
from shared.clock import Clock, SystemClock
from shared.config import AlertSettings, Configuration
from shared.errors import Busy, CatalystError, ConfigError
from shared.outcome import Outcome, Status
from shared.paths import PROJECT, log_base
from shared.prices import model_without_price
from shared.schedule import impossible_schedule

if TYPE_CHECKING:
    from shared.claude import AnthropicModel

logger = log.get(__name__)

CHECKS = (safety.loosened_limits, impossible_schedule, model_without_price)
"""What a configuration has to pass besides its own shape."""


@dataclass(slots=True, kw_only=True)
class Afterwards:
    """What is needed when the lock is free again; a run fills it in as far as it gets."""

    environ: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    """The wall's: an agent with a real broker goes by it, a rehearsal by its own."""
    configuration: Configuration | None = None
    where: tuple[str, Clock] | None = None
    """Name of the embedded database with the alerts, and the clock they go by."""
    due_alerts: int | None = None
    """How many wait to be sent; None is "not known"."""
    pings: bool = True
    """Whether who watches from outside hears of it; a command of a person says nothing about the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printing:
    """Where a run says how it ended, and how."""

    out: TextIO
    err: TextIO
    as_json: bool
    show: Callable[[Outcome, TextIO], None] | None = None
    """What people read besides the sentence."""
    unsaid: Collection[Status] = ()
    """Ends that nobody has to read, and nobody who watches has to be told of."""


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every program of cron understands."""
    parser.add_argument("--agent", help="a name in config/; default: AGENT_ID, else rehearsal")
    parser.add_argument(
        "--json", action="store_true", dest="as_json", help="end stdout with one JSON object"
    )


def add_brain_argument(parser: argparse.ArgumentParser) -> None:
    """Add who decides, or gives a second opinion."""
    parser.add_argument(
        "--brain",
        type=Brain,
        choices=list(Brain),
        metavar="BRAIN",
        help="claude or stand-in; default: the stand-in in a rehearsal, else claude",
    )


def run(
    agent: str | None,
    mode: str,
    play: Callable[[Configuration], Outcome],
    *,
    afterwards: Afterwards,
    printing: Printing,
) -> Outcome:
    """Play one run, say how it ended, and tell who watches."""
    started = monotonic()
    try:
        outcome = _guarded(agent, mode, play, afterwards).lasting(monotonic() - started)
        if outcome.status not in printing.unsaid:
            printing.err.write(f"{outcome.sentence()}\n")
        if printing.as_json:
            printing.out.write(json.dumps(outcome.as_json()) + "\n")
        elif printing.show is not None:
            printing.show(outcome, printing.out)
        printing.out.flush()
        if outcome.status not in printing.unsaid:
            _tell(outcome, afterwards)
    finally:
        log.tear_down()
    return outcome


def _guarded(
    wanted: str | None,
    mode: str,
    play: Callable[[Configuration], Outcome],
    afterwards: Afterwards,
) -> Outcome:
    """Turn whatever happens into an outcome with one sentence and an exit code."""
    agent = wanted or "catalyst"
    try:
        environ = afterwards.environ = environment.read_environment(PROJECT, afterwards.environ)
        agent = environment.agent_name(wanted, environ)
        configuration = config_file.load(agent, environ, project=PROJECT, checks=CHECKS)
        afterwards.configuration = configuration
        return play(configuration)
    except Busy as error:
        return Outcome.of(agent, mode, Status.BUSY, str(error))
    except ConfigError as error:
        return Outcome.of(agent, mode, Status.USAGE, str(error))
    except CatalystError as error:
        logger.exception("run_failed")
        return Outcome.of(agent, mode, Status.FAILED, str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        what = "the run was ended from outside"
        return Outcome.of(agent, mode, Status.INTERRUPTED, what)
    except Exception as error:
        logger.exception("run_failed")
        what = f"a defect in Catalyst: {type(error).__name__}: {error}"
        return Outcome.of(agent, mode, Status.FAILED, what)


def log_to(
    configuration: Configuration, environ: Mapping[str, str], *, mode: str
) -> log.LogOutcome:
    """Send the run's records where the configuration says."""
    return log.set_up(
        configuration.settings.logging,
        project=log_base(environ),
        secrets=environment.secret_values(configuration, environ),
        agent_id=configuration.settings.agent.id,
        mode=mode,
        cycle_id=None,
        clock=SystemClock(),
    )


def end_cleanly_when_told() -> None:
    """Turn SIGTERM into a cancellation, so that the cycle still writes how it ended."""
    task = asyncio.current_task()
    if task is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _tell(outcome: Outcome, afterwards: Afterwards) -> None:
    """Tell whoever watches; whatever goes wrong here changes nothing about how the run ended."""
    try:
        asyncio.run(told(_ping_and_send(outcome, afterwards)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        logger.warning("telling_interrupted")


async def told(telling: Coroutine[object, object, None]) -> None:
    """Tell somebody; what goes wrong with that is a line of the log and nothing else."""
    try:
        await telling
    except CatalystError as error:
        logger.warning("telling_failed", error=str(error))
    except Exception:
        logger.exception("telling_failed")


async def _ping_and_send(outcome: Outcome, afterwards: Afterwards) -> None:
    """Call PING_URL and work off the outbox; the lock is free, so no cycle waits for a server."""
    environ, configuration = afterwards.environ, afterwards.configuration
    settings = AlertSettings() if configuration is None else configuration.settings.alerts
    # a run that found another one at work says nothing about it: that one may hang
    is_heard = afterwards.pings and bool(environ.get("PING_URL"))
    if is_heard and outcome.status is not Status.BUSY:
        from shared.ping import ping

        await ping(
            environ,
            succeeded=outcome.exit_code == 0,
            timeout_seconds=settings.ping_timeout_seconds,
        )
    if configuration is not None and afterwards.due_alerts != 0:
        await send_alerts(configuration, afterwards)


async def send_alerts(configuration: Configuration, afterwards: Afterwards) -> None:
    """Work off the outbox, over a connection of its own. Raises CatalystError."""
    where = afterwards.where
    if where is None:
        return
    from shared.alerts import Outbox, send_outbox

    outbox = Outbox(embedded_name=where[0], clock=where[1])
    await send_outbox(configuration, outbox, afterwards.environ)


async def ping_of_failure(configuration: Configuration, environ: Mapping[str, str]) -> None:
    """Tell whoever watches from outside, where nothing else can be told at the moment."""
    if environ.get("PING_URL"):
        from shared.ping import ping

        seconds = configuration.settings.alerts.ping_timeout_seconds
        await ping(environ, succeeded=False, timeout_seconds=seconds)


def _endpoints(configuration: Configuration) -> tuple[str, ...]:
    """List the addresses of brokers and databases that a run reaches; the stand-in may decide on loopback only."""
    broker, secrets = configuration.settings.broker, configuration.secrets
    alpaca = broker.alpaca
    databases = (secrets.trading_database_url, secrets.research_database_url)
    given = [url.get_secret_value() for url in databases if url is not None]
    if broker.moomoo is not None:
        # OpenD stands on this machine and reaches beyond it: only its simulator does not
        return (*given, "127.0.0.1" if secrets.opend_is_simulated else "what is behind OpenD")
    if alpaca is None:
        return tuple(given)
    if secrets.alpaca_simulator_url is not None:
        return (*given, secrets.alpaca_simulator_url)
    return (*given, alpaca.trading_url, alpaca.data_url)


def model_opener(brain: Brain, configuration: Configuration) -> Callable[[], "AnthropicModel"]:
    """Say how to reach who decides; the SDK is imported only when that is called.

    Raises ConfigError when Claude is wanted and there is no key.
    """
    if brain is Brain.STAND_IN:

        def open_model() -> "AnthropicModel":
            from rehearsal.stand_in import open_stand_in

            return open_stand_in(configuration.settings, _endpoints(configuration))

        return open_model
    key, gateway = configuration.secrets.anthropic_api_key, configuration.secrets.anthropic_base_url
    if key is None:
        raise ConfigError("Claude is to decide, but ANTHROPIC_API_KEY is not set")

    def open_claude() -> "AnthropicModel":
        from shared.claude import ANTHROPIC_URL, AnthropicModel

        url = ANTHROPIC_URL if gateway is None else gateway.get_secret_value()
        return AnthropicModel(api_key=key, base_url=url)

    return open_claude
