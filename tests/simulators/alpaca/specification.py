"""Holds requests and answers against Alpaca's own OpenAPI documents.

Stricter than they are in one thing: a field or parameter that they do not name is an error, so that the
simulator cannot invent one. Error bodies they do not describe; those are compared with recorded ones elsewhere.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.simulators.alpaca.specification_patches import DATA, PATCHES, TRADING, Patch

Tree = dict[str, Any]
_WORDS = frozenset({"description", "example", "examples", "title"})
_FORMATS = FormatChecker(formats=())


class Specification:
    """Both documents with some patches."""

    def __init__(self, patches: Iterable[Patch] = PATCHES) -> None:
        self._documents: dict[str, Tree] = {name: deepcopy(_load(name)) for name in (TRADING, DATA)}
        for patch in patches:
            _put(self._documents[patch.document], patch.place, patch.true)
        for document in self._documents.values():
            for schema in document["components"]["schemas"].values():
                _close(schema)
        resources = [
            (_address(name), Resource.from_contents(tree, default_specification=DRAFT202012))
            for name, tree in self._documents.items()
        ]
        self._registry: Registry[Any] = Registry[Any]().with_resources(resources)

    def wrong_with_log(self, log: Iterable[Mapping[str, Any]]) -> list[str]:
        """Say what is wrong with logged requests, as `AlpacaVenue.requests` returns them."""
        return [
            f"{asked['method']} {asked['path']}: {wrong}"
            for asked in log
            for wrong in self.wrong_with_request(
                asked["method"], asked["path"], query=asked["query"], body=asked["body"]
            )
        ]

    def wrong_with_request(
        self, method: str, path: str, *, query: Mapping[str, str], body: str = ""
    ) -> list[str]:
        """Say what is wrong with a request, in sentences; nothing is wrong with a good one."""
        found = self._operation(method, path)
        if found is None:
            return ["no such endpoint"]
        name, template, operation = found
        wrong = list(self._wrong_query(name, template, operation, query))
        schema = _content(operation.get("requestBody"))
        if schema is None:
            return [*wrong, *(["a body that nobody asked for"] if body else [])]
        place = f"paths/{template}/{method.lower()}/requestBody/{_JSON}"
        return [*wrong, *self._wrong(name, place, json.loads(body or "null"))]

    def wrong_with_answer(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """Say what is wrong with an answer; of errors only that they are objects with a message."""
        found = self._operation(method, path)
        if found is None:
            return ["no such endpoint"]
        name, template, operation = found
        if status >= 400:
            is_error = isinstance(body, dict) and isinstance(cast("Tree", body)["message"], str)
            return [] if is_error else [f"no error body: {body}"]
        answers: Tree = operation["responses"]
        if str(status) not in answers:
            return [f"status {status} is not in {sorted(answers)}"]
        if _content(answers[str(status)]) is None:
            return [] if body is None else [f"a body with status {status}: {body}"]
        place = f"paths/{template}/{method.lower()}/responses/{status}/{_JSON}"
        return list(self._wrong(name, place, body))

    def published(self, patch: Patch) -> Any:
        """Return what stands in the place of a patch, without words; None for nothing."""
        try:
            found = _get(_load(patch.document), patch.place)
        except LookupError:
            return None
        return _without_words(found)

    def _operation(self, method: str, path: str) -> tuple[str, str, Tree] | None:
        for name, document in self._documents.items():
            # A path without parameters goes before one that has them.
            for template in sorted(document["paths"], key=lambda path: path.count("{")):
                pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
                if re.fullmatch(pattern, path) and method.lower() in document["paths"][template]:
                    operations = document["paths"][template]
                    return name, template.replace("/", "~1"), operations[method.lower()]
        return None

    def _wrong_query(
        self, name: str, template: str, operation: Tree, query: Mapping[str, str]
    ) -> Iterator[str]:
        places = {
            parameter["name"]: (place, parameter)
            for place, parameter in self._parameters(name, template, operation)
            if parameter["in"] == "query"
        }
        for parameter in query:
            if parameter not in places:
                yield f"no parameter {parameter} is known"
        for parameter, (place, described) in places.items():
            if parameter in query:
                value = _as_schema_has_it(query[parameter], described["schema"])
                yield from self._wrong(name, f"{place}/schema", value)
            elif described.get("required"):
                yield f"parameter {parameter} is missing"

    def _parameters(self, name: str, template: str, operation: Tree) -> Iterator[tuple[str, Tree]]:
        listed: Sequence[Tree] = operation.get("parameters", [])
        for index, parameter in enumerate(listed):
            reference = parameter.get("$ref")
            if reference is None:
                yield f"paths/{template}/get/parameters/{index}", parameter
            else:
                place = reference.removeprefix("#/")
                yield place, _get(self._documents[name], place)

    def _wrong(self, name: str, place: str, value: Any) -> Iterator[str]:
        schema = {"$ref": f"{_address(name)}#/{quote(place, safe='/~')}"}
        validator = Draft202012Validator(schema, registry=self._registry, format_checker=_FORMATS)
        errors: Iterable[Any] = validator.iter_errors(value)  # pyright: ignore[reportUnknownMemberType] (half typed)
        for error in errors:
            where = "/".join(str(part) for part in error.absolute_path)
            yield f"{where or 'it'}: {error.message[:300]}"


_JSON = "content/application~1json/schema"


@cache
def _load(name: str) -> Tree:
    package = find_spec(
        "alpaca_mcp_server"
    )  # found, not imported: it would want its server's parts
    assert package is not None
    assert package.origin is not None
    return json.loads((Path(package.origin).parent / "specs" / f"{name}.json").read_text("utf-8"))


def _address(name: str) -> str:
    return f"urn:{name}"


def _content(part: Tree | None) -> Tree | None:
    return (part or {}).get("content", {}).get("application/json", {}).get("schema")


def _keys(place: str) -> list[str]:
    return [key.replace("~1", "/") for key in place.split("/")]


def _get(tree: Any, place: str) -> Any:
    for key in _keys(place):
        tree = tree[int(key) if isinstance(tree, list) else key]
    return tree


def _put(tree: Any, place: str, value: Any) -> None:
    above, _, last = place.rpartition("/")
    _get(tree, above)[last] = value


def _close(schema: Any) -> None:
    """Let objects have the fields that are named, and no others."""
    if isinstance(schema, list):
        for part in cast("list[Any]", schema):
            _close(part)
    if not isinstance(schema, dict):
        return
    tree = cast("Tree", schema)
    if isinstance(tree.get("properties"), dict):
        tree.setdefault("additionalProperties", False)
    for part in tree.values():
        _close(part)


def _without_words(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {k: v for k, v in cast("Tree", tree).items() if k not in _WORDS}


def _as_schema_has_it(text: str, schema: Tree) -> Any:
    """Read a parameter's text as the type that its schema has."""
    match schema.get("type"):
        case "integer":
            return int(text) if re.fullmatch(r"-?\d+", text) else text
        case "boolean":
            return {"true": True, "false": False}.get(text, text)
        case "array":
            return text.split(",")
        case _:
            return text


@_FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@_FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@_FORMATS.checks("uuid")
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(
        re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value)
    )


@_FORMATS.checks("decimal", raises=InvalidOperation)
def _is_decimal(value: object) -> bool:
    return not isinstance(value, str) or Decimal(value).is_finite()
