"""What is known of the values of a tensor beyond its type: that they are probabilities, or what a linear layer gave.

A `Fact` is made by one operation and passed on by those that keep it true. Whoever reads a value may look at its facts; where there is
none, nothing is known, and no lint speaks.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from dsl.ir import Graph, Node, Value
from dsl.source import Span

PROBABILITIES = "probabilities"
LOG_PROBABILITIES = "log-probabilities"
SIGMOID = "sigmoid"
RECTIFIED = "rectified"
AFFINE = "affine"
SOLE = "sole"
"""An affine value that has one reader: what is computed from it is computed from nothing else of that layer."""
LABELS = "labels"
CAST_LABELS = "cast labels"
LOSS = "loss"
GAIN = "gain"
DROPPED = "dropped"
BIASED = "biased"
"""What a layer with a bias gave, with one reader."""


class Fact(NamedTuple):
    """What holds of a value: its kind, the axis that it is about, if any, the place that made it so, and for what a layer gave the
    width of what the layer was given."""

    kind: str
    span: Span
    axis: int | None = None
    width: int | None = None


Facts: TypeAlias = frozenset[Fact]
NONE: Facts = frozenset()


def of_kind(facts: Facts, *kinds: str) -> Fact | None:
    """The fact of one of these kinds, the first kind that there is."""
    return next((f for kind in kinds for f in facts if f.kind == kind), None)


def operator(node: Node) -> str:
    """What a node applies: a primitive, or a function or module of the library by its name; `call` for a definition of the spec."""
    if node.target is None or not node.target.graph.library:
        return node.op
    return node.target.graph.definition if node.op == "call" else node.op


MAPS = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d"})
"""The layers of the library that are linear maps with a bias."""

LOSSES = frozenset(
    {
        "cross_entropy", "nll", "token_cross_entropy", "soft_cross_entropy", "bce", "bce_with_logits", "mse", "mae", "huber",
        "smooth_l1", "hinge", "kl_div", "focal_loss", "triplet", "contrastive", "margin_ranking", "cosine_embedding",
    }
)  # fmt: skip
"""Functions of the library whose result is to be small."""

GAINS = frozenset({"elbo"})
"""Functions of the library whose result is to be large, beside those called `..._log_prob`."""

_KEEP = frozenset({"stop_gradient", "slice", "flip", "roll", "tile", "expand", "split", "reshape", "permute", "gather", "take"})
"""Primitives that put the values of their first operand elsewhere, and change none."""

_SAME_SIGN = frozenset({"mean", "sum", "reduced", "sqrt"})
_POINTWISE = {"sigmoid": SIGMOID, "relu": RECTIFIED, "relu6": RECTIFIED}


def results(graph: Graph, node: Node, given: tuple[Facts, ...]) -> Facts:
    """The facts of the results of a node, from those of its operands."""
    name = operator(node)
    made = _made(name, graph, node, given)
    if made is not None:
        return frozenset({made})
    if name in _KEEP and given:
        return frozenset(moved for f in given[0] if (moved := _moved(f, name, node)) is not None)
    match name:
        case "cast":
            return _cast(node, given[0])
        case "concat" | "stack" | "where" | "if_training":
            values = given[1:] if name == "where" else given
            return frozenset(f for f in values[0] if all(of_kind(g, f.kind) for g in values[1:])) if values else NONE
        case "log":
            return _renamed(given[0], {PROBABILITIES: LOG_PROBABILITIES, SIGMOID: LOG_PROBABILITIES})
        case "exp":
            return _renamed(given[0], {LOG_PROBABILITIES: PROBABILITIES, LOSS: LOSS})
        case "clip":
            return _only(given[0], PROBABILITIES, SIGMOID)
        case "maximum" | "minimum":
            return frozenset().union(*(_only(g, PROBABILITIES, SIGMOID) for g in given))
        case "neg":
            return _renamed(given[0], {LOSS: GAIN, GAIN: LOSS})
        case "add" | "sub" | "mul" | "div":
            return _arithmetic(name, graph, node, given)
    return _only(given[0], LOSS, GAIN) if name in _SAME_SIGN and given else NONE


def _made(name: str, graph: Graph, node: Node, given: tuple[Facts, ...]) -> Fact | None:
    """The fact that a node makes true by itself."""
    if name in _POINTWISE:
        return Fact(_POINTWISE[name], node.span)
    if name in ("softmax", "log_softmax"):
        return Fact(PROBABILITIES if name == "softmax" else LOG_PROBABILITIES, node.span, axis_of(node))
    if name in LOSSES:
        return Fact(LOSS, node.span)
    if name in GAINS or (name.endswith("_log_prob") and node.op == "call"):
        return Fact(GAIN, node.span)
    if name in MAPS or (name == "matmul" and _is_parameter(graph, node.inputs[1])):
        width = graph.type(node.inputs[0]).shape[1 if name.startswith("Conv") else -1]
        return Fact(AFFINE, node.span, width=width if isinstance(width, int) else None)
    if name == "dropout":
        return Fact(DROPPED, node.span)
    return _hand_written_softmax(graph, node) if name == "div" else None


def axis_of(node: Node) -> int | None:
    """The axis that a function of the library works along: its static argument `over`, counted from the front."""
    over = node.target.graph.hyper.get("over") if node.target is not None else None
    return over % node.types[0].rank if isinstance(over, int) and node.types[0].rank else None


def _hand_written_softmax(graph: Graph, node: Node) -> Fact | None:
    """`e / sum(e, over=axis, keepdims=true)` where e is an exponential."""
    above, below = graph.node(node.inputs[0]), graph.node(node.inputs[1])
    if above.op != "exp" or below.op != "sum" or below.inputs[0] != node.inputs[0]:
        return None
    over = below.attributes["over"]
    axis = over[0] if isinstance(over, tuple) and len(over) == 1 and isinstance(over[0], int) else None
    return Fact(PROBABILITIES, node.span, axis)


def _moved(fact: Fact, name: str, node: Node) -> Fact | None:
    """A fact of what the node took apart or put elsewhere."""
    if fact.kind in (BIASED, DROPPED):
        return None
    if fact.axis is None:
        return fact
    order = node.attributes.get("order")
    if name == "permute" and isinstance(order, tuple):
        return fact._replace(axis=order.index(fact.axis))
    return fact if name in ("stop_gradient", "slice", "flip") else fact._replace(axis=None)


def _cast(node: Node, given: Facts) -> Facts:
    if not node.type.dtype.is_float:
        return _only(given, LABELS) if node.type.dtype.is_int else NONE
    labels = of_kind(given, LABELS)
    return given if labels is None else frozenset({Fact(CAST_LABELS, node.span)})


def _arithmetic(name: str, graph: Graph, node: Node, given: tuple[Facts, ...]) -> Facts:
    """Sums and multiples of losses are losses; a linear map with a parameter added is one."""
    a, b = given
    if name in ("mul", "div"):
        value, facts = next(
            ((v, f) for v, f in zip(node.inputs, reversed(given), strict=True) if _number(graph, v)), (None, NONE)
        )
        if value is None or (name == "div" and value != node.inputs[1]):
            return NONE
        return _signed(facts, positive=(_number(graph, value) or 0) > 0)
    if name == "add":
        for facts, other in ((a, node.inputs[1]), (b, node.inputs[0])):
            if _is_parameter(graph, other) and of_kind(facts, AFFINE):
                return _only(facts, AFFINE)
    second = _signed(b, positive=name == "add")
    if _number(graph, node.inputs[1]) is not None:
        return _signed(a, positive=True)
    if _number(graph, node.inputs[0]) is not None:
        return second
    return frozenset(f for f in _only(a, LOSS, GAIN) if of_kind(second, f.kind))


def _signed(facts: Facts, *, positive: bool) -> Facts:
    return _only(facts, LOSS, GAIN) if positive else _renamed(facts, {LOSS: GAIN, GAIN: LOSS})


def _number(graph: Graph, value: Value) -> float | None:
    """The number that a value is, where it is a constant of no axes."""
    node = graph.node(value)
    constant = node.attributes.get("value")
    if node.op != "const" or not isinstance(constant, np.ndarray) or constant.ndim:
        return None
    return float(constant)


def _is_parameter(graph: Graph, value: Value) -> bool:
    node = graph.node(value)
    while node.op in ("permute", "reshape"):
        node = graph.node(node.inputs[0])
    return node.op == "param"


def _renamed(facts: Facts, names: dict[str, str]) -> Facts:
    return frozenset(f._replace(kind=names[f.kind]) for f in facts if f.kind in names)


def _only(facts: Facts, *kinds: str) -> Facts:
    return frozenset(f for f in facts if f.kind in kinds)
