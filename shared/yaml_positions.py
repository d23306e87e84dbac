"""Reads a YAML document strictly and remembers on which line everything stands.

Numbers keep the digits that were written (Decimal, never float). Whatever YAML understands differently
from a reader (duplicate keys, anchors, octal, `.inf`) is a problem, not a value. It knows no setting.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_CHARACTERS = 200_000
MAX_DEPTH = 20

KeyPath = tuple[str | int, ...]
"""Keys and indices from the top of the document down to a value."""

_PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})")
_PLAIN_DECIMAL = re.compile(r"[-+]?[0-9][0-9_]{0,30}\.[0-9_]{0,30}([eE][-+][0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in the text that cannot be taken as it is written."""

    line: int
    what: str
    suggestion: str | None = None
    path: KeyPath | None = None
    """Where a value is left out of the data because of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML mapping with the line, counted from 1, of every key and element in it."""

    data: dict[str, object]
    lines: dict[KeyPath, int]
    mistakes: tuple[Mistake, ...]

    def line(self, path: Sequence[str | int]) -> int:
        """Line of a key, or of the nearest thing around it that was written."""
        known = (tuple(path[:length]) for length in range(len(path), -1, -1))
        return next((self.lines[place] for place in known if place in self.lines), 1)


def parse(text: str) -> Document:
    """Read one document; what is wrong with it is in `mistakes`, and `data` holds the rest."""
    broken = next(_structure_mistakes(text), None)
    if broken is not None:
        return Document(data={}, lines={}, mistakes=(broken,))
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return Document(data={}, lines={}, mistakes=(Mistake(1, "the file is empty"),))
    reader = _Reader()
    data: dict[str, object] = {}
    if isinstance(root, MappingNode):
        data = reader.mapping(root, ())
    else:
        reader.mistakes.append(
            Mistake(_line(root), "the file must hold settings written as `name: value`")
        )
    return Document(data=data, lines=reader.lines, mistakes=tuple(reader.mistakes))


def _structure_mistakes(text: str) -> Iterator[Mistake]:
    """Walk the events, which costs no more than the text is long, before a tree is built."""
    if len(text) > MAX_CHARACTERS:
        yield Mistake(1, f"the file is longer than {MAX_CHARACTERS} characters")
        return
    try:
        yield from _event_mistakes(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        yield Mistake(line, f"this is not valid YAML: {error.problem}", _hint(error))
    except yaml.YAMLError:
        yield Mistake(1, "this is not valid YAML: it holds characters that YAML does not allow")


def _event_mistakes(text: str) -> Iterator[Mistake]:
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            yield Mistake(line, "anchors and aliases (`&name`, `*name`) are not allowed")
        if getattr(event, "tag", None) is not None:
            yield Mistake(line, "tags (`!name`) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            yield Mistake(line, f"settings are nested more than {MAX_DEPTH} deep")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            yield Mistake(line, "the file must hold one document, and here a second one begins")


def _hint(error: yaml.MarkedYAMLError) -> str | None:
    return "use spaces, not tabs" if "'\\t'" in str(error.problem) else None


class _Reader:
    """Turns nodes into values and notes lines and mistakes on the way."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[Mistake] = []

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        read: dict[str, object] = {}
        for key, child in _pairs(node):
            name = str(key.value)
            if not isinstance(key, ScalarNode) or key.tag.endswith(":merge"):
                self.mistakes.append(Mistake(_line(key), "a setting's name must be a plain word"))
            elif name in read:
                first = self.lines[*path, name]
                twice = f"{name} is given twice, first on line {first}"
                self.mistakes.append(Mistake(_line(key), twice))
            else:
                self.lines[*path, name] = _line(key)
                read[name] = self._value(child, (*path, name))
        return {name: value for name, value in read.items() if value is not _LEFT_OUT}

    def _value(self, node: Node, path: KeyPath) -> object:
        """Return dict, list, str, int, Decimal, bool, None, or `_LEFT_OUT`."""
        self.lines.setdefault(path, _line(node))
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            read = (self._value(child, (*path, at)) for at, child in enumerate(_children(node)))
            return [value for value in read if value is not _LEFT_OUT]
        text = str(node.value)
        match node.tag.rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.lower() in {"yes", "true", "on"}
            case "int" if _PLAIN_INTEGER.fullmatch(text):
                return int(text)
            case "float" if _PLAIN_DECIMAL.fullmatch(text):
                return Decimal(text.replace("_", ""))
            case "int" | "float":
                return self._unclear_number(node, text, path)
            case _:
                return text

    def _unclear_number(self, node: Node, text: str, path: KeyPath) -> object:
        what = f"{'.'.join(map(str, path))} must be a plain finite number, was {text[:40]}"
        hint = "quote it if it is meant as text"
        self.mistakes.append(Mistake(_line(node), what, hint, path))
        return _LEFT_OUT


_LEFT_OUT = object()


def _line(node: Node) -> int:
    return node.start_mark.line + 1


def _children(node: SequenceNode) -> list[Node]:
    return list(node.value)


def _pairs(node: MappingNode) -> list[tuple[Node, Node]]:
    return list(node.value)
