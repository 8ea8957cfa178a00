"""A training with all that it needs: data, a way to begin a session, initial weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays, TrainingSession
from dsl.data.dataset import Dataset
from dsl.trainer.settings import Settings
from dsl.training import Training

Begin = Callable[[Arrays, int], TrainingSession]
"""Makes a session from weights and a seed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A training with its data: `held_out` is for validation. `weights` are those it begins with, for a seed."""

    training: Training
    data: Dataset
    held_out: Dataset | None
    begin: Begin
    weights: Callable[[int], Arrays]
    backend: str

    @property
    def names(self) -> list[str]:
        """The losses and the metrics."""
        return list(dict.fromkeys(name for turn in self.training.turns for name in self.training.reported(turn)))


def batches_from(data: Dataset, settings: Settings, step: int, per_epoch: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches from a step on, without end."""
    if per_epoch == 0:
        yield from data.batches(settings.batch, seed=settings.seed, epoch=0)  # raises, and says how many rows there are
    while True:
        epoch, first = divmod(step, per_epoch)
        for batch in data.batches(settings.batch, seed=settings.seed, epoch=epoch, first=first):
            yield batch
            step += 1
