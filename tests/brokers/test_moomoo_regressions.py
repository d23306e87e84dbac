"""What went wrong before with moomoo, each case with its number in the list of regressions."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import BrokerUnavailable, OrderOutcomeUnknown
from shared.models import Order, OrderRequest, OrderStatus, Side
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.contract_venue import hold, limit, look_up, market
from tests.brokers.moomoo_venue import ConnectedVenue, connected_venue
from tests.simulators.opend.accounts import AMERICAN, LIVE, OPTIONS, PAPER
from tests.simulators.opend.book import FILL_CANCELLED, FILLED_ALL, TIMED_OUT
from tests.simulators.opend.wire import Protocol, Wire, WireFault


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[ConnectedVenue]:
    async with connected_venue(tmp_path / "opend") as venue:
        yield venue


async def place(venue: ConnectedVenue, request: OrderRequest) -> Order:
    return await venue.broker.place_order(approved(request))


async def test_r09_r17_an_order_that_timed_out_at_opend_is_neither_refused_nor_absent(
    venue: ConnectedVenue,
) -> None:
    placed = await place(venue, limit(venue, 99))
    venue.show_status(placed.broker_order_id, TIMED_OUT)
    by_id = await venue.broker.order_by_client_id(placed.client_order_id or "")
    [open_one] = await venue.broker.orders(only_open=True)
    venue.show_status(placed.broker_order_id, None)
    await venue.minute(99, 99, 98, 98)
    filled = await look_up(venue, placed)

    assert by_id is not None
    assert by_id.status is open_one.status is OrderStatus.ACCEPTED
    assert (filled.status, filled.filled_quantity) == (OrderStatus.FILLED, 100)


async def test_r09_a_fill_that_comes_after_the_answer_was_lost_is_found_by_the_remark(
    venue: ConnectedVenue,
) -> None:
    venue.inject(WireFault(wire=Wire.SILENCE, protocol=Protocol.PLACE_ORDER, executes=True))
    request = limit(venue, 99, lots=2)
    with pytest.raises(OrderOutcomeUnknown):
        await place(venue, request)
    await venue.minute(99, 99, 98, 98)

    found = await venue.broker.order_by_client_id(request.client_order_id)

    assert found is not None
    assert (found.status, found.filled_quantity) == (OrderStatus.FILLED, 200)
    assert len(venue.asked(Protocol.PLACE_ORDER)) == len(venue.orders()) == 1


async def test_r13_the_second_fill_of_an_order_is_in_its_total(venue: ConnectedVenue) -> None:
    placed = await place(venue, limit(venue, 99, lots=50))
    await venue.minute(99, 99, 98, 99, lots=100)
    partly = await look_up(venue, placed)
    await venue.minute(99, 99, 98, 99)
    whole = await look_up(venue, placed)
    (position,) = await venue.broker.positions()

    assert 0 < partly.filled_quantity < whole.filled_quantity == 5000
    assert position.quantity == whole.filled_quantity
    assert whole.average_fill_price == 99
    assert {fee.name for fee in partly.fees} == {fee.name for fee in whole.fees}
    assert sum(fee.amount for fee in partly.fees) < sum(fee.amount for fee in whole.fees)


async def test_r16_an_order_that_is_submitted_is_not_filled(venue: ConnectedVenue) -> None:
    placed = await place(venue, limit(venue, 99))
    venue.show_status(placed.broker_order_id, FILLED_ALL)
    with pytest.raises(BrokerUnavailable, match="fillQty of OpenD's order cannot be"):
        await venue.broker.orders(only_open=True)
    venue.show_status(placed.broker_order_id, None)

    assert (placed.status, placed.filled_quantity) == (OrderStatus.ACCEPTED, 0)
    assert await venue.broker.positions() == ()


async def test_r18_a_stock_has_one_spelling_in_orders_positions_and_descriptions(
    venue: ConnectedVenue,
) -> None:
    venue.add_stock("80700", 50)
    for symbol, lot in (("0670", 2000), ("80700", 100)):
        request = replace(market(venue, Side.BUY, lots=1), symbol=symbol, quantity=lot)
        assert (await place(venue, request)).symbol == symbol
        described = await venue.instrument(symbol)
        assert described is not None
        assert described.symbol == symbol

    assert {held.symbol for held in await venue.broker.positions()} == {"0670", "80700"}
    assert {order.symbol for order in await venue.broker.orders(only_open=False)} == {
        "0670",
        "80700",
    }
    for other in ("670", "00670", "HK.00670", "700"):
        assert await venue.instrument(other) is None


async def test_r20_every_lot_is_the_brokers(venue: ConnectedVenue) -> None:
    lots = {
        symbol: described.lot_size
        for symbol in ("2628", "0001", "0700", "1810")
        if (described := await venue.instrument(symbol)) is not None
    }

    assert lots == {"2628": 1000, "0001": 500, "0700": 100, "1810": 200}


async def test_r27_no_percentage_of_opend_is_used(venue: ConnectedVenue) -> None:
    await hold(venue, lots=1)
    (before,) = await venue.broker.positions()
    wrong: dict[str, float] = {}
    wrong |= dict.fromkeys(("plRatio", "plVal", "averagePlRatio", "td_plVal"), 276.0)
    venue.inject(WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_POSITION_LIST, fields=wrong))
    (after,) = await venue.broker.positions()

    assert after == before


async def test_r28_rows_of_no_shares_are_no_positions(venue: ConnectedVenue) -> None:
    await hold(venue, lots=2)
    await place(venue, market(venue, Side.SELL, lots=2))

    assert len(venue.asked(Protocol.GET_POSITION_LIST)) == 0
    assert await venue.broker.positions() == ()


async def test_r52_what_is_not_there_is_never_a_number(venue: ConnectedVenue) -> None:
    await hold(venue, lots=1)
    for protocol, field in (
        (Protocol.GET_POSITION_LIST, "dilutedCostPrice"),
        (Protocol.GET_ORDER_LIST, "fillQty"),
        (Protocol.GET_ORDER_LIST, "fillAvgPrice"),
    ):
        fields = {field: None} | ({"costPrice": None} if "Cost" in field else {})
        venue.inject(WireFault(wire=Wire.CHANGE, protocol=protocol, fields=fields))
        is_position = protocol is Protocol.GET_POSITION_LIST
        with pytest.raises(BrokerUnavailable, match=f"{field} of OpenD's .* cannot be nothing"):
            await (
                venue.broker.positions() if is_position else venue.broker.orders(only_open=False)
            )


@pytest.mark.parametrize(("number", "name"), [(2, "USD"), (6, "AUD"), (99, "currency 99")])
async def test_r53_money_in_another_currency_is_no_money_of_this_account(
    venue: ConnectedVenue, number: int, name: str
) -> None:
    own = await venue.broker.account()
    venue.inject(
        WireFault(wire=Wire.CHANGE, protocol=Protocol.GET_FUNDS, fields={"currency": number})
    )

    with pytest.raises(BrokerUnavailable, match=f"money is in {name}, this account is kept in HKD"):
        await venue.broker.account()
    assert own.currency == "HKD"


async def test_the_account_is_chosen_by_what_it_is_and_never_by_its_place(
    venue: ConnectedVenue,
) -> None:
    await place(venue, market(venue, Side.BUY, lots=1))
    used = {r["c2s"]["header"]["accID"] for r in venue.requests() if "header" in r["c2s"]}

    assert (await venue.broker.account()).account_id == str(PAPER.account_id)
    assert used == {str(PAPER.account_id)}
    assert not used & {str(other.account_id) for other in (AMERICAN, OPTIONS, LIVE)}


async def test_f17_a_fill_that_is_taken_back_is_shown_with_its_reason(
    venue: ConnectedVenue,
) -> None:
    placed = await hold(venue, lots=1)
    venue.show_status(placed.broker_order_id, FILL_CANCELLED)

    order = await look_up(venue, placed)

    assert placed.status is OrderStatus.FILLED
    assert order.status is OrderStatus.CANCELED
    assert "took its fill back" in (order.reject_reason or "")


async def test_r05_a_cancel_frees_the_shares_that_an_order_held(venue: ConnectedVenue) -> None:
    await hold(venue, lots=3)
    resting = await place(venue, limit(venue, 110, lots=3, side=Side.SELL))
    (held,) = await venue.broker.positions()
    await venue.broker.cancel_order(approved_cancel(resting.broker_order_id))
    (free,) = await venue.broker.positions()

    assert (held.available, free.available) == (0, 300)
