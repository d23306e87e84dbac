"""Valid values with sensible defaults; a test names only what it is about."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.config import LimitSettings
from shared.models import (
    Account,
    Environment,
    Instrument,
    InstrumentKind,
    Mode,
    Order,
    OrderClass,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Position,
    Quote,
    QuoteSource,
    SessionHours,
    Side,
    Snapshot,
    TickBand,
    TimeInForce,
    Verdict,
)

OPEN = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
CLOSE = datetime(2026, 6, 15, 20, 0, tzinfo=UTC)
NOW = datetime(2026, 6, 15, 15, 0, tzinfo=UTC)
SESSION = SessionHours(exchange="XNYS", session_date=date(2026, 6, 15), parts=((OPEN, CLOSE),))
US_TICKS = (
    TickBand(from_price=Decimal(0), tick=Decimal("0.0001")),
    TickBand(from_price=Decimal(1), tick=Decimal("0.01")),
)


def limits(**changes: Any) -> LimitSettings:
    return LimitSettings(
        currency="USD",
        max_positions=15,
        max_position_value=Decimal(5000),
        daily_loss_limit=Decimal(2000),
    ).model_copy(update=changes)


def account(**changes: Any) -> Account:
    made = Account(
        account_id="PAPER-1",
        environment=Environment.PAPER,
        currency="USD",
        cash=Decimal(100_000),
        equity=Decimal(100_000),
        buying_power=Decimal(100_000),
        at=NOW,
    )
    return replace(made, **changes)


def instrument(symbol: str = "ACME", **changes: Any) -> Instrument:
    made = Instrument(
        symbol=symbol,
        name="Acme Anvils",
        exchange="XNYS",
        currency="USD",
        kind=InstrumentKind.STOCK,
        lot_size=1,
        ticks=US_TICKS,
        tradable=True,
    )
    return replace(made, **changes)


def quote(symbol: str = "ACME", **changes: Any) -> Quote:
    made = Quote(
        symbol=symbol,
        at=NOW - timedelta(seconds=5),
        bid=Decimal("99.99"),
        ask=Decimal("100.01"),
        last=Decimal("100.00"),
        source=QuoteSource.QUOTED,
    )
    return replace(made, **changes)


def position(symbol: str = "ACME", quantity: str | int = 10, **changes: Any) -> Position:
    made = Position(
        symbol=symbol,
        quantity=Decimal(quantity),
        available=Decimal(quantity),
        average_price=Decimal(100),
        currency="USD",
        market_price=Decimal(100),
    )
    return replace(made, **changes)


def order(broker_order_id: str = "B1", **changes: Any) -> Order:
    made = Order(
        broker_order_id=broker_order_id,
        client_order_id=f"cat-{broker_order_id}",
        symbol="ACME",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=10,
        status=OrderStatus.ACCEPTED,
        submitted_at=NOW - timedelta(minutes=5),
        updated_at=NOW - timedelta(minutes=5),
        limit_price=Decimal(100),
    )
    return replace(made, **changes)


def entry(**changes: Any) -> OrderRequest:
    made = OrderRequest(
        client_order_id="cat-entry",
        symbol="ACME",
        side=Side.BUY,
        quantity=10,
        order_type=OrderType.LIMIT,
        purpose=OrderPurpose.ENTRY,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.BRACKET,
        limit_price=Decimal("100.00"),
        stop_loss=Decimal("98.00"),
        take_profit=Decimal("104.00"),
    )
    return replace(made, **changes)


def sale(**changes: Any) -> OrderRequest:
    made = OrderRequest(
        client_order_id="cat-exit",
        symbol="ACME",
        side=Side.SELL,
        quantity=10,
        order_type=OrderType.MARKET,
        purpose=OrderPurpose.EXIT,
    )
    return replace(made, **changes)


def snapshot(**changes: Any) -> Snapshot:
    made = Snapshot(
        taken_at=NOW,
        mode=Mode.TRADE,
        session=SESSION,
        account=account(),
        positions=(),
        open_orders=(),
        verdict=Verdict.CLEAN,
        market_is_open=True,
        clock_drift_seconds=0.0,
        session_start_equity=Decimal(100_000),
        quotes={"ACME": quote()},
        instruments={"ACME": instrument()},
    )
    return replace(made, **changes)
