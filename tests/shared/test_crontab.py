import subprocess
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import calendar as calendars
from market.calendar import Calendar
from shared.config import ScheduleSettings
from shared.crontab.block import (
    Installation,
    Plan,
    agents_in,
    block,
    command,
    escaped,
    foreign_problems,
    installed,
    with_block,
    without_block,
)
from shared.crontab.firings import Job, expressions, kinds_of_sessions, moments
from shared.crontab.upcoming import notices, table, upcoming
from shared.errors import CalendarExhausted, ConfigError
from tests.cron_days import lines

PLACE = Installation(
    project=Path("/opt/catalyst"), home=Path("/var/lib/c"), logs=Path("/var/log/c")
)
CALENDARS = {name: calendars.load(name) for name in ("XNYS", "XHKG")}
KINDS = {name: kinds_of_sessions(calendar) for name, calendar in CALENDARS.items()}
BY_SESSION = [job for job in Job if job not in {Job.POSITION_MONITOR, Job.PRUNE}]
"""What runs at a time of its own in each session."""
FOREIGN = 'MAILTO=me@example.com\n\n*/5 * * * * /usr/bin/true "100\\%"\n'


def plan(calendar: Calendar, agent: str = "dev_claude") -> Plan:
    return Plan(agent=agent, schedule=ScheduleSettings(), calendar=calendar)


def test_the_lines_of_an_agent_are_few_and_on_weekdays(new_york: Calendar) -> None:
    sessions = kinds_of_sessions(new_york)

    assert {job: expressions(ScheduleSettings(), sessions, job) for job in Job} == {
        Job.STARTUP_MONITOR: ("50 12,13 * * 1-5",),
        Job.SCAN: ("0 13,14 * * 1-5",),
        Job.TRADE: ("0,30 14-20 * * 1-5",),
        Job.CLOSE: ("50-59 16,17,19,20 * * 1-5",),
        Job.HEARTBEAT: ("30 17,18,20,21 * * 1-5",),
        Job.POSITION_MONITOR: ("* * * * 1-5",),
        Job.PRUNE: ("30 22 * * 1-5",),
    }


def test_what_runs_before_midnight_in_utc_runs_on_the_day_before(hong_kong: Calendar) -> None:
    early = ScheduleSettings(scan_minutes_before_open=240, startup_minutes_before_open=300)

    assert expressions(early, kinds_of_sessions(hong_kong), Job.SCAN) == ("30 21 * * 0-4",)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    schedule=st.builds(
        ScheduleSettings,
        startup_minutes_before_open=st.integers(1, 300),
        scan_minutes_before_open=st.integers(1, 240),
        first_trade_minutes_after_open=st.integers(1, 120),
        trade_every_minutes=st.integers(5, 90),
        last_trade_minutes_before_close=st.integers(1, 120),
        close_minutes_before_close=st.integers(1, 60),
        heartbeat_minutes_after_close=st.integers(1, 240),
    ),
    job=st.sampled_from(BY_SESSION),
    exchange=st.sampled_from(["XNYS", "XHKG"]),
)
def test_every_moment_fires_and_every_minute_that_fires_is_some_sessions_moment(
    schedule: ScheduleSettings, job: Job, exchange: str
) -> None:
    kinds = KINDS[exchange]
    wanted = {at for hours in kinds for at in moments(schedule, hours, job)}

    found = lines("".join(f"{e} /a/b.py\n" for e in expressions(schedule, kinds, job)))
    pairs = [(h, m) for line in found for h in line.hours for m in line.minutes]

    assert all(at in {f for line in found for f in line.firings(at.date())} for at in wanted)
    assert {(at.hour, at.minute) for at in wanted} == set(pairs)


@pytest.mark.parametrize("exchange", ["XNYS", "XHKG"])
def test_every_session_of_the_table_is_of_one_of_its_kinds(exchange: str) -> None:
    calendar = CALENDARS[exchange]
    schedule = ScheduleSettings()
    fired = {
        job: lines("".join(f"{e} /a/b.py\n" for e in expressions(schedule, KINDS[exchange], job)))
        for job in BY_SESSION
    }

    assert len(KINDS[exchange]) < 60
    hours = calendar.next_session(calendar.first_date)
    while hours.session_date < calendar.last_date - timedelta(days=7):
        for job in BY_SESSION:
            for at in moments(schedule, hours, job):
                assert any(
                    at.hour in line.hours
                    and at.minute in line.minutes
                    and at.isoweekday() % 7 in line.weekdays
                    for line in fired[job]
                )
        hours = calendar.next_session(hours.session_date)


@pytest.mark.parametrize("exchange", ["XNYS", "XHKG"])
@pytest.mark.parametrize("minutes", [1, 30, 240])
def test_what_is_too_old_goes_once_a_day_when_every_session_is_over(
    exchange: str, minutes: int
) -> None:
    kinds = KINDS[exchange]
    schedule = ScheduleSettings(heartbeat_minutes_after_close=minutes)
    [line] = lines(f"{expressions(schedule, kinds, Job.PRUNE)[0]} /a/b.py\n")

    assert (len(line.minutes), len(line.hours)) == (1, 1)
    for hours in kinds:
        days = [hours.closes_at.date() + timedelta(days=later) for later in (0, 1)]
        fired = [at for day in days for at in line.firings(day) if at > hours.closes_at]
        assert fired[0] >= hours.closes_at + timedelta(minutes=minutes + 60)
        assert fired[0] < hours.closes_at + timedelta(hours=12)


def test_a_line_names_everything_by_its_absolute_path_and_says_whose_run_it_is() -> None:
    assert command(PLACE, "dev_claude", Job.TRADE) == (
        "/usr/bin/env AGENT_ID=dev_claude /opt/catalyst/.venv/bin/python"
        " /opt/catalyst/unified_agent.py --agent dev_claude --mode trade"
        " >>/var/log/c/cron-dev_claude.log 2>&1"
    )
    assert command(PLACE, "dev_claude", Job.STARTUP_MONITOR).endswith(
        " /opt/catalyst/startup_monitor.py --agent dev_claude --scheduled"
        " >>/var/log/c/cron-dev_claude.log 2>&1"
    )
    assert command(PLACE, "dev_claude", Job.POSITION_MONITOR).startswith(
        "/usr/bin/flock -E 0 -n -F /var/lib/c/locks/dev_claude.position_monitor.cron /usr/bin/env "
    )
    assert command(PLACE, "dev_claude", Job.PRUNE) == (
        "/usr/bin/env -C /opt/catalyst AGENT_ID=dev_claude /opt/catalyst/.venv/bin/python"
        " -m shared.care prune --agent dev_claude >>/var/log/c/cron-dev_claude.log 2>&1"
    )


def test_a_path_with_blanks_quotes_and_percent_signs_reaches_the_program(tmp_path: Path) -> None:
    project = tmp_path / "50% o'clock; $HOME"
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$AGENT_ID" "$@"\n')
    python.chmod(0o755)
    place = Installation(project=project, home=tmp_path, logs=project)

    line = escaped(command(place, "a_b", Job.SCAN))
    assert line.count("%") == line.count(r"\%") == 3
    as_cron_hands_it_on = line.replace(r"\%", "%")
    subprocess.run(["/bin/sh", "-c", as_cron_hands_it_on], env={}, cwd="/", check=True)

    said = (project / "cron-a_b.log").read_text()
    assert said == f"a_b {project}/unified_agent.py --agent a_b --mode scan\n"


@pytest.mark.parametrize(
    ("text", "words"), [("a\nb", "line break"), ("x" * 999, "998 bytes at most")]
)
def test_what_no_line_can_hold_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        escaped(text)


def test_foreign_lines_stay_as_they_are_and_above_ours(new_york: Calendar) -> None:
    ours = block(PLACE, [plan(new_york)])
    once = with_block(FOREIGN, PLACE, ours)

    assert once == FOREIGN + ours
    assert with_block(once, PLACE, ours) == once
    assert without_block(once, PLACE) == FOREIGN
    assert installed(once, PLACE) == ours
    assert with_block(once + "1 1 * * * mine\n", PLACE, ours) == FOREIGN + "1 1 * * * mine\n" + ours
    assert with_block("1 1 * * * no-newline", PLACE, ours) == "1 1 * * * no-newline\n" + ours


def test_two_installations_share_a_crontab(new_york: Calendar, hong_kong: Calendar) -> None:
    other = Installation(project=Path("/opt/other"), home=Path("/v"), logs=Path("/l"))
    one, two = block(PLACE, [plan(new_york)]), block(other, [plan(hong_kong, "intl_claude")])
    both = with_block(with_block("", PLACE, one), other, two)

    assert without_block(both, PLACE) == two
    assert without_block(both, other) == one
    assert agents_in(two) == ("intl_claude",)


def test_a_block_says_which_agents_it_is_for(new_york: Calendar, hong_kong: Calendar) -> None:
    ours = block(PLACE, [plan(new_york), plan(hong_kong, "intl_claude")])

    assert agents_in(ours) == ("dev_claude", "intl_claude")
    assert ours != block(PLACE, [plan(new_york)])


@pytest.mark.parametrize("broken", [PLACE.begin, PLACE.end, f"{PLACE.end}\n{PLACE.begin}"])
def test_markers_that_do_not_match_are_for_a_person(broken: str) -> None:
    with pytest.raises(ConfigError, match="crontab -e"):
        with_block(f"{broken}\n", PLACE, "")


def test_a_foreign_zone_for_cron_is_found() -> None:
    assert foreign_problems("TZ=Asia/Perth\nCRON_TZ=UTC\n# CRON_TZ=Asia/Perth\n") == ()
    [problem] = foreign_problems('CRON_TZ = "Asia/Perth"\n')
    assert "CRON_TZ=Asia/Perth" in problem


def test_the_next_day_tells_of_an_early_close_in_both_clocks(new_york: Calendar) -> None:
    now = datetime(2026, 11, 27, 17, 0, tzinfo=UTC)

    found = upcoming([plan(new_york)], now)

    assert [(one.job, f"{one.at:%H:%M}", f"{one.local:%H:%M}") for one in found] == [
        (Job.TRADE, "17:00", "12:00"),
        (Job.TRADE, "17:30", "12:30"),
        (Job.CLOSE, "17:50", "12:50"),
        (Job.HEARTBEAT, "18:30", "13:30"),
    ]
    assert found[2].note == "until 13:00, until flat; early close at 13:00"
    assert "Fri 27 Nov 12:50 EST  Fri 17:50" in table(found)


def test_the_next_day_names_a_holiday(new_york: Calendar) -> None:
    now = datetime(2026, 12, 24, 22, 0, tzinfo=UTC)

    assert upcoming([plan(new_york)], now) == ()
    assert "dev_claude: XNYS has no session on Fri 25 Dec 2026" in notices([plan(new_york)], now)


def test_past_the_calendars_end_nothing_is_foretold(new_york: Calendar) -> None:
    end = datetime.combine(new_york.last_date, time(20), ZoneInfo("America/New_York"))

    assert any("calendar ends on" in said for said in notices([plan(new_york)], end - timedelta(1)))
    with pytest.raises(CalendarExhausted):
        upcoming([plan(new_york)], end)


def test_a_session_on_a_saturday_is_fired_for() -> None:
    hours = (("10:00", "12:00"),)
    parts = tuple(
        (time.fromisoformat(opens), time.fromisoformat(closes)) for opens, closes in hours
    )
    saturday = Calendar(
        exchange="XTST",
        timezone=ZoneInfo("UTC"),
        first_date=date(2026, 6, 13),
        last_date=date(2026, 6, 14),
        regular=parts,
        closed=frozenset(),
        other_hours={date(2026, 6, 13): parts},
    )

    assert expressions(ScheduleSettings(), kinds_of_sessions(saturday), Job.SCAN) == ("30 9 * * 6",)
