"""Units of a layer that begin alike and get the same gradient: however long they are trained, they are one unit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl.doctor.finding import Finding, Status
from dsl.doctor.subject import Subject

NAME = "symmetry"

SAME = 1e-5
"""How far gradients of units may differ, relatively to the largest, where only rounding tells them apart."""


def check_symmetry(subject: Subject) -> Iterator[Finding]:
    """Weights that are one constant, and whose gradient is the same for each unit, on the batch with the initial weights."""
    parameters = subject.training.program.parameters()
    constant = [n for n, p in parameters.items() if p.trained and p.type.rank > 1 and p.initial.kind == "constant"]
    if not constant:
        yield Finding(NAME, Status.OK, "no weights begin as one constant")
        return
    gradients = subject.start_gradients
    if gradients is None:
        yield Finding(NAME, Status.SKIPPED, "gradients take PyTorch or JAX")
        return
    alike = [
        name
        for objective in subject.training.objectives
        for name in objective.parameters
        if name in constant and _is_one(gradients[objective.name].parameters[name])
    ]
    for name in alike:
        layer = name.rpartition(".")[0] or name
        units = parameters[name].type.shape[0]
        message = f"the {units} units of `{layer}` begin alike and get the same gradient: they stay one unit"
        numbers = {"units": float(units) if isinstance(units, int) else 0.0}
        yield Finding(NAME, Status.WARNING, message, "equal rows", "rows that differ", subject.place(name), numbers)
    if not alike:
        yield Finding(NAME, Status.OK, "units that begin alike get different gradients")


def _is_one(gradient: np.ndarray) -> bool:
    """Whether the gradient is the same for all units, which are the first axis; one unit is like no other."""
    if len(gradient) < 2:
        return False
    return bool(np.abs(gradient - gradient[:1]).max() <= SAME * np.abs(gradient).max())
