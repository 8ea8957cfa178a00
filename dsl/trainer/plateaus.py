"""Learning rates that are lowered when the loss has stopped falling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backends.base import TrainingSession
from backends.python_scalars import constant_of
from backends.trainings import rules_of
from dsl.training import Plateau, Rule, Training


@dataclass(slots=True)
class Watched:
    """One rule that waits: the best loss, evaluations without a better one, evaluations still to pass uncounted, the present factor."""

    objective: str
    plateau: Plateau
    lowest: float
    best: float = math.inf
    waited: int = 0
    resting: int = 0
    factor: float = 1.0

    def see(self, loss: float) -> bool:
        """Take note of an evaluation; whether the rate is lowered now."""
        if loss < self.best * (1 - self.plateau.threshold) or math.isinf(self.best):
            self.best, self.waited = loss, 0
        elif self.resting:
            self.resting -= 1
        else:
            self.waited += 1
        if self.waited <= self.plateau.patience or self.factor <= self.lowest:
            return False
        self.waited, self.resting = 0, self.plateau.cooldown
        self.factor = max(self.factor * self.plateau.factor, self.lowest)
        return True


class Plateaus:
    """The rules of a training that wait for plateaus, by key."""

    def __init__(self, training: Training) -> None:
        self.watched = {
            key: Watched(objective.name, rule.plateau, _lowest(rule, rule.plateau))
            for objective in training.objectives
            for key, rule in rules_of(objective)
            if rule.plateau is not None
        }

    def see(self, values: Mapping[str, float], session: TrainingSession) -> list[str]:
        """Lower what is due after an evaluation; the keys of the rules that were lowered."""
        lowered = []
        for key, watched in self.watched.items():
            if watched.objective in values and watched.see(values[watched.objective]):
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


def _lowest(rule: Rule, plateau: Plateau) -> float:
    """The factor at which the rate is the least that it may be."""
    rate = constant_of(rule.rate)
    return plateau.minimum / rate if rate else 0.0
