"""The walk over a program: facts from inputs to outputs, through the definitions that it calls, and the lints at each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dsl.diagnostics import Diagnostic
from dsl.ir import Call, Graph, Node, Value
from dsl.lints.facts import LABELS, NONE, SOLE, Fact, Facts, likelihood, of_examples, one_of_each_kind, operator, results
from dsl.lints.place import Lint, Place
from dsl.source import Span

CONTAINERS = frozenset({"MLP", "FeedForward"})
"""Layers of the library that are looked into: their first and last steps are linear maps."""


class Walk:
    """Walks graphs and collects what the lints find. `lints` are those for each operator, by its name; `of_layers` are for all layers."""

    def __init__(self, lints: Mapping[str, Sequence[Lint]], of_layers: Sequence[Lint] = ()) -> None:
        self.lints = lints
        self.of_layers = of_layers
        self.found: list[Diagnostic] = []
        self._known: dict[object, dict[Value, Facts]] = {}

    def root(self, graph: Graph, batch: frozenset[str]) -> dict[Value, Facts]:
        """The facts of all values of a graph that nothing calls."""
        given = [_input(graph, value) for value in graph.inputs.values()]
        return self._walk(graph, tuple(given), batch, None)

    def _walk(self, graph: Graph, given: tuple[Facts, ...], batch: frozenset[str], caller: Span | None) -> dict[Value, Facts]:
        key = (id(graph), given, batch, caller if graph.library else None)
        if key in self._known:
            return self._known[key]
        known: dict[Value, Facts] = dict(zip(graph.inputs.values(), given, strict=False))
        self._known[key] = known
        readers = Counter(value for node in graph for value in node.inputs)
        readers.update(graph.returned())
        for node in graph:
            if node.op == "input":
                known.setdefault(Value(node.id), NONE)
                continue
            operands = tuple([known[value] for value in node.inputs])
            lints = self.lints.get(operator(node), ())
            if node.target is not None and node.target.child is not None:
                lints = (*lints, *self.of_layers)
            if lints:
                place = Place(graph, node, operands, batch, readers, caller)
                for lint in lints:
                    self.found.extend(lint(place))
            self._note(known, graph, node, operands, batch, readers, caller)
        return known

    def _note(
        self,
        known: dict[Value, Facts],
        graph: Graph,
        node: Node,
        operands: tuple[Facts, ...],
        batch: frozenset[str],
        readers: Mapping[Value, int],
        caller: Span | None,
    ) -> None:
        """Add the facts of the results of a node."""
        call = node.target
        if call is not None and (not call.graph.library or call.graph.definition in CONTAINERS):
            inside = batch if call.graph.kind == "block" else frozenset(s for s, d in call.bindings.items() if str(d) in batch)
            outputs = self._called(node, call, operands, inside, caller or (node.span if call.graph.library else None))
            for i in range(len(node.types)):
                known[Value(node.id, i)] = _alone(outputs[i], readers[Value(node.id, i)])
            return
        made = results(graph, node, operands)
        if batch:
            made |= of_examples(graph, node, operands, batch)
        made = one_of_each_kind(made)
        for i in range(len(node.types)):
            value = Value(node.id, i)
            known[value] = _alone(made, readers[value])

    def _called(
        self, node: Node, call: Call, operands: tuple[Facts, ...], batch: frozenset[str], caller: Span | None
    ) -> list[Facts]:
        """The facts of the results of a definition of the spec, of a block, or of copies of a layer."""
        graph = call.graph
        if graph.kind == "block":
            self._walk(graph, _of_block(node, operands), batch, caller)
            return [NONE] * len(node.types)
        known = self._walk(graph, operands, batch, caller)
        if node.op == "repeat" and (call.count or 0) > 1:
            known = self._walk(graph, (known[next(iter(graph.outputs.values()))], *operands[1:]), batch, caller)
        if graph.backward is not None:
            return [NONE] * len(node.types)
        outputs = [known[value] for value in graph.outputs.values()]
        if graph.definition.endswith("_log_prob"):
            outputs = [facts | likelihood(node) for facts in outputs]
        return outputs + [NONE] * (len(node.types) - len(outputs))


def _input(graph: Graph, value: Value) -> Facts:
    node = graph.node(value)
    return frozenset({Fact(LABELS, node.span)}) if node.type.dtype.is_int else NONE


def _of_block(node: Node, operands: tuple[Facts, ...]) -> tuple[Facts, ...]:
    """What is known of the inputs of a block: of what it captures, and nothing of what changes from step to step."""
    assert node.target is not None
    inputs = len(node.target.graph.inputs)
    if node.op == "grad":
        return operands
    captured = operands[_leading(node) :]
    return (NONE,) * (inputs - len(captured)) + captured


def _leading(node: Node) -> int:
    """How many operands of a loop are not captured."""
    carries = node.attributes.get("carries", 0)
    assert isinstance(carries, int)
    axes = node.attributes.get("axes", ())
    return carries + (len(axes) if isinstance(axes, tuple) else 0) + (node.op == "while")


def _alone(facts: Facts, readers: int) -> Facts:
    """Without what holds only as long as nothing else reads the value."""
    return facts if readers <= 1 else frozenset(f for f in facts if f.kind != SOLE)
