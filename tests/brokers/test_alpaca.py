"""The Alpaca adapter passes the suite of every broker, through alpaca-py, over HTTP, at a simulated Alpaca."""

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from brokers.alpaca import AlpacaBroker
from brokers.base import DUPLICATE_CLIENT_ORDER_ID, Broker
from brokers.faults import Operation
from brokers.paper_rules import RejectCode
from shared.alpaca_http import AlpacaKeys, RequestShare
from shared.clock import SystemClock
from shared.config_brokers import AlpacaSettings
from shared.errors import BrokerUnavailable, ConfigError, OrderOutcomeUnknown, OrderRejected
from shared.models import Order, OrderRequest, OrderStatus, OrderType
from tests.brokers.alpaca_venue import ConnectedVenue, connected_venue
from tests.brokers.approvals import approved, approved_cancel
from tests.brokers.contract import BrokerContract, Venue
from tests.brokers.contract_venue import Breakage
from tests.brokers.order_requests import bracket, buy, oco, sell, stop
from tests.simulators.alpaca.specification import Specification


class TestAlpacaBroker(BrokerContract):
    @pytest.fixture
    async def venue(self, tmp_path: Path) -> AsyncIterator[Venue]:
        async with connected_venue(tmp_path / "alpaca") as venue:
            yield venue


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[ConnectedVenue]:
    async with connected_venue(tmp_path / "alpaca") as venue:
        yield venue


async def place(venue: ConnectedVenue, request: OrderRequest) -> Order:
    return await venue.broker.place_order(approved(replace(request, symbol=venue.symbol)))


async def refusal(venue: ConnectedVenue, request: OrderRequest) -> OrderRejected:
    with pytest.raises(OrderRejected) as refused:
        await place(venue, request)
    return refused.value


async def test_every_reason_for_which_alpaca_refuses_is_known_apart(venue: ConnectedVenue) -> None:
    first = buy(10)
    await place(venue, first)
    await venue.minute(100)
    await place(venue, stop(10, 95))

    assert (await refusal(venue, first)).code == DUPLICATE_CLIENT_ORDER_ID
    assert (await refusal(venue, buy(100_000))).code == RejectCode.WASH_TRADE
    short = await refusal(venue, sell(5, 110))
    assert short.code == RejectCode.INSUFFICIENT_QTY
    assert "held_for_orders 10" in str(short)
    await venue.broker.cancel_order(
        approved_cancel((await venue.broker.orders(only_open=True))[0].broker_order_id)
    )
    assert (await refusal(venue, buy(100_000, 99))).code == RejectCode.INSUFFICIENT_BUYING_POWER
    with pytest.raises(OrderRejected) as unknown:
        await venue.broker.cancel_order(approved_cancel("5f1e2d3c-0000-4000-8000-000000000000"))
    assert unknown.value.code == RejectCode.ORDER_NOT_FOUND


async def test_keys_that_are_refused_are_named_and_nothing_is_placed(venue: ConnectedVenue) -> None:
    venue.change_keys("PKOTHER", "other")

    with pytest.raises(BrokerUnavailable, match="refuses the keys in ALPACA_API_KEY and ALPACA_S"):
        await venue.broker.account()
    with pytest.raises(BrokerUnavailable, match="refuses the keys"):
        await place(venue, buy(1, 99))
    assert venue.orders() == ()


@pytest.mark.parametrize(
    "said",
    [{"account_blocked": True}, {"trading_blocked": True}, {"trade_suspended_by_user": True}],
    ids=str,
)
async def test_a_blocked_account_is_blocked_and_takes_no_order(
    venue: ConnectedVenue, said: dict[str, bool]
) -> None:
    venue.change_account(**said)

    assert (await venue.broker.account()).blocked
    assert (await refusal(venue, buy(1, 99))).code == "40310000"
    assert venue.orders() == ()


async def test_an_account_that_changed_has_another_id(venue: ConnectedVenue) -> None:
    before = (await venue.broker.account()).account_id
    venue.change_account(id="0b1c2d3e-0000-4000-8000-000000000000")

    assert (await venue.broker.account()).account_id != before


async def test_a_state_that_is_not_known_stands_in_the_sentence(venue: ConnectedVenue) -> None:
    await place(venue, buy(1, 99))
    venue.breaks(Operation.ORDERS, Breakage.UNKNOWN_WORD, carried_out=True)
    with pytest.raises(BrokerUnavailable, match="'transmogrified': not a known status"):
        await venue.broker.orders(only_open=True)
    venue.breaks(Operation.PLACE, Breakage.UNKNOWN_WORD, carried_out=True)
    with pytest.raises(OrderOutcomeUnknown, match="'transmogrified': not a known status"):
        await place(venue, buy(1, 98))

    assert len(venue.orders()) == 2


async def test_a_target_that_was_moved_is_listed_as_replaced_beside_the_new_one(
    venue: ConnectedVenue,
) -> None:
    await place(venue, bracket(5, 101))
    await venue.minute(100)
    target, guard = sorted(
        await venue.broker.orders(only_open=True), key=lambda o: o.order_type is OrderType.STOP
    )
    moved = replace(sell(5, 120, replaces=target.broker_order_id), symbol=venue.symbol)
    await venue.broker.replace_order(approved(moved))

    found = {o.broker_order_id: o for o in await venue.broker.orders(only_open=False)}
    new = next(o for o in found.values() if o.client_order_id == moved.client_order_id)
    assert found[target.broker_order_id].status is OrderStatus.REPLACED
    assert found[target.broker_order_id].replaced_by == new.broker_order_id
    assert new.parent_order_id == target.parent_order_id == guard.parent_order_id
    assert found[guard.broker_order_id].status is OrderStatus.HELD


async def test_a_bracket_that_is_looked_up_brings_its_legs_and_fills(venue: ConnectedVenue) -> None:
    request = bracket(5, 101)
    await place(venue, request)
    await venue.minute(100)

    found = await venue.broker.order_by_client_id(request.client_order_id)

    assert found is not None
    assert (found.status, sum(f.quantity for f in found.fills)) == (OrderStatus.FILLED, 5)
    assert {leg.order_type for leg in found.legs} == {OrderType.LIMIT, OrderType.STOP}
    assert {leg.parent_order_id for leg in found.legs} == {found.broker_order_id}


async def test_half_a_pair_protects_too(venue: ConnectedVenue) -> None:
    await place(venue, bracket(5, 101, take_profit=None))
    await venue.minute(100)
    [guard] = await venue.broker.orders(only_open=True)
    await venue.broker.cancel_order(approved_cancel(guard.broker_order_id))
    lone = await place(venue, oco(5, take_profit=None, stop_loss=90))

    assert (guard.order_type, guard.stop_price, guard.quantity) == (OrderType.STOP, 95, 5)
    assert (lone.order_type, lone.stop_price) == (OrderType.STOP, 90)


async def test_a_price_travels_as_text_with_the_decimals_of_its_tick(venue: ConnectedVenue) -> None:
    await place(venue, buy(1, Decimal("27.07")))

    [sent] = [r for r in venue.requests() if r["method"] == "POST"]
    assert '"limit_price": "27.07"' in sent["body"]
    assert '"qty": "1"' in sent["body"]


async def test_a_look_at_the_open_orders_costs_two_requests_however_many_symbols(
    venue: ConnectedVenue,
) -> None:
    broker = venue.connect()
    for price in (90, 91):
        await place(venue, buy(1, price))
    venue.requests(forget=True)
    await broker.orders(only_open=True)
    asked = [r["path"] for r in venue.requests()]
    await broker.disconnect()

    assert asked == ["/v2/orders", "/v2/orders"]


async def test_every_request_of_the_adapter_is_as_the_official_specification_has_it(
    venue: ConnectedVenue,
) -> None:
    broker = venue.broker
    for request in (bracket(5, 99, take_profit=None), buy(1, 98)):
        order = await place(venue, request)
        await broker.cancel_order(approved_cancel(order.broker_order_id))
    first = await place(venue, bracket(5, 101))
    await venue.minute(100)
    target = next(o for o in await broker.orders(only_open=True) if o.limit_price == 110)
    moved = replace(sell(5, 99, replaces=target.broker_order_id), symbol=venue.symbol)
    await broker.replace_order(approved(moved))
    await venue.minute(100)
    await place(venue, buy(5))
    await venue.minute(100)
    await place(venue, oco(5))
    since = first.submitted_at
    await broker.orders(only_open=False, since=since)
    await broker.order_by_client_id(first.client_order_id or "")
    await broker.account()
    await broker.positions()
    await broker.instruments([venue.symbol])
    await broker.market_clock()

    asked = venue.requests()
    assert {(r["method"], r["path"].split("/")[2].split(":")[0]) for r in asked} >= {
        ("POST", "orders"),
        ("PATCH", "orders"),
        ("DELETE", "orders"),
        ("GET", "account"),
        ("GET", "assets"),
        ("GET", "clock"),
        ("GET", "orders"),
        ("GET", "positions"),
    }
    assert Specification().wrong_with_log(asked) == []


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.alpaca.markets", "PKPAPER"),
        ("https://paper-api.alpaca.markets.example", "PKPAPER"),
        ("https://paper-api.alpaca.markets", "AKLIVE"),
    ],
)
def test_anything_but_paper_is_refused_whatever_the_configuration_let_pass(
    url: str, key: str
) -> None:
    keys = AlpacaKeys(api_key=SecretStr(key), secret_key=SecretStr("s"))

    with pytest.raises(ConfigError, match="live trading is refused") as refused:
        AlpacaBroker(AlpacaSettings(trading_url=url), keys, RequestShare(1), SystemClock())

    assert key not in str(refused.value)


def test_the_alpaca_broker_is_a_broker_and_importing_it_loads_no_client() -> None:
    keys = AlpacaKeys(api_key=SecretStr("PK"), secret_key=SecretStr("s"))
    broker: Broker = AlpacaBroker(AlpacaSettings(), keys, RequestShare(1), SystemClock())
    program = (
        "import sys, brokers.alpaca;"
        "sys.exit(bool({'alpaca', 'requests', 'urllib3', 'pandas'} & set(sys.modules)))"
    )

    assert broker.capabilities.name == "alpaca"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
