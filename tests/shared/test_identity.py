"""Names that must come out the same again, and never the same for two different things."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity import CLIENT_ORDER_ID_LENGTH, client_order_id, cycle_id, decision_key
from shared.models import Mode, OrderPurpose, Side
from tests.builders import entry, sale

AT = datetime(2026, 6, 15, 14, 30, 5, tzinfo=UTC)
CAUSE: dict[str, Any] = {
    "database": UUID(int=1),
    "agent_id": "rehearsal",
    "cycle": "rehearsal-20260615T143005-trade",
    "decision": "ACME|buy|entry|10",
}


def test_a_cycle_is_named_by_agent_moment_and_mode() -> None:
    assert cycle_id("rehearsal", Mode.TRADE, AT) == "rehearsal-20260615T143005-trade"


def test_a_cycle_that_is_run_again_says_which_attempt_it_is() -> None:
    assert cycle_id("rehearsal", Mode.TRADE, AT, attempt=2) == "rehearsal-20260615T143005-trade-2"


def test_an_order_id_is_the_same_for_the_same_cause() -> None:
    assert client_order_id(**CAUSE) == client_order_id(**CAUSE)


def test_an_order_id_survives_a_new_version_of_the_program() -> None:
    assert client_order_id(**CAUSE) == "cat-a172356fc53e54f4487cbf5062f2ab45062faf62"


@pytest.mark.parametrize(
    "change",
    [
        {"database": UUID(int=2)},
        {"agent_id": "dev_claude"},
        {"cycle": "rehearsal-20260615T150005-trade"},
        {"decision": "ACME|buy|entry|11"},
        {"leg": "stop"},
        {"attempt": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_order_id_differs_with_everything_that_caused_it(change: dict[str, Any]) -> None:
    assert client_order_id(**CAUSE | change) != client_order_id(**CAUSE)


@given(st.text(), st.text(), st.text())
def test_an_order_id_fits_every_broker(agent_id: str, cycle: str, decision: str) -> None:
    made = client_order_id(
        database=UUID(int=1),
        agent_id=agent_id.encode("utf-8", "replace").decode(),
        cycle=cycle.encode("utf-8", "replace").decode(),
        decision=decision.encode("utf-8", "replace").decode(),
    )

    assert made.isascii()
    assert len(made) == CLIENT_ORDER_ID_LENGTH <= 48


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "OTHER"},
        {"quantity": 11},
        {"limit_price": Decimal("100.01")},
        {"limit_price": None},
        {"stop_loss": Decimal("98.01")},
        {"take_profit": Decimal("104.01")},
        {"side": Side.SELL},
        {"purpose": OrderPurpose.EXIT},
        {"replaces": "B7"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_decision_differs_with_everything_that_was_decided(change: dict[str, Any]) -> None:
    assert decision_key(entry(**change)) != decision_key(entry())


def test_a_decision_is_the_same_however_its_prices_are_written() -> None:
    written = entry(limit_price=Decimal("1E+2"), stop_loss=Decimal("98.000"))

    assert decision_key(written) == decision_key(entry())


def test_a_decision_does_not_depend_on_the_id_it_leads_to() -> None:
    assert decision_key(sale(client_order_id="one")) == decision_key(sale(client_order_id="two"))
