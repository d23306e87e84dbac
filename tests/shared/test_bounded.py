import threading

import pytest

from shared.bounded import PointOfNoReturn, within
from shared.errors import NotDelivered


async def test_work_returns_what_it_returns() -> None:
    assert await within(10, lambda: 42) == 42


async def test_an_error_of_the_work_reaches_who_waits() -> None:
    def refuse() -> None:
        raise NotDelivered("no")

    with pytest.raises(NotDelivered, match="no"):
        await within(10, refuse)


async def test_late_work_is_left_behind_in_a_thread_that_does_not_keep_the_process() -> None:
    may_end, workers = threading.Event(), list[threading.Thread]()

    def linger() -> None:
        workers.append(threading.current_thread())
        may_end.wait()

    with pytest.raises(TimeoutError):
        await within(0.05, linger)
    is_left = workers[0].is_alive() and workers[0].daemon
    may_end.set()
    workers[0].join()

    assert is_left


def test_a_point_is_either_passed_or_blocked() -> None:
    passed, blocked = PointOfNoReturn(10), PointOfNoReturn(10)

    assert passed.pass_by()
    assert not passed.block()
    assert blocked.block()
    assert not blocked.pass_by()
    assert (passed.passed, blocked.passed) == (True, False)


def test_a_point_cannot_be_passed_when_its_time_is_over() -> None:
    assert not PointOfNoReturn(0).pass_by()
