"""Where each layer of a program is applied, and where its parameters are read or replaced by name: what a pass that changes weights asks.

A layer of the spec may be applied in several places and entry points, and the graph of one layer may be shared by many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from dsl.ir import Graph, Node, Program


class LayerUses:
    """The places of each layer, by its full name."""

    def __init__(self, program: Program) -> None:
        self.places: dict[str, set[tuple[int, int]]] = {}
        self.paths: dict[tuple[int, str], set[str]] = {}
        for root in program.entries.values():
            self._visit(root, "")

    def once(self, graph: Graph, child: str | None) -> bool:
        """Whether that layer of `graph` has one place, in each of the layers that share the graph."""
        return child is not None and all(len(self.places[path]) == 1 for path in self.paths[id(graph), child])

    def copies_by_name(self, graph: Graph, child: str) -> bool:
        """Whether a parameter of one copy of that `repeat`, whose body owns nothing but parameters, is read or replaced by name."""
        prefixes = tuple(f"{path}." for path in self.paths[id(graph), child])
        return any(place.startswith(prefixes) for place in self.places)

    def _visit(self, graph: Graph, prefix: str) -> None:
        """Note what `graph` does, whose own parameters begin with `prefix`."""
        for node in graph:
            if node.op in ("param", "buffer"):
                self._by_name(graph, node, prefix + str(node.attributes["path"]), len(prefix))
            call = node.target
            if call is None:
                continue
            if call.child is None:
                self._visit(call.graph, prefix)
                continue
            self.paths.setdefault((id(graph), call.child), set()).add(f"{prefix}{call.child}")
            self.places.setdefault(f"{prefix}{call.child}", set()).add((id(graph), node.id))
            for name in cast("tuple[str, ...]", node.attributes.get("given", ())):
                self._by_name(graph, node, f"{prefix}{call.child}.{name}", len(prefix))
            for copy in [""] if call.count is None else [f".{i}" for i in range(call.start, call.start + call.count)]:
                self._visit(call.graph, f"{prefix}{call.child}{copy}.")

    def _by_name(self, graph: Graph, node: Node, path: str, own: int) -> None:
        """A parameter of a layer below: one more place, and a call of the layer is another."""
        layer = path.rpartition(".")[0]
        if len(layer) >= own:
            self.places.setdefault(layer, set()).add((id(graph), ~node.id))


def graphs_by_path(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Graph]]:
    """A graph and all that it calls, each with what the full names of its own parameters begin with."""
    yield prefix, graph
    for node in graph.calls():
        call = node.target
        assert call is not None
        if call.child is None:
            yield from graphs_by_path(call.graph, prefix)
        elif call.count is None:
            yield from graphs_by_path(call.graph, f"{prefix}{call.child}.")
        else:
            for i in range(call.start, call.start + call.count):
                yield from graphs_by_path(call.graph, f"{prefix}{call.child}.{i}.")
