"""Where a rehearsal stands: never half written, never silently begun again, no number used twice."""

import json
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from rehearsal import bookmark
from rehearsal.bookmark import Bookmark
from shared.errors import ConfigError
from shared.paths import PROJECT


def mark(**changes: Any) -> Bookmark:
    values: dict[str, Any] = {
        "number": 3,
        "token": "c0de",
        "session_date": date(2026, 6, 15),
        "clock": datetime(2026, 6, 15, 14, 0, tzinfo=UTC),
        "data": None,
    }
    return Bookmark(**values | changes)


@pytest.mark.parametrize(
    "written",
    [
        mark(),
        mark(data=Path("/data/bars.csv.gz"), instruments=Path("/data/i.yaml"), only_session=True),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, written: Bookmark) -> None:
    bookmark.write(tmp_path / "rehearsal", written)

    assert bookmark.read(tmp_path / "rehearsal") == written


def test_without_a_bookmark_no_rehearsal_was_begun(tmp_path: Path) -> None:
    assert bookmark.read(tmp_path / "nowhere") is None
    assert bookmark.read_number(tmp_path / "nowhere") == 0


def test_a_write_replaces_the_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    bookmark.write(tmp_path, mark())
    bookmark.write(tmp_path, mark(number=4))

    assert [path.name for path in tmp_path.iterdir()] == [bookmark.FILE_NAME]
    assert bookmark.read(tmp_path) == mark(number=4)


def test_a_run_that_is_killed_while_it_writes_leaves_the_old_bookmark(tmp_path: Path) -> None:
    bookmark.write(tmp_path, mark())
    dies = (
        "import resource, signal, sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from rehearsal import bookmark\n"
        "folder = Path(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "bookmark.write(folder, replace(bookmark.read(folder), number=4))\n"
    )
    died = subprocess.run([sys.executable, "-c", dies, str(tmp_path)], cwd=PROJECT, check=False)

    assert died.returncode == -signal.SIGXFSZ
    assert bookmark.read(tmp_path) == mark()


def _fields(**changes: object) -> bytes:
    fields = {
        "number": 3,
        "token": "c0de",
        "session_date": "2026-06-15",
        "clock": "2026-06-15 14:00:00+00:00",
        "data": None,
        "instruments": None,
        "only_session": False,
    }
    return json.dumps(fields | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"number": 3, "sess',
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe garbage",
        _fields(number="three"),
        _fields(session_date="2026-13-01"),
        _fields(clock="2026-06-15 14:00:00"),
        _fields(clock=None),
        _fields(data=7),
    ],
)
def test_an_unreadable_bookmark_is_said_with_its_path_and_what_to_type(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / bookmark.FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        bookmark.read(tmp_path)

    assert str(tmp_path / bookmark.FILE_NAME) in str(error.value)
    assert "`make run`" in str(error.value)


def test_a_bookmark_that_may_not_be_read_is_said_too(tmp_path: Path) -> None:
    (tmp_path / bookmark.FILE_NAME).mkdir()
    with pytest.raises(ConfigError, match="`make run`"):
        bookmark.read(tmp_path)


def test_the_number_goes_on_from_the_exchanges_when_the_bookmark_is_unreadable(
    tmp_path: Path,
) -> None:
    (tmp_path / bookmark.FILE_NAME).write_bytes(b"\xff")
    for number in (9, 10):
        (tmp_path / f"exchange-{number}.sqlite").touch()

    assert bookmark.read_number(tmp_path) == 10


def test_the_number_goes_on_from_the_bookmark_when_no_exchange_was_opened(tmp_path: Path) -> None:
    bookmark.write(tmp_path, mark(number=12))
    (tmp_path / "exchange-10.sqlite").touch()

    assert bookmark.read_number(tmp_path) == 12


def test_a_foreign_file_among_the_exchanges_is_stepped_over(tmp_path: Path) -> None:
    bookmark.write(tmp_path, mark(number=12))
    (tmp_path / "exchange-kept.sqlite").touch()

    assert bookmark.read_number(tmp_path) == 12


def test_every_rehearsal_has_databases_of_its_own() -> None:
    names = {
        name
        for n in (1, 2)
        for name in (mark(number=n).database_name, mark(number=n).research_database_name)
    }

    assert len(names) == 4


def test_a_clock_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="clock must be timezone-aware"):
        mark(clock=datetime.fromisoformat("2026-06-15T14:00:00"))


def test_going_on_keeps_everything_else() -> None:
    further = mark(data=Path("/data")).at(date(2026, 6, 16), datetime(2026, 6, 16, 13, tzinfo=UTC))

    assert (further.number, further.data) == (3, Path("/data"))
    assert further.session_date == date(2026, 6, 16)
