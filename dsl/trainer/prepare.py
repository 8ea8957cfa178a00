"""From a spec and the name of some data to a training that can begin: everything is checked here, before the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from backends.base import Arrays, Backend, EmitOptions, TrainingBackend, TrainingSession, TrainOptions
from backends.trainings import entries_of, followers_of
from dsl.data.dataset import Dataset
from dsl.data.open import open_data
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import symbols_of
from dsl.ir import Program
from dsl.lower import lower_training
from dsl.target import require_packages
from dsl.trainer.job import Job
from dsl.training import Training
from dsl.verification.input_ranges import UNUSED, input_ranges
from dsl.version import version

DEFAULT_BATCH = 64
STEPS = "steps"
"""The hyper-parameter of a block that says how long it trains."""

Compile = Callable[[Mapping[str, object]], Training]
"""The block with further hyper-parameters."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long to train: `steps`, or `epochs`; where neither is given, as long as the block says."""

    steps: int | None = None
    epochs: int | None = None


def open_batches(training: Training, data: str, sizes: Mapping[str, int], validation: float) -> tuple[Dataset, Dataset | None]:
    """The data of a block, checked, and what of it is held out."""
    check_sizes(training, sizes)
    found = open_data(data, training.inputs, sizes=sizes, ranges=integer_ranges(training, sizes))
    return found.split(validation) if validation else (found, None)


def check_sizes(training: Training, sizes: Mapping[str, int]) -> None:
    """Raise SpecError for a size of a dimension that the inputs do not have."""
    symbols = {s for type_ in training.inputs.values() for d in type_.shape for s in symbols_of(d)}
    for name in sizes:
        if name not in symbols:
            shown = ", ".join(sorted(symbols)) or "none"
            message = f"the inputs of `{training.name}` have no dimension `{name}`"
            raise SpecError(Diagnostic("DL0823", message, help=f"their symbolic dimensions: {shown}"), exit_code=2)


def integer_ranges(training: Training, sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The values that integer inputs may have, half open, as far as the sizes that are known say."""
    found: dict[str, tuple[int, int]] = {}
    for graph in entries_of(training).entries.values():
        for name, range_ in input_ranges(graph).items():
            highs = tuple(d for d in range_.highs if all(s in sizes for s in symbols_of(d)))
            if name not in training.inputs or range_ is UNUSED or not highs:
                continue
            low, high = replace(range_, highs=highs).bounds(sizes)
            before = found.get(name, (low, high))
            found[name] = (max(low, before[0]), min(high, before[1]))
    return found


def steps_of(compile: Compile, training: Training, length: Length, per_epoch: int) -> tuple[Training, int]:
    """How many steps there are, and the block with that as its hyper-parameter `steps`, where it has one."""
    steps = length.steps if length.steps is not None else length.epochs * per_epoch if length.epochs is not None else None
    own = training.hyper.get(STEPS)
    if steps is None:
        if not isinstance(own, int) or isinstance(own, bool):
            raise SpecError(
                Diagnostic(
                    "DL0846", f"nothing says how long to train `{training.name}`", help="give `--steps N` or `--epochs N`"
                ),
                exit_code=2,
            )
        return training, own
    if isinstance(own, int) and not isinstance(own, bool) and own != steps:
        training = compile({STEPS: steps})
    return training, steps


def prepare(
    training: Training,
    found: Backend,
    data: tuple[Dataset, Dataset | None],
    how: TrainOptions,
    *,
    batch: int,
    device: str,
    source: str,
    weights: Callable[[Program, int], Arrays],
) -> Job:
    """The training as a program of a backend, ready to begin. `weights` makes the initial ones from a seed."""
    if batch % how.accumulate:
        message = f"a batch of {batch} cannot be taken in {how.accumulate} equal parts"
        raise SpecError(Diagnostic("DL0847", message, help="a batch that is a multiple of `--accumulate`"), exit_code=2)
    artifact, lowered = lower_training(training, found, EmitOptions(source=source, version=version()), how)
    require_packages(found)
    name = found.name
    assert isinstance(found, TrainingBackend)
    trains: TrainingBackend = found

    def begin(values: Arrays, seed: int) -> TrainingSession:
        return trains.load_training(artifact, lowered, values, seed=seed, device=device)

    def initial(seed: int) -> Arrays:
        return with_followers(lowered, weights(lowered.program, seed))

    return Job(lowered, *data, begin, initial, name)


def with_followers(training: Training, weights: Arrays) -> Arrays:
    """Weights in which every follower begins as a copy of what it follows."""
    found = dict(weights)
    for follower in followers_of(training):
        for name in found:
            if name.startswith(f"{follower.layer}."):
                found[name] = weights[f"{follower.source}{name.removeprefix(follower.layer)}"]
    return found
