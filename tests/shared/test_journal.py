"""What the database could not take: on the disk at once, taken over once, never skipped in silence."""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.clock import ManualClock
from shared.database.connection import Connection
from shared.database.cycles import CycleEnd, CycleStatus
from shared.database.fences import Role, Sender
from shared.database.orders import open_positions, order_by_client_id
from shared.errors import ConfigError, DatabaseUnavailable
from shared.journal.books import Books, open_books
from shared.journal.entries import (
    KINDS,
    AlertQueued,
    CallFailed,
    CallSettled,
    CycleEnded,
    DecisionMade,
    Entry,
    IntentWritten,
    OrderMoved,
    OrderReported,
    RequestRefused,
    ToolCalled,
    TranscriptPiece,
    UnreadableEntry,
)
from shared.journal.file import KEPT_FILES, Line, LocalJournal
from shared.journal.replay import replay
from shared.journal.stops import read_stops, remember_stops, stop_file
from shared.models import Reason
from shared.order_life import OrderState
from tests.fixtures.broker_orders import (
    AGENT,
    AT,
    CYCLE,
    entry,
    exit_request,
    fill_of,
    filled,
    intended,
    reported,
    started,
)

BOUGHT = filled(reported(), fill_of(reported(), 100, "10.00"))
SENDER = Sender(role=Role.CYCLE, token=1)
END = CycleEnd(
    cycle_id=CYCLE,
    ended_at=AT,
    status=CycleStatus.FAILED,
    reason="the database went away",
    summary=None,
    equity=Decimal("99999.5"),
    session_pnl=None,
    iterations=2,
    tools_called=("get_quote",),
    orders_placed=1,
    refusals=0,
    cost_usd=Decimal("0.0123"),
    input_tokens=1,
    output_tokens=2,
    cache_read_tokens=3,
    cache_write_tokens=4,
    duration_seconds=1.5,
)
ENTRIES: Sequence[Entry[object]] = (
    OrderMoved(client_order_id="c1", to=OrderState.UNKNOWN, detail="lost", at=AT),
    OrderReported(agent_id=AGENT, order=BOUGHT, source=CYCLE, at=AT),
    IntentWritten(
        agent_id=AGENT,
        cycle_id=CYCLE,
        request=exit_request(client_order_id="x1"),
        reason="enough",
        currency="USD",
        sender=SENDER,
        at=AT,
    ),
    RequestRefused(
        agent_id=AGENT,
        cycle_id=CYCLE,
        tool="entry",
        request={"symbol": "ACME", "limit_price": Decimal("10.01"), "stop_loss": None},
        reasons=(Reason(code="CASH", text="too little"),),
        at=AT,
    ),
    DecisionMade(
        agent_id=AGENT,
        cycle_id=CYCLE,
        decision="skip",
        symbol=None,
        reasoning="nothing — \u6c92\u6709",
        confidence=Decimal("0.7"),
        model="m",
        at=AT,
    ),
    ToolCalled(
        cycle_id=CYCLE,
        sequence=1,
        tool_use_id="t1",
        name="get_quote",
        arguments={"symbol": "ACME"},
        result='{"bid": 1}',
        is_error=False,
        started_at=AT,
        duration_seconds=0.25,
    ),
    AlertQueued(
        agent_id=AGENT,
        cycle_id=CYCLE,
        severity="critical",
        subject="look",
        body="here",
        dedupe_key="k",
        at=AT,
    ),
    TranscriptPiece(
        cycle_id=CYCLE, sequence=1, said="reply", content={"text": ["a", 1, None]}, at=AT
    ),
    CallSettled(
        call_id=1,
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=0,
        cache_write_tokens=0,
        cost_usd=Decimal("0.01"),
        stop_reason="end_turn",
        request_id=None,
        duration_seconds=0.5,
        at=AT,
    ),
    CallFailed(call_id=2, error="529", charged_usd=Decimal(0), at=AT),
    CycleEnded(end=END),
)


@pytest.fixture
def journal(tmp_path: Path) -> LocalJournal:
    return LocalJournal(home=tmp_path, agent_id=AGENT, database=uuid4())


@pytest.fixture
async def books(trading_connection: Connection, tmp_path: Path) -> Books:
    await started(trading_connection)
    return await open_books(
        trading_connection, home=tmp_path, agent_id=AGENT, clock=ManualClock(AT)
    )


async def alerts(connection: Connection) -> list[dict[str, Any]]:
    rows = await connection.fetch("SELECT severity, subject, body FROM alerts ORDER BY alert_id")
    return [dict(row) for row in rows]


def test_every_kind_of_entry_is_among_these_tests() -> None:
    assert {type(one) for one in ENTRIES} == set(KINDS)


@pytest.mark.parametrize("written", ENTRIES, ids=lambda one: one.kind)
def test_an_entry_comes_back_from_the_file_as_it_was(
    journal: LocalJournal, written: Entry[object]
) -> None:
    journal.append(written, AT)
    (line,) = journal.lines()
    assert isinstance(line, Line)
    if isinstance(written, RequestRefused):  # what a request was is JSON by then
        assert isinstance(line.entry, RequestRefused)
        assert line.entry.request["limit_price"] == "10.01"
    else:
        assert line.entry == written
    assert line.noted_at == AT


def test_a_torn_line_is_reported_and_harms_no_other(journal: LocalJournal) -> None:
    journal.append(ENTRIES[0], AT)
    with journal.path.open("ab") as file:
        file.write(b'{"body": {"id": "')
    journal.append(ENTRIES[1], AT)
    first, torn, last = journal.lines()

    assert isinstance(first, Line)
    assert isinstance(torn, UnreadableEntry)
    assert "cannot be read" in str(torn)
    assert isinstance(last, Line)


def test_a_line_that_somebody_changed_is_not_believed(journal: LocalJournal) -> None:
    journal.append(CallFailed(call_id=2, error="529", charged_usd=Decimal("0.5"), at=AT), AT)
    journal.path.write_text(journal.path.read_text().replace("0.5", "0.1"))
    (line,) = journal.lines()

    assert isinstance(line, UnreadableEntry)
    assert "is not what was written" in str(line)


def test_old_journals_are_kept_within_bounds(journal: LocalJournal) -> None:
    for minute in range(KEPT_FILES + 5):
        journal.append(ENTRIES[0], AT)
        journal.set_aside(AT + timedelta(minutes=minute))

    assert len(list(journal.path.parent.iterdir())) == KEPT_FILES
    assert journal.set_aside(AT) is None


async def test_every_line_is_taken_over_once_however_often_it_is_read(
    books: Books, trading_connection: Connection
) -> None:
    await intended(trading_connection, entry(client_order_id="c1"))
    for one in ENTRIES:
        if not isinstance(one, CallSettled | CallFailed):
            assert books.note(one) is None
    content = books.journal.path.read_bytes()
    taken = await replay(books, at=AT)
    books.journal.path.write_bytes(content)
    again = await replay(books, at=AT)
    counts = {
        table: await trading_connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
        for table in ("decisions", "refusals", "tool_calls", "cycle_transcripts", "fills")
    }

    assert taken == len(ENTRIES) - 2
    assert again == taken - 1, "the sale is known by then, and no news"
    assert counts == dict.fromkeys(counts, 1)
    assert await trading_connection.fetchval("SELECT status FROM trading_cycles") == "failed"
    assert not books.journal.path.exists()


async def test_a_fill_that_only_the_journal_knew_opens_its_position(
    books: Books, trading_connection: Connection
) -> None:
    await intended(trading_connection)
    books.note(OrderReported(agent_id=AGENT, order=BOUGHT, source=CYCLE, at=AT))
    await replay(books, at=AT)
    (position,) = await open_positions(trading_connection, AGENT)

    assert position.quantity == 100


async def test_a_sale_that_was_sent_without_a_database_is_known_afterwards(
    books: Books, trading_connection: Connection
) -> None:
    sale = exit_request(client_order_id="cat-sale")
    books.note(
        IntentWritten(
            agent_id=AGENT,
            cycle_id=None,
            request=sale,
            reason="stop",
            currency="USD",
            sender=SENDER,
            at=AT,
        )
    )
    books.note(OrderMoved(client_order_id="cat-sale", to=OrderState.SUBMITTING, detail=None, at=AT))
    await replay(books, at=AT)
    record = await order_by_client_id(trading_connection, "cat-sale")

    assert record is not None
    assert (record.status, record.quantity) == (OrderState.SUBMITTING, sale.quantity)


async def test_a_line_that_contradicts_what_is_known_is_for_a_person(
    books: Books, trading_connection: Connection
) -> None:
    await intended(trading_connection, entry(client_order_id="c1"))
    await trading_connection.execute("UPDATE orders SET status = 'rejected'")
    books.note(OrderMoved(client_order_id="c1", to=OrderState.ACCEPTED, detail=None, at=AT))
    books.note(ENTRIES[4])
    await replay(books, at=AT)
    (alert,) = await alerts(trading_connection)

    assert alert["severity"] == "critical"
    assert "cannot go from rejected to accepted" in alert["body"]
    assert await trading_connection.fetchval("SELECT count(*) FROM decisions") == 1


async def test_what_was_kept_for_another_database_is_left_alone(
    books: Books, tmp_path: Path
) -> None:
    other = LocalJournal(home=tmp_path, agent_id=AGENT, database=uuid4())
    other.append(ENTRIES[0], AT)

    assert await replay(books, at=AT) == 0
    assert other.path.exists()


async def test_a_lost_database_is_said_and_the_entry_is_on_the_disk(
    books: Books, trading_connection: Connection
) -> None:
    await trading_connection.close()
    with pytest.raises(DatabaseUnavailable, match="went away"):
        await books.keep(ENTRIES[4])

    assert [type(line) for line in books.journal.lines()] == [Line]


async def test_a_lost_database_and_a_full_disk_are_said_in_one_sentence(
    books: Books, trading_connection: Connection
) -> None:
    await trading_connection.close()
    books.journal.path.parent.mkdir()
    books.journal.path.symlink_to("/dev/full")
    with pytest.raises(DatabaseUnavailable, match=r"went away.*cannot be written: No space left"):
        await books.keep(ENTRIES[4])


async def test_stops_are_kept_beside_the_database_and_written_only_when_they_change(
    books: Books, trading_connection: Connection, tmp_path: Path
) -> None:
    await intended(trading_connection)
    await books.keep(OrderReported(agent_id=AGENT, order=BOUGHT, source=CYCLE, at=AT))
    held = await open_positions(trading_connection, AGENT)
    database = books.database
    remember_stops(tmp_path, AGENT, held, AT, database=database)
    remember_stops(tmp_path, AGENT, held, AT + timedelta(minutes=1), database=database)
    known = read_stops(tmp_path, AGENT)

    assert known is not None
    assert (known.as_of, known.database) == (AT, database)
    assert [(one.symbol, one.quantity) for one in known.stops] == [(held[0].symbol, 100)]
    assert known.stops[0].stop_loss == held[0].stop_loss


def test_a_file_of_stops_that_is_garbage_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert read_stops(tmp_path, AGENT) is None
    stop_file(tmp_path, AGENT).parent.mkdir()
    stop_file(tmp_path, AGENT).write_text(json.dumps({"stops": [{"symbol": 1}]}))
    with pytest.raises(ConfigError, match="makes no sense"):
        read_stops(tmp_path, AGENT)
