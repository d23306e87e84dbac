"""The command line of `python -m shared.crontab`, understood."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.crontab.host import CRONTAB


class Command(StrEnum):
    """What can be asked for."""

    SHOW = "show"
    NEXT = "next"
    INSTALL = "install"
    CHECK = "check"
    UNINSTALL = "uninstall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """One command."""

    command: Command
    agent: tuple[str, ...]
    machine: str | None
    user_home: Path | None
    crontab_program: Path


def parse(argv: Sequence[str] | None) -> Arguments:
    """Read the command line; ends the process with code 2 on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.crontab",
        description="show: the lines. next: what will run in 24 hours. install: put the lines into the"
        " crontab of whoever runs this, and keep all others. check: whether what is installed is what"
        " would be. uninstall: take our lines out.",
        epilog="Exit codes: 0 done, 1 check found a difference, 2 usage or configuration.",
    )
    parser.add_argument("command", type=Command, choices=list(Command), metavar="COMMAND")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--agent",
        nargs="+",
        default=(),
        help="names in config/; default: those installed, else AGENT_ID",
    )
    whose.add_argument("--machine", help="a machine in cron/machines.yaml, for show and next")
    parser.add_argument(
        "--user-home",
        type=Path,
        metavar="DIRECTORY",
        help="home of the user whose crontab it is, if HOME says another; for the data directory",
    )
    parser.add_argument("--crontab-program", type=Path, default=CRONTAB, metavar="PATH")
    values: dict[str, Any] = vars(parser.parse_args(argv))
    values["agent"] = tuple(values["agent"])
    return Arguments(**values)
