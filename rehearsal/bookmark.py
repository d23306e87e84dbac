"""Where a rehearsal stands: which session is played, from what data, and how far. Kept between runs."""

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from shared.errors import ConfigError
from shared.models import require_aware

FILE_NAME = "bookmark.json"
DATABASE_PREFIX = "catalyst_rehearsal_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """One rehearsal; a new number means a new account, new databases and a new exchange."""

    number: int
    token: str
    """Tells its databases from those of an earlier rehearsal whose folder was removed."""
    session_date: date
    clock: datetime
    played: bool = True
    """Whether the slot at `clock` is done with; a dry run lets time pass and leaves its slot."""
    data: Path | None
    """Recorded bars; None plays generated sessions."""
    instruments: Path | None = None
    only_session: bool = False
    """Whether the rehearsal ends with `session_date`."""

    def __post_init__(self) -> None:
        require_aware(self.clock, "clock")

    @property
    def database_name(self) -> str:
        """Name of its trading database."""
        return f"{DATABASE_PREFIX}{self.number}_{self.token}"

    @property
    def research_database_name(self) -> str:
        """Name of its research database."""
        return f"{self.database_name}_research"

    @property
    def after(self) -> datetime:
        """Slots later than this are still to be played."""
        return self.clock if self.played else self.clock - timedelta(microseconds=1)

    def at(self, session_date: date, clock: datetime, *, played: bool = True) -> "Bookmark":
        """Return the same rehearsal, further on."""
        return replace(self, session_date=session_date, clock=clock, played=played)


def read(folder: Path) -> Bookmark | None:
    """Read the bookmark, or None when no rehearsal was begun. Raises ConfigError if unreadable."""
    path = folder / FILE_NAME
    try:
        fields = json.loads(path.read_bytes())
        return Bookmark(
            number=int(fields["number"]),
            token=str(fields["token"]),
            session_date=date.fromisoformat(fields["session_date"]),
            clock=datetime.fromisoformat(fields["clock"]),
            played=bool(fields["played"]),
            data=_path(fields["data"]),
            instruments=_path(fields["instruments"]),
            only_session=bool(fields["only_session"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a rehearsal's bookmark ({error}); `make run` begins a new rehearsal"
        raise ConfigError(msg) from error


def newest(folder: Path) -> Bookmark | None:
    """Return the bookmark, or None when there is none or it cannot be read: a new one is to be begun."""
    try:
        return read(folder)
    except ConfigError:
        return None


def read_number(folder: Path) -> int:
    """Number of the newest rehearsal that was begun, 0 if none; an unreadable bookmark is stepped over.

    Exchanges of earlier rehearsals count too, so that a number is never used twice.
    """
    known = newest(folder)
    stores = (path.stem.removeprefix("exchange-") for path in folder.glob("exchange-*.sqlite"))
    numbers = (int(number) for number in stores if number.isdecimal())
    return max((0 if known is None else known.number, *numbers))


def write(folder: Path, bookmark: Bookmark) -> None:
    """Put the bookmark in place in one step, so that a crash leaves the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(asdict(bookmark), file, default=str)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
