"""What a pass of the position monitor costs, from a breach to the exit order, and whether its memory grows.

`.venv/bin/python -m benchmarks.watch_cost [PASSES]`; a real database, the paper exchange, the session that a
rehearsal generates. Everything is measured in one run, beside a bare round trip to the database.
"""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import unified_agent
from brokers.base import Broker
from guard import Guard
from market import calendar
from rehearsal.stage import NotDue, set_stage
from shared import config_file
from shared.config import Configuration
from shared.database.fences import Role, answers, take_token
from shared.database.opening import Research, open_databases
from shared.journal.books import open_books
from shared.models import Mode
from workplace import open_workplace

WRITES = {"place_order", "replace_order"}
PROJECT = Path(__file__).resolve().parent.parent
WEEK = 5 * 390
"""Passes of a week in New York, one a minute."""
MINUTES_WITH_AN_EXIT = 239
"""So near the close a position is left, in this benchmark: all that are held are at once."""


@dataclass(slots=True)
class Timed:
    """Adds up the time that others take."""

    seconds: float = 0.0
    writes_at: list[float] = field(default_factory=list[float])


def main(passes: int = WEEK) -> None:
    """Measure quiet passes and one in which everything is left, and print milliseconds and megabytes."""
    with tempfile.TemporaryDirectory(prefix="catalyst-benchmark-", dir="/tmp") as home:
        Path(home).chmod(0o711)
        environ = {**os.environ, "CATALYST_HOME": home, "PING_URL": ""}
        try:
            for mode in ("scan", *["trade"] * 5):
                unified_agent.main(["--agent", "rehearsal", "--mode", mode], environ=environ)
            asyncio.run(_measure(Path(home), environ, passes))
        finally:
            subprocess.run(
                [sys.executable, "-m", "shared.embedded_postgres", "stop", "--directory", home],
                cwd=PROJECT,
                check=True,
            )


async def _measure(home: Path, environ: Mapping[str, str], passes: int) -> None:
    configuration = config_file.load("rehearsal", {}, project=PROJECT)
    async with AsyncExitStack() as stack:
        guard, others = await _open(stack, configuration, home, environ)
        trip = await _round_trip(guard)
        quiet: list[float] = []
        early = 0.0
        for number in range(passes):
            started, before = perf_counter(), others.seconds
            watched = (await guard.make_pass()).watched
            own = perf_counter() - started - (others.seconds - before)
            quiet.append(own / max(1, watched))
            if number == passes // 10:
                early = _megabytes()
            await guard.place.clock.sleep(1)
        _say("a round trip to the database", trip, trip)
        _say("a quiet pass, per position", statistics.median(quiet), trip)
        sys.stdout.write(
            f"memory after {passes // 10} passes {early:.0f} MB, after {passes} {_megabytes():.0f} MB\n"
        )
        await _breach(guard, others, trip)


async def _breach(guard: Guard, others: Timed, trip: float) -> None:
    """Let every position be one to leave at once, and time the first and the last order from the poll on."""
    signals = guard.place.settings.signals.model_copy(
        update={"minutes_to_close": MINUTES_WITH_AN_EXIT, "minutes_to_close_soon": 240}
    )
    settings = guard.place.settings.model_copy(update={"signals": signals})
    guard.place = replace(guard.place, settings=settings)
    others.writes_at.clear()
    started, before = perf_counter(), others.seconds
    made = await guard.make_pass()
    own = perf_counter() - started - (others.seconds - before)
    if not others.writes_at:
        sys.stdout.write("nothing was left\n")
        return
    _say("breach to the first exit order", others.writes_at[0] - started, trip)
    _say(f"own work for each of {len(made.left)} exits", own / len(made.left), trip)


async def _open(
    stack: AsyncExitStack, configuration: Configuration, home: Path, environ: Mapping[str, str]
) -> tuple[Guard, Timed]:
    settings = configuration.settings
    table = calendar.load(settings.market.exchange)
    stage = set_stage(settings, home / "rehearsal", table, Mode.SCAN, force=True)
    if isinstance(stage, NotDue):
        raise SystemExit(stage.why)
    databases = await open_databases(
        stack,
        configuration,
        environ=environ,
        home=home,
        embedded_names=(stage.bookmark.database_name, ""),
        research=Research.NOT_NEEDED,
    )
    books = await open_books(
        databases.trading, home=home, agent_id="rehearsal", clock=stage.clock, role=Role.MONITOR
    )
    sender = await take_token(
        databases.trading,
        agent_id="rehearsal",
        role=Role.MONITOR,
        mode=Mode.MONITOR,
        host="benchmark",
        pid=os.getpid(),
        at=stage.clock.now(),
    )
    row = await databases.trading.fetchval(
        "SELECT max(cycle_id) FROM trading_cycles WHERE mode = 'monitor'"
    )
    place = await open_workplace(
        stack,
        settings=settings,
        stage=stage,
        books=books,
        mode=Mode.MONITOR,
        sender=sender,
        cycle_id=str(row),
        dry_run=False,
    )
    timed = Timed()
    place = replace(place, broker=_Stopwatch(place.broker, timed))
    guard = Guard(place=place, calendar=table, reviewer=None, review_system="")
    return guard, timed


class _Stopwatch:
    """A broker whose time is counted apart: it is not our own work."""

    def __init__(self, broker: Broker, timed: Timed) -> None:
        self._broker: Broker = broker
        self._timed: Timed = timed

    def __getattr__(self, name: str) -> Any:  # pyright: ignore[reportExplicitAny] (whatever a broker has)
        found: Any = getattr(self._broker, name)  # pyright: ignore[reportExplicitAny]
        return self._counting(name, found) if callable(found) else found

    def _counting(self, name: str, asked: Callable[..., Any]) -> Callable[..., Awaitable[object]]:  # pyright: ignore[reportExplicitAny]
        async def call(*arguments: object, **named: object) -> object:
            if name in WRITES:
                self._timed.writes_at.append(perf_counter())
            started = perf_counter()
            try:
                return await asked(*arguments, **named)
            finally:
                self._timed.seconds += perf_counter() - started

        return call


async def _round_trip(guard: Guard) -> float:
    async def once() -> float:
        started = perf_counter()
        await answers(guard.place.connection)
        return perf_counter() - started

    return statistics.median([await once() for _ in range(200)])


def _say(what: str, seconds: float, trip: float) -> None:
    sys.stdout.write(f"{what:34} {seconds * 1000:8.2f} ms {seconds / trip:7.1f} x\n")


def _megabytes() -> float:
    """Memory in use now, not the most that ever was."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else WEEK)
