"""What an entry needs at a broker where no stop rests, and what it must not be there."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

import safety
from brokers.drafts import entry_request
from brokers.paper import PAPER_CAPABILITIES
from rules.codes import Code
from shared.config_brokers import BrokerName
from shared.config_checks import findings
from shared.models import (
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Refusal,
    Snapshot,
    TimeInForce,
)
from tests.builders import NOW, entry, limits, order, position, sale, snapshot
from tests.fixtures.claude import PAPER

WATCHED = snapshot(
    stops_rest_at_broker=False,
    check_needed_within_seconds=60.0,
    last_check_at=NOW - timedelta(seconds=15),
)
PLAIN = replace(
    PAPER_CAPABILITIES,
    order_types=frozenset({OrderType.MARKET, OrderType.LIMIT}),
    order_classes=frozenset({OrderClass.SIMPLE}),
    times_in_force=frozenset({TimeInForce.DAY}),
)


def simple(**changes: object) -> OrderRequest:
    return entry(order_class=OrderClass.SIMPLE, time_in_force=TimeInForce.DAY, **changes)


def codes(request: OrderRequest, world: Snapshot = WATCHED) -> tuple[str, ...]:
    verdict = safety.review(request, world, limits(), NOW)
    return verdict.codes if isinstance(verdict, Refusal) else ()


def test_an_entry_is_one_order_for_the_day_that_names_its_levels() -> None:
    made = entry_request(
        symbol="ACME",
        quantity=10,
        limit_price=Decimal(100),
        stop_loss=Decimal(98),
        take_profit=Decimal(104),
        capabilities=PLAIN,
    )

    assert (made.order_class, made.time_in_force) == (OrderClass.SIMPLE, TimeInForce.DAY)
    assert (made.stop_loss, made.take_profit) == (Decimal(98), Decimal(104))
    assert codes(replace(made, client_order_id="cat-entry")) == ()


def test_where_brackets_are_taken_it_stays_one_that_outlives_the_day() -> None:
    made = entry_request(
        symbol="ACME",
        quantity=10,
        limit_price=None,
        stop_loss=Decimal(98),
        take_profit=Decimal(104),
        capabilities=PAPER_CAPABILITIES,
    )

    assert (made.order_class, made.time_in_force) == (OrderClass.BRACKET, TimeInForce.GTC)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"stop_loss": None}, Code.STOP_MISSING),
        ({"stop_loss": Decimal("100.00")}, Code.STOP_WRONG_SIDE),
        ({"stop_loss": Decimal("99.99")}, Code.STOP_WRONG_SIDE),
        ({"stop_loss": Decimal("80.00")}, Code.STOP_TOO_WIDE),
        ({"take_profit": None}, Code.TARGET_MISSING),
        ({"take_profit": Decimal("99.00")}, Code.TARGET_WRONG_SIDE),
        ({"take_profit": Decimal("100.10")}, Code.REWARD_TO_RISK),
    ],
)
def test_its_levels_have_to_be_as_sound_as_a_stop_that_rests(
    changes: dict[str, object], code: Code
) -> None:
    assert code in codes(simple(**changes))


def test_a_bracket_that_the_broker_would_not_take_is_refused() -> None:
    assert codes(entry()) == (Code.STOP_MISSING,)


def test_where_stops_rest_an_entry_without_a_bracket_is_refused() -> None:
    assert codes(simple(), replace(WATCHED, stops_rest_at_broker=True)) == (Code.STOP_MISSING,)


def test_a_setting_that_lets_nobody_watch_refuses_it() -> None:
    nobody = replace(WATCHED, check_needed_within_seconds=None)

    assert codes(simple(), nobody) == (Code.MONITOR_SILENT,)
    assert codes(sale(), replace(nobody, positions=(position(),))) == ()


def test_a_minute_of_silence_is_allowed_and_not_more() -> None:
    at_the_bound = replace(WATCHED, last_check_at=NOW - timedelta(seconds=60))
    beyond = replace(WATCHED, last_check_at=NOW - timedelta(seconds=61))

    assert codes(simple(), at_the_bound) == ()
    assert codes(simple(), beyond) == (Code.MONITOR_SILENT,)


def test_nothing_is_added_to_what_is_held_or_on_order() -> None:
    resting = order(quantity=10, status=OrderStatus.ACCEPTED)

    assert codes(simple(), replace(WATCHED, positions=(position(),))) == (Code.ALREADY_HELD,)
    assert codes(simple(), replace(WATCHED, open_orders=(resting,))) == (Code.ALREADY_HELD,)
    assert codes(simple(), replace(WATCHED, positions=(position("OTHER"),))) == ()


def test_at_moomoo_a_configuration_that_lets_nobody_watch_is_a_finding() -> None:
    def about(broker: BrokerName, within: float | None) -> list[str]:
        settings = PAPER.model_copy(
            update={
                "broker": PAPER.broker.model_copy(update={"name": broker}),
                "monitor": PAPER.monitor.model_copy(
                    update={"entries_need_a_check_within_seconds": within}
                ),
            }
        )
        found = findings(settings, {}, is_known=lambda _: True)
        return [one.what for one in found if one.place[0] == "monitor"]

    assert "the position monitor is the stop" in about(BrokerName.MOOMOO, None)[0]
    assert about(BrokerName.MOOMOO, 60.0) == []
    assert about(BrokerName.PAPER, None) == []
