"""Cutting out of the graph of a `train` block what one objective computes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace

from dsl.elaborate.blocks import symbols_of_nodes
from dsl.ir import Graph, Node, Value


def entry_graph(
    graph: Graph, name: str, outputs: Mapping[str, Value], given: Mapping[Value, str], kept: Iterable[str] = ()
) -> Graph:
    """What of a block computes `outputs`: an entry point of its own. The values in `given` are inputs of it, what is at the paths `kept`
    is part of it even if nothing reads it."""
    result = graph.copy()
    result.entry, result.kind = name, "train"
    for value, wanted in given.items():
        node = result.node(value)
        result.replace_node(replace(node, op="input", inputs=(), attributes={"name": wanted}, name=None))
        result.inputs[wanted] = value
    result.outputs, result.updates, result.kept = dict(outputs), {}, frozenset(kept)
    needed = result.with_owners({i for value in outputs.values() for i in result.ancestors(value)})
    needed |= {value.node for value in _binding(result, needed)}
    result.remove([n for n in list(result) if n.id not in needed])
    result.inputs = {n: v for n, v in result.inputs.items() if v.node in needed}
    applied = {n.target.child for n in result.layers() if n.target is not None}
    result.children = {n: None for n in result.children if n in applied}
    read = {str(n.attributes["path"]) for n in _nodes(result) if n.op in ("param", "buffer")} | result.kept
    result.parameters = {n: p for n, p in result.parameters.items() if n in read}
    return result


def _binding(graph: Graph, needed: Container[int]) -> list[Value]:
    """The inputs that are needed for nothing but a size that they bind."""
    nodes = [n for n in graph if n.id in needed]
    known = {str(d) for n in nodes if n.op == "input" for d in n.type.shape}
    found: list[Value] = []
    for name in symbols_of_nodes(nodes):
        if name not in known:
            binding = next((v for v in graph.inputs.values() if name in map(str, graph.type(v).shape)), None)
            if binding is not None:
                known |= {str(d) for d in graph.type(binding).shape}
                found.append(binding)
    return found


def _nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of its blocks."""
    for node in graph:
        yield node
        if node.target is not None and node.target.graph.kind == "block":
            yield from _nodes(node.target.graph)
