"""Learning rates that are lowered when the loss has stopped falling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backends.base import TrainingSession
from backends.reference import Interpreter
from backends.trainings import rules_of
from dsl.training import Plateau, Rule, Training


@dataclass(slots=True)
class Watched:
    """One rule that waits: the best loss, evaluations since, evaluations still to pass uncounted, the present factor."""

    objective: str
    every: int
    rule: Rule
    plateau: Plateau
    best: float = math.inf
    waited: int = 0
    resting: int = 0
    factor: float = 1.0

    def see(self, loss: float, rate: float) -> bool:
        """Take note of an evaluation; whether the learning rate, which is `rate` before it is scaled, is lowered now."""
        if loss < self.best * (1 - self.plateau.threshold) or math.isinf(self.best):
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.resting:
            self.resting, self.waited = self.resting - 1, 0
        lowest = self.plateau.minimum / rate if rate > 0 else 0.0
        if self.waited <= self.plateau.patience or self.factor <= lowest:
            return False
        self.waited, self.resting = 0, self.plateau.cooldown
        self.factor = max(self.factor * self.plateau.factor, lowest)
        return True


class Plateaus:
    """The rules of a training that wait for plateaus, by key."""

    def __init__(self, training: Training) -> None:
        self.watched = {
            key: Watched(objective.name, objective.every, rule, rule.plateau)
            for objective in training.objectives
            for key, rule in rules_of(objective)
            if rule.plateau is not None
        }

    def see(self, step: int, values: Mapping[str, float], session: TrainingSession) -> list[str]:
        """Lower what is due after an evaluation when `step` steps were done; the keys of the rules that were lowered."""
        lowered = []
        for key, watched in self.watched.items():
            if watched.objective not in values:
                continue
            rate = rate_after(watched.rule, step // watched.every)
            if watched.see(values[watched.objective], rate):
                session.scale(key, watched.factor)
                lowered.append(key)
        return lowered

    def state(self) -> dict[str, dict[str, float]]:
        return {
            key: {"best": w.best, "waited": w.waited, "resting": w.resting, "factor": w.factor} for key, w in self.watched.items()
        }

    def restore(self, state: Mapping[str, Mapping[str, float]], session: TrainingSession) -> None:
        for key, watched in self.watched.items():
            kept = state.get(key, {})
            watched.best, watched.factor = kept.get("best", math.inf), kept.get("factor", 1.0)
            watched.waited, watched.resting = int(kept.get("waited", 0)), int(kept.get("resting", 0))
            session.scale(key, watched.factor)


def rate_after(rule: Rule, updates: int) -> float:
    """The learning rate of a rule when so many updates were done, before it is scaled."""
    (found,) = Interpreter({}).run(rule.rate, {name: np.asarray(float(updates)) for name in rule.rate.inputs}).values()
    return float(found)
