"""What the outputs of a graph should be, and how far from that a correct computation may land.

The rule, for every tensor: the reference computes it in float64, then three times more with noise, in which every parameter, input and
inexact operation is off by up to 32 units in the last place of its own element type (2 units for 16-bit types, whose operations
compute in more bits and round once). The largest change that the noise makes is the tolerance, plus four units in the last place of
the largest element; it never exceeds the cube root of one unit, relative to that element. So a tensor that hangs on small differences
is allowed more, by as much as its own arithmetic says, and the others are not. Where everything cancels and all elements are 0, they
are taken relative to the largest that they were made from. What is below the numbers of a type may be 0. Integers and booleans must
be equal, except where the noise changes them (an argmax between two that are nearly equal).

A Fourier transform is a sum with coefficients that a target rounds as well. Its noise is relative to the norm of what is summed: some of
its results, as the imaginary part of the first, are 0 whatever is summed, and an error relative to them would be none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays
from backends.reference import Interpreter, widened
from dsl.initial_values import in_dtype
from dsl.ir import Graph, Node, Value
from dsl.ops.card import Card
from dsl.ops.numpy_types import array_dtype
from dsl.ops.registry import CARDS
from dsl.types import DType

UNITS = {DType.F16: 2, DType.BF16: 2, DType.F32: 32, DType.F64: 32}
"""How far off one operation may be, in units in the last place."""

FLOOR = 4
"""How many units in the last place of its largest element any tensor may be off."""

TRIES = 3

EPSILON = {DType.F16: 2.0**-10, DType.BF16: 2.0**-7, DType.F32: 2.0**-23, DType.F64: 2.0**-52}
SMALLEST = {DType.F16: 2.0**-24, DType.BF16: 2.0**-126, DType.F32: 2.0**-126, DType.F64: 2.0**-1022}
"""What is below is 0 on some target: the smallest normal number, in f16 the smallest of all."""

EXACT = frozenset({
    "abs", "neg", "sign", "floor", "ceil", "round", "relu", "maximum", "minimum", "where", "clip", "max", "min", "max_pool",
    *(name for name, card in CARDS.items() if card.family in ("shape", "index", "create", "control", "random")),
}) - {"scatter_add", "linspace"}  # fmt: skip
"""Operations that pick or move numbers and never round. A cast rounds when it is between floating types."""

TRANSFORMS = frozenset({"rfft", "irfft"})


@dataclass(frozen=True, slots=True)
class Expected:
    """One tensor: its `value`, how far each element may be off, and the elements that noise decides (of integers and booleans)."""

    value: np.ndarray
    tolerance: float
    undecided: np.ndarray
    steep: bool

    def error(self, found: np.ndarray) -> float:
        """The largest difference between `found` and the value; infinite for another shape, or where NaN and infinities differ."""
        if np.shape(found) != self.value.shape:
            return float("inf")
        if self.value.dtype.kind != "f":
            return float(np.max((np.asarray(found) != self.value) & ~self.undecided, initial=False))
        other = np.asarray(found, dtype=np.float64)
        finite = np.isfinite(self.value)
        odd = np.where(np.isnan(self.value), np.isnan(other), other == self.value)
        if not np.all(np.where(finite, np.isfinite(other), odd)):
            return float("inf")
        with np.errstate(invalid="ignore"):
            return float(np.max(np.abs(other - self.value), where=finite, initial=0.0))

    def accepts(self, found: np.ndarray) -> bool:
        return self.error(found) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outputs of a graph and the updates of its buffers, by name."""

    tensors: Mapping[str, Expected]

    @property
    def sound(self) -> bool:
        """Whether the comparison says something: numbers are finite and the noise stays within the largest tolerance there is."""
        return self.finite and not any(e.steep for e in self.tensors.values())

    @property
    def finite(self) -> bool:
        return all(bool(np.all(np.isfinite(e.value))) for e in self.tensors.values() if e.value.dtype.kind == "f")


def expect(graph: Graph, weights: Arrays, inputs: Arrays, *, training: bool = False, seed: int = 0) -> Measurement:
    """Compute what `graph` should give. Updates of buffers are named `update NAME`."""
    exact = _run(Interpreter(weights, training=training), graph, inputs)
    noisy = [_run(Noisy(weights, seed + i, training=training), graph, inputs) for i in range(TRIES)]
    scales = made_from(graph, weights, inputs, training=training) if any(map(cancels, exact.values())) else {}
    epsilon = {name: EPSILON.get(graph.type(v).dtype, 0.0) for name, v in graph.outputs.items()}
    smallest = {name: SMALLEST.get(graph.type(v).dtype, 0.0) for name, v in graph.outputs.items()}
    coarsest = max([0.0, *(EPSILON[t.dtype] for g in graph.callees() for n in g for t in n.types if t.dtype.is_float)])
    return Measurement(
        {
            name: _expected(
                value, [run[name] for run in noisy], epsilon.get(name, coarsest), scales.get(name, 0.0), smallest.get(name, 0.0)
            )
            for name, value in exact.items()
        }
    )


def update_name(path: str) -> str:
    """What the new value of a buffer is called among the outputs."""
    return f"update {path}"


def _run(interpreter: Interpreter, graph: Graph, inputs: Arrays) -> dict[str, np.ndarray]:
    outputs = interpreter.run(graph, interpreter.given(inputs) if isinstance(interpreter, Noisy) else inputs)
    return {**outputs, **{update_name(path): value for path, value in interpreter.updated.items()}}


def made_from(graph: Graph, weights: Arrays, inputs: Arrays, *, training: bool = False) -> dict[str, float]:
    """Of each output that is 0 everywhere, the largest that it was made from: of the operands of its node, and so on backwards."""
    largest: dict[Value, float] = {}

    def watch(where: Graph, node: Node, results: tuple[np.ndarray, ...]) -> None:
        if where is graph:
            below = max([0.0, *(largest.get(v, 0.0) for v in node.inputs)])
            largest.update({Value(node.id, i): _largest(result) or below for i, result in enumerate(results)})

    outputs = Interpreter(weights, training=training, watch=watch).run(graph, inputs)
    return {name: largest[value] for name, value in graph.outputs.items() if cancels(outputs[name])}


def cancels(value: np.ndarray) -> bool:
    """Whether a floating tensor is 0 everywhere."""
    return value.dtype.kind == "f" and value.size > 0 and not np.any(value)


def _largest(value: np.ndarray) -> float:
    """The magnitude of the largest finite element; 0 for what is no floating tensor."""
    return float(np.max(np.abs(value), where=np.isfinite(value), initial=0.0)) if value.dtype.kind == "f" else 0.0


def _expected(value: np.ndarray, noisy: list[np.ndarray], epsilon: float, scale: float, smallest: float) -> Expected:
    if value.dtype.kind != "f":
        changed = np.any([n != value for n in noisy], axis=0)
        return Expected(value, 0.0, np.asarray(changed), steep=False)
    finite = np.isfinite(value) & np.all([np.isfinite(n) for n in noisy], axis=0)
    largest = float(np.max(np.abs(value), where=finite, initial=0.0))
    with np.errstate(invalid="ignore"):
        moved = max(float(np.max(np.abs(n - value), where=finite, initial=0.0)) for n in noisy)
    most = float(np.cbrt(epsilon)) * (largest or scale)
    tolerance = max(min(moved + FLOOR * epsilon * largest, most), smallest)
    return Expected(value, tolerance, np.zeros(value.shape, bool), steep=moved > max(most, smallest))


def _holds(dtype: DType, values: np.ndarray) -> np.ndarray:
    """Where a floating type has the very values: a cast of these is exact (the 2 of `x ** 2`)."""
    with np.errstate(over="ignore"):
        return np.asarray(in_dtype(values, dtype) == values)


class Noisy(Interpreter):
    """The reference with every rounding that a target makes, and more: each inexact result is off by a random amount."""

    def __init__(self, state: Arrays, seed: int, *, training: bool = False) -> None:
        super().__init__(state, training=training)
        self.noise = np.random.default_rng(seed)
        self.state = self.given(state)

    def given(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Parameters or inputs, off as well."""
        return {name: self._own(np.asarray(value)) for name, value in arrays.items()}

    def _generators(self) -> list[Mapping[str, object]]:
        return [*super()._generators(), self.noise.bit_generator.state]

    def _set_generators(self, states: list[Mapping[str, object]]) -> None:
        super()._set_generators(states)
        self.noise.bit_generator.state = states[1]

    def _grad(self, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str) -> tuple[np.ndarray, ...]:
        """The noise is the same in all evaluations around the point, so that differences do not divide it by a small step."""
        results = super()._grad(node, operands, sizes, prefix)
        return self._straight(results, tuple(self._off(r, t.dtype) for r, t in zip(results, node.types, strict=True)))

    def _rounded(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        return self._off(value, dtype) if dtype.is_float else value

    def _own(self, value: np.ndarray) -> np.ndarray:
        dtype = array_dtype(value)
        return self._off(widened(value), dtype) if dtype is not None and dtype.is_float else value

    def _primitive(self, card: Card, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int]) -> tuple[np.ndarray, ...]:
        results = super()._primitive(card, node, operands, sizes)
        if node.op in EXACT or (node.op == "cast" and operands[0].dtype.kind != "f"):
            return results
        if node.op in TRANSFORMS:
            over = node.attributes["over"]
            assert isinstance(over, int)
            return tuple(self._near(r, operands, over, t.dtype) for r, t in zip(results, node.types, strict=True))
        if node.op == "cast" and node.type.dtype.is_float:
            return (np.where(_holds(node.type.dtype, results[0]), results[0], self._off(results[0], node.type.dtype)),)
        return tuple(self._off(r, t.dtype) if t.dtype.is_float else r for r, t in zip(results, node.types, strict=True))

    def _near(self, value: np.ndarray, summed: list[np.ndarray], over: int, dtype: DType) -> np.ndarray:
        """Off relative to the norm, along an axis, of what was summed: of one tensor, or of real and imaginary parts of a half of it."""
        norm = np.sqrt(sum(np.sum(np.square(x), axis=over, keepdims=True) for x in summed))
        share = 1.0 if len(summed) == 1 else 2.0 / max(value.shape[over], 1)
        amount = UNITS[dtype] * EPSILON[dtype] * share
        return np.asarray(value + amount * norm * self.noise.uniform(-1.0, 1.0, value.shape))

    def _off(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        amount = UNITS[dtype] * EPSILON[dtype]
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(value * (1.0 + amount * self.noise.uniform(-1.0, 1.0, value.shape)))
