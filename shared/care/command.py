"""What an operator types: reads the command line, finds the agent, does it, and says it in one sentence."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, cast

import entry_point
from entry_point import Afterwards, Printing, end_cleanly_when_told, log_to
from shared.care import backup as backups
from shared.care import prune as pruning
from shared.care import restore as restoring
from shared.care import upgrade as upgrading
from shared.care.archive import Archive, open_archive
from shared.care.arguments import Arguments, Command, parse
from shared.care.backup import Backup, backup_directory
from shared.care.databases import open_alone, open_connections
from shared.care.quiet import Patience, Quiet, only_care, quiet
from shared.clock import SystemClock
from shared.config import Configuration
from shared.errors import ConfigError, MigrationFailed
from shared.operate.place import Place, find_place
from shared.outcome import Outcome, Status
from shared.paths import data_directory
from shared.sql import DatabaseKind


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Do one command and return the exit code: 0 done or rightly nothing to do, 1 failed, 2 usage."""
    arguments = parse(argv)
    is_crons = arguments.command is Command.PRUNE
    afterwards = Afterwards(environ=os.environ if environ is None else environ, pings=is_crons)
    outcome = entry_point.run(
        arguments.agent,
        arguments.command,
        lambda configuration: _carried_out(arguments, configuration, afterwards.environ),
        afterwards=afterwards,
        printing=Printing(
            out=stdout or sys.stdout,
            err=stderr or sys.stderr,
            as_json=arguments.as_json,
            show=_show,
        ),
    )
    if outcome.status is Status.BUSY and not is_crons:
        return 1  # a person wanted something, and it was not done; cron comes again
    return outcome.exit_code


def _carried_out(
    arguments: Arguments, configuration: Configuration, environ: Mapping[str, str]
) -> Outcome:
    log_to(configuration, environ, mode=arguments.command)
    place = find_place(configuration, environ, data_directory(environ))
    match arguments.command:
        case Command.UPGRADE:
            return _upgrade(place, arguments)
        case Command.BACKUP:
            return _backup(place)
        case Command.RESTORE:
            return _restore(place, arguments)
        case Command.PRUNE:
            return _prune(place, arguments)


def _backup(place: Place) -> Outcome:
    async def make() -> Backup:
        end_cleanly_when_told()
        async with open_connections(place) as connections:
            return await backups.make_backup(place, connections, SystemClock().now())

    with only_care(place, Command.BACKUP):
        made = asyncio.run(make())
    return _outcome(place, Command.BACKUP, Status.DONE, made.sentence(), **_about(made))


def _upgrade(place: Place, arguments: Arguments) -> Outcome:
    seconds = arguments.wait_seconds
    patience = Patience(
        run_seconds=place.settings.locks.longest_run_seconds if seconds is None else seconds,
        monitor_seconds=place.settings.care.monitor_seconds,
    )
    with only_care(place, Command.UPGRADE), quiet(place, Command.UPGRADE, patience) as silence:
        return asyncio.run(_upgraded(place, arguments, silence))


async def _upgraded(place: Place, arguments: Arguments, silence: Quiet) -> Outcome:
    end_cleanly_when_told()
    made = None
    async with open_alone(place) as connections:
        steps = await upgrading.planned(connections)
        has_rows = any(step.is_new and step.before != upgrading.NOTHING for step in steps)
        if has_rows and arguments.backup:
            made = await backups.make_backup(place, connections, SystemClock().now())
        try:
            applied = await upgrading.migrate_all(connections)
        except MigrationFailed as error:
            what = f"{error}; every database is as it was{_where(made)}"
            return _outcome(place, Command.UPGRADE, Status.FAILED, what, **_about(made))
    said = [step.sentence() for step in steps]
    said += [f"backup in {made.path}"] if made else []
    said += [_about_monitors(silence)] if silence.asked else []
    return _outcome(
        place,
        Command.UPGRADE,
        Status.DONE if any(applied.values()) else Status.NOTHING_TO_DO,
        "; ".join(said),
        databases={step.kind: {"before": step.before, "after": step.after} for step in steps},
        applied=applied,
        monitors_ended=[holder.pid for holder in silence.asked],
        **_about(made),
    )


def _restore(place: Place, arguments: Arguments) -> Outcome:
    path = arguments.file or _latest(place)
    kinds = tuple(DatabaseKind) if arguments.only is None else (arguments.only,)
    with open_archive(path) as archive:
        if not arguments.yes:
            which = " and ".join(kinds)
            raise ConfigError(
                f"{path} holds {archive.manifest.sentence()}. --yes fills the empty {which} database"
                " of the agent from it and halts the agent"
            )
        with only_care(place, Command.RESTORE), quiet(place, Command.RESTORE, Patience()):
            restored = asyncio.run(_restored(place, archive, kinds))
    said = [
        f"{path} of {restored.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC is in {_databases(kinds)}"
    ]
    if restored.identity is not None:
        said.append(
            "the agent is halted: run startup_monitor.py, settle what was traded since, then resume"
        )
    return _outcome(
        place,
        Command.RESTORE,
        Status.DONE,
        "; ".join(said),
        backup=str(path),
        made_at=restored.manifest.made_at.isoformat(),
        databases={
            part.kind: part.rows for part in restored.manifest.databases if part.kind in kinds
        },
        identity=None if restored.identity is None else str(restored.identity),
        files=[str(file) for file in restored.files],
    )


async def _restored(
    place: Place, archive: Archive, kinds: Sequence[DatabaseKind]
) -> restoring.Restored:
    end_cleanly_when_told()
    async with open_alone(place) as connections:
        return await restoring.restore(
            place, connections, archive, kinds=kinds, at=SystemClock().now()
        )


def _prune(place: Place, arguments: Arguments) -> Outcome:
    with only_care(place, Command.PRUNE):
        pruned = asyncio.run(pruning.prune(place, SystemClock().now(), dry_run=arguments.dry_run))
    verb = "would go" if arguments.dry_run else "went"
    return _outcome(
        place,
        Command.PRUNE,
        Status.NOTHING_TO_DO if pruned.is_nothing else Status.DONE,
        "nothing is too old" if pruned.is_nothing else f"{verb}: {pruned.sentence()}",
        dry_run=arguments.dry_run,
        transcripts=pruned.transcripts.pieces,
        transcript_cycles=pruned.transcripts.cycles,
        files=[str(path) for path in pruned.files],
        cut=[str(path) for path in pruned.cut],
    )


def _latest(place: Place) -> Path:
    found = backups.backups(place)
    if not found:
        raise ConfigError(f"there is no backup of {place.agent_id} in {backup_directory(place)}")
    return found[-1]


def _outcome(
    place: Place, command: Command, status: Status, reason: str, **details: object
) -> Outcome:
    return Outcome(
        agent=place.agent_id, mode=command, status=status, reason=reason, details=details
    )


def _about(made: Backup | None) -> dict[str, object]:
    if made is None:
        return {"backup": None}
    return {
        "backup": str(made.path),
        "rows": {part.kind: part.rows for part in made.manifest.databases},
        "forgotten": [str(path) for path in made.forgotten],
    }


def _about_monitors(silence: Quiet) -> str:
    pids = ", ".join(str(holder.pid) for holder in silence.asked)
    return f"the position monitor (pid {pids}) was ended, and cron starts it again within a minute"


def _where(made: Backup | None) -> str:
    return "" if made is None else f"; a backup is in {made.path}"


def _databases(kinds: Sequence[DatabaseKind]) -> str:
    return f"the {' and '.join(kinds)} database{'s' if len(kinds) > 1 else ''}"


def _show(outcome: Outcome, out: TextIO) -> None:
    """List what went, for people."""
    for name in ("files", "cut"):
        paths = cast("Sequence[str]", outcome.details.get(name, ()))
        out.writelines(f"{path}\n" for path in paths)
