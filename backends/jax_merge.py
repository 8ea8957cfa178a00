"""One function for modules that differ in numbers alone.

Functions are compared as text: where two of one definition are the same but for numeric literals, those that vary become arguments, named
by the hyper-parameter or size that has the same values. A literal may stand wherever a name may, so this is always valid Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from backends.writer import Expression, Line, Namespace, fits, snake_case
from dsl.ir import Graph

MOST_ARGUMENTS = 6
_TOKEN = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?<![\w.])(\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w.])""")


@dataclass(frozen=True, slots=True)
class Written:
    """A function of one graph: its arguments as they stand in the signature, its statements, the names in use.

    `known` holds the hyper-parameters and sizes of the graph as text, by name.
    """

    known: Mapping[str, str]
    arguments: tuple[str, ...]
    lines: tuple[Line, ...]
    names: Namespace


@dataclass(frozen=True, slots=True)
class Merged:
    """A function for several graphs, and for each of them the values of the arguments `varying`."""

    arguments: tuple[str, ...]
    lines: tuple[Line, ...]
    varying: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    def keywords(self) -> list[tuple[str, ...]]:
        """For each function the arguments that make the merged one it: `stride=2`."""
        return [tuple(f"{name}={value}" for name, value in zip(self.varying, row, strict=True)) for row in self.values]


def _merged(functions: Sequence[Written]) -> Merged | None:
    """One function for all that are alike but for literals, or None where too many of those vary."""
    first = functions[0]
    columns = list(zip(*(literals(f.lines) for f in functions), strict=True))
    vectors = [v for v in dict.fromkeys(columns) if len(set(v)) > 1]
    if len(vectors) > MOST_ARGUMENTS:
        return None
    known = _candidates(functions)
    scope = Namespace(outer=first.names)
    chosen = {v: scope.new(known.get(v) or ("size" if v[0].isdigit() else "scale")) for v in vectors}
    places = iter(columns)
    lines = mapped(first.lines, lambda literal: chosen.get(next(places), literal))
    if chosen:
        lines = tuple(replace(line, comment="") for line in lines)
    if not all(map(fits, lines)):
        return None
    values = tuple(tuple(v[i] for v in vectors) for i in range(len(functions)))
    return Merged((*first.arguments, *chosen.values()), lines, tuple(chosen.values()), values)


def _candidates(functions: Sequence[Written]) -> dict[tuple[str, ...], str]:
    """Hyper-parameters and sizes, by their values in the functions."""
    found: dict[tuple[str, ...], str] = {}
    for name in functions[0].known:
        found.setdefault(tuple(f.known.get(name, "") for f in functions), name)
    return found


def known_of(graph: Graph) -> dict[str, str]:
    """The hyper-parameters and sizes of a graph as text."""
    hyper = {name: str(value) for name, value in graph.hyper.items()}
    return {snake_case(name): str(size) for name, size in graph.dim_names.items()} | hyper


def groups_of(functions: Sequence[Written]) -> list[tuple[Merged, list[int]]]:
    """As few functions as will do, each with the positions of those it stands for."""
    alike: dict[object, list[int]] = {}
    for i, one in enumerate(functions):
        alike.setdefault((one.arguments, mapped(one.lines, lambda _: "0")), []).append(i)
    groups: list[tuple[Merged, list[int]]] = []
    for members in alike.values():
        merged = _merged([functions[i] for i in members])
        if merged is not None:
            groups.append((merged, members))
            continue
        same: dict[object, list[int]] = {}
        for i in members:
            same.setdefault(functions[i].lines, []).append(i)
        for equal in same.values():
            one = functions[equal[0]]
            groups.append((Merged(one.arguments, one.lines, (), ((),) * len(equal)), equal))
    return groups


def literals(lines: Sequence[Line]) -> list[str]:
    """The numeric literals in the code of the lines, in order."""
    found: list[str] = []

    def note(literal: str) -> str:
        found.append(literal)
        return literal

    mapped(lines, note)
    return found


def mapped(lines: Sequence[Line], change: Callable[[str], str]) -> tuple[Line, ...]:
    """The lines with each numeric literal changed."""

    def text(code: str) -> str:
        return _TOKEN.sub(lambda match: change(match[1]) if match[1] else match[0], code)

    return tuple(
        Line(line.indent, text(line.prefix), _expression(line.expression, text), text(line.suffix), line.comment)
        for line in lines
    )


def _expression(expression: Expression | None, text: Callable[[str], str]) -> Expression | None:
    if expression is None:
        return None
    if not expression.arguments:
        return Expression(text(expression.text))
    arguments = tuple(map(text, expression.arguments))
    joined = ", ".join(arguments)
    bracketed = f"{expression.head}({joined})" if expression.head else joined
    return Expression(bracketed, head=expression.head, arguments=arguments)
