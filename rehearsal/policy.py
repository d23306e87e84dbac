"""The fixed rules by which a rehearsal decides in Claude's place.

Pure and without memory: a request's JSON goes in, the next blocks come out. The mode's script is played
from its beginning each time, on the answers that the request holds. It takes every price from a tool's
answer and calls only tools that the request offers. A second opinion about a position is one reply.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TypeAlias

from rehearsal.answers import (
    Answer,
    Refusal,
    history,
    number,
    object_in,
    objects,
    offered_tools,
    refusals,
    text_of_first_message,
    wanted_properties,
)
from shared.claude_messages import Json, canonical_json, is_json_object, is_list
from shared.models import Mode

NOTICE = "Stand-in policy, no model was asked."
"""Said in every reply."""

TAKE_PROFIT_AT = Decimal("0.015")
CUT_LOSS_AT = Decimal("-0.01")
STOP_DISTANCE = Decimal("0.015")
TARGET_DISTANCE = Decimal("0.032")
FIRST_QUANTITY = 1_000
"""Asked for first, so that a rehearsal shows safety refuse it."""
FALLBACK_POSITION_VALUE = Decimal(4_500)
MAX_ENTRIES_PER_CYCLE = 2
MAX_POSITIONS = 6
MAX_CANDIDATES_TRIED = 4
SCAN_LIMIT = 10
HIGHEST_ASK = Decimal(1_000_000)
"""A price beyond it is taken for a mistake."""

LEAVE_FROM_LOSS_PCT = Decimal(1)
LEAVE_FROM_EXIT_SIGNALS = 2
"""Both have to be reached for a second opinion to be EXIT."""

_OPINION = frozenset({"recommendation", "reason"})
_CENT = Decimal("0.01")
_SIZE_WORDS = ("value", "share", "cash", "buying_power", "notional", "exposure", "trade_risk")
_WORDS_WITH_A_LIMIT = ("value", "cash", "notional")


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that a script makes."""

    name: str
    arguments: Json


Script: TypeAlias = Generator[tuple[Call, ...], tuple[Answer, ...], str]
"""Yields calls, is sent their answers, returns the closing words."""


def decide(request: Json) -> tuple[Json, ...]:
    """Return the next blocks, without ids: tool_use where something is still to be asked, else text."""
    if wanted_properties(request) == _OPINION:
        return ({"type": "text", "text": canonical_json(_opinion(request))},)
    offered = offered_tools(request)
    script = _script(request)(offered)
    past = history(request)
    try:
        calls = next(script)
        while (answers := _take_answers(past, calls)) is not None:
            calls = script.send(answers)
    except StopIteration as end:
        return ({"type": "text", "text": str(end.value)},)
    return tuple({"type": "tool_use", "name": c.name, "input": c.arguments} for c in calls)


def _script(request: Json) -> Callable[[frozenset[str]], Script]:
    found = re.search(r"^Mode:\s*(\w+)", text_of_first_message(request), re.MULTILINE)
    match found.group(1).lower() if found else None:
        case Mode.SCAN:
            return _scan
        case Mode.TRADE:
            return _trade
        case Mode.CLOSE:
            return _close
        case _:
            return _heartbeat


def _opinion(request: Json) -> Json:
    """Speak for leaving a position that loses where at least two signals do so as well."""
    told = object_in(text_of_first_message(request)) or {}
    position, said = told.get("position"), told.get("signals")
    profit_pct = number(position.get("profit_pct")) if is_json_object(position) else None
    signals = said if is_list(said) else []
    exits = sum(str(signal).startswith("exit ") for signal in signals)
    loses = profit_pct is not None and profit_pct <= -LEAVE_FROM_LOSS_PCT
    leave = loses and exits >= LEAVE_FROM_EXIT_SIGNALS
    profit = "an unknown profit" if profit_pct is None else f"a profit of {profit_pct} %"
    return {
        "recommendation": "EXIT" if leave else "HOLD",
        "reason": f"{NOTICE} {exits} of {len(signals)} signals speak for leaving, at {profit}.",
    }


def _take_answers(past: list[Answer], calls: Sequence[Call]) -> tuple[Answer, ...] | None:
    """Take the answers to these calls from what is left of the past; None when one is still missing."""
    taken: list[Answer] = []
    for call in calls:
        wanted = (call.name, canonical_json(call.arguments))
        index = next((i for i, answer in enumerate(past) if answer.asked == wanted), None)
        if index is None:
            return None
        taken.append(past[index])
        del past[: index + 1]
    return tuple(taken)


def _ask(
    offered: frozenset[str], name: str, arguments: Json
) -> Generator[tuple[Call, ...], tuple[Answer, ...], Answer | None]:
    if name not in offered:
        return None
    (answer,) = yield (Call(name, arguments),)
    return answer


def _scan(offered: frozenset[str]) -> Script:
    scan = yield from _ask(offered, "scan_market", {"limit": SCAN_LIMIT})
    best = next(filter(_is_named, objects(scan, "candidates")), None)
    if best is None:
        words = f"Nothing to watch. {_why_empty(scan)}".strip()
    elif best.get("change_from_open_pct") is None:
        words = f"{best['symbol']} leads the scan, {best['change_pct']} % in the session before."
    else:
        words = f"{best['symbol']} leads the scan, {best['change_from_open_pct']} % since the open."
    return (yield from _log(offered, "observation", words))


def _heartbeat(offered: frozenset[str]) -> Script:
    portfolio = yield from _ask(offered, "get_portfolio", {})
    held = ", ".join(str(p["symbol"]) for p in _positions(portfolio)) or "nothing"
    return (yield from _log(offered, "observation", f"Alive. Holding {held}."))


def _close(offered: frozenset[str]) -> Script:
    portfolio = yield from _ask(offered, "get_portfolio", {})
    why = "The session ends; nothing is held overnight."
    wanted = [_sale(offered, position, why) for position in _positions(portfolio)]
    sales = [sale for sale in wanted if sale is not None]
    sold: list[str] = []
    if sales:
        answers = yield tuple(sales)
        sold = [str(s.arguments["symbol"]) for s, a in zip(sales, answers, strict=True) if _done(a)]
    if portfolio is None or portfolio.body is None:
        words = "The portfolio could not be read, so nothing was closed."
    else:
        words = f"Asked to close {len(sales)} of {len(_positions(portfolio))} positions"
        words += f"; accepted: {', '.join(sold)}." if sold else "."
    return (yield from _log(offered, "close", words))


def _trade(offered: frozenset[str]) -> Script:
    portfolio = yield from _ask(offered, "get_portfolio", {})
    if portfolio is None or portfolio.body is None:
        return (yield from _log(offered, "skip", "The portfolio could not be read."))
    done = yield from _exits(offered, portfolio)
    done += yield from _entries(offered, portfolio)
    if done:
        return (yield from _log(offered, "trade", " ".join(done)))
    return (yield from _log(offered, "skip", "No exit is due and no entry was possible."))


def _exits(
    offered: frozenset[str], portfolio: Answer
) -> Generator[tuple[Call, ...], tuple[Answer, ...], list[str]]:
    done: list[str] = []
    leaving = _symbols_with_market_sell(portfolio)
    for position in _positions(portfolio):
        why = _why_sell(position)
        sale = None if why is None else _sale(offered, position, why)
        if why is None or sale is None or position["symbol"] in leaving:
            continue
        (answer,) = yield (sale,)
        if _done(answer):
            done.append(f"Sold {position['symbol']}: {why}")
    return done


def _entries(
    offered: frozenset[str], portfolio: Answer
) -> Generator[tuple[Call, ...], tuple[Answer, ...], list[str]]:
    scan = yield from _ask(offered, "scan_market", {"limit": SCAN_LIMIT})
    taken = {p["symbol"] for p in _positions(portfolio)} | _symbols_on_order(portfolio)
    room = min(MAX_ENTRIES_PER_CYCLE, MAX_POSITIONS - len(taken))
    done: list[str] = []
    candidates = [c for c in _rising(scan) if c["symbol"] not in taken][:MAX_CANDIDATES_TRIED]
    for candidate in candidates:
        if len(done) >= room:
            break
        bought = yield from _enter(offered, str(candidate["symbol"]))
        done += [bought] if bought else []
    return done


def _enter(
    offered: frozenset[str], symbol: str
) -> Generator[tuple[Call, ...], tuple[Answer, ...], str | None]:
    """Ask for a round position, and once more for what the refusal allows."""
    quote = yield from _ask(offered, "get_quote", {"symbol": symbol})
    ask = number(quote.body.get("ask")) if quote is not None and quote.body is not None else None
    if quote is None or ask is None or not 0 < ask < HIGHEST_ASK or "execute_trade" not in offered:
        return None
    yield from _look_closer(offered, symbol)
    quantity = FIRST_QUANTITY
    (answer,) = yield (_purchase(symbol, quantity, ask),)
    if not _done(answer):
        quantity = _affordable(
            refusals(answer), ask, lot_size=number((quote.body or {}).get("lot_size"))
        )
        if not 0 < quantity < FIRST_QUANTITY:
            return None
        advice = yield from _ask(offered, "check_risk", _risk(symbol, quantity, ask))
        if advice is not None and (advice.body or {}).get("approved") is not True:
            return None
        (answer,) = yield (_purchase(symbol, quantity, ask),)
    return f"Bought {quantity} {symbol} at up to {ask}." if _done(answer) else None


def _look_closer(
    offered: frozenset[str], symbol: str
) -> Generator[tuple[Call, ...], tuple[Answer, ...], None]:
    """Ask what a careful buyer would ask; fixed rules make nothing of the answers."""
    names = [name for name in ("get_technicals", "detect_patterns", "get_news") if name in offered]
    if names:
        yield tuple(Call(name, {"symbol": symbol}) for name in names)


def _risk(symbol: str, quantity: int, ask: Decimal) -> Json:
    return {
        "symbol": symbol,
        "side": "buy",
        "quantity": quantity,
        "entry_price": float(ask),
        "stop_loss": float(_cents(ask * (1 - STOP_DISTANCE))),
        "take_profit": float(_cents(ask * (1 + TARGET_DISTANCE))),
    }


def _affordable(refused: Sequence[Refusal], price: Decimal, *, lot_size: Decimal | None) -> int:
    """Return the shares that a refusal for size leaves room for; 0 when size was not all it was about."""
    if not refused or not all(any(w in r.code.lower() for w in _SIZE_WORDS) for r in refused):
        return 0
    limits = [
        refusal.limit
        for refusal in refused
        if refusal.limit is not None
        and any(word in refusal.code.lower() for word in _WORDS_WITH_A_LIMIT)
    ]
    lot = int(lot_size) if lot_size is not None and lot_size >= 1 else 1
    return int(min(limits, default=FALLBACK_POSITION_VALUE) / price) // lot * lot


def _purchase(symbol: str, quantity: int, ask: Decimal) -> Call:
    return Call(
        "execute_trade",
        {
            "symbol": symbol,
            "side": "buy",
            "quantity": quantity,
            "order_type": "limit",
            "limit_price": float(ask),
            "stop_loss": float(_cents(ask * (1 - STOP_DISTANCE))),
            "take_profit": float(_cents(ask * (1 + TARGET_DISTANCE))),
            "reason": "First of the scan that rises, is not held and is not on order.",
        },
    )


def _sale(offered: frozenset[str], position: Json, reason: str) -> Call | None:
    """Leave a position by whatever the mode offers for it."""
    if "close_position" in offered:
        return Call("close_position", {"symbol": position["symbol"], "reason": reason})
    if "execute_trade" not in offered:
        return None
    return Call(
        "execute_trade",
        {
            "symbol": position["symbol"],
            "side": "sell",
            "quantity": int(number(position["quantity"]) or 0),
            "order_type": "market",
            "reason": reason,
        },
    )


def _log(offered: frozenset[str], decision: str, reasoning: str) -> Script:
    yield from _ask(offered, "log_decision", {"decision": decision, "reasoning": reasoning})
    return reasoning


def _why_sell(position: Json) -> str | None:
    paid, price = number(position.get("average_price")), number(position.get("market_price"))
    if paid is None or price is None or paid <= 0:
        return None
    change = price / paid - 1
    if change >= TAKE_PROFIT_AT:
        return f"Up {change:.2%} since it was bought."
    return f"Down {-change:.2%} since it was bought." if change <= CUT_LOSS_AT else None


def _positions(portfolio: Answer | None) -> list[Mapping[str, object]]:
    rows = objects(portfolio, "positions")
    return [row for row in rows if _is_named(row) and (number(row.get("quantity")) or 0) >= 1]


def _symbols_on_order(portfolio: Answer) -> set[object]:
    orders = filter(_is_named, objects(portfolio, "open_orders"))
    return {order["symbol"] for order in orders if order.get("side") == "buy"}


def _symbols_with_market_sell(portfolio: Answer) -> set[object]:
    orders = filter(_is_named, objects(portfolio, "open_orders"))
    return {
        order["symbol"]
        for order in orders
        if order.get("side") == "sell" and "market" in (order.get("order_type"), order.get("type"))
    }


def _rising(scan: Answer | None) -> Iterator[Json]:
    """Yield candidates above their open, in the scanner's own order."""
    for candidate in objects(scan, "candidates"):
        change = number(candidate.get("change_from_open_pct"))
        if _is_named(candidate) and change is not None and change > 0:
            yield candidate


def _is_named(row: Json) -> bool:
    return isinstance(row.get("symbol"), str)


def _why_empty(scan: Answer | None) -> str:
    return str((scan.body or {}).get("why_empty") or "") if scan is not None else ""


def _done(answer: Answer) -> bool:
    return not answer.is_error and answer.body is not None and not answer.body.get("refused")


def _cents(price: Decimal) -> Decimal:
    return price.quantize(_CENT, rounding=ROUND_HALF_UP)
