"""How far off a gradient may be: the rule of expectation.py, for gradients.

The graph is made flat, and every inexact result in it is multiplied by a factor that is an input: 1, off by up to 32 units in the last
place (2 for 16-bit types). Parameters and inputs are off as well. A target differentiates this three times with other factors. Each factor
is met on the way back as well, so the change is what rounding on both ways may do, sums that nearly cancel included. Four units in the
last place of the largest gradient of all are let through in any case: a sum that cancels by its form (that by the bias of a key, under a
softmax) does so with the factors as well, and leaves what its terms round to. Where all of the scalar cancels, so do its gradients:
the limit of a tolerance is then relative to what the scalar was made from, as in expectation.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backends.base import Arrays, Differentiable
from dsl.ir import Graph, Node, Program, Value
from dsl.ops.numpy_types import array_dtype
from dsl.ops.registry import CARDS
from dsl.passes.lift_draws import Draw, lift_draws
from dsl.verification.expectation import EPSILON, EXACT, FLOOR, UNITS

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Noisy:
    """A flat, pure graph with a factor on each inexact result."""

    graph: Graph
    factors: tuple[Draw, ...]

    @property
    def program(self) -> Program:
        return Program(self.graph.definition, {self.graph.entry: self.graph})

    def inputs(self, inputs: Arrays, sizes: dict[str, int], rng: np.random.Generator) -> Tensors:
        """The inputs of the flat graph, off, and factors for one try."""
        moved = {name: off(np.asarray(x), rng) for name, x in inputs.items()}
        ones = {draw.name: np.ones_like(draw.sample(sizes, rng)) for draw in self.factors}
        return {**moved, **{name: off(x, rng) for name, x in ones.items()}}


def noisy(flat: Graph) -> Noisy:
    """The graph with factors; `flat` draws nothing and reads no parameters."""
    graph, factors = lift_draws(_with_factors(flat))
    return Noisy(graph, factors)


def _with_factors(flat: Graph) -> Graph:
    graph = flat.copy()
    for node in list(graph):
        if node.target is not None and node.target.graph.kind == "block" and node.op != "while":
            block = _with_factors(node.target.graph)
            graph.replace_node(replace(graph.node(node.id), target=replace(node.target, graph=block)))
        elif _rounds(flat, node):
            _multiply(graph, node)
    graph.reorder()
    return graph


def _rounds(graph: Graph, node: Node) -> bool:
    if node.op not in CARDS or node.op in EXACT or not node.inputs or not all(t.dtype.is_float for t in node.types):
        return False
    return node.op != "cast" or graph.type(node.inputs[0]).dtype.is_float


def _multiply(graph: Graph, node: Node) -> None:
    for i, type_ in enumerate(node.types):
        value = Value(node.id, i)
        factor = graph.add("rand", (), {"shape": type_.shape, "dtype": type_.dtype}, (type_,))
        product = graph.add("mul", (value, Value(factor.id)), {}, (type_,))
        graph.redirect(value, Value(product.id))
        graph.replace_node(replace(graph.node(product.id), inputs=(value, Value(factor.id))))


def off(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A floating array with each element off by some units of its own type; in float64 where the type is exact enough for that."""
    dtype = array_dtype(x)
    if dtype is None or not dtype.is_float:
        return x
    amount = UNITS[dtype] * EPSILON[dtype]
    return np.asarray(x * (1.0 + amount * rng.uniform(-1.0, 1.0, x.shape)), x.dtype)


def tolerances(exact: Tensors, tries: list[Tensors], epsilon: float, cancelled: float) -> dict[str, float]:
    """For each tensor how far any element of its gradient may be off, of a scalar that cancels so much."""
    largest = max([0.0, *(float(np.max(np.abs(g), initial=0.0)) for g in exact.values())])
    allowed = {}
    for name, gradient in exact.items():
        moved = max(float(np.max(np.abs(t[name] - gradient), initial=0.0)) for t in tries)
        allowed[name] = min(moved + FLOOR * epsilon * largest, float(np.cbrt(epsilon)) * max(largest, cancelled))
    return allowed


def gradients_by_name(session: Differentiable, inputs: Arrays, weights: Arrays, entry: str, *, training: bool = False) -> Tensors:
    """All gradients: of parameters by full name, of inputs as `input NAME`."""
    found = session.gradients(inputs, weights, training=training, entry=entry)
    return {**found.parameters, **{input_name(name): g for name, g in found.inputs.items()}}


def input_name(name: str) -> str:
    """What the gradient by an input is called among those by parameters."""
    return f"input {name}"
