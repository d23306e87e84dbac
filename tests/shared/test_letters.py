from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.database.records import QueuedAlert
from shared.letters import LONGEST_BODY, LONGEST_SUBJECT, Letter, compose, one_line
from shared.redaction import redactor
from tests.fixtures.mail import DATABASE, NOON


def alert(subject: str = "no stop", body: str = "ACME has no stop") -> QueuedAlert:
    return QueuedAlert(
        alert_id=17,
        cycle_id="rehearsal-trade-1",
        severity="critical",
        subject=subject,
        body=body,
        queued_at=NOON,
        attempts=0,
        next_attempt_at=None,
    )


def letter(of: QueuedAlert, *secrets: str) -> Letter:
    return compose(
        of,
        agent_id="rehearsal",
        database=DATABASE,
        at=NOON + timedelta(minutes=1),
        redact=redactor(secrets),
    )


def test_a_letter_says_what_who_when_and_in_which_cycle() -> None:
    written = letter(alert())

    assert written.subject == "[Catalyst rehearsal] critical: no stop"
    assert written.body == (
        "ACME has no stop\n\n"
        "Agent:    rehearsal\n"
        "Severity: critical\n"
        "Cycle:    rehearsal-trade-1\n"
        "Queued:   2026-06-15 12:00:00 UTC\n"
        "Alert:    17\n"
    )


def test_the_name_of_a_letter_is_the_same_for_every_copy_and_differs_between_databases() -> None:
    assert letter(alert()).name == letter(alert()).name == f"alert-17.{DATABASE.hex}"


def test_a_secret_is_taken_out_of_subject_and_body() -> None:
    written = letter(alert("it is hunter2secret", "so: hunter2secret"), "hunter2secret")

    assert "hunter2secret" not in written.subject + written.body
    assert written.body.startswith("so: [redacted]")


def test_a_secret_across_the_end_of_what_is_kept_is_taken_out_before_the_rest_is_cut_off() -> None:
    body = "x" * (LONGEST_BODY - 8) + "hunter2secret"

    assert "hunter" not in letter(alert(body=body), "hunter2secret").body


def test_what_is_too_long_is_cut_off_visibly() -> None:
    written = letter(alert("s" * 1000, "b" * 100_000))

    assert len(written.subject) == LONGEST_SUBJECT
    assert written.subject.endswith("\u2026")
    assert len(written.body) < LONGEST_BODY + 500
    assert "b\u2026\n\nAgent:" in written.body


@given(st.text())
def test_whatever_a_subject_holds_it_is_one_printable_line(text: str) -> None:
    line = letter(alert(subject=text)).subject

    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert one_line(line) == line
