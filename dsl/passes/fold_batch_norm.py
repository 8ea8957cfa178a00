"""Fold batch norm into the convolution or linear layer before it, for inference: the layer gets other weights and a bias.

Before:  y = bn(conv(x))      After:  y = conv(x), with weight * s and (bias - mean) * s + beta, where s = gamma / sqrt(var + eps)

Works on layers of the library that are applied in one place, and whose parameters nothing else reads or replaces. The weights change
with the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dsl.build import Builder
from dsl.ir import Graph, Initializer, Node, Parameter, Program, Value
from dsl.passes.every_graph import with_callees
from dsl.passes.layer_uses import LayerUses, graphs_by_path
from dsl.types import TensorType

Weights = Mapping[str, np.ndarray]

BATCH_NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"})
AXIS_OF_OUTPUT = {"Linear": 0, "Conv1d": 0, "Conv2d": 0, "Conv3d": 0}
"""The axis of the weight that counts outputs, for each layer that batch norm folds into."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One pair of layers of a graph that became one: names of the layer and of the batch norm, and what the norm was made with."""

    layer: str
    norm: str
    eps: float


def fold_batch_norm(program: Program, weights: Weights) -> tuple[Program, dict[str, np.ndarray], bool]:
    """The program without the batch norms that fold, and the weights that go with it."""
    done: dict[int, Graph] = {}
    folds: dict[int, list[Fold]] = {}
    uses = LayerUses(program)
    for root in program.entries.values():
        for graph in root.callees():
            if id(graph) not in done:
                folds[id(graph)], done[id(graph)] = _folded(graph, done, uses)
    if not any(folds.values()):
        return program, dict(weights), False
    changed = dict(weights)
    for root in program.entries.values():
        for prefix, graph in graphs_by_path(root):
            for fold in folds[id(graph)]:
                _change_weights(changed, prefix, fold)
    entries = {name: done[id(graph)] for name, graph in program.entries.items()}
    return Program(program.name, entries), changed, True


def _folded(graph: Graph, done: dict[int, Graph], uses: LayerUses) -> tuple[list[Fold], Graph]:
    found: list[Fold] = []
    result = with_callees(graph, done)
    for listed in list(result.calls()):
        norm = result.node(listed.id)
        layer = _layer_before(result, norm)
        if layer is None:
            continue
        assert norm.target is not None and layer.target is not None
        if not all(uses.once(graph, child) for child in (layer.target.child, norm.target.child)):
            continue
        assert norm.target.child is not None and layer.target.child is not None
        if result is graph or not found:
            result = result.copy()
        eps = norm.target.graph.hyper["eps"]
        assert isinstance(eps, float)
        found.append(Fold(layer.target.child, norm.target.child, eps))
        result.replace_node(
            replace(layer, target=replace(layer.target, graph=_with_bias(layer.target.graph)), spans=layer.spans + norm.spans)
        )
        result.redirect(Value(norm.id), Value(layer.id))
        if norm.name is not None:
            result.set_name(Value(layer.id), norm.name)
        result.remove([result.node(norm.id)])
        result.children.pop(norm.target.child, None)
    return found, result


def _layer_before(graph: Graph, norm: Node) -> Node | None:
    """The layer that a batch norm folds into, or None where it does not fold."""
    if not _is_library(norm, BATCH_NORMS) or norm.target is None or not norm.target.graph.hyper.get("affine", False):
        return None
    layer = graph.node(norm.inputs[0])
    if not _is_library(layer, AXIS_OF_OUTPUT.keys()) or layer.target is None or len(graph.users(layer)) != 1:
        return None
    return None if Value(layer.id) in graph.returned() else layer


def _is_library(node: Node, names: object) -> bool:
    call = node.target
    return call is not None and call.count is None and call.graph.library and call.graph.definition in names  # type: ignore[operator]


def _with_bias(graph: Graph) -> Graph:
    """The graph of the layer with a bias."""
    if "bias" in graph.parameters:
        return graph
    result = graph.copy()
    result.hyper["bias"] = True
    (name,) = result.outputs
    output = result.outputs[name]
    weight = result.parameters["weight"]
    channels = weight.type.shape[0]
    type_ = TensorType(weight.type.dtype, (channels,))
    result.parameters["bias"] = Parameter("bias", type_, Initializer("constant", {"value": 0.0}), True, weight.span)
    builder = Builder(result, weight.type.dtype)
    bias = Value(result.add("param", (), {"path": "bias"}, (type_,), spans=(weight.span,)).id)
    if graph.definition != "Linear":
        bias = builder.build("reshape", (bias,), shape=(channels, *([1] * (weight.type.rank - 2))))
    result.outputs[name] = builder.build("add", (output, bias))
    return result


def _change_weights(weights: dict[str, np.ndarray], prefix: str, fold: Fold) -> None:
    layer, norm = f"{prefix}{fold.layer}.", f"{prefix}{fold.norm}."
    if f"{norm}running_var" not in weights:
        return
    weight = weights[f"{layer}weight"]
    gamma, beta, mean, variance = (
        weights.pop(f"{norm}{name}").astype(np.float64) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + fold.eps)
    bias = weights.get(f"{layer}bias", np.zeros(len(gamma))).astype(np.float64)
    weights[f"{layer}weight"] = (weight * scale.reshape(-1, *([1] * (weight.ndim - 1)))).astype(weight.dtype)
    weights[f"{layer}bias"] = ((bias - mean) * scale + beta).astype(weight.dtype)
