"""The door of the simulated broker: who may ask, how often, what, and what goes wrong with the answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from brokers.faults import Fault, FaultKind, Operation
from tests.simulators.alpaca import data, trading
from tests.simulators.alpaca.refusals import Refused, error, plain
from tests.simulators.alpaca.shapes import moment
from tests.simulators.alpaca.simulation import Simulation
from tests.simulators.alpaca.trading import Endpoint
from tests.simulators.alpaca.wire import Answer, Request, Wire, WireFault, changed, html


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint."""

    method: str
    pattern: str
    endpoint: Endpoint
    operation: Operation | None = None


ROUTES = (
    Route(
        method="GET",
        pattern="/v2/account",
        endpoint=trading.account,
        operation=Operation.ACCOUNT,
    ),
    Route(method="GET", pattern="/v2/account/activities", endpoint=trading.activities),
    Route(method="GET", pattern="/v2/account/activities/([A-Z]+)", endpoint=trading.activities),
    Route(
        method="GET",
        pattern="/v2/positions",
        endpoint=trading.positions,
        operation=Operation.POSITIONS,
    ),
    Route(method="GET", pattern="/v2/positions/([^/]+)", endpoint=trading.position),
    Route(method="GET", pattern="/v2/orders", endpoint=trading.orders, operation=Operation.ORDERS),
    Route(
        method="POST", pattern="/v2/orders", endpoint=trading.post_order, operation=Operation.PLACE
    ),
    Route(
        method="GET",
        pattern="/v2/orders:by_client_order_id",
        endpoint=trading.order_by_client_id,
        operation=Operation.ORDER_BY_CLIENT_ID,
    ),
    Route(method="GET", pattern="/v2/orders/([^/]+)", endpoint=trading.order),
    Route(
        method="PATCH",
        pattern="/v2/orders/([^/]+)",
        endpoint=trading.patch_order,
        operation=Operation.REPLACE,
    ),
    Route(
        method="DELETE",
        pattern="/v2/orders/([^/]+)",
        endpoint=trading.delete_order,
        operation=Operation.CANCEL,
    ),
    Route(method="GET", pattern="/v2/assets", endpoint=trading.assets),
    Route(
        method="GET",
        pattern="/v2/assets/([^/]+)",
        endpoint=trading.asset,
        operation=Operation.INSTRUMENT,
    ),
    Route(
        method="GET",
        pattern="/v2/clock",
        endpoint=trading.clock,
        operation=Operation.MARKET_CLOCK,
    ),
    Route(method="GET", pattern="/v2/calendar", endpoint=trading.calendar),
    *(
        Route(method="GET", pattern=pattern, endpoint=endpoint)
        for pattern, endpoint in data.ENDPOINTS.items()
    ),
)
SHORTEST_SLOW_BODY = 200
"""Blanks after a shorter one, so that an empty list takes its time too."""
SECRET_HEADERS = frozenset({"apca-api-key-id", "apca-api-secret-key", "authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer, and what becomes of it on the wire."""

    answer: Answer
    fault: WireFault | None = None


def respond(simulation: Simulation, request: Request) -> Outcome:
    """Carry a request out as the injected faults have it. Runs in the simulation's thread."""
    simulation.log.append(_logged(simulation, request))
    wire_fault = simulation.wire_faults.take(request)
    route, name = _route(request)
    fault = simulation.exchange_fault(route.operation if route else None)
    if wire_fault is None and fault is not None:
        wire_fault = _on_the_wire(fault)
    if wire_fault is not None and not wire_fault.needs_the_true_answer:
        return Outcome(answer=_false_answer(wire_fault, request), fault=wire_fault)
    answer = _answer(simulation, request, route, name, fault)
    if wire_fault is None:
        if answer.status < 300:
            simulation.answers[_question(request)] = answer
        return Outcome(answer=answer)
    return Outcome(answer=_altered(simulation, request, wire_fault, answer), fault=wire_fault)


def _answer(
    simulation: Simulation, request: Request, route: Route | None, name: str, fault: Fault | None
) -> Answer:
    family = "data" if _is_data(request) else "trading"
    passes, headers = simulation.rate_limit.take(family, simulation.clock.now())
    if not passes:
        return replace(plain(429), headers=headers)
    refused = _unauthorised(simulation, request)
    if refused is not None:
        return refused
    if route is None:
        return error(404, 40410000, f"endpoint not found: {request.method} {request.path}")
    try:
        simulation.advance()
        answer = route.endpoint(simulation, request, fault, name)
    except Refused as e:
        answer = e.answer
    return replace(answer, headers={**answer.headers, **headers})


def _route(request: Request) -> tuple[Route | None, str]:
    for route in ROUTES:
        found = re.fullmatch(route.pattern, request.path)
        if found is not None and route.method == request.method:
            return route, found[1] if found.groups() else ""
    return None, ""


def _unauthorised(simulation: Simulation, request: Request) -> Answer | None:
    key = request.headers.get("apca-api-key-id")
    secret = request.headers.get("apca-api-secret-key")
    if key is None or secret is None:
        return plain(403)
    if (key, secret) == simulation.keys:
        return None
    if _is_data(request):
        return Answer(status=401, text=html(401), content_type="text/html")
    return plain(401)


def _is_data(request: Request) -> bool:
    return request.path.startswith(("/v1beta1/", "/v2/stocks/"))


def _on_the_wire(fault: Fault) -> WireFault | None:
    """Return how a fault of the exchange looks over HTTP; None for those that the exchange itself has."""
    match fault.kind:
        case FaultKind.REFUSE:
            return WireFault(wire=Wire.RESET, seconds=fault.seconds)
        case FaultKind.REJECT:
            body = error(422, int(fault.code or 42210000), fault.reason).content.decode()
            return WireFault(wire=Wire.ANSWER, status=422, body=body, seconds=fault.seconds)
        case FaultKind.DROP_REPLY:
            return WireFault(wire=Wire.DROP, executes=True, seconds=fault.seconds)
        case FaultKind.TIME_OUT:
            return WireFault(
                wire=Wire.ANSWER,
                status=504,
                body=html(504),
                content_type="text/html",
                seconds=fault.seconds,
            )
        case FaultKind.SILENCE:
            return WireFault(wire=Wire.LATE, seconds=fault.seconds)
        case FaultKind.EMPTY_READ:
            return WireFault(wire=Wire.EMPTY, seconds=fault.seconds)
        case FaultKind.STALE_READ:
            return WireFault(wire=Wire.STALE, seconds=fault.seconds)
        case _:
            return None


def _false_answer(fault: WireFault, request: Request) -> Answer:
    match fault.wire:
        case Wire.GARBAGE:
            return Answer(text=fault.body or '{"id": "5a1f', content_type=fault.content_type)
        case Wire.EMPTY:
            route, name = _route(request)
            is_one = bool(name) or (route and route.operation is Operation.ORDER_BY_CLIENT_ID)
            return error(404, 40410000, "not found") if is_one else Answer(body=[])
        case _:
            return _injected_answer(fault)


def _injected_answer(fault: WireFault) -> Answer:
    if fault.body is None:
        return plain(fault.status)
    return Answer(status=fault.status, text=fault.body, content_type=fault.content_type)


def _altered(simulation: Simulation, request: Request, fault: WireFault, answer: Answer) -> Answer:
    match fault.wire:
        case Wire.CHANGE:
            return replace(answer, body=changed(answer.body, fault.fields))
        case Wire.SLOW_BODY if answer.content:
            text = answer.content.decode().ljust(SHORTEST_SLOW_BODY)
            return replace(answer, text=text)
        case Wire.STALE:
            return simulation.answers.get(_question(request), answer)
        case Wire.ANSWER | Wire.GARBAGE | Wire.EMPTY:
            return _false_answer(fault, request)
        case _:
            return answer


def _question(request: Request) -> tuple[str, ...]:
    """Return what was asked, moments and pages apart."""
    kept = {k: v for k, v in request.query.items() if k not in {"after", "until", "page_token"}}
    return request.method, request.path, *(f"{k}={v}" for k, v in sorted(kept.items()))


def _logged(simulation: Simulation, request: Request) -> Mapping[str, object]:
    return {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": {
            name: "..." if name in SECRET_HEADERS else value
            for name, value in request.headers.items()
        },
        "body": request.body.decode("utf-8", "replace"),
        "at": moment(simulation.clock.now()),
    }
