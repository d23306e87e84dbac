import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
import trustme

from shared.clock import ManualClock
from shared.config import AlertSettings
from shared.database.connection import Connection
from shared.database.records import Severity, claim_alert, mark_alert_failed, queue_alert
from shared.errors import DatabaseUnavailable, NotDelivered
from shared.letters import Channel, Letter
from shared.mail import MailChannel, mail_server
from shared.outbox import LEASE, LONGEST_PAUSE, Sender, Tally, next_attempt
from shared.redaction import redactor
from tests.fixtures.databases import open_connection
from tests.fixtures.mail import NOON, MailHost, free_port, mail_host, secrets_for

AGENT = "rehearsal"
SECRET = "hunter2secret"  # noqa: S105 (it opens nothing)


class Pigeon:
    """A channel that takes what it is given, or fails as scripted."""

    def __init__(self, name: str, *errors: NotDelivered) -> None:
        self.name: str = name
        self.errors: deque[NotDelivered] = deque(errors)
        self.letters: list[Letter] = []
        self.is_closed: bool = False

    def deliver(self, letter: Letter, *, seconds: float, last_step: Any) -> None:
        assert seconds > 0
        assert last_step.pass_by()
        if self.errors:
            raise self.errors.popleft()
        self.letters.append(letter)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


async def queued(
    connection: Connection, subject: str, *, severity: Severity = "warning", body: str = "facts"
) -> int:
    alert_id = await queue_alert(
        connection,
        agent_id=AGENT,
        cycle_id=None,
        severity=severity,
        subject=subject,
        body=body,
        dedupe_key=subject,
        at=NOON,
    )
    assert alert_id is not None
    return alert_id


def mail_of(host: MailHost) -> MailChannel:
    server = mail_server(host.secrets())
    assert server is not None
    return MailChannel(server, tls_context=host.trusting)


def mail_to(port: int) -> MailChannel:
    server = mail_server(secrets_for(port))
    assert server is not None
    return MailChannel(server)


async def work_off(
    connection: Connection, clock: ManualClock, *channels: Channel, **settings: Any
) -> Tally:
    return await Sender(
        connection,
        channels,
        agent_id=AGENT,
        settings=AlertSettings(**settings),
        clock=clock,
        redact=redactor([SECRET]),
    ).work_off()


async def rows(connection: Connection) -> Sequence[asyncpg.Record]:
    return await connection.fetch("SELECT * FROM alerts ORDER BY alert_id")


async def test_what_the_server_accepted_is_sent_and_nothing_else_is(
    trading_connection: Connection, clock: ManualClock, post: MailHost
) -> None:
    await queued(trading_connection, "first")
    await queued(trading_connection, "second")
    tally = await work_off(trading_connection, clock, mail_of(post))
    again = await work_off(trading_connection, clock, mail_of(post))

    assert tally == Tally(sent=2, failed=0, left=0)
    assert again == Tally(sent=0, failed=0, left=0)
    assert post.subjects == [
        "[Catalyst rehearsal] warning: first",
        "[Catalyst rehearsal] warning: second",
    ]
    for row in await rows(trading_connection):
        assert (row["status"], row["sent_at"], row["attempts"]) == ("sent", NOON, 1)
        assert (row["accepted_by"], row["next_attempt_at"]) == (["mail"], None)


async def test_critical_alerts_go_first_and_then_the_oldest(
    trading_connection: Connection, clock: ManualClock
) -> None:
    pigeon = Pigeon("pigeon")
    await queued(trading_connection, "old")
    await queued(trading_connection, "new")
    await queued(trading_connection, "naked", severity="critical")
    tally = await work_off(trading_connection, clock, pigeon, max_per_run=2)

    assert tally == Tally(sent=2, failed=0, left=1)
    assert [letter.subject.rpartition(" ")[2] for letter in pigeon.letters] == ["naked", "old"]
    assert pigeon.is_closed


@pytest.mark.parametrize(
    "answer", ["450 try again later", "550 no such person", "421 closing the channel"]
)
async def test_an_alert_that_is_refused_stays_queued_until_it_is_taken(
    trading_connection: Connection, clock: ManualClock, post: MailHost, answer: str
) -> None:
    await queued(trading_connection, "no stop")
    post.handler.recipient_answers = deque([answer])
    refused = await work_off(trading_connection, clock, mail_of(post))
    [row] = await rows(trading_connection)
    too_early = await work_off(trading_connection, clock, mail_of(post))
    clock.move_to(row["next_attempt_at"])
    later = await work_off(trading_connection, clock, mail_of(post))

    assert refused == Tally(sent=0, failed=1, left=0)
    assert (row["status"], row["attempts"], row["sent_at"]) == ("queued", 1, None)
    assert row["next_attempt_at"] == NOON + timedelta(seconds=60)
    assert answer in row["last_error"]
    assert too_early == Tally(sent=0, failed=0, left=0)
    assert later == Tally(sent=1, failed=0, left=0)
    assert len(post.letters) == 1


async def test_a_connection_dropped_after_the_recipient_was_taken_is_no_delivery(
    trading_connection: Connection, clock: ManualClock, post: MailHost
) -> None:
    await queued(trading_connection, "no stop")
    post.handler.data_answers = deque(["drop"])
    dropped = await work_off(trading_connection, clock, mail_of(post))
    clock.move_to(NOON + timedelta(minutes=1))
    later = await work_off(trading_connection, clock, mail_of(post))

    assert dropped == Tally(sent=0, failed=1, left=0)
    assert later == Tally(sent=1, failed=0, left=0)
    assert len(post.letters) == 1


async def test_a_server_that_never_greets_costs_no_more_than_the_time_for_sending(
    trading_connection: Connection, clock: ManualClock, silent_port: int
) -> None:
    await queued(trading_connection, "first")
    await queued(trading_connection, "second")
    started = asyncio.get_running_loop().time()
    tally = await work_off(trading_connection, clock, mail_to(silent_port), total_seconds=0.3)
    took = asyncio.get_running_loop().time() - started
    first, second = await rows(trading_connection)

    assert tally == Tally(sent=0, failed=1, left=1)
    assert took < 5
    assert "not done within 0.3 s" in first["last_error"]
    assert (second["attempts"], second["next_attempt_at"]) == (0, None)


async def test_a_mail_server_that_is_gone_for_a_day_gets_every_alert_once_when_it_is_back(
    trading_connection: Connection, clock: ManualClock, authority: trustme.CA
) -> None:
    port, attempts = free_port(), 0
    await queued(trading_connection, "first")
    await queued(trading_connection, "second")
    while clock.now() < NOON + timedelta(days=1):
        tally = await work_off(trading_connection, clock, mail_to(port))
        attempts += tally.failed
        assert tally.sent == 0
        clock.move_to(clock.now() + timedelta(minutes=30))
    with mail_host(authority, port=port) as host:
        for _ in range(3):
            await work_off(trading_connection, clock, mail_of(host))
            clock.move_to(clock.now() + timedelta(minutes=30))

        assert host.subjects == [
            "[Catalyst rehearsal] warning: first",
            "[Catalyst rehearsal] warning: second",
        ]
    statuses = [(row["status"], row["attempts"]) for row in await rows(trading_connection)]
    assert attempts >= 24
    assert [status for status, _ in statuses] == ["sent", "sent"]
    assert sum(tried for _, tried in statuses) == attempts + 2


async def test_a_server_that_is_gone_is_tried_once_and_not_for_every_alert(
    trading_connection: Connection, clock: ManualClock
) -> None:
    for number in range(3):
        await queued(trading_connection, f"alert {number}")
    tally = await work_off(trading_connection, clock, mail_to(free_port()))

    assert tally == Tally(sent=0, failed=1, left=2)


async def test_two_senders_at_once_send_one_copy_of_each(
    trading_connection: Connection,
    trading_database_url: str,
    clock: ManualClock,
    post: MailHost,
) -> None:
    for number in range(6):
        await queued(trading_connection, f"alert {number}")
    other = await open_connection(trading_database_url)
    try:
        first, second = await asyncio.gather(
            work_off(trading_connection, clock, mail_of(post)),
            work_off(other, clock, mail_of(post)),
        )
    finally:
        await other.close()

    assert first.sent + second.sent == 6
    assert post.subjects == [f"[Catalyst rehearsal] warning: alert {n}" for n in range(6)]


async def test_an_alert_that_another_sender_is_just_taking_is_passed_over_without_waiting(
    trading_connection: Connection, trading_database_url: str, clock: ManualClock
) -> None:
    await queued(trading_connection, "first")
    await queued(trading_connection, "second")
    other = await open_connection(trading_database_url)
    now, leased_until = clock.now(), clock.now() + LEASE
    try:
        async with other.transaction(), asyncio.timeout(10):
            taken = await claim_alert(other, AGENT, at=now, leased_until=leased_until)
            ours, nothing = [
                await claim_alert(trading_connection, AGENT, at=now, leased_until=leased_until)
                for _ in range(2)
            ]
    finally:
        await other.close()

    assert taken is not None
    assert ours is not None
    assert (taken.subject, ours.subject, nothing) == ("first", "second", None)


async def test_an_alert_in_another_senders_hands_is_left_alone_until_its_lease_ends(
    trading_connection: Connection, clock: ManualClock
) -> None:
    await queued(trading_connection, "no stop")
    pigeon = Pigeon("pigeon")
    claimed = await claim_alert(
        trading_connection, AGENT, at=clock.now(), leased_until=clock.now() + LEASE
    )
    meanwhile = await work_off(trading_connection, clock, pigeon)
    clock.move_to(NOON + LEASE)
    afterwards = await work_off(trading_connection, clock, pigeon)

    assert claimed is not None
    assert meanwhile.sent == 0
    assert afterwards.sent == 1


async def test_a_sender_whose_lease_ran_out_cannot_touch_the_lease_of_the_next_one(
    trading_connection: Connection, clock: ManualClock
) -> None:
    alert_id = await queued(trading_connection, "no stop")
    late = await claim_alert(trading_connection, AGENT, at=NOON, leased_until=NOON + LEASE)
    clock.move_to(NOON + LEASE)
    leased_until = clock.now() + LEASE
    await claim_alert(trading_connection, AGENT, at=clock.now(), leased_until=leased_until)
    assert late is not None
    assert late.next_attempt_at is not None
    await mark_alert_failed(
        trading_connection,
        alert_id=alert_id,
        error="too late",
        leased_until=late.next_attempt_at,
        next_attempt_at=clock.now(),
    )
    [row] = await rows(trading_connection)

    assert (row["next_attempt_at"], row["attempts"]) == (leased_until, 0)


async def test_a_sender_that_dies_before_it_could_note_the_delivery_repeats_the_same_message(
    trading_connection: Connection,
    trading_database_url: str,
    clock: ManualClock,
    post: MailHost,
) -> None:
    await queued(trading_connection, "no stop")
    dying = await open_connection(trading_database_url)
    loop = asyncio.get_running_loop()
    post.handler.when_letter_came = lambda: loop.call_soon_threadsafe(dying.terminate)
    with pytest.raises(DatabaseUnavailable):
        await work_off(dying, clock, mail_of(post))
    post.handler.when_letter_came = None
    clock.move_to(NOON + LEASE)
    await work_off(trading_connection, clock, mail_of(post))
    first, second = post.letters

    assert first["Message-ID"] == second["Message-ID"]
    assert [row["status"] for row in await rows(trading_connection)] == ["sent"]


async def test_an_alert_goes_to_the_first_channel_that_takes_it(
    trading_connection: Connection, clock: ManualClock
) -> None:
    gone, works, spare = Pigeon("gone", NotDelivered("gone")), Pigeon("works"), Pigeon("spare")
    await queued(trading_connection, "first")
    await queued(trading_connection, "second")
    tally = await work_off(trading_connection, clock, gone, works, spare)
    [row, _] = await rows(trading_connection)

    assert tally.sent == 2
    assert (len(gone.letters), len(works.letters), len(spare.letters)) == (0, 2, 0)
    assert (row["accepted_by"], row["last_error"]) == (["works"], "gone: gone")


async def test_a_critical_alert_goes_to_all_and_one_that_takes_it_is_enough(
    trading_connection: Connection, clock: ManualClock
) -> None:
    gone, works, spare = Pigeon("gone", NotDelivered("gone")), Pigeon("works"), Pigeon("spare")
    await queued(trading_connection, "naked", severity="critical")
    tally = await work_off(trading_connection, clock, gone, works, spare)
    [row] = await rows(trading_connection)

    assert tally.sent == 1
    assert (len(works.letters), len(spare.letters)) == (1, 1)
    assert row["accepted_by"] == ["works", "spare"]


async def test_a_silent_mail_server_leaves_time_for_the_second_channel(
    trading_connection: Connection, clock: ManualClock, silent_port: int
) -> None:
    works = Pigeon("works")
    await queued(trading_connection, "no stop")
    tally = await work_off(
        trading_connection, clock, mail_to(silent_port), works, total_seconds=0.4
    )

    assert tally.sent == 1
    assert len(works.letters) == 1


async def test_a_letter_that_is_refused_for_what_it_says_does_not_hold_up_the_next(
    trading_connection: Connection, clock: ManualClock, post: MailHost
) -> None:
    await queued(trading_connection, "spam")
    await queued(trading_connection, "no stop")
    post.handler.data_answers = deque(["554 looks like spam"])
    tally = await work_off(trading_connection, clock, mail_of(post))

    assert tally == Tally(sent=1, failed=1, left=0)
    assert post.subjects == ["[Catalyst rehearsal] warning: no stop"]


async def test_another_agents_alerts_are_not_ours_to_send(
    trading_connection: Connection, clock: ManualClock
) -> None:
    await queued(trading_connection, "no stop")
    await trading_connection.execute("UPDATE alerts SET agent_id = 'another'")

    assert await work_off(trading_connection, clock, Pigeon("pigeon")) == Tally(
        sent=0, failed=0, left=0
    )


async def test_no_secret_is_sent_and_none_is_kept_as_an_error(
    trading_connection: Connection, clock: ManualClock
) -> None:
    pigeon = Pigeon("pigeon", NotDelivered(f"no entry for {SECRET}", channel_is_down=False))
    await queued(trading_connection, f"it is {SECRET}", body=f"so: {SECRET}")
    await work_off(trading_connection, clock, pigeon)
    [row] = await rows(trading_connection)
    clock.move_to(row["next_attempt_at"])
    await work_off(trading_connection, clock, pigeon)
    [letter] = pigeon.letters

    assert row["last_error"] == "pigeon: no entry for [redacted]"
    assert SECRET not in letter.subject + letter.body
    assert letter.body.startswith("so: [redacted]\n")


@pytest.mark.parametrize(
    ("attempts", "pause"),
    [
        (1, timedelta(seconds=60)),
        (2, timedelta(seconds=120)),
        (6, timedelta(seconds=1920)),
        (7, LONGEST_PAUSE),
        (10_000, LONGEST_PAUSE),
    ],
)
def test_each_failure_doubles_the_pause_up_to_an_hour(attempts: int, pause: timedelta) -> None:
    now: datetime = NOON

    assert next_attempt(attempts, 60.0, now) == now + pause
