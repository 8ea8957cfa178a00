"""The scalars whose gradients are compared, and their gradients by central differences of the float64 reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from backends.base import Arrays
from backends.reference import Interpreter, widened
from backends.reference_gradient import Slope
from dsl.differentiable import obstacles
from dsl.ir import Program
from dsl.passes.every_graph import rewrite_every_graph
from dsl.passes.prune import prune
from dsl.verification.cases import Case, cases_of
from dsl.verification.expectation import made_from
from dsl.verification.gradient_noise import Tensors, input_name
from dsl.verification.inputs import Spread

_ATTEMPTS = ((Spread.NORMAL, 0), (Spread.UNIT, 0), (Spread.NORMAL, 1), (Spread.UNIT, 1))


@dataclass(frozen=True, slots=True)
class Scalar:
    """The sum of some outputs of a case, weighted: with random numbers, or the first alone, which is a loss."""

    case: Case
    outputs: tuple[str, ...]
    loss: bool
    trained: frozenset[str]

    def weights(self, results: Arrays, seed: int) -> dict[str, np.ndarray]:
        """What each output is weighted with."""
        rng = np.random.default_rng(seed)
        return {
            n: np.ones(np.shape(results[n])) if self.loss else rng.standard_normal(np.shape(results[n])) for n in self.outputs
        }

    def named(self, found: Tensors) -> Tensors:
        """Gradients by the names of parameters and of the spec's inputs, as float64; buffers and draws are left out. A parameter that
        the target does not have, because no output needs it, has a gradient of zeros."""
        given = {input_name(name): path for name, path in self.case.parameters.items()}
        drawn = {input_name(draw.name) for draw in self.case.draws}
        renamed = {given.get(name, name): widened(g) for name, g in found.items() if name not in drawn}
        kept = {name: g for name, g in renamed.items() if name.startswith("input ") or name in self.trained}
        return {**self._unneeded(kept), **kept}

    def _unneeded(self, found: Tensors) -> Tensors:
        stored = self.case.program.parameters()
        return {n: np.zeros(p.type.shape) for n, p in stored.items() if n in self.trained and n not in found}  # type: ignore[arg-type]


def scalars(program: Program, *, loss: bool = False) -> tuple[list[Scalar], list[str]]:
    """A scalar for each case of the program, and what was left out because it has no gradient. With `loss` it is the first output."""
    trained = frozenset(name for name, p in program.parameters().items() if p.trained and p.type.dtype.is_float)
    found: list[Scalar] = []
    remarks: list[str] = []
    for case in cases_of(program, gradients=True):
        graph = case.graph
        floating = [name for name, value in graph.outputs.items() if graph.type(value).dtype.is_float]
        floating = floating[:1] if loss else floating
        hidden = [name for name in floating if _loops(case, name)]
        kept = tuple(name for name in floating if name not in hidden)
        remarks += [f"`{name}` of `{case.entry}` comes from a `while`, which has no gradient" for name in hidden]
        if kept:
            found.append(Scalar(_only(case, kept) if hidden else case, kept, loss, trained))
    return found, list(dict.fromkeys(remarks))


def _loops(case: Case, output: str) -> bool:
    """Whether an output depends through a `while` on what is differentiated."""
    graph = case.graph
    found = obstacles(graph, graph.outputs[output], case.program.parameters(), set(graph.inputs.values()))
    return any(node.op == "while" for node in found)


def _only(case: Case, outputs: tuple[str, ...]) -> Case:
    """The case with these outputs alone."""
    graph = case.graph.copy()
    graph.outputs = {name: graph.outputs[name] for name in outputs}
    program, _ = rewrite_every_graph(Program(case.program.name, {case.entry: graph}), prune)
    return replace(case, program=program)


@dataclass(frozen=True, slots=True)
class Point:
    """A scalar at given sizes: inputs, and the weights of its outputs."""

    scalar: Scalar
    sizes: Mapping[str, int]
    stored: Arrays
    inputs: Arrays
    weights: Arrays

    @property
    def case(self) -> Case:
        return self.scalar.case

    def tensors(self) -> Tensors:
        """What is differentiated by, under the names of `Scalar.named`."""
        case = self.case
        held = {name: np.asarray(self.stored[name]) for name in case.program.parameters() if name in self.scalar.trained}
        fed = {case.parameters.get(n, input_name(n)): np.asarray(x) for n, x in self.inputs.items()}
        drawn = {input_name(draw.name) for draw in case.draws}
        everything = {**held, **{n: x for n, x in fed.items() if n not in drawn and x.dtype.kind == "f"}}
        return {n: x for n, x in everything.items() if n.startswith("input ") or n in self.scalar.trained}

    def cancelled(self) -> float:
        """How large the scalar is as far as it cancels: what its outputs that are 0 everywhere are made from, weighted."""
        case = self.case
        scales = made_from(case.graph, self.stored, self.inputs, training=case.run_training)
        return sum((float(np.sum(np.abs(self.weights[n]))) * scale for n, scale in scales.items() if n in self.weights), 0.0)

    def along(self, direction: Mapping[str, np.ndarray]) -> Slope:
        """The derivative of the scalar along a direction, by central differences."""
        case = self.case
        interpreter = Interpreter(self.stored, training=case.run_training)
        state = dict(interpreter.state)
        feed = {name: widened(np.asarray(x)) for name, x in self.inputs.items()}
        names = {name: case.parameters.get(name, input_name(name)) for name in feed}

        def value(t: float) -> np.ndarray:
            interpreter.state = {n: x + t * direction[n] if n in direction else x for n, x in state.items()}
            moved = {n: x + t * direction[names[n]] if names[n] in direction else x for n, x in feed.items()}
            results = interpreter.run(case.graph, moved)
            return np.asarray(sum(np.sum(weight * results[name]) for name, weight in self.weights.items()))

        return interpreter.derivative(value)


def points(scalar: Scalar, weights: Arrays, sizes: Mapping[str, int], seed: int) -> Iterator[Point]:
    """Points to compare at, the likelier ones first: at some a model may give infinities."""
    case = scalar.case
    for spread, offset in _ATTEMPTS:
        inputs = case.inputs(weights, sizes, seed + offset, spread)
        results = Interpreter(weights, training=case.run_training).run(case.graph, inputs)
        if all(np.all(np.isfinite(results[name])) for name in scalar.outputs):
            yield Point(scalar, dict(sizes), weights, inputs, scalar.weights(results, seed))
