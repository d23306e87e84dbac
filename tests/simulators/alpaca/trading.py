"""The trading API: account, positions, orders, assets, clock, calendar, fills."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import cast
from uuid import UUID

from brokers.faults import Fault
from brokers.matching import BookOrder
from shared.errors import CalendarExhausted, OrderRejected
from shared.models import Fill, OrderRequest, OrderStatus, utc
from tests.simulators.alpaca import shapes
from tests.simulators.alpaca.orders import read_body, read_order, read_replacement
from tests.simulators.alpaca.refusals import (
    BAD_PARAMETER,
    FORBIDDEN,
    Standing,
    error,
    not_found,
    refusal,
    refuse,
    related,
)
from tests.simulators.alpaca.shapes import OPEN_STATUSES, Book
from tests.simulators.alpaca.simulation import Simulation
from tests.simulators.alpaca.wire import Answer, Json, Request

Endpoint = Callable[[Simulation, Request, Fault | None, str], Answer]
"""The last argument is what the path names."""
MOST_ORDERS = 500
MOST_ACTIVITIES = 100


def account(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/account."""
    del request, fault
    return Answer(
        body=shapes.account(
            simulation.exchange.account(),
            simulation.exchange.positions(),
            simulation.account_id,
            simulation.account_flags,
        )
    )


def positions(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/positions."""
    del request, fault
    now = simulation.clock.now()
    held = simulation.exchange.positions()
    return Answer(body=[shapes.position(p, simulation.market, now) for p in held])


def position(simulation: Simulation, request: Request, fault: Fault | None, name: str) -> Answer:
    """GET /v2/positions/{symbol_or_asset_id}."""
    del request, fault
    for held in simulation.exchange.positions():
        if name in {held.symbol, shapes.asset_id(held.symbol)}:
            return Answer(body=shapes.position(held, simulation.market, simulation.clock.now()))
    return error(404, 40410000, "position does not exist")


def orders(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/orders.

    A held leg is not open. Nested, legs stand in their parent and nowhere else, also where the parent has
    filled and so is not listed as open.
    """
    del fault
    query, book = request.query, simulation.book()
    limit = int(query.get("limit", 50))
    if not 1 <= limit <= MOST_ORDERS:
        raise refuse(422, BAD_PARAMETER, f"limit must be between 1 and {MOST_ORDERS}")
    found = [o for o in book.visible if _is_asked_for(book, o, request)]
    if query.get("direction", "desc") == "desc":
        found.reverse()
    return Answer(body=[book.order(o, nested=request.flag("nested")) for o in found[:limit]])


def order(simulation: Simulation, request: Request, fault: Fault | None, name: str) -> Answer:
    """GET /v2/orders/{order_id}."""
    del fault
    book = simulation.book()
    found = book.by_id(_uuid(name))
    if found is None:
        return not_found(f"order {name}")
    return Answer(body=book.order(found, nested=request.flag("nested")))


def order_by_client_id(
    simulation: Simulation, request: Request, fault: Fault | None, _: str
) -> Answer:
    """GET /v2/orders:by_client_order_id."""
    del fault
    book, client_order_id = simulation.book(), request.query.get("client_order_id", "")
    found = book.by_client_id(client_order_id)
    if found is None:
        return error(404, 40410000, f"order not found for {client_order_id}")
    return Answer(body=book.order(found, nested=True))


def post_order(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """POST /v2/orders: the answer shows the order as it was received, whatever became of it since."""
    _refuse_blocked(simulation)
    asked = read_order(read_body(request))
    with simulation.writing():
        try:
            placed = simulation.exchange.place(asked, fault=fault)
        except OrderRejected as e:
            return refusal(e.code, str(e), _standing(simulation, asked))
    return _received(simulation, placed.broker_order_id)


def patch_order(simulation: Simulation, request: Request, fault: Fault | None, name: str) -> Answer:
    """PATCH /v2/orders/{order_id}: a new order, with an id of its own."""
    _refuse_blocked(simulation)
    old = simulation.book().by_id(_uuid(name))
    if old is None:
        return not_found(f"order {name}")
    asked = read_replacement(read_body(request), old)
    with simulation.writing():
        try:
            placed = simulation.exchange.replace(asked, fault=fault)
        except OrderRejected as e:
            return refusal(e.code, str(e), _standing(simulation, asked))
    return _received(simulation, placed.broker_order_id)


def delete_order(
    simulation: Simulation, request: Request, fault: Fault | None, name: str
) -> Answer:
    """DELETE /v2/orders/{order_id}: 204, and the order says itself what became of it."""
    del request
    found = simulation.book().by_id(_uuid(name))
    if found is None:
        return not_found(f"order {name}")
    with simulation.writing():
        try:
            simulation.exchange.cancel(found.broker_order_id, fault=fault)
        except OrderRejected as e:
            return error(422, 42210000, str(e))
    return Answer(status=204)


def activities(simulation: Simulation, request: Request, fault: Fault | None, name: str) -> Answer:
    """GET /v2/account/activities/{activity_type}: fills one by one; nothing else happens here."""
    del fault
    query = request.query
    size = int(query.get("page_size", MOST_ACTIVITIES))
    if not 1 <= size <= MOST_ACTIVITIES:
        raise refuse(422, BAD_PARAMETER, f"page_size must be between 1 and {MOST_ACTIVITIES}")
    kinds = name or query.get("activity_types", "FILL")
    rows = _fills(simulation.book()) if "FILL" in kinds.split(",") else []
    found = [row for fill, row in rows if _happened(fill, request, simulation)]
    if query.get("direction", "desc") == "desc":
        found.reverse()
    token = query.get("page_token")
    if token is not None:
        known = [row["id"] for row in found]
        if token not in known:
            raise refuse(422, BAD_PARAMETER, f"invalid page_token: {token}")
        found = found[known.index(token) + 1 :]
    return Answer(body=found[:size])


def assets(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/assets."""
    del fault
    wanted = request.query.get("status")
    known = [shapes.asset(i) for _, i in sorted(simulation.market.instruments.items())]
    return Answer(body=[a for a in known if wanted in {None, "", a["status"]}])


def asset(simulation: Simulation, request: Request, fault: Fault | None, name: str) -> Answer:
    """GET /v2/assets/{symbol_or_asset_id}."""
    del request, fault
    for symbol, known in simulation.market.instruments.items():
        if name in {symbol, shapes.asset_id(symbol)}:
            return Answer(body=shapes.asset(known))
    return error(404, 40410000, f"asset not found for {name}")


def clock(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/clock, in New York's time."""
    del request, fault
    said, market = simulation.exchange.market_clock(), simulation.market
    body = {
        "timestamp": _local(simulation, said.at, nanoseconds=True),
        "is_open": said.is_open,
        "next_open": _local(simulation, market.next_open(said.at)),
        "next_close": _local(simulation, market.next_close(said.at)),
    }
    return Answer(body=body)


def calendar(simulation: Simulation, request: Request, fault: Fault | None, _: str) -> Answer:
    """GET /v2/calendar."""
    del fault
    table = simulation.market.calendar
    first = _date(request.query.get("start"), table.first_date)
    last = _date(request.query.get("end"), table.last_date)
    day, found = max(first, table.first_date), list[Json]()
    while day <= min(last, table.last_date):
        hours = table.session_on(day)
        if hours is not None:
            opens, closes = (
                moment.astimezone(table.timezone) for moment in (hours.opens_at, hours.closes_at)
            )
            found.append(
                {
                    "date": day.isoformat(),
                    "open": opens.strftime("%H:%M"),
                    "close": closes.strftime("%H:%M"),
                    "session_open": "0400",
                    "session_close": "2000",
                    "settlement_date": _settles(simulation, day).isoformat(),
                }
            )
        day += timedelta(days=1)
    return Answer(body=found)


def _received(simulation: Simulation, order_id: str) -> Answer:
    book = simulation.book()
    now = next(o for o in book.orders if o.broker_order_id == order_id)
    status = "pending_new" if book.is_open else "accepted"
    untouched = replace(book, fills={}, orders=tuple(_as_received(o, now) for o in book.orders))
    shown = untouched.order(_as_received(now, now), nested=True)
    legs = [{**leg, "status": "held"} for leg in cast("list[Json]", shown["legs"] or [])]
    return Answer(body=shown | {"status": status, "legs": legs or None})


def _as_received(order: BookOrder, new: BookOrder) -> BookOrder:
    """Return an order without what happened to it, where it came with the new one."""
    if new.broker_order_id not in {order.broker_order_id, order.parent_order_id}:
        return order
    return replace(
        order,
        status=OrderStatus.ACCEPTED,
        filled_quantity=0,
        filled_value=Decimal(0),
        updated_at=order.submitted_at,
    )


def _refuse_blocked(simulation: Simulation) -> None:
    flags = simulation.account_flags
    if flags.get("trade_suspended_by_user"):
        raise refuse(403, FORBIDDEN, "new orders are rejected by user request")
    if flags.get("account_blocked") or flags.get("trading_blocked"):
        raise refuse(403, FORBIDDEN, "account is not allowed to trade")


def _standing(simulation: Simulation, asked: OrderRequest) -> Standing:
    held = [p for p in simulation.exchange.positions() if p.symbol == asked.symbol]
    quote = simulation.market.quote(asked.symbol, simulation.clock.now())
    price = asked.limit_price or asked.stop_price or (quote and quote.ask) or Decimal(0)
    return Standing(
        symbol=asked.symbol,
        quantity=Decimal(asked.quantity),
        buying_power=simulation.exchange.account().buying_power,
        cost_basis=price * asked.quantity,
        existing=sum((p.quantity for p in held), Decimal(0)),
        available=sum((p.available for p in held), Decimal(0)),
        resting=related(simulation.book().orders, asked.symbol),
    )


def _is_asked_for(book: Book, order: BookOrder, request: Request) -> bool:
    query, is_leg = request.query, order.parent_order_id is not None
    if request.flag("nested") and is_leg and book.by_id(order.parent_order_id or "") is not None:
        return False
    is_open = book.status(order) in OPEN_STATUSES
    status = query.get("status", "open")
    symbols = query.get("symbols")
    after, until = read_moment(query.get("after")), read_moment(query.get("until"))
    before_order = _sequence(book, query.get("before_order_id"))
    after_order = _sequence(book, query.get("after_order_id"))
    return (
        (status == "all" or is_open == (status == "open"))
        and (not symbols or order.symbol in symbols.split(","))
        and query.get("side", order.side) == order.side
        and (after is None or order.submitted_at > after)
        and (until is None or order.submitted_at < until)
        and (before_order is None or order.sequence < before_order)
        and (after_order is None or order.sequence > after_order)
    )


def _sequence(book: Book, order_id: str | None) -> int | None:
    if order_id is None:
        return None
    named = book.by_id(_uuid(order_id))
    if named is None:
        raise refuse(422, BAD_PARAMETER, f"order not found: {order_id}")
    return named.sequence


def _fills(book: Book) -> list[tuple[Fill, Json]]:
    """Return every execution, oldest first."""
    rows: list[tuple[Fill, Json]] = []
    for order in book.visible:
        filled = 0
        for fill in book.fills.get(order.broker_order_id, ()):
            filled += fill.quantity
            rows.append((fill, shapes.activity(fill, order, filled)))
    return sorted(rows, key=lambda row: row[0].at)


def _happened(fill: Fill, request: Request, simulation: Simulation) -> bool:
    query = request.query
    after, until = read_moment(query.get("after")), read_moment(query.get("until"))
    day = query.get("date", "")[:10]
    own_day = simulation.market.calendar.exchange_date(fill.at).isoformat()
    return (
        (after is None or fill.at > after)
        and (until is None or fill.at < until)
        and day in {"", own_day}
        and query.get("order_id", fill.broker_order_id) == fill.broker_order_id
    )


def _settles(simulation: Simulation, day: date) -> date:
    try:
        return simulation.market.calendar.next_session(day).session_date
    except CalendarExhausted:
        return day + timedelta(days=1)


def _local(simulation: Simulation, at: datetime, *, nanoseconds: bool = False) -> str:
    local = at.astimezone(simulation.market.calendar.timezone)
    fraction = f".{local.microsecond:06}417" if nanoseconds else ""
    offset = local.strftime("%z")
    return f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{offset[:3]}:{offset[3:]}"


def _uuid(name: str) -> str:
    try:
        return str(UUID(name))
    except ValueError:
        raise refuse(422, BAD_PARAMETER, f"order_id is missing or invalid: {name}") from None


def read_moment(text: str | None) -> datetime | None:
    """Read a parameter that is a time; raise Refused."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refuse(422, BAD_PARAMETER, f"invalid timestamp: {text}") from None
    return utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _date(text: str | None, otherwise: date) -> date:
    return date.fromisoformat(text[:10]) if text else otherwise
