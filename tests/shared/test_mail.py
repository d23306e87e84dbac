from collections import deque

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from shared.bounded import PointOfNoReturn
from shared.config import Secrets
from shared.errors import ConfigError, NotDelivered
from shared.letters import Letter
from shared.mail import MailChannel, MailServer, Tls, _message, mail_server
from tests.fixtures.mail import (
    DATABASE,
    NOON,
    PASSWORD,
    PERSON,
    USER,
    MailHost,
    mail_host,
)

NAMED = {"smtp_host": "mail.example.com", "alert_email": PERSON}
LOGIN = {"smtp_user": USER, "smtp_password": PASSWORD}


def letter(subject: str = "no stop", body: str = "ACME has no stop\n", number: int = 1) -> Letter:
    return Letter(
        name=f"alert-{number}.{DATABASE.hex}",
        severity="critical",
        subject=subject,
        body=body,
        at=NOON,
    )


def channel_to(host: MailHost, **changed: str) -> MailChannel:
    server = mail_server(host.secrets(**changed))
    assert server is not None
    return MailChannel(server, tls_context=host.trusting)


def strangers_channel_to(host: MailHost, **changed: str) -> MailChannel:
    """Connect as a machine that knows the usual authorities only."""
    return MailChannel(channel_to(host, **changed).server)


def deliver(channel: MailChannel, *letters: Letter) -> None:
    """Deliver one after the other; whatever happens, the connection is closed."""
    try:
        for one in letters or (letter(),):
            channel.deliver(one, seconds=10, last_step=PointOfNoReturn(10))
    finally:
        channel.close()


def refused(channel: MailChannel) -> str:
    with pytest.raises(NotDelivered) as error:
        deliver(channel)
    return str(error.value)


@pytest.mark.parametrize("amount", ["100 USD", "¥100"])
def test_a_letter_arrives_as_it_was_written(post: MailHost, amount: str) -> None:
    text = f"ACME has no stop, {amount} at risk.\n.\nA line with one dot stays.\n"
    deliver(channel_to(post), letter("no stöp", text))
    [arrived], [envelope] = post.letters, post.handler.envelopes

    assert arrived["Subject"] == "no stöp"
    assert arrived.get_content().replace("\r\n", "\n") == text
    assert arrived.get_content_type() == "text/plain"
    assert (arrived["From"], arrived["To"]) == (USER, PERSON)
    assert (envelope.mail_from, envelope.rcpt_tos) == (USER, [PERSON])
    assert arrived["Date"].datetime == NOON
    assert arrived["Message-ID"] == f"<alert-1.{DATABASE.hex}@example.com>"
    assert arrived["Importance"] == "high"


def test_several_letters_share_a_connection(post: MailHost) -> None:
    channel = channel_to(post)
    deliver(channel, letter(number=1), letter(number=2))

    assert len(post.letters) == 2
    assert len({id(envelope) for envelope in post.handler.envelopes}) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x85", "\x0b"])
def test_a_subject_cannot_add_a_header_or_a_recipient(post: MailHost, end: str) -> None:
    evil = f"hello{end}Bcc: thief@example.net{end}{end}body"
    deliver(channel_to(post), letter(evil))
    [arrived], [envelope] = post.letters, post.handler.envelopes

    assert arrived["Bcc"] is None
    assert arrived["Subject"] == "hello Bcc: thief@example.net body"
    assert envelope.rcpt_tos == [PERSON]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_subject_changes_the_headers(subject: str) -> None:
    server = MailServer(
        host="localhost",
        port=25,
        tls=Tls.NONE,
        user=None,
        password=None,
        sender=USER,
        recipient=PERSON,
    )
    head, _, _ = _message(letter(subject), server).as_bytes().partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")]

    assert head.isascii()
    assert names == [
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"Importance",
        b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version",
    ]  # fmt: skip


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.SSL])
def test_a_password_travels_under_tls_alone(authority: trustme.CA, tls: Tls) -> None:
    with mail_host(authority, tls=tls, with_login=True) as host:
        deliver(channel_to(host, **LOGIN))

        assert len(host.letters) == 1


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.SSL])
def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(
    authority: trustme.CA, tls: Tls
) -> None:
    with mail_host(authority, tls=tls, with_login=True) as host:
        said = refused(strangers_channel_to(host, **LOGIN))

        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert host.letters == []


def test_a_certificate_for_another_name_is_refused(authority: trustme.CA) -> None:
    with mail_host(authority, tls=Tls.STARTTLS) as host:
        said = refused(channel_to(host, smtp_host="127.0.0.1"))

        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert host.letters == []


def test_a_server_without_starttls_gets_nothing(post: MailHost) -> None:
    assert "STARTTLS" in refused(channel_to(post, smtp_tls="starttls", **LOGIN))
    assert post.letters == []


def test_a_wrong_password_is_said_and_not_shown(authority: trustme.CA) -> None:
    wrong = {"smtp_user": USER, "smtp_password": "wrong-password"}
    with mail_host(authority, tls=Tls.STARTTLS, with_login=True) as host:
        said = refused(channel_to(host, **wrong))

    assert "535" in said
    assert "wrong-password" not in said


def test_a_password_that_smtp_cannot_carry_is_no_defect(authority: trustme.CA) -> None:
    with mail_host(authority, tls=Tls.STARTTLS, with_login=True) as host:
        said = refused(channel_to(host, **LOGIN | {"smtp_password": "pässwort"}))

    assert "ascii" in said


def test_nobody_there_is_said_with_the_address(authority: trustme.CA) -> None:
    with mail_host(authority) as host:
        channel = channel_to(host)

    assert f"localhost:{host.port}: " in refused(channel)


@pytest.mark.parametrize("answer", ["450 try later", "550 no such person", "421 closing"])
def test_a_refused_recipient_is_not_delivered(post: MailHost, answer: str) -> None:
    post.handler.recipient_answers = deque([answer])

    assert refused(channel_to(post)) == f"the server refused the recipient {PERSON}: {answer}"


@pytest.mark.parametrize(
    ("answer", "is_down"), [("554 looks like spam", False), ("421 closing", True)]
)
def test_a_refused_letter_says_whether_others_have_a_chance(
    post: MailHost, answer: str, is_down: bool
) -> None:
    post.handler.data_answers = deque([answer])
    with pytest.raises(NotDelivered, match=answer) as error:
        deliver(channel_to(post))

    assert error.value.channel_is_down is is_down


def test_after_a_refused_letter_the_next_one_arrives(post: MailHost) -> None:
    post.handler.data_answers = deque(["554 looks like spam"])
    channel = channel_to(post)
    refused(channel)
    deliver(channel, letter("another"))

    assert post.subjects == ["another"]


def test_a_connection_lost_after_the_letter_leaves_a_doubt(post: MailHost) -> None:
    post.handler.data_answers = deque(["drop"])

    assert "may have arrived all the same" in refused(channel_to(post))


def test_a_letter_whose_time_is_over_is_not_handed_over(post: MailHost) -> None:
    channel = channel_to(post)
    with pytest.raises(NotDelivered, match="time for sending was over"):
        channel.deliver(letter(), seconds=10, last_step=PointOfNoReturn(0))

    assert post.letters == []


@pytest.mark.parametrize(
    ("given_variables", "port", "tls"),
    [
        ({}, 587, Tls.STARTTLS),
        ({"smtp_port": "465"}, 465, Tls.SSL),
        ({"smtp_port": "2525"}, 2525, Tls.STARTTLS),
        ({"smtp_tls": "SSL"}, 465, Tls.SSL),
        ({"smtp_tls": "none", "smtp_host": "127.0.0.1"}, 25, Tls.NONE),
    ],
)
def test_port_and_encryption_follow_from_each_other(
    given_variables: dict[str, str], port: int, tls: Tls
) -> None:
    server = mail_server(Secrets.model_validate(NAMED | LOGIN | given_variables))

    assert server is not None
    assert (server.port, server.tls) == (port, tls)


@pytest.mark.parametrize(
    ("given_variables", "sender"),
    [
        (LOGIN, USER),
        (LOGIN | {"smtp_from": "other@example.com"}, "other@example.com"),
        ({"smtp_user": "apikey", "smtp_password": PASSWORD}, PERSON),
        ({}, PERSON),
    ],
)
def test_the_sender_is_the_user_unless_another_is_named(
    given_variables: dict[str, str], sender: str
) -> None:
    server = mail_server(Secrets.model_validate(NAMED | given_variables))

    assert server is not None
    assert (server.sender, server.recipient) == (sender, PERSON)


def test_no_variable_at_all_is_no_server_and_no_mistake() -> None:
    assert mail_server(Secrets()) is None
    assert mail_server(Secrets(alert_email=PERSON)) is None


@pytest.mark.parametrize(
    ("given_variables", "said"),
    [
        ({"smtp_host": None, **LOGIN}, "SMTP_HOST: it is not set"),
        ({"alert_email": None}, "ALERT_EMAIL: it is not set"),
        ({"smtp_user": USER}, "SMTP_PASSWORD: it is not set"),
        ({"smtp_password": PASSWORD}, "SMTP_USER: it is not set"),
        ({"smtp_port": "0"}, "SMTP_PORT: it must be a number from 1 to 65535, was '0'"),
        ({"smtp_port": "mail"}, "was 'mail'"),
        ({"smtp_tls": "maybe"}, "SMTP_TLS: it must be one of starttls, ssl, none, was 'maybe'"),
        ({"smtp_tls": "none"}, "SMTP_TLS: none is for a server on this machine only"),
        ({"alert_email": "a@example.com, b@example.com"}, "ALERT_EMAIL: it must be one address"),
        ({"alert_email": "a@example.com\nBcc: b@example.com"}, "ALERT_EMAIL: it must be one"),
        ({"alert_email": "a@b@example.com"}, "ALERT_EMAIL: it must be one"),
        ({"smtp_from": "Agent <agent@example.com>"}, "SMTP_FROM: it must be one address"),
    ],
)
def test_a_server_named_wrongly_is_said_by_its_variable(
    given_variables: dict[str, str | None], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        mail_server(Secrets.model_validate(NAMED | given_variables))

    assert said in str(error.value)
    assert PASSWORD not in str(error.value)
