"""What has to hold after anything went wrong, read from the exchange's own books and from the database."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from brokers.paper_exchange import PaperExchange
from shared.database.connection import Connection
from shared.models import Order, OrderStatus, OrderType, Position, Side
from shared.order_life import state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Both sides at one moment, each as it would be asked by somebody who owes nothing to the desk."""

    orders: tuple[Order, ...]
    """Every order that the exchange ever had."""
    held: dict[str, int]
    recorded: dict[str, tuple[str, str, int]]
    """Symbol, state and filled shares of each order of ours, by the broker's id."""
    intents: frozenset[str]
    """Client order ids that were written down."""
    positions: dict[str, int]
    unresolved: frozenset[str]
    """Symbols with an order whose outcome is not known."""
    locked: frozenset[str]
    alerts: tuple[str, ...]

    def violations(self) -> list[str]:
        """Say what does not hold; empty when all does."""
        return [
            *self._orders_without_an_intent(),
            *self._orders_placed_twice(),
            *self._sold_more_than_bought(),
            *self._naked_without_an_alarm(),
            *self._differences(),
        ]

    @property
    def parents(self) -> tuple[Order, ...]:
        """Orders that were sent, without the legs that the exchange made for them."""
        return tuple(order for order in self.orders if order.parent_order_id is None)

    def naked(self, symbol: str) -> int:
        """Shares that no stop in force covers."""
        stops = sum(
            order.remaining_quantity
            for order in self.orders
            if order.symbol == symbol
            and order.order_type is OrderType.STOP
            and order.status.is_open
            and order.status is not OrderStatus.HELD
        )
        return max(0, self.held.get(symbol, 0) - stops)

    def _orders_without_an_intent(self) -> list[str]:
        ours = [order for order in self.parents if order.client_order_id is not None]
        return [
            f"order {order.client_order_id} was sent and never written down"
            for order in ours
            if order.client_order_id not in self.intents
        ]

    def _orders_placed_twice(self) -> list[str]:
        counts = Counter(order.client_order_id for order in self.parents)
        return [f"intent {name} is {count} orders" for name, count in counts.items() if count > 1]

    def _sold_more_than_bought(self) -> list[str]:
        fills = [fill for order in self.orders for fill in order.fills]
        sold, bought = (
            _by_symbol((fill.symbol, fill.quantity) for fill in fills if fill.side is side)
            for side in (Side.SELL, Side.BUY)
        )
        return [f"more {symbol} was sold than bought" for symbol, _ in (sold - bought).items()]

    def _naked_without_an_alarm(self) -> list[str]:
        return [
            f"{self.naked(symbol)} shares of {symbol} have no stop, and nobody was told"
            for symbol in self.held
            if self.naked(symbol) and not self._alarmed(symbol)
        ]

    def _alarmed(self, symbol: str) -> bool:
        return any(symbol in alert for alert in self.alerts)

    def _differences(self) -> list[str]:
        excused = self.locked | {symbol for symbol in self.unresolved if self._alarmed(symbol)}
        return [
            f"{symbol}: {what}"
            for symbol, what in (*self._different_positions(), *self._different_orders())
            if symbol not in excused
        ]

    def _different_positions(self) -> list[tuple[str, str]]:
        return [
            (symbol, f"the broker holds {self.held.get(symbol, 0)}, the database {ours}")
            for symbol in sorted(self.held.keys() | self.positions.keys())
            if self.held.get(symbol, 0) != (ours := self.positions.get(symbol, 0))
        ]

    def _different_orders(self) -> list[tuple[str, str]]:
        return [
            (order.symbol, f"{order.broker_order_id} is {theirs}, recorded as {ours}")
            for order in self.orders
            if order.status is not OrderStatus.HELD
            and (theirs := _as_recorded(order))
            != (ours := self.recorded.get(order.broker_order_id))
        ]


async def read_truth(exchange: PaperExchange, connection: Connection, agent_id: str) -> Truth:
    """Ask both sides."""
    listed, held = exchange.orders(only_open=False), exchange.positions()
    return await truth_of(listed, held, connection, agent_id)


async def truth_of(
    listed: tuple[Order, ...],
    held: Iterable[Position],
    connection: Connection,
    agent_id: str,
) -> Truth:
    """Ask the database about what a broker's books say."""
    rows = await connection.fetch("SELECT * FROM orders WHERE agent_id = $1", agent_id)
    positions = await connection.fetch(
        "SELECT symbol, quantity FROM positions WHERE agent_id = $1 AND status = 'open'", agent_id
    )
    locks = await connection.fetch(
        "SELECT symbol FROM symbol_locks WHERE agent_id = $1 AND released_at IS NULL", agent_id
    )
    alerts = await connection.fetch("SELECT subject, body FROM alerts ORDER BY alert_id")
    return Truth(
        orders=listed,
        held={position.symbol: int(position.quantity) for position in held},
        recorded={
            row["broker_order_id"]: (row["symbol"], row["status"], row["filled_quantity"])
            for row in rows
        },
        intents=frozenset(row["client_order_id"] for row in rows if row["client_order_id"]),
        positions={row["symbol"]: row["quantity"] for row in positions},
        unresolved=frozenset(
            row["symbol"] for row in rows if row["status"] in {"intent", "submitting", "unknown"}
        ),
        locked=frozenset(row["symbol"] for row in locks),
        alerts=tuple(f"{row['subject']}: {row['body']}" for row in alerts),
    )


def entries(orders: Sequence[Order]) -> tuple[Order, ...]:
    """Purchases that were sent."""
    return tuple(order for order in orders if order.side is Side.BUY)


def _as_recorded(order: Order) -> tuple[str, str, int]:
    state = state_of(order.status, filled_quantity=order.filled_quantity)
    return order.symbol, state.value, order.filled_quantity


def _by_symbol(amounts: Iterable[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for symbol, quantity in amounts:
        total[symbol] += quantity
    return total
