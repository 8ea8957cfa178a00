"""Followers that nothing reads: an entry point that reads them, so that they are part of the program.

layer net = Net()                                    def loss(x, y) = mse(net(x), y)
layer slow = ema of net decay 0.99          ->       def loss_with_slow(x, y) = mse(slow(x), y)
minimize loss = mse(net(x), y) using adam()
"""

from __future__ import annotations

from dataclasses import replace

from dsl.ir import Graph, Program
from dsl.training import Training


def read_followers(training: Training) -> Training:
    """The training with an entry point for each follower that its objectives leave aside: an objective with it in place of its source."""
    entries = dict(training.program.entries)
    for follower in training.followers:
        if any(_applies(graph, follower.layer) for graph in entries.values()):
            continue
        name = next((n for n, graph in entries.items() if _applies(graph, follower.source)), None)
        if name is not None:
            entry = f"{name}_with_{follower.layer}"
            entries[entry] = _renamed(entries[name], follower.source, follower.layer)
            entries[entry].entry = entry
    return replace(training, program=Program(training.program.name, entries))


def _applies(graph: Graph, layer: str) -> bool:
    paths = (str(n.attributes["path"]) for g in (graph, *_blocks(graph)) for n in g if n.op in ("param", "buffer"))
    applied = (n.target.child == layer for n in graph.layers() if n.target is not None)
    return any(applied) or any(path.startswith(f"{layer}.") for path in paths)


def _blocks(graph: Graph) -> list[Graph]:
    found = [n.target.graph for n in graph.calls() if n.target is not None and n.target.graph.kind == "block"]
    return [*found, *(inner for block in found for inner in _blocks(block))]


def _renamed(graph: Graph, old: str, new: str) -> Graph:
    """The graph with another layer in the place of one."""
    result = graph.copy()

    def path(name: str) -> str:
        return f"{new}.{name.removeprefix(f'{old}.')}" if name.startswith(f"{old}.") else name

    for node in graph:
        target = node.target
        if node.op in ("param", "buffer"):
            result.replace_node(replace(node, attributes={**node.attributes, "path": path(str(node.attributes["path"]))}))
        elif target is not None and target.child == old:
            result.replace_node(replace(node, target=replace(target, child=new)))
        elif target is not None and target.graph.kind == "block":
            result.replace_node(replace(node, target=replace(target, graph=_renamed(target.graph, old, new))))
    result.children = {new if name == old else name: None for name in graph.children}
    result.parameters = {path(name): replace(p, name=path(p.name)) for name, p in graph.parameters.items()}
    return result
