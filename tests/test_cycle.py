"""One cycle: what it refuses to begin, how it ends when something breaks, and that its last row is always written."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import Fault as BrokerFault
from brokers.faults import FaultKind as BrokerFaultKind
from brokers.faults import Operation
from rehearsal.stand_in import Fault, FaultKind, Policy
from shared import consciousness
from shared.claude_messages import Json
from shared.database import accounts, claude_calls, cycles
from shared.database.connection import Connection
from shared.database.cycles import ABANDONED
from shared.models import Environment, Mode
from shared.outcome import Status
from tests.fixtures.broker_orders import cycle_start
from tests.fixtures.claude import DONE, LOG, call, scripted
from tests.fixtures.databases import open_connection
from tests.fixtures.market_data import GENERATED_DAY
from tests.fixtures.theatre import Tape, Theatre, sale_of, trade_of
from tests.fixtures.transcripts import put_together, without_marks

AT = datetime(2026, 6, 15, 13, 0, tzinfo=UTC)
BUY = call("execute_trade", trade_of())
SELL = call("execute_trade", sale_of())


def buys() -> Policy:
    return scripted([BUY], [LOG], [DONE])


def quiet() -> Policy:
    return scripted([LOG], [DONE])


@pytest.fixture
def theatre(
    tmp_path: Path, trading_connection: Connection, research_connection: Connection
) -> Theatre:
    return Theatre(
        tmp_path / "rehearsal",
        Tape(tmp_path / "tape").write(),
        trading_connection,
        research_connection,
    )


async def held(theatre: Theatre) -> list[dict[str, Any]]:
    return await theatre.rows("SELECT symbol, quantity FROM positions WHERE status = 'open'")


async def spend(theatre: Theatre, amount: Decimal) -> None:
    """Let an earlier call of the day have cost that much."""
    call_id = await claude_calls.reserve_call(
        theatre.trading,
        agent_id="rehearsal",
        cycle_id=None,
        budget_date=GENERATED_DAY,
        budget_usd=Decimal(100),
        model="claude-sonnet-5-5",
        worst_case_usd=amount,
        at=AT,
    )
    await claude_calls.fail_call(
        theatre.trading, call_id=call_id, error="spent", charged_usd=amount, at=AT
    )


async def test_a_cycle_leaves_a_row_that_says_what_it_came_to(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.TRADE, buys())
    row = await theatre.last_cycle()

    assert (outcome.status, outcome.exit_code, outcome.orders, outcome.fills) == (
        Status.DONE,
        0,
        1,
        1,
    )
    assert outcome.reason == "skip: nothing to do"
    assert (row["status"], row["reason"], row["orders_placed"]) == ("done", outcome.reason, 1)
    assert row["tools_called"] == ["execute_trade", "log_decision"] == list(outcome.tools_called)
    assert row["cost_usd"] == outcome.cost_usd > 0
    assert row["equity"] == outcome.equity
    assert row["session_pnl"] == outcome.session_pnl == row["equity"] - 100_000
    assert len(row["prompt_hash"]) == 64


async def test_the_row_counts_the_replies(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())

    assert (await theatre.last_cycle())["iterations"] == 3


async def test_another_account_than_the_pinned_one_stops_the_run_before_any_order(
    theatre: Theatre,
) -> None:
    await accounts.pin_account(
        theatre.trading,
        agent_id="rehearsal",
        broker="paper",
        environment=Environment.PAPER,
        account_id="PAPER-OF-SOMEBODY-ELSE",
        at=AT,
    )
    outcome = await theatre.run(Mode.TRADE, buys())
    row = await theatre.last_cycle()

    assert (outcome.status, outcome.exit_code) == (Status.USAGE, 2)
    assert "PAPER-OF-SOMEBODY-ELSE" in outcome.reason
    assert (row["status"], row["reason"]) == ("failed", outcome.reason)
    assert theatre.transports == []
    assert await theatre.broker_orders() == ()


async def test_a_halt_refuses_entries_and_lets_exits_pass(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await accounts.start_halt(
        theatre.trading, agent_id="rehearsal", reason="a person said so", started_by="me", at=AT
    )
    outcome = await theatre.run(
        Mode.TRADE, scripted([call("execute_trade", trade_of(5)), SELL], [LOG], [DONE])
    )

    (refusal,) = await theatre.rows("SELECT codes, texts FROM refusals")

    assert refusal["codes"][0] == "TRADING_STATE"
    assert "a person said so" in refusal["texts"][0]
    assert outcome.refusals == tuple(refusal["codes"])
    assert outcome.positions == 0
    assert await held(theatre) == []


async def test_a_halt_that_was_lifted_stops_nothing(theatre: Theatre) -> None:
    await accounts.start_halt(
        theatre.trading, agent_id="rehearsal", reason="a person said so", started_by="me", at=AT
    )
    await accounts.lift_halts(
        theatre.trading, agent_id="rehearsal", lifted_by="me", why="it was a test", at=AT
    )

    assert (await theatre.run(Mode.TRADE, buys())).fills == 1


async def test_when_the_budget_is_spent_nothing_is_asked_and_the_run_ends_well(
    theatre: Theatre,
) -> None:
    await spend(theatre, Decimal(5))
    outcome = await theatre.run(Mode.TRADE, buys())

    assert (outcome.status, outcome.exit_code) == (Status.NOTHING_TO_DO, 0)
    assert outcome.reason == "the day's budget of 5.00 USD is spent"
    assert theatre.transports == []
    assert outcome.cost_usd == 0


async def test_entries_are_tidied_up_also_when_the_budget_is_spent(theatre: Theatre) -> None:
    dip = call("execute_trade", trade_of(limit_price=99, take_profit=102))
    await theatre.run(Mode.TRADE, scripted([dip], [LOG], [DONE]))
    await spend(theatre, Decimal("4.99"))
    theatre.set(daily_budget_usd=Decimal(1))
    await theatre.run(Mode.TRADE, buys())

    assert [order.status for order in await theatre.broker_orders()] == ["canceled"]


async def test_when_the_budget_is_spent_the_close_sells_by_rule(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    await spend(theatre, Decimal("4.90"))
    theatre.set(daily_budget_usd=Decimal(1))
    await theatre.run(Mode.CLOSE)

    assert await held(theatre) == []


@pytest.mark.parametrize("equity", ["NaN", "Infinity", "-Infinity"])
async def test_an_equity_that_is_no_number_opens_nothing_and_keeps_nothing_open(
    theatre: Theatre, equity: str
) -> None:
    await theatre.run(Mode.TRADE, buys())
    theatre.equity = Decimal(equity)
    traded = await theatre.run(Mode.TRADE, buys())
    closed = await theatre.run(Mode.CLOSE)

    assert (traded.status, traded.orders, traded.equity) == (Status.DONE, 0, None)
    assert (closed.status, closed.positions) == (Status.DONE, 0)
    assert "the account's equity is not a number" in closed.alerts


async def test_a_session_that_begins_without_a_known_equity_opens_nothing(theatre: Theatre) -> None:
    theatre.equity = Decimal("NaN")
    blind = await theatre.run(Mode.TRADE, buys())
    theatre.equity = None
    seeing = await theatre.run(Mode.TRADE, buys())

    assert (blind.status, blind.orders) == (Status.DONE, 0)
    assert seeing.orders == 1


async def test_what_is_held_after_the_session_is_alerted(theatre: Theatre) -> None:
    await theatre.run(Mode.TRADE, buys())
    outcome = await theatre.run(Mode.HEARTBEAT)

    assert outcome.alerts == ("held after the session of 2026-06-15: AAPL",)
    assert await theatre.rows("SELECT severity FROM alerts WHERE subject LIKE 'held after%'") == [
        {"severity": "critical"}
    ]


async def test_a_budget_that_ends_after_a_trade_leaves_a_cycle_that_was_done(
    theatre: Theatre,
) -> None:
    await theatre.run(Mode.TRADE, scripted([LOG], [DONE]))
    (first, *_) = await theatre.rows("SELECT reserved_usd FROM claude_calls ORDER BY call_id")
    (day,) = await theatre.rows("SELECT spent_usd FROM budget_days")
    theatre.set(daily_budget_usd=day["spent_usd"] + first["reserved_usd"] * Decimal("1.01"))
    outcome = await theatre.run(Mode.TRADE, buys())

    assert (outcome.orders, outcome.fills) == (1, 1)
    assert outcome.exit_code == 0
    assert outcome.status is Status.DONE


@pytest.mark.parametrize(
    "kind", [FaultKind.CONNECTION_REFUSED, FaultKind.OVERLOADED, FaultKind.GARBAGE_BODY]
)
async def test_a_model_that_cannot_be_reached_fails_the_run_and_touches_nothing(
    theatre: Theatre, kind: FaultKind
) -> None:
    await theatre.run(Mode.TRADE, buys())
    theatre.set(cycle_deadline_seconds=1.5)  # no time for a second attempt
    outcome = await theatre.run(Mode.TRADE, faults=[Fault(nth=1, kind=kind)])
    row = await theatre.last_cycle()

    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 1)
    assert "the talk with Claude ended with model_unavailable" in outcome.reason
    assert (row["status"], row["reason"]) == ("failed", outcome.reason)
    assert await held(theatre) == [{"symbol": "AAPL", "quantity": 10}]
    assert len(await theatre.broker_orders()) == 1


async def test_a_key_that_is_refused_is_a_matter_of_configuration(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.SCAN, faults=[Fault(nth=1, kind=FaultKind.BAD_KEY)])

    assert (outcome.status, outcome.exit_code) == (Status.USAGE, 2)
    assert (await theatre.last_cycle())["status"] == "failed"


async def test_credit_that_ran_out_ends_the_run_well_and_says_so(theatre: Theatre) -> None:
    faults = [Fault(nth=1, kind=FaultKind.CREDIT_EXHAUSTED)]
    outcome = await theatre.run(Mode.TRADE, faults=faults)

    assert outcome.exit_code == 0
    assert "credit balance is too low" in outcome.reason


async def test_replies_that_are_cut_off_place_nothing(theatre: Theatre) -> None:
    faults = [Fault(nth=n, kind=FaultKind.TRUNCATED) for n in (1, 2, 3)]
    outcome = await theatre.run(Mode.TRADE, scripted([BUY]), faults=faults)

    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 1)
    assert "cut off" in outcome.reason
    assert await theatre.broker_orders() == ()
    assert await theatre.rows("SELECT FROM tool_calls") == []


@pytest.mark.parametrize("kind", [FaultKind.REFUSAL, FaultKind.CONTEXT_WINDOW])
async def test_a_reply_that_ends_otherwise_places_nothing(
    theatre: Theatre, kind: FaultKind
) -> None:
    outcome = await theatre.run(Mode.TRADE, buys(), faults=[Fault(nth=1, kind=kind)])

    assert kind.replace("_window", "") in outcome.reason
    assert await theatre.broker_orders() == ()


async def test_a_dry_run_asks_and_places_nothing(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.TRADE, buys(), dry_run=True)

    assert (outcome.status, outcome.orders) == (Status.DONE, 0)
    assert (await theatre.last_cycle())["dry_run"]
    assert await theatre.rows("SELECT FROM orders") == []
    assert "dry_run" in str((await theatre.rows("SELECT result FROM tool_calls"))[0])


async def test_a_dry_run_leaves_its_slot_to_be_played(theatre: Theatre) -> None:
    dry = await theatre.run(Mode.TRADE, buys(), dry_run=True)
    outcome = await theatre.run(Mode.TRADE, buys())

    assert (outcome.status, outcome.fills, outcome.at) == (Status.DONE, 1, dry.at)


async def test_the_transcript_of_a_cycle_gives_back_every_request_that_was_sent(
    theatre: Theatre,
) -> None:
    await theatre.run(Mode.TRADE, scripted([BUY], [SELL], [DONE], [LOG], [DONE]))
    rows = await theatre.rows(
        "SELECT content FROM cycle_transcripts WHERE kind = 'request' ORDER BY sequence"
    )
    requests = [row["content"] for row in rows]
    (transport,) = theatre.transports

    assert len(requests) == 5
    assert put_together(requests) == [without_marks(body) for body in transport.bodies]
    assert ["system" in request for request in requests] == [True, False, False, False, False]
    assert ["tools" in request for request in requests] == [True, False, False, False, False]


async def test_a_market_that_is_closed_is_said_and_nothing_is_asked(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.TRADE, buys(), forced=True)

    assert outcome.status is Status.NOTHING_TO_DO
    assert outcome.reason == (
        "the market is closed: it is 08:59; XNYS trades 09:30 to 16:00 on 2026-06-15"
    )
    assert theatre.transports == []


async def test_a_close_without_positions_asks_nobody(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.CLOSE)

    assert outcome.reason == "nothing is held, so nothing has to be closed"
    assert theatre.transports == []


async def test_a_slot_that_is_run_again_by_force_gets_a_row_of_its_own(theatre: Theatre) -> None:
    first = await theatre.run(Mode.TRADE, buys())
    second = await theatre.run(Mode.TRADE, buys(), forced=True)

    assert second.cycle_id == f"{first.cycle_id}-2"
    assert len(await theatre.rows("SELECT FROM trading_cycles")) == 2


async def test_a_broker_that_cannot_be_read_fails_the_run_with_its_reason(
    theatre: Theatre,
) -> None:
    theatre.faults.add(
        BrokerFault(
            operation=Operation.ACCOUNT,
            kind=BrokerFaultKind.TIME_OUT,
            times=None,
            reason="no answer in 5 s",
        )
    )
    outcome = await theatre.run(Mode.TRADE, buys())

    assert (outcome.exit_code, outcome.reason) == (1, "no answer in 5 s")
    assert (await theatre.last_cycle())["status"] == "failed"
    assert theatre.transports == []


async def test_a_research_database_that_is_gone_at_wake_up_leaves_a_finished_row(
    theatre: Theatre,
) -> None:
    await theatre.research.close()
    outcome = await theatre.run(Mode.TRADE, buys())
    row = await theatre.last_cycle()

    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 1)
    assert (row["status"], row["reason"]) == ("failed", outcome.reason)
    assert "the database went away" in outcome.reason
    assert theatre.transports == []


@pytest.mark.parametrize("never_there", [True, False], ids=["never there", "gone at wake up"])
async def test_a_close_sells_without_the_research_database_and_says_so(
    theatre: Theatre, never_there: bool
) -> None:
    await theatre.run(Mode.TRADE, buys())
    if never_there:
        theatre.research_is_there = False
    else:
        await theatre.research.close()
    outcome = await theatre.run(Mode.CLOSE, quiet())
    subjects = await theatre.rows("SELECT subject FROM alerts")

    assert (outcome.exit_code, outcome.positions) == (0, 0)
    assert {"subject": "the research database is away"} in subjects


async def test_a_research_database_that_goes_later_leaves_the_row_as_it_was_earned(
    theatre: Theatre,
) -> None:
    losing = _losing(theatre.research, [[BUY], [LOG], [DONE]])
    outcome = await theatre.run(Mode.TRADE, losing)
    row = await theatre.last_cycle()

    assert (outcome.exit_code, outcome.orders) == (1, 1)
    assert "its end could not be recorded" in outcome.reason
    assert (row["status"], row["orders_placed"]) == ("done", 1)


async def test_a_run_that_loses_its_database_is_closed_by_the_next_one(
    theatre: Theatre, trading_database_url: str
) -> None:
    lost = await theatre.run(Mode.TRADE, _losing(theatre.trading, [[BUY], [LOG], [DONE]]))
    theatre.trading = await open_connection(trading_database_url)
    left = await theatre.last_cycle()
    await theatre.run(Mode.TRADE, quiet())
    (row, _) = await theatre.rows("SELECT status, reason FROM trading_cycles ORDER BY started_at")
    orders = await theatre.broker_orders()
    await theatre.trading.close()

    assert (lost.status, lost.exit_code) == (Status.FAILED, 1)
    assert "the database went away" in lost.reason
    assert left["status"] == "running"
    assert row == {"status": "failed", "reason": "the database went away: connection is closed"}
    assert orders == ()


async def test_a_row_that_a_killed_run_left_open_is_closed_by_the_next_one(
    theatre: Theatre,
) -> None:
    await cycles.start_cycle(
        theatre.trading, cycle_start(cycle_id="killed", started_at=AT, slot_at=AT)
    )
    await theatre.run(Mode.SCAN, quiet())
    rows = await theatre.rows("SELECT cycle_id, status, reason FROM trading_cycles ORDER BY 1")

    assert rows[0] == {"cycle_id": "killed", "status": "failed", "reason": ABANDONED}
    assert rows[1]["status"] == "done"
    assert await theatre.rows("SELECT subject FROM alerts") == [{"subject": "cycle killed died"}]


async def test_a_run_that_is_cancelled_while_it_waits_for_claude_says_so(theatre: Theatre) -> None:
    script = scripted([BUY], [LOG], [DONE])

    def policy(request: Json) -> Sequence[Json]:
        if len(theatre.transports[0].bodies) == 2:
            running.cancel()
        return script(request)

    running = asyncio.create_task(theatre.run(Mode.TRADE, policy))
    outcome = await running
    row = await theatre.last_cycle()

    assert (outcome.status, outcome.exit_code) == (Status.INTERRUPTED, 1)
    assert (row["status"], row["reason"]) == ("failed", "the run was ended from outside")
    assert row["orders_placed"] == 1
    assert row["cost_usd"] > 0


async def test_the_agent_is_seen_awake_and_asleep_with_its_last_word_and_its_spending(
    theatre: Theatre,
) -> None:
    outcome = await theatre.run(Mode.SCAN, quiet())
    state = await consciousness.sleep(theatre.research, "rehearsal", outcome.reason, AT)

    assert state.last_wake_at is not None
    assert state.status_message == outcome.reason
    assert state.api_spend_today == outcome.cost_usd > 0
    assert state.error_count_today == 0


async def test_a_failure_is_counted_in_the_shared_memory(theatre: Theatre) -> None:
    await theatre.run(Mode.SCAN, faults=[Fault(nth=1, kind=FaultKind.BAD_KEY)])
    state = await consciousness.sleep(theatre.research, "rehearsal", "-", AT)

    assert state.error_count_today == 1


async def test_a_heartbeat_with_a_letter_shows_it_to_claude(theatre: Theatre) -> None:
    await consciousness.send_message(
        theatre.research,
        from_agent="big_bro",
        to_agent="rehearsal",
        subject="well?",
        body="How are you?",
        at=AT,
    )
    outcome = await theatre.run(Mode.HEARTBEAT, quiet())

    assert outcome.status is Status.DONE
    assert "big_bro" in str(theatre.transports[0].bodies[0])
    assert (await theatre.run(Mode.HEARTBEAT, forced=True)).status is Status.NOTHING_TO_DO


async def test_a_heartbeat_with_nothing_to_do_asks_nobody(theatre: Theatre) -> None:
    outcome = await theatre.run(Mode.HEARTBEAT)

    assert outcome.reason == "no messages, no open orders, no open positions"
    assert theatre.transports == []


def _losing(connection: Connection, replies: Sequence[Sequence[Json]]) -> Policy:
    """Lose a database while Claude thinks about its first reply."""
    script = scripted(*replies)

    def policy(request: Json) -> Sequence[Json]:
        connection.terminate()
        return script(request)

    return policy


async def test_a_sale_that_the_database_knows_is_no_news_from_the_journal(
    theatre: Theatre,
) -> None:
    await theatre.run(Mode.TRADE, buys())
    await theatre.run(Mode.CLOSE, quiet())
    noted = list((theatre.stage().home / "journal").iterdir())
    await theatre.run(Mode.HEARTBEAT, quiet())
    left = list((theatre.stage().home / "journal").iterdir())
    told = await theatre.rows("SELECT subject FROM alerts WHERE subject LIKE '%journal%'")

    assert len(noted) == 1
    assert (left, told) == ([], [])
