"""Remove what nothing reads: dead nodes, layers that only they applied, and parameters that are never read.

Before:  unused = x @ w; y = relu(x)      After:  y = relu(x)
"""

from __future__ import annotations

from dsl.ir import Graph


def prune(graph: Graph) -> tuple[Graph, bool]:
    live = _live(graph)
    dead = [n for n in graph if n.id not in live]
    read = {str(n.attributes["path"]) for n in graph if n.id in live and n.op in ("param", "buffer")}
    read |= set(graph.updates)
    unread = [name for name in graph.parameters if name not in read]
    if not dead and not unread:
        return graph, False
    result = graph.copy()
    result.remove(dead)
    for name in unread:
        del result.parameters[name]
    applied = {n.target.child for n in result.calls() if n.target is not None}
    result.children = {name: None for name in result.children if name in applied}
    return result, True


def _live(graph: Graph) -> set[int]:
    """Nodes that an output or an update needs, inputs, and calls that change buffers."""
    wanted = [v.node for v in graph.returned()]
    wanted += [n.id for n in graph if n.op == "input"]
    wanted += [n.id for n in graph.calls() if n.target is not None and any(g.updates for g in n.target.graph.callees())]
    live: set[int] = set()
    while wanted:
        node = graph.node(wanted.pop())
        if node.id not in live:
            live.add(node.id)
            wanted.extend(v.node for v in node.inputs)
    return live
