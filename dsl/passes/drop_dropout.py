"""Take dropout out of a program and leave its structure as it is, so that training mode can be compared without random draws.

Before:  y = dropout(f(x), 0.1)      After:  y = f(x)
"""

from __future__ import annotations

from dsl.ir import Graph, Program, Value
from dsl.passes.every_graph import rewrite_every_graph


def drop_dropout(program: Program) -> Program:
    """The program without dropout. Library definitions that had some are no longer marked as such: their bodies count, not their
    hyper-parameters."""
    changed: set[int] = set()

    def rewrite(graph: Graph) -> tuple[Graph, bool]:
        nodes = [n for n in graph if n.op == "dropout"]
        inside = any(n.target is not None and id(n.target.graph) in changed for n in graph.calls())
        if not nodes and not inside:
            return graph, False
        result = graph.copy()
        for stale in nodes:
            node = result.node(stale.id)
            result.redirect(Value(node.id), node.inputs[0])
            if node.name is not None:
                result.set_name(node.inputs[0], node.name)
            result.remove([node])
        result.library = False
        changed.add(id(result))
        return result, True

    return rewrite_every_graph(program, rewrite)[0]
