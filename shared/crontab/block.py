"""The text of a crontab: one installation's block of lines between two markers, and what surrounds it.

Pure: an installation, its agents and a crontab's text go in, text comes out. Lines rely on nothing that
cron or a shell would have to set: every path is absolute, AGENT_ID is pinned, and all output is appended
to a file, so that cron has nothing to mail.
"""

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from market.calendar import Calendar
from shared.config import ScheduleSettings
from shared.crontab.firings import Job, expressions, kinds_of_sessions
from shared.errors import ConfigError

ENV, FLOCK = "/usr/bin/env", "/usr/bin/flock"
LONGEST_COMMAND = 998
"""Debian's cron cuts a command at MAX_COMMAND, 1000 bytes with its end."""

_AGENTS = re.compile(r"^# Agents: (.+)\.$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One agent's slots."""

    agent: str
    schedule: ScheduleSettings
    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where Catalyst lies on a machine; every path is absolute."""

    project: Path
    home: Path
    """The data directory, which holds the lock files."""
    logs: Path
    pinned: tuple[tuple[str, str], ...] = ()
    """Variables that say where the data directory is, where the default does not."""

    @property
    def python(self) -> Path:
        """The interpreter of the project's own environment."""
        return self.project / ".venv" / "bin" / "python"

    @property
    def begin(self) -> str:
        """The line that opens this installation's block."""
        return f"# >>> catalyst in {self.project} >>>"

    @property
    def end(self) -> str:
        """The line that closes it."""
        return f"# <<< catalyst in {self.project} <<<"


def block(installation: Installation, plans: Sequence[Plan]) -> str:
    """Write the lines of all agents between the markers, with a hash of what stands there."""
    body = "\n".join(line for plan in plans for line in _lines(installation, plan))
    agents = ", ".join(plan.agent for plan in plans)
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f"""{installation.begin}
# Agents: {agents}.
# Made by `python -m shared.crontab`, hash {digest}. Not to be edited: install makes it anew.
# Minutes and hours are UTC. A line fires wherever a slot can fall, in summer and winter time and on half
# days; the run decides whether one does. What is set here holds for every line below: put yours above.
MAILTO=""
SHELL=/bin/sh
{body}
{installation.end}
"""


def command(installation: Installation, agent: str, job: Job) -> str:
    """Write what one line starts, for the shell, before cron's own escaping."""
    log = installation.logs / f"cron-{agent}.log"
    variables = [f"AGENT_ID={agent}", *(f"{name}={value}" for name, value in installation.pinned)]
    words = [*variables, str(installation.python)]
    if job is Job.PRUNE:
        # -C: a package is found in the directory from where it is started
        words = [ENV, "-C", str(installation.project), *words, "-m", "shared.care", job.value]
    else:
        program = "unified_agent" if job.mode else job.value
        words = [ENV, *words, str(installation.project / f"{program}.py")]
    words += ["--agent", agent, *(["--mode", job.mode] if job.mode else [])]
    if job is Job.STARTUP_MONITOR:
        words.append("--scheduled")
    if job is Job.POSITION_MONITOR:
        # -F: without a process in between, so that the monitor itself lets go of the lock when it has
        # its own; a successor has to get through to see that it hangs
        lock = installation.home / "locks" / f"{agent}.position_monitor.cron"
        words = [FLOCK, "-E", "0", "-n", "-F", str(lock), *words]
    return f"{shlex.join(words)} >>{shlex.quote(str(log))} 2>&1"


def escaped(shell_command: str) -> str:
    r"""Escape what cron would take for itself: % is the end of a command, \% a percent sign.

    Raises ConfigError for a command that no line of a crontab can hold.
    """
    line = shell_command.replace("%", r"\%")
    if "\n" in line or "\r" in line:
        raise ConfigError(f"a crontab cannot hold a path with a line break: {line!r}")
    if len(line.encode()) > LONGEST_COMMAND:
        raise ConfigError(
            f"cron takes {LONGEST_COMMAND} bytes at most, and this line has {len(line.encode())}: {line}"
        )
    return line


def installed(text: str, installation: Installation) -> str | None:
    """Return the installation's block as it stands in a crontab, or None."""
    return _split(text, installation)[1]


def with_block(text: str, installation: Installation, new: str) -> str:
    """Return the crontab with the block at its end, where what it sets touches no foreign line."""
    foreign = without_block(text, installation)
    if foreign and not foreign.endswith("\n"):
        foreign += "\n"
    return foreign + new


def without_block(text: str, installation: Installation) -> str:
    """Return what others wrote, as they wrote it."""
    before, _, after = _split(text, installation)
    return before + after


def agents_in(installed_block: str) -> tuple[str, ...]:
    """Return the agents that a block says it is for."""
    found = _AGENTS.search(installed_block)
    return tuple(found[1].split(", ")) if found else ()


def foreign_problems(foreign: str) -> tuple[str, ...]:
    """Say what in other people's lines would move ours: a zone of its own, on crons that heed it."""
    zones = re.findall(r"^\s*CRON_TZ\s*=\s*[\"']?([^\"'\s]*)", foreign, flags=re.MULTILINE)
    return tuple(
        f"the crontab sets CRON_TZ={zone} above our lines, which are in UTC: take it out"
        for zone in zones
        if zone not in {"UTC", "Etc/UTC"}
    )


def _lines(installation: Installation, plan: Plan) -> Iterator[str]:
    yield f"# {plan.agent}, {plan.calendar.exchange}"
    sessions = kinds_of_sessions(plan.calendar)
    for job in Job:
        words = escaped(command(installation, plan.agent, job))
        for fields in expressions(plan.schedule, sessions, job):
            yield f"{fields} {words}"


def _split(text: str, installation: Installation) -> tuple[str, str | None, str]:
    """Cut a crontab into what stands before the block, the block, and what stands after it."""
    lines = text.splitlines(keepends=True)
    begins = [at for at, line in enumerate(lines) if line.rstrip() == installation.begin]
    ends = [at for at, line in enumerate(lines) if line.rstrip() == installation.end]
    if not begins and not ends:
        return text, None, ""
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise ConfigError(
            f"the crontab's markers do not match, {len(begins)} times {installation.begin!r} and "
            f"{len(ends)} times {installation.end!r}: correct them with crontab -e"
        )
    first, last = begins[0], ends[0] + 1
    return "".join(lines[:first]), "".join(lines[first:last]), "".join(lines[last:])
