"""Make a flat graph a pure function: parameters become inputs, and the new values of buffers become outputs.

Before:  y = x @ fc.weight; update fc.seen = y      After:  y = x @ fc_weight   with the input fc_weight, the outputs y, fc_seen
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, replace

from dsl.diagnostics import InternalError
from dsl.ir import Graph, Value


@dataclass(frozen=True, slots=True)
class Pure:
    """`parameters` are the full names that the new inputs stand for, `updates` those that the new outputs are the values of."""

    graph: Graph
    parameters: dict[str, str]
    updates: dict[str, str]


def lift_parameters(graph: Graph) -> Pure:
    """The graph without parameters, buffers and updates. Calls must have been inlined."""
    result = graph.copy()
    names: dict[str, str] = {}
    for node in graph:
        if node.target is not None:
            raise InternalError(f"{graph.definition}: lift_parameters needs a flat graph, and `{node.op}` calls another")
        if node.op not in ("param", "buffer"):
            continue
        path = str(node.attributes["path"])
        if path in names:
            result.redirect(Value(node.id), result.inputs[names[path]])
            result.remove([node])
            continue
        names[path] = _free_name(path, result.inputs)
        result.replace_node(replace(node, op="input", attributes={"name": names[path]}))
        result.inputs[names[path]] = Value(node.id)
    updates: dict[str, str] = {}
    for path, value in graph.updates.items():
        name = _free_name(path, result.outputs)
        updates[name] = path
        result.outputs[name] = _moved(value, graph, result)
    result.updates, result.parameters, result.children = {}, {}, {}
    return Pure(result, {name: path for path, name in names.items()}, updates)


def _moved(value: Value, before: Graph, after: Graph) -> Value:
    """The value in `after`; one of a buffer that was read twice is that of its first reading."""
    node = before.node(value)
    if node.op not in ("param", "buffer"):
        return value
    path = node.attributes["path"]
    first = next(n for n in before if n.op == node.op and n.attributes["path"] == path)
    return Value(first.id)


def _free_name(path: str, taken: Container[str]) -> str:
    name = re.sub(r"\W", "_", path)
    while name in taken:
        name += "_"
    return name
