"""The cases of a program: each entry point in inference and, where that differs, in training, with random draws made the same for all.

A case whose graph draws nothing keeps the modules of the spec. One that draws is flat and pure: its draws, parameters and buffers are
inputs. Training with dropout is both: once without the dropout and with the modules, once with it and flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays, Result
from dsl.ir import Call, Graph, Program
from dsl.ops.registry import CARDS
from dsl.passes.drop_dropout import drop_dropout
from dsl.passes.every_graph import rewrite_graph
from dsl.passes.inline import inline_graph
from dsl.passes.lift_draws import Draw, lift_draws
from dsl.passes.lift_parameters import lift_parameters
from dsl.passes.prune import prune
from dsl.passes.specialize import specialize, specialize_graph
from dsl.verification.expectation import Measurement, expect, update_name
from dsl.verification.inputs import Spread, make_inputs

_ATTEMPTS = ((Spread.NORMAL, 0), (Spread.UNIT, 0), (Spread.NORMAL, 1), (Spread.UNIT, 1))


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: `program` at `entry`, in a mode. `original` is the entry point as the spec has it, whose inputs are made;
    `parameters` and `draws` are further inputs of a flat case, and `updates` outputs of it that stand for updates."""

    entry: str
    mode: str
    training: bool
    program: Program
    original: Graph
    parameters: Mapping[str, str]
    draws: tuple[Draw, ...] = ()
    updates: Mapping[str, str] | None = None

    @property
    def flat(self) -> bool:
        return self.updates is not None

    @property
    def graph(self) -> Graph:
        return self.program.entries[self.entry]

    @property
    def run_training(self) -> bool:
        """The mode that a session runs in: a flat case has its mode built in."""
        return self.training and not self.flat

    def inputs(self, weights: Arrays, sizes: Mapping[str, int], seed: int, spread: Spread) -> dict[str, np.ndarray]:
        """All that the graph of the case takes."""
        rng = np.random.default_rng(seed)
        made = make_inputs(self.original, sizes, seed, spread)
        given = {name: weights[path] for name, path in self.parameters.items()}
        drawn = {draw.name: draw.sample(dict(sizes), rng) for draw in self.draws}
        return {name: {**made, **given, **drawn}[name] for name in self.graph.inputs}

    def measured(self, weights: Arrays, sizes: Mapping[str, int], seed: int) -> tuple[dict[str, np.ndarray], Measurement]:
        """Inputs and what they should give; inputs at which the comparison says something, if such are found."""
        first: tuple[dict[str, np.ndarray], Measurement] | None = None
        for spread, offset in _ATTEMPTS:
            inputs = self.inputs(weights, sizes, seed + offset, spread)
            measurement = expect(self.graph, weights, inputs, training=self.run_training, seed=seed)
            first = first or (inputs, measurement)
            if measurement.sound:
                return inputs, measurement
        assert first is not None
        return first

    def tensors(self, result: Result) -> dict[str, np.ndarray]:
        """Outputs and updates of a run by the names of the measurement."""
        updates = {update_name(path): np.asarray(value) for path, value in result.updates.items()} if self.run_training else {}
        return {**{name: np.asarray(value) for name, value in result.outputs.items()}, **updates}


def cases_of(program: Program, *, gradients: bool = False) -> list[Case]:
    """Every case of the program. For `gradients`, functions keep those that they bring along."""
    quiet = drop_dropout(program)
    found: list[Case] = []
    for entry, graph in program.entries.items():
        flat = {training: flattened(graph, training=training, gradients=gradients) for training in (False, True)}
        drawn = {training: _random_ops(flat[training]) for training in (False, True)}
        if drawn[False]:
            found.append(pure_case(graph, flat[False], entry, "inference", training=False))
        else:
            found.append(Case(entry, "inference", False, program, graph, {}))
        if not _differs_in_training(graph):
            continue
        if not drawn[True]:
            found.append(Case(entry, "training", True, program, graph, {}))
            continue
        if drawn[True] == {"dropout"}:
            found.append(Case(entry, "training without dropout", True, quiet, graph, {}))
        found.append(pure_case(graph, flat[True], entry, "training", training=True))
    return found


def flattened(graph: Graph, *, training: bool, gradients: bool = False) -> Graph:
    """The entry point without calls, for one mode, and without what that mode does not need.

    Where gradients count, a function that brings its own along is kept, unless it draws: then it is taken for what it computes.
    """
    differentiates = gradients or any(node.op == "grad" for callee in graph.callees() for node in callee)

    def wanted(call: Call) -> bool:
        return not differentiates or call.graph.backward is None or bool(_random_ops(call.graph))

    flat = inline_graph(graph, wanted)
    return rewrite_graph(rewrite_graph(flat, lambda g: specialize_graph(g, training=training)), prune)


def pure_case(original: Graph, flat: Graph, entry: str, mode: str, *, training: bool) -> Case:
    """A case of a flat graph whose draws, parameters and buffers are inputs."""
    lifted, draws = lift_draws(flat)
    pure = lift_parameters(lifted)
    program = Program(original.definition, {entry: pure.graph})
    return Case(entry, mode, training, program, original, pure.parameters, draws, pure.updates)


def one_mode(case: Case) -> Program:
    """The entry point of the case alone, specialised to its mode, with its modules."""
    return specialize(Program(case.program.name, {case.entry: case.graph}), training=case.training)


def _random_ops(graph: Graph) -> set[str]:
    return {n.op for g in graph.callees() for n in g if n.op in CARDS and CARDS[n.op].random}


def _differs_in_training(graph: Graph) -> bool:
    return any(g.updates or any(n.op in ("if_training", "dropout") for n in g) for g in graph.callees())
