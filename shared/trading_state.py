"""Keeps an agent's trading state in two places, the database and a file, and says which applies.

A halt goes into the file first, so that it holds without a database; it is lifted in the database first.
Knows nothing of orders: what a state forbids is safety's business.
"""

import fcntl
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from shared import log
from shared.database import accounts, records
from shared.database.connection import Connection, transaction
from shared.errors import CatalystError, ConfigError, DatabaseUnavailable
from shared.halts import FileHalts, Halt, HaltKind, StateInForce, Unreadable, effective
from shared.models import TradingState, utc

logger = log.get(__name__)

__all__ = [
    "Halt",
    "HaltKind",
    "Recorded",
    "StateInForce",
    "current",
    "effective",
    "forget",
    "halt",
    "halt_for_daily_loss",
    "read_file",
    "reduce",
    "resume",
    "state_file",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A halt that holds, and where it could not be written down, if anywhere."""

    halt: Halt
    file_problem: str | None = None
    database_problem: str | None = None
    repeated: bool = False
    """Whether it held already: a daily-loss halt of the same day."""


async def current(
    connection: "Connection | None", agent_id: str, home: Path, now: datetime
) -> StateInForce:
    """Return what the agent may do now: the stricter of database and file.

    Without a connection only the file is asked, which may know less. Raises DatabaseUnavailable.
    """
    rows = () if connection is None else await accounts.halts_in_force(connection, agent_id, now)
    state, reasons = effective(rows, read_file(home, agent_id), now)
    return StateInForce(state=state, reasons=reasons)


async def halt(
    connection: "Connection | None",
    *,
    agent_id: str,
    home: Path,
    why: str,
    by: str,
    at: datetime,
    kind: HaltKind = HaltKind.PERSON,
    cycle_id: str | None = None,
) -> Recorded:
    """Stop the agent from opening positions until a person lets it trade again.

    One that no person asked for is mailed. It holds when it could be written to one of the two places;
    raises ConfigError or DatabaseUnavailable when it could be written to neither.
    """
    new = Halt(state=TradingState.HALTED, kind=kind, reason=why, started_by=by, started_at=utc(at))
    return await _record(connection, new, agent_id=agent_id, home=home, cycle_id=cycle_id)


async def reduce(
    connection: "Connection | None", *, agent_id: str, home: Path, why: str, by: str, at: datetime
) -> Recorded:
    """Let the agent leave and protect positions and open none, until a person says otherwise.

    Raises as `halt` does.
    """
    new = Halt(
        state=TradingState.REDUCING,
        kind=HaltKind.PERSON,
        reason=why,
        started_by=by,
        started_at=utc(at),
    )
    return await _record(connection, new, agent_id=agent_id, home=home, cycle_id=None)


async def halt_for_daily_loss(
    connection: Connection,
    *,
    agent_id: str,
    home: Path,
    why: str,
    at: datetime,
    next_open: datetime,
    cycle_id: str | None,
    by: str = "safety",
) -> Recorded:
    """Stop the agent until the next session opens at `next_open`, and mail that once.

    Raises as `halt` does.
    """
    new = Halt(
        state=TradingState.HALTED,
        kind=HaltKind.DAILY_LOSS,
        reason=why,
        started_by=by,
        started_at=utc(at),
        expires_at=utc(next_open),
    )
    return await _record(connection, new, agent_id=agent_id, home=home, cycle_id=cycle_id)


async def resume(
    connection: "Connection | None", *, agent_id: str, home: Path, why: str, by: str, at: datetime
) -> tuple[str, ...]:
    """Lift every halt, as only a person may, and return what was lifted; empty when nothing was.

    Without a connection, where there is no database at all, only the file is asked and changed. An
    unreadable file is replaced; a halt that comes in between stays. Raises DatabaseUnavailable and
    ConfigError, and then the agent is still halted by what could not be lifted.
    """
    if not why.strip():
        msg = "trading goes on only for a reason, was empty"
        raise ValueError(msg)
    seen, rows = read_file(home, agent_id), ()
    if connection is not None:
        rows = await accounts.lift_halts(
            connection, agent_id=agent_id, lifted_by=by, why=why, at=utc(at)
        )
    _, lifted = effective(rows, seen, at)
    if seen is not None:
        _remove(seen, agent_id=agent_id, home=home)
    logger.info("trading_resumed", by=by, why=why, lifted=lifted)
    return lifted


def read_file(home: Path, agent_id: str) -> FileHalts:
    """Return what the state file says: halts, None where there is no file, Unreadable where it is garbage."""
    path = state_file(home, agent_id)
    try:
        said = json.loads(path.read_bytes())
        if said["agent"] != agent_id:
            return Unreadable(f"the state file {path} is about {said['agent']!r}, not {agent_id}")
        return tuple(_from_json(one) for one in said["halts"])
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unreadable(f"the state file {path} cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Unreadable(f"the state file {path} makes no sense: {type(error).__name__}: {error}")


def forget(home: Path, agent_id: str) -> None:
    """Remove the file: for a rehearsal that begins anew, with an account and databases of its own."""
    state_file(home, agent_id).unlink(missing_ok=True)


def state_file(home: Path, agent_id: str) -> Path:
    """Return where the file lies, below the data directory `home`."""
    return home / "state" / f"{agent_id}.json"


async def _record(
    connection: "Connection | None",
    new: Halt,
    *,
    agent_id: str,
    home: Path,
    cycle_id: str | None,
) -> Recorded:
    """Write to the file, then to the database; what fails is told, unless both fail."""
    file_problem = _into_file(new, agent_id=agent_id, home=home)
    if connection is None:
        if file_problem is not None:
            raise file_problem
        return Recorded(halt=new, database_problem="the database was not asked")
    try:
        repeated = await _into_database(connection, new, agent_id=agent_id, cycle_id=cycle_id)
    except DatabaseUnavailable as error:
        if file_problem is not None:
            raise file_problem from error
        return Recorded(halt=new, database_problem=str(error))
    return Recorded(
        halt=new,
        file_problem=None if file_problem is None else str(file_problem),
        repeated=repeated,
    )


def _into_file(new: Halt, *, agent_id: str, home: Path) -> CatalystError | None:
    """Add a halt to the file and keep those in force; what was unreadable stays a halt of its own."""
    try:
        with _changing(home, agent_id) as known:
            if isinstance(known, Unreadable):
                known = (_of_unreadable(known, new.started_at),)
            kept = [one for one in known or () if one.is_in_force(new.started_at)]
            if not any(_is_the_same(one, new) for one in kept):
                _write(home, agent_id, (*kept, new))
                logger.warning("trading_state", restricted_by=new.sentence())
    except ConfigError as error:
        logger.exception("state_file_not_written")
        return error
    return None


def _remove(seen: FileHalts, *, agent_id: str, home: Path) -> None:
    """Take what was lifted out of the file. Raises ConfigError."""
    with _changing(home, agent_id) as known:
        readable = known if isinstance(known, tuple) else ()
        lifted = seen if isinstance(seen, tuple) else ()
        _write(home, agent_id, [one for one in readable if one not in lifted])


async def _into_database(
    connection: Connection, new: Halt, *, agent_id: str, cycle_id: str | None
) -> bool:
    """Write the halt's row and, where no person asked for it, its alert; return whether it was there."""
    async with transaction(connection):
        halt_id = await accounts.start_halt(
            connection,
            agent_id=agent_id,
            state=new.state,
            kind=new.kind,
            reason=new.reason,
            started_by=new.started_by,
            at=new.started_at,
            expires_at=new.expires_at,
        )
        if halt_id is not None and new.kind is not HaltKind.PERSON:
            await records.queue_alert(
                connection,
                agent_id=agent_id,
                cycle_id=cycle_id,
                severity="critical",
                subject=f"{agent_id} is {new.state}: {new.reason}",
                body=f"{new.sentence()}. {_how_it_ends(new)}",
                dedupe_key=f"halt-{halt_id}",
                at=new.started_at,
            )
    return halt_id is None


def _how_it_ends(new: Halt) -> str:
    if new.kind is HaltKind.DAILY_LOSS:
        return "Positions may still be left. It ends by itself when the next session opens."
    return "Positions may still be left. Only a person lifts it, by `resume --why`."


def _is_the_same(one: Halt, new: Halt) -> bool:
    """Whether a halt is noted already; of a day's losses the first is enough."""
    is_of_that_day = one.kind is HaltKind.DAILY_LOSS and one.expires_at == new.expires_at
    return is_of_that_day or one == new


def _of_unreadable(found: Unreadable, at: datetime) -> Halt:
    return Halt(
        state=TradingState.HALTED,
        kind=HaltKind.UNRESOLVED,
        reason=found.why,
        started_by="catalyst",
        started_at=at,
    )


@contextmanager
def _changing(home: Path, agent_id: str) -> Generator[FileHalts]:
    """Hold the file against others who change it, and yield what it says. Raises ConfigError."""
    path = state_file(home, agent_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
    except OSError as e:
        raise ConfigError(f"the state file {path} cannot be changed: {e.strerror}") from e
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield read_file(home, agent_id)
    finally:
        os.close(descriptor)


def _write(home: Path, agent_id: str, halts: Sequence[Halt]) -> None:
    """Put the file in place in one step and on the disk, directory included. Raises ConfigError."""
    path = state_file(home, agent_id)
    said = {"agent": agent_id, "halts": [_as_json(one) for one in halts]}
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            json.dump(said, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as e:
        raise ConfigError(f"the state file {path} cannot be written: {e.strerror}") from e


def _as_json(one: Halt) -> dict[str, object]:
    values = asdict(one)
    for name in ("started_at", "expires_at"):
        values[name] = None if values[name] is None else values[name].isoformat()
    return values


def _from_json(said: Any) -> Halt:  # pyright: ignore[reportExplicitAny] (JSON of any shape)
    """Raises ValueError, KeyError or TypeError for what is no halt."""
    fields = cast("dict[str, str | None]", said)
    expires_at = fields["expires_at"]
    return Halt(
        state=TradingState(_text(fields["state"])),
        kind=HaltKind(_text(fields["kind"])),
        reason=_text(fields["reason"]),
        started_by=_text(fields["started_by"]),
        started_at=_moment(_text(fields["started_at"])),
        expires_at=None if expires_at is None else _moment(expires_at),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"a text was expected, was {value!r}"
        raise TypeError(msg)
    return value


def _moment(text: str) -> datetime:
    return utc(datetime.fromisoformat(text))
