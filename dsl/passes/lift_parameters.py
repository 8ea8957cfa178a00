"""Make a flat graph a pure function: parameters become inputs, and the new values of buffers become outputs.

Before:  y = x @ fc.weight; update fc.seen = y      After:  y = x @ fc_weight   with the input fc_weight, the outputs y, fc_seen

Blocks capture what they read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from dsl.diagnostics import InternalError
from dsl.ir import Graph, Node, Value

Stored = Callable[[Node], Value]
"""The value that stands for what a `param` or `buffer` node reads."""


@dataclass(frozen=True, slots=True)
class Pure:
    """`parameters` are the full names that the new inputs stand for, `updates` those that the new outputs are the values of."""

    graph: Graph
    parameters: dict[str, str]
    updates: dict[str, str]


def lift_parameters(graph: Graph) -> Pure:
    """The graph without parameters, buffers and updates. Calls of layers must have been inlined."""
    result = graph.copy()
    names: dict[str, str] = {}

    def stored(node: Node) -> Value:
        path = str(node.attributes["path"])
        if path not in names:
            names[path] = free_name(re.sub(r"\W", "_", path), result.inputs)
            made = result.add("input", (), {"name": names[path]}, node.types, spans=node.spans)
            result.inputs[names[path]] = Value(made.id)
        return result.inputs[names[path]]

    _lift(result, stored)
    result.reorder()
    updates: dict[str, str] = {}
    for path in graph.updates:
        name = free_name(re.sub(r"\W", "_", path), result.outputs)
        updates[name] = path
        result.outputs[name] = result.updates[path]
    result.updates, result.parameters, result.children = {}, {}, {}
    return Pure(result, {name: path for path, name in names.items()}, updates)


def _lift(graph: Graph, stored: Stored) -> None:
    """Replace every reading of a parameter in a graph that may be changed."""
    for node in list(graph):
        if node.op in ("param", "buffer"):
            graph.redirect(Value(node.id), stored(node))
            graph.remove([node])
        elif node.target is not None and node.target.graph.kind == "block":
            _lift_block(graph, graph.node(node.id), stored)
        elif node.target is not None and node.target.child is not None:
            raise InternalError(f"{graph.definition}: a flat graph is needed, and `{node.op}` applies a layer")


def _lift_block(graph: Graph, node: Node, stored: Stored) -> None:
    assert node.target is not None
    block = node.target.graph.copy()
    captured: dict[Value, Value] = {}

    def inside(reading: Node) -> Value:
        outside = stored(reading)
        if outside not in captured:
            captured[outside] = add_input(block, re.sub(r"\W", "_", str(reading.attributes["path"])), reading)
        return captured[outside]

    _lift(block, inside)
    block.reorder()
    if captured:
        target = replace(node.target, graph=block)
        graph.replace_node(replace(node, inputs=(*node.inputs, *captured), target=target))


def add_input(graph: Graph, name: str, like: Node) -> Value:
    """A new last input of the type of a node."""
    free = free_name(name, graph.inputs)
    made = graph.add("input", (), {"name": free}, like.types[:1], spans=like.spans)
    graph.inputs[free] = Value(made.id)
    return graph.inputs[free]


def free_name(name: str, taken: Container[str]) -> str:
    """`name`, with underscores after it where it is taken."""
    while name in taken:
        name += "_"
    return name
