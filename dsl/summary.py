"""What a model consists of: its layers with the types of their results, parameters, bytes and cost.

Cost is floating-point operations of one inference, as a formula of the symbolic dimensions. Convention: a multiply-add counts two (matmul,
einsum, convolution), an elementwise operation one an element of its result, a reduction one an element of its operand, pooling one an
element of each window, a `scan` its body at each step, a `while` its body up to the limit, a gradient three times what it is of; moving,
comparing by sorting and drawing data count nothing. Parameters that are shared count once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import networkx as nx

from dsl.dims import Dim, Expr, substitute
from dsl.ir import Graph, Node, Program, size_of
from dsl.ops.einsum import DOTS, parse_pattern
from dsl.ops.registry import CARDS
from dsl.passes.specialize import specialize
from dsl.types import TensorType


@dataclass(frozen=True, slots=True)
class Row:
    """One layer: `path` is the prefix of its parameters, `copies` how often a `repeat` makes it. Numbers include the layers inside it and
    all copies; a layer that is applied again is `shared`, and its parameters are not counted again."""

    path: str
    depth: int
    definition: str
    copies: int
    outputs: tuple[TensorType, ...]
    parameters: int
    bytes: int
    flops: Dim
    shared: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """One entry point of a model. `bytes` are those of parameters and buffers."""

    model: str
    entry: str
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    rows: tuple[Row, ...]
    parameters: int
    buffers: int
    bytes: int
    flops: Dim


def summarize(program: Program, entry: str | None = None) -> Summary:
    """The summary of one entry point, the first one by default."""
    inferred = specialize(program, training=False)
    graph = inferred.main if entry is None else inferred.entries[entry]
    costs = _Costs()
    owned = _owned(graph)
    return Summary(
        program.name,
        graph.entry,
        {name: graph.type(v) for name, v in graph.inputs.items()},
        {name: graph.type(v) for name, v in graph.outputs.items()},
        tuple(_rows(graph, "", 0, {}, 1, costs, set())),
        sum(o.trained for o in owned.values()),
        sum(o.buffers for o in owned.values()),
        sum(o.bytes for o in owned.values()),
        costs.of(graph),
    )


def _rows(
    graph: Graph, prefix: str, depth: int, sizes: Mapping[str, Dim], copies: int, costs: _Costs, seen: set[str], steps: Dim = 1
) -> Iterator[Row]:
    """The layers of a graph that is computed `steps` times."""
    for node in live(graph):
        call = node.target
        if call is None:
            continue
        if call.graph.kind == "block":
            yield from _rows(call.graph, prefix, depth, sizes, copies, costs, seen, steps * substitute(_times(node), sizes))
        if call.child is None:
            continue
        times = 1 if call.count is None else call.count
        path = (
            prefix
            + call.child
            + ("" if call.count is None else f".{call.start}" if times == 1 else f".{call.start}-{call.start + times - 1}")
        )
        shared = path in seen
        seen.add(path)
        owned = {} if shared else _owned(call.graph)
        bindings = {name: substitute(d, sizes) for name, d in call.bindings.items()}
        yield Row(
            path,
            depth,
            call.graph.definition,
            copies * times,
            tuple(_renamed(t, sizes) for t in node.types),
            copies * times * sum(o.trained for o in owned.values()),
            copies * times * sum(o.bytes for o in owned.values()),
            steps * copies * times * substitute(costs.of(call.graph), bindings),
            shared,
        )
        if not shared:
            yield from _rows(call.graph, f"{path}.", depth + 1, bindings, copies * times, costs, seen, steps)


def _renamed(type_: TensorType, sizes: Mapping[str, Dim]) -> TensorType:
    return type_.with_shape(tuple(substitute(d, sizes) for d in type_.shape))


def live(graph: Graph) -> list[Node]:
    """The nodes that the outputs need, in order."""
    wanted = {v.node for v in graph.outputs.values()}
    for node in tuple(wanted):
        wanted |= nx.ancestors(graph.networkx, node)
    return [node for node in graph if node.id in wanted]


# --- parameters -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Owned:
    trained: int
    buffers: int
    bytes: int


def _owned(graph: Graph) -> dict[str, _Owned]:
    """What a graph owns by path, each tensor once; the copies of a `repeat` are one entry."""
    found: dict[str, _Owned] = {}

    def visit(graph: Graph, prefix: str, copies: int) -> None:
        for name, parameter in graph.parameters.items():
            size = copies * size_of(parameter.type)
            trained = size if parameter.trained else 0
            found[prefix + name] = _Owned(trained, size - trained, size * parameter.type.dtype.bytes)
        for node in graph.layers():
            call = node.target
            assert call is not None
            if call.count is None:
                visit(call.graph, f"{prefix}{call.child}.", copies)
            else:
                visit(call.graph, f"{prefix}{call.child}.{call.start}.", copies * call.count)

    visit(graph, "", 1)
    return found


# --- cost -----------------------------------------------------------------------------------------------------------------------------


class _Costs:
    """The cost of each graph in terms of its own dimensions, computed once."""

    def __init__(self) -> None:
        self._known: dict[int, Dim] = {}

    def of(self, graph: Graph) -> Dim:
        if id(graph) not in self._known:
            total: Dim = 0
            for node in live(graph):
                total = total + self._node(graph, node)
            self._known[id(graph)] = total
        return self._known[id(graph)]

    def _node(self, graph: Graph, node: Node) -> Dim:
        call = node.target
        if call is None:
            return cost(node, tuple(graph.type(v) for v in node.inputs))
        if call.graph.kind == "block":
            return _times(node) * self.of(call.graph)
        return (1 if call.count is None else call.count) * substitute(self.of(call.graph), call.bindings)


def _times(node: Node) -> Dim:
    """How often a block is computed: a `scan` once a step, a `while` as often as it may, a gradient three times (forward, and twice that
    on the way back)."""
    times = {"scan": node.attributes.get("count"), "while": node.attributes.get("limit"), "grad": 3}[node.op]
    assert isinstance(times, int | Expr)
    return times


def cost(node: Node, operands: tuple[TensorType, ...]) -> Dim:
    """Floating-point operations of one primitive by the convention of this file."""
    result = node.type
    match node.op:
        case "matmul":
            return 2 * elements(result) * operands[0].shape[-1]
        case "einsum":
            return _einsum(node, operands)
        case "conv":
            return 2 * elements(result) * elements(operands[1].with_shape(operands[1].shape[1:]))
        case "conv_transpose":
            return 2 * elements(operands[0]) * elements(operands[1].with_shape(operands[1].shape[1:]))
        case "max_pool" | "avg_pool":
            kernel = node.attributes["kernel"]
            assert isinstance(kernel, tuple)
            return elements(result) * math.prod(k for k in kernel if isinstance(k, int))
        case "adaptive_avg_pool":
            return elements(operands[0])
        case "interpolate":
            return elements(result) * (1 if node.attributes["mode"] == "nearest" else 4)
        case _:
            return _plain(node, operands)


_FREE = frozenset({"cast", "where", "stop_gradient"})


def _plain(node: Node, operands: tuple[TensorType, ...]) -> Dim:
    card = CARDS.get(node.op)
    if card is None or node.op in _FREE or card.random:
        return 0
    if card.elementwise:
        return elements(node.type)
    return elements(operands[0]) if card.family == "reduce" else 0


def _einsum(node: Node, operands: tuple[TensorType, ...]) -> Dim:
    """The product of all axes, a multiply-add each when an axis is summed over: what one loop over everything would do."""
    pattern = parse_pattern(str(node.attributes["pattern"]))
    sizes: dict[str, Dim] = {}
    for names, type_ in zip(pattern.operands, operands, strict=True):
        for name, size in zip(_without_dots(names, type_.rank), type_.shape, strict=True):
            if sizes.get(name, 1) == 1:
                sizes[name] = size
    total: Dim = 1
    for size in sizes.values():
        total = total * size
    summed = any(name not in pattern.result and not name.startswith(DOTS) for name in sizes)
    return total * (len(operands) - 1 + summed)


def _without_dots(names: tuple[str, ...], rank: int) -> list[str]:
    """One name an axis: `...` becomes as many as it stands for, counted from the right."""
    if DOTS not in names:
        return list(names)
    at = names.index(DOTS)
    count = rank - len(names) + 1
    return [*names[:at], *(f"{DOTS}{count - i}" for i in range(count)), *names[at + 1 :]]


def elements(type_: TensorType) -> Dim:
    """The number of elements, as a formula."""
    total: Dim = 1
    for size in type_.shape:
        total = total * size
    return total
