"""`--brain claude`: the same day over real HTTP, with a key, against a Messages API on loopback."""

from tests.fixtures.messages_api import MessagesApi
from tests.fixtures.rehearsal import Machine

KEY = "sk-ant-not-a-real-key-9876543210"


def with_claude(machine: Machine, api: MessagesApi) -> dict[str, str]:
    return machine.environ | {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.url}


def test_the_day_is_decided_by_whoever_answers_the_messages_api(
    machine: Machine, messages_api: MessagesApi
) -> None:
    code, printed = machine.play("--brain", "claude", environ=with_claude(machine, messages_api))
    [(cycles, orders)] = machine.query(
        "SELECT (SELECT count(*) FROM trading_cycles WHERE brain = 'claude' AND mode <> 'monitor'),"
        " (SELECT count(*) FROM orders WHERE filled_quantity > 0 AND order_purpose = 'entry')"
    )

    assert code == 0, printed
    assert "Decisions: Claude; every call is paid for." in printed
    assert "no model is asked" not in printed
    assert cycles == 15
    assert orders >= 1
    assert len(messages_api.keys) > 15
    assert all(KEY in key for key in messages_api.keys)


def test_a_model_that_cannot_be_reached_fails_the_run_and_orders_nothing(
    new_rehearsal: Machine,
) -> None:
    environ = new_rehearsal.environ | {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    }
    run = new_rehearsal.run("--mode", "trade", "--brain", "claude", environ=environ)

    assert run.exit_code == 1
    assert run.said["status"] == "failed"
    assert "model_unavailable" in run.said["reason"]
    assert new_rehearsal.query("SELECT count(*) FROM orders") == [(0,)]
    assert KEY not in str(run.said)
