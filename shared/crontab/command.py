"""What a person types about the crontab: shows, foretells, installs, checks and removes our lines."""

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from shared import environment
from shared.clock import Clock, SystemClock
from shared.crontab import block as blocks
from shared.crontab import host, plans, upcoming
from shared.crontab.arguments import Arguments, Command, parse
from shared.crontab.block import Installation, Plan
from shared.crontab.host import CrontabProgram
from shared.errors import CatalystError, ConfigError
from shared.paths import PROJECT, data_directory

_PINNED = ("CATALYST_HOME", "XDG_DATA_HOME")
"""What decides where the data directory is; cron would not hand it on."""

Planner = Callable[[Sequence[str], Mapping[str, str], Path], tuple[Plan, ...]]
"""Finds the plans of agents by name: `plans.configured`, or what stands in for it."""


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    clock: Clock | None = None,
    localtime: Path = host.LOCALTIME,
    project: Path = PROJECT,
    planner: Planner = plans.configured,
) -> int:
    """Do one command and return the exit code: 0 done, 1 check found a difference, 2 usage."""
    out, err = stdout or sys.stdout, stderr or sys.stderr
    arguments = parse(argv)
    given = os.environ if environ is None else environ
    try:
        known = environment.read_environment(project, given)
        place = Place.find(arguments, known, project, planner)
        desk = _Desk(place, clock or SystemClock(), localtime, out)
        return desk.carry_out(arguments.command)
    except CatalystError as error:
        err.write(f"{error}\n")
        return 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose crontab it is about, and where Catalyst lies for it."""

    arguments: Arguments
    environ: Mapping[str, str]
    project: Path
    installation: Installation
    program: CrontabProgram
    planner: Planner

    @classmethod
    def find(
        cls, arguments: Arguments, environ: Mapping[str, str], project: Path, planner: Planner
    ) -> "Place":
        """Find the directories that the runs will use, whatever environment cron gives them."""
        return cls(
            arguments=arguments,
            environ=environ,
            project=project,
            installation=installation(environ, project, arguments.user_home),
            program=CrontabProgram(arguments.crontab_program),
            planner=planner,
        )

    def plans(self, present: str | None = None) -> tuple[Plan, ...]:
        """Return the plans of the agents that are meant; `present` is the block that is installed."""
        arguments = self.arguments
        if arguments.machine:
            return plans.of_machine(arguments.machine, self.project)
        own = self.environ.get("AGENT_ID", "").strip()
        names = arguments.agent or (blocks.agents_in(present) if present else ())
        names = names or ((own,) if own else ())
        if not names:
            raise ConfigError("no agent is named: give --agent NAME, or set AGENT_ID")
        return self.planner(names, self.environ, self.project)


def installation(
    environ: Mapping[str, str], project: Path, user_home: Path | None = None
) -> Installation:
    """Describe this checkout for the lines of a crontab, in absolute paths."""
    pinned = {name: environ[name] for name in _PINNED if environ.get(name)}
    if user_home is not None and "XDG_DATA_HOME" not in pinned:
        pinned["XDG_DATA_HOME"] = str(user_home.absolute() / ".local" / "share")
    chosen = "CATALYST_HOME" in pinned
    home = data_directory({**environ, **pinned})
    return Installation(
        project=project,
        home=home,
        logs=(home if chosen else project) / "logs",
        pinned=tuple(sorted(pinned.items())),
    )


class _Desk:
    """Carries out one command."""

    def __init__(self, place: Place, clock: Clock, localtime: Path, out: TextIO) -> None:
        self._place: Place = place
        self._clock: Clock = clock
        self._localtime: Path = localtime
        self._out: TextIO = out

    def carry_out(self, command: Command) -> int:
        """Do it and return the exit code."""
        match command:
            case Command.SHOW:
                return self._said(self._wanted(None))
            case Command.NEXT:
                return self._next()
            case Command.INSTALL:
                return self._install()
            case Command.CHECK:
                return self._check()
            case Command.UNINSTALL:
                return self._uninstall()

    def _next(self) -> int:
        found, now = self._place.plans(), self._clock.now()
        said = [upcoming.table(upcoming.upcoming(found, now)), *upcoming.notices(found, now)]
        return self._said("\n".join(said) + "\n")

    def _install(self) -> int:
        place, before = self._place, self._place.program.read()
        if place.arguments.machine:
            raise ConfigError("install takes agents that have a file in config/: give --agent NAME")
        ours = place.installation
        wanted = self._wanted(blocks.installed(before, ours))
        problems = [*self._problems(before), *host.missing_programs(ours)]
        if problems:
            raise ConfigError("\n".join(problems))
        host.make_directories(ours)
        return self._replace(before, blocks.with_block(before, ours, wanted))

    def _uninstall(self) -> int:
        before = self._place.program.read()
        return self._replace(before, blocks.without_block(before, self._place.installation))

    def _check(self) -> int:
        text, ours = self._place.program.read(), self._place.installation
        present = blocks.installed(text, ours)
        if present is None:
            self._said(f"nothing of {ours.project} is installed\n")
            return 1
        wanted = self._wanted(present)
        difference = _difference(present, wanted)
        problems = [*self._problems(text), *host.missing_programs(ours)]
        if difference or problems:
            self._said(difference + "".join(f"{problem}\n" for problem in problems))
            return 1
        return self._said("what is installed is what would be\n")

    def _wanted(self, present: str | None) -> str:
        return blocks.block(self._place.installation, self._place.plans(present))

    def _problems(self, text: str) -> tuple[str, ...]:
        """Say what would make cron fire our lines at other hours than theirs."""
        foreign = blocks.without_block(text, self._place.installation)
        zone = host.zone_problems(self._clock.now(), self._localtime)
        return (*zone, *blocks.foreign_problems(foreign))

    def _replace(self, before: str, after: str) -> int:
        if before == after:
            return self._said("the crontab is as it should be; nothing was changed\n")
        self._place.program.write(after)
        return self._said(_difference(before, after))

    def _said(self, text: str) -> int:
        self._out.write(text)
        self._out.flush()
        return 0


def _difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "crontab before", "crontab after", lineterm="", n=1
    )
    return "".join(f"{line}\n" for line in lines)
