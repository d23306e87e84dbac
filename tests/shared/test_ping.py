import io
import logging

import pytest

from market import calendar as calendars
from rehearsal import day
from shared import config_file
from shared.brain import Brain
from shared.clock import SystemClock
from shared.errors import NotDelivered
from shared.lock import hold
from shared.log_format import VALUES
from shared.paths import PROJECT
from shared.ping import ping, ping_url
from shared.schedule import slots
from tests.fixtures.mail import Web, free_port
from tests.fixtures.rehearsal import Machine


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [
        (record.getMessage(), getattr(record, VALUES).get("error"))
        for record in caplog.records
        if record.name == "shared.ping"
    ]


@pytest.mark.parametrize(("succeeded", "path"), [(True, "/ping/abc"), (False, "/ping/abc/fail")])
async def test_a_run_is_reported_as_it_ended(web: Web, succeeded: bool, path: str) -> None:
    await ping({"PING_URL": f"{web.url}/ping/abc"}, succeeded=succeeded, timeout_seconds=5)

    assert web.paths == [path]


@pytest.mark.parametrize(
    ("base", "failed"),
    [
        ("https://health.example.com/abc", "https://health.example.com/abc/fail"),
        ("https://health.example.com/abc/", "https://health.example.com/abc/fail"),
        ("https://health.example.com/abc?create=1", "https://health.example.com/abc/fail?create=1"),
    ],
)
def test_a_failure_is_said_behind_the_path(base: str, failed: str) -> None:
    assert ping_url(base, succeeded=True) == base
    assert ping_url(base, succeeded=False) == failed


@pytest.mark.parametrize(
    "base", ["file:///etc/passwd", "ftp://a/b", "health", "https://", "http://["]
)
def test_only_a_web_address_is_called(base: str) -> None:
    with pytest.raises(NotDelivered, match="PING_URL"):
        ping_url(base, succeeded=True)


async def test_without_a_url_nothing_is_called_and_nothing_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await ping({"PING_URL": " "}, succeeded=True, timeout_seconds=5)

    assert said(caplog) == []


async def test_an_error_of_the_watcher_is_a_line_of_the_log(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    web.status = 503
    await ping({"PING_URL": web.url}, succeeded=True, timeout_seconds=5)

    assert said(caplog) == [("ping_failed", "the answer was 503")]


async def test_a_watcher_that_is_gone_is_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"http://127.0.0.1:{free_port()}/ping/abc"
    await ping({"PING_URL": url}, succeeded=True, timeout_seconds=5)
    [(event, error)] = said(caplog)

    assert event == "ping_failed"
    assert "refused" in str(error)


async def test_a_watcher_that_is_silent_costs_no_more_than_the_timeout(
    silent_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{silent_port}/ping/abc"
    await ping({"PING_URL": url}, succeeded=True, timeout_seconds=0.2)

    assert said(caplog) == [("ping_failed", "no answer within 0.2 s")]


async def test_a_url_that_cannot_be_called_is_a_line_of_the_log_without_the_url(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        await ping({"PING_URL": "ftp://secret/abc"}, succeeded=True, timeout_seconds=5)

    assert said(caplog) == [("ping_failed", "PING_URL must begin with https:// or http://")]


def test_every_run_says_how_it_ended(new_rehearsal: Machine, web: Web) -> None:
    environ = new_rehearsal.environ | {"PING_URL": f"{web.url}/abc"}
    done = new_rehearsal.run("--mode", "scan", environ=environ)
    failed = new_rehearsal.run("--mode", "trade", "--brain", "claude", environ=environ)
    nobody = new_rehearsal.run("--mode", "scan", "--agent", "nobody", environ=environ)

    assert [done.exit_code, failed.exit_code, nobody.exit_code] == [0, 2, 2]
    assert web.paths == ["/abc", "/abc/fail", "/abc/fail"]


def test_a_run_ends_as_it_would_without_a_watcher(new_rehearsal: Machine) -> None:
    url = f"http://127.0.0.1:{free_port()}/abc"
    run = new_rehearsal.run("--mode", "scan", environ=new_rehearsal.environ | {"PING_URL": url})

    assert (run.exit_code, run.said["status"]) == (0, "done")


def test_a_run_that_found_another_one_at_work_says_nothing_for_it(
    new_rehearsal: Machine, web: Web
) -> None:
    lock = new_rehearsal.home / "locks" / "rehearsal.lock"
    with hold(lock, agent_id="rehearsal", mode="trade", clock=SystemClock()):
        run = new_rehearsal.run(
            "--mode", "scan", environ=new_rehearsal.environ | {"PING_URL": web.url}
        )

    assert run.said["status"] == "busy"
    assert web.paths == []


def test_a_rehearsal_that_is_played_in_one_go_is_watched_by_nobody(
    new_rehearsal: Machine, web: Web
) -> None:
    settings = config_file.load("rehearsal", {}, project=PROJECT).settings
    calendar = calendars.load(settings.market.exchange)
    hours = calendar.session_on(new_rehearsal.bookmark.session_date)
    assert hours is not None
    theatre = day.Theatre(
        settings=settings,
        calendar=calendar,
        environ=new_rehearsal.environ | {"PING_URL": web.url},
        home=new_rehearsal.home,
        brain=Brain.STAND_IN,
        out=io.StringIO(),
    )
    played = day._play_slot(slots(settings.schedule, hours)[0], theatre)

    assert played.exit_code == 0
    assert web.paths == []
