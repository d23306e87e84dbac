"""What every difference of broker and database is called, what it locks, and what is never believed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models import Environment, Order, OrderStatus, OrderType, Position, Side, Verdict
from shared.order_life import OrderState
from shared.reconciliation import Reconciliation, is_to_be_read_again, reconcile
from shared.reconciliation_orders import unlisted
from shared.reconciliation_views import (
    BrokerView,
    DatabaseView,
    DeltaKind,
    OurOrder,
    OurPosition,
    Pin,
    SymbolLock,
    Unavailable,
    same_symbol,
)
from tests.builders import NOW, account, order, position

HOUR = timedelta(hours=1)
Kind = DeltaKind


def held(symbol: str = "ACME", quantity: int = 10, **changes: Any) -> OurPosition:
    made = OurPosition(position_id=1, symbol=symbol, quantity=quantity, entry_price=Decimal(100))
    return replace(made, **changes)


def ours(broker_order_id: str | None = "B1", **changes: Any) -> OurOrder:
    made = OurOrder(
        order_id=1,
        client_order_id=f"cat-{broker_order_id}",
        broker_order_id=broker_order_id,
        symbol="ACME",
        side=Side.BUY,
        quantity=10,
        state=OrderState.ACCEPTED,
        created_at=NOW - HOUR,
    )
    return replace(made, **changes)


def stop(quantity: int = 10, symbol: str = "ACME", **changes: Any) -> Order:
    return order(
        f"S-{symbol}",
        symbol=symbol,
        side=Side.SELL,
        order_type=OrderType.STOP,
        quantity=quantity,
        limit_price=None,
        stop_price=Decimal(98),
        **changes,
    )


def our_stop(symbol: str = "ACME") -> OurOrder:
    return ours(f"S-{symbol}", symbol=symbol, side=Side.SELL)


def database(**changes: Any) -> DatabaseView:
    return replace(DatabaseView(pin=Pin(broker="paper", account_id="PAPER-1")), **changes)


def broker(**changes: Any) -> BrokerView:
    made = BrokerView(broker="paper", account=account(), positions=(), orders=())
    return replace(made, **changes)


def protected(**changes: Any) -> tuple[DatabaseView, BrokerView]:
    """Ten shares on both sides, with their stop."""
    return (
        database(positions=(held(),), orders=(our_stop(),)),
        broker(**{"positions": (position(),), "orders": (stop(),)} | changes),
    )


def watched(
    known: DatabaseView,
    stop_loss: Decimal | None = Decimal(98),
    file: dict[str, Decimal | None] | None = {"ACME": Decimal(98)},  # noqa: B006 (never changed)
) -> DatabaseView:
    """The same at a broker without stops: a level, and the file beside the database that has it."""
    position = replace(known.positions[0], stop_loss=stop_loss)
    return replace(known, orders=(), positions=(position,), stop_file=file)


def kinds(found: Reconciliation) -> list[DeltaKind]:
    return [delta.kind for delta in found.deltas]


def differences(known: DatabaseView, said: BrokerView) -> list[DeltaKind]:
    return [delta.kind for delta in reconcile(known, said, NOW).differences]


def test_books_that_agree_are_clean() -> None:
    found = reconcile(*protected(), NOW)

    assert (kinds(found), found.verdict, found.locked) == ([Kind.EQUAL], Verdict.CLEAN, ())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("20", Kind.BROKER_MORE),
        ("10.5", Kind.BROKER_MORE),
        ("9", Kind.BROKER_LESS),
        ("-10", Kind.FLIPPED),
    ],
)
def test_a_quantity_that_differs_locks_its_symbol(shown: str, expected: DeltaKind) -> None:
    known, said = protected(positions=(position(quantity=shown),))
    found = reconcile(known, said, NOW)

    assert expected in kinds(found)
    assert (found.verdict, found.locked) == (Verdict.LOCKED, ("ACME",))
    assert shown in found.sentence()
    assert "10" in found.sentence()


def test_what_only_the_broker_has_is_locked() -> None:
    found = reconcile(database(), broker(positions=(position("OTHER", 400),)), NOW)

    assert (kinds(found), found.locked) == ([Kind.BROKER_ONLY], ("OTHER",))


def test_what_only_the_database_has_is_locked_and_nothing_else_is() -> None:
    known, said = protected(positions=(position("OTHER"),), orders=(stop(symbol="OTHER"),))
    known = replace(
        known,
        positions=(held(), held("OTHER")),
        orders=(our_stop("OTHER"),),
    )
    found = reconcile(known, said, NOW)

    assert kinds(found) == [Kind.DATABASE_ONLY, Kind.EQUAL]
    assert found.locked == ("ACME",)


def test_shares_that_a_person_accepted_are_expected() -> None:
    known, said = protected(positions=(position(quantity=60), position("OTHER", 5)))
    known = replace(known, external={"ACME": Decimal(50), "OTHER": Decimal(5)})
    found = reconcile(known, said, NOW)

    assert kinds(found) == [Kind.EQUAL, Kind.EXTERNAL_POSITION]
    assert found.verdict is Verdict.CLEAN


def test_accepted_shares_that_are_gone_are_a_difference() -> None:
    known = database(external={"ACME": Decimal(50)})

    assert differences(known, broker(positions=(position(quantity=40),))) == [Kind.BROKER_LESS]


@pytest.mark.parametrize("shown", ["0700", "700", "HK.00700"])
def test_a_symbol_is_the_same_however_it_is_spelt(shown: str) -> None:
    known = database(positions=(held("700"),), orders=(our_stop("700"),))
    said = broker(positions=(position(shown),), orders=(stop(symbol="700"),))

    assert reconcile(known, said, NOW).verdict is Verdict.CLEAN
    assert same_symbol("BRK.B") == "BRK.B"


class TestASplit:
    @pytest.mark.parametrize(
        ("shown", "before", "after"),
        [("20", "100", "50"), ("15", "100", "66"), ("1", "10", "101"), ("2.5", "25", "100")],
    )
    def test_is_quantity_and_price_moving_against_each_other(
        self, shown: str, before: str, after: str
    ) -> None:
        known, said = protected(positions=(position(quantity=shown, market_price=Decimal(after)),))
        known = replace(known, last_prices={"ACME": Decimal(before)})
        found = kinds(reconcile(known, said, NOW))

        assert Kind.SPLIT_SUSPECTED in found
        assert not {Kind.BROKER_MORE, Kind.BROKER_LESS, Kind.OVERNIGHT_GAP} & set(found)

    def test_is_seen_in_the_broker_s_average_where_no_price_is_known(self) -> None:
        known, said = protected(positions=(position(quantity=20, average_price=Decimal(50)),))

        assert Kind.SPLIT_SUSPECTED in differences(known, said)

    @pytest.mark.parametrize("price", ["100", "56", "44", "NaN"])
    def test_is_not_read_into_shares_that_somebody_bought(self, price: str) -> None:
        known, said = protected(positions=(position(quantity=20, market_price=Decimal(price)),))
        known = replace(known, last_prices={"ACME": Decimal(100)})

        assert Kind.BROKER_MORE in differences(known, said)


class TestAGap:
    @pytest.mark.parametrize(
        ("price", "overnight", "expected"),
        [
            ("95.00", True, [Kind.OVERNIGHT_GAP]),
            ("105.00", True, [Kind.OVERNIGHT_GAP]),
            ("95.01", True, []),
            ("80.00", False, []),
        ],
    )
    def test_of_what_was_held_overnight_is_for_a_person(
        self, price: str, overnight: bool, expected: list[DeltaKind]
    ) -> None:
        known, said = protected(positions=(position(market_price=Decimal(price)),))
        known = replace(
            known,
            positions=(held(held_overnight=overnight),),
            last_prices={"ACME": Decimal(100)},
        )

        assert differences(known, said) == expected

    def test_that_a_person_has_looked_at_locks_no_more(self) -> None:
        known, said = protected(positions=(position(market_price=Decimal(90)),))
        known = replace(
            known,
            positions=(held(held_overnight=True),),
            last_prices={"ACME": Decimal(100)},
        )
        (delta,) = reconcile(known, said, NOW).to_lock
        settled = reconcile(replace(known, settled=frozenset({delta.mark})), said, NOW)

        assert kinds(settled) == [Kind.EQUAL, Kind.OVERNIGHT_GAP]
        assert settled.verdict is Verdict.CLEAN


class TestStops:
    def test_that_are_missing_or_too_small_lock(self) -> None:
        known, said = protected(orders=())
        known = replace(known, orders=())

        assert differences(known, said) == [Kind.STOP_MISSING]
        assert differences(*protected(orders=(stop(9),))) == [Kind.STOP_TOO_SMALL]

    @pytest.mark.parametrize(
        ("parent", "expected"),
        [
            (OrderStatus.ACCEPTED, [Kind.STOP_MISSING]),
            (OrderStatus.PARTIALLY_FILLED, [Kind.STOP_MISSING]),
            (OrderStatus.FILLED, []),
        ],
    )
    def test_that_are_held_protect_once_their_entry_is_no_open_order(
        self, parent: OrderStatus, expected: list[DeltaKind]
    ) -> None:
        waiting = stop(status=OrderStatus.HELD, parent_order_id="B1")
        known, said = protected(orders=(order(status=parent), waiting))
        known = replace(known, orders=(ours(), our_stop()))

        assert differences(known, said) == expected

    def test_need_not_cover_what_is_somebody_else_s(self) -> None:
        known, said = protected(positions=(position(quantity=60),))

        assert differences(replace(known, external={"ACME": Decimal(50)}), said) == []

    def test_are_not_asked_for_where_there_are_none(self) -> None:
        known, said = protected(orders=(), has_stops=False)

        assert differences(watched(known), said) == []

    @pytest.mark.parametrize(
        ("stop_loss", "file", "sentence"),
        [
            (None, {"ACME": None}, "no stop level is known"),
            (Decimal(98), None, "its stop 98 is not in the file"),
            (Decimal(98), {}, "its stop 98 is not in the file"),
            (
                Decimal(98),
                {"ACME": Decimal(97)},
                "its stop is 98, in the file beside the database 97",
            ),
        ],
    )
    def test_that_no_monitor_knows_lock_where_there_are_none(
        self, stop_loss: Decimal | None, file: dict[str, Decimal | None] | None, sentence: str
    ) -> None:
        known, said = protected(orders=(), has_stops=False)
        found = reconcile(watched(known, stop_loss, file), said, NOW)

        assert (kinds(found)[-1], found.locked) == (Kind.STOP_MISSING, ("ACME",))
        assert sentence in found.deltas[-1].sentence


class TestOrders:
    @pytest.mark.parametrize(
        "state", [OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN]
    )
    def test_without_an_outcome_lock(self, state: OrderState) -> None:
        known = database(orders=(ours(None, state=state),))
        found = reconcile(known, broker(), NOW)

        assert (kinds(found), found.locked) == ([Kind.ORDER_UNRESOLVED], ("ACME",))
        assert found.deltas[0].order_id == 1

    def test_that_the_broker_denies_are_missing(self) -> None:
        known = database(orders=(ours(),))
        said = broker(absent=frozenset({"cat-B1"}))

        assert unlisted(known, ()) == ("cat-B1",)
        assert differences(known, said) == [Kind.ORDER_MISSING]

    @pytest.mark.parametrize("state", [OrderState.ACCEPTED, OrderState.FILLED])
    def test_that_the_list_leaves_out_show_that_it_is_cut_off(self, state: OrderState) -> None:
        known = database(orders=(ours("B0", created_at=NOW - 3 * HOUR), ours(state=state)))
        listed = order("B0", submitted_at=NOW - 3 * HOUR, status=OrderStatus.CANCELED)
        found = reconcile(known, broker(orders=(listed,)), NOW)

        assert kinds(found) == [Kind.TRUNCATED_ORDERS]
        assert found.verdict is Verdict.UNREADABLE

    def test_that_are_older_than_the_list_and_over_are_not_asked_for(self) -> None:
        known = database(
            orders=(ours("B0", created_at=NOW - 9 * HOUR, state=OrderState.FILLED), ours())
        )

        assert differences(known, broker(orders=(order(),))) == []

    @pytest.mark.parametrize("client_order_id", [None, "by hand"])
    def test_of_somebody_else_lock_until_a_person_has_looked(
        self, client_order_id: str | None
    ) -> None:
        said = broker(orders=(order("X1", client_order_id=client_order_id, symbol="OTHER"),))
        found = reconcile(database(), said, NOW)
        mark = found.deltas[0].mark

        assert (kinds(found), found.locked) == ([Kind.EXTERNAL_ORDER], ("OTHER",))
        assert reconcile(database(settled=frozenset({mark})), said, NOW).verdict is Verdict.CLEAN

    def test_that_rest_although_they_ended_by_our_records_are_nobody_s(self) -> None:
        known = database(orders=(ours(state=OrderState.CANCELED),))

        assert differences(known, broker(orders=(order(),))) == [Kind.EXTERNAL_ORDER]

    def test_that_are_legs_of_ours_are_ours(self) -> None:
        leg = order("L1", client_order_id=None, parent_order_id="B1", side=Side.SELL)

        assert differences(database(orders=(ours(),)), broker(orders=(order(), leg))) == []


class TestAnAccount:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"blocked": True}, Kind.ACCOUNT_BLOCKED),
            ({"account_id": "PAPER-2"}, Kind.ACCOUNT_CHANGED),
            ({"environment": Environment.LIVE}, Kind.ACCOUNT_CHANGED),
        ],
    )
    def test_that_is_not_as_it_was_lets_nothing_be_bought(
        self, changes: Mapping[str, Any], expected: DeltaKind
    ) -> None:
        found = reconcile(database(), broker(account=account(**changes)), NOW)

        assert (kinds(found), found.verdict) == ([expected], Verdict.UNREADABLE)


class TestAReadThatFailed:
    @pytest.mark.parametrize("what", ["account", "positions", "orders"])
    def test_is_never_flat_and_locks_nothing(self, what: str) -> None:
        known, said = protected(**{what: Unavailable(why="no answer in 5 s")})
        found = reconcile(known, said, NOW)

        assert Kind.READ_FAILED in kinds(found)
        assert Kind.DATABASE_ONLY not in kinds(found)
        assert (found.verdict, found.to_lock) == (Verdict.UNREADABLE, ())
        assert "no answer in 5 s" in found.sentence()

    def test_is_also_a_number_of_shares_that_is_none(self) -> None:
        known, said = protected(positions=(position(quantity="NaN"),))

        assert reconcile(known, said, NOW).verdict is Verdict.UNREADABLE


class TestAnEmptyListOfPositions:
    @pytest.mark.parametrize(
        ("reads", "equity", "expected"),
        [
            (1, "100000", Kind.SUSPICIOUSLY_EMPTY),
            (2, "101000", Kind.SUSPICIOUSLY_EMPTY),
            (2, "NaN", Kind.SUSPICIOUSLY_EMPTY),
            (2, "100000", Kind.DATABASE_ONLY),
        ],
    )
    def test_is_believed_after_two_reads_and_when_the_money_agrees(
        self, reads: int, equity: str, expected: DeltaKind
    ) -> None:
        known, said = protected(
            positions=(), empty_reads=reads, account=account(equity=Decimal(equity))
        )
        found = reconcile(known, said, NOW)

        assert kinds(found) == [expected]
        assert found.verdict is not Verdict.CLEAN


class TestLocks:
    def test_that_are_in_force_stay_although_nothing_differs_any_more(self) -> None:
        known, said = protected()
        lock = SymbolLock(symbol="ACME", kind="broker_more", reason="20 for 10")
        found = reconcile(replace(known, locks=(lock,)), said, NOW)

        assert (found.verdict, found.locked, found.to_release) == (Verdict.LOCKED, ("ACME",), ())

    def test_about_stops_and_orders_end_when_that_is_in_order(self) -> None:
        known, said = protected()
        lock = SymbolLock(symbol="ACME", kind="stop_missing", reason="0 of 10")
        found = reconcile(replace(known, locks=(lock,)), said, NOW)

        assert (found.verdict, found.locked, found.to_release) == (Verdict.CLEAN, (), (lock,))

    def test_are_not_made_twice(self) -> None:
        known, said = protected(positions=(position(quantity=20),))
        lock = SymbolLock(symbol="ACME", kind="broker_more", reason="20 for 10")
        found = reconcile(replace(known, locks=(lock,)), said, NOW)

        assert (found.to_lock, found.locked) == ((), ("ACME",))


class TestASecondLook:
    def test_is_taken_at_what_differs_and_at_what_has_just_changed(self) -> None:
        known, said = protected()
        young = replace(said, orders=(stop(updated_at=NOW - timedelta(seconds=9)),))
        odd = replace(said, positions=())

        def again(view: BrokerView) -> bool:
            return is_to_be_read_again(reconcile(known, view, NOW), view, NOW, seconds=10)

        assert [again(said), again(young), again(odd)] == [False, True, True]


AMOUNTS = st.one_of(
    st.integers(-30, 30).map(Decimal),
    st.sampled_from(["0.5", "10.5", "NaN", "Infinity", "-0"]).map(Decimal),
)
PRICES = st.one_of(st.none(), AMOUNTS)
SYMBOLS = st.sampled_from(["ACME", "OTHER", "700", "0700"])
POSITIONS = st.lists(
    st.builds(
        position,
        SYMBOLS,
        AMOUNTS.map(str),
        average_price=AMOUNTS,
        market_price=PRICES,
    ),
    max_size=3,
).map(tuple)
ORDERS = st.lists(
    st.builds(
        order,
        st.sampled_from(["B1", "B2", "S1"]),
        symbol=SYMBOLS,
        side=st.sampled_from(Side),
        order_type=st.sampled_from(OrderType),
        status=st.sampled_from(OrderStatus),
        parent_order_id=st.sampled_from([None, "B1", "X"]),
    ),
    max_size=4,
).map(tuple)
FAILED = st.just(Unavailable(why="lost"))
BROKERS = st.builds(
    BrokerView,
    broker=st.just("paper"),
    account=FAILED | st.builds(account, equity=AMOUNTS, cash=AMOUNTS, blocked=st.booleans()),
    positions=FAILED | POSITIONS,
    orders=FAILED | ORDERS,
    absent=st.frozensets(st.sampled_from(["cat-B1", "cat-B2"])),
    empty_reads=st.integers(0, 2),
)
DATABASES = st.builds(
    DatabaseView,
    positions=st.lists(
        st.builds(
            OurPosition,
            position_id=st.just(1),
            symbol=SYMBOLS,
            quantity=st.integers(1, 30),
            entry_price=st.integers(1, 30).map(Decimal),
            held_overnight=st.booleans(),
        ),
        max_size=2,
        unique_by=lambda one: one.symbol,
    ).map(tuple),
    orders=st.lists(
        st.builds(
            ours,
            st.sampled_from(["B1", "B2", None]),
            symbol=SYMBOLS,
            state=st.sampled_from(OrderState),
            is_leg=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    external=st.dictionaries(SYMBOLS, st.integers(0, 20).map(Decimal), max_size=2),
    last_prices=st.dictionaries(SYMBOLS, AMOUNTS, max_size=2),
    pin=st.sampled_from([None, Pin(broker="paper", account_id="PAPER-1")]),
)


def quantities(known: DatabaseView, shown: tuple[Position, ...]) -> dict[str, Decimal]:
    """By how much each symbol differs, worked out the plain way."""
    left: dict[str, Decimal] = {}
    for one in shown:
        left[same_symbol(one.symbol)] = left.get(same_symbol(one.symbol), Decimal(0)) + one.quantity
    for mine in known.positions:
        left[same_symbol(mine.symbol)] = (
            left.get(same_symbol(mine.symbol), Decimal(0)) - mine.quantity
        )
    for symbol, quantity in known.external.items():
        left[same_symbol(symbol)] = left.get(same_symbol(symbol), Decimal(0)) - quantity
    return left


@given(DATABASES, BROKERS)
def test_nothing_is_clean_while_a_quantity_differs_and_nothing_raises(
    known: DatabaseView, said: BrokerView
) -> None:
    found = reconcile(known, said, NOW)
    failed = [isinstance(part, Unavailable) for part in (said.account, said.positions, said.orders)]

    assert found.sentence()
    if any(failed):
        assert found.verdict is Verdict.UNREADABLE
        assert found.to_lock == ()
    if isinstance(said.positions, Unavailable):
        assert Kind.DATABASE_ONLY not in kinds(found)
    elif found.verdict is Verdict.CLEAN:
        assert not any(quantities(known, said.positions).values())


@given(DATABASES, BROKERS)
def test_every_finding_is_a_sentence_and_every_lock_has_a_symbol(
    known: DatabaseView, said: BrokerView
) -> None:
    found = reconcile(known, said, NOW)

    assert all(delta.sentence for delta in found.deltas)
    assert {delta.symbol for delta in found.to_lock} <= set(found.locked)
    assert (found.verdict is Verdict.LOCKED) <= bool(found.locked)


def test_every_kind_is_met_in_these_tests() -> None:
    source = Path(__file__).read_text()

    assert [kind for kind in Kind if f"Kind.{kind.name}" not in source] == []
