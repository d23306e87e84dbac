"""The paper exchange's memory: one SQLite file, apart from anything the agent stores.

One operation is one transaction: killed anywhere, all of it is there afterwards or nothing. It knows no
trading rules.
"""

import json
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from brokers.matching import BookOrder, Role
from brokers.paper_ledger import Holding, Ledger, Money
from shared.errors import BrokerUnavailable, ConfigError, OrderOutcomeUnknown
from shared.models import Fee, Fill, OrderStatus, OrderType, Side, TimeInForce

STORE_VERSION = 1

_SCHEMA = """
CREATE TABLE account (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    account_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    cash TEXT NOT NULL,
    realised TEXT NOT NULL,
    fees_paid TEXT NOT NULL,
    advanced_to TEXT NOT NULL,
    next_sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE holdings (
    symbol TEXT PRIMARY KEY,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    cost TEXT NOT NULL
) STRICT;
CREATE TABLE orders (
    sequence INTEGER PRIMARY KEY,
    broker_order_id TEXT NOT NULL UNIQUE,
    client_order_id TEXT NOT NULL UNIQUE,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    order_type TEXT NOT NULL,
    time_in_force TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    status TEXT NOT NULL,
    submitted_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    active_from TEXT NOT NULL,
    role TEXT NOT NULL,
    group_id TEXT,
    parent_order_id TEXT,
    limit_price TEXT,
    stop_price TEXT,
    reserve_price TEXT,
    filled_quantity INTEGER NOT NULL CHECK (filled_quantity BETWEEN 0 AND quantity),
    filled_value TEXT NOT NULL,
    triggered INTEGER NOT NULL,
    expires_at TEXT,
    replaced_by TEXT,
    reject_reason TEXT,
    fill_cap INTEGER,
    late_fill_quantity INTEGER NOT NULL,
    matters INTEGER NOT NULL
) STRICT;
CREATE INDEX orders_that_matter ON orders (matters) WHERE matters;
CREATE INDEX orders_by_parent ON orders (parent_order_id);
CREATE TABLE fills (
    fill_id TEXT PRIMARY KEY,
    broker_order_id TEXT NOT NULL REFERENCES orders (broker_order_id),
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price TEXT NOT NULL,
    at TEXT NOT NULL,
    fees TEXT NOT NULL
) STRICT;
CREATE INDEX fills_by_order ON fills (broker_order_id);
"""

_PUT_ORDER = """
INSERT INTO orders VALUES (
    :sequence, :broker_order_id, :client_order_id, :symbol, :side, :order_type, :time_in_force,
    :quantity, :status, :submitted_at, :updated_at, :active_from, :role, :group_id,
    :parent_order_id, :limit_price, :stop_price, :reserve_price, :filled_quantity, :filled_value,
    :triggered, :expires_at, :replaced_by, :reject_reason, :fill_cap, :late_fill_quantity, :matters
) ON CONFLICT (sequence) DO UPDATE SET
    quantity = excluded.quantity,
    status = excluded.status,
    updated_at = excluded.updated_at,
    active_from = excluded.active_from,
    parent_order_id = excluded.parent_order_id,
    reserve_price = excluded.reserve_price,
    filled_quantity = excluded.filled_quantity,
    filled_value = excluded.filled_value,
    triggered = excluded.triggered,
    expires_at = excluded.expires_at,
    replaced_by = excluded.replaced_by,
    reject_reason = excluded.reject_reason,
    late_fill_quantity = excluded.late_fill_quantity,
    matters = excluded.matters
"""


class PaperStore:
    """The file of one paper account, open."""

    def __init__(
        self,
        path: Path,
        *,
        account_id: str,
        currency: str,
        starting_cash: Decimal,
        opened_at: datetime,
        busy_timeout_seconds: float = 5.0,
    ) -> None:
        """Open the file, or make it with an account that holds `starting_cash`.

        Another process at work in it is waited for. Raises ConfigError for a file of another account,
        currency or of a newer version, BrokerUnavailable for one that cannot be opened.
        """
        self._path: Path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection: sqlite3.Connection = sqlite3.connect(
                path, timeout=busy_timeout_seconds, isolation_level=None
            )
            self._prepare(account_id, currency, starting_cash, opened_at)
        except (OSError, sqlite3.Error) as e:
            msg = f"the paper store {path} cannot be opened: {e}"
            raise BrokerUnavailable(msg) from e

    @contextmanager
    def transaction(self) -> Generator[Ledger]:
        """Load the books, alone; write what changed when the block ends, or nothing if it raises.

        Raises BrokerUnavailable when the file cannot be read or locked in time, OrderOutcomeUnknown when the
        commit itself failed.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            ledger = self._load()
            yield ledger
            self.save(ledger)
        except sqlite3.Error as e:
            self._roll_back()
            msg = f"the paper store {self._path} could not be used: {e}"
            raise BrokerUnavailable(msg) from e
        except BaseException:
            self._roll_back()
            raise
        self._commit()

    def save(self, ledger: Ledger) -> None:
        """Write the rows that changed, inside the transaction, so that lookups see them."""
        run = self._connection.execute
        if ledger.money_changed:
            self._connection.execute(
                "UPDATE account SET cash = :cash, realised = :realised, fees_paid = :fees_paid,"
                " advanced_to = :advanced_to, next_sequence = :next_sequence",
                _columns(ledger.money),
            )
        for symbol, held in ledger.changed_holdings:
            run("DELETE FROM holdings WHERE symbol = ?", (symbol,))
            if held is not None:
                run("INSERT INTO holdings VALUES (:symbol, :quantity, :cost)", _columns(held))
        for order in ledger.changed_orders:
            matters = order.status.is_open or order.late_fill_quantity > 0
            run(_PUT_ORDER, {**_columns(order), "matters": int(matters)})
        for fill in ledger.new_fills:
            run(
                "INSERT INTO fills VALUES"
                " (:fill_id, :broker_order_id, :symbol, :side, :quantity, :price, :at, :fees)",
                {**_columns(fill), "fees": _fees_text(fill.fees)},
            )
        ledger.saved()

    def order(self, broker_order_id: str) -> BookOrder | None:
        """Return one order, open or closed."""
        return self._one_order("SELECT * FROM orders WHERE broker_order_id = ?", broker_order_id)

    def order_by_client_id(self, client_order_id: str) -> BookOrder | None:
        """Return the order that ever used this id."""
        return self._one_order("SELECT * FROM orders WHERE client_order_id = ?", client_order_id)

    def legs(self, broker_order_id: str) -> tuple[BookOrder, ...]:
        """Return the present legs of an order, without those that were replaced."""
        return self._orders(
            "SELECT * FROM orders WHERE parent_order_id = ? AND status <> 'replaced' ORDER BY sequence",
            broker_order_id,
        )

    def orders(self, since: datetime | None) -> tuple[BookOrder, ...]:
        """Return every order, oldest first, without those that were closed before `since`."""
        orders = self._orders("SELECT * FROM orders ORDER BY sequence")
        return tuple(o for o in orders if o.status.is_open or not since or o.updated_at >= since)

    def fills(self, broker_order_id: str) -> tuple[Fill, ...]:
        """Return an order's executions, oldest first."""
        rows = self._rows(
            "SELECT * FROM fills WHERE broker_order_id = ? ORDER BY rowid", broker_order_id
        )
        return tuple(_fill(row) for row in rows)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def _prepare(
        self, account_id: str, currency: str, starting_cash: Decimal, opened_at: datetime
    ) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            version = int(self._rows("PRAGMA user_version")[0]["user_version"])
            if version == 0:
                self._create(account_id, currency, starting_cash, opened_at)
            self._require_own(version, account_id, currency)
            self._connection.execute("COMMIT")
        except ConfigError:
            self._connection.close()
            raise

    def _create(
        self, account_id: str, currency: str, starting_cash: Decimal, opened_at: datetime
    ) -> None:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._connection.execute(statement)
        self._connection.execute(
            "INSERT INTO account VALUES (1, ?, ?, ?, '0', '0', ?, 1)",
            (account_id, currency, str(starting_cash), opened_at.isoformat()),
        )
        self._connection.execute(f"PRAGMA user_version = {STORE_VERSION}")

    def _require_own(self, version: int, account_id: str, currency: str) -> None:
        if version > STORE_VERSION:
            msg = f"{self._path} has store version {version}, this program knows {STORE_VERSION}"
            raise ConfigError(msg)
        money = self._money()
        if (money.account_id, money.currency) != (account_id, currency):
            msg = (
                f"{self._path} belongs to account {money.account_id} in {money.currency},"
                f" asked for was {account_id} in {currency}"
            )
            raise ConfigError(msg)

    def _load(self) -> Ledger:
        orders = self._orders("SELECT * FROM orders WHERE matters ORDER BY sequence")
        return Ledger(
            money=self._money(),
            holdings=[
                _holding(row) for row in self._rows("SELECT * FROM holdings ORDER BY symbol")
            ],
            orders=orders,
            fills=[fill for order in orders for fill in self._fills_if_any(order)],
        )

    def _fills_if_any(self, order: BookOrder) -> tuple[Fill, ...]:
        return self.fills(order.broker_order_id) if order.filled_quantity else ()

    def _money(self) -> Money:
        row = self._rows("SELECT * FROM account")[0]
        del row["one"]
        return Money(**_decoded(row))

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as e:
            self._roll_back()
            msg = f"the paper store {self._path} may not have kept the operation: {e}"
            raise OrderOutcomeUnknown(msg) from e

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _one_order(self, sql: str, key: str) -> BookOrder | None:
        return next(iter(self._orders(sql, key)), None)

    def _orders(self, sql: str, *keys: str) -> tuple[BookOrder, ...]:
        return tuple(_order(row) for row in self._rows(sql, *keys))

    def _rows(self, sql: str, *keys: str) -> list[dict[str, Any]]:
        cursor = self._connection.execute(sql, keys)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


_DECODERS: Mapping[str, type[Decimal] | type[StrEnum] | type[bool]] = {
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "status": OrderStatus,
    "role": Role,
    "triggered": bool,
} | dict.fromkeys(
    (
        "cash",
        "realised",
        "fees_paid",
        "cost",
        "price",
        "limit_price",
        "stop_price",
        "reserve_price",
        "filled_value",
    ),
    Decimal,
)
_TIMES = frozenset({"advanced_to", "submitted_at", "updated_at", "active_from", "expires_at", "at"})


def _columns(row: BookOrder | Fill | Holding | Money) -> dict[str, str | int | None]:
    return {field.name: _encoded(getattr(row, field.name)) for field in fields(row)}


def _encoded(value: object) -> str | int | None:
    match value:
        case None:
            return None
        case int():
            return int(value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _decode(name, value) for name, value in row.items()}


def _decode(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return datetime.fromisoformat(value)
    return _DECODERS[name](value) if name in _DECODERS else value


def _order(row: dict[str, Any]) -> BookOrder:
    del row["matters"]
    return BookOrder(**_decoded(row))


def _holding(row: dict[str, Any]) -> Holding:
    return Holding(**_decoded(row))


def _fill(row: dict[str, Any]) -> Fill:
    row["fees"] = tuple(
        Fee(name=name, amount=Decimal(amount), currency=currency)
        for name, amount, currency in json.loads(row["fees"])
    )
    return Fill(**_decoded(row))


def _fees_text(fees: tuple[Fee, ...]) -> str:
    return json.dumps([[fee.name, str(fee.amount), fee.currency] for fee in fees])
