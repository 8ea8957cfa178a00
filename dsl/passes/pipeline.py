"""Which passes run, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsl.diagnostics import InternalError
from dsl.garbage import collector_paused
from dsl.ir import Program
from dsl.passes.cancel_reshapes import cancel_reshapes
from dsl.passes.drop_results import drop_results
from dsl.passes.every_graph import Rewrite, rewrite_every_graph
from dsl.passes.fold_batch_norm import fold_batch_norm
from dsl.passes.fold_constants import fold_constants
from dsl.passes.fuse_linear import fuse_linear
from dsl.passes.merge_equal import merge_equal
from dsl.passes.prune import prune
from dsl.passes.simplify import simplify
from dsl.passes.specialize import specialize, without_backward

Weights = Mapping[str, np.ndarray]
After = Callable[[str, Program], None]


@dataclass(frozen=True, slots=True)
class Optimized:
    """A program after the passes, the weights that go with it, and the passes that changed something."""

    program: Program
    weights: Weights | None
    changed: tuple[str, ...]


GRAPH_PASSES: dict[str, Rewrite] = {
    "prune": prune,
    "fold_constants": fold_constants,
    "simplify": simplify,
    "cancel_reshapes": cancel_reshapes,
    "merge_equal": merge_equal,
}
PROGRAM_PASSES: dict[str, Callable[[Program], tuple[Program, bool]]] = {"drop_results": drop_results}
WEIGHT_PASSES: dict[str, Callable[[Program, Weights], tuple[Program, Weights, bool]]] = {
    "fold_batch_norm": fold_batch_norm,
    "fuse_linear": fuse_linear,
}
PIPELINE = (
    "specialize", "drop_results", "prune", "fold_constants", "simplify", "cancel_reshapes", "merge_equal", "fold_batch_norm",
    "fuse_linear", "prune",
)  # fmt: skip
"""`specialize` and the passes that change weights are for targets that only infer."""

NAMES = tuple(dict.fromkeys(PIPELINE))

OPTIONAL = tuple(name for name in NAMES if name != "specialize")
"""What may be left out: a target that only infers has no word for what depends on the mode."""


@collector_paused()
def optimize(
    program: Program,
    weights: Weights | None = None,
    *,
    training: bool,
    disabled: frozenset[str] = frozenset(),
    after: After | None = None,
) -> Optimized:
    """Run the pipeline. `training` says whether the target can train; `after` sees the program after each pass that ran."""
    changed: list[str] = []
    for name in PIPELINE:
        if name in disabled:
            continue
        differs = False
        if name == "specialize":
            if not training:
                program = without_backward(specialize(program, training=False))
        elif name in PROGRAM_PASSES:
            program, differs = PROGRAM_PASSES[name](program)
        elif name in WEIGHT_PASSES:
            if not training and weights is not None:
                program, weights, differs = WEIGHT_PASSES[name](program, weights)
        else:
            program, differs = rewrite_every_graph(program, GRAPH_PASSES[name])
        if differs:
            changed.append(name)
            _verify(program, name)
        if after is not None:
            after(name, program)
    return Optimized(program, weights, tuple(dict.fromkeys(changed)))


def _verify(program: Program, name: str) -> None:
    for graph in {id(g): g for root in program.entries.values() for g in root.callees()}.values():
        try:
            graph.verify()
        except InternalError as problem:
            raise InternalError(f"after the pass `{name}`: {problem}") from problem
