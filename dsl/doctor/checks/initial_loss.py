"""A network that has learned nothing favours nothing: its loss is that of chance. Much more means that it begins certain of what it
cannot know; much less, that the answer leaks."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dsl.doctor.finding import Finding, Status
from dsl.doctor.known_losses import LOSSES, Chance, chance, each
from dsl.doctor.record import Term, by_place
from dsl.doctor.subject import Subject

NAME = "initial-loss"

NEAR, FAR = 2.0, 4.0
"""Up to these multiples of chance all is well, or the check warns; beyond, it fails. Below chance the same as fractions."""

NUMBERS_NEAR, NUMBERS_FAR = 5.0, 20.0
"""The same for losses of numbers, to which the spread of the network's own outputs adds."""


def check_initial_loss(subject: Subject) -> Iterator[Finding]:
    """Each loss of the library in the block against its value at chance."""
    for objective in subject.training.objectives:
        terms = subject.start.terms[objective.name]
        value = subject.start.values[objective.name]
        if not terms:
            message = f"`{objective.name}` is {value:.3g}; it has no loss of the library, so nothing says what to expect"
            yield Finding(NAME, Status.SKIPPED, message, f"{value:.4g}", "", objective.span, {"loss": value})
            continue
        for group in by_place(terms):
            yield _judged(subject, group)


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
    numbers = LOSSES[name].kind == "numbers"
    near, far = (NUMBERS_NEAR, NUMBERS_FAR) if numbers else (NEAR, FAR)
    low = min(least, expected) if least > 0 else expected
    if not seen < math.inf:
        return Status.FAILED, f"`{name}` is {seen} before the first step"
    if expected <= 0 or low / near <= seen <= expected * near:
        return Status.OK, f"`{name}` begins at chance"
    if seen > expected:
        why = "the targets are far from 0, or the outputs are large" if numbers else "the outputs are large"
        return (Status.FAILED if seen > expected * far else Status.WARNING), f"`{name}` begins above chance: {why}"
    status = Status.FAILED if seen < low / far else Status.WARNING
    return status, f"`{name}` begins below chance: does the network see the answer?"
