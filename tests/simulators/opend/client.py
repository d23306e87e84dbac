"""The real client, loaded so that it leaves this process as it was, and what tests ask it."""

import importlib
import logging
import queue
import signal
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from Crypto.PublicKey import RSA

from tests.simulators.opend.accounts import PAPER
from tests.simulators.opend.venue import OpenDVenue

QUERY_SECONDS = 1.0
PAPER_ACCOUNT: dict[str, Any] = {"trd_env": "SIMULATE", "acc_id": PAPER.account_id}


class Failed(Exception):
    """The client says that a call failed, with this text."""


def ok(answer: tuple[Any, ...]) -> Any:
    """Return what a call has to say; raise Failed where it failed."""
    if answer[0] != 0:
        raise Failed(answer[1])
    return answer[1]


def rows(answer: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return ok(answer).to_dict("records")


@cache
def moomoo() -> Any:
    """Import the client: it takes over Ctrl-C, logs to the console, and its threads outlive everything.

    It writes into the folder that HOME names, so that has to be a test's own.
    """
    handler = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("moomoo")
        importlib.import_module("moomoo.common.network_manager").NetManager.default()
    signal.signal(signal.SIGINT, handler)
    logging.getLogger("FTConsoleLog").addHandler(logging.NullHandler())
    module.SysConfig.enable_console_log(False)
    module.SysConfig.set_all_thread_daemon(True)
    return module


def use_key(key_file: Path | None) -> None:
    """Give the client a key, for the whole process; it would read the file itself and never close it."""
    config = moomoo().SysConfig
    config.set_init_rsa_file("" if key_file is None else str(key_file))
    config.RSA_OBJ = None if key_file is None else RSA.import_key(key_file.read_text())


def open_trading(venue: OpenDVenue, **others: Any) -> Any:
    """Return a trading context; where OpenD is not there it is not READY."""
    return _open("OpenSecTradeContext", venue, filter_trdmarket="HK", **others)


def open_quotes(venue: OpenDVenue, **others: Any) -> Any:
    """Return a quote context."""
    return _open("OpenQuoteContext", venue, **others)


def is_ready(context: Any) -> bool:
    """Whether it is connected and was let in."""
    return context.status == moomoo().common.constant.ContextStatus.READY


def place(context: Any, price: float, quantity: int = 100, **others: Any) -> dict[str, Any]:
    """Buy 0700 with a limit, or what the other words say; return the row that comes back."""
    words: dict[str, Any] = {"code": "HK.00700", "trd_side": "BUY", **PAPER_ACCOUNT, **others}
    (row,) = rows(context.place_order(price=price, qty=quantity, **words))
    return row


def order(context: Any, order_id: str) -> dict[str, Any]:
    """Read one of today's orders."""
    (row,) = rows(context.order_list_query(order_id=order_id, **PAPER_ACCOUNT))
    return row


def ask_everything(client: Any, order_id: str) -> None:
    """Ask one thing after another, until one fails; cancelling is the last."""
    words = PAPER_ACCOUNT
    ok(client.get_global_state())
    ok(client.accinfo_query(**words))
    ok(client.position_list_query(**words))
    ok(client.order_list_query(**words))
    ok(client.history_order_list_query(**words))
    ok(client.acctradinginfo_query("NORMAL", "HK.00700", 100.0, **words))
    ok(client.modify_order("CANCEL", order_id, 0, 0, **words))


def hear_of_orders(context: Any) -> "queue.Queue[dict[str, Any]]":
    """Return where the rows arrive that are pushed from now on."""
    base: Any = moomoo().TradeOrderHandlerBase
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    def on_recv_rsp(self: Any, pushed: Any) -> tuple[int, Any]:
        answer: tuple[int, Any] = base.on_recv_rsp(self, pushed)
        told.put(rows(answer)[0])
        return answer

    handler: Any = type("Handler", (base,), {"on_recv_rsp": on_recv_rsp})
    context.set_handler(handler())
    return told


def _open(kind: str, venue: OpenDVenue, **others: Any) -> Any:
    """Connect once: the client itself would try for ever."""
    library = moomoo()
    base: Any = getattr(library, kind)

    def connect_once(self: Any) -> int:
        ret: int = base._init_connect_sync(self)
        if ret != 0:
            self._auto_reconnect = False
        return ret

    bounded: Any = type(f"Bounded{kind}", (base,), {"_init_connect_sync": connect_once})
    context = bounded(host=venue.host, port=venue.port, **others)
    context.set_sync_query_connect_timeout(QUERY_SECONDS)
    context._query_timeout = QUERY_SECONDS
    return context
