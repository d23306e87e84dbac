"""Reads the statements under sql/*/queries: `-- name: x`, one line of description, `:param` parameters.

It knows neither connections nor results; it makes sure that a statement gets exactly its arguments, and
refuses the values that asyncpg would store without complaint although they are wrong.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import cast

from shared.models import require_aware

ROOT = Path(__file__).resolve().parent.parent / "sql"

_HEADER = re.compile(r"^--[ ]name:[ ]*(\w+)[ ]*\n--[ ]+(\S.*)\n", re.MULTILINE)
_NAME_LINE = re.compile(r"^--\s*name\s*:.*$", re.MULTILINE | re.IGNORECASE)
_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "[^"]*" | --[^\n]* | /\*.*?\*/ | \$(\w*)\$.*?\$\1\$ | ::
        | :(?P<parameter>[a-z_]\w*)""",
    re.VERBOSE | re.DOTALL,
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class DatabaseKind(StrEnum):
    """The two databases; each is a directory under sql/."""

    TRADING = "trading"
    RESEARCH = "research"


@dataclass(frozen=True, slots=True)
class Json:
    """Marks an argument as meant for a jsonb column; the connection's codec encodes what is in it."""

    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement with its named parameters turned into $1, $2, ..."""

    name: str
    description: str
    sql: str
    parameters: tuple[str, ...]
    """Names in the order of their numbers."""

    def bind(self, **arguments: object) -> tuple[str, *tuple[object, ...]]:
        """Return the statement and its values in order, ready for `connection.fetch(*...)`.

        A tuple is an array; a jsonb value comes as Json.

        Raises TypeError on missing or extra names and on a float, ValueError on a naive time or a
        number that is not finite.
        """
        if arguments.keys() != set(self.parameters):
            missing = sorted(set(self.parameters) - arguments.keys())
            extra = sorted(arguments.keys() - set(self.parameters))
            msg = f"query {self.name} lacks {missing} and does not know {extra}"
            raise TypeError(msg)
        return (self.sql, *(_checked(name, arguments[name]) for name in self.parameters))


class Queries(Mapping[str, Query]):
    """All statements of one database by name, read when the first one is asked for."""

    def __init__(self, kind: DatabaseKind) -> None:
        """Remember which database; no file is opened yet."""
        self._kind: DatabaseKind = kind

    def __getitem__(self, name: str) -> Query:
        return load(ROOT / self._kind / "queries")[name]

    def __iter__(self) -> Iterator[str]:
        return iter(load(ROOT / self._kind / "queries"))

    def __len__(self) -> int:
        return len(load(ROOT / self._kind / "queries"))


@cache
def load(directory: Path) -> Mapping[str, Query]:
    """Read every .sql file of a directory; raise ValueError on a bad header or a name used twice."""
    found: dict[str, Query] = {}
    for path in sorted(directory.glob("*.sql")):
        for query in parse(path.read_text(encoding="utf-8"), where=path.name):
            if query.name in found:
                msg = f"{path.name}: the name {query.name} is used twice"
                raise ValueError(msg)
            found[query.name] = query
    return found


def parse(text: str, *, where: str) -> tuple[Query, ...]:
    """Split one file into its queries; raise ValueError on a header without a description."""
    before, *pieces = _HEADER.split(text)
    bodies = (before, *pieces[2::3])
    stray = next((line for body in bodies if (line := _NAME_LINE.search(body))), None)
    if stray is not None:
        msg = f"{where}: {stray.group()!r} needs a name and a line of description below it"
        raise ValueError(msg)
    if _TOKEN.sub("", before).strip():
        msg = f"{where}: there is SQL before the first name"
        raise ValueError(msg)
    headers = zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True)
    return tuple(_query(name, description, body) for name, description, body in headers)


def storable_text(text: str) -> str:
    """Replace what PostgreSQL cannot hold (NUL, lone surrogates) by U+FFFD: a marked row beats a lost one."""
    return _UNSTORABLE.sub("\ufffd", text)


def _query(name: str, description: str, body: str) -> Query:
    parameters: dict[str, int] = {}

    def numbered(token: re.Match[str]) -> str:
        parameter = token["parameter"]
        if parameter is None:
            return token.group()
        return f"${parameters.setdefault(parameter, len(parameters) + 1)}"

    sql = _TOKEN.sub(numbered, body).strip()
    return Query(name=name, description=description, sql=sql, parameters=tuple(parameters))


def _checked(name: str, value: object) -> object:
    match value:
        case float():
            msg = f"{name} must be Decimal, was the float {value}"
            raise TypeError(msg)
        case Decimal() if not value.is_finite():
            msg = f"{name} must be a finite number, was {value}"
            raise ValueError(msg)
        case datetime():
            require_aware(value, name)
        case str():
            return storable_text(value)
        case tuple():
            return [_checked(name, item) for item in cast("tuple[object, ...]", value)]
        case _:
            pass
    return value
