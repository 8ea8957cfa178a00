"""Join chains of reshapes and of permutations, and drop those that change nothing.

Before:  y = permute(permute(x, [1, 0, 2]), [1, 0, 2])      After:  y = x
"""

from __future__ import annotations

from dataclasses import replace

from dsl.ir import Graph, Node, Value
from dsl.ops.card import Attributes


def cancel_reshapes(graph: Graph) -> tuple[Graph, bool]:
    result: Graph | None = None
    for listed in graph:
        if listed.op not in ("reshape", "permute"):
            continue
        current = result or graph
        node = current.node(listed.id)
        inner = current.node(node.inputs[0])
        source = inner.inputs[0] if inner.op == node.op and (inner.name is None or len(current.users(inner)) == 1) else None
        joined = replace(node, inputs=(source,), attributes=_joined(node, inner)) if source is not None else node
        if _changes_nothing(current, joined):
            result = result or graph.copy()
            result.redirect(Value(node.id), joined.inputs[0])
            result.remove([node])
        elif source is not None:
            result = result or graph.copy()
            result.replace_node(joined)
    return (graph, False) if result is None else (result, True)


def _joined(node: Node, inner: Node) -> Attributes:
    if node.op == "reshape":
        return dict(node.attributes)
    first, second = inner.attributes["order"], node.attributes["order"]
    assert isinstance(first, tuple) and isinstance(second, tuple)
    return {"order": tuple([first[i] for i in second if isinstance(i, int)])}


def _changes_nothing(graph: Graph, node: Node) -> bool:
    if node.op == "reshape":
        return graph.type(node.inputs[0]).shape == node.type.shape
    return node.attributes["order"] == tuple(range(node.type.rank))
