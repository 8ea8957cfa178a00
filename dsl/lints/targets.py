"""Lints of what a block compares, adds up and reports: targets that follow the gradient, predictions that nothing is trained for, terms
that are reported and not minimised, sums against means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dsl.diagnostics import Diagnostic, Label
from dsl.ir import Graph, Node, Value
from dsl.lints.facts import AFFINE, CAST_LABELS, of_kind, operator
from dsl.lints.place import Lint, Place, warning
from dsl.training import Objective, Training

COMPARED = frozenset({"mse", "mae", "huber", "smooth_l1", "kl_div", "bce", "bce_with_logits", "soft_cross_entropy", "focal_loss"})
"""Functions of the library of a prediction and a target, in this order."""


def compared(training: Training) -> Iterator[Diagnostic]:
    """What is wrong with what the losses of a block compare."""
    for objective in training.objectives:
        graph = training.program.entries[objective.entry]
        walk = _Walk(frozenset(name.split(".")[0] for name in objective.parameters))
        walk.graph(graph, (False,) * len(graph.inputs))
        yield from walk.found
        yield from _only_reported(graph, objective)


class _Walk:
    """Follows which values have a gradient to what the objective trains, and looks at each comparison."""

    def __init__(self, trained: frozenset[str]) -> None:
        self.trained = trained
        self.found: list[Diagnostic] = []

    def graph(self, graph: Graph, given: tuple[bool, ...]) -> list[bool]:
        known: dict[Value, bool] = dict(zip(graph.inputs.values(), given, strict=False))
        for node in graph:
            if node.op == "input":
                continue
            operands = [known.get(value, False) for value in node.inputs]
            if operator(node) in COMPARED and len(operands) > 1:
                self._compare(graph, node, operands)
            flags = self._results(node, operands)
            for i, type_ in enumerate(node.types):
                known[Value(node.id, i)] = flags[min(i, len(flags) - 1)] and type_.dtype.is_float
        return [known.get(value, False) for value in graph.outputs.values()]

    def _results(self, node: Node, operands: list[bool]) -> list[bool]:
        if node.op == "stop_gradient":
            return [False]
        if node.op == "param":
            return [str(node.attributes["path"]).split(".")[0] in self.trained]
        if node.op == "call" and node.target is not None and node.target.child is None and not node.target.graph.library:
            return self.graph(node.target.graph, tuple(operands)) or [False]
        child = node.target.child if node.target is not None else None
        return [any(operands) or (child is not None and child.split(".")[0] in self.trained)]

    def _compare(self, graph: Graph, node: Node, operands: list[bool]) -> None:
        name = operator(node)
        prediction, target = operands[:2]
        if target and not prediction and not _constant(graph, node.inputs[0]):
            message = (
                f"`{name}` takes the prediction first, then the target: no gradient reaches the first, and one reaches the second"
            )
            self.found.append(warning("DL1051", message, node.span, help="are the two swapped?"))
        elif target:
            message = f"the target of `{name}` follows the gradient as well, and may come down to the prediction"
            labels = (Label(graph.node(node.inputs[1]).span, "the target"),)
            self.found.append(
                warning("DL1052", message, node.span, labels=labels, help="take it as given: `stop_gradient(target)`")
            )


def _constant(graph: Graph, value: Value) -> bool:
    return all(graph.node(i).op != "input" for i in graph.ancestors(value))


def _only_reported(graph: Graph, objective: Objective) -> Iterator[Diagnostic]:
    """Divergences that go into a metric and into no loss; a perplexity of another base than its loss."""
    loss, *metrics = graph.outputs.values()
    minimised = graph.ancestors(loss)
    for value in metrics:
        for node in (graph.node(i) for i in sorted(graph.ancestors(value) - minimised)):
            if operator(node).endswith("_kl") or operator(node) == "kl_div":
                message = f"`{operator(node)}` is reported and not minimised: `{objective.name}` does not depend on it"
                yield warning("DL1053", message, node.span, help="add it to the loss, or leave it out")
            if node.op == "pow" and _is_two(graph, node.inputs[0]) and operator(graph.node(node.inputs[1])) in _IN_NATS:
                help = "a perplexity is `exp(loss)`; `loss / log(2.0)` is in bits"
                yield warning(
                    "DL1054", "a cross entropy is in nats, with the base e: this power has the base 2", node.span, help=help
                )


_IN_NATS = frozenset({"cross_entropy", "nll", "token_cross_entropy"})


def _is_two(graph: Graph, value: Value) -> bool:
    constant = graph.node(value).attributes.get("value")
    return isinstance(constant, np.ndarray) and constant.ndim == 0 and float(constant) == 2


# --- at one node ----------------------------------------------------------------------------------------------------------------------


def mean_against_sum(place: Place) -> Iterator[Diagnostic]:
    """A log-likelihood that is a mean over the numbers of an example, beside a divergence that is a sum."""
    nodes = [place.operand(0), place.operand(1)]
    for mean, other in (nodes, nodes[::-1]):
        if mean.op != "mean" or not operator(other).endswith("_kl"):
            continue
        over, inner = mean.attributes["over"], place.graph.node(mean.inputs[0])
        sizes = place.graph.type(mean.inputs[0]).shape
        apart = isinstance(over, tuple) and not any(isinstance(axis, int) and place.is_batch(sizes[axis]) for axis in over)
        if apart and operator(inner).endswith("_log_prob"):
            message = f"`{operator(inner)}` is a mean over the numbers of an example, `{operator(other)}` a sum: they do not weigh alike"
            yield warning("DL1055", message, mean.span, help="the log-likelihood of an example is the sum over its numbers")


def variance_for_deviation(place: Place) -> Iterator[Diagnostic]:
    """`std = exp(log_var)`."""
    value = place.node.inputs[0]
    node = place.graph.node(value)
    given = (node.names[value.index] if node.names else node.name) or ""
    if place.node.name in ("std", "sigma", "stddev", "deviation") and given.replace("_", "") in ("logvar", "logvariance"):
        message = f"`{place.node.name}` is the exponential of `{given}`: that is the variance, not the deviation"
        yield warning("DL1056", message, place.span, help=f"`exp(0.5 * {given})`")


def difference_to_labels(place: Place) -> Iterator[Diagnostic]:
    """Scores from which the number of a class is subtracted."""
    a, b = place.operands
    for scores, labels in ((a, b), (b, a)):
        fact = of_kind(labels, CAST_LABELS)
        if fact is not None and of_kind(scores, AFFINE):
            message = "the number of a class is subtracted from scores, as if it were a quantity"
            help = "use `cross_entropy(scores, label)`, or `one_hot` of the labels; declare the input `float` if it is a quantity"
            yield warning("DL1015", message, place.span, labels=(Label(fact.span, "class numbers"),), help=help)


def the_same_twice(place: Place) -> Iterator[Diagnostic]:
    """A function of the spec that is given one value for two of its arguments."""
    assert place.node.target is not None
    callee, given = place.node.target.graph, place.node.inputs
    if callee.kind != "fn" or callee.library:
        return
    names = list(callee.inputs)
    for i in range(len(given)):
        for j in range(i + 1, min(len(given), len(names))):
            if given[i] != given[j] and _key(place.graph, given[i]) == _key(place.graph, given[j]):
                message = f"`{callee.definition}` is given the same for `{names[i]}` and `{names[j]}`"
                yield warning(
                    "DL1057", message, place.span, help="the two are computed alike from the same: is one of them another?"
                )


def _key(graph: Graph, value: Value, depth: int = 6) -> object:
    """What a value is computed by and from: equal for two that are computed alike."""
    node = graph.node(value)
    if depth == 0 or node.target is None or not node.inputs:
        return value
    return id(node.target.graph), node.target.child, value.index, tuple(_key(graph, v, depth - 1) for v in node.inputs)


LINTS: Mapping[str, tuple[Lint, ...]] = {
    "sub": (mean_against_sum, difference_to_labels),
    "add": (mean_against_sum,),
    "exp": (variance_for_deviation,),
    "call": (the_same_twice,),
}
