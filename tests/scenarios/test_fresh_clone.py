"""What a stranger does first: `make run` on a new machine, twice, as root and as an ordinary user."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from shared.embedded_postgres import status, stop
from shared.paths import PROJECT

DEBIAN_PYTHON = "/usr/bin/python3"
TABLE_ROW = re.compile(r"│ (\d\d:\d\d) │ (scan|trade|close|heartbeat) +│")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A clone in a folder of its own, and who works in it."""

    folder: Path
    home: Path
    user: str | None
    python: str

    @property
    def environ(self) -> dict[str, str]:
        """Hardly anything: what reaches the package registry, and a home."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(
                ("PIP_", "SSL_", "REQUESTS_", "http", "HTTP", "no_proxy", "NO_PROXY")
            )
        }
        return kept | {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}

    @property
    def data(self) -> Path:
        """Where an ordinary user's data goes by itself; root is kept out of /var/lib here."""
        return self.home / ".local" / "share" / "catalyst" if self.user else self.home / "catalyst"

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start make, in a process group of its own, so that all of it can be killed."""
        environ = self.environ | ({} if self.user else {"CATALYST_HOME": str(self.data)})
        return subprocess.Popen(
            ["make", *arguments, f"PYTHON={self.python}"],
            cwd=self.folder,
            env=environ,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *arguments: str) -> tuple[int, str]:
        """Run make to its end; return its exit code and all it printed."""
        process = self.start(*arguments)
        printed, _ = process.communicate(timeout=600)
        return process.returncode, printed


def python_for_everybody() -> str:
    """Debian's own Python, since one under root's home is closed to others."""
    probe = [DEBIAN_PYTHON, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
    if Path(DEBIAN_PYTHON).exists() and subprocess.run(probe, check=False).returncode == 0:
        return DEBIAN_PYTHON
    reason = f"{DEBIAN_PYTHON} is missing, too old or cannot make a virtual environment"
    if os.environ.get("CI"):
        pytest.fail(reason)
    return pytest.skip(reason)


@pytest.fixture(scope="module", params=["as we are", "as an ordinary user"])
def clone(request: pytest.FixtureRequest) -> Iterator[Clone]:
    """The tracked files in an empty folder, owned by who will run them."""
    other = request.param == "as an ordinary user"
    if other and os.geteuid() != 0:
        pytest.skip("only root can become another user; the other half of this test ran as one")
    place = Path(tempfile.mkdtemp(prefix="catalyst-clone-", dir="/tmp"))
    made = Clone(
        folder=place / "catalyst",
        home=place / "home",
        user="nobody" if other else None,
        python=python_for_everybody() if other else "python3",
    )
    _copy_tracked_files(made.folder)
    made.home.mkdir()
    place.chmod(0o711)
    if other:
        for path in (place, *place.rglob("*")):
            shutil.chown(path, "nobody")
    try:
        yield made
    finally:
        stop(made.data)
        shutil.rmtree(place)


def _copy_tracked_files(folder: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)


def test_make_run_sets_everything_up_and_plays_the_day_twice(clone: Clone) -> None:
    for _ in range(2):
        code, printed = clone.make("run")
        modes = [mode for _, mode in TABLE_ROW.findall(printed)]

        assert code == 0, printed
        assert modes == ["scan", *["trade"] * 12, "close", "heartbeat"]
        assert "no model is asked" in printed
        assert "Where to look next" in printed


def test_make_run_works_after_everything_was_killed(clone: Clone) -> None:
    process = clone.start("run")
    assert process.stdout is not None
    for line in process.stdout:
        if "Decisions:" in line:
            break
    server = status(clone.data)
    assert server is not None
    database = psutil.Process(server.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for one in (database, *database.children(recursive=True)):
        one.kill()
    process.stdout.close()
    process.wait()
    code, printed = clone.make("run")

    assert code == 0, printed
    assert len(TABLE_ROW.findall(printed)) == 15


def test_make_stop_stops_the_database(clone: Clone) -> None:
    code, printed = clone.make("stop")

    assert code == 0, printed
    assert status(clone.data) is None


def test_make_without_a_target_lists_what_there_is(clone: Clone) -> None:
    code, printed = clone.make()

    assert code == 0
    assert "make run" in printed
    assert "make test" in printed
