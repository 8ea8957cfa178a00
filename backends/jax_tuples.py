"""Tuples in generated JAX, which is where a loop keeps what it carries: on one line where that is short enough, else an element a line."""

from __future__ import annotations

from collections.abc import Sequence

from backends.python import Body
from backends.writer import Expression, Line, fits, sequence


def grouped(items: Sequence[Expression]) -> Expression:
    """One value as it is, several as a tuple, none as None."""
    if len(items) == 1:
        return items[0]
    return sequence(items) if items else Expression("None")


def packed(body: Body, name: str, items: Sequence[Expression]) -> Expression:
    """`grouped`, as a variable where it does not fit on a line."""
    found = grouped(items)
    if len(items) < 2 or fits(Line(body.indent + 1, f"{found},")):
        return found
    variable = body.let_name(name)
    _listed(body, f"{variable} = ", items, "")
    return Expression(variable)


def return_values(body: Body, items: Sequence[Expression]) -> None:
    """`return a, b`."""
    line = Line(body.indent, f"return {', '.join(map(str, items))}")
    if fits(line):
        body.lines.append(line)
    else:
        _listed(body, "return ", items, "")


def unpack(body: Body, names: Sequence[str], source: Expression) -> None:
    """`a, b = source`."""
    line = Line(body.indent, f"{', '.join(names)} = ", source)
    if fits(line):
        body.lines.append(line)
        return
    _listed(body, "", [Expression(name) for name in names], " = ", source)


def unpack_groups(body: Body, groups: dict[str, list[str]], source: Expression) -> None:
    """`(a, b), c = source`, for groups of names in the form of `grouped`; in steps where it is long."""
    line = Line(body.indent, f"{', '.join(map(_target, groups.values()))} = ", source)
    if fits(line):
        body.lines.append(line)
        return
    whole = {name: names for name, names in groups.items() if len(names) > 1 and _target(names) != "_"}
    variables = {name: body.let_name(name) for name in whole}
    unpack(body, [variables.get(name) or _target(names) for name, names in groups.items()], source)
    for name, names in whole.items():
        unpack(body, names, Expression(variables[name]))


def _target(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"({', '.join(names)})" if any(name != "_" for name in names) else "_"


def _listed(body: Body, prefix: str, items: Sequence[Expression], suffix: str, source: Expression | None = None) -> None:
    body.lines.append(Line(body.indent, f"{prefix}("))
    body.lines += [Line(body.indent + 1, f"{item},") for item in items]
    body.lines.append(Line(body.indent, f"){suffix}", source))
