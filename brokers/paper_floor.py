"""The trading floor of the paper exchange: lets time pass over its books, bar by bar.

It decides when an order meets a price; matching decides which price, the ledger what that means.
"""

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.matching import (
    BookOrder,
    Execution,
    MarketReplay,
    Role,
    execution_at_quote,
    execution_in_bar,
    in_matching_order,
    volume_share,
)
from brokers.paper_ledger import Ledger
from shared.errors import BrokerUnavailable
from shared.models import (
    Bar,
    OrderStatus,
    Quote,
    SessionHours,
    Side,
    TimeInForce,
)

_MINUTE = timedelta(minutes=1)
_HALF_DAY = timedelta(hours=12)
_LOOK_AHEAD = 28
"""Half days searched for the next session: longer than any holiday."""
_BACKWARDS_TOLERANCE = timedelta(seconds=5)


class Floor:
    """Matches a ledger's orders against a market as time passes."""

    def __init__(self, replay: MarketReplay, volume_share_pct: Decimal) -> None:
        """Take the market, and the percentage of a minute's volume that one order may have."""
        self._replay: MarketReplay = replay
        self._volume_share_pct: Decimal = volume_share_pct
        self._last_session: SessionHours | None = None

    def advance(self, ledger: Ledger, now: datetime) -> None:
        """Bring the books from where they stand to `now`; stopped anywhere, it can simply run again.

        Bars come in order of time; within one, stops before other orders, then oldest first. DAY orders end at
        the close, after the last bar. A stop whose entry filled in a bar sees that bar too, since the price
        that reached it came after the fill; a target waits for the next one.
        Raises BrokerUnavailable when the clock stands before the books.
        """
        since = ledger.money.advanced_to
        if now < since - _BACKWARDS_TOLERANCE:
            msg = f"the exchange has come to {since.isoformat()}, the clock says {now.isoformat()}"
            raise BrokerUnavailable(msg)
        now = max(now, since)
        self._date_day_orders(ledger)
        for start, bars in self._minutes(ledger, since, now):
            _expire(ledger, start)
            self._trade_minute(ledger, bars)
        _expire(ledger, now)
        self._fill_late(ledger, now)
        if ledger.changed_orders or _minute(now) > _minute(since):
            ledger.move_to(now)

    def trade_at_once(self, ledger: Ledger, order_id: str, now: datetime) -> None:
        """Give a new order what the present quote offers; the volume is the last completed minute's."""
        order = ledger.orders[order_id]
        session = self.open_session(now)
        quote = self._replay.quote(order.symbol, now)
        if session is None or quote is None or not order.is_working:
            return
        minute = _minute(now)
        recent = self._replay.bars(order.symbol, minute - _MINUTE, minute)
        volume = sum(bar.volume for bar in recent if session.is_open(bar.start))
        execution = execution_at_quote(order, quote, self._share(order.symbol, volume))
        if execution is not None:
            self._fill(ledger, order, execution, at=now, session=session)

    def day_order_ends_at(self, at: datetime) -> datetime | None:
        """Return the close of the session under way or next to come; None while the calendar knows none."""
        for half_days in range(_LOOK_AHEAD):
            session = self._replay.session(at + half_days * _HALF_DAY)
            if session is not None and session.closes_at > at:
                return session.closes_at
        return None

    def _date_day_orders(self, ledger: Ledger) -> None:
        for order in ledger.open_orders():
            if order.time_in_force is TimeInForce.DAY and order.expires_at is None:
                ends_at = self.day_order_ends_at(order.submitted_at)
                if ends_at is not None:
                    ledger.put(replace(order, expires_at=ends_at))

    def _minutes(
        self, ledger: Ledger, since: datetime, now: datetime
    ) -> list[tuple[datetime, dict[str, Bar]]]:
        minutes: defaultdict[datetime, dict[str, Bar]] = defaultdict(dict)
        for symbol in sorted({order.symbol for order in ledger.open_orders()}):
            for bar in self._replay.bars(symbol, _minute(since) - _MINUTE, now):
                if bar.end > since:
                    minutes[bar.start][symbol] = bar
        return sorted(minutes.items())

    def _trade_minute(self, ledger: Ledger, bars: dict[str, Bar]) -> None:
        there = [order for order in ledger.open_orders() if order.symbol in bars]
        ready = [o for o in there if o.is_working and o.active_from <= bars[o.symbol].start]
        waiting = [o for o in there if not o.is_working and o.role is Role.STOP]
        for order in (*in_matching_order(ready), *waiting):
            self._trade_bar(ledger, order.broker_order_id, bars[order.symbol])

    def _trade_bar(self, ledger: Ledger, order_id: str, bar: Bar) -> None:
        order = ledger.orders[order_id]
        session = self.open_session(bar.start)
        if session is None or not order.is_working or _stop_is_selling(ledger, order):
            return
        execution = execution_in_bar(order, bar, self._share(order.symbol, bar.volume))
        if execution is not None and not self._is_halted(order.symbol, bar.start):
            self._fill(ledger, order, execution, at=bar.end, session=session)

    def _fill(
        self,
        ledger: Ledger,
        order: BookOrder,
        execution: Execution,
        *,
        at: datetime,
        session: SessionHours,
    ) -> None:
        """Book what cash or shares allow; an open order that they allow nothing is cancelled."""
        if order.side is Side.BUY:
            quantity = self._affordable(ledger, order, execution, at)
        else:
            available = ledger.available(order.symbol, without=order)
            quantity = min(execution.quantity, available)
        if quantity > 0:
            affordable = replace(execution, quantity=quantity)
            ledger.fill(order.broker_order_id, affordable, at=at, session=session)
            _stop_reserving_too_much(ledger, order.broker_order_id)
        elif order.status.is_open:
            ledger.close_group(order, OrderStatus.CANCELED, at)
            reason = f"nothing left to {order.side} with at {execution.price}"
            closed = ledger.orders[order.broker_order_id]
            ledger.put(replace(closed, reject_reason=reason))

    def _affordable(
        self, ledger: Ledger, order: BookOrder, execution: Execution, at: datetime
    ) -> int:
        cash = ledger.buying_power(without=order)
        lot = self._lot_size(order.symbol)
        quantity = max(0, min(execution.quantity, int(cash / execution.price) // lot * lot))
        while quantity > 0 and ledger.cost_to_buy(quantity, execution.price, at) > cash:
            quantity -= lot
        return max(0, quantity)

    def _fill_late(self, ledger: Ledger, now: datetime) -> None:
        """Carry out the fault "a fill after the cancel", within what cash and shares allow."""
        session = self.open_session(now)
        late = [o for o in ledger.orders.values() if o.late_fill_quantity and now > o.updated_at]
        for order in late:
            quote = self._replay.quote(order.symbol, now)
            taken = None if quote is None else _taken(quote, order.side)
            price = order.limit_price or taken
            if session is None or price is None:
                continue
            done = replace(order, late_fill_quantity=0)
            ledger.put(done)
            execution = Execution(price=price, quantity=order.late_fill_quantity)
            self._fill(ledger, done, execution, at=now, session=session)

    def _share(self, symbol: str, volume: int) -> int:
        return volume_share(volume, self._volume_share_pct, self._lot_size(symbol))

    def _lot_size(self, symbol: str) -> int:
        instrument = self._replay.instrument(symbol)
        return 1 if instrument is None else instrument.lot_size

    def _is_halted(self, symbol: str, at: datetime) -> bool:
        quote = self._replay.quote(symbol, at)
        return quote is not None and quote.halted

    def open_session(self, at: datetime) -> SessionHours | None:
        """Return the session in whose continuous trading `at` lies, unless the exchange closed unplanned."""
        if self._replay.is_closed(at):
            return None
        last = self._last_session
        if last is None or not last.opens_at <= at < last.closes_at:
            last = self._last_session = self._replay.session(at)
        return last if last is not None and last.is_open(at) else None


def _stop_reserving_too_much(ledger: Ledger, order_id: str) -> None:
    """Let a buy whose price ran away hold nothing back any more, so that other orders keep what is theirs."""
    if ledger.buying_power() < 0:
        ledger.put(replace(ledger.orders[order_id], reserve_price=None))


def _expire(ledger: Ledger, at: datetime) -> None:
    for order in ledger.open_orders():
        if order.expires_at is not None and order.expires_at <= at:
            ledger.put(order.closed(OrderStatus.EXPIRED, order.expires_at))


def _stop_is_selling(ledger: Ledger, order: BookOrder) -> bool:
    """Whether the order is a target whose stop has been touched and is being carried out."""
    sibling = ledger.sibling(order) if order.role is Role.TARGET else None
    return sibling is not None and sibling.triggered


def _taken(quote: Quote, side: Side) -> Decimal | None:
    return (quote.ask if side is Side.BUY else quote.bid) or quote.last


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
