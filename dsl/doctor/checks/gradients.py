"""Every parameter that an objective is over has a gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl.differentiable import reached
from dsl.doctor.finding import Finding, Status
from dsl.doctor.subject import Subject
from dsl.source import NOWHERE, Span
from dsl.training import Objective

NAME = "gradients"
MOST_NAMED = 4


def check_gradients(subject: Subject) -> Iterator[Finding]:
    """Parameters without a path to the loss, with a gradient that is 0 before and after a short training, and in no objective."""
    problems = False
    for objective in subject.training.objectives:
        still = _still(subject, objective)
        if still:
            problems = True
            vectors = all(subject.training.program.parameters()[name].type.rank < 2 for name in still)
            message = f"the gradient of `{objective.name}` is 0 in every element of {_listed(still)}"
            yield _finding(subject, Status.WARNING if vectors else Status.FAILED, message, still, objective.span)
    for finding in _untrained(subject):
        problems = True
        yield finding
    if not problems:
        count = len({name for o in subject.training.objectives for name in o.parameters})
        if subject.engine is None:
            yield Finding(NAME, Status.OK, f"a path leads from the loss to all {count} parameters; gradients take PyTorch or JAX")
        else:
            yield Finding(
                NAME,
                Status.OK,
                f"all {count} parameters have a gradient",
                "0 without",
                "0 without",
                numbers={"parameters": count},
            )


def _untrained(subject: Subject) -> Iterator[Finding]:
    """Parameters in no objective: parts that no gradient reaches of a layer that is trained, or whole layers, which may be meant."""
    graphs = [subject.graph(objective) for objective in subject.training.objectives]
    path = {name for graph in graphs for name in reached(graph, next(iter(graph.outputs.values())))}
    trained = {name.split(".")[0] for objective in subject.training.objectives for name in objective.parameters}
    lost = [name for name in subject.training.untrained if name not in path and name.split(".")[0] in trained]
    frozen = [name for name in subject.training.untrained if name not in lost]
    if lost:
        yield _finding(subject, Status.FAILED, f"no path leads from a loss to {_listed(lost)}", lost)
    if frozen:
        what = "is in no objective and keeps" if len(frozen) == 1 else "are in no objective and keep"
        yield _finding(subject, Status.WARNING, f"{_listed(frozen)} {what} the initial values", frozen)


def _finding(subject: Subject, status: Status, message: str, names: list[str], otherwise: Span = NOWHERE) -> Finding:
    every = sum(p.trained for p in subject.training.program.parameters().values())
    seen = f"{len(names)} of {every} parameters"
    numbers = {"parameters": float(len(names)), "of": float(every)}
    return Finding(NAME, status, message, seen, "0", subject.place(names[0], otherwise), numbers)


def _still(subject: Subject, objective: Objective) -> list[str]:
    """The parameters whose gradient is 0 everywhere, with the initial weights and after a few steps: those wake up what waits for a layer
    of zeros."""
    now = subject.start_gradients
    if now is None:
        return []
    zero = [n for n in objective.parameters if not np.any(now[objective.name].parameters[n])]
    trial = subject.trial
    if not zero or trial is None or not trial.finite:
        return zero
    later = subject.gradients(trial.weights)
    assert later is not None
    return [n for n in zero if not np.any(later[objective.name].parameters[n])]


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:MOST_NAMED])
    return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
