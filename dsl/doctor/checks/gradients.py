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
        graph = subject.graph(objective)
        path = reached(graph, next(iter(graph.outputs.values())))
        cut_off = [name for name in objective.parameters if name not in path]
        if cut_off:
            problems = True
            yield _finding(subject, objective, cut_off, "no path leads from `{0}` to {1}")
        still = [name for name in _still(subject, objective) if name not in cut_off]
        if still:
            problems = True
            yield _finding(subject, objective, still, "the gradient of `{0}` is 0 in every element of {1}")
    if subject.training.untrained:
        problems = True
        names = subject.training.untrained
        message = f"{_listed(names)} {'is' if len(names) == 1 else 'are'} in no objective and keep the initial values"
        yield Finding(
            NAME, Status.WARNING, message, f"{len(names)} parameters", "0", _place(subject, names[0]), {"parameters": len(names)}
        )
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


def _finding(subject: Subject, objective: Objective, names: list[str], text: str) -> Finding:
    message = text.format(objective.name, _listed(names))
    numbers = {"parameters": float(len(names)), "of": float(len(objective.parameters))}
    seen = f"{len(names)} of {len(objective.parameters)} parameters"
    return Finding(NAME, Status.FAILED, message, seen, "0", _place(subject, names[0], objective.span), numbers)


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


def _place(subject: Subject, name: str, otherwise: Span = NOWHERE) -> Span:
    """Where a parameter is declared, if the user wrote it."""
    span = subject.training.program.parameters()[name].span
    return otherwise if span.source.name.startswith("dsl/lib/") or span is NOWHERE else span
