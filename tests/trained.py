"""A training in this process, from batches to its curve: what checks of systems that learn need."""

from __future__ import annotations

from collections.abc import Iterable

from backends.base import Arrays, EmitOptions, TrainingBackend, TrainOptions
from dsl.initial_values import initial_weights
from dsl.lower import lower_training
from dsl.target import backend
from dsl.trainer.prepare import with_followers
from dsl.training import Training


def trained(
    training: Training, batches: Iterable[Arrays], target: str = "torch", *, seed: int = 0, weights: Arrays | None = None
) -> tuple[list[dict[str, float]], Arrays]:
    """A step for each batch: what every step reported, and the weights after the last. `weights` are some that it begins with in the
    place of the initial ones."""
    found = backend(target)
    assert isinstance(found, TrainingBackend)
    artifact, lowered = lower_training(training, found, EmitOptions(), TrainOptions())
    begin = with_followers(lowered, {**initial_weights(lowered.program, seed), **(weights or {})})
    session = found.load_training(artifact, lowered, begin, seed=seed)
    rows = [{n: float(v) for n, v in session.step(i, batch).items()} for i, batch in enumerate(batches)]
    return rows, session.weights()
