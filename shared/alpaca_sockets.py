"""The sockets below alpaca-py's client: who uses one, what may still be sent, and how a call is cut off.

It imports requests and urllib3, so it is imported only when a call is made.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, cast

from alpaca.common.exceptions import APIError
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ReadTimeout, RequestException
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError as PoolError
from urllib3.exceptions import ReadTimeoutError

from shared.alpaca_http import CallFailed, ErrorReply, Json, Refused, SdkClient

LARGEST_ANSWER_BYTES = 32_000_000

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PIECE_BYTES = 65_536
_GOOD = range(200, 300)
_FIRST_ERROR = 400

_thread = threading.local()


class Cut(ConnectionAbortedError):
    """The call was given up before its request left."""


class Call:
    """One call, shared by the thread that makes it and the one that waits for it.

    Either its request has begun to leave, or it is cut off and never will; the lock settles which.
    """

    def __init__(self, *, writes: bool) -> None:
        """Say whether the request would change something."""
        self.writes: bool = writes
        self._lock: threading.Lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._has_left: bool = False
        self._is_cut: bool = False

    @property
    def has_left(self) -> bool:
        """Whether any part of the request may have reached the server."""
        return self._has_left

    def leave_by(self, connection_socket: socket.socket) -> None:
        """Note that bytes are about to be sent. Raises Cut."""
        with self._lock:
            if self._is_cut:
                raise Cut
            self._socket = connection_socket
            self._has_left = True

    def cut(self) -> bool:
        """Give the call up: wake its thread, send nothing more, and return whether something had left."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                _break(self._socket)
            return self._has_left

    def end(self) -> None:
        """Let go of the socket, which another call may use from now on."""
        with self._lock:
            self._socket = None

    def __enter__(self) -> "Call":
        _thread.call = self
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        _thread.call = None


def _break(broken: socket.socket) -> None:
    """Wake whoever reads or writes; what the kernel still holds is thrown away when the socket closes."""
    with suppress(OSError):
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        socket.socket.shutdown(
            broken, socket.SHUT_RDWR
        )  # past ssl, whose state is the other thread's


def answer(call: Call, work: Callable[[SdkClient], Json], client: SdkClient, host: str) -> Json:
    """Make a call in this thread and return what the body says. Raises CallFailed."""
    try:
        with call:
            return work(client)
    except APIError as error:
        response = cast("Response", error.response)
        after = response.headers.get("Retry-After")
        raise Refused(ErrorReply.read(response.status_code, response.text, after)) from None
    except (RequestException, PoolError, OSError, ValueError) as error:
        # not `from error`: its text is not ours, and a header that is refused is shown in it
        sentence = f"Alpaca at {host} {_what_happened(error, call)}"
        raise CallFailed(sentence, may_have_arrived=call.has_left) from None


def _what_happened(error: Exception, call: Call) -> str:
    chain = tuple(_causes(error))
    if any(isinstance(cause, Cut) for cause in chain):
        return "was not asked: the call was given up"
    if not call.has_left:
        reasons = (c.strerror for c in chain if isinstance(c, OSError) and c.strerror)
        return f"cannot be reached: {next(reasons, type(error).__name__)}"
    if isinstance(error, NotAnAnswer):
        return str(error)
    if any(isinstance(cause, ReadTimeout | ReadTimeoutError) for cause in chain):
        return "was silent for too long"
    if isinstance(error, ValueError) and not isinstance(error, RequestException):
        return "answered with something that is no JSON"
    return f"broke off its answer: {type(error).__name__}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it wraps, which the libraries keep in different places."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            inner = getattr(found, "reason", None)
            waiting += [*found.args, inner, found.__cause__, found.__context__]


class NotAnAnswer(RequestException):
    """An answer of a kind that Alpaca does not give."""


class ExactResponse(Response):
    """An answer whose numbers keep the digits that were sent."""

    def json(self, **_: Any) -> Any:
        """Parse the body. Raises ValueError for whatever is not JSON."""
        try:
            return json.loads(self.text, parse_float=Decimal, parse_constant=_refuse_constant)
        except RecursionError:
            msg = "the answer is nested too deeply"
            raise ValueError(msg) from None


class BoundedAdapter(HTTPAdapter):
    """Sends once, with timeouts, over connections that a call can be cut off from."""

    def __init__(self, *, connect_seconds: float, read_seconds: float, connections: int) -> None:
        """Bound what connecting and the silence within an answer may take."""
        self._timeout: tuple[float, float] = (connect_seconds, read_seconds)
        super().__init__(pool_connections=2, pool_maxsize=connections, max_retries=0)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send one request and read the whole answer."""
        del args
        kwargs.update(stream=True, timeout=self._timeout)
        if _current().writes:
            # an idle connection that the server closes this moment would leave the outcome unclear
            self.poolmanager.clear()
        response = super().send(request, **kwargs)
        response.encoding = "utf-8"
        response._content = _whole_body(response)  # noqa: SLF001 (what reading `content` does)
        response._content_consumed = True  # noqa: SLF001
        if response.status_code < _FIRST_ERROR and response.status_code not in _GOOD:
            msg = f"answered {response.status_code}, which is neither an answer nor an error"
            raise NotAnAnswer(msg)
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of connections."""
        super().init_poolmanager(*args, **kwargs)
        _use_our_connections(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the pool of connections that go through a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        _use_our_connections(manager)
        return manager

    def build_response(self, req: PreparedRequest, resp: BaseHTTPResponse) -> Response:
        """Make the answer one that is parsed exactly."""
        response = super().build_response(req, resp)
        response.__class__ = ExactResponse
        return response


class _Connection(HTTPConnection):
    def send(self, data: Any) -> None:
        """Send, unless the call was given up meanwhile."""
        _leave(self)
        super().send(data)


class _TlsConnection(HTTPSConnection):
    def send(self, data: Any) -> None:
        """Send, unless the call was given up meanwhile."""
        _leave(self)
        super().send(data)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType] (urllib3's own do not fit)


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection  # pyright: ignore[reportAssignmentType]


def _leave(connection: HTTPConnection) -> None:
    """Connect, if that is still to be done, and pass the point from which on the server may know."""
    if connection.sock is None:
        connection.connect()
    _current().leave_by(cast("socket.socket | ssl.SSLSocket", connection.sock))


def _use_our_connections(manager: PoolManager) -> None:
    pools: dict[str, type[HTTPConnectionPool] | type[HTTPSConnectionPool]]
    pools = {"http": _Pool, "https": _TlsPool}
    manager.pool_classes_by_scheme = pools


def _current() -> Call:
    call: Call | None = getattr(_thread, "call", None)
    if call is None:
        msg = "alpaca-py was used past shared.alpaca_http"
        raise RuntimeError(msg)
    return call


def _whole_body(response: Response) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_content(_PIECE_BYTES):
        size += len(piece)
        if size > LARGEST_ANSWER_BYTES:
            response.close()
            msg = f"answered with more than {LARGEST_ANSWER_BYTES} bytes"
            raise NotAnAnswer(msg)
        pieces.append(piece)
    return b"".join(pieces)


def _refuse_constant(text: str) -> float:
    msg = f"{text} is no number"
    raise ValueError(msg)
