"""The stops of an agent in a file of their own, so that losing the database does not lose them.

Written whole at every change; read by whoever has to guard positions without a database.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.database import codec
from shared.database.positions import PositionRecord
from shared.errors import ConfigError
from shared.models import utc


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStop:
    """What a position of ours is to be protected by."""

    position_id: int
    symbol: str
    quantity: int
    currency: str
    entry_price: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFile:
    """Every stop that was known at one time."""

    as_of: datetime
    database: UUID
    """Identity of the database that the positions are of."""
    stops: tuple[KnownStop, ...]


def stop_file(home: Path, agent_id: str) -> Path:
    """Return where the file lies, below the data directory `home`."""
    return home / "state" / f"{agent_id}-stops.json"


def remember_stops(
    home: Path,
    agent_id: str,
    positions: Sequence[PositionRecord],
    at: datetime,
    *,
    database: UUID,
) -> None:
    """Put the file in place in one step and on the disk, unless it says the same. Raises OSError."""
    path = stop_file(home, agent_id)
    stops = json.loads(codec.encode([asdict(_known(record)) for record in positions]))
    said = _said(path)
    if (said.get("stops"), said.get("database")) == (stops, str(database)):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        content = {
            "agent": agent_id,
            "as_of": at.isoformat(),
            "database": str(database),
            "stops": stops,
        }
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_stops(home: Path, agent_id: str) -> StopFile | None:
    """Return what was remembered; None where nothing ever was. Raises ConfigError for garbage."""
    path = stop_file(home, agent_id)
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_bytes())
        return StopFile(
            as_of=utc(datetime.fromisoformat(said["as_of"])),
            database=UUID(said["database"]),
            stops=tuple(_from_json(one) for one in said["stops"]),
        )
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        msg = f"the file of stops {path} makes no sense: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error


def _said(path: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said


def _known(record: PositionRecord) -> KnownStop:
    return KnownStop(
        position_id=record.position_id,
        symbol=record.symbol,
        quantity=record.quantity,
        currency=record.currency,
        entry_price=record.entry_price,
        stop_loss=record.stop_loss,
        take_profit=record.take_profit,
        opened_at=record.opened_at,
    )


def _from_json(one: dict[str, Any]) -> KnownStop:
    return KnownStop(
        position_id=int(one["position_id"]),
        symbol=str(one["symbol"]),
        quantity=int(one["quantity"]),
        currency=str(one["currency"]),
        entry_price=Decimal(one["entry_price"]),
        stop_loss=None if one["stop_loss"] is None else Decimal(one["stop_loss"]),
        take_profit=None if one["take_profit"] is None else Decimal(one["take_profit"]),
        opened_at=utc(datetime.fromisoformat(one["opened_at"])),
    )
