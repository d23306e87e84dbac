"""Connecting, staying connected, and what OpenD says about itself and its users' accounts."""

import secrets
from typing import Any

from brokers.faults import Fault
from tests.simulators.opend.accounts import ACCOUNTS
from tests.simulators.opend.messages import common, response
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Protocol, Request

VERSION, BUILD = 1011, 7108
USER_ID = 71_000_417
KEEP_ALIVE_SECONDS = 10
_CLOSED = 6
_READY, _FORCED_OUT = 10, 11


def init_connect(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """1001: what a client has to say first; a key of its own for every connection."""
    del simulation, fault
    answer = response(Protocol.INIT_CONNECT)
    said = answer.s2c
    said.serverVer, said.loginUserID, said.connID = VERSION, USER_ID, request.connection
    said.connAESKey, said.keepAliveInterval = secrets.token_hex(8), KEEP_ALIVE_SECONDS
    if request.c2s.packetEncAlgo == common.PacketEncAlgo_AES_CBC:
        said.aesCBCiv = secrets.token_hex(8)
    said.userAttribution = common.UserAttribution_HK
    return answer


def keep_alive(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """1004."""
    del request, fault
    answer = response(Protocol.KEEP_ALIVE)
    answer.s2c.time = int(simulation.clock.now().timestamp())
    return answer


def get_global_state(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """1002: also who is logged out is told that."""
    del fault
    now = simulation.clock.now()
    answer = response(Protocol.GET_GLOBAL_STATE)
    said = answer.s2c
    said.marketHK = simulation.market.state(now)
    said.marketUS = said.marketSH = said.marketSZ = said.marketHKFuture = _CLOSED
    said.qotLogined = said.trdLogined = simulation.logged_in
    said.serverVer, said.serverBuildNo = VERSION, BUILD
    said.time, said.localTime = int(now.timestamp()), now.timestamp()
    said.programStatus.type = _READY if simulation.logged_in else _FORCED_OUT
    said.connID = request.connection
    return answer


def get_acc_list(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2001: every account of every market."""
    del simulation, request, fault
    answer = response(Protocol.GET_ACC_LIST)
    answer.s2c.accList.extend(account.message() for account in ACCOUNTS)
    return answer


def sub_acc_push(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    """2008: the connection itself remembers whose orders it is told."""
    del simulation, request, fault
    answer = response(Protocol.SUB_ACC_PUSH)
    answer.s2c.SetInParent()
    return answer
