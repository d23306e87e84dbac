"""Orders and fills as Alpaca writes them, in the shape of its specification's examples."""

from typing import Any
from uuid import NAMESPACE_DNS, uuid5

Json = dict[str, Any]


def uuid_of(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))


def order(name: str = "one", /, **changed: Any) -> Json:
    """Write a resting order to buy 10 shares at 150; `at` is its minute after 14:00."""
    at = f"2026-06-15T14:{changed.pop('at', 0):02}:00.412345678Z"
    return {
        "id": uuid_of(name),
        "client_order_id": f"client-{name}",
        "created_at": at,
        "updated_at": at,
        "submitted_at": at,
        "filled_at": None,
        "expired_at": None,
        "canceled_at": None,
        "failed_at": None,
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": uuid_of("asset"),
        "symbol": "AAPL",
        "asset_class": "us_equity",
        "notional": None,
        "qty": "10",
        "filled_qty": "0",
        "filled_avg_price": None,
        "order_class": "",
        "order_type": "limit",
        "type": "limit",
        "side": "buy",
        "time_in_force": "gtc",
        "limit_price": "150",
        "stop_price": None,
        "status": "new",
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
    } | changed


def bracket(name: str = "bracket", *, at: int = 0, filled: bool = True) -> tuple[Json, Json, Json]:
    """Write an entry with its target and its stop, as the flat list has them."""
    group = {"group_id": uuid_of(name), "order_class": "bracket", "at": at}
    entry = order(name, group_role="entry", **group)
    if filled:
        entry |= {"status": "filled", "filled_qty": "10", "filled_avg_price": "150"}
    target = order(f"{name}-target", group_role="take_profit", side="sell", **group)
    target |= {"client_order_id": uuid_of(f"{name}-t"), "limit_price": "170"}
    stop = order(f"{name}-stop", group_role="stop_loss", side="sell", type="stop", **group)
    stop |= {"client_order_id": uuid_of(f"{name}-s"), "limit_price": None, "stop_price": "140"}
    target["status"], stop["status"] = ("new", "held") if filled else ("held", "held")
    return entry, target, stop


def fill(of: Json, quantity: int, price: str, number: int = 1) -> Json:
    """Write one execution of an order."""
    return {
        "id": f"20260615140100000::{uuid_of(of['id'] + str(number))}",
        "activity_type": "FILL",
        "transaction_time": f"2026-06-15T14:01:{number:02}.981482Z",
        "type": "partial_fill",
        "price": price,
        "qty": str(quantity),
        "side": of["side"],
        "symbol": of["symbol"],
        "leaves_qty": "0",
        "order_id": of["id"],
        "cum_qty": str(quantity),
        "order_status": "filled",
    }


class Ledger:
    """Answers for lists of orders and fills as Alpaca does, pages and filters included."""

    def __init__(self, *orders: Json, fills: tuple[Json, ...] = ()) -> None:
        self.orders: list[Json] = list(orders)
        self.fills: list[Json] = list(fills)

    def answer(self, path: str, query: dict[str, str]) -> Any:
        """Return what GET gives."""
        if path == "/v2/account/activities/FILL":
            return self._page_of_fills(query)
        if path == "/v2/orders":
            return self._page_of_orders(query)
        raise AssertionError(path)

    def _page_of_orders(self, query: dict[str, str]) -> list[Json]:
        closed = {"filled", "canceled", "expired", "replaced", "rejected", "held"}
        found = [
            one
            for one in sorted(self.orders, key=lambda o: o["submitted_at"], reverse=True)
            if (query["status"] == "all" or one["status"] not in closed)
            and _exact(query.get("after", "0")) < _exact(one["submitted_at"])
            and _exact(one["submitted_at"]) < _exact(query.get("until", "9"))
        ]
        if query["nested"] == "true":
            found = [one for one in found if one.get("nested_in") is None]
        return found[: int(query["limit"])]

    def _page_of_fills(self, query: dict[str, str]) -> list[Json]:
        found = [f for f in self.fills if query.get("order_id", f["order_id"]) == f["order_id"]]
        found = [
            f for f in found if _exact(f["transaction_time"]) > _exact(query.get("after", "0"))
        ]
        token = query.get("page_token")
        ids = [f["id"] for f in found]
        begin = 0 if token is None else ids.index(token) + 1
        return found[begin : begin + int(query["page_size"])]


def _exact(moment: str) -> tuple[str, str]:
    """Return a time in UTC so that nanoseconds compare."""
    seconds, _, fraction = moment.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")
