"""Reads the project's source as syntax trees and says where it breaks the rules of its architecture.

Each checker takes sources and returns sentences; what the rules are stands in test_architecture.py.
"""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path relative to the project, and its tree."""

    path: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, text: str) -> Self:
        """Read a file's text."""
        return cls(path, ast.parse(text, path))

    @property
    def module(self) -> str:
        """Dotted name: shared.models, brokers for brokers/__init__.py."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def sources(project: Path) -> tuple[Source, ...]:
    """Read every Python file of the project but its tests and hidden directories."""
    paths = sorted(
        path
        for path in project.rglob("*.py")
        if not any(part.startswith(".") for part in path.relative_to(project).parts)
        and path.relative_to(project).parts[0] != "tests"
    )
    return tuple(
        Source.parse(str(path.relative_to(project)), path.read_text("utf-8")) for path in paths
    )


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything imported, wherever in the file it is.

    `from a import b` counts as a.b, which is a module or a name in one.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        if isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)


def references(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line, full dotted name) of every name and attribute chain, imports' aliases resolved."""
    aliases = dict(_aliases(source))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = _resolved(node, aliases)
            if name is not None:
                yield node.lineno, name


def layer_breaches(
    files: Sequence[Source], layers: Mapping[str, int], apart: Collection[frozenset[str]]
) -> list[str]:
    """Find imports that point upwards, and those between parts that must not know each other."""
    found: list[str] = []
    for source in files:
        own = layer_name(source.module, layers)
        for line, name in imported(source):
            other = layer_name(name, layers)
            if own is None or other is None:
                continue
            if layers[other] > layers[own]:
                found.append(f"{source.path}:{line}: {own} must not import {name}, above it")
            if frozenset({own, other}) in apart:
                found.append(f"{source.path}:{line}: {own} and {other} must not know each other")
    return found


def without_a_layer(files: Sequence[Source], layers: Mapping[str, int]) -> list[str]:
    """Find modules that no layer was given to."""
    return [source.path for source in files if layer_name(source.module, layers) is None]


def layer_name(module: str, layers: Mapping[str, int]) -> str | None:
    """Return the most particular entry of `layers` that a module belongs to."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in layers), None)


def impurities(
    files: Sequence[Source],
    pure: Collection[str],
    *,
    may_import: Collection[str],
    readers: Mapping[str, str],
) -> list[str]:
    """Find what a pure module must not do: import anything that could act, call what acts, ask the time.

    `readers` maps a module to its one function that may read a file.
    """
    allowed = {*may_import, *pure}
    return [
        f"{source.path}:{line}: a pure module must not {what}"
        for source in files
        if layer_name(source.module, dict.fromkeys(pure, 0)) is not None
        for line, what in (*_impure_imports(source, allowed), *_impure_calls(source))
        if source.module not in readers
        or (what != "import pathlib.Path" and _enclosing(source, line) != readers[source.module])
    ]


def names_outside(
    files: Sequence[Source], names: Collection[str], *, allowed: Collection[str], why: str
) -> list[str]:
    """Find references to full dotted names in files that are not allowed to have them."""
    return [
        f"{source.path}:{line}: {name} {why}"
        for source in files
        if not _is_in(source.path, allowed)
        for line, name in sorted({*references(source), *imported(source)})
        if name in names
    ]


def attributes_outside(
    files: Sequence[Source], attributes: Collection[str], *, allowed: Collection[str], why: str
) -> list[str]:
    """Find uses of an attribute, on whatever object, or of its name as text, in other files."""
    return [
        f"{source.path}:{line}: {name} {why}"
        for source in files
        if not _is_in(source.path, allowed)
        for line, name in _attributes_and_texts(source)
        if name in attributes
    ]


def calls_outside(
    files: Sequence[Source], names: Collection[str], *, allowed: Collection[str], why: str
) -> list[str]:
    """Find calls of full dotted names in files that are not allowed to make them."""
    found: list[str] = []
    for source in files:
        aliases = dict(_aliases(source))
        calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        called = [(call.lineno, _resolved(call.func, aliases)) for call in calls]
        if not _is_in(source.path, allowed):
            found += [f"{source.path}:{at}: {name} {why}" for at, name in called if name in names]
    return found


def functions_with(source: Source, names: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, enclosing function or "<module>") of each reference to one of the dotted names."""
    lines = {line for line, name in references(source) if name in names}
    for line in sorted(lines):
        yield line, _enclosing(source, line)


def broad_excepts(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line, enclosing function) of handlers that catch everything and do not raise it again."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _reraises(node):
            yield node.lineno, _enclosing(source, node.lineno)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = source.path.endswith("__init__.py")
    parts = source.module.split(".")
    base = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join((*base, node.module) if node.module else base)


def _aliases(source: Source) -> Iterator[tuple[str, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                top = name.name.split(".")[0]
                yield (name.asname, name.name) if name.asname else (top, top)
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield name.asname or name.name, f"{_absolute(source, node)}.{name.name}"


def _resolved(node: ast.expr, aliases: Mapping[str, str]) -> str | None:
    dotted = _dotted(node)
    if dotted is None:
        return None
    first, dot, rest = dotted.partition(".")
    return aliases.get(first, first) + dot + rest


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def _attributes_and_texts(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        if isinstance(node, ast.alias):
            yield node.lineno, node.name
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


_ACTING = frozenset(
    {"open", "print", "input", "exec", "eval", "__import__", "globals", "breakpoint"}
)
_ACTING_METHODS = frozenset(
    {"now", "utcnow", "today", "read_text", "read_bytes", "write_text", "write_bytes", "open"}
)


def _impure_imports(source: Source, allowed: Collection[str]) -> Iterator[tuple[int, str]]:
    for line, name in imported(source):
        if layer_name(name, dict.fromkeys(allowed, 0)) is None:
            yield line, f"import {name}"


def _impure_calls(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield node.lineno, "wait for anything"
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in _ACTING:
                yield node.lineno, f"call {called.id}"
            if isinstance(called, ast.Attribute) and called.attr in _ACTING_METHODS:
                yield node.lineno, f"call {called.attr}"


def _is_in(path: str, allowed: Collection[str]) -> bool:
    return any(
        path == place or (place.endswith("/") and path.startswith(place)) for place in allowed
    )


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    return caught is None or bool(names & {"Exception", "BaseException"})


def _reraises(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends by letting the same exception go on."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _enclosing(source: Source, line: int) -> str:
    inside = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return max(inside, key=lambda node: node.lineno).name if inside else "<module>"
