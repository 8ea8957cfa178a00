"""A network that has learned nothing favours nothing: its loss is that of chance. Much more means that it begins certain of what it
cannot know; much less, that the answer leaks."""

from __future__ import annotations

from collections.abc import Iterator

from dsl.doctor.finding import Finding, Status
from dsl.doctor.known_losses import Chance, chance, each
from dsl.doctor.record import Term
from dsl.doctor.subject import Subject

NAME = "initial-loss"

NEAR = (0.7, 1.5)
"""Between these multiples of chance all is well."""

FAR = (0.4, 3.0)
"""Outside of these the check fails. For squares, whose outliers are far out, the upper bounds are squared."""


def check_initial_loss(subject: Subject) -> Iterator[Finding]:
    """Each loss of the library in the block against its value at chance."""
    for objective in subject.training.objectives:
        terms = subject.start.terms[objective.name]
        value = subject.start.values[objective.name]
        if not terms:
            message = f"`{objective.name}` is {value:.3g}; it has no loss of the library, so nothing says what to expect"
            yield Finding(NAME, Status.SKIPPED, message, f"{value:.4g}", "", objective.span, {"loss": value})
            continue
        for group in _by_place(terms):
            yield _judged(subject, group)


def _by_place(terms: list[Term]) -> list[list[Term]]:
    """The terms that stand in one place of the spec together: a loop has one a step."""
    groups: dict[object, list[Term]] = {}
    for term in terms:
        groups.setdefault((id(term.graph), term.span.start), []).append(term)
    return list(groups.values())


def _judged(subject: Subject, terms: list[Term]) -> Finding:
    first = terms[0]
    seen = sum(each(t.graph, t.given, t.value) for t in terms) / len(terms)
    at_chance = [chance(t.graph, t.given, subject.loss_of) for t in terms]
    expected = sum(c.value for c in at_chance) / len(terms)
    least = min(c.least for c in at_chance)
    formula = at_chance[0].formula
    numbers = {"loss": seen, "expected": expected, "least without the input": least}
    status, message = _verdict(first.graph.definition, seen, expected, at_chance[0], least)
    return Finding(NAME, status, message, f"{seen:.4g}", f"{formula} = {expected:.4g}", first.span, numbers)


def _verdict(name: str, seen: float, expected: float, at_chance: Chance, least: float) -> tuple[Status, str]:
    squares = name == "mse"
    low, high = (min(least, expected) if least > 0 else expected), expected
    near = high * NEAR[1] ** (2 if squares else 1)
    far = high * FAR[1] ** (2 if squares else 1)
    if not seen < float("inf"):
        return Status.FAILED, f"`{name}` is {seen} before the first step"
    if expected <= 0 or low * NEAR[0] <= seen <= near:
        return Status.OK, f"`{name}` begins at chance"
    if seen > high:
        why = (
            "the targets are far from 0, or outputs are large"
            if at_chance.formula.startswith("the ")
            else "outputs begin too large"
        )
        return (Status.FAILED if seen > far else Status.WARNING), f"`{name}` begins above chance: {why}"
    status = Status.FAILED if seen < low * FAR[0] else Status.WARNING
    return status, f"`{name}` begins below chance: does the network see the answer?"
