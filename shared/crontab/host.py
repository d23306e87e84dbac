"""What the machine has to do with it: the crontab program, the zone of its clock, the programs lines name."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from shared.crontab.block import ENV, FLOCK, Installation
from shared.errors import ConfigError

CRONTAB = Path("/usr/bin/crontab")
LOCALTIME = Path("/etc/localtime")
"""The zone that the cron daemon goes by, whatever TZ says elsewhere."""

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CrontabProgram:
    """The crontab of the user who runs this, through the program that guards it."""

    path: Path = CRONTAB

    def read(self) -> str:
        """Return the crontab's text, empty where there is none. Raises ConfigError."""
        ended = self._run("-l", None)
        if ended.returncode and "no crontab for" in ended.stderr:
            return ""
        self._require_success("-l", ended)
        return ended.stdout

    def write(self, text: str) -> None:
        """Put a text in the crontab's place; the program refuses what it cannot read. Raises ConfigError."""
        self._require_success("-", self._run("-", text))

    def _run(self, argument: str, text: str | None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 -- the operator's own crontab, and no shell
                [self.path, argument],
                input=text or "",
                capture_output=True,
                text=True,
                check=False,
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                timeout=_TIMEOUT_SECONDS,
            )
        except FileNotFoundError as e:
            raise ConfigError(f"{self.path} does not exist: install cron") from e
        except (OSError, subprocess.TimeoutExpired) as e:
            raise ConfigError(f"{self.path} {argument} could not be run: {e}") from e

    def _require_success(self, argument: str, ended: subprocess.CompletedProcess[str]) -> None:
        if ended.returncode:
            raise ConfigError(
                f"{self.path} {argument} ended with {ended.returncode}: {ended.stderr.strip()}"
            )


def zone_problems(now: datetime, localtime: Path = LOCALTIME) -> tuple[str, ...]:
    """Say so when cron's hours are not UTC at some time of the year to come."""
    try:
        with localtime.open("rb") as file:
            zone = ZoneInfo.from_file(file)
    except FileNotFoundError:
        return ()  # the C library then takes UTC
    except (OSError, ValueError) as e:
        return (f"{localtime} cannot be read, so the host's zone is not known: {e}",)
    for day in range(366):
        offset = (now.astimezone(UTC) + timedelta(days=day)).astimezone(zone).utcoffset()
        if offset:
            name = localtime.resolve().as_posix().partition("zoneinfo/")[2] or str(localtime)
            return (
                (
                    f"the host's zone is {name}, and our lines are in UTC: "
                    f"timedatectl set-timezone UTC, then restart cron"
                ),
            )
    return ()


def missing_programs(installation: Installation) -> Iterator[str]:
    """Name everything that the lines start and that is not there."""
    scripts = ("unified_agent", "startup_monitor", "position_monitor")
    wanted = [Path(ENV), Path(FLOCK), installation.python]
    wanted += [installation.project / f"{name}.py" for name in scripts]
    wanted += [installation.project / "shared" / "care" / "__main__.py"]
    for path in wanted:
        if not path.is_file():
            yield f"{path} does not exist, and a line of the crontab would start it"


def make_directories(installation: Installation) -> None:
    """Make the directories that the lines write to: without them a shell would not start anything."""
    for path in (installation.logs, installation.home / "locks"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ConfigError(f"{path} cannot be made: {e.strerror}") from e
