"""Fuse linear layers that follow each other directly into one, for inference: their product has the same meaning.

Before:  y = second(first(x))      After:  y = second(x), with weight W2 W1 and bias W2 b1 + b2

Works on `Linear` layers of the library, and on a `repeat` of one, that are applied in one place and whose parameters nothing else reads or
replaces. Two layers stay two where their product has more numbers than they have together: a narrow layer between wide ones is there
to save. The weights change with the program, never the file they came from. Products are taken in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dsl.build import Builder
from dsl.ir import Call, Graph, Initializer, Node, Parameter, Program, Value
from dsl.passes.every_graph import with_callees
from dsl.passes.layer_uses import LayerUses, graphs_by_path
from dsl.types import TensorType

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Fusion:
    """The layers of a graph that became the one called `fused`: names such as `linear` or `body.0`, in the order of their application."""

    layers: tuple[str, ...]
    fused: str


def fuse_linear(program: Program, weights: Weights) -> tuple[Program, dict[str, np.ndarray], bool]:
    """The program with one layer in place of several, and the weights that go with it."""
    done: dict[int, Graph] = {}
    fusions: dict[int, list[Fusion]] = {}
    uses = LayerUses(program)
    for root in program.entries.values():
        for graph in root.callees():
            if id(graph) not in done:
                fusions[id(graph)], done[id(graph)] = _fused(graph, done, uses)
    if not any(fusions.values()):
        return program, dict(weights), False
    changed = dict(weights)
    for root in program.entries.values():
        for prefix, graph in graphs_by_path(root):
            for fusion in fusions[id(graph)]:
                _multiply_weights(changed, prefix, fusion)
    entries = {name: done[id(graph)] for name, graph in program.entries.items()}
    return Program(program.name, entries), changed, True


# --- the graph ------------------------------------------------------------------------------------------------------------------------


def _fused(graph: Graph, done: dict[int, Graph], uses: LayerUses) -> tuple[list[Fusion], Graph]:
    found: list[Fusion] = []
    result = with_callees(graph, done)
    alone = {n.id for n in graph.calls() if _is_alone(graph, n, uses)}
    while chain := _next_chain(result, alone):
        if not found:
            result = result.copy()
        found.append(_replace_chain(result, chain))
    return found, result


def _is_alone(graph: Graph, node: Node, uses: LayerUses) -> bool:
    """Whether a node applies a linear layer, or a `repeat` of one, that is applied here only and only as a whole."""
    call = node.target
    if call is None or call.child is None or not call.graph.library or call.graph.definition != "Linear":
        return False
    types = {*(p.type.dtype for p in call.graph.parameters.values()), graph.type(node.inputs[0]).dtype, node.type.dtype}
    repeated = call.count is not None and uses.copies_by_name(graph, call.child)
    return len(types) == 1 and not repeated and uses.once(graph, call.child)


def _next_chain(graph: Graph, alone: set[int]) -> tuple[Node, ...]:
    """The next nodes to fuse, in order: one `repeat`, or two calls whose product is no larger than they are."""
    for node in graph.calls():
        if node.id not in alone or node.target is None:
            continue
        if node.target.count is not None:
            return (node,)
        before = graph.node(node.inputs[0])
        if before.id in alone and before.target is not None and before.target.count is None and _is_between(graph, before):
            (width, inner), (_, features) = _sizes(node), _sizes(before)
            if width * features <= inner * (width + features):
                return (before, node)
    return ()


def _is_between(graph: Graph, node: Node) -> bool:
    """Whether one other node reads what a node computes, and nothing else does."""
    return len(graph.users(node)) == 1 and Value(node.id) not in graph.returned()


def _sizes(node: Node) -> tuple[int, int]:
    """Outputs and inputs of a linear layer."""
    assert node.target is not None
    width, features = node.target.graph.parameters["weight"].type.shape
    assert isinstance(width, int) and isinstance(features, int)
    return width, features


def _replace_chain(graph: Graph, chain: tuple[Node, ...]) -> Fusion:
    """One call in place of the nodes of a chain, under the name of the last."""
    first, last = chain[0].target, chain[-1].target
    assert first is not None and last is not None and last.child is not None
    call = Call(_product(first.graph, last.graph), last.child, first.bindings)
    spans = tuple(span for node in chain for span in node.spans)
    graph.replace_node(replace(chain[-1], op="call", inputs=chain[0].inputs, target=call, spans=spans))
    graph.remove(chain[:-1])
    for node in chain[:-1]:
        assert node.target is not None and node.target.child is not None
        graph.children.pop(node.target.child, None)
    return Fusion(tuple(name for node in chain for name in _names(node)), last.child)


def _names(node: Node) -> Iterable[str]:
    call = node.target
    assert call is not None and call.child is not None
    return [call.child] if call.count is None else [f"{call.child}.{i}" for i in range(call.start, call.start + call.count)]


def _product(first: Graph, last: Graph) -> Graph:
    """A linear layer from the inputs of the first to the outputs of the last."""
    (x, source), (y, _) = next(iter(first.inputs.items())), next(iter(last.outputs.items()))
    weight = last.parameters["weight"]
    width, features = weight.type.shape[0], first.parameters["weight"].type.shape[1]
    biased = "bias" in first.parameters or "bias" in last.parameters
    result = Graph("Linear", last.entry, last.kind, last.span)
    result.doc, result.library, result.hyper = last.doc, True, {**last.hyper, "bias": biased}
    result.dim_names, result.axis_names = dict(first.dim_names), dict(first.axis_names)
    builder = Builder(result, weight.type.dtype)
    types = {"weight": TensorType(weight.type.dtype, (width, features)), "bias": TensorType(weight.type.dtype, (width,))}
    for name in ("weight", "bias") if biased else ("weight",):
        kept = last.parameters.get(name, first.parameters.get(name, weight))
        result.parameters[name] = Parameter(name, types[name], Initializer("constant", {"value": 0.0}), True, kept.span)
    result.inputs[x] = Value(result.add("input", (), {"name": x}, (first.type(source),)).id)
    matrix = _read(result, "weight")
    output = builder.build("matmul", (result.inputs[x], builder.build("permute", (matrix,), order=(1, 0))))
    result.outputs[y] = builder.build("add", (output, _read(result, "bias"))) if biased else output
    return result


def _read(graph: Graph, name: str) -> Value:
    parameter = graph.parameters[name]
    return Value(graph.add("param", (), {"path": name}, (parameter.type,), spans=(parameter.span,)).id)


# --- the weights ----------------------------------------------------------------------------------------------------------------------


def _multiply_weights(weights: dict[str, np.ndarray], prefix: str, fusion: Fusion) -> None:
    names = [f"{prefix}{layer}" for layer in fusion.layers]
    if f"{names[0]}.weight" not in weights:
        return  # done where another entry point applies the same graph
    dtype = weights[f"{names[0]}.weight"].dtype
    product: np.ndarray | None = None
    bias: np.ndarray | None = None
    for name in names:
        weight = weights.pop(f"{name}.weight").astype(np.float64)
        own = weights.pop(f"{name}.bias", None)
        product = weight if product is None else weight @ product
        bias = weight @ bias if bias is not None else None
        if own is not None:
            bias = own.astype(np.float64) + (0 if bias is None else bias)
    assert product is not None
    weights[f"{prefix}{fusion.fused}.weight"] = product.astype(dtype)
    if bias is not None:
        weights[f"{prefix}{fusion.fused}.bias"] = bias.astype(dtype)
