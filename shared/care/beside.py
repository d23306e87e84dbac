"""Files of an agent that lie beside its databases and matter: trading state, stops, and the local journal.

What the machine still has is newer than any backup, so it is never lost; only what is missing is put back.
A journal belongs to one database, by its identity: its lines go on to the database that is restored. The
stops are those of a database's positions, so that they are written anew from it.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from shared.database.fences import Role
from shared.journal.file import LocalJournal
from shared.journal.stops import stop_file
from shared.trading_state import state_file

_NO_DATABASE = UUID(int=0)


def files(home: Path, agent_id: str) -> Iterator[Path]:
    """Yield those that exist, by name; journals that were set aside are not among them."""
    for path in (state_file(home, agent_id), stop_file(home, agent_id)):
        if path.is_file():
            yield path
    yield from journals(home, agent_id)


def journals(home: Path, agent_id: str) -> Sequence[Path]:
    """Return the agent's journals that were not taken over yet, whatever database they belong to."""
    return sorted(
        path for name in _journal_names(agent_id) for path in home.glob(f"journal/{name}*.jsonl")
    )


def set_aside(home: Path, agent_id: str) -> Sequence[Path]:
    """Return the agent's journals and stops that are kept for a person only."""
    patterns = [f"state/{agent_id}-*.superseded-*"]
    for name in _journal_names(agent_id):
        patterns += [f"journal/{name}*.replayed-*", f"journal/{name}*.superseded-*"]
    return sorted(path for one in patterns for path in home.glob(one))


def put_back(home: Path, relative: str, content: bytes) -> Path | None:
    """Write a file unless the machine has one, on the disk at once; return it if it was written."""
    path = home / relative
    if path.exists():
        return None
    write(path, content)
    return path


def carry_journal(
    home: Path, agent_id: str, role: Role, *, old: UUID, new: UUID, from_backup: bytes
) -> Path | None:
    """Give the restored database the lines that were kept for the one it was: the backup's and this machine's.

    Each line counts once, however often it stands there. Returns the new journal, None where there is
    nothing to take over; the old one stays until `supersede`.
    """
    before = LocalJournal(home=home, agent_id=agent_id, database=old, role=role).path
    lines = from_backup.splitlines()
    if before.exists():
        lines += before.read_bytes().splitlines()
    kept = [line for line in dict.fromkeys(lines) if line.strip()]
    if not kept:
        return None
    path = LocalJournal(home=home, agent_id=agent_id, database=new, role=role).path
    write(path, b"\n".join(kept) + b"\n")
    return path


def supersede(home: Path, agent_id: str, *, old: UUID, at: datetime) -> None:
    """Set aside what the restored database knows nothing of, for the person who has to settle it.

    The old journals' lines have gone on to the new ones. The stops of positions that were bought since the
    backup stand in the stop file alone, which is written anew after this.
    """
    suffix = f".superseded-{at:%Y%m%dT%H%M%S%f}"
    for role in Role:
        before = LocalJournal(home=home, agent_id=agent_id, database=old, role=role).path
        if before.exists():
            before.rename(before.with_suffix(suffix))
            sync_directory(before.parent)
    stops = stop_file(home, agent_id)
    if stops.exists():
        write(stops.with_suffix(suffix), stops.read_bytes())


def write(path: Path, content: bytes) -> None:
    """Put a file in place in one step and on the disk, directory included, for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.unfinished")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Put a directory's names on the disk."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _journal_names(agent_id: str) -> Iterator[str]:
    """Yield how the names of the agent's journals begin, one for each kind of writer."""
    for role in Role:
        path = LocalJournal(home=Path(), agent_id=agent_id, database=_NO_DATABASE, role=role).path
        yield path.name.removesuffix(f"{_NO_DATABASE}.jsonl")
