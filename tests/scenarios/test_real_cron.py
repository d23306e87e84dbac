"""Debian's own cron, with a spool of its own in a mount namespace, starts the lines that we generate."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from market.calendar import Calendar
from shared.clock import SystemClock
from shared.config import ScheduleSettings
from shared.crontab.block import Installation, Plan, block, with_block
from shared.crontab.host import CrontabProgram, make_directories
from shared.paths import PROJECT
from tests.fixtures.rehearsal import Machine

CRON = Path("/usr/sbin/cron")
SCRIPT = str(PROJECT / "position_monitor.py")
UNSHARE = shutil.which("unshare")

PRIVATE = """set -e
mount --make-rprivate /
mkdir -p {folder}/spool/crontabs {folder}/run {folder}/cron.d
chgrp crontab {folder}/spool/crontabs
chmod 1730 {folder}/spool/crontabs
: >{folder}/etc-crontab
mount --bind {folder}/spool /var/spool/cron
mount --bind {folder}/run /run
mount --bind {folder}/cron.d /etc/cron.d
mount --bind {folder}/etc-crontab /etc/crontab
/usr/bin/crontab {folder}/foreign
echo ready
read go
exec /usr/sbin/cron -f -L 15
"""
"""The machine's own crontabs stay out of sight, so that only ours are started."""

MONITOR = """import os, sys
with open({fifo!r}, "w") as fifo:
    fifo.write(f"monitor {{os.getpid()}} {{os.environ['AGENT_ID']}} {{' '.join(sys.argv[1:])}}\\n")
os.dup2(os.open({fifo!r}, os.O_WRONLY), 2)
os.execve({python!r}, [{python!r}, {script!r}, "--real-time"], {environ!r})
"""
"""Says who it is, and becomes the real one, which watches the agent of a rehearsal."""

AGENT = """import os, sys
print("said to the log")
with open({fifo!r}, "w") as fifo:
    fifo.write(f"agent {{os.getcwd()}} {{os.environ['AGENT_ID']}} {{' '.join(sys.argv[1:])}}\\n")
"""


def reason_to_skip() -> str | None:
    """Say what this machine lacks; None where a private cron can be had."""
    if not CRON.exists():
        return f"{CRON} is not installed"
    if os.geteuid() != 0:
        return "only root can start cron with a spool of its own"
    if UNSHARE is None:
        return "unshare is not installed"
    tried = subprocess.run([UNSHARE, "-m", "true"], capture_output=True, check=False)
    return "mount namespaces are not allowed here" if tried.returncode else None


SKIP = reason_to_skip()
pytestmark = pytest.mark.skipif(SKIP is not None, reason=str(SKIP))


@contextmanager
def private_cron(folder: Path) -> Generator[tuple[CrontabProgram, Callable[[], None]]]:
    """Give a crontab program that sees a spool of its own, and what starts cron on that spool."""
    assert UNSHARE is not None
    (folder / "foreign").write_text("# somebody else's\n0 0 1 1 * /bin/true\n")
    with (
        (folder / "cron.err").open("w") as errors,
        subprocess.Popen(
            [UNSHARE, "-m", "/bin/sh", "-c", PRIVATE.format(folder=folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", (folder / "cron.err").read_text()
        inside = folder / "crontab"
        inside.write_text(
            f'#!/bin/sh\nexec nsenter --mount=/proc/{process.pid}/ns/mnt /usr/bin/crontab "$@"\n'
        )
        inside.chmod(0o755)

        def start() -> None:
            # cron compares whole seconds, so a crontab of the second in which it starts would not be seen
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

        try:
            yield CrontabProgram(inside), start
        finally:
            process.terminate()


class Reports:
    """What the started programs say, through a pipe with a name."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # for reading and writing, so that the pipe does not end when a writer does
        self.descriptor: int = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.text: str = ""

    def __enter__(self) -> None:
        """Nothing has to be opened any more."""

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def next(self, beginning: str, seconds: float) -> str:
        """Wait for the next line that begins so, or has it in it; fail when none has come by then."""
        clock = SystemClock()
        deadline = clock.now() + timedelta(seconds=seconds)
        while True:
            lines = self.text.splitlines(keepends=True)
            found = next((x for x in lines if beginning in x and x.endswith("\n")), None)
            if found is not None:
                self.text = self.text.replace(found, "", 1)
                return found.strip()
            left = (deadline - clock.now()).total_seconds()
            assert left > 0, f"nothing began with {beginning!r} within {seconds} s"
            if select.select([self.descriptor], [], [], left)[0]:
                self.text += os.read(self.descriptor, 65536).decode()


def open_around(now: datetime) -> Plan:
    """An agent of an exchange that is open all day long, weekends included."""
    days = {(now + timedelta(days=offset)).date() for offset in (-1, 0, 1)}
    parts = ((time(0, 1), time(23, 59)),)
    calendar = Calendar(
        exchange="XTST",
        timezone=ZoneInfo("UTC"),
        first_date=min(days),
        last_date=max(days),
        regular=parts,
        closed=frozenset(),
        other_hours=dict.fromkeys(days, parts),
    )
    return Plan(agent="fast_agent", schedule=ScheduleSettings(), calendar=calendar)


def checkout(folder: Path, fifo: Path, environ: Mapping[str, str]) -> Installation:
    project = folder / "a 100% checkout"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    monitor = MONITOR.format(
        fifo=str(fifo), script=SCRIPT, python=sys.executable, environ=dict(environ)
    )
    (project / "position_monitor.py").write_text(monitor)
    for name in ("unified_agent", "startup_monitor"):
        (project / f"{name}.py").write_text(AGENT.format(fifo=str(fifo)))
    return Installation(project=project, home=folder / "home", logs=project / "logs")


def every_minute(text: str, words: str) -> str:
    """Fire the line with those words every minute; at which it really would, other tests say."""
    line = next(line for line in text.splitlines() if words in line)
    return text.replace(line, "* * * * * " + line.split(None, 5)[5])


def test_cron_starts_the_lines_and_a_killed_monitor_within_a_minute(
    tmp_path: Path, new_rehearsal: Machine
) -> None:
    new_rehearsal.run("--mode", "scan")
    fifo = tmp_path / "reports"
    reports, place = Reports(fifo), checkout(tmp_path, fifo, new_rehearsal.environ)
    make_directories(place)
    ours = every_minute(block(place, [open_around(SystemClock().now())]), "--mode trade")

    with private_cron(tmp_path) as (crontab, start), reports:
        crontab.write(with_block(crontab.read(), place, ours))
        assert crontab.read() == (tmp_path / "foreign").read_text() + ours
        start()

        _, pid, *words = reports.next("monitor ", 70).split()
        try:
            assert words == ["fast_agent", "--agent", "fast_agent"]
            ran = reports.next("agent /", 10)
            assert ran.endswith(" fast_agent --agent fast_agent --mode trade")
            reports.next(" watching ", 30)
            os.kill(int(pid), signal.SIGKILL)

            _, again, *_ = reports.next("monitor ", 62).split()
            assert again != pid
            pid = again
            reports.next(" watching ", 30)
            assert new_rehearsal.query("SELECT pid FROM monitor_heartbeats") == [(int(pid),)]
        finally:
            os.kill(int(pid), signal.SIGKILL)

    assert "said to the log" in (place.logs / "cron-fast_agent.log").read_text()
