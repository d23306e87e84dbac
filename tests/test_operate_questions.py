"""What a person can ask by command: answered for people and for programs alike, and changing nothing."""

from pathlib import Path

import pytest

from market import calendar
from rehearsal.stage import begin
from shared import config_file
from shared.paths import PROJECT
from tests.fixtures.operate import TRADE_CYCLE, operate, process
from tests.fixtures.rehearsal import Machine

SECRET = "sk-ant-api03-not-a-real-key-0123456789"  # noqa: S105 (it opens nothing)

QUESTIONS = {
    "status": ("status",),
    "status --live": ("status", "--live"),
    "orders": ("orders",),
    "orders --all": ("orders", "--all"),
    "why": ("why", TRADE_CYCLE),
    "show-config": ("show-config",),
}


@pytest.fixture(scope="module")
def asked(machine: Machine) -> Machine:
    """A rehearsal that has bought something, for questions only: they change nothing."""
    configuration = config_file.load("rehearsal", {}, project=PROJECT)
    table = calendar.load(configuration.settings.market.exchange)
    begin(configuration.settings, machine.home / "rehearsal", table)
    machine.run("--mode", "scan")
    machine.run("--mode", "trade")
    return machine


@pytest.mark.parametrize("arguments", QUESTIONS.values(), ids=list(QUESTIONS))
def test_every_question_is_answered_for_people_and_for_programs(
    arguments: tuple[str, ...], asked: Machine
) -> None:
    people = operate(asked.home, *arguments)
    programs = operate(asked.home, "--json", *arguments)
    said = programs.json

    assert people.code == programs.code == 0, people.err
    assert programs.err == people.err == ""
    assert len(people.out.splitlines()) > 10
    assert (said["agent"], said["status"]) == ("rehearsal", "done")
    assert said["command"] == arguments[0]


def test_the_status_is_what_a_person_has_to_know(asked: Machine) -> None:
    said = operate(asked.home, "status", "--live", "--json").json
    held = {position["symbol"]: position for position in said["positions"]}

    assert said["state"] == "active"
    assert said["at"] == "2026-06-15T14:00:00+00:00"
    assert said["account"]["cycle_id"] == TRADE_CYCLE
    assert said["account"]["equity"] == said["live"]["account"]["equity"]
    assert {one["symbol"]: int(one["quantity"]) for one in said["live"]["positions"]} == {
        symbol: position["quantity"] for symbol, position in held.items()
    }
    assert all(position["resting_stops"] for position in held.values())
    assert {position["shares_without_stop"] for position in held.values()} == {0}
    assert said["today"]["entries"] == dict.fromkeys(held, 1)
    assert 0 < float(said["budget"]["left_usd"]) < float(said["budget"]["budget_usd"])
    assert said["unresolved_orders"] == []
    assert said["cycles"][0]["cycle_id"] == TRADE_CYCLE


def test_why_tells_everything_that_a_cycle_saw_and_did(asked: Machine) -> None:
    said = operate(asked.home, "why", TRADE_CYCLE, "--json").json
    entries = [order for order in said["orders"] if order["order_purpose"] == "entry"]

    assert said["cycle"]["brain"] == "stand-in"
    assert said["cycle"]["reason"] in said["reason"]
    assert [call["name"] for call in said["tool_calls"]][-1] == "log_decision"
    assert [call["sequence"] for call in said["tool_calls"]] == list(
        range(1, len(said["tool_calls"]) + 1)
    )
    assert said["decisions"][0]["decision"] == "trade"
    assert said["candidates"][0]["rank"] == 1
    assert "POSITION_VALUE" in said["refusals"][0]["codes"]
    assert entries[0]["events"][0]["kind"] == "created"
    assert entries[0]["fills"][0]["quantity"] == entries[0]["quantity"]
    assert sum(float(call["cost_usd"]) for call in said["claude_calls"]) == pytest.approx(
        float(said["cycle"]["cost_usd"])
    )


def test_why_for_people_names_the_refusals_codes_and_the_ending(asked: Machine) -> None:
    said = operate(asked.home, "why", TRADE_CYCLE).out

    assert "POSITION_VALUE" in said
    assert "submitting" in said
    assert "stand-in" in said.splitlines()[1]


def test_a_cycle_that_does_not_exist_is_answered_with_those_that_do(asked: Machine) -> None:
    said = operate(asked.home, "why", "rehearsal-nope")

    assert said.code == 2
    assert "there is no cycle 'rehearsal-nope'" in said.err
    assert TRADE_CYCLE in said.err


def test_the_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    variables = {
        "ANTHROPIC_API_KEY": SECRET,
        "ANTHROPIC_BASE_URL": "https://someone:hunter2secret@gateway.example",
    }
    said = operate(tmp_path, "show-config", "--json", environ=variables)
    people = operate(tmp_path, "show-config", environ=variables)

    assert said.json["secrets"]["anthropic_api_key"] == "set, hidden"
    assert said.json["secrets"]["trading_database_url"] == "not set"
    assert said.json["settings"]["limits"]["max_positions"] == 15
    assert "max_positions: 15" in people.out
    assert "anthropic_api_key: set, hidden" in people.out
    for text in (said.out, people.out):
        assert SECRET not in text
        assert "hunter2secret" not in text


def test_questions_write_nothing_down(asked: Machine) -> None:
    before = asked.query("SELECT count(*) FROM operator_actions")
    for arguments in QUESTIONS.values():
        operate(asked.home, *arguments)

    assert asked.query("SELECT count(*) FROM operator_actions") == before == [(0,)]


@pytest.mark.parametrize("place", ["before", "after"])
def test_common_arguments_may_stand_before_and_after_the_command(
    place: str, tmp_path: Path
) -> None:
    common, command = ("--agent", "rehearsal", "--json"), ("show-config",)
    said = operate(tmp_path, *((*common, *command) if place == "before" else (*command, *common)))

    assert said.json["agent"] == "rehearsal"


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    said = process(tmp_path, "panic")

    assert said.code == 2
    assert "panic" in said.err
