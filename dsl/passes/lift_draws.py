"""Lift random draws out of a flat graph, so that every backend sees the same: each random node reads an input in its place.

Before:  y = dropout(x, 0.5); z = randn(B, 4)      After:  y = x * draw_0; z = draw_1   with the inputs draw_0, draw_1
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dsl.build import numpy_dtype
from dsl.diagnostics import InternalError
from dsl.dims import Dim, evaluate
from dsl.ir import Graph, Node, Value
from dsl.ops.registry import CARDS
from dsl.types import TensorType


@dataclass(frozen=True, slots=True)
class Draw:
    """An input that stands for a draw: `op` is the random primitive; `rate` is dropout's, `classes` is categorical's number of them."""

    name: str
    op: str
    type: TensorType
    rate: float = 0.0
    classes: Dim = 0

    def sample(self, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
        """Values to feed. Those of dropout are masks of 0 and 1 / (1 - rate); a Bernoulli draw is 0 or 1, whatever its p."""
        shape = tuple(evaluate(d, sizes) for d in self.type.shape)
        match self.op:
            case "dropout":
                values = np.where(rng.random(shape) < self.rate, 0.0, 1.0 / (1.0 - self.rate))
            case "randn":
                values = rng.standard_normal(shape)
            case "rand":
                values = rng.random(shape)
            case "bernoulli":
                values = rng.integers(0, 2, shape)
            case "categorical":
                values = rng.integers(0, evaluate(self.classes, sizes), shape)
            case _:
                raise InternalError(f"no way to draw for `{self.op}`")
        return np.asarray(values).astype(numpy_dtype(self.type.dtype))


def lift_draws(graph: Graph) -> tuple[Graph, tuple[Draw, ...]]:
    """The graph with an input for each random node, and what to feed them. Calls must have been inlined.

    Dropout is taken as active: specialise the graph to inference first where it is not.
    """
    result = graph.copy()
    draws: list[Draw] = []
    for node in graph:
        if node.target is not None:
            raise InternalError(f"{graph.definition}: lift_draws needs a flat graph, and `{node.op}` calls another")
        if CARDS[node.op].random if node.op in CARDS else False:
            draws.append(_lift(result, node, _free_name(result, f"draw_{len(draws)}")))
    result.reorder()
    return result, tuple(draws)


def _lift(graph: Graph, node: Node, name: str) -> Draw:
    if node.op == "dropout":
        mask = Value(graph.add("input", (), {"name": name}, node.types, spans=node.spans).id)
        graph.replace_node(replace(node, op="mul", inputs=(node.inputs[0], mask), attributes={}))
        graph.inputs[name] = mask
        rate = node.attributes["rate"]
        assert isinstance(rate, float | int)
        return Draw(name, node.op, node.type, rate=float(rate))
    classes = graph.type(node.inputs[0]).shape[-1] if node.op == "categorical" else 0
    graph.replace_node(replace(node, op="input", inputs=(), attributes={"name": name}, name=None))
    graph.inputs[name] = Value(node.id)
    return Draw(name, node.op, node.type, classes=classes)


def _free_name(graph: Graph, name: str) -> str:
    while name in graph.inputs:
        name += "_"
    return name
