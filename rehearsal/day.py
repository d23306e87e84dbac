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
from datetime import date
from pathlib import Path
from time import monotonic
from typing import TextIO

import startup_monitor
import unified_agent
from market import calendar as calendars
from rehearsal.bookmark import Bookmark, newest
from rehearsal.report import WHO_DECIDES, Played, Scene, show_session, totals
from rehearsal.stage import begin, describe, forget_other_databases, sessions_to_play
from shared import config_file
from shared.brain import Brain
from shared.clock import SystemClock
from shared.config import Settings
from shared.embedded_postgres import ensure_running
from shared.environment import read_environment
from shared.errors import CatalystError, ConfigError
from shared.lock import hold
from shared.models import Mode
from shared.paths import PROJECT, data_directory, log_base
from shared.schedule import Slot, slots

AGENT = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Theatre:
    """Where, with what and for whom a rehearsal is played."""

    settings: Settings
    calendar: calendars.Calendar
    environ: Mapping[str, str]
    home: Path
    brain: Brain
    out: TextIO

    @property
    def folder(self) -> Path:
        """Where the bookmark, the sessions and the exchanges lie."""
        return self.home / "rehearsal"

    @property
    def scene(self) -> Scene:
        """What the tables are about."""
        return Scene(
            exchange=self.calendar.exchange,
            timezone=self.calendar.timezone,
            currency=self.settings.market.currency,
            brain=self.brain,
        )


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Play the rehearsal; return 0 when every slot ended well, 1 when one failed, 2 on usage."""
    arguments = _parse(argv)
    try:
        environ = read_environment(PROJECT, os.environ if environ is None else environ)
        settings = config_file.load(
            AGENT, environ, project=PROJECT, checks=unified_agent.CHECKS
        ).settings
        theatre = Theatre(
            settings=settings,
            calendar=calendars.load(settings.market.exchange),
            environ=environ,
            home=data_directory(environ),
            brain=arguments.brain,
            out=stdout or sys.stdout,
        )
        return _play(theatre, _begin(theatre, arguments))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except CatalystError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _begin(theatre: Theatre, arguments: argparse.Namespace) -> Bookmark:
    """Begin a rehearsal with an account and databases of its own; the one before is kept."""
    lock = theatre.home / "locks" / f"{AGENT}.lock"
    with hold(lock, agent_id=AGENT, mode=Mode.SCAN, clock=SystemClock()):
        before = newest(theatre.folder)
        first = begin(
            theatre.settings,
            theatre.folder,
            theatre.calendar,
            data=arguments.data,
            instruments=arguments.instruments,
            session=arguments.session,
        )
        server = ensure_running(theatre.home, environ=theatre.environ)
        forget_other_databases(server, [first] if before is None else [before, first])
    return first


def _play(theatre: Theatre, first: Bookmark) -> int:
    started = monotonic()
    settings, calendar, out = theatre.settings, theatre.calendar, theatre.out
    what = describe(settings, theatre.folder, calendar, first)
    out.write(f"{what}\n{WHO_DECIDES[theatre.brain]}\n")
    out.flush()
    played: list[Played] = []
    codes: list[int] = []
    for day in sessions_to_play(settings, calendar, first):
        hours = calendar.session_on(day)
        if hours is None:
            continue
        codes.append(_compare(theatre))
        of_day = _play_session(slots(settings.schedule, hours), theatre)
        show_session(day, of_day, theatre.scene, out)
        played += of_day
        if of_day[-1].ends_it:
            break
    out.write(f"{totals(played, monotonic() - started, theatre.scene)}\n\n")
    out.write(_where_to_look(first, theatre))
    return 1 if any(codes) or any(one.failed for one in played) else 0


def _play_session(of_day: Sequence[Slot], theatre: Theatre) -> list[Played]:
    """Play slot by slot, until one says that it makes no sense to go on."""
    from rich.console import Console
    from rich.progress import Progress

    played: list[Played] = []
    with Progress(console=Console(file=theatre.out), transient=True) as progress:
        task = progress.add_task("playing", total=len(of_day))
        for slot in of_day:
            progress.update(task, description=f"{slot.mode} {slot.at:%H:%M} UTC")
            played.append(_play_slot(slot, theatre))
            if played[-1].ends_it:
                break
            progress.advance(task)
    return played


def _compare(theatre: Theatre) -> int:
    """Compare broker and database before a session, as cron does, and show what that came to."""
    complained = io.StringIO()
    with redirect_stderr(complained):
        code = startup_monitor.main(
            ["--agent", AGENT, "--json"],
            environ={**theatre.environ, "PING_URL": ""},
            stdout=io.StringIO(),
            stderr=complained,
        )
    last = complained.getvalue().strip().splitlines()[-1]
    theatre.out.write(f"Before the session: {last}\n")
    theatre.out.flush()
    return code


def _play_slot(slot: Slot, theatre: Theatre) -> Played:
    """Call main as cron would, and read what it prints."""
    said, complained = io.StringIO(), io.StringIO()
    with redirect_stderr(complained):
        code = unified_agent.main(
            ["--agent", AGENT, "--mode", slot.mode, "--brain", theatre.brain, "--json"],
            environ={**theatre.environ, "PING_URL": ""},  # nobody watches a rehearsal
            stdout=said,
        )
    last = said.getvalue().strip().splitlines()[-1]
    return Played(
        slot=slot, exit_code=code, outcome=json.loads(last), complaint=complained.getvalue()
    )


def _where_to_look(bookmark: Bookmark, theatre: Theatre) -> str:
    logs = log_base(theatre.environ) / Path(theatre.settings.logging.directory).expanduser()
    sockets = ensure_running(theatre.home, environ=theatre.environ).socket_directory
    agent = ".venv/bin/python unified_agent.py"
    going_on = (f"  the next session      {agent} --mode scan, then trade, close, heartbeat",)
    return "\n".join(
        (
            "Where to look next:",
            f"  the log               {logs / AGENT}.jsonl",
            f"  the database          psql -h {sockets} -U postgres {bookmark.database_name}",
            *(going_on if bookmark.data is None and not bookmark.only_session else ()),
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
