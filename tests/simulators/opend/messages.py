"""The protobuf messages of the installed moomoo-api, without the client around them.

Importing the client takes over signals, writes logs into the home directory and loads pandas. Its message
modules import each other by their bare names, so their folder goes on the path of this process.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.simulators.opend.wire import Protocol

FAILED = -1
_FILES = {
    Protocol.INIT_CONNECT: "InitConnect",
    Protocol.GET_GLOBAL_STATE: "GetGlobalState",
    Protocol.NOTIFY: "Notify",
    Protocol.KEEP_ALIVE: "KeepAlive",
    Protocol.GET_ACC_LIST: "Trd_GetAccList",
    Protocol.UNLOCK_TRADE: "Trd_UnlockTrade",
    Protocol.SUB_ACC_PUSH: "Trd_SubAccPush",
    Protocol.GET_FUNDS: "Trd_GetFunds",
    Protocol.GET_POSITION_LIST: "Trd_GetPositionList",
    Protocol.GET_MAX_TRD_QTYS: "Trd_GetMaxTrdQtys",
    Protocol.GET_ORDER_LIST: "Trd_GetOrderList",
    Protocol.PLACE_ORDER: "Trd_PlaceOrder",
    Protocol.MODIFY_ORDER: "Trd_ModifyOrder",
    Protocol.UPDATE_ORDER: "Trd_UpdateOrder",
    Protocol.GET_ORDER_FILL_LIST: "Trd_GetOrderFillList",
    Protocol.GET_HISTORY_ORDER_LIST: "Trd_GetHistoryOrderList",
    Protocol.GET_HISTORY_ORDER_FILL_LIST: "Trd_GetHistoryOrderFillList",
    Protocol.GET_ORDER_FEE: "Trd_GetOrderFee",
    Protocol.GET_FLOW_SUMMARY: "Trd_FlowSummary",
    Protocol.SUB: "Qot_Sub",
    Protocol.GET_BASIC_QOT: "Qot_GetBasicQot",
    Protocol.REQUEST_HISTORY_KL: "Qot_RequestHistoryKL",
    Protocol.GET_STATIC_INFO: "Qot_GetStaticInfo",
    Protocol.GET_SECURITY_SNAPSHOT: "Qot_GetSecuritySnapshot",
    Protocol.STOCK_FILTER: "Qot_StockFilter",
    Protocol.REQUEST_TRADE_DATE: "Qot_RequestTradeDate",
    Protocol.GET_MARKET_STATE: "Qot_GetMarketState",
}


def module(name: str) -> Any:
    """Return a message module by the name of its .proto file."""
    client = find_spec("moomoo")
    assert client is not None
    assert client.origin is not None
    folder = str(Path(client.origin).parent / "common" / "pb")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"{name}_pb2")


def request(protocol: Protocol) -> Any:
    """Return an empty request."""
    return module(_FILES[protocol]).Request()


def response(protocol: Protocol) -> Any:
    """Return a good answer to be filled."""
    made = module(_FILES[protocol]).Response()
    made.retType = 0
    return made


def failure(protocol: Protocol, reason: str, ret_type: int = FAILED) -> Any:
    """Return the answer that a request failed."""
    made = response(protocol)
    made.retType, made.retMsg = ret_type, reason
    return made


class Refused(Exception):
    """OpenD says no, and this is its text."""


trading: Any = module("Trd_Common")
quoting: Any = module("Qot_Common")
filtering: Any = module("Qot_StockFilter")
common: Any = module("Common")
