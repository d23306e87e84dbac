"""Tells a person: works the outbox off after a run, and by hand with `python -m shared.alerts`.

A program of its own, so it may know the rehearsal; what it puts together is in letters, mail, push, outbox.
"""

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TextIO
from uuid import uuid4

from rehearsal import bookmark as bookmarks
from shared import config_file, log
from shared.bounded import PointOfNoReturn
from shared.clock import Clock, ManualClock, SystemClock
from shared.config import Configuration, Secrets
from shared.database.opening import open_trading
from shared.environment import agent_name, read_environment, secret_values
from shared.errors import CatalystError, ConfigError, NotDelivered
from shared.letters import Channel, Letter, subject_line
from shared.mail import MailChannel, mail_server
from shared.outbox import Sender, Tally, hand_over, take_leave
from shared.paths import PROJECT, data_directory, log_base
from shared.push import push_channels
from shared.redaction import redactor

logger = log.get(__name__)

NOT_CONFIGURED = (
    "nobody can be told: neither SMTP_HOST and ALERT_EMAIL nor APPRISE_URLS is set"
    " (config/example.env says more)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The ways to the person that the environment names."""

    ready: tuple[Channel, ...]
    problems: tuple[str, ...]
    """Sentences about those that are named wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Where an agent's alerts lie, and the clock they go by."""

    embedded_name: str
    """Name of the trading database where it is embedded."""
    clock: Clock


def open_channels(secrets: Secrets, *, tls_context: ssl.SSLContext | None = None) -> Channels:
    """Return every channel that the environment names; mail comes first. Connects to nothing."""
    ready: list[Channel] = []
    problems: tuple[str, ...] = ()
    try:
        server = mail_server(secrets)
    except ConfigError as error:
        problems = tuple(str(error).splitlines())
    else:
        if server is not None:
            ready.append(MailChannel(server, tls_context=tls_context))
    return Channels(ready=(*ready, *push_channels(secrets)), problems=problems)


async def send_outbox(
    configuration: Configuration, outbox: Outbox, environ: Mapping[str, str]
) -> Tally | None:
    """Send what is due; None when the settings or the environment leave everything queued.

    Raises DatabaseUnavailable, never because of a channel.
    """
    if not configuration.settings.alerts.send:
        logger.info("alerts_stay_queued", reason="alerts.send is false")
        return None
    channels = open_channels(configuration.secrets)
    for problem in channels.problems:
        logger.error("alert_channel_unusable", problem=problem)
    if not channels.ready:
        logger.warning("alerts_stay_queued", reason=NOT_CONFIGURED)
        return None
    async with AsyncExitStack() as stack:
        connection = await open_trading(
            stack,
            configuration,
            environ=environ,
            home=data_directory(environ),
            embedded_name=outbox.embedded_name,
        )
        return await Sender(
            connection,
            channels.ready,
            agent_id=configuration.settings.agent.id,
            settings=configuration.settings.alerts,
            clock=outbox.clock,
            redact=redactor(secret_values(configuration, environ)),
        ).work_off()


def main(argv: Sequence[str], environ: Mapping[str, str], *, stdout: TextIO | None = None) -> int:
    """Send a test message, or the outbox; return 0 all accepted, 1 something was not, 2 configuration."""
    arguments = _parser().parse_args(argv)
    out = stdout or sys.stdout
    try:
        environ = read_environment(PROJECT, environ)
        agent = agent_name(arguments.agent, environ)
        configuration = config_file.load(agent, environ, project=PROJECT)
        command = _test if arguments.command == "test" else _send
        return command(configuration, environ, out)
    except CatalystError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, ConfigError) else 1


def _test(configuration: Configuration, environ: Mapping[str, str], out: TextIO) -> int:
    """Send a message over every channel now, and say in a sentence each what happened."""
    channels = open_channels(configuration.secrets)
    redact = redactor(secret_values(configuration, environ))
    out.writelines(f"{redact(problem)}\n" for problem in channels.problems)
    if not channels.ready:
        out.write("" if channels.problems else f"{NOT_CONFIGURED}\n")
        return 2
    letter = _test_letter(configuration.settings.agent.id)
    seconds = configuration.settings.alerts.total_seconds
    failed = 0
    for channel in channels.ready:
        error = asyncio.run(_tried(channel, letter, seconds))
        failed += error is not None
        said = "accepted the test message" if error is None else f"did not: {error}"
        out.write(f"{channel.name}{_recipient(channel)}: {redact(said)}\n")
    if channels.problems:
        return 2
    return 1 if failed else 0


async def _tried(channel: Channel, letter: Letter, seconds: float) -> str | None:
    try:
        await hand_over(channel, letter, seconds=seconds, last_step=PointOfNoReturn(seconds))
    except NotDelivered as error:
        return str(error)
    await take_leave(channel)
    return None


def _recipient(channel: Channel) -> str:
    return f" to {channel.server.recipient}" if isinstance(channel, MailChannel) else ""


def _test_letter(agent_id: str) -> Letter:
    return Letter(
        name=f"test-{uuid4()}",
        severity="info",
        subject=subject_line(agent_id, "info", "test message"),
        body=f"Agent {agent_id} can reach you this way. Nothing has happened.\n",
        at=SystemClock().now(),
    )


def _send(configuration: Configuration, environ: Mapping[str, str], out: TextIO) -> int:
    """Work the outbox off once, and say what came of it."""
    problems = "\n".join(_reasons_not_to_send(configuration))
    if problems:
        raise ConfigError(problems)
    agent_id = configuration.settings.agent.id
    log.set_up(
        configuration.settings.logging,
        project=log_base(environ),
        secrets=secret_values(configuration, environ),
        agent_id=agent_id,
        mode="alerts",
        cycle_id=None,
        clock=SystemClock(),
    )
    try:
        tally = asyncio.run(send_outbox(configuration, _outbox(configuration, environ), environ))
    finally:
        log.tear_down()
    if tally is None:
        raise ConfigError(NOT_CONFIGURED)
    out.write(f"{tally.sent} sent, {tally.failed} not accepted, {tally.left} left\n")
    return 1 if tally.failed or tally.left else 0


def _reasons_not_to_send(configuration: Configuration) -> Iterator[str]:
    channels = open_channels(configuration.secrets)
    yield from channels.problems
    if not channels.ready and not channels.problems:
        yield NOT_CONFIGURED
    if not configuration.settings.alerts.send:
        yield "alerts.send is false, so everything stays queued"


def _outbox(configuration: Configuration, environ: Mapping[str, str]) -> Outbox:
    """Find the agent's outbox; that of a rehearsal goes by the rehearsal's clock."""
    if configuration.settings.database.kind != "embedded":
        return Outbox(embedded_name="", clock=SystemClock())
    bookmark = bookmarks.read(data_directory(environ) / "rehearsal")
    if bookmark is None:
        raise ConfigError("no rehearsal has been begun, so there is no outbox")
    return Outbox(embedded_name=bookmark.database_name, clock=ManualClock(bookmark.clock))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.alerts",
        description="Send a test message over every channel, or what is queued in the outbox.",
        epilog="Exit codes: 0 everything was accepted, 1 something was not, 2 configuration.",
    )
    parser.add_argument("command", choices=("test", "send"))
    parser.add_argument("--agent", help="a name in config/; default: AGENT_ID, else rehearsal")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
