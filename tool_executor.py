"""Carries out one parsed tool call and answers Claude with compact JSON: units, times and ages in it.

Decides nothing: orders go to the desk, which asks safety. Nothing Claude sends gets past `tools.parse`.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import assert_never

import tool_answers
import tools
from brokers.desk import OrderDesk
from brokers.drafts import entry_request
from brokers.submissions import why_not_resting
from lookout import Lookout, Workplace
from market.indicators import technicals
from market.patterns import detect
from market.scanner import ScanOutcome, scan
from market.session_bars import session_bars
from market.timeframes import Aggregation, Timeframe, aggregate
from shared import log
from shared.agent_loop import ToolCall, ToolOutcome
from shared.config import LimitSettings
from shared.database import records
from shared.database.records import ScanRow
from shared.errors import ENDS_THE_RUN, CatalystError, ToolError
from shared.journal.entries import DecisionMade, ToolCalled
from shared.models import Account, SessionHours, Snapshot
from tool_answers import compact, time

logger = log.get(__name__)

MAX_ALERTS_PER_CYCLE = 3


class ToolExecutor:
    """Carries out the calls of one cycle and keeps a row of each."""

    def __init__(self, place: Workplace) -> None:
        """Open the order desk over the cycle's parts."""
        self._place: Workplace = place
        self.lookout: Lookout = Lookout(place)
        self.tools_called: list[str] = []
        self.decisions: list[str] = []
        self._alerts_sent: int = 0
        self._closed_all: bool = False
        self.orders: OrderDesk = OrderDesk(
            broker=place.broker,
            books=place.books,
            clock=place.clock,
            limits=place.settings.limits,
            settings=place.settings.orders,
            context=place.context,
            look=self.look,
        )

    async def look(self, symbols: Collection[str] = ()) -> Snapshot:
        """Take one picture of account and market."""
        return await self.lookout.look(symbols)

    async def sell_what_is_held(self, *, why: str) -> tuple[list[str], list[str]]:
        """Sell every position of ours that no sale is under way for: (sold, still without a sale)."""
        if self._place.context.dry_run:
            return [], []
        wanted = await self.lookout.without_a_sale()
        sold = [symbol for symbol in wanted if await self.sell(symbol, why=why) is None]
        await self.orders.synchronise()
        return sold, await self.lookout.without_a_sale()

    async def sell(self, symbol: str, *, why: str) -> str | None:
        """Ask for the sale of a position; say why it did not come about, or None when it is under way."""
        try:
            submissions = await self.orders.exit(symbol, why=why)
        except ENDS_THE_RUN:
            raise
        except CatalystError as error:
            logger.warning("not_sold", symbol=symbol, why=str(error))
            return str(error)
        return "; ".join(filter(None, map(why_not_resting, submissions))) or None

    async def carry_out(self, call: ToolCall) -> ToolOutcome:
        """Do what Claude asked, or say readably why not.

        Only the loss of the database and of the lock end the cycle, and not before the call is kept.
        """
        self.tools_called.append(call.name)
        started_at, started = self._place.clock.now(), monotonic()
        loss: CatalystError | None = None
        try:
            request = tools.parse(call.name, call.arguments, self._place.mode)
            answer = await self._answer(request)
            failed = not tool_answers.FAILURES.isdisjoint(answer)
            outcome = ToolOutcome(content=compact(answer), is_error=failed)
        except ENDS_THE_RUN as error:
            loss, outcome = error, ToolOutcome(content=str(error), is_error=True)
        except CatalystError as error:
            outcome = ToolOutcome(content=str(error), is_error=True)
        except Exception:
            logger.exception("tool_failed", tool=call.name)
            outcome = ToolOutcome(content=f"{call.name} failed inside Catalyst", is_error=True)
        await self._place.books.keep(
            ToolCalled(
                cycle_id=self._place.context.cycle_id,
                sequence=len(self.tools_called),
                tool_use_id=call.tool_use_id,
                name=call.name,
                arguments=call.arguments,
                result=outcome.content,
                is_error=outcome.is_error,
                started_at=started_at,
                duration_seconds=monotonic() - started,
            )
        )
        if loss is not None:
            raise loss
        return outcome

    async def _answer(self, request: tools.ToolRequest) -> Mapping[str, object]:
        """Answer with the time first, so that Claude always knows of when a thing is true."""
        answered = await self._answer_about_market(request)
        return {"as_of": time(self._place.clock.now()), **answered}

    async def _answer_about_market(self, request: tools.ToolRequest) -> Mapping[str, object]:
        match request:
            case tools.ScanMarket():
                return await self._scan(request)
            case tools.GetQuote():
                return await self._quote(request.symbol)
            case tools.GetTechnicals():
                return await self._technicals(request)
            case tools.DetectPatterns():
                return await self._patterns(request)
            case tools.GetNews():
                return await self._news(request)
            case _:
                return await self._answer_about_account(request)

    async def _answer_about_account(self, request: tools.AccountRequest) -> Mapping[str, object]:
        match request:
            case tools.CheckRisk():
                return await self._check(request)
            case tools.GetPortfolio():
                return await self.portfolio()
            case tools.ExecuteTrade():
                return await self._trade(request)
            case tools.ClosePosition():
                return await self._close(request)
            case tools.CloseAll():
                return await self._close_all(request)
            case tools.SendAlert():
                return await self._alert(request)
            case tools.LogDecision():
                return await self._decide(request)
            case _:
                assert_never(request)

    async def _scan(self, request: tools.ScanMarket) -> Mapping[str, object]:
        place = self._place
        symbols, now = await self._scanned(request.index), place.clock.now()
        quotes = await place.feed.quotes(symbols)
        opens = _session_start(place.session, now)
        outcome = scan(
            quotes=quotes,
            instruments=await self.lookout.instruments(symbols),
            bars=await session_bars(place.feed, symbols, quotes, start=opens, end=now),
            baselines=await place.feed.baselines(symbols),
            session=place.session,
            now=now,
            limit=request.limit,
            max_quote_age_seconds=place.settings.limits.max_quote_age_seconds,
        )
        await self._record_scan(outcome)
        return {
            "currency": place.settings.market.currency,
            "data": place.feed.description.label,
            "candidates": [tool_answers.candidate(found) for found in outcome.candidates],
            "excluded": outcome.excluded,
            "why_empty": outcome.why_empty,
        }

    async def _scanned(self, index: str | None) -> tuple[str, ...]:
        """Symbols of a configured list, or all that the feed knows."""
        known = await self._place.feed.symbols()
        if index is None:
            return known
        lists = self._place.settings.market.indices
        if index not in lists:
            msg = f"there is no index {index}; there are {', '.join(lists) or 'none'}"
            raise ToolError(msg)
        return tuple(symbol for symbol in known if symbol in lists[index])

    async def _record_scan(self, outcome: ScanOutcome) -> None:
        place = self._place
        await records.record_scan(
            place.connection,
            agent_id=place.context.agent_id,
            cycle_id=place.context.cycle_id,
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
            at=place.clock.now(),
        )

    async def _quote(self, symbol: str) -> Mapping[str, object]:
        place = self._place
        quote = (await place.feed.quotes((symbol,))).get(symbol)
        if quote is None:
            return {"symbol": symbol, "quote": None, "why": "no quote is known for this symbol"}
        instrument = (await place.broker.instruments((symbol,))).get(symbol)
        return {
            **tool_answers.quote(quote, place.clock.now(), place.settings.market.currency),
            "tradable": instrument is not None and instrument.tradable,
            "lot_size": None if instrument is None else instrument.lot_size,
        }

    async def _technicals(self, request: tools.GetTechnicals) -> Mapping[str, object]:
        bars = await self._bars(request.symbol, request.timeframe)
        values = asdict(technicals(bars.complete, session=self._place.session))
        return {
            "symbol": request.symbol,
            "timeframe": request.timeframe,
            "currency": self._place.settings.market.currency,
            "last_bar_ended_at": values.pop("as_of"),
            **values,
        }

    async def _patterns(self, request: tools.DetectPatterns) -> Mapping[str, object]:
        bars = await self._bars(request.symbol, request.timeframe)
        return {
            "symbol": request.symbol,
            "timeframe": request.timeframe,
            "currency": self._place.settings.market.currency,
            "bars_used": len(bars.complete),
            "patterns": [asdict(pattern) for pattern in detect(bars.complete)],
        }

    async def _bars(self, symbol: str, timeframe: tools.Timeframe) -> Aggregation:
        place = self._place
        now, known_from = place.clock.now(), place.sessions[0].opens_at
        minutes = (await place.feed.bars((symbol,), start=known_from, end=now)).get(symbol)
        if not minutes:
            msg = f"no bars are known for {symbol} since {time(known_from)}"
            raise ToolError(msg)
        return aggregate(
            minutes,
            Timeframe(timeframe.value),
            sessions=place.sessions,
            known_from=known_from,
            known_until=now,
        )

    async def _news(self, request: tools.GetNews) -> Mapping[str, object]:
        place = self._place
        now = place.clock.now()
        if not place.feed.description.has_news:
            return {"symbol": request.symbol, "headlines": [], "why_empty": "this feed has no news"}
        seen = await place.feed.headlines(
            (request.symbol,), since=now - timedelta(hours=request.hours)
        )
        return {
            "symbol": request.symbol,
            "notice": tool_answers.NOTICE,
            "headlines": tool_answers.headlines(seen, now),
        }

    async def portfolio(self) -> Mapping[str, object]:
        """Describe account, positions, open orders and what is left of the day's limits."""
        snapshot = await self.look()
        ours = {record.symbol: record for record in await self.lookout.open_positions()}
        account, limits = snapshot.account, self._place.settings.limits
        result = _session_result(account, snapshot.session_start_equity)
        return {
            "currency": account.currency,
            "cash": account.cash,
            "equity": account.equity,
            "buying_power": account.buying_power,
            "session_result": result,
            "daily_loss_warning": _is_warned(result, account, limits),
            "entries_left_today": max(
                0, limits.max_trades_per_day - sum(snapshot.entries_today.values())
            ),
            "trading_state": snapshot.state,
            "state_reasons": list(snapshot.halts),
            "positions": [
                tool_answers.position(held, snapshot, ours.get(held.symbol))
                for held in snapshot.positions
            ],
            "open_orders": [tool_answers.order(order) for order in snapshot.open_orders],
            "unresolved_orders": list(snapshot.unresolved),
        }

    async def _check(self, request: tools.CheckRisk) -> Mapping[str, object]:
        if request.side is tools.TradeSide.SELL:
            refusals = await self.orders.advise_exit(request.symbol, request.quantity)
        else:
            draft = entry_request(
                symbol=request.symbol,
                quantity=request.quantity,
                limit_price=request.entry_price,
                stop_loss=request.stop_loss,
                take_profit=request.take_profit,
                capabilities=self._place.broker.capabilities,
            )
            refusals = await self.orders.advise_entry(draft)
        reasons = [reason for refusal in refusals for reason in tool_answers.refusal(refusal)]
        note = "advice only: the same rules decide again when an order is asked for"
        return {"approved": not reasons, "reasons": reasons, "note": note}

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
                capabilities=self._place.broker.capabilities,
            )
            submissions = (await self.orders.enter(draft, why=request.reason),)
        return {"currency": self._place.context.currency, **tool_answers.trade(submissions)}

    async def _close(self, request: tools.ClosePosition) -> Mapping[str, object]:
        if request.symbol not in await self.lookout.positions_of_ours():
            msg = f"no position of yours in {request.symbol} is open"
            raise ToolError(msg)
        submissions = await self.orders.exit(request.symbol, why=request.reason)
        return {"currency": self._place.context.currency, **tool_answers.trade(submissions)}

    async def _close_all(self, request: tools.CloseAll) -> Mapping[str, object]:
        session, now = self._place.session, self._place.clock.now()
        if session is None or not session.is_open(now):
            raise ToolError("close_all works only while the exchange is open")
        if self._closed_all:
            raise ToolError("close_all was called in this cycle already")
        self._closed_all = True
        await self.orders.alert(
            "Claude closed all positions", request.reason, key=f"all-{self._place.context.cycle_id}"
        )
        sold, left = await self.sell_what_is_held(why=request.reason)
        return {"sold": sold, **({"error": f"still held: {', '.join(left)}"} if left else {})}

    async def _alert(self, request: tools.SendAlert) -> Mapping[str, object]:
        if self._alerts_sent >= MAX_ALERTS_PER_CYCLE:
            msg = f"{MAX_ALERTS_PER_CYCLE} alerts were sent in this cycle already"
            raise ToolError(msg)
        self._alerts_sent += 1
        await self.orders.alert(
            request.subject,
            request.message,
            key=f"claude-{self._place.context.cycle_id}-{self._alerts_sent}",
            severity=request.severity.value,
        )
        return {"queued": True, "note": "it goes to the operator's fixed address"}

    async def _decide(self, request: tools.LogDecision) -> Mapping[str, object]:
        place = self._place
        decision_id = await place.books.keep(
            DecisionMade(
                agent_id=place.context.agent_id,
                cycle_id=place.context.cycle_id,
                decision=request.decision,
                symbol=request.symbol,
                reasoning=request.reasoning,
                confidence=request.confidence,
                model=place.settings.claude.model,
                at=place.clock.now(),
            )
        )
        self.decisions.append(f"{request.decision}: {request.reasoning}")
        return {"recorded": decision_id}


def _session_result(account: Account, start: Decimal | None) -> Decimal | None:
    """What the session earned so far; None where either end of it is not a known number."""
    if start is None or not account.equity.is_finite():
        return None
    return account.equity - start


def _is_warned(result: Decimal | None, account: Account, limits: LimitSettings) -> bool | None:
    if result is None:
        return None
    return -result >= (account.equity - result) * limits.daily_loss_warning_pct / 100


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


def _session_start(session: SessionHours | None, now: datetime) -> datetime:
    return now if session is None else min(session.opens_at, now)
