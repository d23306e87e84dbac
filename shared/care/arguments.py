"""The command line of `python -m shared.care`, understood."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.sql import DatabaseKind


class Command(StrEnum):
    """What can be done."""

    UPGRADE = "upgrade"
    BACKUP = "backup"
    RESTORE = "restore"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """One command; fields that it does not have keep their default."""

    command: Command
    agent: str | None = None
    as_json: bool = False
    backup: bool = True
    """Before an upgrade."""
    wait_seconds: float | None = None
    """For a run at work; None is as long as one may take."""
    file: Path | None = None
    yes: bool = False
    only: DatabaseKind | None = None
    dry_run: bool = False


def parse(argv: Sequence[str] | None) -> Arguments:
    """Read the command line; ends the process with code 2 on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.care",
        description="Look after one agent's databases and files.",
        epilog="Exit codes: 0 done or rightly nothing to do, 1 it failed, 2 usage or configuration.",
    )
    _add_common(parser, default=None)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, add in _COMMANDS.items():
        words = _HELP[command]
        one = commands.add_parser(command.value, help=words, description=words)
        # without a default of its own, so that it does not undo what stood before the command
        _add_common(one, default=argparse.SUPPRESS)
        add(one)
    values: dict[str, Any] = vars(parser.parse_args(argv))
    values["command"] = Command(values["command"])
    return Arguments(**values)


def _add_common(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    parser.add_argument(
        "--agent", default=default, help="a name in config/; default: AGENT_ID, else rehearsal"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        dest="as_json",
        default=default or False,
        help="print one JSON object",
    )


def _add_upgrade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-backup",
        action="store_false",
        dest="backup",
        help="do not make a backup before the schema is changed",
    )
    parser.add_argument(
        "--wait",
        type=float,
        dest="wait_seconds",
        metavar="SECONDS",
        help="how long a run at work is waited for; default: as long as one may take",
    )


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a backup; default: the agent's latest"
    )
    parser.add_argument("--yes", action="store_true", help="without this, only say what it holds")
    parser.add_argument(
        "--only", type=DatabaseKind, choices=list(DatabaseKind), help="one of the two databases"
    )


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _add_nothing(_: argparse.ArgumentParser) -> None:
    """A command without arguments."""


_COMMANDS = {
    Command.UPGRADE: _add_upgrade,
    Command.BACKUP: _add_nothing,
    Command.RESTORE: _add_restore,
    Command.PRUNE: _add_prune,
}

_HELP = {
    Command.UPGRADE: "bring the databases to this code's schema while nothing else is at work",
    Command.BACKUP: "copy both databases and what lies beside them into one file",
    Command.RESTORE: "fill empty databases from a backup; the agent is halted afterwards",
    Command.PRUNE: "delete transcripts, logs and journals that are kept no longer",
}
