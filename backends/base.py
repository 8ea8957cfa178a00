"""What a backend is, and how one is found.

A backend turns a checked graph into files (`emit`) and runs such files (`load`), so that `dslc verify` can compare it with the reference.
It knows primitives by name and library layers where the target has its own word for them; it never restates a signature, a default or a
shape. Third parties register one under the entry point group `dslc.backends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.ir import Node, Program
from dsl.training import Rule, Training

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """What a user may ask of the output. `opset`, `inline` and `seed` (of the random operators) matter to ONNX; `source` is the name of
    the spec for the header, `output` that of the file that it will be, after which data beside it are named."""

    source: str = ""
    version: str = ""
    opset: int | None = None
    inline: bool = False
    seed: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How a training program computes a step: products in `amp` ("bf16") where that is given, a batch in `accumulate` parts."""

    amp: str | None = None
    accumulate: int = 1


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a backend made: the main file, and files that must stand beside it (external data), called as `dsl.data_files` would."""

    suffix: str
    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """Outputs by name; in training mode also the new values of the buffers by full name."""

    outputs: Arrays
    updates: Arrays = field(default_factory=dict)


class Session(Protocol):
    """A compiled program with weights in it, ready to run."""

    def run(self, inputs: Arrays, *, training: bool = False, entry: str = "forward") -> Result: ...


@dataclass(frozen=True, slots=True)
class Gradients:
    """The outputs of a run, and the gradient of their weighted sum by each trained parameter and each floating input; zeros where the
    sum does not depend on one."""

    outputs: Arrays
    parameters: Arrays
    inputs: Arrays


@runtime_checkable
class Differentiable(Protocol):
    """A session whose target differentiates."""

    def gradients(self, inputs: Arrays, weights: Arrays, *, training: bool = False, entry: str = "forward") -> Gradients:
        """The gradient of the sum of outputs times `weights`, which has the floating outputs that count, by name."""


class Number(Protocol):
    """A result that may still be being computed: reading it waits."""

    def __float__(self) -> float: ...


class TrainingSession(Protocol):
    """A training program with weights in it. What a step draws depends on the seed and the number of the step alone."""

    def step(self, number: int, batch: Arrays) -> Mapping[str, Number]:
        """Do step `number`, counted from 0; the losses and metrics of the objectives whose turn it was."""

    def evaluate(self, batch: Arrays) -> Mapping[str, Number]:
        """The losses and metrics in inference mode."""

    def weights(self) -> Arrays:
        """Parameters and buffers by full name."""

    def moments(self) -> Arrays:
        """What the rules keep beside the parameters, by names of the target's own."""

    def scale(self, key: str, factor: float) -> None:
        """Multiply the learning rate of a rule that waits for plateaus, by its key (see trainings.py), by that factor of the original."""

    def restore(self, weights: Arrays, moments: Arrays) -> None:
        """Go on from there. KeyError or ValueError where `moments` are another program's."""


@runtime_checkable
class TrainingBackend(Protocol):
    """A backend that can write and run the training itself."""

    def rule_refusal(self, rule: Rule, program: Program, how: TrainOptions) -> str | None:
        """Why this backend cannot follow the rule for the parameters of `program` that it is for, or None when it can."""

    def emit_training(self, training: Training, options: EmitOptions, how: TrainOptions) -> Artifact: ...

    def load_training(
        self, artifact: Artifact, training: Training, weights: Arrays, *, seed: int = 0, device: str = "cpu"
    ) -> TrainingSession: ...


@runtime_checkable
class Backend(Protocol):
    """`name` is what `--backend` takes; `requires` are the packages that running the output needs; `training` says whether the output
    can train (ONNX cannot: it gets the graph specialised to inference)."""

    name: str
    summary: str
    requires: tuple[str, ...]
    training: bool

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        """Why this backend cannot express the node, or None when it can."""

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        """The program in the target's form. `weights` go into formats that carry them."""

    def load(self, artifact: Artifact, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        """Import or open what `emit` made, in this process, with these weights."""


# --- rows: how a primitive or a library name is spelled -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A cell of the op × backend matrix that is a refusal, with the reason that users see."""

    because: str


# --- finding backends ---------------------------------------------------------------------------------------------------------------

BUILT_IN = {
    "reference": "backends.reference:BACKEND",
    "torch": "backends.torch:BACKEND",
    "jax": "backends.jax:BACKEND",
    "onnx": "backends.onnx:BACKEND",
}


def names() -> list[str]:
    """The names that `--backend` takes, ours first."""
    return [*BUILT_IN, *sorted(_plugins().keys() - BUILT_IN.keys())]


def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # its import takes longer than a check of a small spec

    return {p.name: p for p in entry_points(group="dslc.backends")}


def find(name: str) -> Backend:
    """The backend called `name`; SpecError (exit code 2) when there is none."""
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        backend = getattr(import_module(module), attribute)
    else:
        plugins = _plugins()
        if name not in plugins:
            near = did_you_mean(name, names())
            raise SpecError(
                Diagnostic(
                    "DL0701",
                    f"there is no backend `{name}`",
                    help=f"did you mean `{near}`?" if near else f"the backends are {', '.join(names())}",
                ),
                exit_code=2,
            )
        backend = plugins[name].load()
    if not isinstance(backend, Backend):
        raise SpecError(Diagnostic("DL0704", f"the backend `{name}` does not fit the protocol of backends"), exit_code=3)
    return backend
