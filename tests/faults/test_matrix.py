"""The matrix of faults is whole, and a test that declares what its books do not show fails."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.cases import (
    AT_ALPACA,
    AT_MOOMOO,
    OUR_PREFIX,
    REQUIRED,
    Case,
    Group,
    case,
    cases_of,
    declared_cases,
    matrix,
)
from tests.faults.steps import bought, partly_bought
from tests.fixtures.dev_claude import DevClaude
from tests.fixtures.floor import Floor
from tests.simulators.alpaca.client import limit, open_client
from tests.simulators.alpaca.venue import AlpacaVenue


def test_every_required_case_has_exactly_one_test() -> None:
    counted = Counter(declared.id for _, declared in declared_cases())

    assert counted == Counter((*REQUIRED, *AT_ALPACA, *AT_MOOMOO))


def test_the_cases_at_each_broker_are_a_group_of_their_own() -> None:
    assert tuple(declared.id for declared in cases_of(Group.ALPACA)) == AT_ALPACA
    assert tuple(declared.id for declared in cases_of(Group.MOOMOO)) == AT_MOOMOO
    assert {declared.id for declared in cases_of(Group.PAPER)} == set(REQUIRED)


def test_a_case_at_alpaca_that_orders_something_else_fails(alpaca: AlpacaVenue) -> None:
    @case("A0", "", injected="", orders=0, verdict="")
    def buys_once(agent: DevClaude) -> None:
        with_id = limit(99, 1, client_order_id=f"{OUR_PREFIX}1")
        client = open_client(agent.venue)
        client.submit_order(with_id)
        client._session.close()

    nowhere = DevClaude(venue=alpaca, home=Path(), trading_url="", research_url="")
    with pytest.raises(AssertionError, match="A0: 1 orders at the broker"):
        buys_once(agent=nowhere)


def test_the_name_of_a_test_begins_with_its_case() -> None:
    for node, declared in declared_cases():
        assert f"::test_{declared.id.lower()}_" in node


async def test_a_case_that_sends_another_number_of_orders_fails(floor: Floor) -> None:
    @case("X1", "", injected="", orders=2, verdict="")
    async def buys_once(floor: Floor) -> None:
        await bought(floor)

    with pytest.raises(AssertionError, match="X1: 1 orders at the broker"):
        await buys_once(floor=floor)


async def test_a_case_that_is_naked_for_another_time_fails(floor: Floor) -> None:
    @case("X2", "", injected="", orders=2, naked_seconds=59, verdict="")
    async def is_naked_for_a_minute(floor: Floor) -> None:
        await partly_bought(floor)
        await floor.tidy()

    with pytest.raises(AssertionError, match=r"X2: 60\.0 naked seconds"):
        await is_naked_for_a_minute(floor=floor)


def test_a_case_without_a_broker_sends_nothing() -> None:
    @case("X3", "", injected="", orders=1, verdict="")
    def touches_nothing() -> None:
        """Nothing is asked of anybody."""

    with pytest.raises(AssertionError, match="X3: 0 orders at the broker"):
        touches_nothing()


def test_the_matrix_says_how_each_case_ended() -> None:
    one = Case(id="X", title="t", injected="i", orders=1, naked_seconds=2, verdict="v")

    assert matrix([one], {"X": "passed"}).splitlines()[-1] == "| X t | i | 1 | 2 | v | passed |"
