"""What emitters of trainings ask of one: its entry points, keys for its rules, layers behind names of parameters, the axis of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from dsl.dims import symbols_of
from dsl.ir import Graph, Node, Program, Value
from dsl.ops.registry import CARDS
from dsl.training import Follower, Objective, Rule, Training, Update


def entries_of(training: Training) -> Program:
    """The program of a training, its draws among the entry points."""
    entries = dict(training.program.entries)
    if training.draws is not None:
        entries["draws"] = training.draws
    return Program(training.name, entries)


def draws(training: Training) -> bool:
    """Whether a step draws random numbers."""
    roots = entries_of(training).entries.values()
    nodes = (node for root in roots for graph in root.callees() for node in graph)
    return any(node.op in CARDS and CARDS[node.op].random for node in nodes)


def waits(training: Training) -> bool:
    """Whether a rule has its learning rate lowered by what is seen."""
    return any(rule.plateau is not None for objective in training.objectives for rule in objective.rules)


def rules_of(objective: Objective) -> list[tuple[str, Rule]]:
    """The rules of an objective, each with the key of its optimizer."""
    if len(objective.rules) == 1:
        return [(objective.name, objective.rules[0])]
    return [(f"{objective.name} {i}", rule) for i, rule in enumerate(objective.rules)]


def graphs_of(rule: Rule) -> dict[str, Graph]:
    """The graphs of a rule: of its rate, and of its update where the language has one."""
    return {"rate": rule.rate} if rule.update is None else {"update": rule.update, "rate": rule.rate}


def layers_of(training: Training, names: Sequence[str]) -> list[str] | None:
    """Layers of the block whose parameters are together those of that name; [] for all, None where there are no such layers."""
    trained = [name for name, p in training.program.parameters().items() if p.trained]
    wanted = set(names)
    if wanted == set(trained):
        return []
    heads = list(dict.fromkeys(name.split(".")[0] for name in names))
    covered = {name for name in trained if name.split(".")[0] in heads and "." in name}
    return heads if covered == wanted else None


def followers_of(training: Training) -> list[Follower]:
    """The followers that something reads; the others are no part of the program."""
    names = training.program.parameters()
    return [f for f in training.followers if any(name.startswith(f"{f.layer}.") for name in names)]


def split_inputs(training: Training, graph: Graph) -> list[str]:
    """The inputs of a graph whose first axis is the first of the batch's first input, which is the axis of its rows."""
    first = next(iter(training.inputs.values()))
    rows = symbols_of(first.shape[0]) if first.rank else ()
    types = {name: graph.type(value) for name, value in graph.inputs.items()}
    return [name for name, t in types.items() if t.rank and symbols_of(t.shape[0]) == rows]


def reporting(training: Training) -> list[Objective | Update]:
    """The turns that something is reported from: what an evaluation computes."""
    return [turn for turn in training.turns if training.reported(turn)]


def shared(graph: Graph, update: Update) -> list[str]:
    """The new values of an update that may be no tensors of their own, but those of something else that is kept."""
    return [name for name in update.assigned.values() if not _is_new(graph.node(graph.outputs[name]))]


def lives_on(graph: Graph, name: str) -> bool:
    """Whether an output may be a parameter or buffer itself, and so have another value after the step."""
    return _kept(graph, graph.outputs[name])


def _kept(graph: Graph, value: Value) -> bool:
    node = graph.node(value)
    if node.op in _SHARING:
        return any(_kept(graph, v) for v in node.inputs)
    if node.op == "call" and node.target is not None:
        return _kept(node.target.graph, list(node.target.graph.outputs.values())[value.index])
    return not _is_new(node)


def _is_new(node: Node) -> bool:
    """Whether a primitive computes a tensor of its own."""
    return node.op in CARDS and node.target is None and node.op not in _SHARING


_SHARING = frozenset({"cast", "expand", "if_training", "permute", "reshape", "slice", "split", "stop_gradient"})
"""Primitives that may give the memory of their operand."""
