"""Calls to Alpaca, for orders and for data: alpaca-py's own client over sockets that we bound and can cut.

Left alone, that client waits for ever and sends an order up to four times. Here a call ends at a deadline
whatever the server does, nothing is sent twice, and what was given up before it left never leaves.

    http = AlpacaHttp(settings, keys, settings.data_url, share)
    bars = await http.get("/stocks/bars", {"symbols": "AAPL,MSFT", "feed": settings.feed})
    news = await http.get("/news", {"symbols": "AAPL"}, version="v1beta1")

Fractions in answers are Decimal with every digit that was sent.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.config_brokers import AlpacaSettings
from shared.config_section import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from shared.alpaca_sockets import Call

Json = object
"""What JSON can hold: dict, list, str, int, Decimal, bool, None."""

Params = Mapping[str, str]

AT_ONCE = 4
"""Calls of one client that are under way together, each in a thread of its own."""

_MINUTE = 60.0
_LONGEST_RETRY_AFTER = 60.0
_KEPT_FOR_WRITES = 10
"""One in so many requests is kept for writes: reads never use up what a sale needs."""
_ENDING_SECONDS = 1.0
_LOOK_SECONDS = 0.002
_LONGEST_NUMBER = 9


@dataclass(frozen=True, slots=True)
class AlpacaKeys:
    """The two keys of one account."""

    api_key: SecretStr
    secret_key: SecretStr


class CallFailed(Exception):
    """A call that gave no answer to use; the text is one sentence without any secret."""

    def __init__(
        self, sentence: str, *, may_have_arrived: bool, retry_after_seconds: float | None = None
    ) -> None:
        """Say whether the server may have done what was asked for."""
        super().__init__(sentence)
        self.may_have_arrived: bool = may_have_arrived
        self.retry_after_seconds: float | None = retry_after_seconds


class Refused(CallFailed):
    """An answer with an error's status; `code` and `message` are None where the body is none of Alpaca's."""

    def __init__(self, error: "ErrorReply") -> None:
        """Keep the parts of the answer."""
        super().__init__(
            error.sentence, may_have_arrived=True, retry_after_seconds=error.retry_after_seconds
        )
        self.status: int = error.status
        self.code: int | None = error.code
        self.message: str | None = error.message
        self.details: Mapping[str, object] = error.details


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """What an answer with an error's status says."""

    status: int
    code: int | None
    message: str | None
    details: Mapping[str, object] = field(default_factory=dict[str, object])
    """Every other key of its body."""
    retry_after_seconds: float | None = None

    @classmethod
    def read(cls, status: int, body: str, retry_after: str | None) -> "ErrorReply":
        """Read an answer; what is not of Alpaca's form has no code and no message."""
        found = _object_in(body)
        code, message = found.pop("code", None), found.pop("message", None)
        return cls(
            status=status,
            code=code if isinstance(code, int) else None,
            message=message if isinstance(message, str) else None,
            details=found,
            retry_after_seconds=_seconds(retry_after),
        )

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        if self.message is None:
            return f"Alpaca answered {self.status} without a message of its own"
        code = "" if self.code is None else f", {self.code}"
        return f"Alpaca answered {self.status}{code}: {self.message}"


class SdkClient(Protocol):
    """The part of alpaca-py's `RESTClient` that is used."""

    def get(self, path: str, data: dict[str, str], *, api_version: str) -> Json:
        """Send GET."""
        ...

    def post(self, path: str, data: dict[str, object]) -> Json:
        """Send POST."""
        ...

    def patch(self, path: str, data: dict[str, object]) -> Json:
        """Send PATCH."""
        ...

    def delete(self, path: str) -> Json:
        """Send DELETE."""
        ...


class RequestShare:
    """The requests that this process may send in any minute; its broker and its feed share one."""

    def __init__(self, per_minute: int) -> None:
        """Take the process's share of what the account may send."""
        self._per_minute: int = per_minute
        self._sent: deque[float] = deque()

    def seconds_to_wait(self, now: float, *, writes: bool) -> float:
        """Return how long the next request has to wait; 0 when it may go."""
        while self._sent and self._sent[0] <= now - _MINUTE:
            self._sent.popleft()
        allowed = self._per_minute if writes else self._for_reads
        if len(self._sent) < allowed:
            return 0.0
        return self._sent[len(self._sent) - allowed] + _MINUTE - now

    def note(self, now: float) -> None:
        """Count a request that goes now."""
        self._sent.append(now)

    @property
    def _for_reads(self) -> int:
        return max(1, self._per_minute - max(1, self._per_minute // _KEPT_FOR_WRITES))


class AlpacaHttp:
    """One of Alpaca's servers, asked through one client of alpaca-py; for one event loop."""

    def __init__(
        self, settings: AlpacaSettings, keys: AlpacaKeys, base_url: str, share: RequestShare
    ) -> None:
        """Take how to reach it; nothing is imported or connected before the first call."""
        self._settings: AlpacaSettings = settings
        self._keys: AlpacaKeys = keys
        self._base_url: str = base_url
        self._share: RequestShare = share
        self._client: SdkClient | None = None
        self._close_sockets: Callable[[], None] = lambda: None
        self._running: dict[Call, threading.Thread] = {}
        self._places: asyncio.Semaphore = asyncio.Semaphore(AT_ONCE)
        self._closed: bool = False

    async def get(self, path: str, params: Params | None = None, *, version: str = "v2") -> Json:
        """Read. Raises CallFailed."""
        return await self._run(
            lambda client: client.get(path, dict(params or {}), api_version=version), writes=False
        )

    async def post(self, path: str, body: Mapping[str, object]) -> Json:
        """Send something new, once. Raises CallFailed."""
        return await self._run(lambda client: client.post(path, dict(body)), writes=True)

    async def patch(self, path: str, body: Mapping[str, object]) -> Json:
        """Change something, once. Raises CallFailed."""
        return await self._run(lambda client: client.patch(path, dict(body)), writes=True)

    async def delete(self, path: str) -> Json:
        """Take something back, once; the answer is None where it is empty. Raises CallFailed."""
        return await self._run(lambda client: client.delete(path), writes=True)

    async def close(self) -> None:
        """Cut every call off and close every connection; safe to call twice.

        Afterwards nothing that was asked for can reach the server any more.
        """
        self._closed = True
        running = dict(self._running)
        for call in running:
            call.cut()
        until = monotonic() + self._settings.connect_timeout_seconds + _ENDING_SECONDS
        while any(thread.is_alive() for thread in running.values()) and monotonic() < until:  # noqa: ASYNC110 (a thread's end is no event)
            await asyncio.sleep(_LOOK_SECONDS)
        self._close_sockets()

    async def _run(self, work: Callable[[SdkClient], Json], *, writes: bool) -> Json:
        self._require_open()
        client = self._opened()
        await self._wait_for_share(writes=writes)
        until = monotonic() + self._settings.call_timeout_seconds
        await self._take_place(until)
        try:
            self._require_open()
            return await self._in_thread(client, work, until, writes=writes)
        finally:
            self._places.release()

    async def _take_place(self, until: float) -> None:
        try:
            async with asyncio.timeout(until - monotonic()):
                await self._places.acquire()
        except TimeoutError:
            sentence = f"Alpaca at {self._host} was not asked: {AT_ONCE} other calls are waiting"
            raise CallFailed(sentence, may_have_arrived=False) from None

    async def _wait_for_share(self, *, writes: bool) -> None:
        """Wait for a turn: a read until the minute is over, a write not so long that it would be stale."""
        settings = self._settings
        patience = settings.call_timeout_seconds if writes else settings.share_timeout_seconds
        until = monotonic() + patience
        while (wait := self._share.seconds_to_wait(monotonic(), writes=writes)) > 0:
            if monotonic() + wait > until:
                sentence = "this process has used up its share of Alpaca's requests a minute"
                raise CallFailed(sentence, may_have_arrived=False, retry_after_seconds=wait)
            await asyncio.sleep(wait)
        self._share.note(monotonic())

    async def _in_thread(
        self,
        client: SdkClient,
        work: Callable[[SdkClient], Json],
        until: float,
        *,
        writes: bool,
    ) -> Json:
        from shared.alpaca_sockets import Call, answer

        call, future = Call(writes=writes), Future[Json]()
        future.set_running_or_notify_cancel()
        thread = threading.Thread(
            target=_fulfil, args=(future, lambda: answer(call, work, client, self._host))
        )
        thread.daemon = True
        self._running = {c: t for c, t in self._running.items() if t.is_alive()} | {call: thread}
        thread.start()
        waited_for = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({waited_for}, timeout=until - monotonic())
        except asyncio.CancelledError:
            call.cut()
            raise
        if done:
            return waited_for.result()
        waited_for.cancel()
        sentence = (
            f"Alpaca at {self._host} gave no whole answer within"
            f" {self._settings.call_timeout_seconds:g} s"
        )
        raise CallFailed(sentence, may_have_arrived=call.cut())

    def _opened(self) -> SdkClient:
        """Make the client at the first call: its import alone takes most of a second."""
        if self._client is not None:
            return self._client
        from alpaca.common.rest import RESTClient

        from shared.alpaca_sockets import BoundedAdapter

        made = RESTClient(
            base_url=self._base_url,
            api_key=self._keys.api_key.get_secret_value(),
            secret_key=self._keys.secret_key.get_secret_value(),
            raw_data=True,
        )
        made._retry = 0  # noqa: SLF001 (its constructor takes 0 for "the default", which is 3)
        session = made._session  # noqa: SLF001
        session.trust_env = urlsplit(self._base_url).hostname not in LOOPBACK_HOSTS
        for scheme in ("https://", "http://"):
            adapter = BoundedAdapter(
                connect_seconds=self._settings.connect_timeout_seconds,
                read_seconds=self._settings.read_timeout_seconds,
                connections=AT_ONCE,
            )
            session.mount(scheme, adapter)
        self._close_sockets = session.close
        self._client = cast("SdkClient", made)
        return self._client

    def _require_open(self) -> None:
        if self._closed:
            sentence = f"the connection to Alpaca at {self._host} is closed"
            raise CallFailed(sentence, may_have_arrived=False)

    @property
    def _host(self) -> str:
        return urlsplit(self._base_url).netloc


def _fulfil(future: "Future[Json]", work: Callable[[], Json]) -> None:
    try:
        future.set_result(work())
    except CallFailed as error:
        future.set_exception(error)
    except BaseException as error:
        future.set_exception(error)
        raise


def _object_in(body: str) -> dict[str, object]:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    text = (retry_after or "").strip()
    if not text.isdecimal() or len(text) > _LONGEST_NUMBER:
        return None
    return min(float(text), _LONGEST_RETRY_AFTER)
