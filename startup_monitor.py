"""What cron calls before each session: broker truth against the database, then a verdict.

Read-only at the broker. With `--accept` a person settles what an earlier comparison locked.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO, cast

import entry_point
from calendar_end import told_where_the_calendar_ends
from entry_point import Afterwards, Printing, end_cleanly_when_told, log_to
from shared import environment, log
from shared.clock import Clock, SystemClock
from shared.config import Configuration
from shared.errors import Busy, DatabaseUnavailable
from shared.lock import HeldFile, hold
from shared.models import Snapshot, Verdict
from shared.outcome import Outcome, Status
from shared.paths import PROJECT, data_directory
from shared.redaction import redactor

if TYPE_CHECKING:
    from settling import Settled
    from shared.database.connection import Connection
    from shared.database.fences import Sender
    from stage import Stage
    from standing import Seen, Standpoint

NAME = "startup"
"""Its mode in outcomes, the log, and the lock."""

SOURCE = "startup_monitor"
"""Who found out, as rows say."""

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line, understood."""

    agent: str | None
    as_json: bool
    scheduled: bool
    """Whether cron started it, which fires at the hours of summer and of winter time."""
    accept: str | None
    """The symbol that a person settles."""
    why: str


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    clock: Clock | None = None,
) -> int:
    """Compare once; return 0 when clean or another run is at work, 1 when not, 2 on usage."""
    arguments = _parse(argv)
    afterwards = Afterwards(
        environ=os.environ if environ is None else environ, clock=clock or SystemClock()
    )
    outcome = entry_point.run(
        arguments.agent,
        NAME,
        lambda configuration: _locked_run(arguments, configuration, afterwards),
        afterwards=afterwards,
        printing=Printing(
            out=stdout or sys.stdout,
            err=stderr or sys.stderr,
            as_json=arguments.as_json,
            show=_show,
        ),
    )
    if outcome.status is Status.BUSY and arguments.accept is not None:
        return 1  # a person wanted something, and it was not done
    return outcome.exit_code


def _locked_run(
    arguments: Arguments, configuration: Configuration, afterwards: Afterwards
) -> Outcome:
    environ = afterwards.environ
    redact = redactor(environment.secret_values(configuration, environ))
    arguments = replace(arguments, why=redact(arguments.why))  # a reason is kept for ever
    logged = log_to(configuration, environ, mode=NAME)
    for notice in environment.environment_notices(PROJECT):
        logger.warning("environment_notice", notice=notice)
    agent_id = configuration.settings.agent.id
    lock = data_directory(environ) / "locks" / f"{agent_id}.lock"
    with (
        hold(
            lock,
            agent_id=agent_id,
            mode=NAME,
            clock=SystemClock(),
            locks=configuration.settings.locks,
        ) as file,
        told_where_the_calendar_ends(configuration, afterwards),
    ):
        return asyncio.run(_run(arguments, configuration, afterwards, logged, file))


async def _run(
    arguments: Arguments,
    configuration: Configuration,
    afterwards: Afterwards,
    logged: log.LogOutcome,
    file: HeldFile,
) -> Outcome:
    """Compose the comparison where the agent stands; close everything in reverse whatever happens."""
    from market import calendar
    from shared.agent_lock import hold_agent, tell_of_ended
    from shared.database.fences import Role
    from shared.database.opening import Research, open_databases
    from shared.database.records import count_due_alerts
    from shared.due import startup_is_due
    from stage import NotDue, Setting

    end_cleanly_when_told()
    settings, home = configuration.settings, data_directory(afterwards.environ)
    table = calendar.load(settings.market.exchange)
    stage = Setting(configuration=configuration, home=home, clock=afterwards.clock).ahead(table)
    if isinstance(stage, NotDue):
        raise Busy(stage.why)
    if arguments.scheduled and not startup_is_due(
        settings.schedule, stage.session, stage.clock.now()
    ):
        why = f"the session of {stage.session.session_date} is not about to begin"
        return Outcome.of(settings.agent.id, NAME, Status.NOTHING_TO_DO, why)
    name = stage.database_names[0]
    async with AsyncExitStack() as stack:
        databases = await open_databases(
            stack,
            configuration,
            environ=afterwards.environ,
            home=home,
            embedded_names=(name, ""),
            research=Research.NOT_NEEDED,
        )
        trading = databases.trading
        sender = await stack.enter_async_context(
            hold_agent(
                databases.lock,
                agent_id=settings.agent.id,
                role=Role.CYCLE,
                mode=NAME,
                clock=SystemClock(),
                file=file,
                wait_seconds=settings.locks.release_seconds,
            )
        )
        afterwards.where = (name, stage.clock)
        await tell_of_ended(trading, file, agent_id=settings.agent.id, at=stage.clock.now())
        logged.enter_cycle(SOURCE, stage.clock)
        point = await _standpoint(stack, configuration, stage, trading, sender)
        outcome = await _outcome(arguments, point, afterwards.environ)
        with suppress(DatabaseUnavailable):
            afterwards.due_alerts = await count_due_alerts(
                trading, settings.agent.id, stage.clock.now()
            )
        return outcome


async def _standpoint(
    stack: AsyncExitStack,
    configuration: Configuration,
    stage: "Stage",
    trading: "Connection",
    sender: "Sender",
) -> "Standpoint":
    """Open broker and feed for the session ahead; the desk only takes in what the broker says."""
    from brokers.desk import DeskContext, OrderDesk
    from brokers.patience import PatientBroker
    from shared.journal.books import open_books
    from shared.journal.replay import replay
    from standing import Standpoint

    settings = configuration.settings
    broker, feed = PatientBroker(stage.broker(), settings.orders), stage.feed()
    books = await open_books(
        trading, home=stage.home, agent_id=settings.agent.id, clock=stage.clock
    )
    await replay(books, at=stage.clock.now())
    stack.push_async_callback(broker.disconnect)
    stack.push_async_callback(feed.close)
    context = DeskContext(
        agent_id=settings.agent.id,
        cycle_id=SOURCE,
        currency=settings.market.currency,
        database=books.database,
        sender=sender,
        dry_run=False,
        is_cycle=False,
    )
    return Standpoint(
        settings=settings,
        connection=trading,
        broker=broker,
        feed=feed,
        clock=stage.clock,
        desk=OrderDesk(
            broker=broker,
            books=books,
            clock=stage.clock,
            limits=settings.limits,
            settings=settings.orders,
            context=context,
            look=_nothing_is_placed,
        ),
        context=context,
        session=stage.session,
        home=stage.home,
    )


async def _outcome(
    arguments: Arguments, point: "Standpoint", environ: Mapping[str, str]
) -> Outcome:
    """Compare, and where a person wants it settle and compare again."""
    from standing import take_stock

    if arguments.accept is None:
        from readiness import what_is_not_ready

        seen = await take_stock(point)
        is_readable = seen.found.verdict is not Verdict.UNREADABLE
        return _summed_up(
            point, seen, lacking=await what_is_not_ready(point) if is_readable else ()
        )
    from settling import Word, settle
    from shared.operate.audit import Action, audited_action
    from shared.operate.place import operator_name

    word = Word(symbol=arguments.accept, why=arguments.why, by=operator_name(environ))
    action = Action(
        agent_id=point.agent_id,
        operator=word.by,
        command="accept",
        arguments={"symbol": word.symbol},
        why=word.why,
    )

    async def act() -> Outcome:
        settled = await settle(point, await take_stock(point), word)
        return _summed_up(point, settled.seen, settled)

    return await audited_action(point.connection, action, act, clock=point.clock)


def _summed_up(
    point: "Standpoint",
    seen: "Seen",
    settled: "Settled | None" = None,
    lacking: Sequence[str] = (),
) -> Outcome:
    found = seen.found
    said = found.sentence()
    if settled is not None:
        released = ", ".join(f"{lock.symbol} {lock.kind}" for lock in settled.released)
        said = "; ".join((*settled.done, f"released: {released or 'nothing'}", said))
    if lacking:
        said = f"{said}; not ready: {'; '.join(lacking)}"
    return Outcome(
        agent=point.agent_id,
        mode=NAME,
        notes=tuple(lacking),
        status=Status.DONE if found.verdict is Verdict.CLEAN else Status.FAILED,
        reason=said,
        at=point.clock.now(),
        fills=point.desk.fills,
        alerts=tuple(point.desk.alerts),
        details={
            "session_date": f"{point.session.session_date}",
            "verdict": found.verdict,
            "locked": list(found.locked),
            "deltas": [
                {"kind": delta.kind, "symbol": delta.symbol, "sentence": delta.sentence}
                for delta in found.deltas
            ],
            "released": [] if settled is None else [lock.kind for lock in settled.released],
        },
    )


def _show(outcome: Outcome, out: TextIO) -> None:
    """Print what was found, a line each."""
    deltas = cast("list[dict[str, str | None]]", outcome.details.get("deltas", []))
    out.writelines(
        f"{delta['symbol'] or 'account':<10}{delta['kind']:<20}{delta['sentence']}\n"
        for delta in deltas
    )


async def _nothing_is_placed(symbols: Collection[str]) -> Snapshot:
    msg = f"the startup monitor places nothing, it was asked about {', '.join(symbols) or 'orders'}"
    raise AssertionError(msg)


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(
        prog="startup_monitor.py",
        description="Compare broker and database before a session; place and cancel nothing.",
        epilog="Exit codes: 0 clean, or another run is at work; 1 locked, unreadable or failed;"
        " 2 usage or configuration.",
    )
    entry_point.add_common_arguments(parser)
    parser.add_argument(
        "--scheduled",
        action="store_true",
        help="do nothing unless a session is about to begin, as cron wants it",
    )
    parser.add_argument(
        "--accept", type=str.upper, metavar="SYMBOL", help="settle what is locked about a symbol"
    )
    parser.add_argument("--why", default="", metavar="TEXT", help="needed with --accept; is kept")
    arguments = Arguments(**vars(parser.parse_args(argv)))
    if (arguments.accept is None) is not (arguments.why.strip() == ""):
        parser.error("--accept and --why TEXT belong together")
    return replace(arguments, why=arguments.why.strip())


if __name__ == "__main__":
    sys.exit(main())
