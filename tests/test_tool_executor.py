"""What Claude is told: compact JSON with units, times and ages, and a readable sentence when it cannot be."""

import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.faults import FaultKind, Operation
from shared.agent_loop import ToolCall, ToolOutcome
from shared.database.connection import Connection
from shared.errors import DatabaseUnavailable, FeedUnavailable
from shared.models import Mode
from tests.brokers.paper_venue import PaperVenue
from tests.brokers.replay import MINUTE
from tests.fixtures.databases import open_connection
from tests.fixtures.floor import Floor
from tool_executor import ToolExecutor, compact

BUY: dict[str, object] = {
    "symbol": "ACME",
    "side": "buy",
    "quantity": 10,
    "order_type": "limit",
    "limit_price": 100.01,
    "stop_loss": 98,
    "take_profit": 105,
    "reason": "volume",
}
SELL: dict[str, object] = {
    "symbol": "ACME",
    "side": "sell",
    "quantity": 10,
    "order_type": "market",
    "reason": "enough",
}
LOG: dict[str, object] = {
    "decision": "skip",
    "symbol": "ACME",
    "reasoning": "nothing fits",
    "confidence": 0.7,
}


@pytest.fixture
async def floor(tmp_path: Path, trading_connection: Connection) -> AsyncIterator[Floor]:
    venue = PaperVenue(tmp_path / "paper.sqlite3")
    yield Floor(venue, trading_connection, tmp_path)
    await venue.broker.disconnect()


async def ask(
    executor: ToolExecutor, name: str, arguments: Mapping[str, object] | None = None
) -> ToolOutcome:
    call = ToolCall(tool_use_id="toolu_1", name=name, arguments=arguments or {})
    return await executor.carry_out(call)


async def said(
    executor: ToolExecutor, name: str, arguments: Mapping[str, object] | None = None
) -> Any:
    outcome = await ask(executor, name, arguments)
    assert not outcome.is_error, outcome.content
    return json.loads(outcome.content)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("scan_market", {}),
        ("get_quote", {"symbol": "ACME"}),
        ("get_quote", {"symbol": "NOSUCH"}),
        ("get_portfolio", {}),
        ("execute_trade", BUY),
        ("log_decision", LOG),
    ],
)
async def test_every_answer_is_compact_json_with_its_time(
    floor: Floor, name: str, arguments: Mapping[str, object]
) -> None:
    outcome = await ask(await floor.cycle(), name, arguments)
    answer = json.loads(outcome.content)

    assert json.dumps(answer, separators=(",", ":")) == outcome.content
    assert answer.get("as_of", answer.get("at")) == "2026-06-15T14:00:00Z"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("scan_market", {}),
        ("get_quote", {"symbol": "ACME"}),
        ("get_portfolio", {}),
        ("execute_trade", BUY),
    ],
)
async def test_every_answer_with_money_names_its_currency(
    floor: Floor, name: str, arguments: Mapping[str, object]
) -> None:
    assert (await said(await floor.cycle(), name, arguments))["currency"] == "USD"


async def test_a_quote_says_how_old_it_is_and_what_kind_it_is(floor: Floor) -> None:
    floor.venue.move_to(floor.venue.clock.now() + MINUTE / 2)
    answer = await said(await floor.cycle(), "get_quote", {"symbol": "ACME"})

    assert answer["age_seconds"] == 30
    assert (answer["bid"], answer["ask"], answer["last"]) == ("99.99", "100.01", "100")
    assert (answer["bid_and_ask_are"], answer["halted"]) == ("modelled", False)
    assert (answer["tradable"], answer["lot_size"]) == (True, 1)


async def test_a_quote_that_is_not_known_is_none_with_the_reason(floor: Floor) -> None:
    answer = await said(await floor.cycle(), "get_quote", {"symbol": "NOSUCH"})

    assert answer["quote"] is None
    assert answer["why"] == "no quote is known for this symbol"


async def test_the_portfolio_shows_profit_stops_and_what_the_session_brought(floor: Floor) -> None:
    executor = await floor.cycle()
    await ask(executor, "execute_trade", BUY)
    floor.trade(102)
    answer = await said(executor, "get_portfolio")
    (held,) = answer["positions"]

    assert (held["quantity"], held["average_price"]) == ("10", "100.01")
    assert (held["unrealized_pnl"], held["unrealized_pct"]) == ("19.9", "1.99")
    assert held["stops"] == ["98"]
    assert answer["session_result"] == "19.9"
    assert {order["type"] for order in answer["open_orders"]} == {"limit", "stop"}
    assert all(order["is_leg"] for order in answer["open_orders"])


async def test_the_stop_of_an_entry_that_has_filled_in_part_is_not_counted_yet(
    floor: Floor,
) -> None:
    floor.trade(100, volume=100)
    executor = await floor.cycle()
    await ask(executor, "execute_trade", BUY | {"quantity": 40})
    (held,) = (await said(executor, "get_portfolio"))["positions"]

    assert (held["quantity"], held["stops"], held["shares_without_stop"]) == ("10", [], "10")


async def test_the_portfolio_names_orders_whose_outcome_is_not_known(floor: Floor) -> None:
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT)
    executor = await floor.cycle()
    await ask(executor, "execute_trade", BUY)
    (row,) = await floor.rows("SELECT client_order_id FROM orders")

    assert (await said(executor, "get_portfolio"))["unresolved_orders"] == [row["client_order_id"]]


async def test_a_trade_is_answered_with_what_became_of_it(floor: Floor) -> None:
    executor = await floor.cycle()
    bought = await said(executor, "execute_trade", BUY)
    sold = await said(executor, "execute_trade", SELL)

    assert (bought["status"], bought["filled_quantity"]) == ("filled", 10)
    assert (bought["average_fill_price"], bought["stop_loss"]) == ("100.01", "98")
    assert (sold["status"], sold["side"], sold["average_fill_price"]) == ("filled", "sell", "99.99")
    assert not bought["duplicate_of_earlier_call"]


async def test_the_same_trade_twice_is_answered_as_a_duplicate(floor: Floor) -> None:
    executor = await floor.cycle()
    await ask(executor, "execute_trade", BUY)
    again = await said(executor, "execute_trade", BUY)

    assert again["duplicate_of_earlier_call"]
    assert len(floor.at_broker()) == 1


async def test_an_exit_through_several_orders_lists_them_all(floor: Floor) -> None:
    executor = await floor.cycle()
    dips = [BUY | {"limit_price": price, "take_profit": 103} for price in (99, 98.99)]
    for dip in dips:
        await said(executor, "execute_trade", dip)
    floor.trade("98.98")
    answer = await said(await floor.cycle(), "execute_trade", SELL | {"quantity": 20})

    assert [order["status"] for order in answer["orders"]] == ["filled", "filled"]
    assert floor.held() == 0


async def test_a_refused_trade_is_an_error_with_every_code(floor: Floor) -> None:
    trade = BUY | {"quantity": 100, "stop_loss": None}
    outcome = await ask(await floor.cycle(), "execute_trade", trade)
    answer = json.loads(outcome.content)

    assert outcome.is_error
    assert [reason["code"] for reason in answer["refused"]] == ["STOP_MISSING", "POSITION_VALUE"]
    assert "5000" in answer["refused"][1]["text"]


@pytest.mark.parametrize(
    ("kind", "status"), [(FaultKind.REJECT, "rejected"), (FaultKind.REFUSE, "not_placed")]
)
async def test_a_trade_that_the_broker_did_not_take_is_an_error_and_may_be_asked_for_again(
    floor: Floor, kind: FaultKind, status: str
) -> None:
    floor.fault(Operation.PLACE, kind, reason="out of order")
    executor = await floor.cycle()
    first = await ask(executor, "execute_trade", BUY)
    second = await said(executor, "execute_trade", BUY)

    assert first.is_error
    assert json.loads(first.content)["status"] == status
    assert json.loads(first.content)["error"] == "the broker does not have this order: out of order"
    assert (second["status"], second["duplicate_of_earlier_call"]) == ("filled", False)


async def test_a_trade_whose_outcome_is_not_known_is_an_error_and_is_not_sent_again(
    floor: Floor,
) -> None:
    floor.fault(Operation.PLACE, FaultKind.TIME_OUT, reason="no answer in 5 s")
    executor = await floor.cycle()
    first = await ask(executor, "execute_trade", BUY)
    second = await ask(executor, "execute_trade", BUY)
    answers = [json.loads(first.content), json.loads(second.content)]

    assert (first.is_error, second.is_error) == (True, True)
    assert [answer["status"] for answer in answers] == ["unknown", "unknown"]
    assert answers[0]["error"].endswith("it is not sent again: no answer in 5 s")
    assert answers[1]["duplicate_of_earlier_call"]
    assert floor.venue.faults.calls(Operation.PLACE) == 1


async def test_a_dry_run_says_that_nothing_was_placed(floor: Floor) -> None:
    answer = await said(await floor.cycle(dry_run=True), "execute_trade", BUY)

    assert answer["status"] == "dry_run"
    assert floor.at_broker() == ()


@pytest.mark.parametrize(
    "change", [{"order_type": "limit", "limit_price": 110}, {"stop_loss": 98}, {"take_profit": 120}]
)
async def test_a_sale_with_a_price_is_told_that_positions_are_sold_at_the_market(
    floor: Floor, change: Mapping[str, object]
) -> None:
    executor = await floor.cycle()
    await ask(executor, "execute_trade", BUY)
    outcome = await ask(executor, "execute_trade", SELL | dict(change))

    assert outcome.is_error
    assert "sold at the market" in outcome.content
    assert floor.held() == 10


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("get_quote", {"symbol": "acme"}, "get_quote was not carried out: symbol:"),
        ("execute_trade", BUY | {"quantity": 1.5}, "quantity"),
        ("execute_trade", BUY | {"limit_price": "100"}, "limit_price: must be a JSON number"),
        ("execute_trade", BUY | {"limit_price": None}, "a limit order needs limit_price"),
        ("execute_trade", BUY | {"order_type": "market"}, "a market order has none, was 100.01"),
        ("execute_trade", SELL | {"reason": ""}, "reason"),
        ("get_portfolio", {"of": "somebody"}, "of: Extra inputs are not permitted"),
        ("lift_halt", {}, "there is no tool 'lift_halt' in trade mode"),
    ],
)
async def test_a_request_that_makes_no_sense_is_answered_with_a_sentence(
    floor: Floor, name: str, arguments: Mapping[str, object], words: str
) -> None:
    outcome = await ask(await floor.cycle(), name, arguments)
    (row,) = await floor.rows("SELECT name, is_error, result FROM tool_calls")

    assert outcome.is_error
    assert words in outcome.content
    assert (row["name"], row["is_error"], row["result"]) == (name, True, outcome.content)
    assert floor.at_broker() == ()


async def test_a_tool_of_another_mode_does_not_exist(floor: Floor) -> None:
    outcome = await ask(await floor.cycle(mode=Mode.SCAN), "execute_trade", BUY)

    assert outcome.is_error
    assert "there is no tool 'execute_trade' in scan mode" in outcome.content


async def test_a_broker_that_cannot_be_read_is_told_to_claude(floor: Floor) -> None:
    executor = await floor.cycle()
    floor.fault(Operation.ACCOUNT, FaultKind.TIME_OUT, reason="no answer in 5 s")
    outcome = await ask(executor, "get_portfolio")

    assert (outcome.is_error, outcome.content) == (True, "no answer in 5 s")
    assert "equity" in await said(executor, "get_portfolio")


async def test_a_feed_that_cannot_be_read_is_told_to_claude(floor: Floor) -> None:
    floor.feed.failure = FeedUnavailable("no data since 13:58")
    outcome = await ask(await floor.cycle(), "scan_market")

    assert (outcome.is_error, outcome.content) == (True, "no data since 13:58")


async def test_the_loss_of_the_database_ends_the_cycle(floor: Floor) -> None:
    executor = await floor.cycle()
    await floor.connection.close()
    with pytest.raises(DatabaseUnavailable):
        await ask(executor, "execute_trade", BUY)

    assert floor.at_broker() == ()


async def test_a_database_that_does_not_answer_in_time_ends_the_cycle_too(
    floor: Floor, trading_database_url: str
) -> None:
    executor = await floor.cycle()
    other = await open_connection(trading_database_url)
    await other.execute("BEGIN; LOCK TABLE decisions")
    await floor.connection.execute("SET statement_timeout = 100")
    with pytest.raises(DatabaseUnavailable):
        await ask(executor, "log_decision", LOG)
    await other.close()


async def test_a_defect_inside_a_tool_is_an_error_with_a_row_and_a_traceback(
    floor: Floor, caplog: pytest.LogCaptureFixture
) -> None:
    floor.feed.failure = ZeroDivisionError("a secret of the implementation")
    executor = await floor.cycle()
    outcome = await ask(executor, "scan_market")
    (row,) = await floor.rows("SELECT is_error, result FROM tool_calls")
    (logged,) = [record for record in caplog.records if record.msg == "tool_failed"]

    assert outcome == ToolOutcome(content="scan_market failed inside Catalyst", is_error=True)
    assert row == {"is_error": True, "result": outcome.content}
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError


async def test_a_scan_without_candidates_says_why(floor: Floor) -> None:
    floor.venue.move_to(floor.venue.clock.now() + 10 * MINUTE)
    answer = await said(await floor.cycle(), "scan_market")

    assert answer["candidates"] == []
    assert answer["excluded"] == {"stale_quote": 1}
    assert "stale" in answer["why_empty"]
    assert await floor.rows("SELECT FROM scan_results") == []


async def test_what_a_scan_offered_is_kept(floor: Floor) -> None:
    floor.venue.move_to(floor.venue.clock.now())
    answer = await said(await floor.cycle(), "scan_market")
    rows = await floor.rows("SELECT symbol, rank, price, volume, cycle_id FROM scan_results")

    assert [found["symbol"] for found in answer["candidates"]] == ["ACME"]
    assert rows == [
        {
            "symbol": "ACME",
            "rank": 1,
            "price": Decimal(100),
            "volume": 1000,
            "cycle_id": "rehearsal-1",
        }
    ]


async def test_a_decision_is_kept_and_remembered_for_the_summary(floor: Floor) -> None:
    executor = await floor.cycle()
    answer = await said(executor, "log_decision", LOG)
    (row,) = await floor.rows(
        "SELECT decision_id, decision, symbol, reasoning, confidence, model FROM decisions"
    )

    assert row == {
        "decision_id": answer["recorded"],
        "decision": "skip",
        "symbol": "ACME",
        "reasoning": "nothing fits",
        "confidence": Decimal("0.7"),
        "model": "claude-sonnet-5-5",
    }
    assert executor.decisions == ["skip: nothing fits"]


async def test_every_call_has_a_row_in_the_order_of_asking(floor: Floor) -> None:
    executor = await floor.cycle()
    await ask(executor, "get_quote", {"symbol": "ACME"})
    await ask(executor, "no_such_tool")
    await ask(executor, "log_decision", LOG)
    rows = await floor.rows(
        "SELECT sequence, name, arguments, tool_use_id, is_error FROM tool_calls ORDER BY sequence"
    )

    assert [(row["sequence"], row["name"], row["is_error"]) for row in rows] == [
        (1, "get_quote", False),
        (2, "no_such_tool", True),
        (3, "log_decision", False),
    ]
    assert rows[0]["arguments"] == {"symbol": "ACME"}
    assert {row["tool_use_id"] for row in rows} == {"toolu_1"}


@pytest.mark.parametrize(
    ("text", "kept"), [("a null \x00 byte", 1), ("half \ud800 of a character", 0)]
)
async def test_text_that_no_database_can_hold_ends_no_cycle(
    floor: Floor, text: str, kept: int
) -> None:
    executor = await floor.cycle()
    outcome = await ask(executor, "log_decision", LOG | {"reasoning": text})

    assert outcome.is_error is (kept == 0)
    assert len(await floor.rows("SELECT FROM decisions")) == kept
    assert len(await floor.rows("SELECT FROM tool_calls")) == 1


def test_money_keeps_its_digits_and_loses_needless_zeros() -> None:
    amounts = {"a": Decimal("100.010"), "b": Decimal("1E+3"), "c": Decimal("0.00"), "d": None}

    assert compact(amounts) == '{"a":"100.01","b":"1000","c":"0","d":null}'
