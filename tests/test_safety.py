"""Every rule at its exact boundary, and the properties that no request may break."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import safety
from safety import ApprovedCancel, ApprovedOrder, Code
from shared.config import LimitSettings
from shared.models import (
    Environment,
    InstrumentKind,
    Mode,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Refusal,
    Side,
    Snapshot,
    TradingState,
)
from tests.builders import (
    CLOSE,
    NOW,
    OPEN,
    SESSION,
    account,
    entry,
    instrument,
    limits,
    order,
    position,
    quote,
    sale,
    snapshot,
)


def codes(
    request: OrderRequest,
    world: Snapshot | None = None,
    now: datetime = NOW,
    bounds: LimitSettings | None = None,
) -> tuple[str, ...]:
    verdict = safety.review(request, world or snapshot(), bounds or limits(), now)
    return verdict.codes if isinstance(verdict, Refusal) else ()


def test_a_sound_entry_is_approved_and_carries_its_request() -> None:
    verdict = safety.review(entry(), snapshot(), limits(), NOW)

    assert isinstance(verdict, ApprovedOrder)
    assert verdict.request == entry()
    assert verdict.approved_at == NOW


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"side": Side.SELL}, Code.SIDE_AND_PURPOSE, id="an entry that sells"),
        pytest.param({"purpose": OrderPurpose.EXIT}, Code.SIDE_AND_PURPOSE, id="an exit that buys"),
        pytest.param({"symbol": "GHOST"}, Code.SYMBOL_NOT_TRADABLE, id="unknown symbol"),
        pytest.param({"order_type": OrderType.STOP}, Code.PRICE_MISSING, id="a stop entry"),
        pytest.param({"limit_price": None}, Code.PRICE_MISSING, id="a limit order without limit"),
        pytest.param(
            {"order_type": OrderType.MARKET}, Code.PRICE_MISSING, id="a priced market order"
        ),
        pytest.param({"quantity": 0}, Code.QUANTITY, id="nothing"),
        pytest.param({"quantity": -10}, Code.QUANTITY, id="less than nothing"),
        pytest.param({"limit_price": Decimal("100.005")}, Code.TICK_SIZE, id="limit off the tick"),
        pytest.param({"stop_loss": Decimal("97.999")}, Code.TICK_SIZE, id="stop off the tick"),
        pytest.param({"take_profit": Decimal("104.001")}, Code.TICK_SIZE, id="target off the tick"),
        pytest.param({"stop_loss": Decimal(-1)}, Code.TICK_SIZE, id="negative stop"),
        pytest.param({"stop_loss": None}, Code.STOP_MISSING, id="no stop"),
        pytest.param(
            {"order_class": OrderClass.SIMPLE}, Code.STOP_MISSING, id="a stop that would not rest"
        ),
        pytest.param({"stop_loss": Decimal(100)}, Code.STOP_WRONG_SIDE, id="stop at the entry"),
        pytest.param({"stop_loss": Decimal(101)}, Code.STOP_WRONG_SIDE, id="stop above the entry"),
        pytest.param({"take_profit": None}, Code.TARGET_MISSING, id="no target"),
        pytest.param(
            {"take_profit": Decimal(100)}, Code.TARGET_WRONG_SIDE, id="target at the entry"
        ),
        pytest.param(
            {"take_profit": Decimal("103.99")}, Code.REWARD_TO_RISK, id="a cent too little reward"
        ),
        pytest.param({"quantity": 51}, Code.POSITION_VALUE, id="one share too many"),
    ],
)
def test_an_entry_is_refused_for_what_is_wrong_with_it(
    changes: dict[str, Any], expected: Code
) -> None:
    assert expected in codes(entry(**changes))


def test_every_reason_is_given_at_once() -> None:
    request = entry(quantity=5000, stop_loss=None, take_profit=None, limit_price=Decimal("150.001"))

    assert set(codes(request)) == {
        Code.PRICE_COLLAR,
        Code.TICK_SIZE,
        Code.STOP_MISSING,
        Code.TARGET_MISSING,
        Code.POSITION_VALUE,
        Code.POSITION_SHARE,
        Code.GROSS_EXPOSURE,
        Code.CASH,
    }


def test_a_position_may_be_worth_exactly_the_limit() -> None:
    assert codes(entry(quantity=50)) == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"mode": Mode.SCAN}, Code.MODE, id="scan opens nothing"),
        pytest.param({"mode": Mode.CLOSE}, Code.MODE, id="close opens nothing"),
        pytest.param({"mode": Mode.HEARTBEAT}, Code.MODE, id="heartbeat opens nothing"),
        pytest.param({"state": TradingState.HALTED}, Code.TRADING_STATE, id="halted"),
        pytest.param({"state": TradingState.REDUCING}, Code.TRADING_STATE, id="reducing"),
        pytest.param(
            {"disagreements": ("the broker shows 0 of 10",)},
            Code.RECONCILIATION,
            id="books disagree",
        ),
        pytest.param(
            {"budget_left_usd": Decimal(1), "budget_kept_for_exits_usd": Decimal(1)},
            Code.BUDGET,
            id="only the exits' share is left",
        ),
        pytest.param(
            {"unresolved": ("cat-x",)}, Code.UNRESOLVED_ORDER, id="an order of unknown outcome"
        ),
        pytest.param({"account": account(environment=Environment.LIVE)}, Code.ACCOUNT, id="live"),
        pytest.param({"account": account(blocked=True)}, Code.ACCOUNT, id="blocked"),
        pytest.param({"account": account(currency="HKD")}, Code.ACCOUNT, id="another currency"),
        pytest.param({"account": account(equity=Decimal(0))}, Code.ACCOUNT, id="no equity"),
        pytest.param(
            {"account": account(cash=Decimal("999.99"))}, Code.CASH, id="a cent short of cash"
        ),
        pytest.param(
            {"account": account(buying_power=Decimal("999.99"))},
            Code.CASH,
            id="a cent short of buying power",
        ),
        pytest.param(
            {"instruments": {"ACME": instrument(tradable=False)}},
            Code.SYMBOL_NOT_TRADABLE,
            id="not tradable",
        ),
        pytest.param(
            {"instruments": {"ACME": instrument(kind=InstrumentKind.INDEX, tradable=False)}},
            Code.SYMBOL_NOT_TRADABLE,
            id="an index",
        ),
        pytest.param(
            {"instruments": {"ACME": instrument(currency="HKD")}},
            Code.SYMBOL_NOT_TRADABLE,
            id="a symbol in another currency",
        ),
        pytest.param(
            {"instruments": {"ACME": instrument(lot_size=100)}}, Code.LOT_SIZE, id="a broken lot"
        ),
        pytest.param({"session": None}, Code.SESSION_CLOSED, id="holiday"),
        pytest.param({"quotes": {}}, Code.QUOTE_MISSING, id="no quote"),
        pytest.param({"quotes": {"ACME": quote(bid=None)}}, Code.QUOTE_MISSING, id="no bid"),
        pytest.param({"quotes": {"ACME": quote(ask=None)}}, Code.QUOTE_MISSING, id="no ask"),
        pytest.param(
            {"quotes": {"ACME": quote(bid=Decimal(0))}}, Code.QUOTE_MISSING, id="a bid of zero"
        ),
        pytest.param(
            {"quotes": {"ACME": quote(bid=Decimal("100.02"))}},
            Code.QUOTE_MISSING,
            id="crossed quote",
        ),
        pytest.param(
            {"quotes": {"ACME": quote(halted=True)}}, Code.QUOTE_MISSING, id="a halted symbol"
        ),
        pytest.param(
            {"quotes": {"ACME": quote(at=NOW - timedelta(seconds=61))}},
            Code.QUOTE_STALE,
            id="old quote",
        ),
        pytest.param(
            {"quotes": {"ACME": quote(at=NOW + timedelta(seconds=1))}},
            Code.QUOTE_STALE,
            id="a quote from the future",
        ),
        pytest.param(
            {"quotes": {"ACME": quote(bid=Decimal("97.99"), ask=Decimal("98.01"))}},
            Code.PRICE_COLLAR,
            id="a limit 2.04 % above the middle",
        ),
        pytest.param(
            {"quotes": {"ACME": quote(bid=Decimal("97.90"), ask=Decimal("100.01"))}},
            Code.STOP_WRONG_SIDE,
            id="a stop above the bid would fire at once",
        ),
    ],
)
def test_an_entry_is_refused_for_the_state_of_the_world(
    changes: dict[str, Any], expected: Code
) -> None:
    assert expected in codes(entry(), snapshot(**changes))


def test_a_quote_may_be_exactly_as_old_as_the_limit() -> None:
    world = snapshot(quotes={"ACME": quote(at=NOW - timedelta(seconds=60))})

    assert codes(entry(), world) == ()


@pytest.mark.parametrize(
    ("now", "open_"),
    [
        (OPEN - timedelta(microseconds=1), False),
        (OPEN, True),
        (CLOSE - timedelta(microseconds=1), True),
        (CLOSE, False),
    ],
)
def test_the_session_is_open_from_its_first_instant_to_before_its_last(
    now: datetime, open_: bool
) -> None:
    world = snapshot(quotes={"ACME": quote(at=now)})

    assert (Code.SESSION_CLOSED not in codes(entry(), world, now)) is open_


def test_lunch_is_closed() -> None:
    noon = OPEN + timedelta(hours=2)
    lunch = replace(SESSION, parts=((OPEN, noon), (noon + timedelta(hours=1), CLOSE)))
    now = noon + timedelta(minutes=30)

    assert Code.SESSION_CLOSED in codes(entry(), snapshot(session=lunch), now)


class TestPendingOrdersCount:
    def test_towards_the_value_of_a_position(self) -> None:
        world = snapshot(open_orders=(order(quantity=41),))

        assert Code.POSITION_VALUE in codes(entry(quantity=10), world)
        assert codes(entry(quantity=9), world) == ()

    def test_and_so_does_what_is_held(self) -> None:
        world = snapshot(positions=(position(quantity=41),))

        assert Code.POSITION_VALUE in codes(entry(quantity=10), world)

    def test_towards_the_number_of_positions(self) -> None:
        pending = tuple(order(f"B{n}", symbol=f"S{n}") for n in range(15))

        assert Code.POSITION_COUNT in codes(entry(), snapshot(open_orders=pending))
        assert codes(entry(), snapshot(open_orders=pending[:14])) == ()

    def test_towards_the_cash(self) -> None:
        pending = order(symbol="OTHER", quantity=995)

        assert Code.CASH in codes(entry(), snapshot(open_orders=(pending,)))

    def test_and_one_whose_price_nobody_knows_uses_up_everything(self) -> None:
        pending = order(symbol="OTHER", order_type=OrderType.MARKET, limit_price=None, quantity=1)

        assert Code.CASH in codes(entry(), snapshot(open_orders=(pending,)))

    def test_but_sales_and_closed_orders_do_not(self) -> None:
        closed = order("B2", symbol="OTHER", status=OrderStatus.CANCELED, quantity=5000)
        leg = order("B3", symbol="OTHER", side=Side.SELL, quantity=5000)

        assert codes(entry(), snapshot(open_orders=(closed, leg))) == ()


def test_a_resting_sale_forbids_a_purchase_and_a_sleeping_leg_does_not() -> None:
    sale_ = order("S1", side=Side.SELL, order_type=OrderType.STOP, stop_price=Decimal(90))
    sleeping = replace(sale_, status=OrderStatus.HELD)

    assert codes(entry(), snapshot(open_orders=(sale_,))) == (Code.OPPOSITE_ORDER,)
    assert codes(entry(), snapshot(open_orders=(sleeping,))) == ()


def test_a_limit_above_the_market_is_valued_at_the_limit() -> None:
    request = entry(
        limit_price=Decimal("101.00"), quantity=50, stop_loss=Decimal(98), take_profit=Decimal(108)
    )

    assert codes(request) == (Code.POSITION_VALUE,)


def test_a_market_entry_is_judged_at_the_ask() -> None:
    request = entry(order_type=OrderType.MARKET, limit_price=None)

    assert codes(request) == (Code.REWARD_TO_RISK,)
    assert codes(replace(request, take_profit=Decimal("104.03"))) == ()


class TestExits:
    held = snapshot(positions=(position(),))

    def test_are_approved_for_what_is_held(self) -> None:
        assert codes(sale(), self.held) == ()

    @pytest.mark.parametrize(
        "changes",
        [
            {"mode": Mode.CLOSE},
            {"state": TradingState.HALTED, "halts": ("halted",)},
            {"disagreements": ("x",)},
            {"session_start_equity": None},
            {"entries_today": {"ACME": 99}},
            {"last_loss_at": {"ACME": NOW}},
            {"budget_left_usd": Decimal(0)},
            {"unresolved": ("cat-x",)},
            {"quotes": {}},
            {"account": account(equity=Decimal("NaN"))},
            {"account": account(blocked=True)},
            {"positions": (position(market_price=Decimal("NaN")), position("X", "NaN"))},
            {"instruments": {}},
        ],
        ids=str,
    )
    def test_are_not_blocked_by_what_blocks_entries(self, changes: dict[str, Any]) -> None:
        assert codes(sale(), replace(self.held, **changes)) == ()

    @pytest.mark.parametrize(
        ("request_", "world", "expected"),
        [
            (sale(), snapshot(), Code.NOT_HELD),
            (sale(quantity=11), held, Code.NOT_HELD),
            (sale(quantity=0), held, Code.QUANTITY),
            (sale(), snapshot(positions=(position(quantity="9.5"),)), Code.NOT_HELD),
            (sale(), snapshot(positions=(position(available=Decimal(0)),)), Code.NOT_HELD),
            (sale(), replace(held, session=None), Code.SESSION_CLOSED),
            (sale(replaces="B9"), held, Code.NOT_OPEN),
            (sale(purpose=OrderPurpose.ENTRY), held, Code.SIDE_AND_PURPOSE),
        ],
    )
    def test_never_exceed_what_can_be_sold(
        self, request_: OrderRequest, world: Snapshot, expected: Code
    ) -> None:
        assert expected in codes(request_, world)

    def test_a_stop_may_be_laid_down_when_the_exchange_is_closed(self) -> None:
        closed = replace(self.held, session=None)

        assert codes(sale(purpose=OrderPurpose.STOP_LOSS), closed) == ()

    def test_may_take_the_place_of_the_resting_target(self) -> None:
        target = order("T1", side=Side.SELL, limit_price=Decimal(104))
        world = snapshot(positions=(position(available=Decimal(0)),), open_orders=(target,))
        request = sale(order_type=OrderType.LIMIT, limit_price=Decimal(99), replaces="T1")

        assert codes(request, world) == ()

    def test_may_not_take_the_place_of_the_stop(self) -> None:
        stop = order("S1", side=Side.SELL, order_type=OrderType.STOP, stop_price=Decimal(98))
        world = snapshot(positions=(position(available=Decimal(0)),), open_orders=(stop,))

        assert Code.NOT_OPEN in codes(sale(replaces="S1"), world)


class TestCancels:
    def test_of_a_resting_entry_are_given(self) -> None:
        verdict = safety.review_cancel(
            "B1", why="old", snapshot=snapshot(open_orders=(order(),)), now=NOW
        )

        assert isinstance(verdict, ApprovedCancel)
        assert verdict.broker_order_id == "B1"

    @pytest.mark.parametrize("kind", [OrderType.STOP, OrderType.LIMIT])
    def test_of_what_protects_a_position_are_refused(self, kind: OrderType) -> None:
        leg = order("L1", side=Side.SELL, order_type=kind)
        world = snapshot(positions=(position(),), open_orders=(leg,))
        verdict = safety.review_cancel("L1", why="because", snapshot=world, now=NOW)

        assert isinstance(verdict, Refusal)
        assert verdict.codes == (Code.PROTECTS_POSITION,)

    @pytest.mark.parametrize(
        ("changes", "codes"),
        [
            ({}, ()),
            ({"session": None}, (Code.SESSION_CLOSED,)),
            ({"market_is_open": False}, (Code.BROKER_CLOSED,)),
            ({"market_is_open": None}, ()),
            ({"quotes": {}}, (Code.QUOTE_MISSING,)),
            ({"quotes": {"ACME": quote(halted=True)}}, (Code.QUOTE_MISSING,)),
            ({"quotes": {"ACME": quote(bid=None)}}, (Code.QUOTE_MISSING,)),
        ],
        ids=[
            "open with a bid",
            "closed",
            "closed at the broker",
            "not said",
            "no quote",
            "halted",
            "no bid",
        ],
    )
    def test_of_what_protects_a_position_are_given_to_leave_it_while_that_is_possible(
        self, changes: dict[str, Any], codes: tuple[Code, ...]
    ) -> None:
        leg = order("L1", side=Side.SELL, order_type=OrderType.STOP)
        world = snapshot(positions=(position(),), open_orders=(leg,), **changes)
        verdict = safety.review_cancel("L1", why="b", snapshot=world, now=NOW, to_leave=True)

        assert (verdict.codes if isinstance(verdict, Refusal) else ()) == codes

    def test_of_an_order_that_is_not_open_are_refused(self) -> None:
        verdict = safety.review_cancel("B9", why="because", snapshot=snapshot(), now=NOW)

        assert isinstance(verdict, Refusal)
        assert verdict.codes == (Code.NOT_OPEN,)


class TestSeal:
    def test_an_approval_cannot_be_made_elsewhere(self) -> None:
        with pytest.raises(TypeError, match=r"safety\.review"):
            ApprovedOrder(request=entry(), approved_at=NOW, seal=object())
        with pytest.raises(TypeError, match=r"safety\.review"):
            ApprovedCancel(broker_order_id="B1", why="", approved_at=NOW, seal=object())

    def test_an_approval_cannot_be_altered_into_another(self) -> None:
        verdict = safety.review(entry(), snapshot(), limits(), NOW)

        assert isinstance(verdict, ApprovedOrder)
        with pytest.raises((TypeError, ValueError)):
            replace(verdict, request=entry(quantity=1_000_000))
        with pytest.raises(AttributeError):
            verdict.request = entry(quantity=1_000_000)  # pyright: ignore[reportAttributeAccessIssue]


class TestTicks:
    def test_prices_are_rounded_against_the_agent(self) -> None:
        rough = entry(
            limit_price=Decimal("100.0099"),
            stop_loss=Decimal("98.0001"),
            take_profit=Decimal("104.0099"),
        )
        rounded = safety.on_tick(rough, instrument())

        assert (rounded.limit_price, rounded.stop_loss, rounded.take_profit) == (
            Decimal("100.00"),
            Decimal("98.01"),
            Decimal("104.00"),
        )

    @given(st.decimals(min_value="0.0002", max_value="99999", places=6))
    def test_what_is_rounded_is_on_the_tick_and_nearer_than_a_tick(self, price: Decimal) -> None:
        thing = instrument()
        rounded = safety.on_tick(entry(limit_price=price), thing).limit_price

        assert rounded is not None
        assert rounded % thing.tick_at(price) == 0
        assert 0 <= price - rounded < thing.tick_at(price)


ANY_DECIMAL = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(min_value=90, max_value=110, places=2),
    st.none(),
)


@given(
    quantity=st.integers(min_value=-10, max_value=200),
    limit_price=ANY_DECIMAL,
    stop_loss=ANY_DECIMAL,
    take_profit=ANY_DECIMAL,
    held=st.integers(min_value=0, max_value=60),
    pending=st.integers(min_value=0, max_value=60),
    cash=st.one_of(st.decimals(min_value=0, max_value=9000, places=2), st.just(Decimal("NaN"))),
    equity=st.sampled_from([Decimal(100_000), Decimal("NaN"), Decimal("Infinity"), Decimal(-5)]),
    bid=st.one_of(st.none(), st.just(Decimal("NaN")), st.just(Decimal("99.99"))),
)
def test_nothing_over_a_limit_is_ever_approved(
    quantity: int,
    limit_price: Decimal | None,
    stop_loss: Decimal | None,
    take_profit: Decimal | None,
    held: int,
    pending: int,
    cash: Decimal,
    equity: Decimal,
    bid: Decimal | None,
) -> None:
    request = entry(
        quantity=quantity, limit_price=limit_price, stop_loss=stop_loss, take_profit=take_profit
    )
    world = snapshot(
        account=account(cash=cash, equity=equity),
        positions=(position(quantity=held),) if held else (),
        open_orders=(order(quantity=pending),) if pending else (),
        quotes={"ACME": quote(bid=bid)},
    )
    verdict = safety.review(request, world, limits(), NOW)
    if isinstance(verdict, Refusal):
        assert verdict.reasons
        return

    assert limit_price is not None
    assert stop_loss is not None
    assert take_profit is not None
    assert bid is not None
    assert quantity > 0
    assert all(
        number.is_finite() for number in (limit_price, stop_loss, take_profit, cash, equity, bid)
    )
    assert 0 < stop_loss < limit_price < take_profit
    assert (quantity + pending) * min(limit_price, Decimal(100)) + held * 100 <= 5000
    assert quantity * limit_price + pending * 100 <= cash
    assert (take_profit - limit_price) / (limit_price - stop_loss) >= 2
    assert abs(limit_price - 100) <= 2


@given(
    st.one_of(st.integers(), st.just(0)),
    st.decimals(min_value=0, max_value=100, places=2),
    st.decimals(min_value=0, max_value=100, places=2),
)
def test_a_sale_is_never_approved_beyond_what_is_held(
    quantity: int, held: Decimal, available: Decimal
) -> None:
    world = snapshot(positions=(position(quantity=str(held), available=available),))
    verdict = safety.review(sale(quantity=quantity), world, limits(), NOW)

    assert isinstance(verdict, Refusal) or 0 < quantity <= min(held, available)


def test_every_code_is_met_in_these_tests() -> None:
    folder = Path(__file__).parent
    files = (Path(__file__), *folder.glob("rules/*.py"))
    source = "".join(file.read_text() for file in files)

    assert [code for code in Code if f"Code.{code.name}" not in source] == []


def test_a_number_that_is_none_refuses_before_anything_is_compared() -> None:
    assert codes(entry(limit_price=Decimal("NaN"))) == (Code.NOT_FINITE,)
    assert codes(entry(), snapshot(account=account(equity=Decimal("NaN")))) == (Code.NOT_FINITE,)
    assert codes(entry(), snapshot(positions=(position(market_price=Decimal("sNaN")),))) == (
        Code.NOT_FINITE,
    )
