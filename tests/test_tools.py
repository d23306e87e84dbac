"""What Claude may send, and what it reads when it sent something else."""

import json
from decimal import Decimal
from typing import Any

import pytest

import tools
from shared.errors import ToolError
from shared.models import SLOT_MODES, Mode

TRADE = {
    "symbol": "ACME",
    "side": "buy",
    "quantity": 10,
    "order_type": "limit",
    "limit_price": 27.07,
    "stop_loss": 26.5,
    "take_profit": 28.3,
    "reason": "it rises on volume",
}


def test_a_price_keeps_the_digits_it_was_written_with() -> None:
    request = tools.parse("execute_trade", TRADE, Mode.TRADE)

    assert isinstance(request, tools.ExecuteTrade)
    assert request.limit_price == Decimal("27.07")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantity": "10"}, "quantity"),
        ({"quantity": 10.5}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": 10**12}, "quantity"),
        ({"limit_price": "1e9"}, "limit_price"),
        ({"limit_price": -1}, "limit_price"),
        ({"limit_price": float("nan")}, "finite"),
        ({"limit_price": float("inf")}, "finite"),
        ({"limit_price": True}, "limit_price"),
        ({"side": "short"}, "side"),
        ({"side": "BUY"}, "side"),
        ({"order_type": "stop"}, "order_type"),
        ({"symbol": "acme"}, "symbol"),
        ({"symbol": "ACME; DROP TABLE orders"}, "symbol"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": "0700.HK\n"}, "symbol"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 3000}, "reason"),
        ({"leverage": 5}, "leverage"),
    ],
    ids=str,
)
def test_a_malformed_trade_comes_back_as_a_sentence_about_the_argument(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolError, match=said):
        tools.parse("execute_trade", TRADE | changes, Mode.TRADE)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ToolError, match="reason"):
        tools.parse("execute_trade", {k: v for k, v in TRADE.items() if k != "reason"}, Mode.TRADE)


def test_a_tool_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ToolError, match="scan_market, get_quote"):
        tools.parse("lift_halt", {}, Mode.TRADE)


@pytest.mark.parametrize("mode", [Mode.SCAN, Mode.HEARTBEAT])
def test_modes_that_do_not_trade_offer_no_orders(mode: Mode) -> None:
    assert "execute_trade" not in {tool["name"] for tool in tools.definitions(mode)}
    with pytest.raises(ToolError, match="no tool"):
        tools.parse("execute_trade", TRADE, mode)


@pytest.mark.parametrize("mode", SLOT_MODES)
def test_every_schema_is_strict_and_described(mode: Mode) -> None:
    for tool in tools.definitions(mode):
        assert tool["strict"] is True
        assert str(tool["description"]).strip()
        schema: Any = tool["input_schema"]
        assert schema["additionalProperties"] is False
        for name, argument in schema["properties"].items():
            assert argument["description"], name
        text = json.dumps(schema)
        for unsupported in ("minimum", "maximum", "pattern", "$ref", "title", "minLength"):
            assert unsupported not in text


def test_definitions_are_the_same_bytes_every_time() -> None:
    assert json.dumps(tools.definitions(Mode.TRADE)) == json.dumps(tools.definitions(Mode.TRADE))
