"""Warnings that names give away: arguments and results that have changed places, and declarations that nothing reads.

A name says what its author means. Where the name of an argument is that of another parameter, which is given something else, or where
results are bound to each other's names, the two are warned of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

from dsl import syntax
from dsl.elaborate.binding import Given
from dsl.elaborate.context import Context


def warn_crossed_arguments(context: Context, owner: str, given: Mapping[str, Given]) -> None:
    """Warn where a positional argument has the name of another parameter, which is given another name. `given` is by parameter."""
    for parameter, argument in given.items():
        name = _plain(argument)
        other = _meant(name, parameter, given) if name is not None and argument.name is None else None
        if other is None:
            continue
        message = f"`{owner}` has a parameter `{other}`, and `{name}` is given for `{parameter}`: is the order right?"
        help = f"it takes {', '.join(f'`{p}`' for p in given)} in this order; name them where this is meant: `{parameter}={name}`"
        context.warn("DL1040", message, argument.place, help)


def _meant(name: str, parameter: str, given: Mapping[str, Given]) -> str | None:
    """The other parameter that `name` seems to be for: one of that name, which is given another; or, of parameters of one letter, one
    that has changed places with this one: `attention(query, values, keys)` of q, k and v."""
    if name != parameter and name in given and _plain(given[name]) not in (None, name):
        return name
    for other, argument in given.items():
        instead = _plain(argument)
        letters = other != parameter and len(other) == len(parameter) == 1 and argument.name is None
        if letters and instead is not None and name.startswith(other) and instead.startswith(parameter):
            return other
    return None


def warn_crossed_results(context: Context, pattern: syntax.TuplePattern, results: Sequence[str]) -> None:
    """Warn where two results are bound to each other's names: `c, h = cell(x)` of a cell that returns h and c."""
    names = [item.id if isinstance(item, syntax.Name) else "" for item in pattern.items]
    for i, name in enumerate(names):
        j = results.index(name) if name in results else i
        if j > i and names[j] == results[i]:
            message = f"`{name}` is bound to the result `{results[i]}`, and `{results[i]}` to `{name}`: is the order right?"
            context.warn("DL1040", message, pattern.items[i].span, f"the results are {', '.join(f'`{r}`' for r in results)}")


def warn_declarations(context: Context, file: syntax.File) -> None:
    """Warn of what a file declares and nothing reads or changes."""
    used = frozenset(_names(_nodes(file.definitions)))
    for definition in file.definitions:
        if isinstance(definition, syntax.Module | syntax.Train):
            _warn_never_updated(context, definition)
        if isinstance(definition, syntax.Module):
            _warn_unread(context, definition, used)
        if isinstance(definition, syntax.Function):
            _warn_unread_arguments(context, definition)


def _warn_unread(context: Context, definition: syntax.Module, used: frozenset[str]) -> None:
    """Warn of parameters that nothing reads, and of layers that no entry point of several applies."""
    for declared in _declarations(definition):
        if isinstance(declared, syntax.LayerDecl):
            if len(definition.entries) > 1 and declared.name not in used:
                context.warn("DL1003", f"the layer `{declared.name}` is never applied", declared.name_span)
        elif declared.name not in used:
            context.warn("DL1001", f"the {_kind(declared)} `{declared.name}` is never used", declared.name_span)


def _warn_unread_arguments(context: Context, definition: syntax.Function) -> None:
    """Warn of arguments of a function that it does not look at; rules and schedules have theirs by their form."""
    if any(p.name in ("step", "fan_in", "fan_out") for p in definition.parameters):
        return
    read = set(_names(_nodes((definition.body, definition.backward))))
    for parameter in definition.parameters:
        sizes = set(_names(_nodes(parameter.type)))
        if parameter.name not in read and not parameter.name.startswith("_") and not sizes & read:
            context.warn("DL1004", f"the argument `{parameter.name}` of `{definition.name}` is never used", parameter.span)


def _warn_never_updated(context: Context, definition: syntax.Module | syntax.Train) -> None:
    """Warn of a buffer that stays as it begins, where a `train` block declares it or others of its module are updated."""
    buffers = [d for d in _declarations(definition) if isinstance(d, syntax.TensorDecl) and d.kind == "buffer"]
    updated = {node.name.split(".")[0] for node in _nodes(definition) if isinstance(node, syntax.Update)}
    if not updated and isinstance(definition, syntax.Module):
        return
    for declared in buffers:
        if declared.name not in updated:
            help = f"`update {declared.name} = ...` says what it becomes; what is to stay as it is can be a value: `{declared.name} = ...`"
            context.warn("DL1041", f"no `update` changes the buffer `{declared.name}`", declared.name_span, help)


def _plain(given: Given) -> str | None:
    return given.expression.id if isinstance(given.expression, syntax.Name) else None


def _kind(declared: syntax.TensorDecl) -> str:
    return "parameter" if declared.kind == "param" else "buffer"


def _declarations(definition: syntax.Module | syntax.Train) -> Iterator[syntax.TensorDecl | syntax.LayerDecl]:
    return (node for node in _nodes(definition) if isinstance(node, syntax.TensorDecl | syntax.LayerDecl))


def _names(nodes: Iterable[object]) -> Iterator[str]:
    """The names that are read, as they stand or as a member, and those of what is updated."""
    for node in nodes:
        if isinstance(node, syntax.Name):
            yield node.id
        elif isinstance(node, syntax.Member | syntax.Update):
            yield node.name


def _nodes(root: object) -> Iterator[object]:
    """A tree, without the patterns that bind names."""
    todo: list[object] = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, tuple):
            todo.extend(node)
        elif is_dataclass(node) and not isinstance(node, type):
            yield node
            todo.extend(getattr(node, f.name) for f in fields(node) if f.name not in ("pattern", "comments", "span", "name_span"))
