"""What is examined: a training without its dropout, weights as it begins with, a batch, and other values to put in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from backends.base import Arrays, Gradients
from dsl.doctor.engine import Engine
from dsl.doctor.known_losses import Given, each
from dsl.doctor.record import Recorder, See, Seen, Term, users_place
from dsl.doctor.samples import Sample
from dsl.doctor.trial import Trial, attempt
from dsl.initial_values import initial_weights
from dsl.ir import Graph
from dsl.passes.drop_dropout import drop_dropout
from dsl.source import NOWHERE, Span
from dsl.trainer.prepare import with_followers
from dsl.training import Objective, Training
from dsl.verification.inputs import unconstant


class Measured:
    """The losses, metrics, terms of losses, layers and nodes of one pass over a batch; metrics are by name as losses are."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.terms: dict[str, list[Term]] = {}
        self.layers: dict[str, list[np.ndarray]] = {}
        self.places: dict[str, Span] = {}
        self.units: list[Seen] = []

    def is_sole(self, objective: str) -> bool:
        """Whether the objective is one loss of the library and nothing else."""
        parts = [each(t.graph, t.given, t.value) for t in self.terms[objective]]
        value = self.values[objective]
        totals = (parts[0], sum(parts) / len(parts)) if parts else ()
        return any(abs(value - total) <= 1e-3 * abs(value) + 1e-9 for total in totals)


class Subject:
    """A training on the examiner's table. What several checks need is computed once."""

    def __init__(self, training: Training, sample: Sample, seed: int, steps: int, engine: Engine | None) -> None:
        self.original = training
        self.training = replace(training, program=drop_dropout(training.program))
        self.sample = sample
        self.seed = seed
        self.steps = steps
        self.engine = engine
        self.weights = with_followers(self.training, initial_weights(training.program, seed))

    @cached_property
    def moved(self) -> Arrays:
        """The weights with those that begin as a constant moved a little, so that a layer of zeros hides nothing."""
        return unconstant(self.weights, self.training.program.parameters(), self.seed)

    def graph(self, objective: Objective) -> Graph:
        return self.training.program.entries[objective.entry]

    # --- values ---

    def recorder(self, weights: Arrays, *, training: bool, see: See | None = None) -> Recorder:
        slope = self.engine.slope if self.engine is not None else None
        return Recorder(weights, training=training, seed=self.seed, see=see, slope=slope)

    def inputs(self, recorder: Recorder, graph: Graph, batch: Arrays) -> Arrays:
        """What an entry point takes of a batch, and of the draws that the objectives share."""
        given = dict(batch)
        draws = self.training.draws
        if draws is not None:
            given |= recorder.run(draws, {name: batch[name] for name in draws.inputs})
        return {name: given[name] for name in graph.inputs}

    def measure(self, weights: Arrays, batch: Arrays, *, training: bool) -> Measured:
        """One pass with these weights over a batch."""
        found = Measured()
        for objective in self.training.objectives:
            recorder = self.recorder(weights, training=training, see=lambda seen: _keep_units(found, seen))
            graph = self.graph(objective)
            outputs = recorder.run(graph, self.inputs(recorder, graph, batch))
            found.values |= {name: float(np.mean(value)) for name, value in outputs.items()}
            found.terms[objective.name] = recorder.terms
            found.places = {**recorder.places, **found.places}
            for layer, results in recorder.layers.items():
                found.layers.setdefault(layer, []).extend(results)
        return found

    @cached_property
    def start(self) -> Measured:
        """The batch with the initial weights, in training mode."""
        return self.measure(self.weights, self.sample.batch, training=True)

    def loss_of(self, graph: Graph, given: Given) -> float:
        """The mean of a loss function of the library."""
        (value, *_) = self.recorder({}, training=True).run(graph, given).values()
        return each(graph, given, value)

    def place(self, path: str, otherwise: Span = NOWHERE) -> Span:
        """Where the user wrote a parameter, or applies the layer of that path or the next around it."""
        parameter = self.training.program.parameters().get(path)
        if parameter is not None and users_place([parameter.span]) is not NOWHERE:
            return parameter.span
        parts = path.split(".")
        around = (self.start.places.get(".".join(parts[:i]), NOWHERE) for i in range(len(parts), 0, -1))
        return next((span for span in around if span is not NOWHERE), otherwise)

    # --- gradients ---

    def gradients(self, weights: Arrays) -> dict[str, Gradients] | None:
        """The gradients of each objective over the batch, in training mode; None where nothing is installed that differentiates."""
        if self.engine is None:
            return None
        session = self.engine.differentiable(self.training.program, weights)
        found = {}
        for objective in self.training.objectives:
            graph = self.graph(objective)
            inputs = self.inputs(self.recorder(weights, training=True), graph, self.sample.batch)
            loss = next(iter(graph.outputs))
            found[objective.name] = session.gradients(inputs, {loss: np.ones(())}, training=True, entry=objective.entry)
        return found

    @cached_property
    def start_gradients(self) -> Mapping[str, Gradients] | None:
        return self.gradients(self.weights)

    @cached_property
    def trial(self) -> Trial | None:
        """A short training on a few rows; None where nothing is installed that trains."""
        if self.engine is None:
            return None
        return self.attempt(self.engine, self.training)

    def attempt(self, engine: Engine, training: Training) -> Trial:
        """A short training of this block, or of the same with other rules."""
        return attempt(engine, training, self.weights, self.sample.few, self.seed, self.steps)


_UNITS = ("relu", "tanh", "sigmoid")


def _keep_units(found: Measured, seen: Seen) -> None:
    """Keep what an activation gave, of a layer and not inside a loss."""
    in_loss = any(span.source.name == "dsl/lib/loss.dl" for span in seen.node.spans)
    if seen.node.op in _UNITS and seen.node.type.rank > 1 and not in_loss:
        found.units.append(seen)
