"""A backend that differentiates and trains, for the checks that need gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from backends.base import Arrays, Backend, Differentiable, EmitOptions, Session, TrainingBackend, TrainingSession, TrainOptions
from dsl.diagnostics import SpecError
from dsl.doctor.record import Recorder
from dsl.ir import Call, Graph, Node, Program, Value
from dsl.lower import lower_training
from dsl.passes.every_graph import rewrite_graph
from dsl.passes.inline import everything, inline_graph, outer
from dsl.passes.lift_draws import Draw, lift_draws
from dsl.passes.lift_parameters import lift_parameters
from dsl.passes.specialize import specialize_graph
from dsl.target import backend as find
from dsl.target import require_packages
from dsl.training import Training
from dsl.verification.compare import compile_and_load

CANDIDATES = ("torch", "jax")


@dataclass(frozen=True, slots=True)
class _Slope:
    """A `grad` node alone, compiled: its operands are the inputs `x0`, `x1`, ...; the others are draws and parameters."""

    session: Session
    draws: tuple[Draw, ...]
    parameters: Mapping[str, str]


@dataclass(slots=True)
class Engine:
    """One backend at work. What it compiled is kept."""

    backend: Backend
    _slopes: dict[tuple[object, ...], _Slope] = field(default_factory=dict)

    def differentiable(self, program: Program, weights: Arrays) -> Differentiable:
        """The program with these weights, ready for gradients."""
        session = compile_and_load(self.backend, program, weights, EmitOptions())
        assert isinstance(session, Differentiable)
        return session

    def training(self, training: Training, weights: Arrays, seed: int) -> TrainingSession:
        """The training itself, at its first step."""
        artifact, lowered = lower_training(training, self.backend, EmitOptions(), TrainOptions())
        assert isinstance(self.backend, TrainingBackend)
        trains: TrainingBackend = self.backend
        return trains.load_training(artifact, lowered, weights, seed=seed)

    def slope(
        self, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str, recorder: Recorder
    ) -> tuple[np.ndarray, ...]:
        """The results of a `grad` node that the reference met in the layer at `prefix`."""
        key = (node, recorder.training, *sorted(sizes.items()))  # nodes are told apart by identity
        if key not in self._slopes:
            self._slopes[key] = self._compiled(node, sizes, recorder.training)
        made = self._slopes[key]
        inputs = {f"x{i}": x for i, x in enumerate(operands)}
        inputs |= {draw.name: draw.sample(dict(sizes), recorder.random) for draw in made.draws}
        inputs |= {name: recorder.state[prefix + path] for name, path in made.parameters.items()}
        results = made.session.run(inputs, entry="gradient").outputs.values()
        return tuple(np.asarray(r, np.float64) for r in results)

    def _compiled(self, node: Node, sizes: Mapping[str, int], training: bool) -> _Slope:
        alone = _alone(node, dict(sizes))
        flat = rewrite_graph(inline_graph(alone, everything), lambda g: specialize_graph(g, training=training))
        lifted, draws = lift_draws(flat)
        pure = lift_parameters(lifted)
        program = Program("Gradient", {"gradient": pure.graph})
        return _Slope(compile_and_load(self.backend, program, {}, EmitOptions()), draws, pure.parameters)


def _alone(node: Node, sizes: Mapping[str, int]) -> Graph:
    """A graph that is the node and nothing else, at known sizes: the operands are its inputs."""
    assert node.target is not None
    inner = Graph("gradient", kind="fn")
    block = node.target.graph
    for i, value in enumerate(block.inputs.values()):
        made = inner.add("input", (), {"name": f"x{i}"}, (block.type(value),))
        inner.inputs[f"x{i}"] = Value(made.id)
    applied = inner.add("grad", tuple(inner.inputs.values()), node.attributes, node.types, target=node.target)
    inner.outputs = {f"g{i}": Value(applied.id, i) for i in range(len(node.types))}
    root = Graph("Gradient", "gradient", "model")
    for name, value in inner.inputs.items():
        made = root.add("input", (), {"name": name}, (outer(inner.type(value), sizes),))
        root.inputs[name] = Value(made.id)
    types = tuple(outer(t, sizes) for t in node.types)
    call = root.add("call", tuple(root.inputs.values()), {}, types, target=Call(inner, None, sizes))
    root.outputs = {name: Value(call.id, v.index) for name, v in inner.outputs.items()}
    return root


def installed() -> Engine | None:
    """The first backend that is installed and differentiates; None where there is none."""
    for name in CANDIDATES:
        try:
            backend = find(name)
            require_packages(backend)
        except SpecError:
            continue
        return Engine(backend)
    return None
