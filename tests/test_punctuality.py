"""Slots that nobody served: each is noticed once, by whatever runs next, and a person is told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market.calendar import Calendar
from punctuality import note_missed_slots, served_by
from rehearsal.bookmark import write
from shared.config import ScheduleSettings
from shared.database.connection import Connection
from shared.database.cycles import CycleStatus, finish_cycle, start_cycle
from shared.database.missed_slots import SlotRun
from shared.due import Missed
from shared.models import Mode
from shared.outcome import Status
from shared.schedule import Slot, slots
from tests.faults.steps import buys, quiet
from tests.fixtures.broker_orders import AGENT, cycle_end, cycle_start
from tests.fixtures.rehearsal import Machine
from tests.fixtures.theatre import Tape, Theatre

MONDAY, TUESDAY = date(2026, 6, 15), date(2026, 6, 16)
FIRST = datetime(2026, 6, 15, 13, 0, tzinfo=UTC)
SCHEDULE = ScheduleSettings()


@pytest.fixture
def theatre(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Theatre:
    return theatre_over(tmp_path, Tape(tmp_path / "tape"), trading_connection, research_connection)


def theatre_over(folder: Path, tape: Tape, trading: Connection, research: Connection) -> Theatre:
    return Theatre(folder / "rehearsal", tape.write(), trading, research)


class Past:
    """What an agent did before, written down slot by slot."""

    def __init__(self, connection: Connection, calendar: Calendar) -> None:
        self.connection: Connection = connection
        self.calendar: Calendar = calendar
        self._count: int = 0

    def slots_of(self, day: date) -> tuple[Slot, ...]:
        hours = self.calendar.session_on(day)
        assert hours is not None
        return slots(SCHEDULE, hours)

    async def ran(self, slot: Slot, status: CycleStatus = CycleStatus.DONE, **changes: Any) -> None:
        self._count += 1
        values: dict[str, Any] = {
            "cycle_id": f"cycle-{self._count}",
            "mode": slot.mode,
            "slot_at": slot.at,
            "started_at": slot.at,
            "session_date": self.calendar.exchange_date(slot.at),
        }
        await start_cycle(self.connection, cycle_start(**values | changes))
        if status is not CycleStatus.RUNNING:
            ended = slot.at + timedelta(minutes=1)
            end = cycle_end(cycle_id=f"cycle-{self._count}", status=status, ended_at=ended)
            await finish_cycle(self.connection, end)

    async def look(self, at: datetime) -> list[tuple[str, str]]:
        """Let a run begin at that moment; return the slots that it finds missed."""
        session = self.calendar.session_at(at)
        assert session is not None
        await self.ran(
            Slot(mode=Mode.HEARTBEAT, at=at), CycleStatus.RUNNING, slot_at=None, forced=True
        )
        found = await note_missed_slots(
            self.connection,
            agent_id=AGENT,
            cycle_id=f"cycle-{self._count}",
            schedule=SCHEDULE,
            calendar=self.calendar,
            session=session,
            now=at,
        )
        return named(found)


def named(found: Sequence[Missed]) -> list[tuple[str, str]]:
    return [(one.slot.mode, f"{one.slot.at:%d %H:%M}") for one in found]


@pytest.fixture
def past(trading_connection: Connection, new_york: Calendar) -> Past:
    return Past(trading_connection, new_york)


async def told(connection: Connection) -> list[dict[str, Any]]:
    rows = await connection.fetch(
        "SELECT severity, subject, body FROM alerts WHERE dedupe_key LIKE 'missed-%' ORDER BY alert_id"
    )
    return [dict(row) for row in rows]


async def test_slots_that_the_player_jumps_over_are_rows_and_one_alert(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, quiet())
    await theatre.run(Mode.CLOSE)
    await theatre.run(Mode.HEARTBEAT)
    rows = await theatre.rows(
        "SELECT mode, slot_at, session_date, noticed_at, why FROM missed_slots ORDER BY slot_at"
    )
    [alert] = await told(theatre.trading)

    assert [f"{row['mode']} {row['slot_at']:%H:%M}" for row in rows] == [
        f"trade {hour}:{minute}" for hour in range(14, 20) for minute in ("00", "30")
    ][1:]
    assert {(row["session_date"], f"{row['noticed_at']:%H:%M}") for row in rows} == {
        (MONDAY, "19:50")
    }
    assert (
        rows[-1]["why"] == "the trade slot of 19:30 UTC was not run in time: it is 20 minutes late"
    )
    assert (alert["severity"], alert["subject"]) == ("warning", "11 slots were missed")
    assert all(row["why"] in alert["body"] for row in rows)


async def test_a_day_that_is_played_whole_misses_nothing(theatre: Theatre) -> None:
    await theatre.run(Mode.SCAN, quiet())
    for _ in range(12):
        await theatre.run(Mode.TRADE, quiet())
    await theatre.run(Mode.CLOSE)
    await theatre.run(Mode.HEARTBEAT)

    assert await theatre.rows("SELECT FROM missed_slots") == []
    assert await told(theatre.trading) == []


async def test_before_the_first_run_of_all_nothing_was_due(theatre: Theatre) -> None:
    await theatre.run(Mode.CLOSE)

    assert await theatre.rows("SELECT FROM missed_slots") == []


async def test_a_dry_run_serves_no_slot_and_notices_none(theatre: Theatre) -> None:
    await theatre.run(Mode.SCAN, quiet())
    dry = await theatre.run(Mode.TRADE, quiet(), dry_run=True)
    await theatre.run(Mode.CLOSE, dry_run=True)
    noticed_by_dry_run = await theatre.rows("SELECT FROM missed_slots")
    await theatre.run(Mode.HEARTBEAT)
    rows = await theatre.rows("SELECT mode, slot_at FROM missed_slots")

    assert noticed_by_dry_run == []
    assert {"mode": "trade", "slot_at": dry.at} in rows


async def test_a_close_that_never_got_flat_is_missed(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> None:
    tape = Tape(tmp_path / "tape")
    tape.settle_at("100.00", since=379, volume=0)
    theatre = theatre_over(tmp_path, tape, trading_connection, research_connection)
    await theatre.run(Mode.TRADE, buys())
    close = await theatre.run(Mode.CLOSE, quiet())
    await theatre.run(Mode.HEARTBEAT)
    rows = await theatre.rows("SELECT why FROM missed_slots WHERE mode = 'close'")

    assert close.status is Status.FAILED
    assert rows == [
        {"why": "the close slot of 19:50 UTC was not served before 20:00 UTC, when trading ended"}
    ]


async def test_what_was_missed_after_the_last_run_of_a_day_is_noticed_on_the_next(
    past: Past,
) -> None:
    for slot in past.slots_of(MONDAY)[:-2]:
        await past.ran(slot)

    assert await past.look(at=past.slots_of(TUESDAY)[0].at) == [
        ("close", "15 19:50"),
        ("heartbeat", "15 20:30"),
    ]


async def test_a_slot_is_missed_once_and_told_once(past: Past) -> None:
    await past.ran(past.slots_of(MONDAY)[0])
    first = await past.look(FIRST + timedelta(hours=2))
    again = await past.look(FIRST + timedelta(hours=2, minutes=10))
    later = await past.look(FIRST + timedelta(hours=3))

    assert first == [("trade", "15 14:00"), ("trade", "15 14:30")]
    assert again == [("trade", "15 15:00")]
    assert later == [("trade", "15 15:30")]
    assert [alert["subject"] for alert in await told(past.connection)] == [
        "2 slots were missed",
        "a slot was missed",
        "a slot was missed",
    ]


async def test_a_slot_that_may_still_be_run_is_not_missed_yet(past: Past) -> None:
    await past.ran(past.slots_of(MONDAY)[0])

    assert await past.look(FIRST + timedelta(hours=1, minutes=5)) == []
    assert await past.look(FIRST + timedelta(hours=1, minutes=6)) == [("trade", "15 14:00")]


async def test_what_the_monitor_does_serves_no_slot_and_begins_nothing(past: Past) -> None:
    await past.connection.execute(
        "ALTER TABLE trading_cycles DROP CONSTRAINT trading_cycles_mode_known"
    )
    scan, trade, *_ = past.slots_of(MONDAY)
    await past.ran(scan, mode="monitor", started_at=scan.at - timedelta(hours=1))
    before = await past.look(trade.at)
    await past.ran(trade, mode="monitor", started_at=trade.at)

    assert before == []
    assert await past.look(trade.at + timedelta(minutes=10)) == [("trade", "15 14:00")]


@pytest.mark.parametrize(
    ("mode", "status", "served"),
    [
        *((Mode.TRADE, status, True) for status in CycleStatus),
        *((mode, CycleStatus.DONE, True) for mode in (Mode.SCAN, Mode.CLOSE, Mode.HEARTBEAT)),
        (Mode.CLOSE, CycleStatus.NOTHING_TO_DO, True),
        (Mode.HEARTBEAT, CycleStatus.NOTHING_TO_DO, True),
        (Mode.SCAN, CycleStatus.FAILED, False),
        (Mode.CLOSE, CycleStatus.FAILED, False),
        (Mode.HEARTBEAT, CycleStatus.FAILED, False),
        (Mode.CLOSE, CycleStatus.RUNNING, False),
    ],
)
def test_a_slot_is_served_by_a_run_that_did_not_fail_and_an_entry_slot_by_any(
    mode: Mode, status: CycleStatus, served: bool
) -> None:
    has_run = served_by([SlotRun(mode=mode, slot_at=FIRST, status=status)])

    assert has_run(Slot(mode=mode, at=FIRST)) is served
    assert not has_run(Slot(mode=mode, at=FIRST + timedelta(minutes=30)))


def test_through_the_command_line_a_jump_is_noticed_too(new_rehearsal: Machine) -> None:
    new_rehearsal.run("--mode", "scan")
    new_rehearsal.run("--mode", "heartbeat")
    missed = new_rehearsal.query("SELECT mode, count(*) FROM missed_slots GROUP BY 1 ORDER BY 1")

    assert missed == [("close", 1), ("trade", 12)]
    assert new_rehearsal.query("SELECT subject, severity FROM alerts") == [
        ("13 slots were missed", "warning")
    ]


def test_a_second_run_of_an_entry_slot_says_so_and_ends_well(new_rehearsal: Machine) -> None:
    first = new_rehearsal.run("--mode", "trade")
    write(new_rehearsal.home / "rehearsal", replace(new_rehearsal.bookmark, played=False))
    second = new_rehearsal.run("--mode", "trade")

    assert first.said["status"] == "done"
    assert (second.exit_code, second.said["status"]) == (0, "busy")
    assert second.said["reason"] == (
        "the trade slot of 2026-06-15 14:00 UTC has been run already, and a slot that may open"
        " positions runs once"
    )
    assert new_rehearsal.query("SELECT count(*) FROM trading_cycles WHERE mode = 'trade'") == [(1,)]
