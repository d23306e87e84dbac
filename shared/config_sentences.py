"""Says in a sentence, with a suggestion, what pydantic found wrong with a setting.

It shows a value only where that cannot be a secret: never that of a key it does not know.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shared.yaml_positions import KeyPath


def sentence(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, str | None]:
    """Return what is wrong and what would be right, for one error of a validation of `model`."""
    path = error["loc"]
    match error["type"]:
        case "extra_forbidden":
            return _unknown(path, model)
        case "missing":
            return f"{dotted(path)} is missing", _wanted(path, model)
        case _ if path == ("broker", "environment"):
            return f"live trading is refused: {_wrong(error)}", None
        case _:
            return _wrong(error), _hint(error, path, model)


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None."""
    close = get_close_matches(word.lower(), {name.lower(): name for name in known}, n=1, cutoff=0.6)
    return next((name for name in known if close and name.lower() == close[0]), None)


def dotted(path: Sequence[str | int]) -> str:
    """Write a path as people do: limits.max_positions."""
    return ".".join(map(str, path))


def _unknown(path: KeyPath, model: type[BaseModel]) -> tuple[str, str]:
    section = _section(path[:-1], model)
    names = list(section.model_fields) if section else []
    inside = f" of {dotted(path[:-1])}" if path[:-1] else ""
    guess = meant(str(path[-1]), names)
    hint = f"did you mean {guess}?" if guess else f"known here: {', '.join(names)}"
    return f"{path[-1]} is not a setting{inside}", hint


def _wrong(error: ErrorDetails) -> str:
    what = _MUST_BE.get(error["type"])
    context: Mapping[str, Any] = error.get("ctx", {})
    expected = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    if what is None:
        return f"{dotted(error['loc'])}: {error['msg']}"
    must = what.format(**{**context, "expected": " or ".join(expected)})
    if _names_a_variable(error["loc"]):
        return f"{dotted(error['loc'])} must be {must}"
    return f"{dotted(error['loc'])} must be {must}, was {_shown(error['input'])}"


def _names_a_variable(path: KeyPath) -> bool:
    """Where people put the secret itself by mistake."""
    return str(path[-1]).endswith("_env")


_MUST_BE = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "decimal_type": "a number",
    "string_type": "text",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "model_type": "a section of settings",
    "model_attributes_type": "a section of settings",
    "string_pattern_mismatch": "written as {pattern}",
}


def _hint(error: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> str | None:
    context: Mapping[str, Any] = error.get("ctx", {})
    allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    guess = meant(str(error["input"]), allowed) if allowed else None
    if guess:
        return f"did you mean {guess}?"
    if _names_a_variable(path):
        return "the name of a variable belongs here, and the secret itself into .env"
    if error["type"] == "string_type":
        return "put it in quotes"
    return _wanted(path, model)


def _wanted(path: KeyPath, model: type[BaseModel]) -> str | None:
    field = _field(path, model)
    if field is None:
        return None
    return (
        f"{_kind(field.annotation)}: {field.description}"
        if field.description
        else _kind(field.annotation)
    )


def _kind(annotation: object) -> str:
    section = _model_in(annotation)
    if section is not None:
        return f"a section with {', '.join(section.model_fields)}"
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "one of " + ", ".join(annotation)
    if annotation is int:
        return "a whole number"
    return "a number" if annotation in {float, Decimal} else "text"


def _field(path: KeyPath, model: type[BaseModel]) -> FieldInfo | None:
    section = _section(path[:-1], model)
    return section.model_fields.get(str(path[-1])) if section and path else None


def _section(path: KeyPath, model: type[BaseModel]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = model
    for name in path:
        field = section.model_fields.get(str(name)) if section else None
        section = _model_in(field.annotation) if field else None
    return section


def _model_in(annotation: object) -> type[BaseModel] | None:
    candidates = (annotation, *get_args(annotation))
    return next(
        (kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)),
        None,
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a section"
        case list():
            return "a list"
        case str():
            return repr(value if len(value) <= 40 else value[:37] + "...")
        case _:
            return str(value)
