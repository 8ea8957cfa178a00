"""Compute what depends on constants alone, with the reference of each primitive.

Before:  y = x * sqrt(2.0 * 8.0)      After:  y = x * 4.0
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dsl.build import numpy_dtype
from dsl.dims import symbols_of
from dsl.ir import Graph, Node
from dsl.ops.card import AttributeValue
from dsl.ops.registry import CARDS
from dsl.types import DType

LARGEST = 4096
"""A folded constant has at most so many elements: a larger one costs more to store than to compute."""


def fold_constants(graph: Graph) -> tuple[Graph, bool]:
    result: Graph | None = None
    for node in graph:
        current = (result or graph).node(node.id)
        if _foldable(current) and all((result or graph).node(v).op == "const" for v in current.inputs):
            value = _computed(result or graph, current)
            result = result or graph.copy()
            result.replace_node(replace(current, op="const", inputs=(), attributes={"value": value}))
    return (graph, False) if result is None else (result, True)


def _foldable(node: Node) -> bool:
    card = CARDS.get(node.op)
    if card is None or not node.inputs or card.random or node.op in ("if_training", "stop_gradient") or len(node.types) != 1:
        return False
    shape = node.type.shape
    if node.type.dtype is DType.BF16 or any(_symbolic(v) for v in (shape, *node.attributes.values())):
        return False
    return int(np.prod([int(d) for d in shape if isinstance(d, int)], dtype=np.int64)) <= LARGEST


def _symbolic(value: AttributeValue) -> bool:
    if isinstance(value, tuple):
        return any(_symbolic(v) for v in value)
    return not isinstance(value, int | float | str | bool | DType | np.ndarray | None) and bool(symbols_of(value))


def _computed(graph: Graph, node: Node) -> np.ndarray:
    operands = []
    for v in node.inputs:
        array = graph.node(v).attributes["value"]
        assert isinstance(array, np.ndarray)
        operands.append(array.astype(np.float64) if array.dtype.kind == "f" else array)
    with np.errstate(all="ignore"):
        computed = CARDS[node.op].reference(*operands, **node.attributes)
    return np.asarray(computed, dtype=numpy_dtype(node.type.dtype))
