"""How a run ended: its exit code for cron, its sentence for people, its JSON for programs."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.models import Mode
from shared.outcome import Outcome, Status

PROMISED = (
    "agent",
    "mode",
    "status",
    "reason",
    "cycle_id",
    "tools_called",
    "orders",
    "cost_usd",
    "duration_seconds",
)
FULL = Outcome(
    agent="rehearsal",
    mode=Mode.TRADE,
    status=Status.DONE,
    reason="trade: bought ACME",
    cycle_id="rehearsal-20260615T143000-trade",
    at=datetime(2026, 6, 15, 14, 30, tzinfo=UTC),
    tools_called=("get_portfolio", "execute_trade"),
    orders=1,
    equity=Decimal("100000.10"),
    session_pnl=Decimal("-1E+1"),
    cost_usd=Decimal("0.01230"),
)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.DONE, 0),
        (Status.NOTHING_TO_DO, 0),
        (Status.BUSY, 0),
        (Status.FAILED, 1),
        (Status.INTERRUPTED, 1),
        (Status.USAGE, 2),
    ],
)
def test_cron_sees_failure_as_1_usage_as_2_and_everything_else_as_0(
    status: Status, code: int
) -> None:
    assert Outcome.of("rehearsal", Mode.SCAN, status, "because").exit_code == code


@pytest.mark.parametrize("status", Status)
def test_even_the_shortest_outcome_has_every_field_that_programs_rely_on(status: Status) -> None:
    said = json.loads(json.dumps(Outcome.of("rehearsal", Mode.SCAN, status, "because").as_json()))

    assert set(PROMISED) <= said.keys()
    assert (said["status"], said["reason"], said["orders"]) == (status.value, "because", 0)
    assert said["equity"] is None


def test_money_is_exact_text_and_times_are_utc() -> None:
    said = json.loads(json.dumps(FULL.as_json()))

    assert (said["equity"], said["session_pnl"], said["cost_usd"]) == (
        "100000.10",
        "-10",
        "0.01230",
    )
    assert said["at"] == "2026-06-15T14:30:00Z"
    assert said["tools_called"] == ["get_portfolio", "execute_trade"]


def test_the_sentence_names_agent_mode_status_and_reason() -> None:
    outcome = Outcome.of("rehearsal", Mode.CLOSE, Status.NOTHING_TO_DO, "the market is closed")

    assert outcome.sentence() == "rehearsal close: nothing to do: the market is closed"


def test_a_duration_is_added_and_changes_nothing_else() -> None:
    timed = FULL.lasting(1.23456)

    assert timed.duration_seconds == 1.235
    assert timed.as_json() == FULL.as_json() | {"duration_seconds": 1.235}
