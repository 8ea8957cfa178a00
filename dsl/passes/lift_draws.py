"""Lift random draws out of a flat graph, so that every backend sees the same: each random node reads an input in its place.

Before:  y = dropout(x, 0.5); z = randn(B, 4)      After:  y = x * draw_0; z = draw_1   with the inputs draw_0, draw_1

A draw in a `scan` becomes an input with an axis for the steps, which is scanned, so that each step has its own. In a `while`, whose
number of steps nobody knows, it is captured: every step has the same. That is for comparing backends only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dsl.build import numpy_dtype
from dsl.diagnostics import InternalError
from dsl.dims import Dim, Expr, evaluate
from dsl.ir import Graph, Node, Value
from dsl.ops.registry import CARDS
from dsl.passes.lift_parameters import free_name
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


Declare = Callable[[TensorType, Node], Value]
"""Makes an input of that type at the root, for a draw that stands in for a node, and gives its value where it is needed."""


def lift_draws(graph: Graph) -> tuple[Graph, tuple[Draw, ...]]:
    """The graph with an input for each random node, and what to feed them. Calls must have been inlined.

    Dropout is taken as active: specialise the graph to inference first where it is not.
    """
    result = graph.copy()
    draws: list[Draw] = []

    def declare(type_: TensorType, node: Node) -> Value:
        name = free_name(f"draw_{len(draws)}", result.inputs)
        made = result.add("input", (), {"name": name}, (type_,), spans=node.spans)
        result.inputs[name] = Value(made.id)
        rate, classes = node.attributes.get("rate", 0.0), node.attributes.get("classes", 0)
        assert isinstance(rate, float | int) and isinstance(classes, int | Expr)
        draws.append(Draw(name, node.op, type_, float(rate), classes))
        return result.inputs[name]

    _lift(result, declare)
    result.reorder()
    return result, tuple(draws)


def _lift(graph: Graph, declare: Declare) -> None:
    """Replace every draw in a graph that may be changed."""
    for node in list(graph):
        if node.op in CARDS and CARDS[node.op].random:
            _replace(graph, graph.node(node.id), declare)
        elif node.target is not None and node.target.graph.kind == "block":
            if any(n.op in CARDS and CARDS[n.op].random for g in node.target.graph.callees() for n in g):
                _lift_block(graph, graph.node(node.id), declare)
        elif node.target is not None and any(
            n.op in CARDS and CARDS[n.op].random for g in node.target.graph.callees() for n in g
        ):
            raise InternalError(f"{graph.definition}: a flat graph is needed, and `{node.op}` calls another that draws")


def _replace(graph: Graph, node: Node, declare: Declare) -> None:
    if node.op == "dropout":
        mask = declare(node.type, node)
        graph.replace_node(replace(node, op="mul", inputs=(node.inputs[0], mask), attributes={}))
        return
    if node.op == "categorical":
        node = replace(node, attributes={"classes": graph.type(node.inputs[0]).shape[-1]})
    graph.redirect(Value(node.id), declare(node.type, node))
    graph.remove([graph.node(node.id)])


def _lift_block(graph: Graph, node: Node, declare: Declare) -> None:
    assert node.target is not None
    block = node.target.graph.copy()
    attributes = dict(node.attributes)
    operands, inputs = list(node.inputs), list(block.inputs)
    offset = len(inputs) - len(operands)

    def inside(type_: TensorType, draw: Node) -> Value:
        name = free_name("draw", block.inputs)
        made = block.add("input", (), {"name": name}, (type_,), spans=draw.spans)
        block.inputs[name] = Value(made.id)
        if node.op == "scan":
            count, carries, axes = attributes["count"], attributes["carries"], attributes["axes"]
            assert isinstance(count, int | Expr) and isinstance(carries, int) and isinstance(axes, tuple)
            at = carries + len(axes)
            attributes["axes"] = (*axes, 0)
            type_ = type_.with_shape((count, *type_.shape))
        else:
            at = len(operands)
        operands.insert(at, declare(type_, draw))
        inputs.insert(at + offset, name)
        return block.inputs[name]

    _lift(block, inside)
    block.inputs = {name: block.inputs[name] for name in inputs}
    block.reorder()
    target = replace(node.target, graph=block)
    graph.replace_node(replace(node, inputs=tuple(operands), attributes=attributes, target=target))
