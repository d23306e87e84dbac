"""Accounts, answers, files and servers that are not what they should be."""

import asyncio
import socket
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.desk import Refused
from shared import config_file
from shared.database.connection import Connection
from shared.errors import ConfigError
from shared.migrate import check
from shared.models import Account, Environment, Mode, Order
from shared.order_life import OrderState
from shared.outcome import Status
from shared.paths import PROJECT
from shared.sql import DatabaseKind
from tests.faults.cases import case
from tests.faults.steps import bought, buys, entry_state, quiet
from tests.fixtures.floor import SYMBOL, Floor, Watching, draft, record_of
from tests.fixtures.rehearsal import Machine
from tests.fixtures.theatre import Theatre


@case(
    "F42",
    "another account answers",
    injected="the account's id differs from the one the database is pinned to",
    orders=0,
    verdict="exit 2 with one sentence; nothing is sent",
)
async def test_f42_an_account_that_changed_is_refused(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, quiet())
    await theatre.trading.execute("UPDATE account_pins SET account_id = 'PAPER-OTHER'")
    outcome = await theatre.run(Mode.TRADE, buys())

    assert (outcome.status, outcome.exit_code) == (Status.USAGE, 2)
    assert "belongs to account PAPER-OTHER" in outcome.reason


@case(
    "F43",
    "garbage where a number belongs",
    injected="the account's equity is no number",
    orders=0,
    verdict="no entry; a person is told; positions could still be left",
)
async def test_f43_an_equity_that_is_no_number_buys_nothing(theatre: Theatre) -> None:
    theatre.equity = Decimal("NaN")
    outcome = await theatre.run(Mode.TRADE, buys())

    assert outcome.exit_code == 0
    assert "NOT_FINITE" in outcome.refusals
    assert "the account's equity is not a number" in outcome.alerts


class Garbling(Watching):
    """A broker whose answer to an order cannot be parsed."""

    async def place_order(self, approved: Any) -> Order:
        await super().place_order(approved)
        msg = "Expecting value: line 1 column 1: <html><h1>502 Bad Gateway</h1>"
        raise ValueError(msg)


async def test_an_order_whose_answer_cannot_be_parsed_is_unknown_and_adopted(floor: Floor) -> None:
    desk = await floor.desk(broker=Garbling(floor.venue.broker))
    with pytest.raises(ValueError, match="502 Bad Gateway"):
        await desk.enter(draft(), why="volume")
    before = await entry_state(floor)
    await floor.tidy()

    assert before == OrderState.UNKNOWN
    assert await entry_state(floor) == "filled"
    assert len(floor.at_broker()) == 1


class Live(Watching):
    """A broker whose account says that its money is real."""

    async def account(self) -> Account:
        found: Account = await super().account()
        return replace(found, environment=Environment.LIVE)


async def test_on_a_live_account_nothing_is_entered(floor: Floor) -> None:
    desk = await floor.desk(broker=Live(floor.venue.broker))
    submission = await desk.enter(draft(), why="volume")

    assert isinstance(submission, Refused)
    assert submission.refusal.codes == ("ACCOUNT",)
    assert floor.at_broker() == ()


class Nameless(Watching):
    """A broker that takes an order and answers without saying what it calls it."""

    async def place_order(self, approved: Any) -> Order:
        return replace(await super().place_order(approved), broker_order_id="")


@case(
    "F44",
    "an answer with an empty field",
    injected="the answer to the order has no broker's id",
    orders=1,
    verdict="UNKNOWN, not believed; found by its own id in the next cycle",
)
async def test_f44_an_answer_without_an_id_is_not_believed(floor: Floor) -> None:
    desk = await floor.desk(broker=Nameless(floor.venue.broker))
    record = record_of(await desk.enter(draft(), why="volume"))
    await (await floor.desk()).synchronise()

    assert record.status is OrderState.UNKNOWN
    assert await entry_state(floor) == "filled"


@case(
    "F45",
    "a misspelt setting",
    injected="max_position instead of max_positions in the YAML",
    orders=0,
    verdict="exit 2 with the line and the right name; nothing starts",
)
def test_f45_a_misspelt_setting_is_said_with_its_line(tmp_path: Path) -> None:
    text = (PROJECT / "config" / "rehearsal.yaml").read_text()
    (tmp_path / "config").mkdir()
    wrong = text.replace("max_positions: 15", "max_position: 15")
    (tmp_path / "config" / "rehearsal.yaml").write_text(wrong)
    line = 1 + wrong[: wrong.index("max_position: 15")].count("\n")
    with pytest.raises(ConfigError) as raised:
        config_file.load("rehearsal", {}, project=tmp_path)

    assert f":{line}" in str(raised.value)
    assert "max_positions" in str(raised.value)


@case(
    "F46",
    "a full disk",
    injected="the local journal cannot be written while a position is left",
    orders=2,
    verdict="sold all the same: the database remembers the sale",
)
async def test_f46_a_full_disk_keeps_nobody_in_a_position(floor: Floor) -> None:
    await bought(floor)
    journal = next((floor.home / "journal").glob("*.jsonl"), None)
    executor = await floor.cycle()
    path = executor._place.books.journal.path
    path.parent.mkdir(exist_ok=True)
    if journal is not None:
        journal.unlink()
    path.symlink_to("/dev/full")
    (sale,) = await executor.orders.exit(SYMBOL, why="enough")

    assert record_of(sale).status is OrderState.FILLED
    assert floor.held() == 0


@case(
    "F47",
    "nobody takes the mail",
    injected="the mail server refuses every connection",
    orders=0,
    verdict="the run goes on; the alert stays queued for the next one",
)
def test_f47_a_mail_server_that_is_gone_stops_nothing(new_rehearsal: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        environ = {
            **new_rehearsal.environ,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(taken.getsockname()[1]),
            "SMTP_TLS": "none",
            "SMTP_FROM": "catalyst@example.com",
            "ALERT_EMAIL": "person@example.com",
        }
        new_rehearsal.run("--mode", "scan", environ=environ)
        _queue_an_alert(new_rehearsal)
        run = new_rehearsal.run("--mode", "heartbeat", environ=environ)

    assert run.exit_code == 0
    assert ("look", "queued") in new_rehearsal.query("SELECT subject, status FROM alerts")


@case(
    "F48",
    "a database from the future",
    injected="the database has a migration that the code does not know",
    orders=0,
    verdict="exit 2: the code is older than its database",
)
async def test_f48_a_database_that_is_newer_than_the_code_is_refused(
    trading_connection: Connection,
) -> None:
    await trading_connection.execute(
        "INSERT INTO schema_migrations (name, sha256) VALUES ('9999_later.sql', 'x')"
    )
    with pytest.raises(ConfigError, match="9999_later"):
        await check(trading_connection, DatabaseKind.TRADING)


def _queue_an_alert(machine: Machine) -> None:
    async def queue() -> None:
        connection = await machine.trading()
        await connection.execute(
            "INSERT INTO alerts (agent_id, severity, subject, body, dedupe_key, queued_on, queued_at,"
            " status, attempts) VALUES ('rehearsal', 'critical', 'look', 'b', 'k', '2026-06-15',"
            " '2026-06-15T12:00:00Z', 'queued', 0)"
        )
        await connection.close()

    asyncio.run(queue())
