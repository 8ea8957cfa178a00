"""Which parameters and inputs a value depends on in a way that has a gradient, and what stands in the way.

One walk from the inputs to the outputs of each graph notes for every value what it is reached by. Gradients stop at `stop_gradient`, at
integers and truth values, and at functions that are flat between their steps (`round`, `sign`). A draw from a distribution and a `while`
stop them as well, which is rarely meant: these are the obstacles.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dsl.ir import Graph, Node, Value

Atom = tuple[str, str]
"""What reaches a value: ("param", path), ("input", name), or ("value", place) for one of the values asked about."""

FLAT = frozenset({"stop_gradient", "sign", "floor", "ceil", "round", "floor_divide", "full", "isnan"})
"""Primitives whose derivative is zero wherever it exists."""

DRAWS = frozenset({"bernoulli", "categorical"})
"""Draws that depend on an operand, and have no gradient with respect to it."""

INDEXED = {"gather": (0,), "take": (0,), "scatter_add": (0, 2)}
"""The operands of indexing that are not indices."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A node that gradients do not pass, and what reaches its operands."""

    node: Node
    behind: frozenset[Atom]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a value is reached by, and the obstacles before it."""

    atoms: frozenset[Atom] = frozenset()
    obstacles: frozenset[Obstacle] = frozenset()

    def __or__(self, other: Reach) -> Reach:
        return Reach(self.atoms | other.atoms, self.obstacles | other.obstacles)


NOTHING = Reach()


def reached(graph: Graph, value: Value) -> set[str]:
    """The parameters that have a gradient of `value`, by full name below the graph."""
    found = _Walk().values(graph, {})[value]
    return {name for kind, name in found.atoms if kind == "param"}


def obstacles(graph: Graph, of: Value, parameters: Container[str], inputs: Container[Value]) -> list[Node]:
    """The nodes that keep gradients of the scalar `of` from the parameters (full names below the graph) or from the values `inputs` of it:
    `while` loops, and draws without a gradient. A draw that is stopped, or only used as an index, is none."""
    seeds = {value: _seed(value) for value in _values(graph) if value in inputs}
    found = _Walk().values(graph, seeds)[of]
    blocking: dict[int, Node] = {}
    for obstacle in sorted(found.obstacles, key=lambda o: (o.node.span.start, o.node.id)):
        if any((kind == "param" and name in parameters) or kind == "value" for kind, name in obstacle.behind):
            blocking.setdefault(id(obstacle.node), obstacle.node)
    return list(blocking.values())


def depends(graph: Graph, of: Value, inputs: Container[Value]) -> set[Value]:
    """Which of the values `inputs` of the graph have a gradient of the scalar `of`."""
    seeds = {value: _seed(value) for value in _values(graph) if value in inputs}
    atoms = _Walk().values(graph, seeds)[of].atoms
    return {value for value, seed in seeds.items() if seed.atoms <= atoms}


def _seed(value: Value) -> Reach:
    return Reach(frozenset({("value", f"{value.node}.{value.index}")}))


def given_names(node: Node) -> tuple[str, ...]:
    """The parameters that a call replaces, by name below the layer."""
    given = node.attributes.get("given", ())
    assert isinstance(given, tuple)
    return tuple(str(name) for name in given)


def _values(graph: Graph) -> Iterator[Value]:
    return (Value(node.id, i) for node in graph for i in range(len(node.types)))


class _Walk:
    """One question; graphs that are called often are walked once."""

    def __init__(self) -> None:
        self.known: dict[int, dict[str, Reach]] = {}

    def values(self, graph: Graph, seeds: Mapping[Value, Reach]) -> dict[Value, Reach]:
        """What each value of the graph is reached by; `seeds` reach themselves whatever they are computed from."""
        found: dict[Value, Reach] = {}
        for node in graph:
            for i, reach in enumerate(self._node(node, [found[v] for v in node.inputs], graph)):
                value = Value(node.id, i)
                found[value] = reach | seeds[value] if value in seeds else reach
        return found

    def outputs(self, graph: Graph) -> dict[str, Reach]:
        """What each output is reached by, in terms of the graph's own inputs and parameters."""
        if id(graph) not in self.known:
            values = self.values(graph, {})
            self.known[id(graph)] = {name: values[v] for name, v in graph.outputs.items()}
        return self.known[id(graph)]

    def _node(self, node: Node, operands: list[Reach], graph: Graph) -> list[Reach]:
        match node.op:
            case "input":
                return [Reach(frozenset({("input", str(node.attributes["name"]))}))]
            case "param":
                return [Reach(frozenset({("param", str(node.attributes["path"]))}))]
            case "scan":
                return self._scan(node, operands)
            case "while":
                return self._while(node, operands)
            case "grad":
                return [self._everything(node, operands)] * len(node.types)
        if node.target is not None:
            return self._call(node, operands)
        return [self._primitive(node, operands, graph, i) for i in range(len(node.types))]

    def _primitive(self, node: Node, operands: list[Reach], graph: Graph, index: int) -> Reach:
        if node.op == "stop_gradient":
            return NOTHING
        kept = [operands[i] for i in INDEXED.get(node.op, range(len(operands)))]
        blocked = _union(kept)
        if node.op in DRAWS:
            return Reach(frozenset(), blocked.obstacles | {Obstacle(node, blocked.atoms)} if blocked.atoms else blocked.obstacles)
        type_ = node.types[index]
        if type_.dtype.is_float and node.op not in FLAT:
            return blocked
        return Reach(frozenset(), frozenset() if str(type_.dtype) == "bool" else blocked.obstacles)

    def _call(self, node: Node, operands: list[Reach]) -> list[Reach]:
        call = node.target
        assert call is not None
        names = list(call.graph.inputs)
        given = given_names(node)
        inputs: dict[str, Reach] = dict(zip(names, operands, strict=False))
        replaced: dict[str, Reach] = dict(zip(given, operands[len(names) :], strict=True))
        prefixes = [""] if call.child is None else [f"{call.child}."]
        if call.count is not None:
            prefixes = [f"{call.child}.{i}." for i in range(call.start, call.start + call.count)]
            operands = list(operands)
        results: list[Reach] = []
        for reach in self.outputs(call.graph).values():
            results.append(_translated(reach, inputs, replaced, prefixes))
        if call.graph.backward is not None:
            results = [_union(operands)] * len(results)
        if call.count is not None:
            results = [results[0] | operands[0]]
        return [r if t.dtype.is_float else Reach(frozenset(), r.obstacles) for r, t in zip(results, node.types, strict=True)]

    def _scan(self, node: Node, operands: list[Reach]) -> list[Reach]:
        """The carries after any number of steps: what reaches them grows until it stays."""
        call = node.target
        carries = node.attributes["carries"]
        assert call is not None and isinstance(carries, int)
        counted = 1 if node.attributes["counter"] else 0
        names = list(call.graph.inputs)[counted:]
        inputs: dict[str, Reach] = dict.fromkeys(call.graph.inputs, NOTHING) | dict(zip(names, operands, strict=True))
        block = list(self.outputs(call.graph).values())
        while True:
            results = [_translated(reach, inputs, {}, [""]) for reach in block]
            grown = {name: inputs[name] | reach for name, reach in zip(names, results[:carries], strict=False)}
            if all(inputs[name] == reach for name, reach in grown.items()):
                return [
                    *(inputs[name] for name in names[:carries]),
                    *results[carries:],
                ]
            inputs |= grown

    def _while(self, node: Node, operands: list[Reach]) -> list[Reach]:
        behind = self._everything(node, operands)
        found = behind.obstacles | {Obstacle(node, behind.atoms)} if behind.atoms else behind.obstacles
        return [Reach(frozenset(), found)] * len(node.types)

    def _everything(self, node: Node, operands: list[Reach]) -> Reach:
        """All that reaches the operands, and the parameters that the block reads itself."""
        call = node.target
        assert call is not None
        inputs: dict[str, Reach] = dict(zip(call.graph.inputs, operands[-len(call.graph.inputs) :], strict=False))
        inside = [_translated(reach, inputs, {}, [""]) for reach in self.outputs(call.graph).values()]
        return _union([*operands, *inside])


def _union(parts: Iterable[Reach]) -> Reach:
    total = NOTHING
    for part in parts:
        total |= part
    return total


def _translated(reach: Reach, inputs: Mapping[str, Reach], replaced: Mapping[str, Reach], prefixes: list[str]) -> Reach:
    """What reaches the output of a callee, in the terms of the caller."""
    total = Reach(_outer(reach.atoms, inputs, replaced, prefixes))
    for kind, name in reach.atoms:
        total = Reach(total.atoms, total.obstacles | (inputs[name].obstacles if kind == "input" else frozenset()))
    behind = frozenset(Obstacle(o.node, _outer(o.behind, inputs, replaced, prefixes)) for o in reach.obstacles)
    return Reach(total.atoms, total.obstacles | behind)


def _outer(
    atoms: frozenset[Atom], inputs: Mapping[str, Reach], replaced: Mapping[str, Reach], prefixes: list[str]
) -> frozenset[Atom]:
    found: set[Atom] = set()
    for kind, name in atoms:
        if kind == "input":
            found |= inputs[name].atoms
        elif kind == "param" and name in replaced:
            found |= replaced[name].atoms
        else:
            found |= {(kind, f"{prefix}{name}") for prefix in prefixes}
    return frozenset(found)
