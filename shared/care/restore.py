"""Puts a backup back into an empty database, and sees to it that nothing old is believed afterwards.

What the restored rows say ended with the backup; orders and fills since then are at the broker and nowhere
here. Therefore, in the same transaction as the rows:

- The database becomes another one. Client order ids are made of its identity, slot and decision; with the
  old identity a slot that is run again would give a new decision the id of an order which was placed after
  the backup. A broker that refuses ids it knows would make that order pass for the new one's outcome, and
  one that only keeps them as a remark would have two orders of one id. With a new identity no id can be one
  that was given before, whoever else still works with the old rows. That the same slot is not bought again
  is kept by the halt, and by the comparison, which finds the earlier order to be somebody else's.
- The agent is halted until a person resumes it, in the file and in the database, and told why: the day's
  entries, loss and money for Claude since the backup are not known, and what was bought since is not managed.
- No comparison of before counts. Also after `resume` no entry is allowed until broker and database were
  compared anew, by the startup monitor or by the next run.
- Tokens go on far above all that may have been given since, so that no process of before is the newest.
- It stands for the same account: what the agent was tied to stays, and every start compares it.

Lines of a local journal that were kept for the old database, here or in the backup, go on to the new one,
and the file of stops becomes one of its positions: who guards without a database would otherwise keep its
sales for a database that nobody asks any more. What the file said before is set aside.
"""

from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from shared import log, trading_state
from shared.care import beside
from shared.care.archive import Archive
from shared.care.databases import Connections
from shared.care.load import RestoreFailed, load, migrations_of, require_room
from shared.care.manifest import DatabasePart, Manifest
from shared.database import care, positions
from shared.database.connection import Connection, transaction
from shared.database.fences import Role
from shared.database.positions import PositionRecord
from shared.errors import ConfigError
from shared.halts import HaltKind
from shared.journal.file import LocalJournal
from shared.journal.stops import remember_stops, stop_file
from shared.operate.place import Place, operator_name
from shared.sql import DatabaseKind

logger = log.get(__name__)

_TOKENS_AHEAD = 1_000_000
"""More holders than an agent's lock has in a thousand years of cron."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was put back."""

    manifest: Manifest
    kinds: tuple[DatabaseKind, ...]
    identity: UUID | None
    """The new one of the trading database; None where that was not restored."""
    files: tuple[Path, ...]
    """Files beside the databases that the machine lacked."""


async def restore(
    place: Place,
    connections: Connections,
    archive: Archive,
    *,
    kinds: Collection[DatabaseKind],
    at: datetime,
) -> Restored:
    """Restore the databases of these kinds; the caller has the agent to itself, on whatever machine.

    Both databases are filled before either is committed, the trading one last. Raises ConfigError for a
    database that is not empty and a backup that does not fit, RestoreFailed, and DatabaseUnavailable.
    """
    manifest = archive.manifest
    parts = [manifest.database(kind) for kind in DatabaseKind if kind in kinds]
    _require_fit(place, manifest, parts)
    put_back, identity = _Files(place), None
    async with AsyncExitStack() as stack:
        for part in parts:
            await stack.enter_async_context(transaction(connections[part.kind]))
            await require_room(connections[part.kind], part.kind)
        for part in parts:
            await load(connections[part.kind], part, archive)
        if DatabaseKind.TRADING in kinds:
            connection = connections[DatabaseKind.TRADING]
            identity = await care.renew_identity(connection)
            await _distrust(connection, manifest, place.clock.now())
            put_back.write(archive, identity)
            put_back.held = await positions.open_positions(connection, place.agent_id)
            # last before the commit: a halt holds also where that is never heard of
            await _halt(connection, place, manifest)
    if identity is not None:
        put_back.settle(identity, at)
    logger.warning("restored", backup=manifest.sentence(), identity=str(identity))
    return Restored(
        manifest=manifest,
        kinds=tuple(part.kind for part in parts),
        identity=identity,
        files=tuple(put_back.written),
    )


def _require_fit(place: Place, manifest: Manifest, parts: Collection[DatabasePart]) -> None:
    """Find what the backup itself has against it before the first write. Raises ConfigError."""
    if manifest.agent_id != place.agent_id:
        msg = f"the backup is of {manifest.agent_id}, and this is {place.agent_id}"
        raise ConfigError(msg)
    for part in parts:
        migrations_of(part)


async def _distrust(connection: Connection, manifest: Manifest, now: datetime) -> None:
    why = f"the database was restored from a backup of {manifest.made_at.isoformat()}"
    await care.void_verdicts(connection, why=why, at=now)
    await care.raise_tokens(connection, by=_TOKENS_AHEAD)


async def _halt(connection: Connection, place: Place, manifest: Manifest) -> None:
    made = f"{manifest.made_at:%Y-%m-%d %H:%M} UTC"
    why = f"restored from the backup of {made}, and what was traded since is not known here"
    await trading_state.halt(
        connection,
        agent_id=place.agent_id,
        home=place.home,
        why=why,
        by=operator_name(place.environ),
        at=place.clock.now(),
        kind=HaltKind.UNRESOLVED,
    )


class _Files:
    """Puts files back beside the databases."""

    def __init__(self, place: Place) -> None:
        self.written: list[Path] = []
        self.held: tuple[PositionRecord, ...] = ()
        """What the restored database holds."""
        self._place: Place = place
        self._old: UUID | None = None

    def write(self, archive: Archive, identity: UUID) -> None:
        """Write what the machine lacks, and the journal under the database's new name; all or nothing.

        Raises RestoreFailed.
        """
        try:
            self._write(archive, identity)
        except OSError as error:
            self._take_away()
            what = f"{error.filename} cannot be written: {error.strerror}; nothing was restored"
            raise RestoreFailed(what) from error

    def _write(self, archive: Archive, identity: UUID) -> None:
        home, agent_id = self._place.home, self._place.agent_id
        self._old = archive.manifest.database(DatabaseKind.TRADING).identity
        old = {} if self._old is None else journals(home, agent_id, self._old)
        kept: dict[Role, bytes] = {}
        for file in archive.manifest.files:
            content = archive.content(file.piece)
            if home / file.path == stop_file(home, agent_id):
                continue
            if Path(file.path).name in old:
                kept[old[Path(file.path).name]] = content
                continue
            self._note(beside.put_back(home, file.path, content))
        if self._old is None:
            return
        for role in Role:
            self._note(
                beside.carry_journal(
                    home,
                    agent_id,
                    role,
                    old=self._old,
                    new=identity,
                    from_backup=kept.get(role, b""),
                )
            )

    def _take_away(self) -> None:
        for path in self.written:
            path.unlink(missing_ok=True)
        self.written.clear()

    def settle(self, identity: UUID, at: datetime) -> None:
        """Make the files those of the new database, now that it is there for good.

        What cannot be written is logged: the next run writes the stops anew, and an old journal is in nobody's
        way.
        """
        home, agent_id = self._place.home, self._place.agent_id
        try:
            if self._old is not None:
                beside.supersede(home, agent_id, old=self._old, at=at)
            now = self._place.clock.now()
            remember_stops(home, agent_id, self.held, now, database=identity)
        except OSError:
            logger.exception("files_not_settled")

    def _note(self, path: Path | None) -> None:
        if path is not None:
            self.written.append(path)


def journals(home: Path, agent_id: str, database: UUID) -> dict[str, Role]:
    """Name the journals of a database, one for each kind of writer."""
    return {
        LocalJournal(home=home, agent_id=agent_id, database=database, role=role).path.name: role
        for role in Role
    }
