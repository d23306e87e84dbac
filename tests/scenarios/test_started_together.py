"""Everything that may send an agent's orders, started at once, again and again: one at a time gets to work."""

import asyncio
import io
import json
import signal
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any, Protocol, TextIO

import pytest

import startup_monitor
import unified_agent
from market import calendar
from rehearsal.stage import Stage, set_stage
from shared import config_file
from shared.models import Mode, Order, Side
from shared.operate import command
from shared.paths import PROJECT
from tests.fixtures.processes import Child, child
from tests.fixtures.rehearsal import Machine, begin_rehearsal

ROUNDS = 50
ROUNDS_PER_REHEARSAL = 10
ROUND_SECONDS = 60.0
"""A round that takes longer hangs."""
CONNECTIONS_AT_MOST = 3


class Main(Protocol):
    """An entry point."""

    def __call__(
        self,
        argv: list[str],
        *,
        environ: Mapping[str, str],
        stdout: TextIO,
        stderr: TextIO,
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Starter:
    """One way to start something."""

    main: Main
    argv: tuple[str, ...]


STARTERS: Mapping[str, Starter] = {
    "trade": Starter(unified_agent.main, ("--mode", "trade", "--json")),
    "close": Starter(unified_agent.main, ("--mode", "close", "--force", "--json")),
    "scan": Starter(unified_agent.main, ("--mode", "scan", "--force", "--json")),
    "heartbeat": Starter(unified_agent.main, ("--mode", "heartbeat", "--force", "--json")),
    "startup": Starter(startup_monitor.main, ("--json",)),
    "flatten": Starter(command.main, ("flatten", "--why", "all out", "--wait", "20", "--json")),
}
TAKE_TURNS = ("scan", "heartbeat")
"""One of them is left out of each round, as their slots are hours apart."""

MAY_SAY = {
    "trade": {"done", "nothing_to_do", "busy", "interrupted"},
    "close": {"done", "nothing_to_do", "busy"},
    "scan": {"done", "nothing_to_do", "busy", "interrupted"},
    "heartbeat": {"done", "nothing_to_do", "busy", "interrupted"},
    "startup": {"done", "busy"},
    "flatten": {"done", "nothing_to_do", "busy"},
}


def started(machine: Machine, starter: Starter) -> Callable[[Callable[[Any], None]], None]:
    """Return what a forked process does: call main as cron or a person does, and pass on what it said."""

    def work(say: Callable[[Any], None]) -> None:
        out = io.StringIO()
        starter.main(list(starter.argv), environ=machine.environ, stdout=out, stderr=io.StringIO())
        say(json.loads(out.getvalue().splitlines()[-1]))

    return work


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one round."""

    said: Mapping[str, dict[str, Any]]
    ended_early: frozenset[str]
    """Ended by close before they had begun anything that could be written down."""
    connections: Mapping[str, int]
    """The most that each had at once."""


class Watcher:
    """Looks at the server from beside, between the forks."""

    def __init__(self, machine: Machine) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(machine.trading())
        self._most: dict[str, int] = {}

    def orders(self) -> int:
        """How many orders were ever written down."""
        return self._runner.run(self._connection.fetchval("SELECT count(*) FROM orders"))

    def look(self) -> None:
        """Count each process's connections; the server waits a little, so that nobody spins."""
        rows = self._runner.run(
            self._connection.fetch(
                "SELECT split_part(application_name, ' ', 4) AS pid, count(*) AS number"
                " FROM pg_stat_activity, (SELECT pg_sleep(0.015)) AS a_little"
                " WHERE application_name LIKE 'catalyst %' GROUP BY 1"
            )
        )
        for row in rows:
            self._most[row["pid"]] = max(self._most.get(row["pid"], 0), row["number"])

    def most(self, running: Mapping[str, Child]) -> Mapping[str, int]:
        """Say the most that each had at once; somebody unknown stays a number."""
        names = {str(one.pid): name for name, one in running.items()}
        return {names.get(pid, pid): number for pid, number in self._most.items()}

    def close(self) -> None:
        """Look no more."""
        self._runner.run(self._connection.close())
        self._runner.close()


class CloseComes(StrEnum):
    """When close mode is started; it leaves nobody before it in peace."""

    WITH_THE_OTHERS = "with the others"
    AMID_TRADING = "when the trade cycle has written an order down"
    AFTER_TRADING = "when the trade cycle has ended"


def play(machine: Machine, number: int) -> Round:
    """Start everything at once and wait until the last has ended."""
    comes = tuple(CloseComes)[number % 3]
    left_out = TAKE_TURNS[number % 2]
    names = deque(name for name in STARTERS if name not in {left_out, "close"})
    names.rotate(number // 3)
    names.append("close")
    deadline = monotonic() + ROUND_SECONDS
    running: dict[str, Child] = {}
    with ExitStack() as stack:
        watcher = Watcher(machine)
        stack.callback(watcher.close)
        before = watcher.orders()

        def is_due(name: str) -> bool:
            if name != "close" or comes is CloseComes.WITH_THE_OTHERS:
                return True
            if not running["trade"].is_alive():
                return True
            return comes is CloseComes.AMID_TRADING and watcher.orders() > before

        while names or any(one.is_alive() for one in running.values()):
            while names and is_due(names[0]):
                name = names.popleft()
                running[name] = stack.enter_context(child(started(machine, STARTERS[name])))
            watcher.look()
            assert monotonic() < deadline, {name: one.is_alive() for name, one in running.items()}
        codes = {name: one.wait() for name, one in running.items()}
        others = {code for name, code in codes.items() if name != "startup"}
        assert others <= {0, -signal.SIGTERM}, codes
        # what a cycle that was ended left open is not clean until the next one has looked
        assert codes["startup"] in {0, 1}, codes
        said = {name: one.hear() for name, one in running.items() if codes[name] == 0}
        return Round(
            said=said,
            ended_early=frozenset(name for name, code in codes.items() if code < 0),
            connections=watcher.most(running),
        )


def orders_at_the_exchange(machine: Machine) -> tuple[Order, ...]:
    """Ask the paper exchange itself, past every table of ours."""

    settings = config_file.load("rehearsal", {}, project=PROJECT).settings
    table = calendar.load(settings.market.exchange)
    stage = set_stage(settings, machine.home / "rehearsal", table, Mode.CLOSE, force=True)
    assert isinstance(stage, Stage)
    broker = stage.broker()

    async def ask() -> tuple[Order, ...]:
        try:
            return await broker.orders(only_open=False)
        finally:
            await broker.disconnect()

    return asyncio.run(ask())


def assert_nothing_is_twice(machine: Machine) -> None:
    """Hold the database against the exchange: every order once, nothing sold that was not bought."""
    at_exchange = orders_at_the_exchange(machine)
    entries = [order for order in at_exchange if order.side is Side.BUY]
    held: Counter[str] = Counter()
    for order in at_exchange:
        held[order.symbol] += order.filled_quantity * (1 if order.side is Side.BUY else -1)
    ids = Counter(order.client_order_id for order in at_exchange)
    of_slot = Counter((order.symbol, order.submitted_at) for order in entries)
    sent = machine.query("SELECT client_order_id FROM orders WHERE status <> 'not_placed'")
    open_ones = machine.query("SELECT symbol, quantity FROM positions WHERE status = 'open'")

    assert entries
    assert set(ids.values()) == {1}
    assert ids.keys() <= {name for (name,) in sent}
    assert set(of_slot.values()) == {1}
    assert {symbol: number for symbol, number in held.items() if number} == dict(open_ones)


@pytest.mark.parametrize("rehearsal", range(ROUNDS // ROUNDS_PER_REHEARSAL))
def test_of_all_that_are_started_together_one_works_at_a_time(
    machine: Machine, rehearsal: int
) -> None:
    begin_rehearsal(machine)
    assert machine.run("--mode", "scan").exit_code == 0
    ended = Counter[str]()
    for number in range(ROUNDS_PER_REHEARSAL):
        of_round = play(machine, rehearsal + number)
        assert max(of_round.connections.values(), default=0) <= CONNECTIONS_AT_MOST
        assert of_round.connections.keys() <= STARTERS.keys()
        assert of_round.ended_early <= {"trade", "scan", "heartbeat"}
        for name, said in of_round.said.items():
            assert said["status"] in MAY_SAY[name], said
            ended[f"{name} {said['status']}"] += 1
    settled = machine.run("--mode", "heartbeat", "--force")

    assert settled.exit_code == 0, settled.said
    assert_nothing_is_twice(machine)
    assert (
        machine.query(
            "SELECT client_order_id, status FROM orders WHERE status IN ('intent', 'submitting', 'unknown')"
        )
        == []
    )
    assert machine.query("SELECT cycle_id FROM trading_cycles WHERE status = 'running'") == []
    assert ended["flatten busy"] == 0
