"""The channel through which a test speaks with a simulator: a door of its own, JSON over HTTP on loopback."""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.errors import CatalystError

Said = Callable[[dict[str, Any]], Any]


class ControlChannel(ThreadingHTTPServer):
    """Does what a test says: one function for each thing that can be said."""

    daemon_threads = True

    def __init__(self, sayings: Mapping[str, Said]) -> None:
        self.sayings: Mapping[str, Said] = sayings
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def shut(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ControlChannel  # pyright: ignore[reportIncompatibleVariableOverride] (it serves nothing else)
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        return

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            result = self.server.sayings[self.path.removeprefix("/_control/")](said)
            body: dict[str, Any] = {"said": result}
        except (CatalystError, LookupError, ValueError, TypeError) as e:
            body = {"error": f"{type(e).__name__}: {e}"}
        content = json.dumps(body, default=_plain).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _plain(value: object) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
