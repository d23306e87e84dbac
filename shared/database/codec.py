"""Turns Python values into jsonb and back, losing nothing silently.

Decimals travel as strings, times as ISO 8601 with their zone; what has no faithful form is refused.
"""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, cast
from uuid import UUID

from shared.models import require_aware
from shared.sql import Json, storable_text

if TYPE_CHECKING:
    from shared.database.connection import Connection


async def register(connection: "Connection") -> None:
    """Make json and jsonb columns carry Python values on this connection."""
    for type_name in ("json", "jsonb"):
        await connection.set_type_codec(
            type_name, schema="pg_catalog", encoder=encode, decoder=json.loads
        )


def encode(value: object) -> str:
    """Write a value as JSON; raise ValueError for NaN and naive times, TypeError for strange types."""
    plain = _plain(value.value if isinstance(value, Json) else value)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return storable_text(value)
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            return {storable_text(str(key)): _plain(item) for key, item in pairs}
        case Sequence() | AbstractSet() if not isinstance(value, bytes | bytearray):
            return [_plain(item) for item in cast("Sequence[object]", value)]
        case _:
            return _plain_scalar(value)


def _plain_scalar(value: object) -> str:
    match value:
        case Decimal() if value.is_finite():
            return str(value)
        case datetime():
            require_aware(value, "a time in JSON")
            return value.isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Decimal():
            msg = f"JSON needs a finite number, was {value}"
            raise ValueError(msg)
        case _:
            msg = f"{type(value).__name__} has no form in JSON"
            raise TypeError(msg)
