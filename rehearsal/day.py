"""`make run`: begins a new rehearsal and plays its slots through the same main that cron calls.

Shows a progress bar while it plays and a table after each session.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import date, tzinfo
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

import unified_agent
from market import calendar as calendars
from market.calendar import Calendar
from rehearsal.bookmark import Bookmark
from rehearsal.stage import begin, describe, forget_old_databases, sessions_to_play
from shared import config_file
from shared.brain import Brain
from shared.clock import SystemClock
from shared.config import Configuration
from shared.embedded_postgres import ensure_running
from shared.environment import read_environment
from shared.errors import CatalystError, ConfigError
from shared.lock import hold
from shared.models import Mode
from shared.paths import PROJECT, data_directory, log_base
from shared.schedule import Slot, slots

AGENT = "rehearsal"

WHO_DECIDES = {
    Brain.STAND_IN: "Decisions: a fixed rule policy stands in for Claude; no model is asked.",
    Brain.CLAUDE: "Decisions: Claude; every call is paid for.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and with what the rehearsal is played."""

    configuration: Configuration
    environ: Mapping[str, str]
    home: Path
    started: float

    def database_url(self, name: str) -> str:
        """URL of one of the embedded databases, as psql takes it."""
        return ensure_running(self.home, environ=self.environ).dsn(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One slot and what main said about it."""

    slot: Slot
    exit_code: int
    outcome: Mapping[str, Any]  # pyright: ignore[reportExplicitAny] (JSON as main prints it)
    complaint: str


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Play the rehearsal; return 0 when every slot ended well, 1 when one failed, 2 on usage."""
    out = stdout or sys.stdout
    arguments = _parse(argv)
    environ = dict(os.environ if environ is None else environ)
    try:
        environment = read_environment(PROJECT, environ)
        configuration = config_file.load(
            AGENT, environment, project=PROJECT, checks=unified_agent.CHECKS
        )
        place = Place(
            configuration=configuration,
            environ=environ,
            home=data_directory(environment),
            started=monotonic(),
        )
        return _play(arguments, place, out)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except CatalystError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _play(
    arguments: argparse.Namespace,
    place: "Place",
    stdout: TextIO,
) -> int:
    settings, home, environ = place.configuration.settings, place.home, place.environ
    calendar = calendars.load(settings.market.exchange)
    folder = home / "rehearsal"
    with hold(
        home / "locks" / f"{AGENT}.lock", agent_id=AGENT, mode=Mode.SCAN, clock=SystemClock()
    ):
        first = begin(
            settings,
            folder,
            calendar,
            data=arguments.data,
            instruments=arguments.instruments,
            session=arguments.session,
        )
        forget_old_databases(ensure_running(home, environ=environ), first.number)
    stdout.write(f"{describe(settings, folder, calendar, first)}\n{WHO_DECIDES[arguments.brain]}\n")
    played: list[Played] = []
    for day in sessions_to_play(settings, calendar, first):
        hours = calendar.session_on(day)
        if hours is None:
            continue
        of_day = _play_session(slots(settings.schedule, hours), arguments.brain, environ, stdout)
        _show_session(day, of_day, calendar, settings.market.currency, stdout)
        played += of_day
    stdout.write(_closing_words(first, played, place))
    return 1 if any(one.exit_code for one in played) else 0


def _play_session(
    of_day: Sequence[Slot], brain: Brain, environ: Mapping[str, str], stdout: TextIO
) -> list[Played]:
    from rich.console import Console
    from rich.progress import Progress

    played: list[Played] = []
    with Progress(console=Console(file=stdout), transient=True) as progress:
        task = progress.add_task("playing", total=len(of_day))
        for slot in of_day:
            progress.update(task, description=f"{slot.mode} {slot.at:%H:%M} UTC")
            played.append(_play_slot(slot, brain, environ))
            progress.advance(task)
    return played


def _play_slot(slot: Slot, brain: Brain, environ: Mapping[str, str]) -> Played:
    """Call main as cron would, and read what it prints."""
    said, complained = io.StringIO(), io.StringIO()
    with redirect_stderr(complained):
        code = unified_agent.main(
            ["--agent", AGENT, "--mode", slot.mode, "--brain", brain, "--json"],
            environ=environ,
            stdout=said,
        )
    last = said.getvalue().strip().splitlines()[-1]
    return Played(
        slot=slot, exit_code=code, outcome=json.loads(last), complaint=complained.getvalue()
    )


def _show_session(
    day: date, played: Sequence[Played], calendar: Calendar, currency: str, stdout: TextIO
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Session of {day} ({calendar.exchange}), times of the exchange")
    for heading, justify in (
        ("time", "left"),
        ("mode", "left"),
        ("decided, and why", "left"),
        ("orders", "right"),
        ("fills", "right"),
        ("refused", "left"),
        (f"P&L {currency}", "right"),
        ("tokens", "right"),
        ("cost USD", "right"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # pyright: ignore[reportArgumentType]
    for one in played:
        table.add_row(*_cells(one, calendar.timezone))
    width = None if stdout.isatty() else 160
    Console(file=stdout, width=width).print(table)
    for one in played:
        if one.exit_code:
            stdout.write(one.complaint)


def _cells(one: Played, zone: tzinfo) -> tuple[str, ...]:
    said = one.outcome
    tokens = sum(
        int(said[name])
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    )
    decided = "\n".join(said["decisions"]) or said["reason"]
    if one.exit_code:
        decided = f"FAILED: {said['reason']}"
    return (
        f"{one.slot.at.astimezone(zone):%H:%M}",
        one.slot.mode,
        decided,
        str(said["orders"] or ""),
        str(said["fills"] or ""),
        "\n".join(said["refusals"]),
        "" if said["session_pnl"] is None else f"{Decimal(said['session_pnl']):+,.2f}",
        f"{tokens:,}" if tokens else "",
        f"{Decimal(said['cost_usd']):.4f}" if tokens else "",
    )


def _closing_words(bookmark: Bookmark, played: Sequence[Played], place: Place) -> str:
    """Sum the rehearsal up, and say where to look next."""
    orders = sum(int(one.outcome["orders"]) for one in played)
    fills = sum(int(one.outcome["fills"]) for one in played)
    refused = sum(len(one.outcome["refusals"]) for one in played)
    logs = (
        log_base(place.environ) / Path(place.configuration.settings.logging.directory).expanduser()
    )
    return "\n".join(
        (
            f"{len(played)} slots in {monotonic() - place.started:.1f} s: {orders} orders sent,"
            f" {fills} fills, {refused} reasons for refusals.",
            "",
            "Where to look next:",
            f"  the log               {logs / AGENT}.jsonl",
            f"  the database          {place.database_url(bookmark.database_name)}",
            "  the next session      .venv/bin/python unified_agent.py --mode scan (then trade, close,"
            " heartbeat)",
            "  recorded bars         make run DATA=/path/to/bars.csv.gz",
            "  Claude decides        ANTHROPIC_API_KEY=... make run BRAIN=claude",
            "  stop the database     make stop",
            "",
        )
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make run", description="Play a rehearsal from its start."
    )
    parser.add_argument("--data", type=_existing, help="recorded bars: a CSV file or a folder")
    parser.add_argument("--instruments", type=_existing, help="what the symbols of --data are")
    parser.add_argument("--session", type=date.fromisoformat, help="play this date only")
    parser.add_argument("--brain", default=Brain.STAND_IN, type=Brain, choices=list(Brain))
    return parser.parse_args(argv)


def _existing(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.exists():
        msg = f"{text} does not exist"
        raise argparse.ArgumentTypeError(msg)
    return path


if __name__ == "__main__":
    sys.exit(main())
