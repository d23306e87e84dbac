"""Calls to OpenD, moomoo's gateway: one connection of this process, shared by broker and market feed.

The client's transport is bounded here: finding OpenD, opening a connection and every call end at a
deadline; nothing is sent twice; a connection that is lost is opened anew only by the next call, never
below one that waits; and what was given up before it left never leaves.

    opend = OpenD(settings, OpenDShare(55))
    said = await opend.ask(3202, {"securityList": [{"market": 1, "code": wire_code("0700")}]})

Messages have no blocking call and no thread of their own: one network thread sends and receives, and a
request is cut off by a mark that this thread looks at before it sends.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from shared.bounded import within
from shared.config_brokers import MoomooSettings
from shared.errors import ConfigError
from shared.opend_limits import OpenDShare

if TYPE_CHECKING:
    from shared.opend_client import Line, Waiting

GLOBAL_STATE = 1002
SIMULATE = 0
"""`Trd_Common.TrdEnv`: the only environment that anything is sent to."""

_UNLOCK_TRADE = 2005
_ENDING_SECONDS = 1.0
_LOOK_SECONDS = 0.002
_WORTH_REMEMBERING_SECONDS = 2.0
"""An opening that failed sooner cost nothing, and is tried again at once."""


class CallFailed(Exception):
    """A call that gave no answer to use; the text is one sentence."""

    def __init__(
        self, sentence: str, *, may_have_arrived: bool, retry_after_seconds: float | None = None
    ) -> None:
        """Say whether OpenD may have done what was asked for."""
        super().__init__(sentence)
        self.may_have_arrived: bool = may_have_arrived
        self.retry_after_seconds: float | None = retry_after_seconds


class Refused(CallFailed):
    """OpenD's own answer that the request failed."""

    def __init__(self, text: str) -> None:
        """Keep OpenD's words, which may be none."""
        super().__init__(f"OpenD refused: {text or 'without a reason'}", may_have_arrived=True)
        self.text: str = text


class OpenD:
    """One connection to OpenD, opened by the first call; for one event loop."""

    def __init__(self, settings: MoomooSettings, share: OpenDShare) -> None:
        """Take how to reach it; nothing is imported or connected before the first call."""
        self._settings: MoomooSettings = settings
        self._share: OpenDShare = share
        self._key: str | None = None
        self._line: Line | None = None
        self._opening: asyncio.Task[Line] | None = None
        self._under_way: dict[Line, int] = {}
        self._ends: list[threading.Event] = []
        self._failed: tuple[float, str] | None = None
        """Until when an opening that failed is not tried again, and why it failed."""
        self._closed: bool = False
        self._closing: asyncio.Event = asyncio.Event()

    async def ask(
        self,
        protocol: int,
        c2s: Mapping[str, object],
        *,
        writes: bool = False,
        limited: bool = True,
    ) -> Any:
        """Send one message and return the answer's `s2c`, whole and of the right kind.

        `limited` says whether OpenD counts it. Raises CallFailed; ConfigError for anything but paper trading.
        """
        self._require_open()
        request = _request(protocol, c2s)
        if limited:
            await self._take_turn(protocol, writes=writes)
        line = await self._ready()
        self._require_open()
        return await self._answer(line, protocol, request, writes=writes)

    def has_turn(self, protocol: int) -> bool:
        """Whether a request that OpenD counts could go now without waiting."""
        return self._share.seconds_to_wait(protocol) == 0

    async def close(self) -> None:
        """Cut every call off and close every connection; safe to call twice.

        Afterwards nothing that was asked for can be sent any more.
        """
        self._closed = True
        self._closing.set()
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError, CallFailed, ConfigError):
                await self._opening
        for line in tuple(self._under_way):
            self._end(line)
        if self._line is not None:
            self._end(self._line)
        until = monotonic() + self._settings.connect_timeout_seconds + _ENDING_SECONDS
        while not all(end.is_set() for end in self._ends) and monotonic() < until:  # noqa: ASYNC110 (of another thread)
            await asyncio.sleep(_LOOK_SECONDS)
        self._ends.clear()

    async def _take_turn(self, protocol: int, *, writes: bool) -> None:
        """Wait for a turn: a read until the half minute is over, a write not so long that it would be stale."""
        settings = self._settings
        patience = settings.call_timeout_seconds if writes else settings.share_timeout_seconds
        until = monotonic() + patience
        while (wait := self._share.seconds_to_wait(protocol)) > 0:
            if monotonic() + wait > until:
                sentence = (
                    f"this process has used up its share of OpenD's limit for protocol {protocol}"
                )
                raise CallFailed(sentence, may_have_arrived=False, retry_after_seconds=wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), wait)
            self._require_open()
        self._share.note(protocol)

    async def _ready(self) -> "Line":
        """Return a connection that OpenD let in; all who ask meanwhile wait for the same one."""
        if self._line is not None and self._line.is_ready:
            return self._line
        if self._opening is None or self._opening.done():
            if self._line is not None:
                self._end(self._line)
            self._opening = asyncio.create_task(self._open())
        opening, task = self._opening, asyncio.current_task()
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if not opening.cancelled() or (task is not None and task.cancelling()):
                raise
        self._require_open()
        msg = "an opening is cancelled by close alone"
        raise AssertionError(msg)

    async def _open(self) -> "Line":
        """Open it; one that cost time and failed is not tried again for as long, so that no run waits for each."""
        began = monotonic()
        if self._failed is not None and began < self._failed[0]:
            raise CallFailed(self._failed[1], may_have_arrived=False)
        try:
            return await self._opened()
        except CallFailed as error:
            cost = monotonic() - began
            if cost >= _WORTH_REMEMBERING_SECONDS:
                self._failed = (monotonic() + cost, str(error))
            raise

    async def _opened(self) -> "Line":
        bound = self._settings.connect_timeout_seconds
        until = monotonic() + bound
        address = await self._resolved(bound)
        client = _client()
        self._use_key(client)
        is_encrypted = self._settings.rsa_key_file is not None
        line = client.Line(address, self._settings.port, is_encrypted=is_encrypted)
        try:
            await self._within(until - monotonic(), line.connect(), "no connection")
            silent = "it accepts connections and is silent"
            await self._within(bound, self._greet(line), silent)
        except BaseException:
            self._end(line)
            raise
        self._line = line
        return line

    async def _greet(self, line: "Line") -> None:
        await line.introduce()
        waiting = line.send(GLOBAL_STATE, _request(GLOBAL_STATE, {}))
        said = _messages().read(GLOBAL_STATE, await waiting.answer).s2c
        logins = {"quote": said.qotLogined, "trade": said.trdLogined}
        missing = " and ".join(name for name, is_in in logins.items() if not is_in)
        if missing:
            sentence = (
                f"OpenD at {self._where} is not logged in to moomoo's {missing} servers:"
                " log it in there, and give it the password or the code that it asks for"
            )
            raise _Said(sentence)

    async def _within(self, seconds: float, work: Awaitable[None], silence: str) -> None:
        """Do a part of the opening. Raises CallFailed with what a person has to do."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await work
        except TimeoutError:
            happened = silence
        except _Said:
            raise
        except Refused as error:
            happened = f"it lets nobody in: {error.text}"
        except CallFailed as error:
            happened = str(error)
        else:
            return
        sentence = (
            f"OpenD does not answer at {self._where} ({happened}):"
            " start it and see that it is logged in"
        )
        raise CallFailed(sentence, may_have_arrived=False)

    async def _resolved(self, bound: float) -> str:
        """Look the name up in a thread that holds nothing up: the system's own way has no deadline."""
        host, address = self._settings.host, None

        def look_up() -> str | None:
            try:
                known = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                return None
            return str(known[0][4][0])

        with suppress(TimeoutError):
            address = await within(bound, look_up)
        if address is None:
            sentence = (
                f"the host {host!r} of OpenD has no address: correct broker.moomoo.host,"
                " or MOOMOO_HOST where it is set"
            )
            raise CallFailed(sentence, may_have_arrived=False)
        return address

    def _use_key(self, client: Any) -> None:
        """Give the client the key; it would read the file itself and never close it."""
        path = self._settings.rsa_key_file
        try:
            if path is not None and self._key is None:
                self._key = Path(path).expanduser().read_text(encoding="ascii")
            client.use_key(self._key)
        except (OSError, ValueError, IndexError, TypeError) as error:
            msg = f"{path}: the key for OpenD cannot be used: {error}"
            raise ConfigError(msg) from None

    async def _answer(self, line: "Line", protocol: int, request: Any, *, writes: bool) -> Any:
        self._under_way[line] = self._under_way.get(line, 0) + 1
        try:
            waiting = line.send(protocol, request)
            body = await self._awaited(line, waiting, writes=writes)
            return _messages().read(protocol, body).s2c
        except Refused:
            raise
        except CallFailed as error:
            raise self._told(error) from None
        finally:
            self._let_go(line)

    async def _awaited(self, line: "Line", waiting: "Waiting", *, writes: bool) -> bytes:
        try:
            done, _ = await asyncio.wait(
                {waiting.answer}, timeout=self._settings.call_timeout_seconds
            )
        except asyncio.CancelledError:
            self._give_up(line, waiting, writes=writes)
            raise
        if done:
            return waiting.answer.result()
        arrived = self._give_up(line, waiting, writes=writes)
        sentence = f"gave no whole answer within {self._settings.call_timeout_seconds:g} s"
        raise CallFailed(sentence, may_have_arrived=arrived)

    def _give_up(self, line: "Line", waiting: "Waiting", *, writes: bool) -> bool:
        """Cut a call off, and use its connection no more: at once after a write, else when others are done."""
        arrived = waiting.cut()
        waiting.answer.cancel()
        if self._line is line:
            self._line = None
        if writes and arrived:
            self._end(line)
        return arrived

    def _let_go(self, line: "Line") -> None:
        self._under_way[line] -= 1
        if self._under_way[line] == 0:
            del self._under_way[line]
            if self._line is not line:
                self._end(line)

    def _end(self, line: "Line") -> None:
        self._ends = [end for end in self._ends if not end.is_set()] + [line.end()]
        if self._line is line:
            self._line = None

    def _told(self, error: CallFailed) -> CallFailed:
        sentence = f"OpenD at {self._where} {error}"
        if self._closed:
            sentence = f"the connection to OpenD at {self._where} was closed before it answered"
        return CallFailed(sentence, may_have_arrived=error.may_have_arrived)

    def _require_open(self) -> None:
        if self._closed:
            sentence = f"the connection to OpenD at {self._where} is closed"
            raise CallFailed(sentence, may_have_arrived=False)

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"


class _Said(CallFailed):
    """A sentence that is whole already."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, may_have_arrived=False)


def _client() -> Any:
    """Import the client at the first call: it takes half a second and 80 MB."""
    from shared import opend_client

    client: Any = opend_client
    return client


def _messages() -> Any:
    from shared import opend_messages

    messages: Any = opend_messages
    return messages


def _request(protocol: int, c2s: Mapping[str, object]) -> Any:
    """Make a message; the one place that everything passes which could trade. Raises ConfigError."""
    messages = _messages()
    request = messages.request_of(protocol, c2s)
    environment = messages.environment_of(request)
    if protocol == _UNLOCK_TRADE or environment not in {None, SIMULATE}:
        msg = f"live trading is refused: protocol {protocol} would reach another account than paper"
        raise ConfigError(msg)
    return request
