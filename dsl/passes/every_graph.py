"""Applying a rewrite of one graph to every graph of a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dsl.ir import Graph, Program

Rewrite = Callable[[Graph], tuple[Graph, bool]]
"""A rewrite gets a graph whose callees have been rewritten, must not change it, and says whether its result differs."""


def rewrite_every_graph(program: Program, rewrite: Rewrite) -> tuple[Program, bool]:
    """The program with every graph rewritten once, callees first; graphs that were shared stay shared."""
    done: dict[int, Graph] = {}
    changed = False
    for root in program.entries.values():
        for graph in root.callees():
            if id(graph) in done:
                continue
            relinked = with_callees(graph, done)
            result, differs = rewrite(relinked)
            done[id(graph)] = result
            changed = changed or differs
    return Program(program.name, {name: done[id(graph)] for name, graph in program.entries.items()}), changed


def rewrite_graph(graph: Graph, rewrite: Rewrite) -> Graph:
    """One entry point with its blocks and all that it calls rewritten."""
    return rewrite_every_graph(Program(graph.definition, {graph.entry: graph}), rewrite)[0].main


def with_callees(graph: Graph, done: dict[int, Graph]) -> Graph:
    """The graph with its calls pointing at the rewritten callees; itself where none has changed."""
    stale = [
        n for n in graph.calls() if n.target is not None and done.get(id(n.target.graph), n.target.graph) is not n.target.graph
    ]
    backward = done.get(id(graph.backward)) if graph.backward is not None else None
    if not stale and backward is graph.backward:
        return graph
    copy = graph.copy()
    copy.backward = backward
    for node in stale:
        assert node.target is not None
        copy.replace_node(replace(node, target=replace(node.target, graph=done[id(node.target.graph)])))
    return copy
