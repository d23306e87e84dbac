"""The whole way: a run leaves alerts, the outbox is worked off, a person is told; and the commands."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from shared import alerts
from shared.bounded import PointOfNoReturn
from shared.clock import SystemClock
from shared.config import Secrets
from shared.errors import Busy, NotDelivered
from shared.letters import Letter
from shared.lock import hold
from shared.mail import Tls
from shared.paths import PROJECT
from shared.push import push_channels
from tests.fixtures.mail import (
    NOON,
    PASSWORD,
    PERSON,
    USER,
    MailHost,
    Web,
    free_port,
    mail_host,
    variables_for,
)
from tests.fixtures.rehearsal import Machine

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""The push library's first letter loads all of its services, and one of them loads that."""

ALERT = "INSERT INTO alerts (agent_id, severity, subject, body, dedupe_key, queued_on, queued_at,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a command said and how it exited."""

    code: int
    out: str
    err: str


def command(environ: Mapping[str, str], *arguments: str) -> Command:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err):
        code = alerts.main(arguments, environ, stdout=out)
    return Command(code=code, out=out.getvalue(), err=err.getvalue())


def leave_alerts(machine: Machine, *subjects: str) -> None:
    """Queue alerts, after a first run has made the databases."""
    machine.run("--mode", "scan")
    for subject in subjects:
        machine.query(
            f"{ALERT} status, attempts) VALUES ('rehearsal', 'warning', '{subject}', 'facts',"
            f" '{subject}', '2026-06-15', '2026-06-15 13:00+00', 'queued', 0)"
        )


def statuses(machine: Machine) -> list[tuple[str, str, int]]:
    found = machine.query("SELECT subject, status, attempts FROM alerts ORDER BY alert_id")
    return [(str(subject), str(status), int(tried)) for subject, status, tried in found]


def test_a_run_sends_what_is_queued_when_it_has_ended(
    new_rehearsal: Machine, post: MailHost
) -> None:
    leave_alerts(new_rehearsal, "no stop")
    run = new_rehearsal.run(
        "--mode", "trade", environ=new_rehearsal.environ | variables_for(post.port)
    )

    assert run.exit_code == 0
    assert "[Catalyst rehearsal] warning: no stop" in post.subjects
    assert ("no stop", "sent", 1) in statuses(new_rehearsal)


def test_the_lock_is_free_and_the_cycle_is_written_before_the_mail_server_is_asked(
    new_rehearsal: Machine, post: MailHost
) -> None:
    leave_alerts(new_rehearsal, "no stop")
    found: list[object] = []

    def look() -> None:
        lock = new_rehearsal.home / "locks" / "rehearsal.lock"
        try:
            with hold(lock, agent_id="rehearsal", mode="trade", clock=SystemClock()):
                found.append("free")
        except Busy as error:
            found.append(error)

    post.handler.when_letter_came = look
    new_rehearsal.run("--mode", "trade", environ=new_rehearsal.environ | variables_for(post.port))
    ended = new_rehearsal.query("SELECT status FROM trading_cycles WHERE ended_at IS NULL")

    assert found
    assert set(found) == {"free"}
    assert ended == []


def test_a_mail_server_that_never_greets_makes_no_cycle_slower(
    new_rehearsal: Machine, silent_port: int, tmp_path: Path
) -> None:
    impatient = tmp_path / "rehearsal.yaml"
    settings = (PROJECT / "config" / "rehearsal.yaml").read_text()
    impatient.write_text(settings.replace("total_seconds: 10 ", "total_seconds: 2 "))
    leave_alerts(new_rehearsal, "no stop")
    environ = new_rehearsal.environ | variables_for(silent_port)
    clock = SystemClock()
    started = clock.now()
    run = new_rehearsal.run("--mode", "trade", "--agent", str(impatient), environ=environ)
    took = (clock.now() - started).total_seconds()
    [(cycle_seconds,)] = new_rehearsal.query(
        "SELECT duration_seconds FROM trading_cycles WHERE mode = 'trade'"
    )

    assert run.exit_code == 0
    assert run.said["duration_seconds"] <= took - 2  # all that sending may take came after
    assert float(cycle_seconds) <= run.said["duration_seconds"]
    assert ("no stop", "queued", 1) in statuses(new_rehearsal)


def test_without_a_mail_server_alerts_stay_queued_and_nothing_fails(new_rehearsal: Machine) -> None:
    leave_alerts(new_rehearsal, "no stop")
    run = new_rehearsal.run("--mode", "trade")
    log = (new_rehearsal.home / "logs" / "rehearsal.jsonl").read_text().splitlines()
    lines = [line for line in map(json.loads, log) if line["event"] == "alerts_stay_queued"]

    assert run.exit_code == 0
    assert ("no stop", "queued", 0) in statuses(new_rehearsal)
    assert "SMTP_HOST" in lines[-1]["reason"]
    assert lines[-1]["cycle_id"] == run.said["cycle_id"]


def test_a_mail_server_that_is_named_wrongly_stops_no_run(new_rehearsal: Machine) -> None:
    leave_alerts(new_rehearsal, "no stop")
    environ = new_rehearsal.environ | {"SMTP_HOST": "mail.example.com", "SMTP_TLS": "none"}
    run = new_rehearsal.run("--mode", "trade", environ=environ)

    assert run.exit_code == 0
    assert ("no stop", "queued", 0) in statuses(new_rehearsal)


def test_the_test_command_reaches_every_channel_and_says_so(
    new_rehearsal: Machine, post: MailHost, web: Web
) -> None:
    url = {"APPRISE_URLS": f"json://127.0.0.1:{web.port}/topic"}
    said = command(new_rehearsal.environ | variables_for(post.port) | url, "test")

    assert said.code == 0, said
    assert said.out == (
        f"mail to {PERSON}: accepted the test message\n"
        "apprise 1 (json): accepted the test message\n"
    )
    assert post.subjects == ["[Catalyst rehearsal] info: test message"]
    assert web.paths == ["/topic"]


def test_the_test_command_says_which_channel_failed(new_rehearsal: Machine, web: Web) -> None:
    port = free_port()
    url = {"APPRISE_URLS": f"json://127.0.0.1:{web.port}/"}
    said = command(new_rehearsal.environ | variables_for(port) | url, "test")
    mail, push = said.out.splitlines()

    assert said.code == 1
    assert mail.startswith(f"mail to {PERSON}: did not: localhost:{port}: ")
    assert push.endswith("accepted the test message")


def test_the_test_command_without_any_channel_says_what_to_set(new_rehearsal: Machine) -> None:
    said = command(new_rehearsal.environ, "test")

    assert said.code == 2
    assert "SMTP_HOST and ALERT_EMAIL nor APPRISE_URLS is set" in said.out


def test_the_test_command_says_which_variable_is_wrong(new_rehearsal: Machine) -> None:
    said = command(new_rehearsal.environ | {"SMTP_HOST": "localhost", "SMTP_PORT": "mail"}, "test")

    assert said.code == 2
    assert "SMTP_PORT: it must be a number" in said.out
    assert "ALERT_EMAIL: it is not set" in said.out


def test_an_agent_that_does_not_exist_is_a_usage_error(new_rehearsal: Machine) -> None:
    assert command(new_rehearsal.environ, "test", "--agent", "nobody").code == 2


def test_the_outbox_is_worked_off_by_hand(new_rehearsal: Machine, post: MailHost) -> None:
    leave_alerts(new_rehearsal, "no stop", "no news")
    environ = new_rehearsal.environ | variables_for(post.port)
    said, again = command(environ, "send"), command(environ, "send")

    assert (said.code, said.out) == (0, "2 sent, 0 not accepted, 0 left\n")
    assert (again.code, again.out) == (0, "0 sent, 0 not accepted, 0 left\n")
    assert len(post.letters) == 2


def test_an_outbox_that_could_not_be_sent_is_a_failure_and_stays(new_rehearsal: Machine) -> None:
    leave_alerts(new_rehearsal, "no stop", "no news")
    said = command(new_rehearsal.environ | variables_for(free_port()), "send")

    assert (said.code, said.out) == (1, "0 sent, 1 not accepted, 1 left\n")


def test_an_outbox_without_a_channel_is_a_matter_of_configuration(new_rehearsal: Machine) -> None:
    said = command(new_rehearsal.environ, "send")

    assert said.code == 2
    assert "SMTP_HOST" in said.err


def test_the_command_is_a_program_that_trusts_the_systems_authorities(
    new_rehearsal: Machine, authority: trustme.CA
) -> None:
    login = {"SMTP_USER": USER, "SMTP_PASS": PASSWORD, "SMTP_TLS": "starttls"}
    with (
        mail_host(authority, tls=Tls.STARTTLS, with_login=True) as host,
        authority.cert_pem.tempfile() as trusted,
    ):
        environ = new_rehearsal.environ | variables_for(host.port) | login
        done = [
            subprocess.run(
                [sys.executable, "-m", "shared.alerts", "test"],
                env=environ | extra,
                capture_output=True,
                text=True,
                check=False,
            )
            for extra in ({}, {"SSL_CERT_FILE": os.fspath(trusted)})
        ]

        assert [one.returncode for one in done] == [1, 0], [one.stderr for one in done]
        assert "CERTIFICATE_VERIFY_FAILED" in done[0].stdout
        assert len(host.letters) == 1
    assert PASSWORD not in "".join(one.stdout + one.stderr for one in done)


LETTER = Letter(
    name="alert-1", severity="critical", subject="no stop", body="ACME has no stop\n", at=NOON
)


def test_a_push_service_gets_subject_text_and_urgency(web: Web) -> None:
    [channel] = push_channels(
        Secrets.model_validate({"apprise_urls": f"json://127.0.0.1:{web.port}/"})
    )
    channel.deliver(LETTER, seconds=10, last_step=PointOfNoReturn(10))
    [(_, body)] = web.asked
    told = json.loads(body)

    assert (told["title"], told["message"].strip()) == ("no stop", "ACME has no stop")
    assert told["type"] == "failure"


def test_a_push_service_that_refuses_has_not_taken_the_letter(web: Web) -> None:
    web.status = 500
    [channel] = push_channels(
        Secrets.model_validate({"apprise_urls": f"json://127.0.0.1:{web.port}/"})
    )
    with pytest.raises(NotDelivered, match="did not take the letter"):
        channel.deliver(LETTER, seconds=10, last_step=PointOfNoReturn(10))


def test_a_push_service_that_nobody_knows_is_said_without_its_url() -> None:
    [channel] = push_channels(Secrets.model_validate({"apprise_urls": "carrier://token-of-mine"}))
    with pytest.raises(NotDelivered, match=r"^apprise does not understand the URL$"):
        channel.deliver(LETTER, seconds=10, last_step=PointOfNoReturn(10))

    assert channel.name == "apprise 1 (carrier)"


@pytest.mark.parametrize(
    "urls", ["ntfy://a/b, tgram://c/d", "ntfy://a/b tgram://c/d", "ntfy://a/b\ntgram://c/d"]
)
def test_several_push_services_are_separated_by_blanks_or_commas(urls: str) -> None:
    channels = push_channels(Secrets.model_validate({"apprise_urls": urls}))

    assert [channel.name for channel in channels] == ["apprise 1 (ntfy)", "apprise 2 (tgram)"]


def test_a_comma_inside_a_url_belongs_to_it() -> None:
    urls = "mailto://host?to=a@b.example,c@d.example"

    assert len(list(push_channels(Secrets.model_validate({"apprise_urls": urls})))) == 1
