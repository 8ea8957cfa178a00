"""A name that is used before it is bound: what the message says of the line below that binds it.

Statements run from top to bottom. Where the line below needs what the name is used for, no other order helps: the value depends on itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label
from dsl.source import Span


def bound_names(statement: syntax.Statement) -> list[str]:
    """The names that have a value after a statement."""
    match statement:
        case syntax.Assign():
            return pattern_names(statement.pattern)
        case syntax.LayerDecl() | syntax.TensorDecl():
            return [statement.name]
        case syntax.If():
            return [n for s in (*statement.body, *statement.orelse) for n in bound_names(s)]
        case syntax.For():
            return [n for s in statement.body for n in bound_names(s)]
        case syntax.Scan():
            return [*(c.name for c in statement.carries), *(s.name for s in statement.body if isinstance(s, syntax.Emit))]
        case syntax.While():
            return [c.name for c in statement.carries]
        case syntax.Minimize() if statement.name is not None:
            return [statement.name]
        case _:
            return []


def pattern_names(pattern: syntax.Pattern) -> list[str]:
    """The names on the left of `a, b = ...`."""
    if isinstance(pattern, syntax.Name):
        return [pattern.id]
    return [name for item in pattern.items for name in pattern_names(item)]


def explained(problem: Diagnostic, statements: Sequence[syntax.Statement]) -> Diagnostic:
    """The finding about the first of these statements, with what a later one has to do with it."""
    name = problem.span.source.text[problem.span.start : problem.span.end]
    first, *rest = statements
    if problem.code != "DL0201" or problem.labels or not _within(problem, first):
        return problem
    after = next((i for i, s in enumerate(rest) if name in bound_names(s)), None)
    if after is None:
        return problem
    depending = set(bound_names(first))
    for statement in rest[:after]:
        if depending & set(_names_read(statement)):
            depending |= set(bound_names(statement))
    binding = rest[after]
    if depending & set(_names_read(binding)):
        label = Label(binding.span, "this needs what the line above computes with it")
        help = "take the state of the step before: `scan` carries it from step to step"
        return replace(problem, code="DL0220", message=f"`{name}` depends on itself", labels=(label,), help=help)
    label = Label(binding.span, "bound here")
    return replace(problem, message=f"`{name}` is used before it is bound", labels=(label,), help=None)


def _within(problem: Diagnostic, statement: syntax.Statement) -> bool:
    place, whole = problem.span, statement.span
    return place.source == whole.source and whole.start <= place.start and place.end <= whole.end


def _names_read(node: object) -> Iterator[str]:
    """The names that a statement or a part of one uses."""
    if isinstance(node, syntax.Name):
        yield node.id
    elif isinstance(node, syntax.Assign):
        yield from _names_read(node.value)
    elif isinstance(node, tuple) and not isinstance(node, Span):
        for item in node:
            yield from _names_read(item)
    elif is_dataclass(node) and type(node).__module__ == syntax.__name__:
        for part in fields(node):
            yield from _names_read(getattr(node, part.name))
