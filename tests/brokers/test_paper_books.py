"""Whatever is sent in whatever order: the books balance, nothing is sold short, fills are real prices."""

from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.faults import Fault, FaultKind, Operation
from brokers.paper_ledger import Holding
from shared.errors import OrderRejected
from shared.models import Bar, Fill, Order, OrderRequest, OrderStatus, OrderType, Side
from tests.brokers.order_requests import bracket, buy, oco, order_request, sell, stop
from tests.brokers.paper_venue import START, PaperVenue
from tests.brokers.replay import MINUTE

LOW, MIDDLE, HIGH = (
    st.integers(min_value=80, max_value=95),
    st.integers(min_value=96, max_value=104),
    st.integers(min_value=105, max_value=120),
)
PRICE = LOW | MIDDLE | HIGH
QUANTITY = st.integers(min_value=1, max_value=400)
FEW = st.integers(min_value=1, max_value=60)


@dataclass(frozen=True)
class Minute:
    """One bar."""

    prices: tuple[int, int, int, int]
    volume: int


@dataclass(frozen=True)
class Cancel:
    """Cancel the nth open order, perhaps with a fault."""

    nth: int
    fault: FaultKind | None


@dataclass(frozen=True)
class Reprice:
    """Replace the nth open order at another price."""

    nth: int
    price: int


def _rising(prices: tuple[int, ...]) -> tuple[int, int, int, int]:
    low, opened, close, high = sorted(prices)
    return opened, high, low, close


MINUTE_OF_TRADING = st.builds(
    Minute,
    st.tuples(PRICE, MIDDLE, MIDDLE, PRICE).map(_rising),
    st.integers(min_value=0, max_value=5000),
)
STEP = st.one_of(
    MINUTE_OF_TRADING,
    MINUTE_OF_TRADING,
    st.builds(buy, QUANTITY, st.none() | PRICE),
    st.builds(sell, FEW, st.none() | PRICE),
    st.builds(stop, FEW, LOW),
    st.builds(bracket, QUANTITY, st.none() | MIDDLE, stop_loss=LOW, take_profit=HIGH),
    st.builds(oco, FEW, stop_loss=LOW, take_profit=HIGH),
    st.builds(
        order_request,
        st.just(Side.BUY),
        QUANTITY,
        order_type=st.just(OrderType.STOP),
        stop=HIGH,
    ),
    st.builds(
        Cancel,
        st.integers(min_value=0, max_value=5),
        st.sampled_from([None, None, FaultKind.LATE_FILL, FaultKind.STUCK_CANCEL]),
    ),
    st.builds(Reprice, st.integers(min_value=0, max_value=5), PRICE),
)


@contextmanager
def _venue(store: Path) -> Generator[PaperVenue]:
    store.unlink(missing_ok=True)
    venue = PaperVenue(store)
    try:
        yield venue
    finally:
        venue.exchange.close()


def _take(venue: PaperVenue, step: object, client_order_id: str) -> str | None:
    """Carry one step out; a refusal is an outcome like any other. Return the id of what may fill late."""
    exchange = venue.exchange
    try:
        match step:
            case OrderRequest():
                exchange.place(replace(step, client_order_id=client_order_id))
            case Minute(prices=prices, volume=volume):
                venue.trade(*prices, volume=volume)
            case Cancel(nth=nth, fault=kind) if order := _nth(venue, nth):
                fault = None if kind is None else Fault(operation=Operation.CANCEL, kind=kind)
                exchange.cancel(order.broker_order_id, fault=fault)
                return order.broker_order_id if kind is FaultKind.LATE_FILL else None
            case Reprice(nth=nth, price=price) if order := _nth(venue, nth):
                exchange.replace(_repriced(order, price, client_order_id))
            case _:
                pass
    except OrderRejected:
        return None
    return None


def _nth(venue: PaperVenue, nth: int) -> Order | None:
    orders = venue.exchange.orders(only_open=True)
    return orders[nth % len(orders)] if orders else None


def _repriced(order: Order, price: int, client_order_id: str) -> OrderRequest:
    return order_request(
        order.side,
        order.remaining_quantity,
        order_type=order.order_type,
        limit=None if order.limit_price is None else price,
        stop=None if order.stop_price is None else price,
        replaces=order.broker_order_id,
        client_order_id=client_order_id,
    )


def _check(venue: PaperVenue, late: set[str | None]) -> None:
    account = venue.exchange.account()
    positions = venue.exchange.positions()
    orders = venue.exchange.orders(only_open=False)
    with venue.exchange._store.transaction() as ledger:
        money = ledger.money
        cost = sum((held.cost for held in ledger.holdings.values()), Decimal(0))
    fills = [fill for order in orders for fill in order.fills]

    assert money.cash + cost + money.fees_paid == 100_000 + money.realised
    assert account.cash == money.cash == 100_000 + sum(map(_cash_flow, fills), Decimal(0))
    assert account.cash >= 0
    assert account.buying_power >= 0
    assert all(0 <= held.available <= held.quantity for held in positions)
    bought = sum(fill.quantity * (1 if fill.side is Side.BUY else -1) for fill in fills)
    assert bought == sum(held.quantity for held in positions)
    _check_orders(orders)
    by_id = {order.broker_order_id: order for order in orders}
    for fill in fills:
        if fill.broker_order_id not in late:
            _check_price(venue, fill, by_id[fill.broker_order_id])


def _cash_flow(fill: Fill) -> Decimal:
    value = fill.price * fill.quantity
    return (value if fill.side is Side.SELL else -value) - fill.total_fees


def _check_orders(orders: tuple[Order, ...]) -> None:
    legs: defaultdict[str, set[int]] = defaultdict(set)
    for order in orders:
        assert sum(fill.quantity for fill in order.fills) == order.filled_quantity <= order.quantity
        assert (order.status is OrderStatus.FILLED) == (order.filled_quantity == order.quantity)
        if order.status.is_open and order.parent_order_id:
            legs[order.parent_order_id].add(order.remaining_quantity)

    assert all(len(remaining) == 1 for remaining in legs.values())


def _check_price(venue: PaperVenue, fill: Fill, order: Order) -> None:
    if order.limit_price is not None:
        within = fill.price <= order.limit_price
        assert within if order.side is Side.BUY else fill.price >= order.limit_price
    bars = [bar for bar in venue.replay.bars("ACME", START - MINUTE, fill.at) if bar.end == fill.at]
    assert any(_has_price(bar, fill.price) for bar in bars)


def _has_price(bar: Bar, price: Decimal) -> bool:
    """Whether the price lies in the bar, or a cent beside it: the quote after it."""
    cent = Decimal("0.01")
    return bar.low - cent <= price <= bar.high + cent


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps=st.lists(STEP, min_size=15, max_size=30))
def test_money_and_shares_are_neither_made_nor_lost(
    steps: list[object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with _venue(tmp_path_factory.getbasetemp() / "books.sqlite3") as venue:
        late: set[str | None] = set()
        for number, step in enumerate(steps):
            late.add(_take(venue, step, f"step-{number}"))
            _check(venue, late)


def test_the_last_share_takes_the_last_of_the_cost_with_it() -> None:
    held = Holding(symbol="ACME", quantity=3, cost=Decimal("10.00000001"))

    assert held.cost_of(1) == Decimal("3.333333")
    assert held.cost_of(3) == held.cost


def _without_fault(step: object) -> object:
    """A late fill comes when somebody asks, so a run that asks more has it earlier."""
    return replace(step, fault=None) if isinstance(step, Cancel) else step


@settings(max_examples=15, deadline=None, derandomize=True)
@given(steps=st.lists(STEP.map(_without_fault), min_size=15, max_size=30))
def test_the_same_steps_give_the_same_books(
    steps: list[object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def play(*, asks_between: bool) -> object:
        with _venue(tmp_path_factory.getbasetemp() / "same.sqlite3") as venue:
            for number, step in enumerate(steps):
                _take(venue, step, f"step-{number}")
                if asks_between:
                    venue.exchange.account()
            return venue.exchange.orders(only_open=False), venue.exchange.account()

    assert play(asks_between=True) == play(asks_between=False)


class TestWhatHappensOutsideTheOrdersOfTheAgent:
    def test_money_comes_and_goes_without_a_trade(self, tmp_path: Path) -> None:
        venue = PaperVenue(tmp_path / "paper.sqlite3")
        venue.exchange.receive(Decimal("12.50"))
        venue.exchange.receive(Decimal("-2.50"))

        assert venue.exchange.account().cash == Decimal(100_010)
        assert venue.exchange.orders(only_open=False) == ()

    def test_a_split_changes_shares_and_not_their_cost(self, tmp_path: Path) -> None:
        venue = PaperVenue(tmp_path / "paper.sqlite3")
        venue.exchange.trade_by_somebody_else("ACME", Side.BUY, 15, Decimal(100))
        venue.exchange.split("ACME", new=1, old=10)
        (held,) = venue.exchange.positions()

        assert (held.quantity, held.average_price) == (1, 1500)
        with pytest.raises(ValueError, match="cannot be split"):
            venue.exchange.split("ACME", new=1, old=10)

    def test_a_liquidation_takes_resting_orders_with_it(self, tmp_path: Path) -> None:
        venue = PaperVenue(tmp_path / "paper.sqlite3")
        exchange = venue.exchange
        exchange.trade_by_somebody_else("ACME", Side.BUY, 10, Decimal(100))
        exchange.place(sell(10, 120))
        sold = exchange.trade_by_somebody_else("ACME", Side.SELL, 10, Decimal(99))

        assert (sold.status, exchange.positions()) == (OrderStatus.FILLED, ())
        assert exchange.orders(only_open=True) == ()
        with pytest.raises(ValueError, match="cannot sell"):
            exchange.trade_by_somebody_else("ACME", Side.SELL, 1, Decimal(99))
