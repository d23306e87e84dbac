"""HTTP on loopback, down to the socket, so that an answer can go wrong in every way that it does."""

import select
import socket
import struct
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.simulators.alpaca.api import Outcome, respond
from tests.simulators.alpaca.control import CONTROLS
from tests.simulators.alpaca.simulation import Simulation
from tests.simulators.alpaca.wire import Answer, Request, Wire, WireFault
from tests.simulators.channel import ControlChannel
from tests.simulators.control import as_json

_RESET = struct.pack("ii", 1, 0)
_LOOK_EVERY_SECONDS = 0.05


class Door(ThreadingHTTPServer):
    """A port of the simulator."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, handler: type["_Handler"], simulation: Simulation) -> None:
        self.simulation: Simulation = simulation
        self.closing: threading.Event = threading.Event()
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def open(self) -> None:
        """Serve, in a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def shut(self) -> None:
        """Stop listening and end every connection: who comes now is refused."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        for connection in tuple(self.connections):
            _shut_down(connection)


class Simulator:
    """Both ports: the broker's, which can be closed and opened again, and the control channel's."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation: Simulation = simulation
        self._broker: Door = Door(0, BrokerHandler, simulation)
        self._broker.open()
        self._control: ControlChannel = ControlChannel(
            {name: partial(self._do, name) for name in CONTROLS} | {"listen": self._listen}
        )
        self.ports: tuple[int, int] = (self._broker.port, self._control.port)

    def close(self) -> None:
        """Close everything."""
        self._broker.shut()
        self._control.shut()
        self.simulation.close()

    def _do(self, name: str, said: dict[str, Any]) -> Any:
        return self.simulation.run(lambda: as_json(CONTROLS[name](self.simulation, said)))

    def _listen(self, said: dict[str, Any]) -> None:
        """Close the broker's port, or open the same one again."""
        if not said["listens"]:
            self._broker.shut()
            return
        self._broker = Door(self.ports[0], BrokerHandler, self.simulation)
        self._broker.open()


class _Handler(BaseHTTPRequestHandler):
    server: Door  # pyright: ignore[reportIncompatibleVariableOverride] (it serves nothing else)
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection: bool = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        return

    def received(self) -> Request:
        """Read the request."""
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        return Request.read(self.command, self.path, dict(self.headers.items()), body)

    def head(self, answer: Answer) -> bytes:
        """Return status line and headers."""
        phrase = self.responses.get(answer.status, ("", ""))[0]
        lines = [f"HTTP/1.1 {answer.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status != 204:
            lines += [
                f"Content-Type: {answer.content_type}",
                f"Content-Length: {len(answer.content)}",
            ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def send(self, answer: Answer) -> None:
        """Send it whole."""
        self.wfile.write(self.head(answer) + answer.content)


class BrokerHandler(_Handler):
    """Answers as Alpaca, or as a fault has it."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        request, simulation = self.received(), self.server.simulation
        outcome = simulation.run(lambda: respond(simulation, request))
        if outcome.fault is None:
            self.send(outcome.answer)
        else:
            self._go_wrong(outcome, outcome.fault)

    def _go_wrong(self, outcome: Outcome, fault: WireFault) -> None:
        answer, head = outcome.answer, self.head(outcome.answer)
        match fault.wire:
            case Wire.SILENCE:
                self._say_nothing()
            case Wire.DROP:
                self._wait(fault.seconds)
                self.close_connection = True
            case Wire.RESET:
                self._wait(fault.seconds)
                self._reset()
            case Wire.RESET_IN_BODY:
                self.wfile.write(head + answer.content[: len(answer.content) // 2])
                self._wait(fault.seconds)
                self._reset()
            case Wire.SLOW_BODY if answer.content:
                self.wfile.write(head)
                self._drip(answer.content, fault.seconds)
            case Wire.SLOW_HEADER | Wire.SLOW_BODY:
                self._drip(head, fault.seconds)
                self.wfile.write(answer.content)
            case _:
                self._wait(fault.seconds)
                self.send(answer)

    def _say_nothing(self) -> None:
        """Hold the connection until the client ends it, or the port is closed."""
        self.close_connection = True
        while not self.server.closing.is_set():
            readable, _, _ = select.select([self.connection], [], [], _LOOK_EVERY_SECONDS)
            if readable and not self.connection.recv(1024):
                return

    def _drip(self, text: bytes, seconds: float) -> None:
        for byte in text:
            self.wfile.write(bytes([byte]))
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self.server.closing.wait(seconds)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.rfile.close()
        self.connection.close()


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
