"""One small batch is learned by heart: a network, a loss and an optimiser that cannot do that will not learn more."""

from __future__ import annotations

from collections.abc import Iterator

from dsl.doctor.finding import Finding, Status
from dsl.doctor.known_losses import reaches_zero
from dsl.doctor.subject import Subject
from dsl.doctor.trial import Trial, with_adam

NAME = "overfit"

LEARNED = 0.2
"""The fraction of its initial value that a loss goes under when a batch is learned."""

STUCK = 0.6
"""Above this fraction of its initial value, a loss has not moved."""

FALLEN = 0.98
"""A loss with an unknown floor has to fall below this fraction, or by as much of its size."""


def check_overfit(subject: Subject) -> Iterator[Finding]:
    """A short training on one batch."""
    trial = subject.trial
    if trial is None:
        yield Finding(NAME, Status.SKIPPED, "training takes PyTorch or JAX, and neither is installed")
        return
    numbers = {"steps": float(trial.steps), "rows": float(len(next(iter(trial.batch.values()))))}
    for name, last in trial.last.items():
        numbers |= {f"{name} before": trial.first[name], f"{name} after": last}
    objectives = subject.training.objectives
    span = objectives[0].span
    seen = ", ".join(f"`{n}` {trial.first[n]:.3g} -> {v:.3g}" for n, v in trial.last.items())
    if not trial.finite:
        message = f"the loss is not finite after {trial.steps} steps: the learning rate is too large, or the loss overflows"
        yield Finding(NAME, Status.FAILED, message, seen, "a finite loss", span, numbers)
    elif len(objectives) > 1:
        message = f"{len(objectives)} objectives pull at once, so none needs to reach 0; they stay finite"
        yield Finding(NAME, Status.OK, message, seen, "finite losses", span, numbers)
    elif _has_floor_zero(subject, trial):
        yield _learned(subject, trial, seen, numbers)
    else:
        yield _falls(subject, trial, seen, numbers)


def _has_floor_zero(subject: Subject, trial: Trial) -> bool:
    """Whether the objective is one loss of the library, which a perfect network makes 0."""
    (objective,) = subject.training.objectives
    measured = subject.measure(trial.weights, trial.batch, training=True)
    certain = all(reaches_zero(t.graph, t.given) for t in measured.terms[objective.name])
    return certain and measured.is_sole(objective.name)


def _learned(subject: Subject, trial: Trial, seen: str, numbers: dict[str, float]) -> Finding:
    (objective,) = subject.training.objectives
    name, rows = objective.name, int(numbers["rows"])
    expected = f"under {LEARNED:.0%} of {trial.first[name]:.3g}"

    def found(status: Status, message: str) -> Finding:
        return Finding(NAME, status, message, seen, expected, objective.span, numbers)

    reached = trial.last[name] / trial.first[name] if trial.first[name] else 0.0
    unit = "row is" if rows == 1 else "rows are"
    if reached <= LEARNED:
        return found(Status.OK, f"{rows} {unit} learned by heart in {trial.steps} steps")
    assert subject.engine is not None
    other = subject.attempt(subject.engine, with_adam(subject.training))
    numbers[f"{name} after adam"] = other.last[name]
    of_adam = other.last[name] / other.first[name]
    if of_adam <= LEARNED:
        if reached <= STUCK:
            return found(
                Status.OK, f"the loss falls in {trial.steps} steps, slowly: plain adam at 0.003 learns the rows by heart"
            )
        return found(
            Status.FAILED, "the block's optimiser does not learn a few rows, plain adam at 0.003 does: look at its learning rate"
        )
    if min(reached, of_adam) <= STUCK:
        return found(Status.WARNING, f"{rows} {unit} not learned by heart, by plain adam neither")
    return found(
        Status.FAILED, "the loss does not go down on a few rows, with plain adam neither: look at the network and the loss"
    )


def _falls(subject: Subject, trial: Trial, seen: str, numbers: dict[str, float]) -> Finding:
    (objective,) = subject.training.objectives
    first, last = trial.first[objective.name], trial.last[objective.name]
    if first - last > (1 - FALLEN) * abs(first):
        message = f"the loss falls in {trial.steps} steps; how far it can is not known"
        return Finding(NAME, Status.OK, message, seen, "less than at first", objective.span, numbers)
    if any(node.op == "stop_gradient" for graph in subject.graph(objective).callees() for node in graph):
        message = "the loss holds gradients back (`stop_gradient`), so following its gradient need not make it less"
        return Finding(NAME, Status.SKIPPED, message, seen, "", objective.span, numbers)
    message = "the loss does not go down on a few rows"
    return Finding(NAME, Status.FAILED, message, seen, "less than at first", objective.span, numbers)
