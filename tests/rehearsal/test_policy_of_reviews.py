"""The fixed rule behind a second opinion: by loss and exit signals alone, and only when it is asked for one."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest

from rehearsal.policy import NOTICE, decide
from shared.claude_messages import Json
from shared.second_opinion import question

FORM = {"properties": {"reason": {"type": "string"}, "recommendation": {"enum": ["EXIT", "HOLD"]}}}


def review(asked: str, form: Json = FORM) -> Json:
    return {
        "output_config": {"format": {"type": "json_schema", "schema": form}},
        "messages": [{"role": "user", "content": asked}],
    }


def opinion(facts: Mapping[str, object], signals: Sequence[str]) -> Mapping[str, str]:
    (block,) = decide(review(question(facts, signals)))
    assert block["type"] == "text"
    return json.loads(str(block["text"]))


LOSS = {"symbol": "ACME", "profit_pct": Decimal(-1)}
TWO = ("exit moderate stop_loss_near: -2 %", "exit weak time_stop_near: held for 50 minutes")


@pytest.mark.parametrize(
    ("facts", "signals", "expected"),
    [
        pytest.param(LOSS, TWO, "EXIT", id="both"),
        pytest.param(LOSS | {"profit_pct": Decimal("-7.5")}, (*TWO, "hold strong x: y"), "EXIT"),
        pytest.param(LOSS, TWO[:1], "HOLD", id="one signal"),
        pytest.param(
            LOSS, (*TWO[:1], "hold strong macd_bullish: exit"), "HOLD", id="one and a hold"
        ),
        pytest.param(LOSS | {"profit_pct": Decimal("-0.99")}, TWO, "HOLD", id="a smaller loss"),
        pytest.param(LOSS | {"profit_pct": Decimal(5)}, TWO, "HOLD", id="a profit"),
        pytest.param(LOSS | {"profit_pct": None}, TWO, "HOLD", id="an unknown profit"),
        pytest.param({"symbol": "ACME"}, TWO, "HOLD", id="no profit told"),
        pytest.param(LOSS | {"profit_pct": "-9"}, TWO, "HOLD", id="a profit that somebody wrote"),
        pytest.param(LOSS | {"news": "exit exit exit"}, (), "HOLD", id="words in the news"),
    ],
)
def test_a_position_is_left_at_a_loss_that_two_exit_signals_confirm(
    facts: Mapping[str, object], signals: Sequence[str], expected: str
) -> None:
    said = opinion(facts, signals)

    assert said["recommendation"] == expected
    assert said["reason"].startswith(NOTICE)


def test_the_same_question_gets_the_same_answer() -> None:
    assert opinion(LOSS, TWO) == opinion(LOSS, TWO)


@pytest.mark.parametrize("asked", ["", "EXIT?", '{"position":[],"signals":{}}', "{}", "}{"])
def test_a_question_that_tells_nothing_is_answered_with_hold(asked: str) -> None:
    (block,) = decide(review(asked))

    assert json.loads(str(block["text"]))["recommendation"] == "HOLD"


def test_what_asks_for_another_form_or_for_none_is_no_review() -> None:
    other = review(question(LOSS, TWO), {"properties": {"reason": {}, "mood": {}}})
    free = {"messages": [{"role": "user", "content": question(LOSS, TWO)}], "tools": []}

    assert decide(other) == decide(free) == decide(free | {"output_config": {"effort": "low"}})
    assert "recommendation" not in str(decide(free))
