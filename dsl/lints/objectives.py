"""Lints of what a `train` block minimises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl.diagnostics import Diagnostic, Label
from dsl.ir import Graph, Value
from dsl.lints.facts import AFFINE, DROPPED, GAIN, LIKELY, LOSS, NONE, NORMED, SUMMED, UNLIKELY, Facts, of_kind
from dsl.lints.place import warning
from dsl.training import Objective, Training


def summed(objective: Objective, graph: Graph, known: Mapping[Value, Facts]) -> Iterator[Diagnostic]:
    """A classification whose loss grows with the batch."""
    fact = of_kind(known[next(iter(graph.outputs.values()))], SUMMED)
    if fact is not None:
        message = f"`{objective.name}` is a sum over the examples: its gradient, and so each step, grows with the batch"
        labels = (Label(fact.span, "summed here"),)
        help = "leave `reduction` out for the mean, or divide by the number of examples"
        yield warning("DL1008", message, objective.span, labels=labels, help=help)


def outputs(graph: Graph, known: Mapping[Value, Facts]) -> Iterator[Diagnostic]:
    """Results of a model that dropout or a norm has changed last."""
    for name, value in graph.outputs.items():
        facts = known.get(value, NONE)
        dropped, normed = of_kind(facts, DROPPED), of_kind(facts, NORMED)
        if dropped is not None and of_kind(facts, AFFINE):
            message = (
                f"the result `{name}` of `{graph.definition}` has dropout as its last step, which drops the output in training"
            )
            yield warning("DL1016", message, dropped.span, help="put the dropout before the last layer")
        elif normed is not None and name in ("logits", "scores"):
            message = f"the result `{name}` of `{graph.definition}` has a norm as its last step: all logits are on one scale"
            yield warning("DL1017", message, normed.span, help="put the norm before the last layer, or scale what it gives")


def wrong_sign(training: Training, objective: Objective, graph: Graph, known: Mapping[Value, Facts]) -> Iterator[Diagnostic]:
    """A likelihood, or the negative of a loss, that is made small. Where several objectives play against each other both are usual."""
    facts = known[next(iter(graph.outputs.values()))]
    likely = of_kind(facts, LIKELY) if of_kind(facts, UNLIKELY) is None else None
    gain = of_kind(facts, GAIN) if len(training.objectives) == 1 and of_kind(facts, LOSS) is None else None
    fact = likely or gain
    if fact is None:
        return
    what = "a log-likelihood, a reward or a lower bound" if likely is not None else "the negative of a loss"
    message = f"`{objective.name}` has the wrong sign: {what} is minimised, and falls without bound"
    labels = (Label(fact.span, "this is to be large" if likely is not None else "this is to be small"),)
    help = "minimise the negative of what is to be large, such as `-mean(log_prob)`"
    yield warning("DL1037", message, objective.span, labels=labels, help=help)
