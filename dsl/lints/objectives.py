"""Lints of what a `train` block minimises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl.diagnostics import Diagnostic, Label
from dsl.ir import Graph, Value
from dsl.lints.facts import GAIN, LIKELY, LOSS, UNLIKELY, Facts, of_kind
from dsl.lints.place import warning
from dsl.training import Objective, Training


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
