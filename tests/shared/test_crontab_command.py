"""The command against a crontab program that keeps its text in a file, and answers as the real one does."""

import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from market import calendar
from shared.clock import ManualClock
from shared.config import ScheduleSettings
from shared.crontab import plans
from shared.crontab.block import Plan
from shared.crontab.command import Planner, main
from shared.crontab.host import zone_problems
from shared.paths import PROJECT

NOW = datetime(2026, 6, 15, 9, 0, tzinfo=UTC)
FOREIGN = "# mine\n0 5 * * * /usr/bin/true\n"
ZONES = Path("/usr/share/zoneinfo")
PROGRAM = """#!/bin/sh
store='{store}'
case "$1" in
-l) if [ -f "$store" ]; then cat "$store"; else echo "no crontab for someone" >&2; exit 1; fi ;;
-) cat >"$store.new"; echo written >>"$store.writes"; mv "$store.new" "$store" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A host with a checkout, a crontab and a zone."""

    folder: Path
    project: Path
    store: Path
    program: Path
    planner: Planner = plans.configured

    def run(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        localtime: Path = ZONES / "UTC",
    ) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        code = main(
            [*arguments, "--crontab-program", str(self.program)],
            environ={"CATALYST_HOME": str(self.folder / "home"), **(environ or {})},
            stdout=out,
            stderr=err,
            clock=ManualClock(NOW),
            localtime=localtime,
            project=self.project,
            planner=self.planner,
        )
        return code, out.getvalue(), err.getvalue()

    def writes(self) -> int:
        """How often the crontab was written."""
        path = self.store.with_name("crontab.writes")
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    project = tmp_path / "catalyst"
    (project / "config").mkdir(parents=True)
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("unified_agent", "startup_monitor", "position_monitor"):
        (project / f"{name}.py").touch()
    (project / "shared" / "care").mkdir(parents=True)
    (project / "shared" / "care" / "__main__.py").touch()
    shutil.copytree(PROJECT / "cron", project / "cron")
    for name in ("rehearsal", "dev_claude", "intl_claude"):
        shutil.copy(PROJECT / "config" / f"{name}.yaml", project / "config")
    program, store = tmp_path / "crontab-program", tmp_path / "crontab"
    program.write_text(PROGRAM.format(store=store))
    program.chmod(0o755)
    return Machine(tmp_path, project, store, program)


@pytest.fixture
def agents(machine: Machine) -> Machine:
    """Two agents that go by the clock, which no agent with the paper exchange does."""
    for name, exchange in (("us_agent", "XNYS"), ("hk_agent", "XHKG")):
        settings = {"exchange": exchange, "close": 10}
        (machine.project / f"{name}.json").write_text(json.dumps(settings))
    return replace(machine, planner=from_json)


def from_json(names: Sequence[str], _: Mapping[str, str], project: Path) -> tuple[Plan, ...]:
    return tuple(one_from_json(name, project) for name in names)


def one_from_json(name: str, project: Path) -> Plan:
    settings = json.loads((project / f"{name}.json").read_text())
    schedule = ScheduleSettings(close_minutes_before_close=settings["close"])
    return Plan(agent=name, schedule=schedule, calendar=calendar.load(settings["exchange"]))


def test_show_and_next_know_machines_whose_agents_have_no_keys_here_or_no_file_yet(
    machine: Machine,
) -> None:
    code, shown, _ = machine.run("show", "--machine", "hub")

    assert code == 0
    assert f"AGENT_ID=dev_claude CATALYST_HOME={machine.folder}/home" in shown

    (machine.project / "cron" / "machines.yaml").write_text("far:\n  later:\n    exchange: XHKG\n")
    code, foretold, _ = machine.run("next", "--machine", "far")

    assert code == 0
    assert "later           scan" in foretold


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show",), "no agent is named"),
        (("show", "--agent", "nobody"), "there is no agent 'nobody'"),
        (("show", "--agent", "rehearsal"), "is a rehearsal"),
        (("show", "--machine", "moon"), "there are: hub, intl"),
        (("install", "--machine", "hub"), "give --agent NAME"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    machine: Machine, arguments: tuple[str, ...], words: str
) -> None:
    code, _, said = machine.run(*arguments)

    assert code == 2
    assert words in said
    assert machine.writes() == 0


def test_install_keeps_foreign_lines_shows_what_changed_and_does_it_once(agents: Machine) -> None:
    agents.store.write_text(FOREIGN)

    code, said, _ = agents.run("install", "--agent", "us_agent", "hk_agent")

    assert code == 0
    assert agents.store.read_text().startswith(FOREIGN)
    assert "+# Agents: us_agent, hk_agent." in said
    assert "-0 5" not in said
    assert (agents.folder / "home" / "locks").is_dir()
    assert (agents.folder / "home" / "logs").is_dir()

    code, said, _ = agents.run("install")

    assert (code, said) == (0, "the crontab is as it should be; nothing was changed\n")
    assert agents.writes() == 1
    assert agents.run("check")[0] == 0


def test_uninstall_removes_only_ours(agents: Machine) -> None:
    agents.store.write_text(FOREIGN)
    agents.run("install", "--agent", "us_agent")

    assert agents.run("uninstall")[0] == 0
    assert agents.store.read_text() == FOREIGN
    assert agents.run("check")[0] == 1


def test_a_first_crontab_is_made_where_there_was_none(agents: Machine) -> None:
    assert agents.run("install", environ={"AGENT_ID": "us_agent"})[0] == 0
    assert agents.store.read_text().startswith("# >>> catalyst in ")


def test_check_finds_a_line_that_was_edited(agents: Machine) -> None:
    agents.run("install", "--agent", "us_agent")
    edited = agents.store.read_text().replace("0 13,14 * * 1-5", "0 13 * * 1-5")
    agents.store.write_text(edited)

    code, said, _ = agents.run("check")

    assert code == 1
    assert "-0 13 * * 1-5" in said
    assert "+0 13,14 * * 1-5" in said


def test_check_finds_a_schedule_that_was_changed(agents: Machine) -> None:
    agents.run("install", "--agent", "us_agent")
    (agents.project / "us_agent.json").write_text('{"exchange": "XNYS", "close": 12}')

    code, said, _ = agents.run("check")

    assert code == 1
    assert "+48-59 " in said


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Australia/Perth"])
def test_install_insists_on_a_host_in_utc(agents: Machine, zone: str) -> None:
    code, _, said = agents.run("install", "--agent", "us_agent", localtime=ZONES / zone)

    assert code == 2
    assert f"the host's zone is {zone}" in said
    assert agents.writes() == 0


def test_a_host_without_a_zone_is_in_utc_and_one_with_garbage_is_not_known(tmp_path: Path) -> None:
    garbage = tmp_path / "localtime"
    garbage.write_bytes(b"no zone")

    assert zone_problems(NOW, tmp_path / "missing") == ()
    assert zone_problems(NOW, ZONES / "Etc" / "UTC") == ()
    assert "cannot be read" in zone_problems(NOW, garbage)[0]


def test_install_refuses_lines_that_would_start_nothing(agents: Machine) -> None:
    (agents.project / "position_monitor.py").unlink()

    code, _, said = agents.run("install", "--agent", "us_agent")

    assert code == 2
    assert "position_monitor.py does not exist" in said
    assert agents.writes() == 0


def test_a_foreign_cron_tz_is_refused(agents: Machine) -> None:
    agents.store.write_text("CRON_TZ=Australia/Perth\n" + FOREIGN)

    code, _, said = agents.run("install", "--agent", "us_agent")

    assert code == 2
    assert "CRON_TZ=Australia/Perth" in said


def test_the_home_of_another_user_is_where_the_locks_are(agents: Machine) -> None:
    home = agents.folder / "someone"

    _, shown, _ = agents.run(
        "show", "--agent", "us_agent", "--user-home", str(home), environ={"CATALYST_HOME": ""}
    )

    assert f"XDG_DATA_HOME={home}/.local/share" in shown


@pytest.mark.parametrize(
    ("program", "words"),
    [("/nowhere/crontab", "does not exist: install cron"), ("/bin/false", "ended with 1")],
)
def test_a_crontab_program_that_fails_is_named(agents: Machine, program: str, words: str) -> None:
    broken = replace(agents, program=Path(program))

    code, _, said = broken.run("install", "--agent", "us_agent")

    assert code == 2
    assert words in said


def test_an_exchange_stands_in_one_place_only(machine: Machine) -> None:
    machines = machine.project / "cron" / "machines.yaml"

    machines.write_text("hub:\n  rehearsal:\n    exchange: XNYS\n")
    assert "stands in its own file" in machine.run("show", "--machine", "hub")[2]

    machines.write_text("hub:\n  rehearsal:\n")
    assert "is a rehearsal" in machine.run("show", "--machine", "hub")[2]

    machines.write_text("hub:\n  nobody:\n")
    assert "has to stand in cron/machines.yaml" in machine.run("show", "--machine", "hub")[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hub:\n  a_b:\n    exchange: XLON\n", "is not a list of machines"),
        (
            "hub:\n  a_b:\n    exchange: XNYS\n    schedule:\n"
            "      close_minutes_before_close: 30\n",
            "cannot work: close_minutes_before_close",
        ),
    ],
)
def test_machines_that_cannot_be_planned_are_named(machine: Machine, text: str, words: str) -> None:
    (machine.project / "cron" / "machines.yaml").write_text(text)

    code, _, said = machine.run("next", "--machine", "hub")

    assert code == 2
    assert words in said
