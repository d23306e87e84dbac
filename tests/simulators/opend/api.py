"""The door of the simulated OpenD: what is asked, how often, and what goes wrong with the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from brokers.faults import Fault, FaultKind, Operation
from tests.simulators.opend import history, quotes, session, stock_filter, trading
from tests.simulators.opend.messages import Refused, failure, response
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import Protocol, Request, Wire, WireFault

Handler = Callable[[Simulation, Request, Fault | None], Any]
TIMED_OUT = -100
_CHANGE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The body of an answer, and what becomes of it on the wire."""

    message: Any
    body: bytes
    fault: WireFault | None = None


HANDLERS: Mapping[Protocol, Handler] = {
    Protocol.INIT_CONNECT: session.init_connect,
    Protocol.KEEP_ALIVE: session.keep_alive,
    Protocol.GET_GLOBAL_STATE: session.get_global_state,
    Protocol.GET_ACC_LIST: session.get_acc_list,
    Protocol.SUB_ACC_PUSH: session.sub_acc_push,
    Protocol.GET_FUNDS: trading.get_funds,
    Protocol.GET_POSITION_LIST: trading.get_position_list,
    Protocol.GET_ORDER_LIST: trading.get_order_list,
    Protocol.GET_HISTORY_ORDER_LIST: trading.get_history_order_list,
    Protocol.PLACE_ORDER: trading.place_order,
    Protocol.MODIFY_ORDER: trading.modify_order,
    Protocol.GET_MAX_TRD_QTYS: trading.get_max_trd_qtys,
    Protocol.SUB: quotes.sub,
    Protocol.GET_BASIC_QOT: quotes.get_basic_qot,
    Protocol.REQUEST_HISTORY_KL: history.request_history_kl,
    Protocol.GET_STATIC_INFO: quotes.get_static_info,
    Protocol.GET_SECURITY_SNAPSHOT: quotes.get_security_snapshot,
    Protocol.STOCK_FILTER: stock_filter.stock_filter,
    Protocol.REQUEST_TRADE_DATE: quotes.request_trade_date,
    Protocol.GET_MARKET_STATE: quotes.get_market_state,
    Protocol.UNLOCK_TRADE: trading.not_on_paper,
    Protocol.GET_ORDER_FILL_LIST: trading.not_on_paper,
    Protocol.GET_HISTORY_ORDER_FILL_LIST: trading.not_on_paper,
    Protocol.GET_ORDER_FEE: trading.not_on_paper,
    Protocol.GET_FLOW_SUMMARY: trading.not_on_paper,
}
WITHOUT_LOGIN = frozenset({Protocol.INIT_CONNECT, Protocol.KEEP_ALIVE, Protocol.GET_GLOBAL_STATE})
_OPERATIONS = {
    Protocol.GET_FUNDS: Operation.ACCOUNT,
    Protocol.GET_POSITION_LIST: Operation.POSITIONS,
    Protocol.GET_ORDER_LIST: Operation.ORDERS,
    Protocol.GET_HISTORY_ORDER_LIST: Operation.ORDER_BY_CLIENT_ID,  # what finding one needs besides
    Protocol.PLACE_ORDER: Operation.PLACE,
    Protocol.GET_STATIC_INFO: Operation.INSTRUMENT,
    Protocol.GET_GLOBAL_STATE: Operation.MARKET_CLOCK,
}


def respond(simulation: Simulation, request: Request) -> Outcome:
    """Carry a request out as the injected faults have it. Runs in the simulation's thread."""
    protocol = Protocol(request.protocol)
    logged = _logged(simulation, request)
    simulation.log.append(logged)
    wire_fault = simulation.wire_faults.take(request)
    fault = simulation.exchange_fault(_operation(request))
    if wire_fault is None and fault is not None:
        wire_fault = _on_the_wire(fault)
    if wire_fault is not None and not wire_fault.needs_the_true_answer:
        return _outcome(_false_answer(protocol, wire_fault), wire_fault)
    answer = _answer(simulation, request, fault)
    if wire_fault is None:
        if answer.retType == 0:
            logged["answered"] = True
            simulation.answers[_question(request)] = answer
        return _outcome(answer, None)
    return _outcome(_altered(simulation, request, wire_fault, answer), wire_fault)


def _answer(simulation: Simulation, request: Request, fault: Fault | None) -> Any:
    protocol = Protocol(request.protocol)
    if not simulation.logged_in and protocol not in WITHOUT_LOGIN:
        return failure(protocol, "OpenD is not logged in")
    try:
        simulation.limits.take(request, simulation.clock.now())
        simulation.advance()
        return HANDLERS[protocol](simulation, request, fault)
    except Refused as e:
        return failure(protocol, str(e))


def _operation(request: Request) -> Operation | None:
    if request.protocol == Protocol.MODIFY_ORDER:
        return Operation.REPLACE if request.c2s.modifyOrderOp == _CHANGE else Operation.CANCEL
    return _OPERATIONS.get(Protocol(request.protocol))


def _on_the_wire(fault: Fault) -> WireFault | None:
    """Return how a fault of the exchange looks at OpenD; None for those that the exchange itself has."""
    seconds, reason = fault.seconds, fault.reason
    match fault.kind:
        case FaultKind.REFUSE:
            return WireFault(wire=Wire.RESET, seconds=seconds)
        case FaultKind.REJECT:
            return WireFault(wire=Wire.REFUSE, reason=reason, seconds=seconds)
        case FaultKind.DROP_REPLY:
            return WireFault(wire=Wire.DROP, executes=True, seconds=seconds)
        case FaultKind.TIME_OUT:
            words = "NN_ProtoRet_TimeOut"
            return WireFault(wire=Wire.REFUSE, ret_type=TIMED_OUT, reason=words, seconds=seconds)
        case FaultKind.SILENCE:
            return WireFault(wire=Wire.LATE, seconds=seconds)
        case FaultKind.EMPTY_READ:
            return WireFault(wire=Wire.EMPTY, seconds=seconds)
        case FaultKind.STALE_READ:
            return WireFault(wire=Wire.STALE, seconds=seconds)
        case _:
            return None


def _false_answer(protocol: Protocol, fault: WireFault) -> Any:
    if fault.wire is Wire.REFUSE:
        return failure(protocol, fault.reason, fault.ret_type)
    return response(protocol)


def _altered(simulation: Simulation, request: Request, fault: WireFault, answer: Any) -> Any:
    match fault.wire:
        case Wire.REFUSE | Wire.HOLLOW | Wire.CORRUPT:
            return _false_answer(Protocol(request.protocol), fault)
        case Wire.STALE:
            return simulation.answers.get(_question(request), answer)
        case Wire.EMPTY:
            _empty(answer.s2c)
        case Wire.CHANGE:
            change(answer.s2c, fault.fields)
        case _:
            pass
    return answer


def _empty(said: Any) -> None:
    for known in said.DESCRIPTOR.fields:
        if known.is_repeated:
            said.ClearField(known.name)


def change(message: Any, fields: Mapping[str, Any]) -> None:
    """Set fields wherever they stand, in all that a message holds; "*" is every one that may be left out."""
    for known, value in tuple(message.ListFields()):
        if known.message_type is not None:
            for part in value if known.is_repeated else (value,):
                change(part, fields)
        elif "*" in fields and not known.is_required:
            message.ClearField(known.name)
    for name, wanted in fields.items():
        if name not in message.DESCRIPTOR.fields_by_name:
            continue
        if wanted is None:
            message.ClearField(name)
        else:
            setattr(message, name, wanted)


def _outcome(message: Any, fault: WireFault | None) -> Outcome:
    body = message.SerializePartialToString()
    if fault is not None and fault.wire is Wire.CORRUPT:
        body = b"\x08\x00\x22\xff\xff\xff\x7fOpenD"
    return Outcome(message=message, body=body, fault=fault)


def _question(request: Request) -> tuple[int, bytes]:
    asked = type(request.c2s)()
    asked.CopyFrom(request.c2s)
    for name in ("packetID", "refreshCache", "time"):
        if name in asked.DESCRIPTOR.fields_by_name:
            asked.ClearField(name)
    return request.protocol, asked.SerializePartialToString(deterministic=True)


def _logged(simulation: Simulation, request: Request) -> dict[str, object]:
    """Write down what was asked; `answered` becomes true with a true answer that nothing spoils."""
    return {
        "answered": False,
        "protocol": request.protocol,
        "serial": request.serial,
        "connection": request.connection,
        "c2s": MessageToDict(request.c2s),
        "at": simulation.clock.now(),
    }
