"""Whole close runs: which part of the session they end, what may outlive it, and who is asked how often."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import Fault, FaultKind, Operation
from market.calendar import Calendar
from shared.database.connection import Connection
from shared.models import Mode, OrderStatus, OrderType
from shared.outcome import Status
from tests.faults.steps import buys, quiet
from tests.fixtures.claude import DONE, LOG, call, messages_of, scripted
from tests.fixtures.theatre import HONG_KONG, Tape, Theatre

Opened = Callable[..., Theatre]
TENCENT = {"symbol": "0700"}


@pytest.fixture
def new_york_day(
    tmp_path: Path,
    trading_connection: Connection,
    research_connection: Connection,
    new_york: Calendar,
) -> Opened:
    def open_theatre(day: date = date(2026, 6, 15)) -> Theatre:
        data = Tape(tmp_path / "tape", calendar=new_york, day=day).write()
        return Theatre(
            tmp_path / "rehearsal", data, trading_connection, research_connection, day=day
        )

    return open_theatre


@pytest.fixture
def hong_kong_day(
    tmp_path: Path,
    trading_connection: Connection,
    research_connection: Connection,
    hong_kong: Calendar,
) -> Opened:
    def open_theatre(day: date = date(2026, 6, 15)) -> Theatre:
        data = Tape(tmp_path / "tape", symbol="0700", calendar=hong_kong, day=day).write()
        return Theatre(
            tmp_path / "rehearsal",
            data,
            trading_connection,
            research_connection,
            settings=HONG_KONG,
            calendar=hong_kong,
            day=day,
        )

    return open_theatre


async def held(theatre: Theatre) -> int:
    rows = await theatre.rows("SELECT quantity FROM positions WHERE status = 'open'")
    return sum(row["quantity"] for row in rows)


async def stops_in_force(theatre: Theatre) -> int:
    """Shares that a stop at the exchange would sell now."""
    broker = theatre.stage().broker()
    try:
        resting = await broker.orders(only_open=True)
    finally:
        await broker.disconnect()
    return sum(
        order.remaining_quantity
        for order in resting
        if order.order_type is OrderType.STOP and order.status is not OrderStatus.HELD
    )


async def of_heartbeat(theatre: Theatre) -> list[dict[str, Any]]:
    return await theatre.rows(
        "SELECT severity, body FROM alerts WHERE subject LIKE 'held after the session%'"
    )


async def test_what_is_held_before_lunch_is_sold_before_lunch(hong_kong_day: Opened) -> None:
    theatre = hong_kong_day()
    await theatre.run(Mode.TRADE, buys(100, **TENCENT))
    close = await theatre.run(Mode.CLOSE, quiet())

    assert f"{close.at:%H:%M}" == "03:50"  # 11:50 in Hong Kong
    assert (close.status, await held(theatre)) == (Status.DONE, 0)


async def test_what_may_be_held_over_lunch_keeps_its_stop_and_is_sold_in_the_afternoon(
    hong_kong_day: Opened,
) -> None:
    theatre = hong_kong_day()
    theatre.schedule(may_hold_over_lunch=True)
    await theatre.run(Mode.TRADE, buys(100, **TENCENT))
    noon = await theatre.run(Mode.CLOSE, quiet())
    over_lunch = (await held(theatre), await stops_in_force(theatre))
    evening = await theatre.run(Mode.CLOSE, quiet())

    assert noon.status is Status.DONE
    assert noon.reason.endswith("; held over lunch: 0700")
    assert noon.orders == 0
    assert over_lunch == (100, 100)
    assert f"{evening.at:%H:%M}" == "07:50"  # 15:50 in Hong Kong
    assert (evening.status, await held(theatre)) == (Status.DONE, 0)


async def test_what_may_be_held_overnight_alone_is_sold_before_lunch(hong_kong_day: Opened) -> None:
    theatre = hong_kong_day()
    theatre.schedule(may_hold_overnight=True)
    await theatre.run(Mode.TRADE, buys(100, **TENCENT))
    await theatre.run(Mode.CLOSE, quiet())

    assert await held(theatre) == 0


async def test_on_a_half_day_the_close_before_noon_is_the_last_one(hong_kong_day: Opened) -> None:
    theatre = hong_kong_day(date(2026, 12, 24))
    theatre.schedule(may_hold_over_lunch=True)
    await theatre.run(Mode.TRADE, buys(100, **TENCENT))
    close = await theatre.run(Mode.CLOSE, quiet())

    assert f"{close.at:%H:%M}" == "03:50"
    assert await held(theatre) == 0


async def test_the_close_comes_before_an_early_close(new_york_day: Opened) -> None:
    theatre = new_york_day(date(2026, 11, 27))
    await theatre.run(Mode.TRADE, buys())
    close = await theatre.run(Mode.CLOSE, quiet())

    assert f"{close.at:%H:%M}" == "17:50"  # 12:50 in New York, which closes at 13:00
    assert (close.status, await held(theatre)) == (Status.DONE, 0)


async def test_what_may_be_held_overnight_is_protected_and_no_alarm(new_york_day: Opened) -> None:
    theatre = new_york_day()
    theatre.schedule(may_hold_overnight=True)
    await theatre.run(Mode.TRADE, buys())
    close = await theatre.run(Mode.CLOSE, quiet())
    await theatre.run(Mode.HEARTBEAT)
    [told] = await of_heartbeat(theatre)

    assert close.reason.endswith("; held overnight: AAPL")
    assert (await held(theatre), await stops_in_force(theatre)) == (10, 10)
    assert told["severity"] == "info"
    assert told["body"].startswith("These positions may be held overnight")


async def test_what_claude_sells_is_sold_also_where_it_might_be_held(new_york_day: Opened) -> None:
    theatre = new_york_day()
    theatre.schedule(may_hold_overnight=True)
    await theatre.run(Mode.TRADE, buys())
    sale = call("close_position", {"symbol": "AAPL", "reason": "enough"})
    await theatre.run(Mode.CLOSE, scripted([sale], [LOG], [DONE]))

    assert await held(theatre) == 0


async def test_a_lost_day_is_sold_also_where_it_might_be_held(new_york_day: Opened) -> None:
    theatre = new_york_day()
    theatre.schedule(may_hold_overnight=True)
    await theatre.run(Mode.TRADE, buys())
    theatre.equity = Decimal(97_000)
    close = await theatre.run(Mode.CLOSE, quiet())

    assert "has reached the limit" in close.reason
    assert await held(theatre) == 0


async def test_resting_entries_are_cancelled_by_a_close_that_holds(new_york_day: Opened) -> None:
    theatre = new_york_day()
    theatre.schedule(may_hold_overnight=True)
    await theatre.run(Mode.TRADE, buys(limit_price=99, take_profit=102))
    await theatre.run(Mode.CLOSE, quiet())

    assert [order.status for order in await theatre.broker_orders()] == ["canceled"]


async def test_claude_is_asked_once_for_a_close_however_often_it_is_repeated(
    new_york_day: Opened,
) -> None:
    theatre = new_york_day()
    await theatre.run(Mode.TRADE, buys())
    theatre.faults.add(Fault(operation=Operation.REPLACE, kind=FaultKind.TIME_OUT))
    first = await theatre.run(Mode.CLOSE, quiet())
    asked = len(theatre.transports)
    second = await theatre.run(Mode.CLOSE, quiet(), again_after=timedelta(seconds=45))

    assert (first.status, first.exit_code) == (Status.FAILED, 1)
    assert second.status is Status.DONE
    assert second.reason.startswith("Claude was asked by an earlier run of this slot")
    assert asked == len(theatre.transports) == 2
    assert await held(theatre) == 0


async def test_a_close_that_found_nothing_held_opens_neither_broker_nor_model(
    new_york_day: Opened,
) -> None:
    theatre = new_york_day()
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.CLOSE, quiet())
    asked = (theatre.faults.calls(Operation.ACCOUNT), len(theatre.transports))
    again = await theatre.run(Mode.CLOSE, quiet(), again_after=timedelta(minutes=1))

    assert (again.status, again.exit_code) == (Status.NOTHING_TO_DO, 0)
    assert again.reason == "nothing is held, so nothing has to be closed"
    assert (theatre.faults.calls(Operation.ACCOUNT), len(theatre.transports)) == asked


@pytest.mark.parametrize(
    ("may_hold", "said"),
    [(False, "may not be held overnight"), (True, "may be held overnight")],
)
async def test_claude_is_told_whether_what_it_leaves_is_sold(
    new_york_day: Opened, may_hold: bool, said: str
) -> None:
    theatre = new_york_day()
    theatre.schedule(may_hold_overnight=may_hold)
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.CLOSE, quiet())

    assert said in str(messages_of(theatre.transports[-1].bodies[0])[0])
