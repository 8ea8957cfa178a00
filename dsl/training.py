"""What a `train` block means: objectives over a program, and what follows each of them.

The program of a training has one entry point for each objective, whose first output is the loss and whose others are the metrics that
come with it; they share the layers of the block. Draws that several objectives read are made once, by the entry point `draws`, whose
outputs are further inputs of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dsl.ir import Graph, Program, StaticValue
from dsl.source import NOWHERE, Span
from dsl.types import TensorType


@dataclass(frozen=True, slots=True)
class Plateau:
    """The learning rate is multiplied by `factor` when the objective has not fallen by the fraction `threshold` for `patience` evaluations
    in a row; then `cooldown` evaluations pass uncounted. It does not go below `minimum`."""

    factor: float
    patience: int
    threshold: float
    cooldown: int
    minimum: float


@dataclass(frozen=True, slots=True)
class Rule:
    """How the parameters of one group are updated.

    `update` is the rule as a function of the language: (p, g, *state, step, lr) -> (p, *state), on tensors of one axis of any length;
    elementwise rules hold for any shape. `step` counts the updates from 1, `state` begins at zero. `update` is None for a rule that only a
    target has, which computes the loss several times a step (`lbfgs`): that is the only rule of its objective, whose loss is the same each
    time and whose gradient has no bound. `rate` gives the learning rate for the number of updates done before, a float scalar. `library`
    says that the rule is the library's own, which a target may have a word for. `settings` are the rule's static arguments by name (betas,
    eps, weight_decay), without lr.
    """

    name: str
    library: bool
    settings: Mapping[str, StaticValue]
    state: tuple[str, ...]
    update: Graph | None
    rate: Graph
    parameters: tuple[str, ...]
    plateau: Plateau | None = None
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Clip:
    """A bound on the gradients of an objective: on their norm together ("norm") or on each number ("value")."""

    kind: str
    limit: float


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss to be minimised: the entry point that computes it (its first output), and who follows its gradient, in which way.

    It takes its turn in every `every`-th step of the training, the first included.
    """

    name: str
    entry: str
    rules: tuple[Rule, ...]
    clip: Clip | None = None
    every: int = 1
    span: Span = field(default=NOWHERE, compare=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(name for rule in self.rules for name in rule.parameters)


@dataclass(frozen=True, slots=True)
class Update:
    """Parameters and buffers that are changed together, in every step when `after` objectives had their turn: `assigned` says by the path
    of each which output of the entry point it becomes. The other outputs are metrics. Nothing is differentiated."""

    entry: str
    assigned: Mapping[str, str]
    after: int
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Follower:
    """A layer that begins as a copy of `source` and follows it: set equal after every `every` steps, or, with `decay`, after each step
    `decay * itself + (1 - decay) * source`. Buffers are copied."""

    layer: str
    source: str
    every: int | None = None
    decay: float | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """A `train` block. `inputs` are what a batch has; `metrics` says for each name the entry point that has it as an output; `untrained`
    are the parameters that no objective changes, followers apart. A training without objectives has updates."""

    name: str
    program: Program
    inputs: Mapping[str, TensorType]
    objectives: tuple[Objective, ...]
    metrics: Mapping[str, str]
    followers: tuple[Follower, ...]
    untrained: tuple[str, ...]
    hyper: Mapping[str, StaticValue]
    draws: Graph | None = None
    doc: str = ""
    updates: tuple[Update, ...] = ()

    @property
    def turns(self) -> list[Objective | Update]:
        """Objectives and updates in the order of their turns."""
        found: list[Objective | Update] = []
        for i in range(len(self.objectives) + 1):
            found += [update for update in self.updates if update.after == i]
            found += self.objectives[i : i + 1]
        return found

    @property
    def updated(self) -> frozenset[str]:
        """The parameters and buffers that updates change."""
        return frozenset(path for update in self.updates for path in update.assigned)

    @property
    def losses(self) -> Program:
        """The entry points of the objectives: what is differentiated."""
        return Program(self.program.name, {o.entry: self.program.entries[o.entry] for o in self.objectives})

    def reported(self, turn: Objective | Update) -> list[str]:
        """The names of the losses and metrics among the outputs of a turn, in order."""
        outputs = self.program.entries[turn.entry].outputs
        changed = set(turn.assigned.values()) if isinstance(turn, Update) else set()
        return [name for name in outputs if name not in changed]
