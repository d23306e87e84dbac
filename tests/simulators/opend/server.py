"""OpenD's port and the control channel's: TCP on loopback, in an event loop with a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tests.simulators.channel import ControlChannel
from tests.simulators.control import as_json
from tests.simulators.opend.accounts import PAPER
from tests.simulators.opend.connection import Connection
from tests.simulators.opend.control import CONTROLS
from tests.simulators.opend.encryption import FirstMessage
from tests.simulators.opend.simulation import Simulation

_Result = TypeVar("_Result")


class OpenD:
    """The broker's port can be closed and opened again."""

    def __init__(self, simulation: Simulation, key_file: Path | None = None) -> None:
        """Listen; with a key only clients that have it too are understood."""
        self.simulation: Simulation = simulation
        self.first_message: FirstMessage | None = FirstMessage(key_file) if key_file else None
        self._connections: set[Connection] = set()
        self._served: int = 0
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port: int = self._wait(self._open(0))
        simulation.push = self._push_soon
        self._control: ControlChannel = ControlChannel(
            {name: partial(self._do, name) for name in CONTROLS} | {"listen": self._listen}
        )
        self.control_port: int = self._control.port

    def close(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self.die)
        self._control.shut()
        self.simulation.close()

    def die(self) -> None:
        """Close the port, and reset every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.reset()

    def _do(self, name: str, said: dict[str, Any]) -> Any:
        return self.simulation.run(lambda: as_json(CONTROLS[name](self.simulation, said)))

    def _listen(self, said: dict[str, Any]) -> None:
        self._wait(self._change(listens=said["listens"]))

    def _wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self, port: int) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def _change(self, *, listens: bool) -> None:
        if not listens:
            self.die()
        elif self._server is None:
            await self._open(self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served += 1
        connection = Connection(self, 7_000_000_000_000 + self._served, reader, writer)
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def _push_soon(self, message: Any) -> None:
        self._loop.call_soon_threadsafe(self._push, message)

    def _push(self, message: Any) -> None:
        for connection in tuple(self._connections):
            connection.push(PAPER.account_id, message)
