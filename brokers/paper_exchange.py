"""The paper exchange: one account at an exchange of our own, played against any recorded market.

Synchronous, and it takes any request: an adapter or a simulator puts its own face before it.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar, cast

from brokers.faults import Fault, FaultKind, Operation
from brokers.fees import has_schedule
from brokers.matching import BookOrder, Execution, MarketReplay
from brokers.paper_floor import Floor
from brokers.paper_intake import Intake
from brokers.paper_ledger import Ledger
from brokers.paper_rules import RejectCode
from shared.clock import Clock
from shared.errors import OrderRejected
from shared.models import (
    Account,
    Environment,
    Fill,
    Instrument,
    MarketClock,
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    Position,
    Side,
    TimeInForce,
)

_Answer = TypeVar("_Answer")
_PRICE_STEP = Decimal("0.000001")


class PaperExchange:
    """One account at an exchange that plays recorded or generated bars.

    Before anything else, each call brings the books up to the clock, in one transaction with what it does
    itself. Modelled: spread, volume, gaps, halts, sessions, order groups, shares and cash held by resting
    orders, fees. A new marketable order trades at the quote at once, up to its share of the last completed
    minute's volume; the rest, like every resting order, trades on the bars that begin after it was sent.
    Orders sent while the market is closed rest until it opens. A GTC order never ends by itself.

    Not modelled: settlement (proceeds can be spent at once), margin, short selling, auctions, queues, market
    impact. Dividends and splits happen when a caller says so. Cash is exact: price times quantity unrounded, fees in their own steps.

    As at real brokers, a bracket's legs wait (HELD) until the entry has filled completely; an entry that is
    cancelled or expires after a partial fill takes its legs along, and what filled is then unprotected: to
    notice is the agent's duty. Cancelling one leg cancels the other. To leave a position, replace its target
    at a marketable price: it fills, and only then the stop goes.
    """

    def __init__(
        self,
        store: Path,
        replay: MarketReplay,
        clock: Clock,
        *,
        account_id: str,
        currency: str,
        starting_cash: Decimal,
        volume_share_pct: Decimal,
    ) -> None:
        """Open the account's store, or make it; `starting_cash` counts only for a new one.

        Raises ConfigError for a store of another account, currency or a newer version; BrokerUnavailable;
        ValueError for a currency without a fee schedule.
        """
        from brokers.paper_store import PaperStore  # keeps sqlite3 out of runs that trade elsewhere

        if not has_schedule(currency):
            msg = f"no fee schedule for an account in {currency}"
            raise ValueError(msg)
        self._replay: MarketReplay = replay
        self._clock: Clock = clock
        self._floor: Floor = Floor(replay, volume_share_pct)
        self._intake: Intake = Intake(replay, self._floor)
        self._last_answers: dict[tuple[object, ...], object] = {}
        self._store: PaperStore = PaperStore(
            store,
            account_id=account_id,
            currency=currency,
            starting_cash=starting_cash,
            opened_at=clock.now(),
        )

    def account(self, *, fault: Fault | None = None) -> Account:
        """Read the account; equity takes each holding at its last price, else mid, previous close, cost."""
        return self._answer((Operation.ACCOUNT,), fault, self._account)

    def positions(self, *, fault: Fault | None = None) -> tuple[Position, ...]:
        """Read the holdings, by symbol."""
        if _is(fault, FaultKind.EMPTY_READ):
            return ()
        return self._answer((Operation.POSITIONS,), fault, self._positions)

    def orders(
        self, *, only_open: bool, since: datetime | None = None, fault: Fault | None = None
    ) -> tuple[Order, ...]:
        """Read orders, as `Broker.orders` has it."""

        def read(ledger: Ledger, now: datetime) -> tuple[Order, ...]:
            del now
            self._store.save(ledger)
            rows = ledger.open_orders() if only_open else self._store.orders(since)
            return tuple(self._shown(order) for order in _parents_first(rows))

        if _is(fault, FaultKind.EMPTY_READ):
            return ()
        return self._answer((Operation.ORDERS, only_open, since), fault, read)

    def order_by_client_id(
        self, client_order_id: str, *, fault: Fault | None = None
    ) -> Order | None:
        """Look an order up by the id that its sender gave it, or that the exchange gave a leg."""

        def read(ledger: Ledger, now: datetime) -> Order | None:
            del now
            self._store.save(ledger)
            found = self._store.order_by_client_id(client_order_id)
            return None if found is None else self._shown(found)

        if _is(fault, FaultKind.EMPTY_READ):
            return None
        return self._answer((Operation.ORDER_BY_CLIENT_ID, client_order_id), fault, read)

    def order(self, broker_order_id: str) -> Order | None:
        """Look an order up by the exchange's own id."""
        with self._operation() as (ledger, _):
            self._store.save(ledger)
            found = self._store.order(broker_order_id)
            return None if found is None else self._shown(found)

    def instruments(
        self, symbols: Collection[str], *, fault: Fault | None = None
    ) -> Mapping[str, Instrument]:
        """Describe the symbols that are known."""
        if _is(fault, FaultKind.EMPTY_READ):
            return {}
        found = map(self._replay.instrument, symbols)
        return {one.symbol: one for one in found if one is not None}

    def market_clock(self) -> MarketClock:
        """Say whether the exchange trades now; a closure that nobody planned counts, a symbol's halt not."""
        now = self._clock.now()
        return MarketClock(is_open=self._floor.open_session(now) is not None, at=now)

    def place(self, request: OrderRequest, *, fault: Fault | None = None) -> Order:
        """Take an order. Raises OrderRejected with a `RejectCode`; nothing rests then."""
        if request.replaces is not None:
            msg = f"an order that replaces {request.replaces} is not placed but replaced"
            raise OrderRejected(msg, code=RejectCode.UNSUPPORTED)
        with self._operation() as (ledger, now):
            known = self._store.order_by_client_id(request.client_order_id) is not None
            order = self._intake.accept(
                ledger, request, now, id_known=known, fill_cap=_fill_cap(fault)
            )
            return self._settled(ledger, order, now)

    def replace(self, request: OrderRequest, *, fault: Fault | None = None) -> Order:
        """Put an order in the place of the open one that `request.replaces` names, of the same type and side.

        The quantity is what the new order is to trade; a leg's must be what remains of it. The new order takes
        over the group, and there also the time in force. Raises OrderRejected; the old order rests on then.
        """
        with self._operation() as (ledger, now):
            self._store.save(ledger)
            old = None if request.replaces is None else self._store.order(request.replaces)
            if old is None:
                msg = f"order not found: {request.replaces}"
                raise OrderRejected(msg, code=RejectCode.ORDER_NOT_FOUND)
            known = self._store.order_by_client_id(request.client_order_id) is not None
            order = self._intake.accept(
                ledger, request, now, id_known=known, fill_cap=_fill_cap(fault), old=old
            )
            return self._settled(ledger, order, now)

    def cancel(self, broker_order_id: str, *, fault: Fault | None = None) -> Order:
        """Cancel an open order, and with it the open orders of its group, at once.

        Raises OrderRejected for one that is unknown or closed.
        """
        with self._operation() as (ledger, now):
            self._store.save(ledger)
            order = self._store.order(broker_order_id)
            if order is None:
                msg = f"order not found: {broker_order_id}"
                raise OrderRejected(msg, code=RejectCode.ORDER_NOT_FOUND)
            if not order.status.is_open:
                msg = f'order is already in "{order.status}" state'
                raise OrderRejected(msg, code=RejectCode.NOT_CANCELABLE)
            _cancel(ledger, order, now, fault)
            self._store.save(ledger)
            return self._shown(ledger.orders[broker_order_id])

    def receive(self, amount: Decimal) -> None:
        """Let money come from outside: a dividend, interest, a deposit; below 0 a fee or a withdrawal."""
        with self._operation() as (ledger, _):
            ledger.receive(amount)

    def split(self, symbol: str, *, new: int, old: int) -> None:
        """Make `new` shares of every `old` that are held; resting orders stay as they are.

        The market's price is the recording's business. Raises ValueError where no whole share is left.
        """
        with self._operation() as (ledger, _):
            ledger.split(symbol, new, old)

    def trade_by_somebody_else(
        self, symbol: str, side: Side, quantity: int, price: Decimal
    ) -> Order:
        """Let somebody else trade in the account: a person in the broker's app, or a liquidation.

        A sale that resting orders stand in the way of cancels them first, as a liquidation does. Raises
        ValueError outside every session, and for a sale of more than is held.
        """
        with self._operation() as (ledger, now):
            session = self._replay.session(now)
            if session is None or (side is Side.SELL and quantity > ledger.position(symbol)):
                msg = f"somebody else cannot {side} {quantity} {symbol} at {now.isoformat()}"
                raise ValueError(msg)
            if side is Side.SELL and quantity > ledger.available(symbol):
                for order in ledger.open_orders(symbol):
                    ledger.close_group(order, OrderStatus.CANCELED, now)
            order = _order_of_somebody_else(ledger, symbol, side, quantity, now)
            ledger.put(order)
            execution = Execution(price=price, quantity=quantity)
            ledger.fill(order.broker_order_id, execution, at=now, session=session)
            self._store.save(ledger)
            return self._shown(ledger.orders[order.broker_order_id])

    def close(self) -> None:
        """Close the store; safe to call twice."""
        self._store.close()

    @contextmanager
    def _operation(self) -> Generator[tuple[Ledger, datetime]]:
        now = self._clock.now()
        with self._store.transaction() as ledger:
            self._floor.advance(ledger, now)
            yield ledger, max(now, ledger.money.advanced_to)

    def _answer(
        self,
        question: tuple[object, ...],
        fault: Fault | None,
        read: Callable[[Ledger, datetime], _Answer],
    ) -> _Answer:
        if _is(fault, FaultKind.STALE_READ) and question in self._last_answers:
            return cast("_Answer", self._last_answers[question])
        with self._operation() as (ledger, now):
            answer = read(ledger, now)
        self._last_answers[question] = answer
        return answer

    def _settled(self, ledger: Ledger, order: BookOrder, now: datetime) -> Order:
        self._floor.trade_at_once(ledger, order.broker_order_id, now)
        self._store.save(ledger)
        return self._shown(ledger.orders[order.broker_order_id])

    def _account(self, ledger: Ledger, now: datetime) -> Account:
        values = (
            held.quantity * (self._market_price(held.symbol, now) or held.average_price)
            for held in ledger.holdings.values()
        )
        return Account(
            account_id=ledger.money.account_id,
            environment=Environment.PAPER,
            currency=ledger.money.currency,
            cash=ledger.money.cash,
            equity=ledger.money.cash + sum(values, Decimal(0)),
            buying_power=ledger.buying_power(),
            at=now,
        )

    def _positions(self, ledger: Ledger, now: datetime) -> tuple[Position, ...]:
        return tuple(
            Position(
                symbol=held.symbol,
                quantity=Decimal(held.quantity),
                available=Decimal(ledger.available(held.symbol)),
                average_price=held.average_price,
                currency=ledger.money.currency,
                market_price=self._market_price(held.symbol, now),
            )
            for held in sorted(ledger.holdings.values(), key=lambda held: held.symbol)
        )

    def _market_price(self, symbol: str, now: datetime) -> Decimal | None:
        quote = self._replay.quote(symbol, now)
        return None if quote is None else quote.last or quote.mid or quote.previous_close

    def _shown(self, order: BookOrder) -> Order:
        legs = () if order.group_id is None else self._store.legs(order.broker_order_id)
        return shown_order(
            order,
            legs=tuple(self._shown(leg) for leg in legs),
            fills=self._store.fills(order.broker_order_id) if order.filled_quantity else (),
        )


def shown_order(order: BookOrder, *, legs: tuple[Order, ...], fills: tuple[Fill, ...]) -> Order:
    """Return an order of the book as the outside sees it."""
    average = None
    if order.filled_quantity:
        average = (order.filled_value / order.filled_quantity).quantize(_PRICE_STEP)
    return Order(
        broker_order_id=order.broker_order_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        quantity=order.quantity,
        status=order.status,
        submitted_at=order.submitted_at,
        updated_at=order.updated_at,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        filled_quantity=order.filled_quantity,
        average_fill_price=average,
        parent_order_id=order.parent_order_id,
        replaced_by=order.replaced_by,
        reject_reason=order.reject_reason,
        legs=legs,
        fills=fills,
    )


def _order_of_somebody_else(
    ledger: Ledger, symbol: str, side: Side, quantity: int, now: datetime
) -> BookOrder:
    sequence, order_id = ledger.next_ids()
    return BookOrder(
        sequence=sequence,
        broker_order_id=order_id,
        client_order_id=order_id,
        symbol=symbol,
        side=side,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        quantity=quantity,
        status=OrderStatus.ACCEPTED,
        submitted_at=now,
        updated_at=now,
        active_from=now,
    )


def _cancel(ledger: Ledger, order: BookOrder, now: datetime, fault: Fault | None) -> None:
    if _is(fault, FaultKind.STUCK_CANCEL) and order.is_working:
        ledger.put(replace(order, status=OrderStatus.CANCEL_PENDING, updated_at=now))
        return
    ledger.close_group(order, OrderStatus.CANCELED, now)
    if fault is not None and fault.kind is FaultKind.LATE_FILL:
        wanted = fault.quantity or order.remaining_quantity
        late = min(wanted, order.remaining_quantity)
        closed = ledger.orders[order.broker_order_id]
        ledger.put(replace(closed, late_fill_quantity=late))


def _parents_first(orders: Iterable[BookOrder]) -> list[BookOrder]:
    """Sort by age of the group, then parents before legs: a replaced parent is younger than its legs."""
    orders = list(orders)
    began: dict[str, int] = {}
    for order in orders:
        key = order.group_id or order.broker_order_id
        began[key] = min(order.sequence, began.get(key, order.sequence))
    return sorted(
        orders,
        key=lambda o: (
            began[o.group_id or o.broker_order_id],
            o.parent_order_id is not None,
            o.sequence,
        ),
    )


def _fill_cap(fault: Fault | None) -> int | None:
    if fault is None or fault.kind is not FaultKind.PARTIAL_FILLS:
        return None
    return fault.quantity or 0


def _is(fault: Fault | None, kind: FaultKind) -> bool:
    return fault is not None and fault.kind is kind
