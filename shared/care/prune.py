"""Deletes what the configuration keeps no longer: transcripts, rotated logs, old journals, old backups.

Decisions, orders, fills, refusals, tool calls and costs stay for ever.
"""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared import log
from shared.care import backup, beside
from shared.care.logs import cut_down
from shared.database import care
from shared.database.care import Transcripts
from shared.errors import CatalystError
from shared.operate.place import Place
from shared.paths import log_base

logger = log.get(__name__)

_CYCLES_AT_ONCE = 20
"""So that one statement never takes long, and a prune that is ended has done its share."""


class PruneFailed(CatalystError):
    """A file that is too old could not be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, or would go."""

    transcripts: Transcripts
    files: tuple[Path, ...]
    cut: tuple[Path, ...]
    """Files that lost all but their end."""

    @property
    def is_nothing(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.transcripts.pieces or self.files or self.cut)

    def sentence(self) -> str:
        """Say it in a line."""
        said, parts = self.transcripts, list[str]()
        if said.pieces:
            parts.append(f"{said.pieces} pieces of what was said in {said.cycles} cycles")
        if self.files:
            parts.append(f"{len(self.files)} files")
        parts += [f"all but the end of {path.name}" for path in self.cut]
        return ", ".join(parts) or "nothing"


async def prune(place: Place, at: datetime, *, dry_run: bool) -> Pruned:
    """Delete what is too old; files go by the machine's time, rows by the agent's.

    Files first, which needs no database. Raises PruneFailed, NoRehearsal and DatabaseUnavailable.
    """
    try:
        files = _delete(tuple(_old_files(place, at)), dry_run=dry_run)
        cut = _cut(place, dry_run=dry_run)
    except OSError as error:
        raise PruneFailed(f"{error.filename} cannot be deleted: {error.strerror}") from error
    pruned = Pruned(transcripts=await _transcripts(place, dry_run=dry_run), files=files, cut=cut)
    logger.info("pruned", dry_run=dry_run, what=pruned.sentence())
    return pruned


def cron_log(place: Place) -> Path:
    """Return the file into which cron's runs of the agent print."""
    return log_base(place.environ) / "logs" / f"cron-{place.agent_id}.log"


def _old_files(place: Place, at: datetime) -> Iterator[Path]:
    kept = place.settings.care
    logging = place.settings.logging
    folder = log_base(place.environ) / Path(logging.directory).expanduser()
    rotated = sorted(folder.glob(f"{place.agent_id}.jsonl.*"))
    yield from _older(rotated, at - timedelta(days=kept.logs_days))
    aside = beside.set_aside(place.home, place.agent_id)
    yield from _older(aside, at - timedelta(days=kept.journals_days))
    yield from backup.superfluous(place)


def _older(paths: Sequence[Path], than: datetime) -> Iterator[Path]:
    for path in paths:
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) < than:
            yield path


def _delete(paths: tuple[Path, ...], *, dry_run: bool) -> tuple[Path, ...]:
    for path in () if dry_run else paths:
        path.unlink(missing_ok=True)
    return paths


def _cut(place: Place, *, dry_run: bool) -> tuple[Path, ...]:
    path, at_most = cron_log(place), place.settings.care.cron_log_max_bytes
    if not path.is_file() or path.stat().st_size <= at_most:
        return ()
    if not dry_run:
        cut_down(path, at_most // 2)
    return (path,)


async def _transcripts(place: Place, *, dry_run: bool) -> Transcripts:
    before = place.clock.now() - timedelta(days=place.settings.care.transcripts_days)
    async with AsyncExitStack() as stack:
        trading = await place.trading(stack)
        if dry_run:
            return await care.count_old_transcripts(trading, agent_id=place.agent_id, before=before)
        pieces = cycles = 0
        while True:
            gone = await care.forget_transcripts(
                trading, agent_id=place.agent_id, before=before, cycles=_CYCLES_AT_ONCE
            )
            if not gone.cycles:
                return Transcripts(pieces=pieces, cycles=cycles)
            pieces, cycles = pieces + gone.pieces, cycles + gone.cycles
