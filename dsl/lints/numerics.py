"""Lints of numbers that become infinite or NaN, or that nothing sensible is computed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod, sqrt

from dsl.diagnostics import Diagnostic, Label
from dsl.ir import Node
from dsl.lints.facts import (
    AFFINE,
    LEARNED,
    MAPS,
    MASK,
    MASKED,
    PROBABILITIES,
    RANDOM_MASK,
    SIGMOID,
    number,
    of_kind,
)
from dsl.lints.place import Lint, Place, warning

LARGE = 20.0
"""How much larger than what a layer is given its results may be at the beginning."""


def log_of_probabilities(place: Place) -> Iterator[Diagnostic]:
    """The logarithm of what a softmax or a sigmoid has rounded to 0."""
    fact = of_kind(place.operands[0], PROBABILITIES, SIGMOID)
    if fact is None or place.operand(0).op in ("maximum", "clip", "minimum", "where") or _adds_a_number(place, 0):
        return
    name, safe = ("softmax", "log_softmax(x)") if fact.kind == PROBABILITIES else ("sigmoid", "log_sigmoid(x)")
    labels = (Label(fact.span, f"the {name}"),) if fact.span != place.span else ()
    message = f"the logarithm of a {name} is infinite where the {name} is rounded to 0"
    help = f"`{safe}` is finite for all x" + (", and log(1 - sigmoid(x)) is `log_sigmoid(-x)`" if name == "sigmoid" else "")
    yield warning("DL1018", message, place.span, labels=labels, help=help)


def log_of_exponentials(place: Place) -> Iterator[Diagnostic]:
    """The logarithm of a sum of exponentials."""
    total = place.operand(0)
    if total.op != "sum" or not _has_exponential(place, place.graph.node(total.inputs[0])):
        return
    message = "the logarithm of a sum of exponentials: these are infinite from 89 on, and all 0 below -104"
    yield warning("DL1018", message, place.span, help="`logsumexp(x, over=axis)` is finite for all x; factors become terms of x")


def _has_exponential(place: Place, node: Node) -> bool:
    if node.op == "exp":
        inner = place.graph.node(node.inputs[0])
        return inner.op != "sub" or not any(place.graph.node(v).op in ("max", "stop_gradient") for v in inner.inputs)
    return node.op == "mul" and any(_has_exponential(place, place.graph.node(v)) for v in node.inputs)


def _adds_a_number(place: Place, index: int) -> bool:
    node = place.operand(index)
    return node.op == "add" and any(number(place.graph, v) is not None for v in node.inputs)


def of_any_sign(place: Place) -> Iterator[Diagnostic]:
    """A logarithm, a root or a deviation of what a linear map gave."""
    index = _DEVIATIONS.get(place.name, 0)
    fact = of_kind(place.operands[index], AFFINE) if index < len(place.operands) else None
    if fact is None or of_kind(place.operands[index], PROBABILITIES, SIGMOID):
        return
    what = "the deviation" if place.name in _DEVIATIONS else f"the `{place.name}`"
    labels = (Label(fact.span, "this is any number"),) if fact.span != place.span else ()
    message = f"{what} of what a linear map gave, which may be negative: the result is NaN there"
    yield warning(
        "DL1019",
        message,
        place.span,
        labels=labels,
        help="make it positive first: `softplus(x)`, `exp(x)`, or a `sigmoid` for a probability",
    )


_DEVIATIONS = {
    "normal_log_prob": 2, "diagonal_normal_log_prob": 2, "normal_sample": 1, "diagonal_normal_sample": 1, "normal_entropy": 0,
    "diagonal_normal_entropy": 0, "normal_kl": 1, "diagonal_normal_kl": 1,
}  # fmt: skip
"""Which argument of a function of the library is a standard deviation."""


def by_nothing(place: Place) -> Iterator[Diagnostic]:
    """A division by a norm or a count that may be 0."""
    divisor = place.operand(1)
    if divisor.op == "norm" and place.node.inputs[0] == divisor.inputs[0]:
        message = "the norm that this is divided by is 0 for a vector of zeros: the result is NaN"
        yield warning(
            "DL1022", message, place.span, help="`normalize(x)`, or divide by `maximum(norm(x, over=-1, keepdims=true), 1e-12)`"
        )
    elif divisor.op == "sum" and _counts(place, divisor):
        message = "the number that this is divided by is 0 where nothing is chosen: the result is NaN"
        yield warning("DL1022", message, place.span, help="divide by `maximum(sum(mask), 1.0)`")


def _counts(place: Place, node: Node) -> bool:
    """Whether a sum counts where something is true that need be true nowhere."""
    inner = place.graph.node(node.inputs[0])
    return inner.op == "cast" and place.graph.type(inner.inputs[0]).dtype.value == "bool"


def root_of_squares(place: Place) -> Iterator[Diagnostic]:
    """The root of a sum of squares, whose slope at 0 is infinite."""
    inside = place.operand(0)
    terms = (
        [place.graph.node(v) for v in inside.inputs]
        if inside.op == "add"
        else [place.graph.node(inside.inputs[0])]
        if inside.op == "sum"
        else []
    )
    if terms and all(_squared(place, term) for term in terms):
        message = "the root of a sum of squares has an infinite slope at 0, so gradients become NaN"
        yield warning(
            "DL1022",
            message,
            place.span,
            help="add a small number inside: `sqrt(x ** 2 + 1e-12)`; `norm(x, over=-1)` has the slope 0 there",
        )


def _squared(place: Place, node: Node) -> bool:
    if node.op == "add":
        return all(_squared(place, place.graph.node(v)) for v in node.inputs)
    if node.op == "pow":
        return number(place.graph, node.inputs[1]) == 2
    return node.op == "mul" and node.inputs[0] == node.inputs[1]


def large_weights(place: Place) -> Iterator[Diagnostic]:
    """A layer whose results are far larger than what it is given, from the beginning."""
    call = place.node.target
    weight = call.graph.parameters.get("weight") if call is not None else None
    if weight is None or weight.initial.kind not in ("normal", "truncated_normal"):
        return
    inputs = prod(d for d in weight.type.shape[1:] if isinstance(d, int))
    std = weight.initial.arguments.get("std", 1.0)
    if std * sqrt(inputs) > LARGE:
        message = f"the weights of `{place.name}` begin very large: a standard deviation of {std:g} for {inputs} inputs"
        help = f"1 / sqrt({inputs}) is {1 / sqrt(inputs):.2g}; `init=kaiming_normal` and its like know the number of inputs"
        yield warning("DL1027", message, place.span, help=help)


def hand_made_dropout(place: Place) -> Iterator[Diagnostic]:
    """A random mask over what layers gave, in training and in inference."""
    for mask, value in ((0, 1), (1, 0)):
        fact = of_kind(place.operands[mask], RANDOM_MASK, MASK)
        drawn = place.operand(mask).op == "bernoulli" or (
            fact is not None and of_kind(place.operands[mask], RANDOM_MASK) is not None
        )
        if drawn and of_kind(place.operands[value], LEARNED) and "training" not in place.span.text:
            message = "a random mask of what layers gave is drawn in inference too: dropout is for training only"
            yield warning(
                "DL1028",
                message,
                place.span,
                help="`dropout(x, rate)` is off in inference; `dropout(x, rate, training=true)` is on in both",
            )
            return


def threshold_of_logits(place: Place) -> Iterator[Diagnostic]:
    """Logits compared with the probability one half."""
    fact = of_kind(place.operands[0], AFFINE)
    if fact is not None and number(place.graph, place.node.inputs[1]) == 0.5:
        message = "logits are compared with 0.5, which is a threshold of probabilities"
        yield warning("DL1036", message, place.span, help="compare the logits with 0, or their `sigmoid` with 0.5")


def norm_of_one_number(place: Place) -> Iterator[Diagnostic]:
    """A norm along an axis of one element, which is 0, or only the sign."""
    shape = place.shape(0)
    over = place.node.target.graph.hyper.get("over", -1) if place.node.target is not None else -1
    if shape and isinstance(over, int) and shape[over % len(shape)] == 1:
        message = f"`{place.name}` of one number forgets it: what is left is 0, 1 or -1"
        yield warning("DL1029", message, place.span, help="put the norm before the layer of width 1, or give another axis")


def mean_of_what_is_hidden(place: Place) -> Iterator[Diagnostic]:
    """A mean over all places, where those that a mask hides are 0."""
    fact = of_kind(place.operands[0], MASKED)
    if fact is not None and not place.node.type.rank:
        labels = (Label(fact.span, "the mask makes these 0"),) if fact.span != place.span else ()
        message = "this mean counts the places that the mask has set to 0: it is the smaller, the more are hidden"
        help = "divide the sum by the number that count: `sum(where(mask, x, 0.0)) / maximum(sum(cast(mask, float)), 1.0)`"
        yield warning("DL1039", message, place.span, labels=labels, help=help)


def layer_of_a_constant(place: Place) -> Iterator[Diagnostic]:
    """A network that is given the same numbers for all examples."""
    call = place.node.target
    if call is None or place.node.op != "call" or place.caller is not None or not place.node.inputs:
        return
    given = place.operand(0)
    if (
        given.op == "full"
        and given.type.rank > 1
        and given.type.dtype.is_float
        and all(place.operand(i).op == "full" for i in range(len(place.node.inputs)))
    ):
        message = f"`{call.child}` is given a constant: it says the same for all examples"
        labels = (Label(given.span, "the same number everywhere"),)
        yield warning(
            "DL1038", message, place.span, labels=labels, help="noise is `randn(B, D)`; what is learned from nothing is a `param`"
        )


ALWAYS: tuple[Lint, ...] = (layer_of_a_constant,)
"""Lints of every node that applies a layer."""

LINTS: Mapping[str, tuple[Lint, ...]] = {
    "log": (log_of_probabilities, log_of_exponentials, of_any_sign),
    "log1p": (log_of_probabilities,),
    "sqrt": (of_any_sign, root_of_squares),
    **dict.fromkeys(_DEVIATIONS, (of_any_sign,)),
    "div": (by_nothing,),
    **dict.fromkeys(MAPS, (large_weights,)),
    "mul": (hand_made_dropout,),
    "mean": (mean_of_what_is_hidden,),
    **dict.fromkeys(("LayerNorm", "RMSNorm", "normalize"), (norm_of_one_number,)),
    **dict.fromkeys(("gt", "lt", "ge", "le"), (threshold_of_logits,)),
}
