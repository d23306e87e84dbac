"""The database goes away at any commit of a cycle: the run says so and exits 1, and the next one knows everything."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rehearsal.stand_in import Policy
from shared.database.connection import Connection
from shared.embedded_postgres import Server
from shared.models import Mode
from tests.faults.points import Points, watched_connection
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.databases import drop_database, new_database, open_connection
from tests.fixtures.faults import Say
from tests.fixtures.theatre import Tape, Theatre, sale_of, trade_of

FEWEST_POINTS = 40


def buys() -> Policy:
    return scripted([call("execute_trade", trade_of(10))], [LOG], [DONE])


def sells() -> Policy:
    return scripted([call("execute_trade", sale_of(10))], [LOG], [DONE])


def quiet() -> Policy:
    return scripted([LOG], [DONE])


Story = tuple[str, tuple[tuple[Mode, Callable[[], Policy]], ...], tuple[Mode, Callable[[], Policy]]]
STORIES: tuple[Story, ...] = (
    ("a cycle that enters", (), (Mode.TRADE, buys)),
    ("a cycle that leaves", ((Mode.TRADE, buys),), (Mode.TRADE, sells)),
)


def killer(server: Server, pid: int) -> Callable[[], None]:
    """Return what ends the server's side of a connection, while its owner's loop stands still."""

    async def terminate() -> None:
        admin = await asyncpg.connect(server.dsn("postgres"))
        await admin.execute("SELECT pg_terminate_backend($1)", pid)
        await admin.close()

    def kill() -> None:
        thread = threading.Thread(target=asyncio.run, args=(terminate(),))
        thread.start()
        thread.join()

    return kill


def losing_the_answer(kill: Callable[[], None]) -> Callable[[], None]:
    """The commit happened, and nobody hears of it."""

    def lose() -> None:
        kill()
        raise asyncpg.ConnectionDoesNotExistError("the connection was closed in the middle")

    return lose


@asynccontextmanager
async def a_theatre(
    server: Server, trading_template: str, research: Connection, folder: Path
) -> AsyncGenerator[tuple[Theatre, str]]:
    folder.mkdir()  # noqa: ASYNC240 (nobody waits for it)
    name = await new_database(server, template=trading_template)
    trading = await open_connection(server.dsn(name))
    data = Tape(folder / "tape").write()
    theatre = Theatre(folder / "rehearsal", data, trading, research)
    try:
        yield theatre, server.dsn(name)
    finally:
        theatre.trading.terminate()
        await drop_database(server, name)


async def missing(theatre: Theatre, sent: int) -> list[str]:
    """Say what a run that lost its database left behind, after the runs that followed it."""
    found: list[str] = []
    orders = await theatre.broker_orders()
    entries = [order for order in orders if order.side == "buy"]
    if len(entries) > sent:
        found.append(f"{len(entries)} entries at the broker")
    held = sum(o.filled_quantity if o.side == "buy" else -o.filled_quantity for o in orders)
    found += await _rows_that_are_wrong(theatre)
    for order in orders:
        rows = await theatre.rows(
            f"SELECT status FROM orders WHERE client_order_id = '{order.client_order_id}'"  # noqa: S608
        )
        if [row["status"] for row in rows] != [order.status]:
            found.append(f"order {order.client_order_id} is {order.status}, known is {rows}")
    ours = await theatre.rows(
        "SELECT coalesce(sum(quantity), 0) AS held FROM positions WHERE status = 'open'"
    )
    legs = await theatre.rows("SELECT count(*) AS n FROM orders WHERE parent_order_id IS NOT NULL")
    if ours[0]["held"] != max(held, 0) and not legs:
        found.append(f"{held} shares are held, {ours[0]['held']} are known")
    return found


async def _rows_that_are_wrong(theatre: Theatre) -> list[str]:
    checks = {
        "a cycle is still running": "SELECT FROM trading_cycles WHERE status = 'running'",
        "a cycle is said to have died": (
            "SELECT FROM trading_cycles WHERE reason = 'the process ended without finishing'"
        ),
        "an order is unresolved": (
            "SELECT FROM orders WHERE status IN ('intent', 'submitting', 'unknown')"
        ),
        "a tool was called that has no row": (
            "SELECT FROM trading_cycles c WHERE cardinality(tools_called) <>"
            " (SELECT count(*) FROM tool_calls t WHERE t.cycle_id = c.cycle_id)"
        ),
        "a piece of a transcript is missing": (
            "SELECT FROM cycle_transcripts GROUP BY cycle_id HAVING count(*) <> max(sequence)"
        ),
        "money does not add up": (
            "SELECT FROM budget_days b WHERE spent_usd + reserved_usd <> (SELECT"
            " sum(coalesce(cost_usd, reserved_usd)) FROM claude_calls c"
            " WHERE c.budget_date = b.budget_date)"
        ),
        "a line of the journal contradicts": "SELECT FROM journal_replays WHERE result = 'begun'",
    }
    return [what for what, sql in checks.items() if await theatre.rows(sql)]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story[0].replace(" ", "-"))
async def test_the_database_killed_at_every_commit_loses_nothing(
    story: Story,
    postgres_server: Server,
    trading_template: str,
    research_connection: Connection,
    tmp_path: Path,
    say: Say,
) -> None:
    name, before, (mode, policy) = story
    bad: list[str] = []

    async def play(at: int | None, folder: Path) -> list[str]:
        async with a_theatre(postgres_server, trading_template, research_connection, folder) as (
            theatre,
            url,
        ):
            for earlier_mode, earlier in before:
                await theatre.run(earlier_mode, earlier())
            kill = killer(postgres_server, theatre.trading.get_server_pid())
            points = Points(at=at)
            real = theatre.trading
            theatre.trading = watched_connection(real, points)
            points.act = _at_a(points, kill)
            try:
                outcome: Any = await theatre.run(mode, policy())
            except Exception as error:  # noqa: BLE001 (before its row is written a run has no outcome)
                outcome = error
            if at is None:
                assert outcome.exit_code == 0
                return points.names
            ended_well = getattr(outcome, "exit_code", 1) == 0
            # the last commit of all may be lost when everything is done
            bad.extend([f"{points.names[at]} ({at}): ended well"] if ended_well else [])
            real.terminate()
            theatre.trading = await open_connection(url)
            for _ in range(2):
                after = await theatre.run(Mode.TRADE, quiet())
                if after.exit_code != 0:
                    bad.append(f"{points.names[at]} ({at}): the next run says {after.reason}")
            found = await missing(theatre, 1)
            bad.extend(f"{points.names[at]} ({at}): {what}" for what in found)
            return points.names

    names = await play(None, tmp_path / "undisturbed")
    for at in range(len(names)):
        await play(at, tmp_path / f"killed-{at}")

    say(f"{name}: the database was killed at each of {len(names)} points around commits")
    assert not bad, "\n".join(bad)
    assert len(names) >= FEWEST_POINTS


def _at_a(points: Points, kill: Callable[[], None]) -> Callable[[], None]:
    """Before a commit the server goes; after one its answer is lost too."""

    def act() -> None:
        if points.names[-1].startswith("before"):
            kill()
        else:
            losing_the_answer(kill)()

    return act


def test_the_stake_of_the_stories_is_what_the_rules_allow() -> None:
    assert Decimal(str(trade_of(10)["limit_price"])) * 10 < 5000
