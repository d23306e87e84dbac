"""A watch from its first pass to its end, and what it does when database, broker or code go away under it."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import vigil
from brokers.faults import Fault, FaultKind, Operation
from guard import Guard
from shared.database.connection import Connection
from shared.errors import LockLost
from shared.models import Mode, OrderStatus, OrderType, Side
from tests.faults.steps import buys
from tests.fixtures.theatre import Tape, Theatre
from tests.fixtures.watch import Lookout

BOUGHT_AT = 30
"""Minutes from the open to the first trade slot."""


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "tape")


@pytest.fixture
def watched(
    tmp_path: Path,
    trading_connection: Connection,
    research_connection: Connection,
    trading_database_url: str,
) -> Callable[[Tape], Lookout]:
    def begin(tape: Tape) -> Lookout:
        folder = tmp_path / "home" / "rehearsal"
        theatre = Theatre(folder, tape.write(), trading_connection, research_connection)
        return Lookout(theatre, trading_database_url)

    return begin


@pytest.fixture
async def holding(watched: Callable[[Tape], Lookout], tape: Tape) -> Lookout:
    """Ten shares that were bought at 100 in the first trade slot, with a stop at 98."""
    lookout = watched(tape)
    await lookout.theatre.run(Mode.TRADE, buys())
    return lookout


async def held(lookout: Lookout) -> int:
    broker = lookout.theatre.stage().broker()
    try:
        return int(sum(position.quantity for position in await broker.positions()))
    finally:
        await broker.disconnect()


async def stops(lookout: Lookout) -> list[Any]:
    broker = lookout.theatre.stage().broker()
    try:
        found = await broker.orders(only_open=True)
    finally:
        await broker.disconnect()
    return [
        order
        for order in found
        if order.order_type is OrderType.STOP and order.status is not OrderStatus.HELD
    ]


async def drop_the_stop(lookout: Lookout) -> None:
    """The broker loses everything that rests, and tells nobody."""
    broker = lookout.theatre.stage().broker()
    exchange: Any = broker
    resting = [o for o in await broker.orders(only_open=True) if o.side is Side.SELL]
    exchange._exchange.cancel(resting[0].broker_order_id)
    await broker.disconnect()


async def test_a_pass_a_minute_and_signs_of_life_in_between(holding: Lookout) -> None:
    outcome = await holding.keep(10)
    (beat,) = await holding.rows("SELECT * FROM monitor_heartbeats")
    (cycle,) = await holding.rows("SELECT * FROM trading_cycles WHERE mode = 'monitor'")

    assert (outcome.details["passes"], beat["passes"], beat["positions"]) == (10, 10, 1)
    assert holding.signs == 10 + 3 * 10
    assert beat["cycle_id"] == cycle["cycle_id"]
    assert cycle["status"] == "done"
    assert (beat["beat_at"] - beat["passed_at"]).total_seconds() == 60


async def test_a_database_that_was_gone_for_a_moment_costs_nothing(holding: Lookout) -> None:
    async def cut(trading: Connection) -> None:
        trading.terminate()

    holding.after_pass[3] = cut
    outcome = await holding.keep(10)
    (beat,) = await holding.rows("SELECT passes FROM monitor_heartbeats")

    assert holding.vigils[-1].tally.passes == beat["passes"] >= 9
    assert "1 passes without the database" in outcome.reason
    assert holding.cries == 1
    assert len(await holding.rows("SELECT FROM trading_cycles WHERE mode = 'monitor'")) == 1


async def test_without_a_database_a_stop_that_was_lost_is_laid_down_and_known_later(
    holding: Lookout,
) -> None:
    await holding.keep(2)
    await drop_the_stop(holding)
    holding.away = [True] * 8
    outcome = await holding.keep(2)
    assert await stops(holding) != []
    assert outcome.details["passes"] == 0
    journal = holding.theatre.stage().home / "journal"
    (line,) = [path.name for path in journal.iterdir()]
    assert line.startswith("rehearsal.monitor-")

    await holding.keep(2)
    orders = await holding.rows(
        "SELECT order_purpose, status FROM orders WHERE order_purpose IN ('stop_loss', 'take_profit')"
        " AND status = 'accepted'"
    )
    assert len(await stops(holding)) == 1
    assert orders != []
    subjects = [row["subject"] for row in await holding.rows("SELECT subject FROM alerts")]
    assert any("lost its database" in subject for subject in subjects)


async def test_without_a_database_what_is_through_its_stop_and_naked_is_sold_once(
    watched: Callable[[Tape], Lookout], tape: Tape
) -> None:
    tape.settle_at("97.00", since=BOUGHT_AT + 3)
    lookout = watched(tape)
    await lookout.theatre.run(Mode.TRADE, buys())
    await drop_the_stop(lookout)
    lookout.theatre.move_to(lookout.theatre.stage().clock.now() + timedelta(minutes=4))
    lookout.away = [True] * 12
    await lookout.keep(3)
    assert await held(lookout) == 0

    await lookout.keep(2)
    (position,) = await lookout.rows("SELECT status, exit_price FROM positions")
    exits = await lookout.rows("SELECT FROM orders WHERE order_purpose = 'exit'")
    assert (position["status"], position["exit_price"]) == ("closed", Decimal("96.99"))
    assert len(exits) == 1


async def test_an_exit_whose_answer_is_lost_is_proven_and_sent_once(
    watched: Callable[[Tape], Lookout], tape: Tape
) -> None:
    tape.settle_at("98.50", since=BOUGHT_AT + 2)
    lookout = watched(tape)
    await lookout.theatre.run(Mode.TRADE, buys())
    lookout.theatre.settings = with_signals(lookout.theatre, stop_loss_pct=Decimal(1))
    lookout.theatre.faults.add(Fault(operation=Operation.REPLACE, kind=FaultKind.DROP_REPLY))
    await lookout.keep(8)
    exits = await lookout.rows("SELECT status FROM orders WHERE order_purpose = 'exit'")

    assert [row["status"] for row in exits] == ["filled"]
    assert await held(lookout) == 0


async def test_an_exit_that_never_arrived_is_proven_absent_and_sent_anew(
    watched: Callable[[Tape], Lookout], tape: Tape
) -> None:
    tape.settle_at("98.50", since=BOUGHT_AT + 2)
    lookout = watched(tape)
    await lookout.theatre.run(Mode.TRADE, buys())
    lookout.theatre.settings = with_signals(lookout.theatre, stop_loss_pct=Decimal(1))
    lookout.theatre.faults.add(Fault(operation=Operation.REPLACE, kind=FaultKind.TIME_OUT))
    await lookout.keep(10)
    exits = await lookout.rows(
        "SELECT status FROM orders WHERE order_purpose = 'exit' ORDER BY order_id"
    )
    (fence,) = await lookout.rows("SELECT token FROM agent_locks WHERE role = 'monitor'")

    assert fence["token"] >= 2  # only a later holder of the lock proves an order absent
    assert [row["status"] for row in exits] == ["not_placed", "filled"]
    assert await held(lookout) == 0


async def test_a_stop_that_never_arrived_is_proven_absent_within_seconds_and_sent_anew(
    holding: Lookout,
) -> None:
    await drop_the_stop(holding)
    holding.theatre.faults.add(Fault(operation=Operation.PLACE, kind=FaultKind.TIME_OUT))
    outcome = await holding.keep(2)
    sent = await holding.rows(
        "SELECT status FROM orders WHERE order_purpose = 'stop_loss' AND parent_order_id IS NULL"
        " ORDER BY order_id"
    )

    assert [row["status"] for row in sent] == ["not_placed", "accepted"]
    assert len(await stops(holding)) == 1
    assert outcome.details["naked_seconds"] == vigil.BETWEEN_LOOKS.total_seconds()


async def test_a_broker_that_does_not_answer_is_silence_and_then_it_goes_on(
    holding: Lookout,
) -> None:
    holding.theatre.faults.add(
        Fault(operation=Operation.ORDERS, kind=FaultKind.REFUSE, times=9, reason="overloaded")
    )
    outcome = await holding.keep(10)
    (beat,) = await holding.rows("SELECT passes, problem FROM monitor_heartbeats")

    assert 0 < beat["passes"] < 10
    assert beat["problem"] is None
    assert outcome.details["passes"] == beat["passes"]
    assert holding.signs > 0


async def test_a_broker_that_stays_away_leaves_the_last_sign_of_life_where_it_was(
    holding: Lookout,
) -> None:
    await holding.keep(2)
    (before,) = await holding.rows("SELECT beat_at FROM monitor_heartbeats")
    holding.theatre.faults.add(
        Fault(operation=Operation.ORDERS, kind=FaultKind.REFUSE, times=None, reason="overloaded")
    )
    await holding.keep(5)
    (after,) = await holding.rows("SELECT beat_at, problem FROM monitor_heartbeats")

    assert after["beat_at"] == before["beat_at"]
    assert "overloaded" in after["problem"]


async def test_a_lock_file_that_was_taken_away_ends_it_and_nothing_is_sold_meanwhile(
    holding: Lookout,
) -> None:
    async def take_away(trading: Connection) -> None:
        del trading
        (holding.theatre.stage().home / "locks" / "rehearsal.monitor.lock").unlink()
        await asyncio.sleep(2)  # the lock is looked at twice a second

    holding.after_pass[3] = take_away
    with pytest.raises(LockLost, match="was removed"):
        await holding.keep(60)

    assert holding.vigils[-1].tally.passes == 3
    assert holding.vigils[-1].tally.blind_passes == 0


async def test_a_session_in_the_database_that_ended_is_no_reason_to_guard_blindly(
    holding: Lookout,
) -> None:
    async def end_the_locks_session(trading: Connection) -> None:
        await trading.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
        await asyncio.sleep(2)

    holding.after_pass[3] = end_the_locks_session
    await holding.keep(10)

    assert holding.vigils[-1].tally.blind_passes == 0
    assert holding.vigils[-1].tally.passes >= 9


async def test_it_ends_when_the_code_under_it_was_updated(
    holding: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = itertools.chain(["old"] * 6, itertools.repeat("new"))

    def version(project: Path) -> str:
        del project
        return next(versions)

    monkeypatch.setattr(vigil, "code_version", version)
    outcome = await holding.keep(60, ends_with_the_code=True)

    assert "the code under it was updated" in outcome.reason
    assert holding.vigils[-1].tally.passes < 5


async def test_a_defect_is_survived_twice_and_the_third_ends_the_process(
    holding: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(guard: Guard) -> Any:
        raise ZeroDivisionError(guard.passes)

    monkeypatch.setattr(Guard, "make_pass", broken)
    with pytest.raises(ZeroDivisionError):
        await holding.keep(60)
    (beat,) = await holding.rows("SELECT passes, problem FROM monitor_heartbeats")

    assert beat["passes"] == 0
    assert "a defect in Catalyst: ZeroDivisionError" in beat["problem"]


async def test_one_that_comes_back_after_a_long_silence_says_so(holding: Lookout) -> None:
    await holding.keep(2)
    holding.theatre.move_to(holding.theatre.stage().clock.now() + timedelta(seconds=200))
    await holding.keep(2)
    subjects = [row["subject"] for row in await holding.rows("SELECT subject FROM alerts")]

    assert "nobody watched for 200 seconds" in subjects


async def test_a_cycle_says_when_nobody_watches(holding: Lookout) -> None:
    await holding.keep(2)
    holding.theatre.watched = False
    await holding.theatre.run(Mode.TRADE, buys())
    subjects = [row["subject"] for row in await holding.rows("SELECT subject FROM alerts")]
    codes = [row["codes"] for row in await holding.rows("SELECT codes FROM refusals")]

    assert any(subject.startswith("nobody watches the positions") for subject in subjects)
    assert any("MONITOR_SILENT" in of_one for of_one in codes)


async def test_after_the_session_what_is_held_sleeps_until_the_next_open(holding: Lookout) -> None:
    left = (holding.theatre.stage().session.closes_at - holding.theatre.stage().clock.now()) / 60
    holding.theatre.settings = with_signals(
        holding.theatre, minutes_to_close=1, minutes_to_close_soon=1, time_stop_minutes=9999
    )
    schedule = holding.theatre.settings.schedule.model_copy(update={"may_hold_overnight": True})
    holding.theatre.settings = holding.theatre.settings.model_copy(update={"schedule": schedule})
    await holding.keep(left.total_seconds() + 5)
    rows = await holding.rows("SELECT status, next_check_at FROM position_monitor_status")

    assert [row["status"] for row in rows] == ["sleeping"]
    assert f"{rows[0]['next_check_at']:%Y-%m-%d %H:%M}" == "2026-06-16 13:30"


def with_signals(theatre: Theatre, **changes: Any) -> Any:
    """The theatre's settings with other thresholds."""
    signals = theatre.settings.signals.model_copy(update=changes)
    return theatre.settings.model_copy(update={"signals": signals})
