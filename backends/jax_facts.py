"""What a graph reads besides its inputs: the arguments of its function in JAX."""

from __future__ import annotations

from dataclasses import dataclass

from backends.schedule import INFERENCE, schedule
from dsl.diagnostics import InternalError
from dsl.ir import Graph
from dsl.ops.registry import CARDS


@dataclass(frozen=True, slots=True)
class Facts:
    """What a graph reads besides its inputs. `key` says that it draws in training, `always` that it does so in inference as well."""

    params: bool
    state: bool
    training: bool
    key: bool
    always: bool


def facts_of(graph: Graph, known: dict[int, Facts]) -> Facts:
    """The facts of `graph`, with those of the graphs that it calls in `known`."""
    modes = schedule(graph).modes
    params = state = key = always = False
    training = bool(graph.updates) or any(c.training for c in graph.constraints)
    for node in graph:
        mode = modes.get(node.id, 0)
        if not mode:
            continue
        params |= node.op == "param"
        state |= node.op == "buffer"
        training |= node.op in ("if_training", "dropout")
        if node.op in CARDS and CARDS[node.op].random:
            key = True
            always |= node.op != "dropout" and bool(mode & INFERENCE)
        if node.target is not None:
            callee = known[id(node.target.graph)]
            params, state = params or callee.params, state or callee.state
            training, key = training or callee.training, key or callee.key
            always |= callee.always and bool(mode & INFERENCE)
    if graph.backward is not None:
        back = known[id(graph.backward)]
        training, key, always = training or back.training, key or back.key, always or back.always
    return Facts(params, state or bool(graph.updates), training, key, always)


def facts_of_all(roots: list[Graph]) -> dict[int, Facts]:
    """The facts of the graphs of a program, by identity."""
    known: dict[int, Facts] = {}
    for root in roots:
        for graph in root.callees():
            if id(graph) not in known:
                known[id(graph)] = facts_of(graph, known)
    if any(id(root) not in known for root in roots):
        raise InternalError("a graph is not among its own callees")
    return known
