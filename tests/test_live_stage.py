"""What the wall's clock and the calendar make due for an agent with a real broker."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

import live_stage
from live_stage import LiveStage
from market.calendar import Calendar
from punctuality import nothing_due
from shared.clock import ManualClock
from shared.config import Configuration, Secrets
from shared.config_brokers import AlpacaSettings, BrokerName, BrokerSettings
from shared.database.connection import Connection
from shared.database.cycles import CycleStatus, finish_cycle, start_cycle
from shared.models import Mode
from stage import NotDue, Setting, Watch
from tests.fixtures.broker_orders import AGENT, cycle_end, cycle_start
from tests.fixtures.claude import PAPER

SETTINGS = PAPER.model_copy(
    update={
        "agent": PAPER.agent.model_copy(update={"id": AGENT}),
        "broker": BrokerSettings(name=BrokerName.ALPACA, alpaca=AlpacaSettings()),
        "rehearsal": None,
    }
)
KEYS = Secrets(alpaca_api_key=SecretStr("PK"), alpaca_secret_key=SecretStr("secret"))
MONDAY = date(2026, 6, 15)


def utc(hour: int, minute: int = 0, *, day: date = MONDAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


@pytest.fixture
def at(tmp_path: Path) -> Callable[[datetime], Setting]:
    configuration = Configuration(
        settings=SETTINGS, secrets=KEYS, source=tmp_path, config_hash="c0ffee"
    )
    return lambda now: Setting(configuration=configuration, home=tmp_path, clock=ManualClock(now))


@pytest.mark.parametrize(
    ("mode", "now", "expected"),
    [
        (Mode.SCAN, utc(13), utc(13)),
        (Mode.SCAN, utc(13, 3), utc(13)),
        (Mode.SCAN, utc(12, 59), "the next scan slot of 13:00 UTC has not come"),
        (Mode.TRADE, utc(14), utc(14)),
        (Mode.TRADE, utc(13, 30), "the next trade slot of 14:00 UTC has not come"),
        (Mode.TRADE, utc(20, 30), utc(19, 30)),
        (Mode.CLOSE, utc(19, 55), utc(19, 50)),
        (Mode.CLOSE, utc(19, 49), "the next close slot of 19:50 UTC has not come"),
        (Mode.HEARTBEAT, utc(20, 30), utc(20, 30)),
        (Mode.TRADE, utc(15, day=date(2026, 6, 13)), "XNYS has no session today"),
        (Mode.TRADE, utc(15, day=date(2026, 11, 26)), "XNYS has no session today"),
        (Mode.CLOSE, utc(17, 50, day=date(2026, 11, 27)), utc(17, 50, day=date(2026, 11, 27))),
    ],
)
def test_what_is_due_follows_from_clock_and_calendar(
    at: Callable[[datetime], Setting],
    new_york: Calendar,
    mode: Mode,
    now: datetime,
    expected: datetime | str,
) -> None:
    found = live_stage.for_slot(at(now), new_york, mode, force=False)

    match found:
        case NotDue(why=why):
            assert why == expected
        case LiveStage(slot=slot):
            assert slot is not None
            assert (slot.mode, slot.at) == (mode, expected)


@pytest.mark.parametrize(
    ("now", "session"),
    [
        (utc(3), MONDAY),
        (utc(21), MONDAY),
        (utc(15, day=date(2026, 6, 13)), MONDAY),
        (utc(15, day=date(2026, 11, 26)), date(2026, 11, 27)),
    ],
)
def test_force_plays_no_slot_in_the_session_of_today_or_the_next(
    at: Callable[[datetime], Setting], new_york: Calendar, now: datetime, session: date
) -> None:
    found = live_stage.for_slot(at(now), new_york, Mode.TRADE, force=True)

    assert isinstance(found, LiveStage)
    assert (found.slot, found.session.session_date) == (None, session)


@pytest.mark.parametrize(
    ("now", "session"),
    [
        (utc(12, 50), MONDAY),
        (utc(19, 59), MONDAY),
        (utc(20), date(2026, 6, 16)),
        (utc(12, day=date(2026, 6, 19)), date(2026, 6, 22)),
    ],
)
def test_the_session_ahead_is_todays_until_it_is_over(
    at: Callable[[datetime], Setting], new_york: Calendar, now: datetime, session: date
) -> None:
    assert live_stage.ahead(at(now), new_york).session.session_date == session


def test_a_session_is_watched_from_before_its_open_to_after_its_close(
    at: Callable[[datetime], Setting], new_york: Calendar
) -> None:
    margin = timedelta(minutes=SETTINGS.monitor.minutes_before_open)
    opens, closes = utc(13, 30), utc(20)
    moments = {
        opens - margin - timedelta(seconds=1): False,
        opens - margin: True,
        closes: True,
        closes + margin: False,
    }
    found = {now: live_stage.watch_now(at(now), new_york) for now in moments}

    assert {now: isinstance(watch, Watch) for now, watch in found.items()} == moments
    assert {watch.until for watch in found.values() if isinstance(watch, Watch)} == {
        closes + margin
    }


@pytest.fixture
def stage_at(
    at: Callable[[datetime], Setting], new_york: Calendar
) -> Callable[[Mode, datetime], LiveStage]:
    def staged(mode: Mode, now: datetime) -> LiveStage:
        found = live_stage.for_slot(at(now), new_york, mode, force=False)
        assert isinstance(found, LiveStage)
        return found

    return staged


async def ran(
    connection: Connection, mode: Mode, at: datetime, status: CycleStatus, name: str = "earlier"
) -> None:
    await start_cycle(
        connection,
        cycle_start(cycle_id=name, mode=mode, slot_at=at, started_at=at, session_date=MONDAY),
    )
    await finish_cycle(connection, cycle_end(cycle_id=name, status=status, ended_at=at))


@pytest.mark.parametrize(
    ("mode", "slot", "status", "is_due"),
    [
        (Mode.TRADE, utc(14), CycleStatus.DONE, False),
        (Mode.TRADE, utc(14), CycleStatus.FAILED, False),
        (Mode.CLOSE, utc(19, 50), CycleStatus.DONE, False),
        (Mode.CLOSE, utc(19, 50), CycleStatus.FAILED, True),
        (Mode.CLOSE, utc(19, 50), CycleStatus.NOTHING_TO_DO, True),
        (Mode.SCAN, utc(13), CycleStatus.FAILED, True),
        (Mode.SCAN, utc(13), CycleStatus.DONE, False),
    ],
)
async def test_a_slot_is_served_once_and_a_close_until_it_is_done(
    stage_at: Callable[[Mode, datetime], LiveStage],
    trading_connection: Connection,
    mode: Mode,
    slot: datetime,
    status: CycleStatus,
    is_due: bool,
) -> None:
    stage = stage_at(mode, slot + timedelta(minutes=1))
    first = await nothing_due(trading_connection, SETTINGS, stage, mode)
    await ran(trading_connection, mode, slot, status)
    again = await nothing_due(trading_connection, SETTINGS, stage, mode)

    assert first is None
    assert again == (None if is_due else f"the {mode} slot of {slot:%H:%M} UTC has been run")


async def test_a_run_that_comes_too_late_says_so_and_keeps_the_slot_as_missed(
    stage_at: Callable[[Mode, datetime], LiveStage], trading_connection: Connection
) -> None:
    await ran(trading_connection, Mode.SCAN, utc(13), CycleStatus.DONE)
    for hour in range(14, 19):
        for minute in (0, 30):
            at = utc(hour, minute)
            await ran(trading_connection, Mode.TRADE, at, CycleStatus.DONE, name=f"{at}")
    await ran(trading_connection, Mode.TRADE, utc(19), CycleStatus.DONE, name="last")
    late = await nothing_due(
        trading_connection, SETTINGS, stage_at(Mode.TRADE, utc(19, 45)), Mode.TRADE
    )
    rows = await trading_connection.fetch("SELECT mode, slot_at, why FROM missed_slots")

    assert late == "the trade slot of 19:30 UTC was not run in time: it is 15 minutes late"
    assert [tuple(row.values()) for row in rows] == [("trade", utc(19, 30), late)]


async def test_after_a_served_slot_a_run_at_the_wrong_hour_has_nothing_to_do(
    stage_at: Callable[[Mode, datetime], LiveStage], trading_connection: Connection
) -> None:
    await ran(trading_connection, Mode.TRADE, utc(19, 30), CycleStatus.NOTHING_TO_DO)
    why = await nothing_due(
        trading_connection, SETTINGS, stage_at(Mode.TRADE, utc(20, 30)), Mode.TRADE
    )

    assert why == "no trade slot is left in this session"
    assert await trading_connection.fetch("SELECT FROM missed_slots WHERE mode = 'trade'") == []
