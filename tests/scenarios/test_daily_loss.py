"""The day on which too much is lost: first a warning, then everything of ours is sold by rule and trading halts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.paper import PaperBroker
from rehearsal.stage import Stage, begin, set_stage
from rehearsal.stand_in import Policy
from shared import trading_state
from shared.database.connection import Connection
from shared.models import Mode, Side, TradingState
from shared.outcome import Status
from tests.brokers.order_requests import order_request
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.databases import open_connection
from tests.fixtures.market_data import GENERATED_DAY
from tests.fixtures.theatre import Tape, Theatre, exchange_file, sale_of, trade_of

TRADE_AT = 30
"""Minutes from the open to the first trade slot; the next one is 30 minutes later."""
FALLS_AT = TRADE_AT + 5
LIMIT = Decimal(70)
WARNING_PCT = Decimal("0.03")  # 30 at an equity of 100,000
NEXT_DAY = timedelta(days=1)

Opened = Callable[[str], Theatre]


class GoesOn(Theatre):
    """The theatre that the next process finds."""

    def __post_init__(self) -> None:
        """Begins nothing."""


@pytest.fixture
def fallen(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Opened:
    """Opens a theatre in which the price falls after the first trade, and then stays."""

    def open_theatre(price: str) -> Theatre:
        tape = Tape(tmp_path / "tape")
        tape.settle_at(price, since=FALLS_AT)
        data = tape.write()
        theatre = Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)
        set_limits(theatre)
        return theatre

    return open_theatre


def set_limits(theatre: Theatre, **changes: Any) -> None:
    bounds = {"daily_loss_limit": LIMIT, "daily_loss_warning_pct": WARNING_PCT} | changes
    limits = theatre.settings.limits.model_copy(update=bounds)
    theatre.settings = theatre.settings.model_copy(update={"limits": limits})


def buys(quantity: int = 40) -> Policy:
    """Buy with a stop that the fall does not reach."""
    bought = trade_of(quantity, stop_loss=97, take_profit=110)
    return scripted([call("execute_trade", bought)], [LOG], [DONE])


def quiet() -> Policy:
    return scripted([LOG], [DONE])


def buy_by_hand(theatre: Theatre, quantity: int) -> None:
    """As a person does in the broker's own app."""
    stage = set_stage(theatre.settings, theatre.folder, theatre.calendar, Mode.SCAN, force=True)
    assert isinstance(stage, Stage)
    broker = PaperBroker(
        exchange_file(stage),
        stage.recording,
        stage.clock,
        account_id=f"PAPER-REHEARSAL-{stage.bookmark.number}",
        currency="USD",
        starting_cash=theatre.settings.broker.starting_cash,
        volume_share_pct=theatre.settings.broker.volume_share_pct,
    )
    broker._exchange.place(order_request(Side.BUY, quantity, symbol="AAPL"))


async def held(theatre: Theatre) -> list[dict[str, Any]]:
    return await theatre.rows("SELECT symbol, quantity FROM positions WHERE status = 'open'")


async def alerts(theatre: Theatre) -> list[tuple[str, str]]:
    rows = await theatre.rows("SELECT severity, subject FROM alerts ORDER BY alert_id")
    return [(row["severity"], row["subject"]) for row in rows]


async def state_at(theatre: Theatre, moment: datetime | None) -> TradingState:
    assert moment is not None
    home = theatre.folder.parent
    return (await trading_state.current(theatre.trading, "rehearsal", home, moment)).state


async def test_on_the_way_a_person_and_claude_are_warned_once_and_trading_goes_on(
    fallen: Opened,
) -> None:
    theatre = fallen("99.00")
    await theatre.run(Mode.TRADE, buys())
    after = await theatre.run(Mode.TRADE, quiet())
    told = str(theatre.transports[-1].bodies[0])
    await theatre.run(Mode.TRADE, quiet())

    assert after.session_pnl is not None
    assert -LIMIT < after.session_pnl <= -30
    (warning,) = await alerts(theatre)
    assert warning[0] == "warning"
    assert warning[1].startswith("the day's loss is 4")
    assert '\\"daily_loss_warning\\":true' in told or '"daily_loss_warning":true' in told
    assert await held(theatre) == [{"symbol": "AAPL", "quantity": 40}]
    assert await state_at(theatre, after.at) is TradingState.ACTIVE


async def test_a_cent_before_the_warning_nobody_is_warned(fallen: Opened) -> None:
    theatre = fallen("99.00")
    await theatre.run(Mode.TRADE, buys())
    start = 100_000
    seen = await theatre.run(Mode.TRADE, quiet(), dry_run=True)
    assert seen.equity is not None
    loss = start - seen.equity
    await theatre.trading.execute("DELETE FROM alerts")
    set_limits(theatre, daily_loss_warning_pct=(loss + Decimal("0.01")) / start * 100)
    await theatre.run(Mode.TRADE, quiet())
    before = await alerts(theatre)
    set_limits(theatre, daily_loss_warning_pct=loss / start * 100)
    await theatre.run(Mode.TRADE, quiet())

    assert before == []
    assert [severity for severity, _ in await alerts(theatre)] == ["warning"]


async def test_at_the_limit_everything_is_sold_without_asking_claude(fallen: Opened) -> None:
    theatre = fallen("98.00")
    await theatre.run(Mode.TRADE, buys())
    outcome = await theatre.run(Mode.TRADE, buys(5))

    assert (outcome.status, outcome.positions, outcome.exit_code) == (Status.DONE, 0, 0)
    assert "has reached the limit of 70; sold by rule: AAPL" in outcome.reason
    assert len(theatre.transports) == 1
    assert await held(theatre) == []
    assert [order.symbol for order in await theatre.broker_orders() if order.status.is_open] == []


async def test_an_entry_that_rests_is_cancelled_before_everything_is_sold(fallen: Opened) -> None:
    theatre = fallen("98.00")
    dip = trade_of(5, limit_price=98.1, stop_loss=96, take_profit=110)
    both = [call("execute_trade", dip), *buys()({})]
    await theatre.run(Mode.TRADE, scripted(both, [LOG], [DONE]))
    await theatre.run(Mode.TRADE, quiet())

    assert await held(theatre) == []
    assert [order.symbol for order in await theatre.broker_orders() if order.status.is_open] == []


async def test_the_halt_is_recorded_and_mailed_once(fallen: Opened) -> None:
    theatre = fallen("98.00")
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.TRADE, quiet())
    await theatre.run(Mode.TRADE, quiet())
    (halt,) = await theatre.rows("SELECT kind, state, lifted_at, expires_at FROM halts")
    mailed = [subject for severity, subject in await alerts(theatre) if severity == "critical"]

    assert (halt["kind"], halt["state"], halt["lifted_at"]) == ("daily_loss", "halted", None)
    assert halt["expires_at"] == datetime(2026, 6, 16, 13, 30, tzinfo=UTC)
    assert len(mailed) == 1
    assert mailed[0].startswith("rehearsal is halted: the day's loss of ")


async def test_entries_are_refused_by_the_halt_and_by_the_loss_itself(fallen: Opened) -> None:
    """Even where the close by rule did not come first, safety refuses on its own."""
    theatre = fallen("98.00")
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.TRADE, quiet())
    set_limits(theatre, daily_loss_limit=Decimal(1000))
    by_halt = await theatre.run(Mode.TRADE, buys(5))
    await theatre.trading.execute("DELETE FROM halts")
    trading_state.forget(theatre.folder.parent, "rehearsal")
    set_limits(theatre)
    losing = await theatre.run(Mode.TRADE, buys(5))

    assert "TRADING_STATE" in by_halt.refusals
    assert losing.orders == 0
    assert "has reached the limit" in losing.reason


async def test_the_loss_that_comes_in_the_middle_of_a_cycle_refuses_the_next_entry(
    fallen: Opened,
) -> None:
    """A loss by the spread alone, so that no time has to pass between the two purchases."""
    theatre = fallen("100.00")
    set_limits(theatre, daily_loss_limit=Decimal("0.10"), daily_loss_warning_pct=Decimal("0.0001"))
    round_trip = [call("execute_trade", trade_of(49)), call("execute_trade", sale_of(49))]
    again = [call("execute_trade", trade_of(5))]
    outcome = await theatre.run(Mode.TRADE, scripted(round_trip, again, [LOG], [DONE]))

    assert outcome.orders == 2
    assert "DAILY_LOSS" in outcome.refusals


async def test_a_position_can_still_be_left_by_hand_while_halted(fallen: Opened) -> None:
    theatre = fallen("100.00")
    await theatre.run(Mode.TRADE, buys())
    await trading_state.halt_for_daily_loss(
        theatre.trading,
        agent_id="rehearsal",
        home=theatre.folder.parent,
        why="the day's loss",
        at=datetime(2026, 6, 15, 14, 10, tzinfo=UTC),
        next_open=datetime(2026, 6, 16, 13, 30, tzinfo=UTC),
        cycle_id=None,
    )
    outcome = await theatre.run(
        Mode.TRADE,
        scripted(
            [call("execute_trade", trade_of(5)), call("execute_trade", sale_of(40))], [LOG], [DONE]
        ),
    )

    assert "TRADING_STATE" in outcome.refusals
    assert outcome.positions == 0


async def test_a_new_process_with_new_connections_is_halted_and_counts_from_the_same_equity(
    fallen: Opened, trading_database_url: str, research_database_url: str
) -> None:
    theatre = fallen("98.00")
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.TRADE, quiet())
    trading = await open_connection(trading_database_url)
    research = await open_connection(research_database_url)
    restarted = GoesOn(theatre.folder, theatre.data, trading, research)
    set_limits(restarted)
    outcome = await restarted.run(Mode.TRADE, buys(5))
    starts = await restarted.rows("SELECT starting_capital FROM trading_sessions")
    state = await state_at(restarted, outcome.at)
    await trading.close()
    await research.close()

    assert (outcome.orders, state) == (0, TradingState.HALTED)
    assert "has reached the limit of 70" in outcome.reason
    assert starts == [{"starting_capital": Decimal(100_000)}]


async def test_a_dry_run_reports_the_loss_and_neither_sells_nor_halts(fallen: Opened) -> None:
    theatre = fallen("98.00")
    await theatre.run(Mode.TRADE, buys())
    outcome = await theatre.run(Mode.TRADE, quiet(), dry_run=True)

    assert "has reached the limit" in outcome.reason
    assert await held(theatre) == [{"symbol": "AAPL", "quantity": 40}]
    assert await state_at(theatre, outcome.at) is TradingState.ACTIVE


async def test_what_was_bought_by_hand_counts_as_loss_and_is_not_sold(fallen: Opened) -> None:
    theatre = fallen("98.00")
    await theatre.run(Mode.TRADE, quiet())
    buy_by_hand(theatre, 40)
    outcome = await theatre.run(Mode.TRADE, quiet())

    assert "has reached the limit of 70" in outcome.reason
    assert outcome.positions == 1
    assert [order.side for order in await theatre.broker_orders()] == ["buy"]


async def test_the_next_session_trades_again(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> None:
    tape = Tape(tmp_path / "tape")
    even_day = [*tape._lines.values()]
    tape.settle_at("98.00", since=FALLS_AT)
    data = tape.write()
    with (data / "bars.csv").open("a") as file:
        file.writelines(f"{line.replace('2026-06-15', '2026-06-16')}\n" for line in even_day)
    theatre = Theatre(tmp_path / "rehearsal", data, trading_connection, research_connection)
    begin(theatre.settings, theatre.folder, theatre.calendar, data=theatre.data)
    set_limits(theatre)
    await theatre.run(Mode.TRADE, buys())
    lost = await theatre.run(Mode.TRADE, quiet())
    rest = [await theatre.run(Mode.TRADE, quiet()) for _ in range(10)]
    await theatre.run(Mode.CLOSE, quiet())
    await theatre.run(Mode.HEARTBEAT, quiet())
    morning = await theatre.run(Mode.TRADE, buys(5))

    assert all("has reached the limit" in one.reason for one in (lost, *rest))
    assert lost.at is not None
    assert morning.at is not None
    assert morning.at.date() == lost.at.date() + NEXT_DAY
    assert (morning.orders, morning.fills, morning.refusals) == (1, 1, ())
    assert await state_at(theatre, morning.at) is TradingState.ACTIVE


async def test_on_the_calendars_last_day_a_lost_day_is_closed_too(fallen: Opened) -> None:
    theatre = fallen("98.00")
    theatre.calendar = replace(theatre.calendar, last_date=GENERATED_DAY)
    await theatre.run(Mode.TRADE, buys())
    outcome = await theatre.run(Mode.TRADE, quiet())

    assert outcome.status is Status.DONE
    assert await held(theatre) == []
    assert await state_at(theatre, outcome.at) is TradingState.HALTED
