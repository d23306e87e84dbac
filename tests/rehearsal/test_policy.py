"""The fixed rules: what they ask for, given what the tools answered."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.answers import number
from rehearsal.policy import MAX_CANDIDATES_TRIED, decide
from rehearsal.stand_in import Fault, FaultKind
from shared.agent_loop import LoopEnd, ToolCall, ToolOutcome
from shared.claude_messages import Json, is_json_object
from tests.fixtures.claude import Cycle, FakeToolbox

ALL_TOOLS = ("get_portfolio", "scan_market", "get_quote", "execute_trade", "log_decision")
ACCEPTED: Json = {"status": "accepted"}
TOO_LARGE: Json = {
    "refused": [
        {
            "code": "POSITION_VALUE",
            "text": "the position in UP may be worth at most 5000 USD, would be 10000.00",
        }
    ]
}


def portfolio(*positions: Json, orders: tuple[Json, ...] = ()) -> Json:
    return {"cash": "100000", "equity": "100000", "positions": positions, "open_orders": orders}


def held(
    symbol: str, *, paid: object = "100", price: object = "100", quantity: object = 10
) -> Json:
    return {
        "symbol": symbol,
        "quantity": quantity,
        "average_price": paid,
        "market_price": price,
    }


def scan(*symbols: str, change: object = "1.2") -> Json:
    return {
        "candidates": [
            {"symbol": s, "price": "10", "change_from_open_pct": change} for s in symbols
        ]
    }


def quote(ask: object = "10.00", **more: object) -> Json:
    return {"symbol": "UP", "bid": "9.99", "ask": ask, "last": "9.99", "age_seconds": 1, **more}


class Market:
    """Answers the policy's calls; what `trades` holds is answered to execute_trade, in order."""

    def __init__(
        self,
        *,
        account: Json | None = None,
        candidates: Json | None = None,
        quoted: Json | None = None,
        trades: tuple[Json, ...] = (),
        offered: tuple[str, ...] = ALL_TOOLS,
    ) -> None:
        self.answers: dict[str, Callable[[], Json]] = {
            "get_portfolio": lambda: portfolio() if account is None else account,
            "scan_market": lambda: scan() if candidates is None else candidates,
            "get_quote": lambda: quote() if quoted is None else quoted,
            "execute_trade": lambda: self.left.pop(0) if self.left else ACCEPTED,
            "log_decision": lambda: {"status": "logged"},
        }
        self.left: list[Json] = list(trades)
        self.offered: tuple[str, ...] = offered
        self.asked: list[tuple[str, Json]] = []
        self.closing_words: str = ""

    def play(self, mode: str) -> "Market":
        messages: list[Json] = [{"role": "user", "content": f"Some words.\nMode: {mode}\nMore."}]
        for _ in range(40):
            blocks = decide({"tools": [{"name": n} for n in self.offered], "messages": messages})
            if blocks[0]["type"] == "text":
                self.closing_words = str(blocks[0]["text"])
                return self
            calls = [{**b, "id": f"{len(messages)}-{n}"} for n, b in enumerate(blocks)]
            messages += [
                {"role": "assistant", "content": calls},
                {"role": "user", "content": [self._answer(block) for block in calls]},
            ]
        pytest.fail(f"the policy does not end: {self.asked}")

    def _answer(self, block: Json) -> Json:
        name, arguments = str(block["name"]), block["input"]
        assert name in self.offered
        assert is_json_object(arguments)
        self.asked.append((name, arguments))
        answered = self.answers[name]()
        return {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": json.dumps(answered, default=str),
            "is_error": "refused" in answered,
        }

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

    @property
    def trades(self) -> list[Json]:
        return [arguments for name, arguments in self.asked if name == "execute_trade"]

    @property
    def decision(self) -> Json:
        (logged,) = (arguments for name, arguments in self.asked if name == "log_decision")
        return logged


def test_a_scan_names_the_first_that_rises() -> None:
    market = Market(candidates=scan("UP", "UPPER")).play("scan")

    assert market.names == ["scan_market", "log_decision"]
    assert market.decision["decision"] == "observation"
    assert "UP leads the scan" in str(market.decision["reasoning"])


def test_an_empty_scan_says_why_it_is_empty() -> None:
    market = Market(candidates={"candidates": [], "why_empty": "the feed is silent"}).play("scan")

    assert "the feed is silent" in str(market.decision["reasoning"])


def test_a_heartbeat_only_looks() -> None:
    market = Market(account=portfolio(held("ABC"))).play("heartbeat")

    assert market.names == ["get_portfolio", "log_decision"]
    assert "ABC" in str(market.decision["reasoning"])


@pytest.mark.parametrize("mode", ["heartbeat", "review", "anything"])
def test_an_unknown_mode_only_looks(mode: str) -> None:
    assert Market(account=portfolio(held("ABC", price="200"))).play(mode).trades == []


def test_at_the_close_everything_is_sold_in_one_reply() -> None:
    account = portfolio(
        held("AAA", quantity=10), held("BBB", quantity="20"), held("CCC", quantity=0)
    )
    market = Market(account=account).play("close")

    assert [(t["symbol"], t["side"], t["quantity"], t["order_type"]) for t in market.trades] == [
        ("AAA", "sell", 10, "market"),
        ("BBB", "sell", 20, "market"),
    ]
    assert market.decision["decision"] == "close"


@pytest.mark.parametrize(
    ("price", "sold"),
    [
        ("101.50", True),
        ("101.49", False),
        ("99.00", True),
        ("99.01", False),
        (102, True),
        (None, False),
        ("N/A", False),
        ("NaN", False),
    ],
)
def test_a_position_is_sold_when_it_is_up_one_and_a_half_or_down_one_percent(
    price: object, *, sold: bool
) -> None:
    market = Market(account=portfolio(held("ABC", price=price))).play("trade")

    assert bool(market.trades) is sold
    assert market.decision["decision"] == ("trade" if sold else "skip")


def test_a_position_that_is_already_being_sold_is_left_alone() -> None:
    leaving: Json = {"symbol": "ABC", "side": "sell", "order_type": "market"}
    market = Market(account=portfolio(held("ABC", price="110"), orders=(leaving,))).play("trade")

    assert market.trades == []


def test_an_entry_is_asked_for_in_a_round_size_with_stop_and_target() -> None:
    market = Market(candidates=scan("UP")).play("trade")
    (entry,) = market.trades

    assert {key: entry[key] for key in entry if key != "reason"} == {
        "symbol": "UP",
        "side": "buy",
        "quantity": 1000,
        "order_type": "limit",
        "limit_price": 10.0,
        "stop_loss": 9.85,
        "take_profit": 10.32,
    }
    assert market.decision["decision"] == "trade"


@pytest.mark.parametrize(
    ("refused", "quantity"),
    [
        ([{"code": "POSITION_VALUE", "text": "may be worth at most 5000 USD, would be 9"}], 500),
        ([{"code": "POSITION_VALUE", "text": "too much", "limit": "3,000"}], 300),
        ([{"code": "CASH", "text": "10000 USD is needed, 1234.5 is free after orders"}], 123),
        ([{"code": "CASH", "text": "too much"}], 450),
        (
            [
                {"code": "CASH", "text": "10000 USD is needed, 700 is free"},
                {"code": "POSITION_VALUE", "text": "at most 5000 USD"},
            ],
            70,
        ),
    ],
)
def test_an_entry_refused_for_its_size_is_asked_for_once_more_in_the_size_that_is_left(
    refused: list[Json], quantity: int
) -> None:
    market = Market(candidates=scan("UP"), trades=({"refused": refused},)).play("trade")

    assert [trade["quantity"] for trade in market.trades] == [1000, quantity]
    assert market.decision["decision"] == "trade"


def test_a_lot_size_is_kept_when_sizing_down() -> None:
    market = Market(candidates=scan("UP"), quoted=quote(lot_size=400), trades=(TOO_LARGE,))

    assert [trade["quantity"] for trade in market.play("trade").trades] == [1000, 400]


@pytest.mark.parametrize(
    "code", ["QUOTE_STALE", "LOT_SIZE", "TICK_SIZE", "POSITION_COUNT", "HALTED"]
)
def test_an_entry_refused_for_anything_else_is_not_asked_for_again(code: str) -> None:
    refused: Json = {"refused": [{"code": code, "text": "no"}, {"code": "CASH", "text": "no"}]}
    market = Market(candidates=scan("UP"), trades=(refused,)).play("trade")

    assert len(market.trades) == 1
    assert market.decision["decision"] == "skip"


def test_a_second_refusal_is_final() -> None:
    market = Market(candidates=scan("UP"), trades=(TOO_LARGE, TOO_LARGE)).play("trade")

    assert len(market.trades) == 2
    assert market.decision["decision"] == "skip"


def test_a_cycle_enters_at_most_twice() -> None:
    market = Market(candidates=scan("A", "B", "C", "D")).play("trade")

    assert [trade["symbol"] for trade in market.trades] == ["A", "B"]


def test_what_is_held_or_on_order_is_not_bought_again() -> None:
    on_order: Json = {"symbol": "B", "side": "buy", "order_type": "limit"}
    account = portfolio(held("A"), orders=(on_order,))
    market = Market(account=account, candidates=scan("A", "B", "C")).play("trade")

    assert [trade["symbol"] for trade in market.trades] == ["C"]


@pytest.mark.parametrize(("positions", "entries"), [(4, 2), (5, 1), (6, 0), (9, 0)])
def test_there_are_never_more_than_six_positions(positions: int, entries: int) -> None:
    account = portfolio(*(held(f"P{n}") for n in range(positions)))
    market = Market(account=account, candidates=scan("A", "B", "C")).play("trade")

    assert len(market.trades) == entries


@pytest.mark.parametrize("ask", [None, "N/A", "NaN", "0", "-1", "1e999"])
def test_nothing_is_bought_without_an_ask(ask: object) -> None:
    assert Market(candidates=scan("UP"), quoted=quote(ask)).play("trade").trades == []


@pytest.mark.parametrize("change", ["0", "-0.1", None, "N/A"])
def test_what_does_not_rise_is_not_bought(change: object) -> None:
    assert Market(candidates=scan("UP", change=change)).play("trade").trades == []


@pytest.mark.parametrize("mode", ["scan", "trade", "close", "heartbeat"])
@pytest.mark.parametrize("missing", ALL_TOOLS)
def test_only_offered_tools_are_called(mode: str, missing: str) -> None:
    offered = tuple(name for name in ALL_TOOLS if name != missing)
    account = portfolio(held("ABC", price="110"))
    market = Market(account=account, candidates=scan("UP"), offered=offered).play(mode)

    assert missing not in market.names
    assert market.closing_words


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "positions",
                    "open_orders",
                    "candidates",
                    "symbol",
                    "quantity",
                    "ask",
                    "refused",
                    "code",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    answers=st.fixed_dictionaries(
        {name: st.dictionaries(st.text(max_size=9), JUNK) for name in ALL_TOOLS}
    ),
    mode=st.sampled_from(["scan", "trade", "close", "heartbeat"]),
)
def test_whatever_the_tools_answer_the_policy_comes_to_an_end(
    answers: Mapping[str, Json], mode: str
) -> None:
    market = Market()
    market.answers = {name: _always(answered) for name, answered in answers.items()}
    market.play(mode)

    assert len([t for t in market.trades if t["side"] == "buy"]) <= 2 * MAX_CANDIDATES_TRIED


def _always(answered: Json) -> Callable[[], Json]:
    return lambda: answered


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1,000.50", Decimal("1000.50")), (1.5, Decimal("1.5")), (True, None), ("", None), ([], None)],
)
def test_numbers_are_read_tolerantly_and_never_made_up(value: object, expected: object) -> None:
    assert number(value) == expected


@pytest.mark.parametrize("nth", [1, 3])
async def test_a_whole_cycle_runs_through_the_loop_and_a_truncated_reply_changes_nothing(
    nth: int,
) -> None:
    def toolbox() -> FakeToolbox:
        return Answering(
            {
                "get_portfolio": json.dumps(portfolio()),
                "scan_market": json.dumps(scan("UP", "DOWN")),
                "get_quote": json.dumps(quote()),
            }
        )

    plain = Cycle(decide, toolbox=toolbox())
    disturbed = Cycle(decide, [Fault(nth=nth, kind=FaultKind.TRUNCATED)], toolbox=toolbox())
    results = [await plain.run(), await disturbed.run()]

    assert [result.end for result in results] == [LoopEnd.FINISHED] * 2
    assert all(result.decision_logged for result in results)
    assert plain.toolbox.names == disturbed.toolbox.names
    assert plain.toolbox.names == [
        "get_portfolio",
        "scan_market",
        *["get_quote", "execute_trade", "execute_trade"] * 2,
        "log_decision",
    ]


class Answering(FakeToolbox):
    """Refuses an entry of more than 5,000."""

    async def carry_out(self, call: ToolCall) -> ToolOutcome:
        outcome = await super().carry_out(call)
        if call.name != "execute_trade":
            return outcome
        refused = call.arguments["quantity"] == 1000
        return ToolOutcome(content=json.dumps(TOO_LARGE if refused else ACCEPTED), is_error=refused)
