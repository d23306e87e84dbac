import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from shared.database.connection import Connection
from shared.database.orders import (
    DuplicateOrder,
    OrderRecord,
    events_of_order,
    insert_intent,
    move_order,
    open_orders,
    open_positions,
    order_by_client_id,
    orders_of_cycle,
    record_broker_order,
    unresolved_orders,
)
from shared.errors import InvalidTransition
from shared.models import Fill, Order, OrderClass, OrderPurpose, OrderStatus, OrderType, Side
from shared.order_life import OrderState
from tests.fixtures.broker_orders import (
    AGENT,
    AT,
    CYCLE,
    at,
    entry,
    exit_request,
    fill_of,
    filled,
    intended,
    reported,
    reported_exit,
    sender,
    started,
)
from tests.fixtures.databases import open_connection


async def record(connection: Connection, order: Order, seconds: float = 20) -> tuple[Fill, ...]:
    return await record_broker_order(
        connection, agent_id=AGENT, order=order, at=at(seconds), source="test"
    )


async def the_order(connection: Connection, client_order_id: str = "c1") -> OrderRecord:
    found = await order_by_client_id(connection, client_order_id)
    assert found is not None
    return found


async def kinds(connection: Connection, order: OrderRecord) -> list[str]:
    return [event.kind for event in await events_of_order(connection, order.order_id)]


async def test_an_intent_keeps_everything_that_was_asked_for(
    trading_connection: Connection,
) -> None:
    await started(trading_connection)
    intent = await intended(trading_connection, cycle_id=CYCLE)

    assert intent.status is OrderState.INTENT
    assert (intent.symbol, intent.side, intent.quantity) == ("ACME", Side.BUY, 100)
    assert (intent.limit_price, intent.stop_loss, intent.take_profit) == (
        Decimal("10.00"),
        Decimal("9.50"),
        Decimal("11.00"),
    )
    assert (intent.created_at, intent.currency, intent.filled_quantity) == (AT, "USD", 0)
    assert await orders_of_cycle(trading_connection, CYCLE) == (intent,)
    assert await unresolved_orders(trading_connection, AGENT) == (intent,)
    assert await open_orders(trading_connection, AGENT) == ()


async def test_the_same_client_order_id_is_written_down_once(
    trading_connection: Connection,
) -> None:
    first = await intended(trading_connection)

    with pytest.raises(DuplicateOrder, match=r"c1 exists since .* and is intent") as caught:
        await intended(trading_connection, entry(quantity=900))

    assert caught.value.existing == first


async def test_of_many_writers_of_one_decision_exactly_one_succeeds(
    trading_database_url: str,
) -> None:
    connections = await asyncio.gather(*(open_connection(trading_database_url) for _ in range(4)))
    by = await sender(connections[0])
    outcomes = await asyncio.gather(
        *(intended(connection, by=by) for connection in connections), return_exceptions=True
    )
    for connection in connections:
        await connection.close()

    assert sum(isinstance(outcome, OrderRecord) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, DuplicateOrder) for outcome in outcomes) == 3


async def test_an_oco_needs_no_limit_of_its_own(trading_connection: Connection) -> None:
    request = exit_request(
        order_type=OrderType.LIMIT,
        order_class=OrderClass.OCO,
        purpose=OrderPurpose.STOP_LOSS,
        stop_loss=Decimal("9.50"),
        take_profit=Decimal("11.00"),
    )
    intent = await intended(trading_connection, request)

    assert (intent.order_class, intent.limit_price) == (OrderClass.OCO, None)


async def test_moving_an_order_is_noted(trading_connection: Connection) -> None:
    intent = await intended(trading_connection)
    await move_order(
        trading_connection, order_id=intent.order_id, to=OrderState.SUBMITTING, at=at(1)
    )
    moved = await move_order(
        trading_connection,
        order_id=intent.order_id,
        to=OrderState.REJECTED,
        at=at(2),
        detail="no sub-penny prices",
    )
    events = await events_of_order(trading_connection, intent.order_id)

    assert (moved.status, moved.reject_reason) == (OrderState.REJECTED, "no sub-penny prices")
    assert (moved.submitted_at, moved.updated_at) == (at(1), at(2))
    assert [(event.kind, event.from_status, event.to_status) for event in events] == [
        ("created", OrderState.INTENT, None),
        ("moved", OrderState.INTENT, OrderState.SUBMITTING),
        ("moved", OrderState.SUBMITTING, OrderState.REJECTED),
    ]


async def test_an_order_is_not_moved_where_it_cannot_go(trading_connection: Connection) -> None:
    intent = await intended(trading_connection)
    await move_order(trading_connection, order_id=intent.order_id, to=OrderState.REJECTED, at=at(1))

    with pytest.raises(InvalidTransition, match="cannot go from rejected to accepted"):
        await move_order(
            trading_connection, order_id=intent.order_id, to=OrderState.ACCEPTED, at=at(2)
        )

    assert (await the_order(trading_connection)).status is OrderState.REJECTED


async def test_an_order_has_one_broker_order_id(trading_connection: Connection) -> None:
    intent = await intended(trading_connection)
    for _ in range(2):
        moved = await move_order(
            trading_connection,
            order_id=intent.order_id,
            to=OrderState.ACCEPTED,
            at=at(1),
            broker_order_id="b1",
        )

        assert moved.broker_order_id == "b1"

    with pytest.raises(InvalidTransition, match="order c1 is the broker's b1, not b9"):
        await move_order(
            trading_connection,
            order_id=intent.order_id,
            to=OrderState.FILLED,
            at=at(2),
            broker_order_id="b9",
        )


async def test_moving_an_order_that_does_not_exist_is_an_error(
    trading_connection: Connection,
) -> None:
    with pytest.raises(LookupError, match="there is no order 99"):
        await move_order(trading_connection, order_id=99, to=OrderState.UNKNOWN, at=AT)


async def test_of_two_ends_told_at_once_the_first_one_stays(trading_database_url: str) -> None:
    connections = await asyncio.gather(*(open_connection(trading_database_url) for _ in range(3)))
    ends = (OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED)
    for number in range(10):
        intent = await intended(connections[0], entry(client_order_id=f"c{number}"))
        outcomes = await asyncio.gather(
            *(
                move_order(connection, order_id=intent.order_id, to=end, at=at(1))
                for connection, end in zip(connections, ends, strict=True)
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(outcome, OrderRecord) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, InvalidTransition) for outcome in outcomes) == 2
    for connection in connections:
        await connection.close()


async def test_nothing_has_no_client_order_id(trading_connection: Connection) -> None:
    await intended(trading_connection)

    assert await order_by_client_id(trading_connection, None) is None
    assert await order_by_client_id(trading_connection, "c9") is None


async def test_an_unknown_order_that_is_found_is_adopted(trading_connection: Connection) -> None:
    intent = await intended(trading_connection)
    await move_order(trading_connection, order_id=intent.order_id, to=OrderState.UNKNOWN, at=at(1))
    fills = await record(trading_connection, reported())
    found = await the_order(trading_connection)

    assert fills == ()
    assert (found.status, found.broker_order_id) == (OrderState.ACCEPTED, "b1")
    assert (found.submitted_at, found.broker_updated_at) == (at(1), at(1))
    assert await open_orders(trading_connection, AGENT) == (found,)


async def test_an_order_that_was_thought_absent_is_adopted_when_it_turns_up(
    trading_connection: Connection,
) -> None:
    intent = await intended(trading_connection)
    await move_order(
        trading_connection, order_id=intent.order_id, to=OrderState.NOT_PLACED, at=at(1)
    )
    order = reported()
    await record(trading_connection, filled(order, fill_of(order, 100, "10.00")))

    assert (await the_order(trading_connection)).status is OrderState.FILLED
    assert len(await open_positions(trading_connection, AGENT)) == 1


async def test_an_order_placed_by_hand_is_left_alone(trading_connection: Connection) -> None:
    by_hand = reported(client_order_id=None, broker_order_id="b7")
    fills = await record(trading_connection, filled(by_hand, fill_of(by_hand, 100, "10")))

    assert fills == ()
    assert await trading_connection.fetchval("SELECT count(*) FROM orders") == 0
    assert await open_positions(trading_connection, AGENT) == ()


async def test_another_agents_order_is_left_alone(trading_connection: Connection) -> None:
    await insert_intent(
        trading_connection,
        agent_id="somebody",
        cycle_id=None,
        request=entry(),
        reason=None,
        currency="USD",
        at=AT,
        sender=await sender(trading_connection, "somebody"),
    )
    await record(trading_connection, reported())

    assert (await the_order(trading_connection)).status is OrderState.INTENT


async def test_a_fill_is_recorded_once_whoever_reports_it_again(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    one, two = (
        fill_of(order, 40, "10.00", fill_id="f1"),
        fill_of(order, 60, "9.90", fill_id="f2", when=at(12)),
    )
    first = await record(trading_connection, filled(order, one))
    second = await record(trading_connection, filled(order, one, two))
    third = await record(trading_connection, filled(order, one, two))
    found = await the_order(trading_connection)

    assert (first, second, third) == ((one,), (two,), ())
    assert (found.status, found.filled_quantity) == (OrderState.FILLED, 100)
    assert (found.filled_price, found.filled_at) == (Decimal("9.94"), at(12))
    assert await trading_connection.fetchval("SELECT count(*) FROM fills") == 2


async def test_two_processes_that_report_the_same_fill_book_it_once(
    trading_database_url: str,
) -> None:
    connections = await asyncio.gather(*(open_connection(trading_database_url) for _ in range(4)))
    await intended(connections[0])
    order = reported()
    report = filled(order, fill_of(order, 100, "10.00"))
    news = await asyncio.gather(*(record(connection, report) for connection in connections))
    positions = await open_positions(connections[0], AGENT)
    for connection in connections:
        await connection.close()

    assert sorted(len(fills) for fills in news) == [0, 0, 0, 1]
    assert [position.quantity for position in positions] == [100]


async def test_orders_of_one_symbol_that_fill_at_once_make_one_position(
    trading_database_url: str,
) -> None:
    connections = await asyncio.gather(*(open_connection(trading_database_url) for _ in range(4)))
    reports: list[Order] = []
    for number in range(4):
        await intended(connections[0], entry(client_order_id=f"c{number}"))
        order = reported(client_order_id=f"c{number}", broker_order_id=f"b{number}")
        reports.append(filled(order, fill_of(order, 100, "10", fill_id=f"f{number}")))
    await asyncio.gather(
        *(
            record(connection, report)
            for connection, report in zip(connections, reports, strict=True)
        )
    )
    positions = await open_positions(connections[0], AGENT)
    for connection in connections:
        await connection.close()

    assert [position.quantity for position in positions] == [400]


async def test_fees_are_kept_one_by_one(trading_connection: Connection) -> None:
    await intended(trading_connection)
    order = reported()
    fill = fill_of(order, 100, "10.00", fee="1.25")
    fill = replace(
        fill, fees=(*fill.fees, replace(fill.fees[0], name="levy", amount=Decimal("0.03")))
    )
    await record(trading_connection, filled(order, fill))
    rows = await trading_connection.fetch("SELECT name, amount FROM fill_fees ORDER BY sequence")
    (position,) = await open_positions(trading_connection, AGENT)

    assert [tuple(row) for row in rows] == [
        ("commission", Decimal("1.25")),
        ("levy", Decimal("0.03")),
    ]
    assert (position.fees, position.realized_pnl) == (Decimal("1.28"), Decimal("-1.28"))


async def test_a_fill_that_is_reported_differently_keeps_its_first_form_and_is_noted_once(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    await record(trading_connection, filled(order, fill_of(order, 40, "10.00")))
    for _ in range(2):
        await record(trading_connection, filled(order, fill_of(order, 40, "10.01")))

    assert await trading_connection.fetchval("SELECT price FROM fills") == Decimal("10.00")
    assert (await kinds(trading_connection, await the_order(trading_connection))).count(
        "fill_differs"
    ) == 1


async def test_totals_without_fills_become_fills(trading_connection: Connection) -> None:
    await intended(trading_connection)
    half = reported(
        status=OrderStatus.PARTIALLY_FILLED,
        filled_quantity=40,
        average_fill_price=Decimal("10.00"),
        updated_at=at(5),
    )
    whole = replace(
        half,
        status=OrderStatus.FILLED,
        filled_quantity=100,
        average_fill_price=Decimal("9.94"),
        updated_at=at(6),
    )
    for report in (half, half, whole, whole):
        await record(trading_connection, report)
    (position,) = await open_positions(trading_connection, AGENT)

    assert (position.quantity, position.entry_price) == (100, Decimal("9.94"))
    assert await trading_connection.fetchval("SELECT count(*) FROM fills") == 2


BRACKET_LEGS = (
    reported(
        broker_order_id="leg-stop",
        client_order_id="made-by-the-broker",
        side=Side.SELL,
        order_type=OrderType.STOP,
        limit_price=None,
        stop_price=Decimal("9.50"),
        status=OrderStatus.HELD,
    ),
    reported(
        broker_order_id="leg-target",
        client_order_id=None,
        side=Side.SELL,
        limit_price=Decimal("11.00"),
        status=OrderStatus.HELD,
    ),
)


async def test_the_legs_of_a_bracket_get_rows_of_their_own(
    trading_connection: Connection,
) -> None:
    await started(trading_connection)
    parent = await intended(trading_connection, cycle_id=CYCLE)
    await record(trading_connection, reported(legs=BRACKET_LEGS))
    await record(trading_connection, reported(legs=BRACKET_LEGS))
    _, stop, target = await orders_of_cycle(trading_connection, CYCLE)

    assert (stop.order_purpose, stop.stop_price) == (OrderPurpose.STOP_LOSS, Decimal("9.50"))
    assert (target.order_purpose, target.limit_price) == (
        OrderPurpose.TAKE_PROFIT,
        Decimal("11.00"),
    )
    assert {stop.parent_order_id, target.parent_order_id} == {parent.order_id}
    assert {stop.status, target.status} == {OrderState.ACCEPTED}
    assert (stop.client_order_id, target.client_order_id) == ("made-by-the-broker", None)


async def test_a_leg_that_is_reported_by_itself_finds_its_parent(
    trading_connection: Connection,
) -> None:
    await started(trading_connection)
    await intended(trading_connection, cycle_id=CYCLE)
    await record(trading_connection, reported())
    leg = replace(BRACKET_LEGS[0], parent_order_id="b1", client_order_id="c1")
    await record(trading_connection, leg)
    await record(trading_connection, leg)
    parent, stop = await orders_of_cycle(trading_connection, CYCLE)

    assert (parent.order_type, parent.broker_order_id) == (OrderType.LIMIT, "b1")
    assert (stop.order_purpose, stop.client_order_id) == (OrderPurpose.STOP_LOSS, None)


async def test_a_leg_of_a_strangers_order_is_left_alone(trading_connection: Connection) -> None:
    leg = replace(BRACKET_LEGS[0], parent_order_id="b99")

    assert await record(trading_connection, leg) == ()
    assert await trading_connection.fetchval("SELECT count(*) FROM orders") == 0


async def test_a_stop_that_fills_closes_the_position_and_says_so(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    bought = reported(legs=BRACKET_LEGS)
    stop, target = (replace(leg, parent_order_id="b1") for leg in BRACKET_LEGS)
    sold = filled(stop, fill_of(stop, 100, "9.48", fill_id="f2", when=at(40)))
    gone = replace(target, status=OrderStatus.CANCELED, updated_at=at(40))
    await record(trading_connection, filled(bought, fill_of(bought, 100, "10.00")))
    await record(trading_connection, sold, 41)
    await record(trading_connection, gone, 41)
    row = await trading_connection.fetchrow("SELECT * FROM positions")
    orders = await trading_connection.fetch("SELECT position_id FROM orders")

    assert row is not None
    assert (row["status"], row["quantity"], row["exit_reason"]) == ("closed", 0, "stop_loss")
    assert (row["exit_price"], row["realized_pnl"]) == (Decimal("9.48"), Decimal(-52))
    assert (row["stop_loss"], row["closed_at"]) == (Decimal("9.50"), at(40))
    assert {order["position_id"] for order in orders} == {row["position_id"]}
    assert await open_orders(trading_connection, AGENT) == ()


async def test_a_late_fill_is_booked_although_the_order_stays_cancelled(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    canceled = replace(order, status=OrderStatus.CANCELED, updated_at=at(5))
    late = filled(order, fill_of(order, 30, "10"), status=OrderStatus.CANCELED)
    await record(trading_connection, canceled)
    fills = await record(trading_connection, late)
    found = await the_order(trading_connection)
    (position,) = await open_positions(trading_connection, AGENT)

    assert [fill.quantity for fill in fills] == [30]
    assert (found.status, found.filled_quantity) == (OrderState.CANCELED, 30)
    assert (await kinds(trading_connection, found))[-1] == "late_fill"
    assert position.quantity == 30


async def test_a_cancelled_order_that_fills_whole_after_all_is_filled(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    await record(trading_connection, replace(order, status=OrderStatus.CANCELED, updated_at=at(5)))
    await record(trading_connection, filled(order, fill_of(order, 100, "10")))
    found = await the_order(trading_connection)

    assert found.status is OrderState.FILLED
    assert "late_fill" in await kinds(trading_connection, found)


async def test_old_news_does_not_move_an_order_back(trading_connection: Connection) -> None:
    await intended(trading_connection)
    order = reported()
    await record(trading_connection, filled(order, fill_of(order, 100, "10")))
    await record(trading_connection, order)
    found = await the_order(trading_connection)

    assert (found.status, found.broker_updated_at) == (OrderState.FILLED, at(10))
    assert (found.filled_quantity, found.filled_at) == (100, at(10))


async def test_a_part_that_is_known_is_not_taken_back_by_a_lagging_read(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported(updated_at=at(10))
    part = filled(order, fill_of(order, 40, "9.90", when=at(10)))
    await record(trading_connection, part)
    await record(trading_connection, order)
    found = await the_order(trading_connection)

    assert (found.status, found.filled_quantity) == (OrderState.PARTIALLY_FILLED, 40)
    assert found.filled_price == Decimal("9.90")


async def test_an_end_is_news_even_when_its_time_is_not(trading_connection: Connection) -> None:
    await intended(trading_connection)
    order = reported(updated_at=at(15))
    await record(trading_connection, order)
    await record(trading_connection, filled(order, fill_of(order, 100, "10", when=at(14))))

    assert (await the_order(trading_connection)).status is OrderState.FILLED


async def test_an_unconfirmed_cancel_stays_pending_until_the_broker_has_newer_news(
    trading_connection: Connection,
) -> None:
    intent = await intended(trading_connection)
    await record(trading_connection, reported())
    await move_order(
        trading_connection, order_id=intent.order_id, to=OrderState.CANCEL_PENDING, at=at(30)
    )
    await record(trading_connection, reported(), 31)
    pending = await the_order(trading_connection)
    await record(trading_connection, reported(updated_at=at(32)), 33)
    turned_down = await the_order(trading_connection)

    assert pending.status is OrderState.CANCEL_PENDING
    assert turned_down.status is OrderState.ACCEPTED


async def test_a_report_that_contradicts_is_noted_once_and_raised_each_time(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    done = filled(order, fill_of(order, 100, "10"))
    await record(trading_connection, done)
    undone = replace(done, status=OrderStatus.CANCELED, updated_at=at(50))
    for _ in range(2):
        with pytest.raises(InvalidTransition, match="c1 is filled, the broker reports canceled"):
            await record(trading_connection, undone)
    found = await the_order(trading_connection)

    assert found.status is OrderState.FILLED
    assert (await kinds(trading_connection, found)).count("contradiction") == 1


async def test_fills_are_booked_even_when_their_order_contradicts(
    trading_connection: Connection,
) -> None:
    intent = await intended(trading_connection)
    await move_order(trading_connection, order_id=intent.order_id, to=OrderState.REJECTED, at=at(2))
    order = reported()
    with pytest.raises(InvalidTransition, match="c1 is rejected, the broker reports filled"):
        await record(trading_connection, filled(order, fill_of(order, 100, "10")))
    (position,) = await open_positions(trading_connection, AGENT)

    assert position.quantity == 100
    assert (await the_order(trading_connection)).status is OrderState.REJECTED


@pytest.mark.parametrize(
    "order",
    [
        reported(symbol="OTHER"),
        reported(side=Side.SELL),
        reported(broker_order_id="b9"),
        reported(broker_order_id=""),
    ],
    ids=["symbol", "side", "broker order id", "empty broker order id"],
)
async def test_a_report_about_another_order_under_our_id_is_refused(
    order: Order, trading_connection: Connection
) -> None:
    intent = await intended(trading_connection)
    await move_order(
        trading_connection,
        order_id=intent.order_id,
        to=OrderState.ACCEPTED,
        at=at(1),
        broker_order_id="b1",
    )
    with pytest.raises(InvalidTransition, match="order c1 is ACME buy b1, the broker reports"):
        await record(trading_connection, filled(order, fill_of(order, 100, "10")))

    assert (await the_order(trading_connection)).status is OrderState.ACCEPTED
    assert await trading_connection.fetchval("SELECT count(*) FROM fills") == 0


async def test_an_overfill_is_recorded_and_noted(trading_connection: Connection) -> None:
    await intended(trading_connection)
    order = reported()
    await record(trading_connection, filled(order, fill_of(order, 120, "10")))
    (position,) = await open_positions(trading_connection, AGENT)

    assert position.quantity == 120
    assert "overfill" in await kinds(trading_connection, await the_order(trading_connection))


async def test_a_report_leaves_nothing_behind_when_it_cannot_be_recorded_whole(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    order = reported()
    broken: Sequence[Fill] = (
        fill_of(order, 40, "10"),
        fill_of(order, 60, "0", fill_id="f2"),
    )
    with pytest.raises(Exception, match="fills_price_positive"):
        await record(trading_connection, filled(order, *broken))

    assert await trading_connection.fetchval("SELECT count(*) FROM fills") == 0
    assert (await the_order(trading_connection)).status is OrderState.INTENT


async def test_an_exit_is_tied_to_the_position_that_it_closes(
    trading_connection: Connection,
) -> None:
    await intended(trading_connection)
    bought, sold = reported(), reported_exit()
    await record(trading_connection, filled(bought, fill_of(bought, 100, "10")))
    await intended(trading_connection, exit_request())
    await record(
        trading_connection,
        filled(sold, fill_of(sold, 100, "10.50", fill_id="f2", when=at(30))),
    )
    entry_row, exit_row = (
        await the_order(trading_connection, "c1"),
        await the_order(trading_connection, "c2"),
    )

    assert entry_row.position_id is not None
    assert exit_row.position_id == entry_row.position_id
    assert await open_positions(trading_connection, AGENT) == ()
