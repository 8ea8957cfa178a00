"""What is known of the values of a tensor beyond its type: that they are probabilities, or what a linear layer gave.

A `Fact` is made by one operation and passed on by those that keep it true. Whoever reads a value may look at its facts; where there is
none, nothing is known, and no lint speaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from dsl.ir import Graph, Node, Value
from dsl.source import NOWHERE, Span
from dsl.types import DType

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
LIKELY = "likely"
"""A sum with a term that is to be large."""
UNLIKELY = "unlikely"
"""A sum with the negative of such a term."""
SUMMED = "summed"
"""A sum over the examples, not divided by their number."""
HIDDEN = "hidden"
"""Scores, or weights made of them, that are next to nothing where a mask hides them."""
RANDOM_MASK = "random mask"
"""True where a draw says so."""
DROPPED = "dropped"
BOUNDED = "bounded"
NORMED = "normed"
LEARNED = "learned"
"""What follows the gradient into parameters."""
SYMMETRIC = "symmetric"
"""The units of a layer whose weights begin as one constant."""
BATCH_STATISTIC = "batch statistic"
"""What was reduced over the examples."""
DRAWN = "drawn"
"""Drawn at random, without an axis of the examples."""
MASK = "mask"
MASKED = "masked"
"""Scores that are 0 where a mask hides them."""


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
    """The fact of one of these kinds, the first kind that there is; of several facts the one that stands first in the text."""
    for kind in kinds:
        found = [f for f in facts if f.kind == kind]
        if found:
            return min(found, key=_place) if len(found) > 1 else found[0]
    return None


def one_of_each_kind(facts: Facts) -> Facts:
    """Facts without those of a kind that another one is of: a sum of a thousand terms is a sum of one kind."""
    kinds = {f.kind for f in facts}
    return facts if len(kinds) == len(facts) else frozenset(f for kind in kinds if (f := of_kind(facts, kind)) is not None)


def _place(fact: Fact) -> tuple[str, int]:
    return fact.span.source.name, fact.span.start


def written(node: Node) -> Span:
    """Where the spec asks for a node, outside of the library."""
    return next((span for span in node.spans if not span.source.name.startswith("dsl/lib/")), node.span)


def operator(node: Node) -> str:
    """What a node applies: a primitive, or a function or module of the library by its name; `call` for a definition of the spec."""
    if node.target is None or not node.target.graph.library:
        return node.op
    return node.target.graph.definition if node.op == "call" else node.op


MAPS = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"})
"""The layers of the library that are linear maps with a bias."""

LOSSES = frozenset(
    {
        "cross_entropy", "nll", "token_cross_entropy", "soft_cross_entropy", "bce", "bce_with_logits", "mse", "mae", "huber",
        "smooth_l1", "hinge", "kl_div", "focal_loss", "triplet", "contrastive", "margin_ranking", "cosine_embedding",
    }
)  # fmt: skip
"""Functions of the library whose result is to be small."""

GAINS = frozenset({"elbo", "score_function"})
"""Functions of the library whose result is to be large, beside those called `..._log_prob`."""

_KEEP = frozenset({"stop_gradient", "slice", "flip", "roll", "tile", "expand", "split", "reshape", "permute", "gather", "take"})
"""Primitives that put the values of their first operand elsewhere, and change none."""

_SIGNS = {LOSS: GAIN, GAIN: LOSS, LIKELY: UNLIKELY, UNLIKELY: LIKELY, SUMMED: SUMMED}
_CLASSES = frozenset({"cross_entropy", "nll", "soft_cross_entropy", "bce", "bce_with_logits", "focal_loss"})
_SAME_SIGN = frozenset({"mean", "sum", "reduced", "sqrt"})
_POINTWISE = {"sigmoid": SIGMOID, "relu": RECTIFIED, "relu6": RECTIFIED, "tanh": BOUNDED}
BATCH_NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"})
NORMS = BATCH_NORMS | {"LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm", "normalize"}
_FLAT = frozenset(
    {"stop_gradient", "argmax", "argmin", "round", "floor", "ceil", "sign", "one_hot", "full", "const", "input", "buffer"}
)
_ELEMENTWISE = frozenset(
    {"relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "elu", "leaky_relu", "softplus", "add", "dropout"}
)


def results(graph: Graph, node: Node, given: tuple[Facts, ...]) -> Facts:
    """The facts of the results of a node, from those of its operands."""
    name = operator(node)
    found = _made(name, graph, node, given) | _passed_on(name, graph, node, given)
    if name in _ELEMENTWISE:
        found |= frozenset(f for g in given for f in _only(g, SYMMETRIC))
    if (
        node.type.dtype.is_float
        and name not in _FLAT
        and (node.op == "param" or _learns(node) or any(_HAS_LEARNED & g for g in given))
    ):
        found |= _HAS_LEARNED
    return found


_HAS_LEARNED: Facts = frozenset({Fact(LEARNED, NOWHERE)})


REDUCTIONS = frozenset({"mean", "sum", "norm", "var", "max", "min", "logsumexp", "prod", "argmax", "argmin"})
NAMED_AXIS = re.compile(r"over=\[?[A-Z]")
"""A reduction over an axis that is named is meant as it is written."""
_DRAWS = frozenset({"randn", "rand", "bernoulli"})


def of_examples(graph: Graph, node: Node, given: tuple[Facts, ...], batch: frozenset[str]) -> Facts:
    """What holds of the results for the axis of the examples, which is called one of `batch`."""
    if any(str(d) in batch for d in node.type.shape):
        return NONE
    if node.op == "sum" and not node.type.rank and of_kind(given[0], LEARNED):
        shape = graph.type(node.inputs[0]).shape
        return frozenset({Fact(SUMMED, written(node))}) if any(str(d) in batch for d in shape) else NONE
    if node.op in REDUCTIONS and graph.type(node.inputs[0]).rank > 1:
        over = node.attributes.get("over")
        axes = over if isinstance(over, tuple) else (over,)
        shape = graph.type(node.inputs[0]).shape
        gone = any(isinstance(a, int) and str(shape[a]) in batch for a in axes)
        if gone and len(axes) < len(shape) and not NAMED_AXIS.search(written(node).text):
            return frozenset({Fact(BATCH_STATISTIC, written(node))})
    if node.op in _DRAWS:
        return frozenset({Fact(DRAWN, written(node))}) if node.type.rank else NONE
    kept = {BATCH_STATISTIC, *(() if any(_HAS_LEARNED & g for g in given) else (DRAWN,))}
    return frozenset(f for g in given for f in g if f.kind in kept) if node.op != "if_training" else NONE


def _learns(node: Node) -> bool:
    return node.target is not None and node.target.child is not None


def _passed_on(name: str, graph: Graph, node: Node, given: tuple[Facts, ...]) -> Facts:
    """The facts of operands that hold of the results as well."""
    if name in _KEEP and given:
        return frozenset(moved for f in given[0] if (moved := _moved(f, name, node)) is not None)
    match name:
        case "cast":
            return _cast(node, given[0])
        case "where":
            return _common(given[1:]) | _masked(graph, node)
        case "concat" | "stack" | "if_training":
            return _common(given)
        case "log":
            return _renamed(given[0], {PROBABILITIES: LOG_PROBABILITIES, SIGMOID: LOG_PROBABILITIES})
        case "exp":
            return _renamed(given[0], {LOG_PROBABILITIES: PROBABILITIES, LOSS: LOSS, HIDDEN: HIDDEN})
        case "clip" | "maximum" | "minimum":
            return frozenset(f for g in given for f in _only(g, PROBABILITIES, SIGMOID))
        case "neg":
            return _renamed(given[0], _SIGNS) | _only(given[0], SIGMOID)
        case "add" | "sub" | "mul" | "div":
            return _arithmetic(name, graph, node, given)
        case "dropout" | "max_pool" | "avg_pool":
            return _only(given[0], AFFINE, SOLE, SYMMETRIC) if name == "dropout" else _only(given[0], SOLE)
    if name in BATCH_NORMS:
        return _only(given[0], AFFINE, SOLE)
    if name in ("softmax", "exp", "logical_and"):
        return frozenset(f for g in given for f in _only(g, HIDDEN, RANDOM_MASK))
    return (
        _only(given[0], *(_SIGNS if name != "mean" else (LOSS, GAIN, LIKELY, UNLIKELY))) if name in _SAME_SIGN and given else NONE
    )


def _common(given: tuple[Facts, ...]) -> Facts:
    """What holds of all of several values."""
    return frozenset(f for f in given[0] if f.kind != LEARNED and all(of_kind(g, f.kind) for g in given[1:])) if given else NONE


def _masked(graph: Graph, node: Node) -> Facts:
    """`where(mask, scores, 0)`, and `where(mask, scores, -1e30)`."""
    other = number(graph, node.inputs[2]) if len(node.inputs) == 3 else None
    if other is None or (other and other > -1000):
        return NONE
    return frozenset({Fact(HIDDEN if other else MASKED, written(node))})


def _made(name: str, graph: Graph, node: Node, given: tuple[Facts, ...]) -> Facts:
    """The facts that a node makes true by itself."""
    if name in MAPS or (name == "matmul" and _is_parameter(graph, node.inputs[1])):
        return frozenset(_of_map(name, graph, node))
    kind: str | None = None
    if name in _POINTWISE:
        kind = _POINTWISE[name]
    elif name in ("softmax", "masked_softmax", "log_softmax"):
        made = Fact(LOG_PROBABILITIES if name == "log_softmax" else PROBABILITIES, written(node), axis_of(node))
        return frozenset({made, Fact(HIDDEN, written(node))} if name == "masked_softmax" else {made})
    elif name in _CLASSES and node.target is not None and node.target.graph.hyper.get("reduction") == "sum":
        return frozenset(Fact(kind, written(node)) for kind in (LOSS, SUMMED))
    elif name in LOSSES or (name.endswith("_kl") and node.op == "call"):
        kind = LOSS
    elif name in GAINS or (name.endswith("_log_prob") and node.op == "call"):
        return likelihood(node) if not of_kind(given[-1], LOSS) else NONE
    elif name in NORMS:
        kind = NORMED
    elif name == "dropout":
        kind = DROPPED
    elif name == "div":
        divided = _hand_written_softmax(graph, node)
        return frozenset({divided}) if divided is not None else NONE
    elif name in _COMPARISONS:
        drawn = any(graph.node(v).op == "rand" for v in node.inputs)
        kind = RANDOM_MASK if drawn else None
    elif name == "cast" and graph.type(node.inputs[0]).dtype is DType.BOOL:
        kind = MASK
    elif name == "mul" and any(of_kind(g, MASK) for g in given):
        kind = MASKED
    return frozenset({Fact(kind, written(node))}) if kind is not None else NONE


_COMPARISONS = frozenset({"lt", "le", "gt", "ge"})


def likelihood(node: Node) -> Facts:
    """The facts of what is to be large, such as the logarithm of a probability of the data."""
    return frozenset(Fact(kind, written(node)) for kind in (GAIN, LIKELY))


def _of_map(name: str, graph: Graph, node: Node) -> Iterator[Fact]:
    width = graph.type(node.inputs[0]).shape[1 if name.startswith("Conv") else -1]
    fact = Fact(AFFINE, written(node), width=width if isinstance(width, int) else None)
    yield fact
    yield fact._replace(kind=SOLE)
    if node.target is None:
        return
    weight = node.target.graph.parameters.get("weight")
    if weight is not None and weight.initial.kind == "constant":
        yield fact._replace(kind=SYMMETRIC)


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
    return Fact(PROBABILITIES, written(node), axis)


def _moved(fact: Fact, name: str, node: Node) -> Fact | None:
    """A fact of what the node took apart or put elsewhere."""
    if fact.kind in (LEARNED, MASK):
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
    kept = frozenset(f for f in given if f.kind not in (LABELS, LEARNED))
    return kept | {Fact(CAST_LABELS, written(node))} if of_kind(given, LABELS) else kept


def _arithmetic(name: str, graph: Graph, node: Node, given: tuple[Facts, ...]) -> Facts:
    """Sums and multiples of losses are losses; a linear map with a parameter added is one."""
    a, b = given
    if name == "div":
        divisor = number(graph, node.inputs[1])
        return _divided(_signed(a, positive=divisor is None or divisor > 0))
    if name == "mul":
        for facts, other, value in ((a, b, node.inputs[1]), (b, a, node.inputs[0])):
            factor = number(graph, value)
            if factor is not None or of_kind(other, MASK):
                return _divided(_signed(facts, positive=factor is None or factor > 0))
        return NONE
    if name == "add":
        for facts, added in ((a, node.inputs[1]), (b, node.inputs[0])):
            if _is_parameter(graph, added) and of_kind(facts, AFFINE):
                return _only(facts, AFFINE, SOLE)
    second = _signed(b, positive=name == "add")
    if number(graph, node.inputs[1]) is not None:
        return _signed(a, positive=True) | _only(a, SIGMOID)
    if number(graph, node.inputs[0]) is not None:
        return second | (_only(b, SIGMOID) if name == "sub" else NONE)
    both = frozenset(f for f in _only(a, LOSS, GAIN) if of_kind(second, f.kind))
    return both | _only(a, LIKELY, UNLIKELY, SUMMED) | _only(second, LIKELY, UNLIKELY, SUMMED)


def _divided(facts: Facts) -> Facts:
    return frozenset(f for f in facts if f.kind != SUMMED)


def _signed(facts: Facts, *, positive: bool) -> Facts:
    return _only(facts, *_SIGNS) if positive else _renamed(facts, _SIGNS)


def number(graph: Graph, value: Value) -> float | None:
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
