"""Ways to end a process in the middle: by SIGKILL at a point, or by cancelling its task at an await."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

DEADLINE_SECONDS = 20
_WENT_ANOTHER_WAY = 3


def kill_self() -> None:
    """Be gone, without a word to anybody."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_a_child(play: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Play something in a forked child and return whether a signal ended it, as it should have.

    Raises TimeoutError for a child that does not end.
    """
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(play())
        finally:
            os._exit(_WENT_ANOTHER_WAY)
    return os.WIFSIGNALED(_waited_for(child))


def _waited_for(child: int) -> int:
    give_up_at = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < give_up_at:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    msg = f"the child had not ended after {DEADLINE_SECONDS} s"
    raise TimeoutError(msg)


class Steps:
    """Drives a coroutine, counts the awaits at which it waits, and cancels its task at one of them."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], *, cancel_at: int | None = None
    ) -> None:
        self._coroutine: Coroutine[Any, Any, None] = coroutine
        self._cancel_at: int | None = cancel_at
        self.taken: int = 0

    async def run(self) -> None:
        """Play to the end, or to the await in question."""
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        resume: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        while True:
            try:
                waits_for = resume(value)
            except StopIteration:
                return
            self._count()
            try:
                resume, value = self._coroutine.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 (whatever it is, it is the coroutine's)
                resume, value = self._coroutine.throw, error

    def _count(self) -> None:
        self.taken += 1
        task = asyncio.current_task()
        if task is not None and self.taken == self._cancel_at:
            task.cancel()
