"""Shows a person what a command came to, as lines and tables. Programs get the same content as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO, TypeAlias, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.operate.arguments import Command
from shared.operate.report import Report

Content: TypeAlias = Mapping[str, Any]

_WIDTH_IN_A_FILE = 160
_RESULT_SHOWN = 300


def show(report: Report, out: TextIO) -> None:
    """Print what belongs to a report's sentence."""
    width = None if out.isatty() else _WIDTH_IN_A_FILE
    _PAGES[report.command](report.content, Console(file=out, width=width, highlight=False))


def _status(said: Content, console: Console) -> None:
    _line(console, f"At {_shown(said['at'])}")
    for reason in said["state_reasons"]:
        _line(console, f"  {reason}")
    _account(said, console)
    today, budget = said["today"], said["budget"]
    entries = ", ".join(f"{number} {symbol}" for symbol, number in today["entries"].items())
    _line(
        console,
        f"Since {_shown(today['since'])}: realised {_shown(today['realized_pnl'])}"
        f" {said['currency']} after fees; entries: {entries or 'none'}",
    )
    _line(
        console,
        f"Budget for Claude on {budget['day']}: {_shown(budget['left_usd'])} of"
        f" {_shown(budget['budget_usd'])} USD left",
    )
    _table(console, "Positions by our fills", said["positions"], _POSITION)
    _table(console, "Unresolved orders", said["unresolved_orders"], _UNRESOLVED)
    _table(console, "Alerts not sent yet", said["queued_alerts"], _ALERT)
    _table(console, "Commands of persons, unfinished ones first", said["operator_actions"], _ACTION)
    _table(console, "Last cycles", said["cycles"], _CYCLE)


def _account(said: Content, console: Console) -> None:
    account, live = said["account"], said["live"]
    if account is None:
        _line(console, "Account: no cycle has looked at it yet")
    else:
        _line(
            console,
            f"Account: equity {_shown(account['equity'])} {said['currency']}, session"
            f" {_shown(account['session_pnl'])}, as {account['cycle_id']} saw it",
        )
    if live is None:
        return
    if "error" in live:
        _line(console, f"Broker: cannot be asked: {live['error']}")
        return
    now = live["account"]
    _line(
        console,
        f"Broker: equity {_shown(now['equity'])} {now['currency']}, cash {_shown(now['cash'])},"
        f" account {now['account_id']}, at {_shown(now['at'])}",
    )
    _table(console, "Positions at the broker", live["positions"], _LIVE_POSITION)


def _orders(said: Content, console: Console) -> None:
    _table(console, "Orders", said["orders"], _ORDER)
    _histories(said["orders"], console)


def _histories(orders: Sequence[Content], console: Console) -> None:
    for order in orders:
        name = order["client_order_id"] or f"leg {order['broker_order_id']}"
        steps = [_step(event) for event in order["events"]]
        _line(console, f"{order['symbol']} {order['side']} {name}: {' → '.join(steps)}")
        if order["reason"]:
            _line(console, f"    because: {order['reason']}")
        for fill in order["fills"]:
            _line(
                console,
                f"    filled {fill['quantity']} at {_shown(fill['price'])} {fill['currency']},"
                f" {_shown(fill['at'])}, fees {_shown(fill['fees'])},"
                f" realised {_shown(fill['realized_pnl'])}",
            )


def _step(event: Content) -> str:
    detail = f" ({event['detail']})" if event["detail"] else ""
    return f"{event['to_status'] or event['kind']} {event['at']:%H:%M:%S}{detail}"


def _why(said: Content, console: Console) -> None:
    cycle = said["cycle"]
    _line(
        console,
        f"{cycle['mode']} by {cycle['brain']}, {_shown(cycle['started_at'])} to"
        f" {_shown(cycle['ended_at'])}; equity {_shown(cycle['equity'])},"
        f" session {_shown(cycle['session_pnl'])}; cost {_shown(cycle['cost_usd'])} USD",
    )
    _table(console, "Candidates", said["candidates"], _CANDIDATE)
    calls = [{**one, "result": _shortened(one["result"])} for one in said["tool_calls"]]
    _table(console, "Tool calls (results whole with --json)", calls, _TOOL_CALL)
    refused = [
        {"tool": one["tool"], "symbol": one["request"].get("symbol"), "code": code, "text": text}
        for one in said["refusals"]
        for code, text in zip(one["codes"], one["texts"], strict=True)
    ]
    _table(console, "Refused by safety", refused, ("tool", "symbol", "code", "text"))
    _table(console, "Decisions", said["decisions"], _DECISION)
    _table(console, "Orders", said["orders"], _ORDER)
    _histories(said["orders"], console)
    _table(console, "Calls to Claude", said["claude_calls"], _CLAUDE_CALL)
    _table(console, "Alerts", said["alerts"], ("severity", "subject", "status"))


def _flatten(said: Content, console: Console) -> None:
    _table(console, "Positions", said["sales"], _SALE)
    for code in said["refusals"]:
        _line(console, f"refused: {code}")
    for alert in said["alerts"]:
        _line(console, f"ALERT: {alert}")


def _state(said: Content, console: Console) -> None:
    for reason in said["state_reasons"]:
        _line(console, f"  {reason}")


def _show_config(said: Content, console: Console) -> None:
    _line(console, f"hash {said['config_hash']}, data in {said['data_directory']}")
    sections: Mapping[str, Content | None] = {**said["settings"], "secrets": said["secrets"]}
    for section, values in sections.items():
        _line(console, f"{section}:{'' if values else ' none'}")
        if values:
            for name, value in values.items():
                _line(console, f"  {name}: {_shown(value)}")


_PAGES: Mapping[Command, Callable[[Content, Console], None]] = {
    Command.HALT: _state,
    Command.REDUCE: _state,
    Command.RESUME: _state,
    Command.FLATTEN: _flatten,
    Command.STATUS: _status,
    Command.ORDERS: _orders,
    Command.WHY: _why,
    Command.SHOW_CONFIG: _show_config,
}

_POSITION = (
    "symbol", "quantity", "entry_price", "stop_loss", "take_profit", "resting_stops",
    "shares_without_stop", "guarded_by", "opened_at", "entry_reason",
)  # fmt: skip
_LIVE_POSITION = ("symbol", "quantity", "available", "average_price", "market_price")
_UNRESOLVED = ("client_order_id", "symbol", "side", "quantity", "status", "created_at")
_ALERT = ("severity", "subject", "queued_at", "attempts")
_ACTION = ("action_id", "command", "operator", "why", "status", "result", "started_at", "ended_at")
_CYCLE = (
    "cycle_id",
    "status",
    "brain",
    "orders_placed",
    "refusals",
    "session_pnl",
    "cost_usd",
    "reason",
)
_ORDER = (
    "symbol", "side", "order_purpose", "order_type", "status", "quantity", "filled_quantity",
    "limit_price", "stop_price", "filled_price", "reject_reason",
)  # fmt: skip
_CANDIDATE = ("rank", "symbol", "price", "change_pct", "relative_volume", "score")
_TOOL_CALL = ("sequence", "name", "arguments", "is_error", "result")
_DECISION = ("at", "decision", "symbol", "confidence", "reasoning")
_CLAUDE_CALL = (
    "model",
    "status",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "stop_reason",
    "error",
)
_SALE = ("symbol", "held", "left", "result", "why_not")


def _table(console: Console, title: str, rows: Iterable[Content], columns: Sequence[str]) -> None:
    """Print a table; of what there is none of, say so in a line."""
    found = list(rows)
    if not found:
        _line(console, f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*(escape(_shown(row[column])) for column in columns))
    console.print(table)


def _line(console: Console, text: str) -> None:
    console.print(escape(text), soft_wrap=True)


def _shortened(result: object) -> str:
    text = str(result)
    return text if len(text) <= _RESULT_SHOWN else f"{text[:_RESULT_SHOWN]}…"


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case Decimal():
            return format(value.normalize(), "f") if value else "0"
        case list():
            return ", ".join(map(_shown, cast("list[object]", value))) or "none"
        case _:
            return str(value)
