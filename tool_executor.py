"""Carries out one parsed tool call and answers Claude with compact JSON: units, times and ages in it.

Decides nothing: orders go to the desk, which asks safety. Nothing Claude sends gets past `tools.parse`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from time import monotonic
from typing import assert_never

import tools
from brokers.base import Broker
from brokers.desk import (
    DeskContext,
    NotPlaced,
    OrderDesk,
    Placed,
    Refused,
    Submission,
)
from brokers.drafts import active_stops, entry_request
from market.base import Feed
from market.scanner import ScanOutcome, scan
from shared import log
from shared.agent_loop import ToolCall, ToolOutcome
from shared.clock import Clock
from shared.config import Settings
from shared.database import accounts, orders, records
from shared.database import positions as ledger
from shared.database.connection import Connection
from shared.database.records import ScanRow
from shared.errors import CatalystError, DatabaseUnavailable, ToolError
from shared.models import (
    Instrument,
    Mode,
    Order,
    OrderPurpose,
    Position,
    Quote,
    SessionHours,
    Side,
    Snapshot,
)
from shared.order_life import OrderState

logger = log.get(__name__)

_FAILURES = frozenset({"refused", "error"})
"""Keys that only the answer to a call that did not do what was asked has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What one cycle works with; every part is opened and closed by the entry point."""

    settings: Settings
    mode: Mode
    clock: Clock
    broker: Broker
    feed: Feed
    connection: Connection
    session: SessionHours | None
    context: DeskContext
    session_start_equity: Decimal


class ToolExecutor:
    """Carries out the calls of one cycle and keeps a row of each."""

    def __init__(self, desk: Workplace) -> None:
        """Open the order desk over the cycle's parts."""
        self._desk: Workplace = desk
        self.tools_called: list[str] = []
        self.decisions: list[str] = []
        self.orders: OrderDesk = OrderDesk(
            broker=desk.broker,
            connection=desk.connection,
            clock=desk.clock,
            limits=desk.settings.limits,
            context=desk.context,
            look=self.look,
        )

    async def look(self, symbols: Collection[str] = ()) -> Snapshot:
        """Take one picture of account and market, with quotes for these symbols and all that is held."""
        desk = self._desk
        account = await desk.broker.account()
        positions = await desk.broker.positions()
        open_orders = await desk.broker.orders(only_open=True)
        wanted = (
            set(symbols) | {held.symbol for held in positions} | {o.symbol for o in open_orders}
        )
        unresolved = await orders.unresolved_orders(desk.connection, desk.context.agent_id)
        return Snapshot(
            taken_at=desk.clock.now(),
            mode=desk.mode,
            session=desk.session,
            account=account,
            positions=positions,
            open_orders=open_orders,
            unresolved=tuple(order.client_order_id or "?" for order in unresolved),
            quotes=await desk.feed.quotes(wanted),
            instruments=await self._instruments(wanted),
            halts=await self._halts(positions),
        )

    async def positions_of_ours(self) -> tuple[str, ...]:
        """Symbols in which our own fills left us something, whatever the broker shows at the moment."""
        held = await ledger.open_positions(self._desk.connection, self._desk.context.agent_id)
        return tuple(record.symbol for record in held)

    async def sell_what_is_held(self, *, why: str) -> tuple[list[str], list[str]]:
        """Sell every position of ours that no sale is under way for: (sold, still without a sale)."""
        if self._desk.context.dry_run:
            return [], []
        sold = [symbol for symbol in await self._unsold() if await self._sell(symbol, why)]
        await self.orders.synchronise()
        return sold, await self._unsold()

    async def _sell(self, symbol: str, why: str) -> bool:
        try:
            submissions = await self.orders.exit(symbol, why=why)
        except DatabaseUnavailable:
            raise
        except CatalystError as error:
            logger.warning("not_sold", symbol=symbol, why=str(error))
            return False
        return all(isinstance(one, Placed) and one.problem is None for one in submissions)

    async def _unsold(self) -> list[str]:
        """Positions of ours for which no exit works at the broker."""
        resting = await orders.open_orders(self._desk.connection, self._desk.context.agent_id)
        leaving = {o.symbol for o in resting if o.order_purpose is OrderPurpose.EXIT}
        return [symbol for symbol in await self.positions_of_ours() if symbol not in leaving]

    async def _halts(self, positions: Sequence[Position]) -> tuple[str, ...]:
        """Reasons not to add risk: what persons said, and holdings that the broker does not show.

        A read that comes back empty is not believed to mean flat.
        """
        desk = self._desk
        halts = await accounts.active_halts(
            desk.connection, desk.context.agent_id, desk.clock.now()
        )
        shown = {held.symbol: held.quantity for held in positions}
        missing = [
            f"the broker shows {shown.get(record.symbol, 0)} shares of {record.symbol},"
            f" by our fills there are {record.quantity}"
            for record in await ledger.open_positions(desk.connection, desk.context.agent_id)
            if shown.get(record.symbol, Decimal(0)) < record.quantity
        ]
        return (*halts, *missing)

    async def carry_out(self, call: ToolCall) -> ToolOutcome:
        """Do what Claude asked, or say readably why not; only the loss of the database ends the cycle."""
        self.tools_called.append(call.name)
        started_at, started = self._desk.clock.now(), monotonic()
        try:
            request = tools.parse(call.name, call.arguments, self._desk.mode)
            answer = await self._answer(request)
            failed = not _FAILURES.isdisjoint(answer)
            outcome = ToolOutcome(content=compact(answer), is_error=failed)
        except DatabaseUnavailable:
            raise
        except CatalystError as error:
            outcome = ToolOutcome(content=str(error), is_error=True)
        except Exception:
            logger.exception("tool_failed", tool=call.name)
            outcome = ToolOutcome(content=f"{call.name} failed inside Catalyst", is_error=True)
        await records.record_tool_call(
            self._desk.connection,
            cycle_id=self._desk.context.cycle_id,
            sequence=len(self.tools_called),
            tool_use_id=call.tool_use_id,
            name=call.name,
            arguments=call.arguments,
            result=outcome.content,
            is_error=outcome.is_error,
            started_at=started_at,
            duration_seconds=monotonic() - started,
        )
        return outcome

    async def _answer(self, request: tools.ToolRequest) -> Mapping[str, object]:
        match request:
            case tools.ScanMarket():
                return await self._scan(request.limit)
            case tools.GetQuote():
                return await self._quote(request.symbol)
            case tools.GetPortfolio():
                return await self.portfolio()
            case tools.ExecuteTrade():
                return await self._trade(request)
            case tools.LogDecision():
                return await self._decide(request)
            case _:
                assert_never(request)

    async def _scan(self, limit: int) -> Mapping[str, object]:
        desk = self._desk
        symbols, now = await desk.feed.symbols(), desk.clock.now()
        outcome = scan(
            quotes=await desk.feed.quotes(symbols),
            instruments=await self._instruments(symbols),
            bars=await desk.feed.bars(symbols, start=_session_start(desk.session, now), end=now),
            baselines=await desk.feed.baselines(symbols),
            session=desk.session,
            now=now,
            limit=limit,
            max_quote_age_seconds=desk.settings.limits.max_quote_age_seconds,
        )
        await self._record_scan(outcome)
        return {
            "as_of": _time(now),
            "currency": desk.settings.market.currency,
            "data": desk.feed.description.label,
            "candidates": [
                {
                    "symbol": found.symbol,
                    "rank": found.rank,
                    "price": found.price,
                    "change_pct": _rounded(found.change_pct),
                    "change_from_open_pct": _rounded(found.change_from_open_pct),
                    "numbers_of": found.basis,
                    "session_volume": found.session_volume,
                    "relative_volume": _rounded(found.relative_volume),
                    "spread_pct": _rounded(found.spread_pct),
                    "score": _rounded(found.score),
                }
                for found in outcome.candidates
            ],
            "excluded": outcome.excluded,
            "why_empty": outcome.why_empty,
        }

    async def _record_scan(self, outcome: ScanOutcome) -> None:
        desk = self._desk
        await records.record_scan(
            desk.connection,
            agent_id=desk.context.agent_id,
            cycle_id=desk.context.cycle_id,
            candidates=[
                ScanRow(
                    symbol=found.symbol,
                    rank=found.rank,
                    price=found.price,
                    volume=found.session_volume,
                    change_pct=found.change_pct,
                    relative_volume=found.relative_volume,
                    score=found.score,
                )
                for found in outcome.candidates
            ],
            at=desk.clock.now(),
        )

    async def _quote(self, symbol: str) -> Mapping[str, object]:
        quotes = await self._desk.feed.quotes((symbol,))
        quote = quotes.get(symbol)
        if quote is None:
            return {
                "as_of": _time(self._desk.clock.now()),
                "symbol": symbol,
                "quote": None,
                "why": "no quote is known for this symbol",
            }
        instrument = await self._desk.broker.instrument(symbol)
        return {
            **_quote_answer(quote, self._desk.clock.now(), self._desk.settings.market.currency),
            "tradable": instrument is not None and instrument.tradable,
            "lot_size": None if instrument is None else instrument.lot_size,
        }

    async def portfolio(self) -> Mapping[str, object]:
        """Describe account, positions and open orders as Claude reads them."""
        snapshot = await self.look()
        account = snapshot.account
        return {
            "as_of": _time(snapshot.taken_at),
            "currency": account.currency,
            "cash": account.cash,
            "equity": account.equity,
            "buying_power": account.buying_power,
            "session_result": account.equity - self._desk.session_start_equity,
            "positions": [_position_answer(held, snapshot) for held in snapshot.positions],
            "open_orders": [_order_answer(order) for order in snapshot.open_orders],
            "unresolved_orders": list(snapshot.unresolved),
        }

    async def _trade(self, request: tools.ExecuteTrade) -> Mapping[str, object]:
        if request.side is tools.TradeSide.SELL:
            _require_no_prices(request)
            submissions = await self.orders.exit(
                request.symbol, quantity=request.quantity, why=request.reason
            )
        else:
            draft = entry_request(
                symbol=request.symbol,
                quantity=request.quantity,
                limit_price=_limit_price(request),
                stop_loss=request.stop_loss,
                take_profit=request.take_profit,
            )
            submissions = (await self.orders.enter(draft, why=request.reason),)
        return {
            "as_of": _time(self._desk.clock.now()),
            "currency": self._desk.context.currency,
            **_trade_answer(submissions),
        }

    async def _decide(self, request: tools.LogDecision) -> Mapping[str, object]:
        desk = self._desk
        decision_id = await records.record_decision(
            desk.connection,
            agent_id=desk.context.agent_id,
            cycle_id=desk.context.cycle_id,
            decision=request.decision,
            symbol=request.symbol,
            reasoning=request.reasoning,
            confidence=request.confidence,
            model=desk.settings.claude.model,
            at=desk.clock.now(),
        )
        self.decisions.append(f"{request.decision}: {request.reasoning}")
        return {"as_of": _time(desk.clock.now()), "recorded": decision_id}

    async def _instruments(self, symbols: Collection[str]) -> Mapping[str, Instrument]:
        found = [await self._desk.broker.instrument(symbol) for symbol in sorted(symbols)]
        return {instrument.symbol: instrument for instrument in found if instrument is not None}


def _limit_price(request: tools.ExecuteTrade) -> Decimal | None:
    """Say what is wrong with the pair of type and price before safety has to."""
    is_limit = request.order_type is tools.TradeType.LIMIT
    if is_limit is not (request.limit_price is not None):
        msg = f"a limit order needs limit_price and a market order has none, was {request.limit_price}"
        raise ToolError(msg)
    return request.limit_price


def _require_no_prices(request: tools.ExecuteTrade) -> None:
    """Refuse prices that an exit would silently ignore."""
    prices = (request.limit_price, request.stop_loss, request.take_profit)
    if request.order_type is not tools.TradeType.MARKET or any(p is not None for p in prices):
        given = ", ".join(str(price) for price in prices if price is not None) or "none"
        msg = (
            "a position is sold at the market: ask with order_type market and without limit_price,"
            f" stop_loss and take_profit, was {request.order_type} with prices {given}"
        )
        raise ToolError(msg)


def _trade_answer(submissions: Sequence[Submission]) -> Mapping[str, object]:
    """Tell what became of a trade; an exit through several orders lists them."""
    answers = [_submission_answer(submission) for submission in submissions]
    if len(answers) == 1:
        return answers[0]
    failures = {key: answer[key] for answer in answers for key in _FAILURES if key in answer}
    return {"orders": answers, **failures}


def _submission_answer(submission: Submission) -> Mapping[str, object]:
    match submission:
        case Refused():
            return {
                "status": "refused",
                "refused": [
                    {"code": reason.code, "text": reason.text}
                    for reason in submission.refusal.reasons
                ],
            }
        case NotPlaced():
            return {"status": "dry_run", "note": "safety agrees; a dry run places nothing"}
        case Placed():
            record = submission.record
            return {
                **_trouble(submission),
                "status": record.status,
                "duplicate_of_earlier_call": submission.duplicate,
                "client_order_id": record.client_order_id,
                "symbol": record.symbol,
                "side": record.side,
                "quantity": record.quantity,
                "filled_quantity": record.filled_quantity,
                "average_fill_price": record.filled_price,
                "limit_price": record.limit_price,
                "stop_loss": record.stop_loss,
                "take_profit": record.take_profit,
            }
        case _:
            assert_never(submission)


def _trouble(submission: Placed) -> Mapping[str, object]:
    """Say in a sentence that the broker does not have the order, or may not have it."""
    record = submission.record
    why = submission.problem or record.reject_reason or "see the answer to the first call"
    if record.status.is_unresolved:
        return {
            "error": f"the broker may or may not have this order, and it is not sent again: {why}"
        }
    if record.status in {OrderState.REJECTED, OrderState.NOT_PLACED}:
        return {"error": f"the broker does not have this order: {why}"}
    return {}


def _quote_answer(quote: Quote, now: datetime, currency: str) -> Mapping[str, object]:
    return {
        "symbol": quote.symbol,
        "currency": currency,
        "bid": quote.bid,
        "ask": quote.ask,
        "last": quote.last,
        "bid_and_ask_are": quote.source,
        "halted": quote.halted,
        "session_open": quote.session_open,
        "session_volume": quote.session_volume,
        "previous_close": quote.previous_close,
        "at": _time(quote.at),
        "age_seconds": (now - quote.at).total_seconds(),
    }


def _position_answer(held: Position, snapshot: Snapshot) -> Mapping[str, object]:
    stops = active_stops(held.symbol, snapshot)
    protected = sum(stop.remaining_quantity for stop in stops)
    gain = None if held.market_price is None else held.market_price - held.average_price
    return {
        "symbol": held.symbol,
        "quantity": held.quantity,
        "average_price": held.average_price,
        "market_price": held.market_price,
        "unrealized_pnl": None if gain is None else gain * held.quantity,
        "unrealized_pct": _percent(gain, held.average_price),
        "stops": [stop.stop_price for stop in stops],
        "shares_without_stop": max(Decimal(0), held.quantity - protected),
    }


def _percent(part: Decimal | None, of: Decimal) -> Decimal | None:
    return None if part is None or of <= 0 else _rounded(part / of * 100)


def _order_answer(order: Order) -> Mapping[str, object]:
    return {
        "symbol": order.symbol,
        "side": order.side,
        "type": order.order_type,
        "is_leg": order.side is Side.SELL and order.parent_order_id is not None,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "status": order.status,
        "since": _time(order.submitted_at),
    }


def _session_start(session: SessionHours | None, now: datetime) -> datetime:
    return now if session is None else min(session.opens_at, now)


def _rounded(number: Decimal | None) -> Decimal | None:
    return None if number is None else round(number, 2)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def compact(answer: Mapping[str, object]) -> str:
    """Write an answer as JSON without blanks; money keeps its exact digits."""
    return json.dumps(answer, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    """Write money as its exact text without needless zeros."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f") if value else "0"
    return str(value)
