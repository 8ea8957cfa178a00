"""Lints: warnings of `dslc check` for what is well-formed and hardly ever meant.

They look at a program as it was elaborated, before any pass, with the functions of the library still calls. One module has one theme;
each lint is a function from a `Place` to diagnostics, of the codes from DL1010 on. A comment `# dslc: allow DL1010` silences one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsl.diagnostics import Diagnostic
from dsl.ir import Graph, Program
from dsl.lints import axes, blocks, layers, losses, masks, numerics, objectives, order, rates, sequence, targets
from dsl.lints.place import Lint
from dsl.lints.walk import Walk
from dsl.training import Training


def _registered(*themes: Mapping[str, tuple[Lint, ...]]) -> dict[str, Sequence[Lint]]:
    found: dict[str, list[Lint]] = {}
    for theme in themes:
        for name, lints in theme.items():
            found.setdefault(name, []).extend(lints)
    return dict(found)


LINTS = _registered(losses.LINTS, layers.LINTS, axes.LINTS, numerics.LINTS, masks.LINTS, order.LINTS, targets.LINTS, blocks.LINTS)
"""The lints for each operator, by its name: a primitive, or a function or layer of the library."""

OF_LAYERS = (*layers.ALWAYS, *numerics.ALWAYS)
"""The lints of every layer that is applied."""


def lint(program: Program) -> tuple[Diagnostic, ...]:
    """What the lints find in a program."""
    walk = Walk(LINTS, OF_LAYERS)
    for graph in program.entries.values():
        walk.found.extend(objectives.outputs(graph, walk.root(graph, examples(graph))))
    return (*walk.found, *blocks.residuals_without_sum(program.entries.values()))


def lint_training(training: Training) -> tuple[Diagnostic, ...]:
    """What the lints find in a `train` block and the layers that it trains."""
    walk = Walk(LINTS, OF_LAYERS)
    found: list[Diagnostic] = []
    known = {name: walk.root(graph, examples(graph)) for name, graph in training.program.entries.items()}
    for objective in training.objectives:
        graph = training.program.entries[objective.entry]
        found.extend(objectives.wrong_sign(training, objective, graph, known[objective.entry]))
        found.extend(objectives.summed(objective, graph, known[objective.entry]))
    graphs = training.program.entries.values()
    seen = [d for graph in graphs for d in sequence.sees_its_target(graph)]
    block = [*rates.out_of_range(training), *targets.compared(training), *blocks.whole_block(training)]
    return (*walk.found, *found, *seen, *block, *blocks.residuals_without_sum(graphs))


def examples(graph: Graph) -> frozenset[str]:
    """The dimensions that count examples: what the first axes of all floating inputs are, where that is one symbol."""
    first = {str(type_.shape[0]) for value in graph.inputs.values() if (type_ := graph.type(value)).rank > 1}
    return frozenset(first) if len(first) == 1 and not next(iter(first)).isdigit() else frozenset()
