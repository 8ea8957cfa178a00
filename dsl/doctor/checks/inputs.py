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
    ignored = False
    for name in names:
        moved: set[str] = set()
        for values in (subject.sample.other[name], subject.sample.made_up[name][: subject.sample.rows]):
            if not moved & losses and not np.array_equal(values, batch[name]):
                after = subject.measure(subject.moved, {**batch, name: values}, training=False).values
                moved |= _different(before, after)
        if moved & losses:
            continue
        ignored = True
        span = _place(subject, name)
        if moved:
            message = f"`{name}` changes the metrics alone, no loss"
            yield Finding(NAME, Status.WARNING, message, "0", "another loss", span, {"change": 0.0})
        else:
            message = f"`{name}` is ignored: other values in its place change no loss"
            yield Finding(NAME, Status.FAILED, message, "a change of 0", "another loss", span, {"change": 0.0})
    if not ignored:
        which = f"`{names[0]}` changes the loss" if len(names) == 1 else f"each of {len(names)} inputs changes a loss"
        yield Finding(NAME, Status.OK, which, numbers={"inputs": len(names)})


def _different(before: Mapping[str, float], after: Mapping[str, float]) -> set[str]:
    """The values that are others, by more than rounding."""
    return {n for n, value in after.items() if not abs(value - before[n]) <= 1e-12 * (abs(value) + abs(before[n]))}


def _place(subject: Subject, name: str) -> Span:
    for graph in subject.training.program.entries.values():
        if name in graph.inputs:
            return graph.node(graph.inputs[name]).span
    return NOWHERE
