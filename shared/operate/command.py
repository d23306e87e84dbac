"""What a person types: reads the command line, finds the agent, does or answers it, prints it once."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from shared import config_file, environment, log
from shared.clock import Clock, SystemClock
from shared.config import Configuration
from shared.database import codec
from shared.errors import Busy, CatalystError, ConfigError
from shared.operate import changes, views
from shared.operate.arguments import Arguments, Command, parse
from shared.operate.changes import restriction
from shared.operate.place import Place, find_place
from shared.operate.report import Report
from shared.outcome import Status
from shared.paths import PROJECT, data_directory, log_base
from shared.redaction import redactor

logger = log.get(__name__)

_RESTRICTING = {Command.HALT, Command.REDUCE}
_CHANGING = {*_RESTRICTING, Command.RESUME, Command.FLATTEN}


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    clock: Clock | None = None,
) -> int:
    """Do one command and return the exit code: 0 done or rightly nothing to do, 1 failed, 2 usage."""
    out, err = stdout or sys.stdout, stderr or sys.stderr
    arguments = parse(argv)
    given = os.environ if environ is None else environ
    report = _Run(arguments, given, clock or SystemClock()).report()
    if arguments.as_json:
        out.write(codec.encode(report.as_json()) + "\n")
    if report.exit_code or not arguments.as_json:
        (err if report.exit_code else out).write(f"{report.sentence()}\n")
    if report.content and not arguments.as_json:
        from shared.operate.pages import show

        show(report, out)
    out.flush()
    return report.exit_code


class _Run:
    """One command; it learns on the way whose it is and which secrets must not be shown."""

    def __init__(self, arguments: Arguments, environ: Mapping[str, str], clock: Clock) -> None:
        self._arguments: Arguments = arguments
        self._clock: Clock = clock
        self._environ: Mapping[str, str] = environ
        self._agent: str = arguments.agent or "catalyst"
        self._redact: Callable[[str], str] = redactor(environment.secrets_in(environ))

    def report(self) -> Report:
        """Do it, and turn whatever happens into a report without secrets."""
        try:
            report = self._done()
        except ConfigError as error:
            report = self._failed(Status.USAGE, str(error))
        except Busy as error:
            report = self._failed(Status.BUSY, str(error))
        except CatalystError as error:
            report = self._failed(Status.FAILED, str(error))
        except (KeyboardInterrupt, asyncio.CancelledError):
            report = self._failed(Status.INTERRUPTED, "the command was ended from outside")
        except Exception as error:
            logger.exception("command_failed")
            what = f"a defect in Catalyst: {type(error).__name__}: {error}"
            report = self._failed(Status.FAILED, what)
        finally:
            log.tear_down()
        return report.without_secrets(self._redact)

    def _done(self) -> Report:
        self._environ = environment.read_environment(PROJECT, self._environ)
        self._redact = redactor(environment.secrets_in(self._environ))
        self._agent = environment.agent_name(self._arguments.agent, self._environ)
        home = data_directory(self._environ)
        try:
            configuration = self._configuration()
        except ConfigError as error:
            if self._arguments.command not in _RESTRICTING or not _is_known(self._agent):
                raise
            return asyncio.run(self._only_by_file(home, str(error)))
        logged = self._logged(configuration) if self._arguments.command in _CHANGING else None
        place = find_place(configuration, self._environ, home, logged, wall=self._clock)
        return asyncio.run(_carry_out(place, self._without_secrets()))

    def _configuration(self) -> Configuration:
        import unified_agent

        configuration = config_file.load(
            self._agent, self._environ, project=PROJECT, checks=unified_agent.CHECKS
        )
        self._redact = redactor(environment.secret_values(configuration, self._environ))
        return configuration

    def _logged(self, configuration: Configuration) -> log.LogOutcome:
        return log.set_up(
            configuration.settings.logging,
            project=log_base(self._environ),
            secrets=environment.secret_values(configuration, self._environ),
            agent_id=self._agent,
            mode="operate",
            cycle_id=None,
            clock=SystemClock(),
        )

    async def _only_by_file(self, home: Path, problem: str) -> Report:
        """Halt or reduce an agent whose configuration cannot be read: its runs cannot start either."""
        wanted = restriction(
            self._without_secrets(),
            self._agent,
            home=home,
            clock=self._clock,
            environ=self._environ,
        )
        return wanted.only_in_file(await wanted.into_file(), problem)

    def _without_secrets(self) -> Arguments:
        """A reason is kept for ever, so nothing secret may be in it."""
        return replace(self._arguments, why=self._redact(self._arguments.why))

    def _failed(self, status: Status, reason: str) -> Report:
        command = self._arguments.command
        return Report(agent=self._agent, command=command, status=status, reason=reason)


async def _carry_out(place: Place, arguments: Arguments) -> Report:
    match arguments.command:
        case Command.HALT | Command.REDUCE:
            return await changes.restrict(place, arguments)
        case Command.RESUME:
            return await changes.resume(place, arguments)
        case Command.FLATTEN:
            from shared.operate.flatten import flatten

            return await flatten(place, arguments)
        case _:
            return await _answered(place, arguments)


async def _answered(place: Place, arguments: Arguments) -> Report:
    match arguments.command:
        case Command.STATUS:
            return await views.status(place, arguments)
        case Command.ORDERS:
            return await views.list_orders(place, arguments)
        case Command.WHY:
            return await views.why(place, arguments)
        case _:
            return views.show_config(place, arguments)


def _is_known(agent: str) -> bool:
    """Whether an agent of that name has a configuration, be it a broken one."""
    return agent.isidentifier() and (PROJECT / "config" / f"{agent}.yaml").is_file()
