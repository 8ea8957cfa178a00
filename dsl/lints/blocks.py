"""Lints of a `train` block or a definition as a whole: discounts, divergences of what is never drawn, residuals that add nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dsl.diagnostics import Diagnostic
from dsl.ir import Graph
from dsl.lints.facts import operator
from dsl.lints.place import Lint, Place, warning
from dsl.ops.registry import CARDS
from dsl.training import Training


def whole_block(training: Training) -> Iterator[Diagnostic]:
    """What does not show at one node."""
    graphs = list(training.program.entries.values())
    discount = next(((name, training.hyper[name]) for name in ("discount", "gamma") if name in training.hyper), None)
    if discount is not None and training.followers and isinstance(discount[1], int | float) and discount[1] > 1:
        message = f"`{discount[0]}` is {discount[1]:g}: values that are discounted by more than 1 grow without bound"
        yield warning("DL1058", message, graphs[0].span, help="a discount is between 0 and 1, such as 0.99")
    yield from _never_drawn(training, graphs)


def _never_drawn(training: Training, graphs: list[Graph]) -> Iterator[Diagnostic]:
    """A divergence of the distribution of a code that nothing is drawn from."""
    everything = [callee for graph in (*graphs, *([training.draws] if training.draws else [])) for callee in graph.callees()]
    if any(node.op in CARDS and CARDS[node.op].random and node.op != "dropout" for graph in everything for node in graph):
        return
    for graph in graphs:
        for node in graph:
            if operator(node).endswith("normal_kl"):
                message = f"`{operator(node)}` is of a distribution, and nothing is drawn from it: the code is its center alone"
                yield warning(
                    "DL1059", message, node.span, help="draw the code, `normal_sample(center, std)`, or leave the divergence out"
                )


def stopped_sample(place: Place) -> Iterator[Diagnostic]:
    """`stop_gradient(normal_sample(center, std))`: the draw is made so that a gradient passes, and none does."""
    if operator(place.operand(0)) == "normal_sample":
        message = "`normal_sample` passes the gradient to its mean and deviation, and `stop_gradient` ends it here"
        yield warning(
            "DL1059", message, place.span, help="leave the `stop_gradient` out, so that what is drawn trains the encoder as well"
        )


def residuals_without_sum(graphs: Iterable[Graph]) -> Iterator[Diagnostic]:
    """Definitions called a residual that add nothing."""
    seen = {graph.span: graph for top in graphs for graph in top.callees() if not graph.library}
    for span, graph in seen.items():
        if "residual" in graph.definition.lower() and not any(node.op == "add" for node in graph):
            message = f"`{graph.definition}` adds nothing to its input: the skip of the residual is missing"
            yield warning("DL1060", message, span, help="`return x + (x -> ...)`")


LINTS: Mapping[str, tuple[Lint, ...]] = {"stop_gradient": (stopped_sample,)}
