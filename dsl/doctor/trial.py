"""A short training on one small batch, with the block's own rules: what cannot learn a few rows by heart will not learn more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from backends.base import Arrays
from dsl.compiler import compile_training
from dsl.doctor.engine import Engine
from dsl.source import Source
from dsl.training import Rule, Training

STEPS = 300
SEVERAL_STEPS = 60
"""Steps for several objectives, which only have to stay finite."""

ENOUGH = 0.02
"""A trial ends when all losses are at this fraction of what they began with."""

ADAM = """
train Plain(lr: float = 0.003)(x: float[B]) {
  param w: float[] = zeros
  minimize loss = mean((x - w) ** 2) using adam(lr)
}
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """The losses before the first step and after the last, and the weights then."""

    first: Mapping[str, float]
    last: Mapping[str, float]
    steps: int
    weights: Arrays
    batch: Arrays

    @property
    def finite(self) -> bool:
        return all(math.isfinite(value) for value in self.last.values())


def attempt(engine: Engine, training: Training, weights: Arrays, batch: Arrays, seed: int, steps: int) -> Trial:
    """Train on one batch over and over."""
    session = engine.training(training, weights, seed)
    names = [objective.name for objective in training.objectives]
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    done = 0
    for number in range(steps if len(names) == 1 else min(steps, SEVERAL_STEPS)):
        found = session.step(number, batch)
        last |= {name: float(found[name]) for name in names if name in found}
        first = {**last, **first}
        done = number + 1
        if not all(map(math.isfinite, last.values())):
            break
        if all(0 <= last[name] <= ENOUGH * first[name] for name in last):
            break
    return Trial(first, last, done, session.weights(), batch)


def with_adam(training: Training) -> Training:
    """The training with plain Adam in place of its rules, at a constant rate, without a bound on the gradient."""
    return replace(
        training,
        objectives=tuple(replace(o, rules=(replace(_adam(), parameters=o.parameters),), clip=None) for o in training.objectives),
    )


@lru_cache(maxsize=1)
def _adam() -> Rule:
    training, _ = compile_training(Source("adam.dl", ADAM))
    return training.objectives[0].rules[0]
