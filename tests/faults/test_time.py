"""Cases about time: sessions that are shorter than usual, closures nobody planned, clocks and zones that are wrong."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from brokers.desk import Refused
from market.calendar import Calendar
from rehearsal import bookmark as bookmarks
from rehearsal.stage import begin
from shared import config_file
from shared.clock import ManualClock
from shared.database.connection import Connection
from shared.errors import Busy
from shared.models import Mode, SessionHours
from shared.outcome import Status
from shared.paths import PROJECT
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import at
from tests.faults.cases import case
from tests.faults.steps import bought, buys, quiet, sells
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.floor import SYMBOL, Floor, draft
from tests.fixtures.rehearsal import Machine, Run
from tests.fixtures.theatre import HONG_KONG, Tape, Theatre, trade_of

TENCENT = {"symbol": "0700"}
SWITCHES = (date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2))
"""The Friday before and the Monday after each change of New York's clocks."""


async def told(theatre: Theatre, subject: str) -> list[dict[str, Any]]:
    return await theatre.rows(
        f"SELECT severity, subject, body FROM alerts WHERE subject LIKE '{subject}'"  # noqa: S608 (our own words)
    )


@pytest.fixture
def half_day(
    tmp_path: Path,
    trading_connection: Connection,
    research_connection: Connection,
    hong_kong: Calendar,
) -> Theatre:
    """Christmas Eve in Hong Kong, which trades in the morning only."""
    day = date(2026, 12, 24)
    return Theatre(
        tmp_path / "rehearsal",
        Tape(tmp_path / "tape", symbol="0700", calendar=hong_kong, day=day).write(),
        trading_connection,
        research_connection,
        settings=HONG_KONG,
        calendar=hong_kong,
        day=day,
    )


@case(
    "F34",
    "a half day",
    injected="Hong Kong trades in the morning only, and Claude wants to buy to the end and after it",
    orders=2,
    verdict="the close sells ten minutes before the early close; nothing is entered near or after it",
)
async def test_f34_a_half_day_is_closed_before_its_early_close(half_day: Theatre) -> None:
    await half_day.run(Mode.TRADE, buys(100, **TENCENT))
    close = await half_day.run(Mode.CLOSE, buys(100, **TENCENT))
    half_day.move_to(at(4, 5, day=half_day.day))
    after = await half_day.run(Mode.TRADE, buys(100, **TENCENT), forced=True)
    trades = await half_day.rows("SELECT slot_at FROM missed_slots WHERE mode = 'trade'")

    assert (f"{close.at:%H:%M}", close.status, close.positions) == ("03:50", Status.DONE, 0)
    assert (after.status, after.exit_code) == (Status.NOTHING_TO_DO, 0)
    assert "the market is closed: it is 12:05; XHKG trades 09:30 to 12:00" in after.reason
    assert max(row["slot_at"] for row in trades) == at(3, 30, day=half_day.day)


@pytest.mark.parametrize(
    ("exchange", "moment"),
    [
        ("XNYS", "2026-11-27T18:00:00+00:00"),
        ("XNYS", "2026-11-27T20:55:00+00:00"),
        ("XNYS", "2026-11-26T15:00:00+00:00"),
        ("XNYS", "2026-06-13T15:00:00+00:00"),
        ("XNYS", "2026-06-15T13:29:59+00:00"),
        ("XNYS", "2026-06-15T20:00:00+00:00"),
        ("XHKG", "2026-06-15T04:00:00+00:00"),
        ("XHKG", "2026-06-15T04:59:59+00:00"),
        ("XHKG", "2026-06-15T01:25:00+00:00"),
        ("XHKG", "2026-06-15T08:05:00+00:00"),
        ("XHKG", "2026-12-24T04:00:00+00:00"),
        ("XHKG", "2026-12-24T06:00:00+00:00"),
        ("XHKG", "2026-02-17T03:00:00+00:00"),
    ],
    ids=[
        *(
            "at an early close",
            "after it",
            "holiday",
            "Saturday",
            "before the open",
            "at the close",
        ),
        *("lunch begins", "lunch ends", "opening auction", "closing auction"),
        *("half day at noon", "half day in the afternoon", "New Year of the moon"),
    ],
)
async def test_where_the_exchange_is_closed_nothing_is_entered(
    floor_on: Callable[[SessionHours | None, datetime], Floor],
    new_york: Calendar,
    hong_kong: Calendar,
    exchange: str,
    moment: str,
) -> None:
    now = datetime.fromisoformat(moment)
    calendar = {"XNYS": new_york, "XHKG": hong_kong}[exchange]
    floor = floor_on(calendar.session_at(now), now)
    submission = await (await floor.desk()).enter(draft(), why="volume")

    assert isinstance(submission, Refused)
    assert "SESSION_CLOSED" in submission.refusal.codes
    assert floor.at_broker() == ()


@pytest.fixture
async def floor_on(tmp_path: Path, trading_connection: Connection) -> Any:
    """A floor in a session, or in none, at a moment at which a bar has just ended."""
    venues: list[PaperVenue] = []

    def open_floor(session: SessionHours | None, now: datetime) -> Floor:
        venue = PaperVenue(tmp_path / "paper.sqlite3", clock=ManualClock(now))
        venue.replay.sessions = {} if session is None else {now.date(): session}
        venue.replay.trade(SYMBOL, now - timedelta(minutes=1), prices=[100], volume=1000)
        venues.append(venue)
        return Floor(venue, trading_connection, tmp_path)

    yield open_floor
    for venue in venues:
        await venue.broker.disconnect()


@pytest.fixture
def closed_at_noon(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Theatre:
    """A day on which the exchange closes unplanned, and opens again five minutes before its close."""
    data = Tape(tmp_path / "tape").write(closure=("2026-06-15T14:20:00Z", "2026-06-15T19:55:00Z"))
    return Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)


@case(
    "F35",
    "a closure that no calendar knows",
    injected="the exchange closes twenty minutes after the entry, and opens again just before its close",
    orders=2,
    verdict="nothing is sent and nothing fails; one word about what is held; sold when it opens again",
)
async def test_f35_the_brokers_clock_wins_over_the_calendar(closed_at_noon: Theatre) -> None:
    theatre = closed_at_noon
    await theatre.run(Mode.TRADE, buys())
    asked = len(theatre.transports)
    trade = await theatre.run(Mode.TRADE, sells())
    close = await theatre.run(Mode.CLOSE, quiet())
    sent_in_the_closure = len(await theatre.rows("SELECT FROM orders WHERE order_purpose = 'exit'"))
    asked_in_the_closure = len(theatre.transports) - asked
    [word] = await told(theatre, "held while XNYS is closed%")
    again = await theatre.run(Mode.CLOSE, quiet(), again_after=timedelta(minutes=5))

    for run in (trade, close):
        assert (run.status, run.exit_code, run.orders) == (Status.NOTHING_TO_DO, 0, 0)
        assert "the broker says that XNYS is closed, which by its calendar is open" in run.reason
    assert (sent_in_the_closure, asked_in_the_closure) == (0, 0)
    assert word["severity"] == "warning"
    assert word["subject"].endswith(": AAPL")
    assert (again.status, again.positions) == (Status.DONE, 0)
    assert await theatre.rows("SELECT FROM alerts WHERE severity = 'critical'") == []


async def test_a_closure_to_the_end_of_the_day_is_told_of_once_and_no_alarm(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> None:
    data = Tape(tmp_path / "tape").write(closure=("2026-06-15T14:20:00Z", "2026-06-16T00:00:00Z"))
    theatre = Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)
    await theatre.run(Mode.TRADE, buys())
    codes = [
        (await theatre.run(mode, quiet())).exit_code
        for mode in (Mode.TRADE, Mode.TRADE, Mode.CLOSE, Mode.HEARTBEAT)
    ]
    close = await theatre.rows("SELECT FROM missed_slots WHERE mode = 'close'")

    assert codes == [0, 0, 0, 0]
    assert len(await told(theatre, "held while%")) == 1
    assert await told(theatre, "held after the session%") == []
    assert await theatre.rows("SELECT FROM alerts WHERE severity = 'critical'") == []
    assert close == []


async def test_a_closure_with_nothing_held_is_told_to_nobody(closed_at_noon: Theatre) -> None:
    await closed_at_noon.run(Mode.TRADE, quiet())
    run = await closed_at_noon.run(Mode.TRADE, buys())

    assert (run.status, run.orders) == (Status.NOTHING_TO_DO, 0)
    assert await told(closed_at_noon, "%closed%") == []


async def test_a_closure_that_begins_in_the_middle_of_a_cycle_refuses_entries_and_sales(
    floor: Floor,
) -> None:
    await bought(floor)
    desk = await floor.desk()
    now = floor.venue.clock.now()
    floor.venue.replay.closures.append((now, now + timedelta(hours=1)))
    entry = await desk.enter(draft(5), why="volume")
    (sale,) = await desk.exit(SYMBOL, why="enough")

    for submission in (entry, sale):
        assert isinstance(submission, Refused)
        assert "BROKER_CLOSED" in submission.refusal.codes
    assert [stop.quantity for stop in floor.stops()] == [10]


@pytest.fixture
def weeks_of_the_switch(machine: Machine, tmp_path: Path, new_york: Calendar) -> Machine:
    """A rehearsal of the sessions around both changes of New York's clocks."""
    tapes = [Tape(tmp_path / f"{day}", day=day).write() for day in SWITCHES]
    lines = [line for tape in tapes for line in (tape / "bars.csv").read_text().splitlines()[1:]]
    data = tmp_path / "weeks"
    data.mkdir()
    (data / "bars.csv").write_text(
        "\n".join(("symbol,timestamp,open,high,low,close,volume", *lines, ""))
    )
    settings = config_file.load("rehearsal", {}, project=PROJECT).settings
    begin(settings, machine.home / "rehearsal", new_york, data=data)
    return machine


@case(
    "F36",
    "a host in another zone, weeks of the switch",
    injected="the machine is in Kiribati, a day ahead, when New York changes its clocks in March and November",
    orders=0,
    verdict="every run is at its hour in New York: an hour earlier in UTC after the switch in March",
)
def test_f36_neither_the_hosts_zone_nor_a_change_of_clocks_moves_a_slot(
    weeks_of_the_switch: Machine,
) -> None:
    machine = weeks_of_the_switch
    winter, summer = ("15:00", "20:50"), ("14:00", "19:50")
    expected = [
        datetime.fromisoformat(f"{day}T{clock}:00+00:00")
        for day, clocks in zip(SWITCHES, (winter, summer, summer, winter), strict=True)
        for clock in clocks
    ]
    found = [
        in_zone(machine, "Pacific/Kiritimati", mode, just_before=moment)
        for moment, mode in zip(expected, ("trade", "close") * len(SWITCHES), strict=True)
    ]
    cycles = machine.query(
        "SELECT slot_at FROM trading_cycles WHERE mode <> 'monitor' ORDER BY slot_at"
    )

    assert found == [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in expected]
    assert [moment for (moment,) in cycles] == expected


def in_zone(machine: Machine, zone: str, mode: str, *, just_before: datetime) -> str:
    """Play the next slot of a mode as a process on a machine of that zone; return the slot's moment."""
    before = machine.bookmark.at(just_before.date(), just_before - timedelta(minutes=1))
    bookmarks.write(machine.home / "rehearsal", before)
    done = subprocess.run(
        [sys.executable, str(PROJECT / "unified_agent.py"), "--mode", mode, "--json"],
        capture_output=True,
        text=True,
        env={**machine.environ, "TZ": zone},
        cwd="/",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["at"]


@case(
    "F37",
    "a clock that is wrong",
    injected="this machine's clock is 4 seconds behind the broker's",
    orders=0,
    verdict="nothing is entered, a person is told once, a position could still be left",
)
async def test_f37_a_clock_that_is_wrong_enters_nothing(theatre: Theatre) -> None:
    for slot in (at(14), at(14, 30)):
        theatre.exchange_clock = ManualClock(slot + timedelta(seconds=4))
        run = await theatre.run(Mode.TRADE, buys())

        assert (run.status, run.exit_code) == (Status.DONE, 0)
        assert run.refusals == ("CLOCK_DRIFT",)

    [word] = await told(theatre, "this machine%")

    assert word["subject"] == "this machine's clock is 4.0 seconds behind the broker's"
    assert word["severity"] == "critical"


async def test_a_clock_that_jumps_back_enters_nothing_twice_and_keeps_the_rows_in_order(
    theatre: Theatre,
) -> None:
    await theatre.run(Mode.TRADE, quiet())
    first = await theatre.run(Mode.TRADE, buys())
    theatre.exchange_clock = ManualClock(at(14, 55))  # 14:30 comes a second time
    with pytest.raises(Busy, match="the trade slot of 2026-06-15 14:30 UTC has been run already"):
        await theatre.run(Mode.TRADE, buys(), again_after=timedelta(0))
    theatre.move_to(at(14, 20))  # before the entry, by our clock
    theatre.exchange_clock = ManualClock(at(15))
    both = [
        call("execute_trade", trade_of(5)),
        call("close_position", {"symbol": "AAPL", "reason": "enough"}),
    ]
    again = await theatre.run(Mode.TRADE, scripted(both, [LOG], [DONE]), forced=True)
    orders = await theatre.rows(
        "SELECT order_purpose, created_at FROM orders WHERE sender_token IS NOT NULL ORDER BY order_id"
    )
    (position,) = await theatre.rows("SELECT status, opened_at, closed_at FROM positions")
    cycles = await theatre.rows("SELECT started_at, ended_at FROM trading_cycles")
    events = await theatre.rows(
        "SELECT e.to_status FROM order_events e JOIN orders o USING (order_id)"
        " WHERE o.order_purpose = 'exit' ORDER BY event_id"
    )

    assert first.fills == 1
    assert "CLOCK_DRIFT" in again.refusals
    assert [(row["order_purpose"], row["created_at"]) for row in orders] == [
        ("entry", at(14, 30)),
        ("exit", at(14, 20)),
    ]
    assert (position["status"], position["opened_at"] < position["closed_at"]) == ("closed", True)
    assert all(row["started_at"] <= row["ended_at"] for row in cycles)
    assert events[-1]["to_status"] == "filled"
    assert len(await told(theatre, "this machine%")) == 1


@pytest.fixture
def after_the_calendar(machine: Machine, new_york: Calendar) -> Machine:
    """A rehearsal that has played the last session of the calendar's table."""
    settings = config_file.load("rehearsal", {}, project=PROJECT).settings
    folder = machine.home / "rehearsal"
    mark = begin(settings, folder, new_york, session=new_york.last_date)
    evening = datetime.fromisoformat(f"{new_york.last_date}T23:00:00+00:00")
    bookmarks.write(folder, replace(mark.at(new_york.last_date, evening), only_session=False))
    return machine


@case(
    "F38",
    "a calendar that has ended",
    injected="the day after the last one of the calendar's table",
    orders=0,
    verdict="an error and exit 1, nothing is traded, and one alert a day",
)
def test_f38_past_its_end_a_calendar_says_nothing_and_everybody_hears_it(
    after_the_calendar: Machine,
) -> None:
    machine = after_the_calendar
    runs = [machine.run("--mode", "scan"), machine.run("--mode", "trade")]

    assert_nothing_but_an_alert(machine, runs)


def test_before_a_session_that_no_calendar_knows_the_startup_monitor_says_so(
    after_the_calendar: Machine,
) -> None:
    runs = [after_the_calendar.compare() for _ in range(2)]

    assert_nothing_but_an_alert(after_the_calendar, runs)


def assert_nothing_but_an_alert(machine: Machine, runs: Sequence[Run]) -> None:
    for run in runs:
        assert (run.exit_code, run.said["status"]) == (1, "failed")
        assert "calendar covers 2019-01-01 to 2027-12-31" in run.said["reason"]
    assert machine.query("SELECT severity, subject FROM alerts") == [
        ("critical", "nothing is traded: the calendar of XNYS has ended")
    ]
    assert machine.query("SELECT FROM orders") == []
