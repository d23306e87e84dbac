"""The store keeps what was answered, through restarts, kills and a second process."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.paper_exchange import PaperExchange
from brokers.paper_store import STORE_VERSION
from shared.clock import ManualClock
from shared.errors import BrokerUnavailable, ConfigError, OrderOutcomeUnknown
from shared.models import Quote
from tests.brokers.approvals import approved
from tests.brokers.order_requests import bracket, buy, stop
from tests.brokers.paper_venue import START, PaperVenue, week_of_new_york
from tests.brokers.replay import MINUTE, MemoryReplay

ROOT = Path(__file__).parents[2]

_PLAYER = """
import json, os, signal, sys
from decimal import Decimal
from pathlib import Path
from brokers.paper_exchange import PaperExchange
from shared.clock import ManualClock
from tests.brokers.order_requests import buy
from tests.brokers.paper_venue import START, week_of_new_york
from dataclasses import replace

store, name, count, die_at_quote = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

class Deadly:
    asked = 0

    def __init__(self, replay):
        self.replay = replay

    def __getattr__(self, attribute):
        return getattr(self.replay, attribute)

    def quote(self, symbol, at):
        Deadly.asked += 1
        if Deadly.asked == die_at_quote:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.replay.quote(symbol, at)

exchange = PaperExchange(
    Path(store), Deadly(week_of_new_york()), ManualClock(START), account_id="paper-1",
    currency="USD", starting_cash=Decimal(100000), volume_share_pct=Decimal(10),
)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    order = exchange.place(replace(buy(1), client_order_id=f"{name}-{number}"))
    print(order.client_order_id, flush=True)
"""


def open_exchange(store: Path, **changes: str) -> PaperExchange:
    wanted = {"account_id": "paper-1", "currency": "USD"} | changes
    return PaperExchange(
        store,
        week_of_new_york(),
        ManualClock(START),
        account_id=wanted["account_id"],
        currency=wanted["currency"],
        starting_cash=Decimal(100000),
        volume_share_pct=Decimal(10),
    )


def player(store: Path, name: str, count: int, die_at_quote: int = 0) -> subprocess.Popen[str]:
    arguments = [str(store), name, str(count), str(die_at_quote)]
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAYER, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    venue = PaperVenue(tmp_path / "deep" / "paper.sqlite3")
    venue.exchange.place(bracket(50, 101))
    before = (
        venue.exchange.account(),
        venue.exchange.positions(),
        venue.exchange.orders(only_open=False),
    )
    venue.exchange.close()
    with closing(open_exchange(tmp_path / "deep" / "paper.sqlite3")) as again:
        after = (again.account(), again.positions(), again.orders(only_open=False))

    assert after == before


def test_starting_cash_counts_for_a_new_account_only(tmp_path: Path) -> None:
    store = tmp_path / "paper.sqlite3"
    with closing(open_exchange(store)) as exchange:
        exchange.place(buy(100))
    with closing(open_exchange(store)) as again:
        cash = again.account().cash

    assert cash == Decimal("89999.00")


@pytest.mark.parametrize(
    ("change", "text"), [({"account_id": "other"}, "paper-1"), ({"currency": "HKD"}, "in USD")]
)
def test_a_store_of_another_account_or_currency_is_refused(
    tmp_path: Path, change: dict[str, str], text: str
) -> None:
    store = tmp_path / "paper.sqlite3"
    open_exchange(store).close()

    with pytest.raises(ConfigError, match=text):
        open_exchange(store, **change)


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "paper.sqlite3"
    open_exchange(store).close()
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    before = store.read_bytes()

    with pytest.raises(ConfigError, match=f"store version {STORE_VERSION + 1}"):
        open_exchange(store)
    assert store.read_bytes() == before


def test_a_file_that_is_no_store_is_unavailable(tmp_path: Path) -> None:
    store = tmp_path / "paper.sqlite3"
    store.write_text("not a database, and long enough to be looked at as one\n" * 20)

    with pytest.raises(BrokerUnavailable, match=r"paper\.sqlite3"):
        open_exchange(store)


def test_a_currency_without_fees_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="EUR"):
        open_exchange(tmp_path / "paper.sqlite3", currency="EUR")


def test_commits_reach_the_disk_before_they_are_answered(tmp_path: Path) -> None:
    with closing(open_exchange(tmp_path / "paper.sqlite3")) as exchange:
        connection = exchange._store._connection
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()

    full = 2
    assert synchronous == full


def test_a_call_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    with closing(open_exchange(tmp_path / "paper.sqlite3")) as exchange:
        exchange.place(buy(10, 90))
        written = exchange._store._connection.total_changes
        exchange.orders(only_open=True)
        exchange.account()
        after_reads = exchange._store._connection.total_changes
        exchange.place(buy(10, 91))
        after_order = exchange._store._connection.total_changes

    assert after_reads == written
    # the order's own row and the account's
    assert after_order == written + 2


@pytest.mark.parametrize("die_at_quote", [5, 6])
def test_a_kill_in_the_middle_of_an_operation_leaves_all_or_nothing_of_it(
    tmp_path: Path, die_at_quote: int
) -> None:
    store = tmp_path / "paper.sqlite3"
    process = player(store, "killed", 100, die_at_quote)
    answered = process.communicate("go\n", timeout=60)[0].split()
    with closing(open_exchange(store)) as exchange:
        orders = exchange.orders(only_open=False)
        account = exchange.account()

    assert process.returncode == -9
    assert [order.client_order_id for order in orders] == answered == ["killed-0", "killed-1"]
    assert account.cash == 100_000 - 2 * Decimal("100.01")


def test_a_kill_at_any_moment_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    store = tmp_path / "paper.sqlite3"
    process = player(store, "killed", 10_000)
    assert process.stdout is not None
    go(process)
    answered = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    answered += process.communicate(timeout=60)[0].split()
    with closing(open_exchange(store)) as exchange:
        orders = exchange.orders(only_open=False)
        account = exchange.account()
    kept = [order.client_order_id for order in orders]

    assert kept[: len(answered)] == answered
    assert len(kept) - len(answered) in {0, 1}
    assert account.cash == 100_000 - len(kept) * Decimal("100.01")


def test_two_processes_on_one_store_take_turns(tmp_path: Path) -> None:
    store = tmp_path / "paper.sqlite3"
    both = [player(store, name, 40) for name in ("one", "two")]
    for process in both:
        go(process)
    answered = {name for process in both for name in process.communicate(timeout=60)[0].split()}
    with closing(open_exchange(store)) as exchange:
        orders = exchange.orders(only_open=False)
        account = exchange.account()

    assert [process.returncode for process in both] == [0, 0]
    assert {order.client_order_id for order in orders} == answered
    assert len(orders) == 80
    assert len({order.broker_order_id for order in orders}) == 80
    assert account.cash == 100_000 - 80 * Decimal("100.01")


def test_a_store_that_is_locked_too_long_is_unavailable_and_nothing_was_done(
    tmp_path: Path,
) -> None:
    store = tmp_path / "paper.sqlite3"
    with closing(open_exchange(store)) as exchange, closing(sqlite3.connect(store)) as other:
        exchange._store._connection.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match="locked"):
            exchange.place(buy(1))
        other.rollback()

        assert exchange.orders(only_open=False) == ()


def test_what_was_written_before_an_error_is_not_there_after_it(tmp_path: Path) -> None:
    with closing(open_exchange(tmp_path / "paper.sqlite3")) as exchange:
        store = exchange._store
        with suppress(KeyError), store.transaction() as ledger:
            ledger.move_to(START + MINUTE)
            store.save(ledger)
            raise KeyError
        with store.transaction() as ledger:
            assert ledger.money.advanced_to == START


@dataclass
class SpoiltReplay(MemoryReplay):
    """Makes the commit of the operation under way fail."""

    connection: sqlite3.Connection | None = None

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        if self.connection is not None:
            self.connection.execute("PRAGMA defer_foreign_keys = ON")
            self.connection.execute(
                "INSERT OR IGNORE INTO fills"
                " VALUES ('x', 'no order', 'ACME', 'buy', 1, '1', '', '[]')"
            )
        return super().quote(symbol, at)


async def test_a_commit_that_fails_leaves_a_write_unknown_and_a_read_unavailable(
    tmp_path: Path,
) -> None:
    good = week_of_new_york()
    replay = SpoiltReplay(instruments=good.instruments, sessions=good.sessions)
    replay.trade("ACME", START - MINUTE, prices=[100], volume=1000)
    venue = PaperVenue(tmp_path / "paper.sqlite3", replay=replay)
    await venue.broker.place_order(approved(buy(1)))
    replay.connection = venue.exchange._store._connection
    with pytest.raises(BrokerUnavailable):
        await venue.broker.positions()
    with pytest.raises(OrderOutcomeUnknown):
        await venue.broker.place_order(approved(buy(1)))
    replay.connection = None

    assert len(await venue.broker.orders(only_open=False)) == 1
    await venue.broker.disconnect()


def test_fees_are_kept_with_each_fill_as_text_and_not_as_floats(tmp_path: Path) -> None:
    store = tmp_path / "paper.sqlite3"
    venue = PaperVenue(store)
    venue.exchange.place(buy(50))
    venue.exchange.place(stop(50, 95))
    venue.trade(90)
    venue.exchange.orders(only_open=False)
    venue.exchange.close()
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT fees FROM fills ORDER BY rowid").fetchall()

    assert [json.loads(fees) for (fees,) in rows] == [
        [],
        [["sec_section_31", "0.10", "USD"], ["finra_taf", "0.01", "USD"]],
    ]
