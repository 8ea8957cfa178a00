"""What is known of the losses of the library: which operand is the prediction, which the target, what a network that knows nothing gets.

A loss at initialisation is compared with the value for a prediction that favours nothing: the same number for every class, even odds, or
the mean of the targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsl.ir import Graph

Given = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Known:
    """`kind` is "classes", "margin" (of classes), "binary" or "numbers"; `sign` is -1 where the function is a log-probability, which is
    maximised."""

    prediction: str
    target: str
    kind: str
    sign: float = 1.0


LOSSES: Mapping[str, Known] = {
    "cross_entropy": Known("logits", "target", "classes"),
    "nll": Known("log_probs", "target", "classes"),
    "soft_cross_entropy": Known("logits", "target", "classes"),
    "categorical_log_prob": Known("logits", "x", "classes", -1.0),
    "hinge": Known("scores", "target", "margin"),
    "bce": Known("prediction", "target", "binary"),
    "bce_with_logits": Known("logits", "target", "binary"),
    "bernoulli_log_prob": Known("logits", "x", "binary", -1.0),
    "mse": Known("prediction", "target", "numbers"),
    "mae": Known("prediction", "target", "numbers"),
    "huber": Known("prediction", "target", "numbers"),
    "smooth_l1": Known("prediction", "target", "numbers"),
}

Compute = Callable[[Graph, Given], float]
"""The mean value of a loss for what it is given."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What a prediction that favours nothing gets, in symbols as well, and the least that a prediction without the input can get."""

    value: float
    formula: str
    least: float


def each(graph: Graph, given: Given, value: np.ndarray) -> float:
    """The loss of one element: a mean as it is, a sum divided by how many elements there are."""
    known = LOSSES[graph.definition]
    total = known.sign * float(np.mean(value))
    if graph.hyper.get("reduction") != "sum":
        return total
    target, prediction = given[known.target], given[known.prediction]
    whole = known.kind in ("classes", "margin") and target.ndim == prediction.ndim
    return total / max(1, target.size // (prediction.shape[-1] if whole else 1))


def class_count(graph: Graph, given: Given) -> int:
    """How many classes a loss chooses among."""
    over = graph.hyper.get("over", -1)
    return int(given[LOSSES[graph.definition].prediction].shape[over if isinstance(over, int) else -1])


def chance(graph: Graph, given: Given, compute: Compute) -> Chance:
    """The value of a loss of the library at chance."""
    known = LOSSES[graph.definition]
    target = given[known.target]
    match known.kind:
        case "classes":
            n = class_count(graph, given)
            return Chance(math.log(n), f"ln {n}", min(math.log(n), _entropy(target)))
        case "margin":
            margin = graph.hyper.get("margin", 1.0)
            most = (class_count(graph, given) - 1) * (margin if isinstance(margin, float | int) else 1.0)
            return Chance(most, "margin x (classes - 1)", 0.0)
        case "binary":
            even = compute(graph, {**given, known.prediction: _even(graph, given[known.prediction])})
            weighted = not math.isclose(even, math.log(2), rel_tol=1e-6)
            return Chance(even, "ln 2, weighted" if weighted else "ln 2", 0.0)
        case _:
            flat = np.full_like(given[known.prediction], float(np.mean(target)))
            formula = "the variance of the target" if graph.definition == "mse" else "the loss of the mean of the target"
            value = compute(graph, {**given, known.prediction: flat})
            return Chance(value, formula, value)


def reaches_zero(graph: Graph, given: Given) -> bool:
    """Whether a perfect prediction has the loss 0: the targets are certain, and nothing smooths them."""
    known = LOSSES[graph.definition]
    target = given[known.target]
    if known.kind == "classes":
        certain = target.dtype.kind != "f" or bool(np.all((target == 0) | (target == 1)))
        return certain and graph.hyper.get("label_smoothing", 0.0) == 0.0
    return known.kind != "binary" or bool(np.all((target == 0) | (target == 1)))


def _even(graph: Graph, prediction: np.ndarray) -> np.ndarray:
    return np.full_like(prediction, 0.5 if graph.definition == "bce" else 0.0)


def _entropy(target: np.ndarray) -> float:
    """The entropy of how often each label occurs, in nats."""
    if target.dtype.kind == "f":
        return math.inf
    _, counts = np.unique(target, return_counts=True)
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
