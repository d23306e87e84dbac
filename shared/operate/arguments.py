"""The command line of `python -m shared.operate`, understood."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Command(StrEnum):
    """What can be ordered, and what can be asked."""

    HALT = "halt"
    REDUCE = "reduce"
    RESUME = "resume"
    FLATTEN = "flatten"
    STATUS = "status"
    ORDERS = "orders"
    WHY = "why"
    SHOW_CONFIG = "show-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """One command; fields that it does not have keep their default."""

    command: Command
    agent: str | None = None
    as_json: bool = False
    why: str = ""
    symbol: str | None = None
    wait_seconds: float = 0.0
    live: bool = False
    everything: bool = False
    cycle_id: str = ""


def parse(argv: Sequence[str] | None) -> Arguments:
    """Read the command line; ends the process with code 2 on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.operate",
        description="Order or ask something of one agent. What changes something is written down.",
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


def _add_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", required=True, type=_reason, metavar="TEXT", help="is kept")


def _add_flatten(parser: argparse.ArgumentParser) -> None:
    _add_why(parser)
    parser.add_argument("--symbol", type=str.upper, help="only this one; default: all positions")
    parser.add_argument(
        "--wait",
        type=float,
        default=30.0,
        dest="wait_seconds",
        metavar="SECONDS",
        help="how long a running cycle is waited for; default 30",
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", action="store_true", help="ask the broker for the account too")


def _add_orders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all",
        action="store_true",
        dest="everything",
        help="also those that were over before the session",
    )


def _add_cycle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cycle_id", metavar="CYCLE_ID", help="as `status` lists them")


def _add_nothing(_: argparse.ArgumentParser) -> None:
    """A command without arguments."""


def _reason(text: str) -> str:
    if not text.strip():
        msg = "a reason is needed, was empty"
        raise argparse.ArgumentTypeError(msg)
    return text.strip()


_COMMANDS = {
    Command.HALT: _add_why,
    Command.REDUCE: _add_why,
    Command.RESUME: _add_why,
    Command.FLATTEN: _add_flatten,
    Command.STATUS: _add_status,
    Command.ORDERS: _add_orders,
    Command.WHY: _add_cycle,
    Command.SHOW_CONFIG: _add_nothing,
}

_HELP = {
    Command.HALT: "open no positions until somebody resumes; works without the database too",
    Command.REDUCE: "leave and protect positions, open none, until somebody resumes",
    Command.RESUME: "lift what keeps the agent from trading",
    Command.FLATTEN: "sell the positions that the agent opened, by the same rules as every order",
    Command.STATUS: "what the agent may do, holds, earned, spent, and did last",
    Command.ORDERS: "orders with everything that was noticed about them",
    Command.WHY: "what one cycle saw, decided and did",
    Command.SHOW_CONFIG: "the configuration in force, secrets hidden",
}
