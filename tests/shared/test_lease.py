from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.clock import BootMoment, boot_moment
from shared.lease import Cause, Ended, Holder, holder_in, holder_now

NOW = datetime(2026, 6, 15, 14, 0, 5, tzinfo=UTC)
THIS_BOOT = BootMoment(boot_id="this", seconds=1000.0)
HOLDER = holder_now(pid=77, ticks=5, mode="trade", lease_seconds=600, now=NOW, since_boot=THIS_BOOT)


def test_what_is_written_is_what_is_read() -> None:
    assert holder_in(HOLDER.as_json()) == HOLDER
    assert str(HOLDER) == "mode trade, pid 77, since 2026-06-15T14:00:05Z"
    assert HOLDER.lease_ends == "2026-06-15T14:10:05Z"


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        (BootMoment(boot_id="this", seconds=1599.9), False),
        (BootMoment(boot_id="this", seconds=1600.0), True),
        (BootMoment(boot_id="this", seconds=0.0), False),
        (BootMoment(boot_id="another", seconds=99999.0), False),
        (None, False),
    ],
    ids=["within", "at its end", "before", "after a restart", "no such clock"],
)
def test_a_lease_ends_by_the_clock_of_its_boot_alone(now: BootMoment | None, expired: bool) -> None:
    assert HOLDER.has_expired(now) is expired
    assert not replace(HOLDER, ends_at=None).has_expired(now)


@pytest.mark.parametrize(
    "now", [datetime(1970, 1, 2, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)]
)
def test_what_the_wall_clock_said_decides_nothing(now: datetime) -> None:
    holder = holder_now(
        pid=77, ticks=5, mode="trade", lease_seconds=600, now=now, since_boot=THIS_BOOT
    )

    assert not holder.has_expired(BootMoment(boot_id="this", seconds=1599.0))
    assert holder.has_expired(BootMoment(boot_id="this", seconds=1601.0))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\0\0", b'{"pid": 1}', b'{"pid": "x", "mode": "trade"}', b"\xff",
     b'{"pid": 0, "mode": "trade"}', b'{"pid": -1, "mode": "trade"}', b"[" * 4000],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
def test_a_torn_file_names_nobody(content: bytes) -> None:
    assert holder_in(content) is None


def test_a_file_without_a_lease_gives_a_holder_that_never_expires() -> None:
    content = b'{"pid": 77, "process_started_ticks": 5, "mode": "trade", "since": "then"}'
    holder = holder_in(content)

    assert isinstance(holder, Holder)
    assert not holder.has_expired(BootMoment(boot_id="this", seconds=1e9))


def test_the_machines_own_clock_goes_forward_within_one_boot() -> None:
    first, second = boot_moment(), boot_moment()

    assert first is not None
    assert second is not None
    assert first.boot_id == second.boot_id
    assert first.seconds <= second.seconds


@pytest.mark.parametrize(
    ("cause", "was_killed", "alarming"),
    [
        (Cause.EXPIRED, True, True),
        (Cause.EXPIRED, False, True),
        (Cause.PREEMPTED, True, True),
        (Cause.PREEMPTED, False, False),
    ],
)
def test_only_a_run_that_makes_room_for_close_alarms_nobody(
    cause: Cause, was_killed: bool, alarming: bool
) -> None:
    assert Ended(holder=HOLDER, cause=cause, was_killed=was_killed).is_alarming is alarming


def test_an_ended_run_is_told_in_a_sentence() -> None:
    assert str(Ended(holder=HOLDER, cause=Cause.EXPIRED, was_killed=True)) == (
        "the run in mode trade, pid 77, since 2026-06-15T14:00:05Z was killed: its lease had ended"
    )
