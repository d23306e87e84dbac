"""Mail by SMTP: what the environment says about the server, and one connection that delivers letters.

It blocks and knows no event loop. Only the server's 250 for the whole letter counts as delivered.
"""

import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum

from pydantic import SecretStr

from shared.bounded import PointOfNoReturn
from shared.config import Secrets
from shared.config_section import LOOPBACK_HOSTS
from shared.errors import ConfigError, NotDelivered, Problem
from shared.letters import Letter, one_line

_ADDRESS = re.compile(r"[!-?A-~]+@[A-Za-z0-9.\[\]:-]+")
_FORBIDDEN_IN_ADDRESS = frozenset(' ,;<>()"\\')
_SERVER_SAID_AT_MOST = 200


class Tls(StrEnum):
    """How the connection is kept private."""

    STARTTLS = "starttls"
    SSL = "ssl"
    NONE = "none"


_PORTS = {Tls.STARTTLS: 587, Tls.SSL: 465, Tls.NONE: 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Who takes mail from us, and for whom."""

    host: str
    port: int
    tls: Tls
    user: str | None
    password: SecretStr | None
    sender: str
    recipient: str


def mail_server(secrets: Secrets) -> MailServer | None:
    """Return the server that the environment names, or None when it names none at all.

    Raises ConfigError with every variable that is wrong or missing.
    """
    if not (secrets.smtp_host or secrets.smtp_user or secrets.smtp_password):
        return None
    problems = tuple(_problems(secrets))
    if problems:
        raise ConfigError(problems)
    tls = _tls(secrets)
    recipient = secrets.alert_email or ""
    return MailServer(
        host=secrets.smtp_host or "",
        port=int(secrets.smtp_port) if secrets.smtp_port else _PORTS[tls],
        tls=tls,
        user=secrets.smtp_user,
        password=secrets.smtp_password,
        sender=_sender(secrets) or recipient,
        recipient=recipient,
    )


class MailChannel:
    """One connection to the mail server, opened by the first letter."""

    def __init__(self, server: MailServer, *, tls_context: ssl.SSLContext | None = None) -> None:
        """Connect to nothing yet; without a context the system's certificate authorities count."""
        self.server: MailServer = server
        self._tls_context: ssl.SSLContext | None = tls_context
        self._smtp: smtplib.SMTP | None = None

    @property
    def name(self) -> str:
        """What the log calls it."""
        return "mail"

    def deliver(self, letter: Letter, *, seconds: float, last_step: PointOfNoReturn) -> None:
        """Hand the letter to the server. Raises NotDelivered."""
        try:
            smtp = self._smtp = self._smtp or self._connect(seconds)
            self._transmit(smtp, letter, last_step)
        except NotDelivered:
            self._drop()
            raise
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            self._drop()
            doubt = "; the letter may have arrived all the same" if last_step.passed else ""
            server = f"{self.server.host}:{self.server.port}"
            raise NotDelivered(f"{server}: {_sentence(error)}{doubt}") from error

    def close(self) -> None:
        """Take leave of the server."""
        if self._smtp is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._smtp.quit()
        self._drop()

    def _connect(self, seconds: float) -> smtplib.SMTP:
        server = self.server
        context = self._tls_context or ssl.create_default_context()
        # whoever waits gives up first and can say so; this only ends the thread that is left behind
        timeout, own_name = 2 * seconds, _own_name()
        if server.tls is Tls.SSL:
            smtp = smtplib.SMTP_SSL(
                server.host, server.port, own_name, timeout=timeout, context=context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, own_name, timeout=timeout)
        try:
            if server.tls is Tls.STARTTLS:
                smtp.starttls(context=context)
            if server.user is not None and server.password is not None:
                smtp.login(server.user, server.password.get_secret_value())
            smtp.ehlo_or_helo_if_needed()
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _transmit(self, smtp: smtplib.SMTP, letter: Letter, last_step: PointOfNoReturn) -> None:
        server = self.server
        _require(smtp.mail(server.sender), f"sender {server.sender}")
        _require(smtp.rcpt(server.recipient), f"recipient {server.recipient}")
        if not last_step.pass_by():
            raise NotDelivered("the time for sending was over before the letter was handed over")
        try:
            code, said = smtp.data(_message(letter, server).as_bytes())
        except smtplib.SMTPDataError as error:
            code, said = error.smtp_code, error.smtp_error
        _require((code, said), "letter", channel_is_down=code == _CLOSING)
        if code != _ACCEPTED:
            raise NotDelivered(f"the server's answer to the letter was {code}, not {_ACCEPTED}")

    def _drop(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
        self._smtp = None


_ACCEPTED, _CLOSING = 250, 421  # RFC 5321, section 4.2.3


def _require(answer: tuple[int, bytes | str], what: str, *, channel_is_down: bool = True) -> None:
    code, said = answer
    if not 200 <= code < 300:
        msg = f"the server refused the {what}: {code} {_said(said)}"
        raise NotDelivered(msg, channel_is_down=channel_is_down)


def _message(letter: Letter, server: MailServer) -> EmailMessage:
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["From"] = server.sender
    message["To"] = server.recipient
    message["Subject"] = one_line(letter.subject)
    message["Date"] = format_datetime(letter.at)
    # the same for every copy: should a copy be sent twice, the receiver can tell
    message["Message-ID"] = f"<{letter.name}@{server.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    if letter.severity == "critical":
        message["Importance"] = "high"
    message.set_content(letter.body)
    return message


def _problems(secrets: Secrets) -> Iterator[Problem]:
    if not secrets.smtp_host:
        yield Problem("SMTP_HOST", "it is not set, and other SMTP variables are")
    if (secrets.smtp_user is None) != (secrets.smtp_password is None):
        missing = "SMTP_PASSWORD" if secrets.smtp_user else "SMTP_USER"
        yield Problem(missing, "it is not set: user and password belong together")
    if secrets.smtp_tls is not None and secrets.smtp_tls.lower() not in set(Tls):
        known = ", ".join(Tls)
        yield Problem("SMTP_TLS", f"it must be one of {known}, was {secrets.smtp_tls!r}")
    elif _tls(secrets) is Tls.NONE and secrets.smtp_host not in LOOPBACK_HOSTS:
        what = f"none is for a server on this machine only, and SMTP_HOST is {secrets.smtp_host}"
        yield Problem("SMTP_TLS", what, "use starttls or ssl")
    if secrets.smtp_port is not None and not _is_port(secrets.smtp_port):
        what = f"it must be a number from 1 to 65535, was {secrets.smtp_port!r}"
        yield Problem("SMTP_PORT", what)
    yield from _address_problems(secrets)


def _address_problems(secrets: Secrets) -> Iterator[Problem]:
    if not secrets.alert_email:
        yield Problem("ALERT_EMAIL", "it is not set, so mail would have no recipient")
    elif not _is_address(secrets.alert_email):
        yield Problem("ALERT_EMAIL", f"it must be one address, was {secrets.alert_email!r}")
    sender = _sender(secrets)
    if sender is not None and not _is_address(sender):
        yield Problem("SMTP_FROM", f"it must be one address, was {sender!r}")


def _sender(secrets: Secrets) -> str | None:
    user = secrets.smtp_user
    return secrets.smtp_from or (user if user and "@" in user else None)


def _tls(secrets: Secrets) -> Tls:
    if secrets.smtp_tls is not None:
        return Tls(secrets.smtp_tls.lower())
    return Tls.SSL if secrets.smtp_port == str(_PORTS[Tls.SSL]) else Tls.STARTTLS


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _is_address(text: str) -> bool:
    return bool(_ADDRESS.fullmatch(text)) and not _FORBIDDEN_IN_ADDRESS & set(text)


def _own_name() -> str:
    """Return what to call this machine; the library would ask the network for it."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def _sentence(error: Exception) -> str:
    match error:
        case smtplib.SMTPResponseException():
            return f"{error.smtp_code} {_said(error.smtp_error)}"
        case _:
            return one_line(str(error)) or type(error).__name__


def _said(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return one_line(text)[:_SERVER_SAID_AT_MOST]
