"""Merge nodes that compute the same: one operation on the same operands with the same attributes.

Before:  y = exp(x) + exp(x)      After:  e = exp(x); y = e + e
"""

from __future__ import annotations

import numpy as np

from dsl.ir import Graph, Node, Value
from dsl.ops.card import AttributeValue
from dsl.ops.registry import CARDS


def merge_equal(graph: Graph) -> tuple[Graph, bool]:
    result: Graph | None = None
    first: dict[object, Node] = {}
    for listed in graph:
        node = (result or graph).node(listed.id)
        if not _pure(node):
            continue
        known = first.setdefault(_key(node), node)
        if known is node:
            continue
        result = result or graph.copy()
        for i in range(len(node.types)):
            result.redirect(Value(node.id, i), Value(known.id, i))
        result.remove([node])
    return (graph, False) if result is None else (result, True)


def _pure(node: Node) -> bool:
    """Draws differ each time, and an owned layer may change its buffers."""
    if node.op in ("param", "buffer", "input"):
        return node.op == "param"
    if node.target is not None:
        return False
    return not CARDS[node.op].random


def _key(node: Node) -> object:
    return (node.op, node.inputs, node.types, tuple((name, _frozen(value)) for name, value in node.attributes.items()))


def _frozen(value: AttributeValue) -> object:
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, tuple):
        return tuple(_frozen(v) for v in value)
    return (type(value), value)
