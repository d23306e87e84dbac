"""Whole runs at a broker without stops: cycles from slot to slot, watches, Hong Kong's lunch and a half day."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import Fault, FaultKind, Operation
from market.calendar import Calendar
from shared.database import monitor
from shared.database.connection import Connection
from shared.models import Mode, Side
from shared.outcome import Status
from tests.faults.steps import buys, quiet
from tests.fixtures.plain_broker import PlainBroker
from tests.fixtures.theatre import HONG_KONG, Tape, Theatre
from tests.fixtures.watch import Lookout

BOUGHT_AT = 30
"""Minutes of trading from the open to the first trade slot."""
MINUTES_TO_LUNCH = 150
TENCENT = {"symbol": "0700"}
DAY, HALF_DAY = date(2026, 12, 23), date(2026, 12, 24)


class Begin:
    """Begins a session of Hong Kong on a tape, at a plain broker, after 100 shares were bought at 100."""

    def __init__(
        self, folder: Path, trading: Connection, research: Connection, calendar: Calendar, url: str
    ) -> None:
        self._folder: Path = folder
        self._databases: tuple[Connection, Connection] = (trading, research)
        self._calendar: Calendar = calendar
        self._url: str = url

    def tape(self, day: date = DAY) -> Tape:
        return Tape(self._folder / "tape", symbol="0700", calendar=self._calendar, day=day)

    def empty(self, tape: Tape, **schedule: Any) -> Lookout:
        theatre = Theatre(
            self._folder / "home" / "rehearsal",
            tape.write(),
            *self._databases,
            settings=HONG_KONG,
            calendar=self._calendar,
            day=tape.day,
            kind=PlainBroker,
        )
        theatre.schedule(**schedule)
        return Lookout(theatre, self._url)

    async def holding(self, tape: Tape, **schedule: Any) -> Lookout:
        lookout = self.empty(tape, **schedule)
        await lookout.theatre.run(Mode.TRADE, buys(100, **TENCENT))
        return lookout


@pytest.fixture
def begin(
    tmp_path: Path,
    trading_connection: Connection,
    research_connection: Connection,
    hong_kong: Calendar,
    trading_database_url: str,
) -> Begin:
    return Begin(tmp_path, trading_connection, research_connection, hong_kong, trading_database_url)


async def sales(lookout: Lookout) -> list[tuple[int, str]]:
    """Every sale that the exchange ever had: its shares, and the time of day in UTC at which it filled."""
    return [
        (order.filled_quantity, f"{order.updated_at:%H:%M}")
        for order in await lookout.theatre.broker_orders()
        if order.side is Side.SELL
    ]


async def alarms(lookout: Lookout) -> list[tuple[str, str, str]]:
    rows = await lookout.rows("SELECT severity, subject, body FROM alerts ORDER BY alert_id")
    return [(row["severity"], row["subject"], row["body"]) for row in rows]


async def silent_since(lookout: Lookout, seconds: float) -> None:
    """The monitor made its last pass so long before the next trade slot."""
    theatre = lookout.theatre
    slot = theatre.stage().session.opens_at + timedelta(minutes=60)
    at = slot - timedelta(seconds=seconds)
    await monitor.beat(
        theatre.trading,
        agent_id=theatre.settings.agent.id,
        cycle_id=None,
        host="test",
        pid=1,
        started_at=at,
        at=at,
        passed=True,
        positions=1,
        problem=None,
    )
    theatre.watched = False


# -- the day


async def test_from_entry_to_target_through_whole_runs_nothing_but_two_orders_reach_the_broker(
    begin: Begin,
) -> None:
    tape = begin.tape()
    tape.settle_at("105.00", since=BOUGHT_AT + 5)
    lookout = await begin.holding(tape)
    outcome = await lookout.keep(10)
    (stop,) = await lookout.rows("SELECT stop_loss, order_class FROM orders WHERE side = 'buy'")

    assert (stop["stop_loss"], stop["order_class"]) == (Decimal(98), "simple")
    assert await sales(lookout) == [(100, "02:06")]
    assert len(await lookout.theatre.broker_orders()) == 2
    assert outcome.details["left"] == ["0700"]
    assert outcome.details["naked_seconds"] == 0
    assert await alarms(lookout) == []


async def test_the_close_before_lunch_sells_what_may_not_be_held_over_it(begin: Begin) -> None:
    lookout = await begin.holding(begin.tape(), may_hold_over_lunch=False)
    close = await lookout.theatre.run(Mode.CLOSE, quiet())

    assert (f"{close.at:%H:%M}", close.status, close.positions) == ("03:50", Status.DONE, 0)
    assert [quantity for quantity, _ in await sales(lookout)] == [100]


async def test_what_may_be_held_over_lunch_is_held_and_sold_below_its_stop_right_after_it(
    begin: Begin,
) -> None:
    tape = begin.tape()
    tape.settle_at("90.00", since=MINUTES_TO_LUNCH)
    lookout = await begin.holding(tape, may_hold_over_lunch=True, may_hold_overnight=True)
    close = await lookout.theatre.run(Mode.CLOSE, quiet())
    await lookout.keep(70)
    at_lunch = await sales(lookout)
    asked = str(lookout.theatre.transports[-1].bodies[0])
    await lookout.keep(5)

    assert (close.status, at_lunch) == (Status.DONE, [])
    assert "held over lunch; nothing guards them while the exchange is closed" in asked
    assert await sales(lookout) == [(100, "05:01")]
    # of the morning, in which nobody watched: lunch is no part of it
    assert [subject for _, subject, _ in await alarms(lookout)] == [
        "3 slots were missed",
        "0700: nobody guarded it for 6600 seconds",
    ]


async def test_a_half_day_is_closed_before_its_early_close(begin: Begin) -> None:
    lookout = await begin.holding(begin.tape(HALF_DAY))
    close = await lookout.theatre.run(Mode.CLOSE, quiet())

    assert (f"{close.at:%H:%M}", close.status, close.positions) == ("03:50", Status.DONE, 0)


async def test_what_is_held_over_night_is_told_as_it_is(begin: Begin) -> None:
    lookout = await begin.holding(begin.tape(HALF_DAY), may_hold_overnight=True)
    await lookout.theatre.run(Mode.CLOSE, quiet())
    await lookout.theatre.run(Mode.HEARTBEAT, quiet())
    told = [one for one in await alarms(lookout) if one[1].startswith("held after")]

    assert [severity for severity, _, _ in told] == ["info"]
    assert "nothing of theirs rests at this broker" in told[0][2]


# -- silence


@pytest.mark.parametrize(
    ("seconds", "refused", "alarmed"), [(60, False, False), (61, True, False), (151, True, True)]
)
async def test_silence_refuses_entries_after_a_minute_and_is_critical_after_two_and_a_half(
    begin: Begin, seconds: int, refused: bool, alarmed: bool
) -> None:
    lookout = begin.empty(begin.tape())
    await lookout.theatre.run(Mode.TRADE, quiet())
    await silent_since(lookout, seconds)
    outcome = await lookout.theatre.run(Mode.TRADE, buys(100, **TENCENT))
    told = await alarms(lookout)

    assert outcome.refusals == (("MONITOR_SILENT",) if refused else ())
    assert [severity for severity, _, _ in told] == (["critical"] if alarmed else [])
    if alarmed:
        assert told[0][1] == "nobody watches the positions: the monitor is silent for 151 seconds"
        assert "NOBODY GUARDS what is held" in told[0][2]


async def test_a_setting_that_lets_nobody_watch_silences_no_alarm(begin: Begin) -> None:
    lookout = begin.empty(begin.tape())
    settings = lookout.theatre.settings
    unwatched = settings.monitor.model_copy(update={"entries_need_a_check_within_seconds": None})
    lookout.theatre.settings = settings.model_copy(update={"monitor": unwatched})
    await lookout.theatre.run(Mode.TRADE, quiet())
    await silent_since(lookout, 151)
    outcome = await lookout.theatre.run(Mode.TRADE, buys(100, **TENCENT))

    assert outcome.refusals == ("MONITOR_SILENT",)
    assert [severity for severity, _, _ in await alarms(lookout)] == ["critical"]


@pytest.mark.parametrize("seconds", [150, 160])
async def test_a_monitor_that_was_killed_and_is_back_tells_that_nobody_guarded(
    begin: Begin, seconds: int
) -> None:
    tape = begin.tape()
    tape.settle_at("97.00", since=BOUGHT_AT + 3)
    lookout = await begin.holding(tape)
    await lookout.keep(1)
    now = lookout.theatre.stage().clock.now()
    lookout.theatre.move_to(now + timedelta(seconds=seconds))
    outcome = await lookout.keep(3)
    told = await alarms(lookout)

    assert [quantity for quantity, _ in await sales(lookout)] == [100]
    naked = outcome.details["naked_seconds"]
    assert isinstance(naked, float)
    assert seconds <= naked <= seconds + 15
    backs = [one for one in told if one[1].startswith("nobody watched")]
    assert [one[0] for one in backs] == (["critical"] if seconds == 160 else [])
    assert all("NOBODY GUARDED" in one[2] for one in backs)


@pytest.mark.parametrize("operation", [Operation.ACCOUNT, Operation.POSITIONS])
async def test_a_monitor_that_sees_nothing_tells_so_itself_while_it_lasts(
    begin: Begin, operation: Operation
) -> None:
    lookout = await begin.holding(begin.tape())
    await lookout.keep(1)
    lookout.theatre.faults.add(Fault(operation=operation, kind=FaultKind.REFUSE, times=None))
    await lookout.keep(2)
    early = await alarms(lookout)
    await lookout.keep(3)
    told = [one for one in await alarms(lookout) if "sees nothing" in one[1]]

    assert early == []
    assert [severity for severity, _, _ in told] == ["critical"]
    assert "and no stop rests" in told[0][1]
    assert "Held: 0700" in told[0][2]


async def test_lunch_is_no_silence(begin: Begin) -> None:
    lookout = await begin.holding(begin.tape(), may_hold_over_lunch=True)
    opens = lookout.theatre.stage().session.opens_at
    lookout.theatre.move_to(opens + timedelta(minutes=MINUTES_TO_LUNCH - 1))
    await lookout.keep(1)
    before = await alarms(lookout)
    lookout.theatre.move_to(opens + timedelta(minutes=MINUTES_TO_LUNCH + 61))
    outcome = await lookout.keep(1)

    assert await alarms(lookout) == before
    assert outcome.status is Status.DONE
