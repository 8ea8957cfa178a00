"""A network that has learned is better with its own input than with another example's: one that is not predicts from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl.doctor.finding import Finding, Status
from dsl.doctor.known_losses import LOSSES, each
from dsl.doctor.record import Term, by_place
from dsl.doctor.subject import Subject

NAME = "baseline"

BETTER = 0.8
"""With its own inputs, the loss is below this fraction of that with those of other examples."""

SAME = 0.97
"""From this fraction on the two are taken for the same."""


def check_baseline(subject: Subject) -> Iterator[Finding]:
    """After the short training, each loss of the library again with the predictions of other rows."""
    trial = subject.trial
    if trial is None:
        yield Finding(NAME, Status.SKIPPED, "training takes PyTorch or JAX, and neither is installed")
        return
    if not trial.finite:
        yield Finding(NAME, Status.SKIPPED, "the short training ended in numbers that are not finite")
        return
    measured = subject.measure(trial.weights, trial.batch, training=True)
    for objective in subject.training.objectives:
        pairs = list(_pairs(subject, measured.terms[objective.name]))
        if not pairs:
            message = f"`{objective.name}` has no loss of the library in which predictions and targets could be told apart"
            yield Finding(NAME, Status.SKIPPED, message, span=objective.span)
            continue
        own, others = min(pairs, key=lambda pair: pair[0] - BETTER * pair[1])
        numbers = {"own input": own, "inputs of others": others}
        seen, expected = f"{own:.3g} against {others:.3g}", f"at most {BETTER:.0%} of the loss with the inputs of others"
        if own <= BETTER * others:
            message = "after a short training, predictions from an example's own input are better"
            yield Finding(NAME, Status.OK, message, seen, expected, objective.span, numbers)
        else:
            message = "after a short training, predictions are as good from the input of another example"
            certain = own > SAME * others and measured.is_sole(objective.name)
            status = Status.FAILED if certain else Status.WARNING
            yield Finding(NAME, status, message, seen, expected, objective.span, numbers)


def _pairs(subject: Subject, terms: list[Term]) -> Iterator[tuple[float, float]]:
    """For each place in the spec where a loss of the library stands: its mean, and that with the predictions of other rows."""
    for group in by_place(terms):
        found = [pair for pair in (_pair(subject, term) for term in group) if pair is not None]
        if found:
            yield float(np.mean([own for own, _ in found])), float(np.mean([others for _, others in found]))


def _pair(subject: Subject, term: Term) -> tuple[float, float] | None:
    """A loss, and the same with the predictions of other rows; None where all targets are the same."""
    known = LOSSES[term.graph.definition]
    prediction, target = term.given[known.prediction], term.given[known.target]
    if prediction.ndim == 0 or np.all(target == target.reshape(-1)[0]):
        return None
    moved = _shifted(prediction, known.kind in ("classes", "margin"))
    if moved is None:
        return None
    return each(term.graph, term.given, term.value), subject.loss_of(term.graph, {**term.given, known.prediction: moved})


def _shifted(prediction: np.ndarray, has_classes: bool) -> np.ndarray | None:
    """The predictions of the next row; of the next position where there is one row only."""
    axes = range(prediction.ndim - (1 if has_classes else 0))
    axis = next((a for a in axes if prediction.shape[a] > 1), None)
    return np.roll(prediction, 1, axis=axis) if axis is not None else None
