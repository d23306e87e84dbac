from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import reduce
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.database.connection import Connection
from shared.database.orders import (
    PositionRecord,
    insert_intent,
    open_positions,
    positions_of_session,
    realized_pnl,
    record_broker_order,
    unexplained_fills,
)
from shared.ledger import PositionState, apply_fill
from shared.models import Fill, Side
from tests.fixtures.broker_orders import (
    AGENT,
    AT,
    at,
    entry,
    exit_request,
    fill_of,
    filled,
    intended,
    reported,
    reported_exit,
    sender,
)

examples = count(1)
NOTHING: PositionState | None = None


@dataclass(frozen=True)
class Step:
    is_buy: bool
    quantity: int
    price: Decimal
    fee: Decimal


STEPS = st.lists(
    st.builds(
        Step,
        is_buy=st.booleans(),
        quantity=st.integers(min_value=1, max_value=300),
        price=st.decimals(min_value="0.01", max_value="500", places=3),
        fee=st.decimals(min_value="0", max_value="9", places=2),
    ),
    min_size=1,
    max_size=5,
)


async def trade(
    connection: Connection,
    number: int,
    side: Side,
    quantity: int,
    price: str,
    *,
    fee: str = "0",
    agent_id: str = AGENT,
    seconds: float | None = None,
) -> Fill:
    """Write an order down and report it as filled at once; return its fill."""
    name = f"{agent_id}-{number}"
    draft = entry if side is Side.BUY else exit_request
    await insert_intent(
        connection,
        agent_id=agent_id,
        cycle_id=None,
        request=draft(client_order_id=name, quantity=quantity),
        reason=f"reason {number}",
        currency="USD",
        at=AT,
        sender=await sender(connection, agent_id),
    )
    build = reported if side is Side.BUY else reported_exit
    order = build(client_order_id=name, broker_order_id=f"b-{name}", quantity=quantity)
    when = at(number if seconds is None else seconds)
    fill = fill_of(order, quantity, price, fill_id=f"f-{name}", fee=fee, when=when)
    report = filled(order, fill)
    await record_broker_order(connection, agent_id=agent_id, order=report, at=when, source="test")
    return fill


async def test_a_position_opens_with_what_its_order_intended(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    report = filled(order, fill_of(order, 60, "10.02", fee="1"))
    await record_broker_order(
        trading_connection, agent_id=AGENT, order=report, at=at(20), source="test"
    )
    (position,) = await open_positions(trading_connection, AGENT)

    assert (position.symbol, position.side, position.status) == ("ACME", "long", "open")
    assert (position.quantity, position.entry_quantity) == (60, 60)
    assert (position.entry_price, position.fees) == (Decimal("10.02"), Decimal(1))
    assert (position.stop_loss, position.take_profit) == (Decimal("9.50"), Decimal("11.00"))
    assert (position.entry_reason, position.currency) == ("volume and a catalyst", "USD")
    assert (position.opened_at, position.closed_at, position.exit_price) == (at(10), None, None)


async def test_an_exit_in_parts_books_its_profit_in_parts(trading_connection: Connection) -> None:
    await trade(trading_connection, 1, Side.BUY, 100, "10.00", fee="1")
    await trade(trading_connection, 2, Side.SELL, 40, "11.00", fee="0.50")
    (half,) = await open_positions(trading_connection, AGENT)
    await trade(trading_connection, 3, Side.SELL, 60, "9.00", fee="0.50")
    (closed,) = await positions_of_session(trading_connection, AGENT, at(0))

    assert (half.quantity, half.realized_pnl_gross, half.realized_pnl) == (
        60,
        Decimal(40),
        Decimal("38.50"),
    )
    assert half.exit_reason is None
    assert (closed.status, closed.realized_pnl) == ("closed", Decimal(-22))
    assert (closed.exit_price, closed.exit_reason) == (Decimal("9.8"), "reason 3")
    assert await realized_pnl(trading_connection, AGENT, at(0)) == Decimal(-22)
    assert await realized_pnl(trading_connection, AGENT, at(3)) == Decimal("-60.50")
    assert await realized_pnl(trading_connection, AGENT, at(4)) == 0


async def test_a_symbol_bought_again_is_a_new_position(trading_connection: Connection) -> None:
    await trade(trading_connection, 1, Side.BUY, 100, "10")
    await trade(trading_connection, 2, Side.SELL, 100, "11")
    await trade(trading_connection, 3, Side.BUY, 50, "12")
    first, second = await positions_of_session(trading_connection, AGENT, at(0))

    assert (first.status, second.status) == ("closed", "open")
    assert (second.quantity, second.entry_price) == (50, Decimal(12))
    assert await open_positions(trading_connection, AGENT) == (second,)
    assert await positions_of_session(trading_connection, AGENT, at(2.5)) == (second,)


async def test_agents_do_not_see_each_others_positions(trading_connection: Connection) -> None:
    await trade(trading_connection, 1, Side.BUY, 100, "10", agent_id="one")
    await trade(trading_connection, 1, Side.BUY, 70, "10", agent_id="two")
    (one,) = await open_positions(trading_connection, "one")
    (two,) = await open_positions(trading_connection, "two")

    assert (one.quantity, two.quantity) == (100, 70)


async def test_a_sale_that_is_heard_of_before_its_purchase_is_booked_after_it(
    trading_connection: Connection,
) -> None:
    await trade(trading_connection, 2, Side.SELL, 100, "11")
    unexplained = await unexplained_fills(trading_connection, AGENT)
    await trade(trading_connection, 1, Side.BUY, 100, "10")
    (position,) = await positions_of_session(trading_connection, AGENT, at(0))

    assert unexplained == ("f-rehearsal-2",)
    assert await unexplained_fills(trading_connection, AGENT) == ()
    assert (position.status, position.realized_pnl) == ("closed", Decimal(100))


async def test_a_sale_of_more_than_is_held_is_kept_and_explains_nothing(
    trading_connection: Connection,
) -> None:
    await trade(trading_connection, 1, Side.BUY, 60, "10")
    await trade(trading_connection, 2, Side.SELL, 100, "11")
    (position,) = await open_positions(trading_connection, AGENT)
    noted = await trading_connection.fetchval(
        "SELECT detail FROM order_events WHERE kind = 'unbooked_fill'"
    )

    assert position.quantity == 60
    assert await unexplained_fills(trading_connection, AGENT) == ("f-rehearsal-2",)
    assert noted == "sell 100 (f-rehearsal-2) fits no position"
    assert await realized_pnl(trading_connection, AGENT, at(0)) == 0


async def test_an_unexplained_sale_does_not_eat_into_a_later_position(
    trading_connection: Connection,
) -> None:
    await trade(trading_connection, 1, Side.SELL, 40, "11")
    await trade(trading_connection, 2, Side.BUY, 100, "10")
    await trade(trading_connection, 3, Side.BUY, 100, "10")
    (position,) = await open_positions(trading_connection, AGENT)

    assert position.quantity == 200
    assert await unexplained_fills(trading_connection, AGENT) == ("f-rehearsal-1",)


async def test_one_report_can_end_a_position_and_begin_the_next(
    trading_connection: Connection,
) -> None:
    await trade(trading_connection, 2, Side.SELL, 60, "11")
    await intended(trading_connection)
    order = reported()
    first = fill_of(order, 60, "10", fill_id="f1", when=at(1))
    second = fill_of(order, 40, "10", fill_id="f2", when=at(3))
    report = filled(order, first, second)
    await record_broker_order(
        trading_connection, agent_id=AGENT, order=report, at=at(4), source="test"
    )
    ended, begun = await positions_of_session(trading_connection, AGENT, at(0))
    booked = await trading_connection.fetch(
        "SELECT fill_id, position_id, booked_sequence FROM fills ORDER BY filled_at"
    )

    assert (ended.status, ended.realized_pnl) == ("closed", Decimal(60))
    assert (begun.status, begun.quantity) == ("open", 40)
    assert [tuple(row) for row in booked] == [
        ("f1", ended.position_id, 1),
        ("f-rehearsal-2", ended.position_id, 2),
        ("f2", begun.position_id, 1),
    ]


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
async def test_rows_say_what_the_pure_ledger_says(
    steps: list[Step], trading_connection: Connection
) -> None:
    agent_id = f"agent{next(examples)}"
    fills: list[Fill] = []
    held = 0
    for number, step in enumerate(steps, start=1):
        side = Side.BUY if step.is_buy or not held else Side.SELL
        quantity = step.quantity if side is Side.BUY else min(step.quantity, held)
        fills.append(
            await trade(
                trading_connection,
                number,
                side,
                quantity,
                str(step.price),
                fee=str(step.fee),
                agent_id=agent_id,
            )
        )
        held += quantity if side is Side.BUY else -quantity
    expected = _positions(fills)
    rows = await positions_of_session(trading_connection, agent_id, AT - timedelta(days=1))

    assert [_told(row) for row in rows] == [_meant(state) for state in expected]
    assert await realized_pnl(trading_connection, agent_id, AT) == sum(
        (state.realized_pnl for state in expected), Decimal(0)
    )


def _positions(fills: Sequence[Fill]) -> list[PositionState]:
    groups: list[list[Fill]] = []
    for fill in fills:
        state = reduce(apply_fill, groups[-1], NOTHING) if groups else None
        if state is None or not state.is_open:
            groups.append([])
        groups[-1].append(fill)
    states = [reduce(apply_fill, group, NOTHING) for group in groups]
    return [state for state in states if state is not None]


def _told(row: PositionRecord) -> tuple[object, ...]:
    return (
        row.quantity,
        row.entry_quantity,
        row.entry_price,
        row.exit_price,
        row.fees,
        row.realized_pnl_gross,
        row.realized_pnl,
        row.opened_at,
        row.closed_at,
    )


def _meant(state: PositionState) -> tuple[object, ...]:
    return (
        state.quantity,
        state.bought_quantity,
        state.average_entry_price,
        state.average_exit_price,
        state.fees,
        state.realized_pnl_gross,
        state.realized_pnl,
        state.opened_at,
        state.closed_at,
    )
