"""Specialise a program to one mode: the other branch of each `if training` goes, and in inference dropout and buffer updates go too.

Before:  y = if_training(dropout(x, 0.1), x)      After (inference):  y = x
"""

from __future__ import annotations

from dataclasses import replace

from dsl.ir import Graph, Program
from dsl.passes.every_graph import rewrite_every_graph


def specialize(program: Program, *, training: bool) -> Program:
    """The program for training or for inference only."""
    return rewrite_every_graph(program, lambda graph: specialize_graph(graph, training=training))[0]


def without_backward(program: Program) -> Program:
    """The program for a target that does not differentiate: functions without the gradients that the spec gives for them. A model that
    takes gradients itself is left as it is; whether it can be computed there is for the target to say."""
    if any(node.op == "grad" for root in program.entries.values() for graph in root.callees() for node in graph):
        return program
    return rewrite_every_graph(program, _without_backward)[0]


def _without_backward(graph: Graph) -> tuple[Graph, bool]:
    if graph.backward is None:
        return graph, False
    result = graph.copy()
    result.backward = None
    return result, True


def specialize_graph(graph: Graph, *, training: bool) -> tuple[Graph, bool]:
    mode_nodes = [n for n in graph if n.op == "if_training" or (n.op == "dropout" and not training)]
    for_training = [c for c in graph.constraints if c.training]
    if not mode_nodes and not for_training and (training or not graph.updates):
        return graph, False
    result = graph.copy()
    others = [c for c in graph.constraints if not c.training]
    result.constraints = [*others, *(replace(c, training=False) for c in for_training)] if training else others
    for stale in mode_nodes:
        node = result.node(stale.id)
        kept = node.inputs[0 if training or node.op == "dropout" else 1]
        for i in range(len(node.types)):
            result.redirect(type(kept)(node.id, i), kept)
        if node.name is not None:
            result.set_name(kept, node.name)
        result.remove([node])
    if not training:
        result.updates = {}
    return result, True
