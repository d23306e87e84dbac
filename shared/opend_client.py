"""The transport of the real moomoo client below `shared.opend`: the one place where it is used, and `Any` with it.

Of the client are used: its network thread and sockets, its framing and checksums, its encryption, its
first message, its keep-alive, and its protobuf messages. Not used are its waiting and its tables: a
connection that it opens itself retries for ever or hangs, its calls wait in threads that may send later,
it prints bodies that it cannot read and goes on with zeros, and its tables hold floats and "N/A".

Importing this module imports that client.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from shared.bounded import PointOfNoReturn
from shared.opend import CallFailed
from shared.opend_import import BASE, CONFIG, KEYS, NETWORK, QUERIES, UTILS
from shared.opend_messages import Message, read

INIT_CONNECT = 1001
LARGEST_ANSWER_BYTES = 64_000_000
KEY_BITS = 1024

_HEAD_BYTES = int(UTILS.get_message_head_len())
_PROTOBUF = 0
_SUCCEEDED = 0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NEVER = float("inf")
"""The client's own deadlines, in seconds: ours come before."""


class Waiting(BASE.ReqInfo):
    """One request on its way: either it has begun to leave, or it is cut off and never will."""

    def __init__(self, protocol: int, serial: int) -> None:
        """Note what is asked; the answer is awaited in the running event loop."""
        BASE.ReqInfo.__init__(self, protocol, serial, monotonic(), is_sync=True)
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._point: PointOfNoReturn = PointOfNoReturn(_NEVER)
        self._found_no_connection: bool = False

    def leave(self, send: Callable[[], object]) -> None:
        """Send it, unless it was given up before; from here on OpenD may know of it."""
        if self._point.pass_by():
            self._found_no_connection = send() is None

    def cut(self) -> bool:
        """Give it up, and return whether it had left."""
        return not self._point.block() and not self._found_no_connection

    def say(self, body: bytes) -> None:
        """Hand over the answer's body."""
        self._settle(lambda: self.answer.set_result(body))

    def fail(self, words: str) -> None:
        """Say that no answer comes."""
        arrived = self.cut()
        self._settle(lambda: self.answer.set_exception(CallFailed(words, may_have_arrived=arrived)))

    def notify_finish(self) -> None:
        """Take what the client's own code has to say of it: that the connection ended."""
        self.fail("broke off before it answered")

    def _settle(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self.answer.get_loop().call_soon_threadsafe(
                lambda: None if self.answer.done() else work()
            )


class Line(BASE.OpenContextBase):
    """One connection to OpenD, from its opening to its end; it is never made anew."""

    def __init__(self, address: str, port: int, *, is_encrypted: bool) -> None:
        """Prepare it; `address` is an address and no name, which the client would look up in its network thread."""
        self._address: tuple[str, int] = (address, port)
        self._connected: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._login: int = 0
        BASE.OpenContextBase.__init__(self, address, port, is_encrypt=is_encrypted)
        self._callback_executor.close()  # nobody is told of what was not asked for
        self._auto_reconnect: bool = False
        self._query_timeout: float = _NEVER

    @property
    def is_ready(self) -> bool:
        """Whether OpenD let it in, and it has not ended since."""
        return bool(self._is_ready()) and bool(self.get_sync_conn_id())

    async def connect(self) -> None:
        """Open the connection. Raises CallFailed."""
        with self._lock:
            self._status: Any = BASE.ContextStatus.CONNECTING
            _, begun = NETWORK.connect(
                self._address,
                self,
                _NEVER,
                self.is_encrypt(),
                False,
            )
            self._conn_id: int = begun.conn_id
        reason = await self._connected
        if reason is not None:
            raise CallFailed(reason, may_have_arrived=False)

    async def introduce(self) -> None:
        """Say the first message; OpenD gives the connection its number and its key. Raises CallFailed."""
        ret, words, frame, _, serial = QUERIES.InitConnect.pack_req(
            client_ver=int(CONFIG.get_client_ver()),
            client_id=str(CONFIG.get_client_id()),
            recv_notify=False,
            is_encrypt=self.is_encrypt(),
            push_proto_fmt=_PROTOBUF,
        )
        if ret != _SUCCEEDED:
            raise CallFailed(str(words), may_have_arrived=False)
        waiting = self._send(INIT_CONNECT, serial, frame)
        answer = read(INIT_CONNECT, await waiting.answer)
        _, _, said = QUERIES.InitConnect.unpack_rsp(answer)
        if not said["conn_id"]:
            msg = "answered its greeting without a number for the connection"
            raise CallFailed(msg, may_have_arrived=True)
        with self._lock:
            self._handle_init_connect_rsp(said)
            self._last_recv_time: float = monotonic()
            self._last_keep_alive_time: float = self._last_recv_time
        self._login = int(said["login_user_id"])

    def send(self, protocol: int, request: Message) -> Waiting:
        """Send one message; its answer comes to the one that is returned. Raises CallFailed: it never left."""
        number, serial = self.get_sync_conn_id(), int(UTILS.get_unique_id32())
        known = request.c2s.DESCRIPTOR.fields_by_name
        if "packetID" in known:
            request.c2s.packetID.connID, request.c2s.packetID.serialNo = number, serial
        if "userID" in known:
            request.c2s.userID = self._login
        if not request.IsInitialized():
            missing = ", ".join(request.FindInitializationErrors())
            msg = f"a request of protocol {protocol} has no {missing}"
            raise ValueError(msg)
        ret, words, frame, _, serial = UTILS.pack_pb_req(request, protocol, number, serial)
        if ret != _SUCCEEDED:
            raise CallFailed(f"could not be asked: {words}", may_have_arrived=False)
        return self._send(protocol, serial, frame)

    def end(self) -> threading.Event:
        """Cut the connection and all that waits on it; the event is set when nothing of it can be sent any more."""
        with self._lock:
            waiting = tuple(self._req_map.values())
        for one in waiting:
            if isinstance(one, Waiting):
                one.cut()
        ended, number = threading.Event(), self._conn_id
        _later(lambda: _reset_on_close(number))
        self.close()
        with self._lock:
            if self._status == BASE.ContextStatus.CLOSING:
                _later(lambda: self.on_disconnect(number, BASE.CloseReason.CloseNoNotify, ""))
        _later(ended.set)
        return ended

    def close(self, reason: Any = BASE.CloseReason.Close) -> None:
        """End it; the client's own keep-alive does so too."""
        BASE.OpenContextBase.close(self, reason=reason)

    def on_connect(self, *said: Any) -> None:
        """Hear from the network thread how connecting went; the client has two ways to call this."""
        begun = said[-1]
        is_open = begun.err is BASE.ConnectErr.Ok
        with self._lock:
            states = BASE.ContextStatus
            if self._status == states.CONNECTING:
                self._status = states.CONNECTED if is_open else states.CLOSED
        reason = None if is_open else _reason(str(begun.msg))
        with suppress(RuntimeError):
            self._connected.get_loop().call_soon_threadsafe(self._settle_connected, reason)

    def on_tick(self, conn_id: int, now: float) -> None:
        """Keep the connection alive, by a clock that does not jump."""
        del now
        BASE.OpenContextBase.on_tick(self, conn_id, monotonic())

    def handle_push(self, *_: Any, **__: Any) -> None:
        """Ignore what nobody asked for: all that matters is asked."""

    def _init_connect_sync(self) -> int:
        """Do nothing where the client would connect, again and again, within its constructor."""
        return _SUCCEEDED

    def _settle_connected(self, reason: str | None) -> None:
        if not self._connected.done():
            self._connected.set_result(reason)

    def _send(self, protocol: int, serial: int, frame: bytes) -> Waiting:
        waiting = Waiting(protocol, serial)
        with self._lock:
            if not self.can_send_proto(protocol):
                msg = "has ended the connection"
                raise CallFailed(msg, may_have_arrived=False)
            self._req_map[UTILS.ProtoInfo(protocol, serial)] = waiting
        number = self._conn_id
        _later(lambda: waiting.leave(lambda: NETWORK.do_send(number, frame)))
        return waiting

    def _handle_recv(self) -> None:
        """Take whole messages apart, in the network thread. The client's own way lets unreadable ones pass."""
        received: bytearray = self._recv_buf
        while len(received) >= _HEAD_BYTES:
            head = UTILS.parse_head(bytes(received[:_HEAD_BYTES]))
            length = head["body_len"]
            if not _is_sound(head):
                received.clear()
                self.end()
                return
            if len(received) < _HEAD_BYTES + length:
                return
            body = bytes(received[_HEAD_BYTES : _HEAD_BYTES + length])
            del received[: _HEAD_BYTES + length]
            self._last_recv_time = monotonic()
            self._hand_over(head, body)

    def _hand_over(self, head: Mapping[str, Any], body: bytes) -> None:
        key = UTILS.ProtoInfo(head["proto_id"], head["serial_no"])
        waiting = self._req_map.pop(key, None)
        if not isinstance(waiting, Waiting):
            return  # too late, a keep-alive, or a push
        ret, _, plain = UTILS.decrypt_rsp_body(
            body, head, self.get_sync_conn_id(), self.is_encrypt()
        )
        if ret == _SUCCEEDED:
            waiting.say(plain)
        else:
            waiting.fail("answered with a body that does not fit its checksum")


def use_key(key: str | None) -> None:
    """Let the client encrypt, for the whole process, or not. Raises ValueError for a key that it cannot use."""
    made = None if key is None else KEYS.import_key(key)
    if made is not None and (made.size_in_bits() != KEY_BITS or not made.has_private()):
        msg = f"it has to be a private key of {KEY_BITS} bits"
        raise ValueError(msg)
    CONFIG.set_init_rsa_file("" if key is None else "given as text")
    CONFIG.RSA_OBJ = made


def _is_sound(head: Mapping[str, Any]) -> bool:
    return (
        head["head_1"] == b"F"
        and head["head_2"] == b"T"
        and head["proto_fmt_type"] == _PROTOBUF
        and head["body_len"] <= LARGEST_ANSWER_BYTES
    )


def _later(work: Callable[[], object]) -> None:
    """Let the network thread do something after all that it has in hand; an error in it would end that thread."""

    def carefully() -> None:
        with suppress(Exception):
            work()

    NETWORK._req_queue.put(carefully)  # noqa: SLF001
    NETWORK._w_sock.send(b"1")  # noqa: SLF001


def _reset_on_close(number: int) -> None:
    """What the kernel still holds is thrown away when the connection closes."""
    found = NETWORK._get_conn(number)  # noqa: SLF001
    if found is not None and found.sock is not None:
        found.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _reason(code: str) -> str:
    words = {"ECONNREFUSED": "connection refused", "EHOSTUNREACH": "no route to host"}
    return words.get(code, code or "no connection")
