"""One client's connection: frames in, frames out, and all the ways in which an answer does not arrive."""

import asyncio
import hashlib
import socket
import struct
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from tests.simulators.opend import wire
from tests.simulators.opend.api import HANDLERS, Outcome, respond
from tests.simulators.opend.encryption import Conversation, FirstMessage
from tests.simulators.opend.messages import failure, request
from tests.simulators.opend.simulation import Simulation
from tests.simulators.opend.wire import HEADER, Head, Request, Wire

_LINGER = struct.pack("ii", 1, 0)
_ENDED = (asyncio.IncompleteReadError, ConnectionError, DecodeError, ValueError)


class House(Protocol):
    """What a connection belongs to."""

    simulation: Simulation
    first_message: FirstMessage | None

    def die(self) -> None:
        """Be gone, at once and for everybody."""
        ...


class Connection:
    """Answers one request after another; an answer that is late holds up no other."""

    def __init__(
        self,
        house: House,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._house: House = house
        self.number: int = number
        self._reader: asyncio.StreamReader = reader
        self._writer: asyncio.StreamWriter = writer
        self._conversation: Conversation | None = None
        self._late: set[asyncio.Task[None]] = set()
        self._pushed: int = 0
        self.accounts: frozenset[int] = frozenset()
        """Accounts whose orders it wants to be told."""

    async def serve(self) -> None:
        """Answer until the client goes, or says what no client says."""
        try:
            while True:
                head = Head.read(await self._reader.readexactly(HEADER.size))
                body = await self._reader.readexactly(head.length)
                await self._answer(head, body)
        except _ENDED:
            self.close()

    def push(self, account_id: int, message: Any) -> None:
        """Tell of an order, if that was asked for."""
        if account_id in self.accounts:
            self._pushed += 1
            self._write(wire.Protocol.UPDATE_ORDER, self._pushed, message.SerializeToString())

    def close(self) -> None:
        """End it in order."""
        for task in self._late:
            task.cancel()
        self._writer.close()

    def reset(self) -> None:
        """End it without a word."""
        end: Any = self._writer.get_extra_info("socket")
        if end is not None and end.fileno() >= 0:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._writer.transport.abort()

    async def _answer(self, head: Head, body: bytes) -> None:
        plain = self._decrypted(head, body)
        if hashlib.sha1(plain, usedforsecurity=False).digest() != head.sha1:
            msg = f"wrong checksum of protocol {head.protocol}"
            raise ValueError(msg)
        if head.protocol not in HANDLERS:
            text = failure(wire.Protocol.KEEP_ALIVE, f"Unknown protocol {head.protocol}")
            self._write(head.protocol, head.serial, text.SerializeToString())
            return
        message = request(wire.Protocol(head.protocol))
        message.ParseFromString(plain)
        asked = Request(
            protocol=head.protocol, serial=head.serial, c2s=message.c2s, connection=self.number
        )
        simulation = self._house.simulation
        outcome = await asyncio.wrap_future(simulation.submit(lambda: respond(simulation, asked)))
        self._remember(asked, outcome)
        await self._deliver(asked, outcome)

    def _decrypted(self, head: Head, body: bytes) -> bytes:
        if head.protocol == wire.Protocol.INIT_CONNECT:
            first = self._house.first_message
            return body if first is None else first.decrypt(body)
        return body if self._conversation is None else self._conversation.decrypt(body)

    def _remember(self, asked: Request, outcome: Outcome) -> None:
        if asked.protocol == wire.Protocol.SUB_ACC_PUSH and outcome.message.retType == 0:
            self.accounts = frozenset(asked.c2s.accIDList)

    async def _deliver(self, asked: Request, outcome: Outcome) -> None:
        fault = outcome.fault
        text = self._framed(asked, outcome)
        match fault.wire if fault else None:
            case Wire.SILENCE:
                return
            case Wire.LATE if fault:
                task = asyncio.create_task(self._send_late(text, fault.seconds))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return
            case Wire.SLOW if fault:
                await self._drip(text, fault.seconds)
                return
            case _:
                pass
        await asyncio.sleep(fault.seconds if fault else 0)
        match fault.wire if fault else None:
            case Wire.DROP:
                self.close()
            case Wire.RESET:
                self.reset()
            case Wire.DIE:
                self._house.die()
            case Wire.CUT:
                self._writer.write(text[: len(text) // 2])
                await self._writer.drain()
                self.reset()
            case _:
                self._writer.write(text)

    async def _send_late(self, text: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._writer.write(text)

    async def _drip(self, text: bytes, seconds: float) -> None:
        for byte in text:
            self._writer.write(bytes([byte]))
            await asyncio.sleep(seconds)

    def _framed(self, asked: Request, outcome: Outcome) -> bytes:
        is_sound = outcome.fault is None or outcome.fault.wire is not Wire.BAD_CHECKSUM
        return self._frame(asked, outcome, is_sound=is_sound)

    def _frame(self, asked: Request, outcome: Outcome, *, is_sound: bool) -> bytes:
        first = self._house.first_message
        body = outcome.body
        if asked.protocol == wire.Protocol.INIT_CONNECT:
            said = outcome.message.s2c
            if first is not None and said.HasField("aesCBCiv"):
                self._conversation = Conversation(said.connAESKey, said.aesCBCiv)
                body = first.encrypt(body)
        elif self._conversation is not None:
            body = self._conversation.encrypt(body)
        return wire.frame(asked.protocol, asked.serial, outcome.body, body, sound=is_sound)

    def _write(self, protocol: int, serial: int, plain: bytes) -> None:
        body = plain if self._conversation is None else self._conversation.encrypt(plain)
        self._writer.write(wire.frame(protocol, serial, plain, body))
