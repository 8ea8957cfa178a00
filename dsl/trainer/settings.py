"""What a user may ask of a training, and what is told while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Settings:
    """`steps` is the number of the last step, counted from 1. `every_validation` and `every_save` are in steps; with `validation` 0
    nothing is held out. `data` is what the user calls the data, for the checkpoint. A `seed` below 0 is none: 0, or the checkpoint's.
    With `patience` above 0 the training ends after so many validations in a row that are not better than the best. What is better
    is the lower first loss, or value called `watch`; the higher one with `highest`."""

    out: Path
    steps: int
    batch: int
    seed: int = -1
    validation: float = 0.0
    every_validation: int | None = None
    every_save: int | None = None
    resume: bool = False
    device: str = "cpu"
    tensorboard: bool = False
    data: str = ""
    patience: int = 0
    watch: str = ""
    highest: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. `values` are means since the last report, `rate` is in examples a second, `left` in seconds."""

    step: int
    steps: int
    values: Mapping[str, float]
    rate: float
    left: float


class Reporter(Protocol):
    """Who is told."""

    def started(self, step: int, steps: int) -> None: ...

    def went_on(self, progress: Progress) -> None:
        """Some steps were done: called often; what is not wanted is left out."""

    def evaluated(self, step: int, values: Mapping[str, float], *, best: bool) -> None: ...

    def noted(self, text: str) -> None:
        """Something happened: a checkpoint was saved, a learning rate lowered."""

    def finished(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended: the last step that was done, the means of the last 20, the best validation loss and its step."""

    step: int
    values: Mapping[str, float]
    best: tuple[int, float] | None
    interrupted: bool
