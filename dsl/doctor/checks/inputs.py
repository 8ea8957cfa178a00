"""Every input of the block matters: with other values in its place some loss is another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dsl.doctor.finding import Finding, Status
from dsl.doctor.subject import Subject
from dsl.source import NOWHERE, Span

NAME = "inputs"


def check_inputs(subject: Subject) -> Iterator[Finding]:
    """Each input in turn with the values of other rows, then with made-up ones."""
    names = list(subject.training.inputs)
    batch = subject.sample.batch
    before = subject.measure(subject.moved, batch, training=False).values
    losses = {objective.name for objective in subject.training.objectives}
    changes: dict[str, float] = {}
    for name in names:
        moved: dict[str, float] = {}
        for values in (subject.sample.other[name], subject.sample.made_up[name][: subject.sample.rows]):
            if not moved.keys() & losses and not np.array_equal(values, batch[name]):
                after = subject.measure(subject.moved, {**batch, name: values}, training=False).values
                moved |= _different(before, after)
        changes[name] = max((moved[loss] for loss in moved.keys() & losses), default=0.0)
        if changes[name]:
            continue
        span = _place(subject, name)
        if moved:
            message = f"`{name}` changes the metrics alone, no loss"
            yield Finding(NAME, Status.WARNING, message, "0", "another loss", span, {"change": 0.0})
        else:
            message = f"`{name}` is ignored: other values in its place change no loss"
            yield Finding(NAME, Status.FAILED, message, "a change of 0", "another loss", span, {"change": 0.0})
    if all(changes.values()):
        which = f"`{names[0]}` changes the loss" if len(names) == 1 else f"each of {len(names)} inputs changes a loss"
        yield Finding(NAME, Status.OK, which, f"by {min(changes.values()):.2g} at least", "other than 0", numbers=changes)


def _different(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The values that are others, by more than rounding, and by how much, relatively."""
    changes = {n: abs(v - before[n]) / ((abs(v) + abs(before[n])) or 1.0) for n, v in after.items()}
    return {n: change for n, change in changes.items() if not change <= 1e-12}


def _place(subject: Subject, name: str) -> Span:
    for graph in subject.training.program.entries.values():
        if name in graph.inputs:
            return graph.node(graph.inputs[name]).span
    return NOWHERE
