"""A training whose batches are made while it goes on, by what it has learned so far: what reinforcement learning needs.

`dslc train` reads data that are there before. Here a program of yours makes each batch, with dsl/hosts/environment.py for one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.base import Arrays, EmitOptions, Session, TrainOptions
from dsl.compiler import Spec, compile_graph, compile_training
from dsl.data.columns import ArrayColumn
from dsl.data.fit import batch_axis, bound_sizes, check_counts, check_values
from dsl.data.problems import declared, unmatched
from dsl.diagnostics import SpecError, did_you_mean
from dsl.initial_values import initial_weights
from dsl.inputs import fitted
from dsl.lower import lower, lower_training, training_backend, weights_of
from dsl.target import backend, require_packages
from dsl.trainer.prepare import integer_ranges, with_followers
from dsl.weights import no_layer


class Online:
    """A `train` block of a spec that is being trained, a step for each batch that it is given."""

    def __init__(
        self, spec: Spec, block: str, settings: Mapping[str, object] | None = None, *, target: str = "torch", seed: int = 0
    ) -> None:
        self.spec = spec
        self.target = target
        self.steps = 0
        found = backend(target)
        require_packages(found)
        training, _ = compile_training(spec, settings, name=block)
        trains = training_backend(training, found, TrainOptions())
        artifact, lowered = lower_training(training, found, EmitOptions(), TrainOptions())
        begin = with_followers(lowered, initial_weights(lowered.program, seed))
        self._inputs = training.inputs
        self._batch = batch_axis(training.inputs)
        self._ranges = integer_ranges(training, {})
        self._session = trains.load_training(artifact, lowered, begin, seed=seed)

    def step(self, batch: Arrays) -> Mapping[str, float]:
        """One step, and its losses and metrics. SpecError for a batch that does not fit the block, as for data."""
        rows = {name: float(value) for name, value in self._session.step(self.steps, self._fitted(batch)).items()}
        self.steps += 1
        return rows

    def weights(self, layer: str | None = None) -> Arrays:
        """The weights as they are now: all of them, or those of a layer of the block by the names that they have in it."""
        prefix = "" if layer is None else f"{layer}."
        found = {n.removeprefix(prefix): w for n, w in self._session.weights().items() if n.startswith(prefix)}
        if layer is not None and not found:
            raise SpecError(no_layer(f"the block has no weights of a layer `{layer}`", layer, self._session.weights()))
        return found

    def learned(self, layer: str, model: str | None = None, settings: Mapping[str, object] | None = None) -> Learned:
        """The model that a layer of the block is, with the weights of now. It is named, and has the settings of the layer."""
        return Learned(self, layer, model, settings)

    def _fitted(self, batch: Arrays) -> Arrays:
        for name in batch:
            if name not in self._inputs:
                near = did_you_mean(name, self._inputs)
                help = f"did you mean `{near}`?" if near else f"the inputs are {declared(self._inputs)}"
                raise unmatched(f"the block has no input `{name}`", help=help)
        missing = {name: type_ for name, type_ in self._inputs.items() if name not in batch}
        if missing:
            raise unmatched(f"the batch has no {declared(missing)}")
        columns = {name: ArrayColumn(np.asarray(batch[name])) for name in self._inputs}
        check_counts(columns)
        bound_sizes(self._inputs, columns, {}, self._batch)
        check_values(self._inputs, columns, self._ranges)
        return batch


class Learned:
    """A model with the weights that a layer of a training had when they were last taken."""

    def __init__(self, training: Online, layer: str, model: str | None, settings: Mapping[str, object] | None) -> None:
        self._training = training
        self._layer = layer
        self._backend = backend(training.target)
        self._checked = compile_graph(training.spec, settings, model=model)
        self._made = lower(self._checked, self._backend, EmitOptions())
        self._session = self._loaded()

    def refresh(self) -> None:
        """Take the weights of now."""
        self._session = self._loaded()

    def outputs(self, **inputs: np.ndarray) -> Arrays:
        """Its outputs by name, in inference mode."""
        return self._session.run(fitted(self._checked.main, inputs)).outputs

    def _loaded(self) -> Session:
        weights = weights_of(self._checked, self._training.weights(self._layer))
        return self._backend.load(self._made.artifact, self._made.program, weights)
