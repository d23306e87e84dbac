"""Runs blocking work in a thread of its own and waits for it no longer than it may take."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import TypeVar

from shared.errors import CatalystError

T = TypeVar("T")


async def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what the work returns; raise what it raises, or TimeoutError after that many seconds.

    Work that is late is left behind: its thread ends when it can, and does not keep the process.
    """
    # not asyncio.to_thread: the end of the loop, and then of the process, would wait for the thread
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    threading.Thread(target=_run, args=(work, future), daemon=True).start()
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(future)


class PointOfNoReturn:
    """Settles between work that may be left behind and who waits for it: is the last step taken?

    Either the work passes the point, or it is blocked; never both.
    """

    def __init__(self, seconds: float) -> None:
        """Give the work that many seconds to get here."""
        self._closes_at: float = monotonic() + seconds
        self._lock: threading.Lock = threading.Lock()
        self._passed: bool = False
        self._blocked: bool = False

    @property
    def passed(self) -> bool:
        """Whether the last step was begun."""
        return self._passed

    def pass_by(self) -> bool:
        """Return whether the work may take its last step; asked by the work."""
        with self._lock:
            self._passed = not self._blocked and monotonic() < self._closes_at
            return self._passed

    def block(self) -> bool:
        """Return whether the last step was not taken and never will be; asked by who waits."""
        with self._lock:
            self._blocked = True
            return not self._passed


def _run(work: Callable[[], T], future: "Future[T]") -> None:
    try:
        future.set_result(work())
    except CatalystError as error:
        future.set_exception(error)
    except BaseException as error:
        future.set_exception(error)
        raise
